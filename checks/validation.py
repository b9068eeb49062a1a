"""Validate the simulation: every table of doc/validation.md, made again by one command.

Reads   train_data/<sample>/ (default: the demo's) and train_data/control/, top pairs without the
        early veto (how to make them: studies/control.toml).
Writes  doc/results/validation_<table>.csv, and the tables in doc/validation.md between its marks.
Takes   about 5 minutes on one core.

    python -m checks.validation
"""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import vector
from scipy.stats import iqr

from collisions import detector
from collisions.chunk import make_chunk
from collisions.generate import generate
from collisions.particles import Record, visible
from command import InputError, parser_of, run
from evaluation.pages import Rows, environment, formatted, markdown, show, with_numbers
from evaluation.table import pivot
from jets.events import Events, merge, read_events
from jets.ragged import delta_r
from physics import JET_DEFINITIONS, JETS_MIN, LUMINOSITY
from processes import PROCESSES, SIGNAL, Process, every
from processes.stop import STOP, cross_section
from processes.ttbar import CROSS_SECTION, TTBAR, VETO_SCORE_MIN
from products import write_csv
from sensitivity.sic import clopper_pearson
from study import PRESETS, add_study_options, study_of

CMS_TTBAR_EVENTS = 276_060  # arXiv:2102.06976, after the preselection
QUARKS_INSIDE = 0.75  # a jet holds a quark nearer than this share of its radius
MATCHED_WITHIN = 0.3  # an R = 0.4 jet is a quark's
SMALL = "AK04"
# Places in the truth (doc/data-format.md): the top of each W, and the neutralinos.
TOPS = {2: 0, 5: 1}
NEUTRALINO_SLOTS = (8, 12)
EXAMPLES = ((TTBAR, ()), (STOP, (900, 300)))  # of stop pairs one mass point
SEED = 2024


def cross_sections(tries: int = 4_000) -> Rows:
    """LO cross sections, all decays open, against the NNLO+NNLL table."""
    rows = []
    hard = dataclasses.replace(
        STOP,
        settings=lambda *masses: (*STOP.settings(*masses), "PartonLevel:all = off"),
        wanted=every,
    )
    for mass in PRESETS["paper"].sample.stop_masses:
        value, error = generate(hard, (mass, 100), tries, seed=SEED + mass).cross_section
        reference = cross_section(mass)
        rows.append(
            {
                "m_stop": mass,
                "lo_fb": 1e3 * value,
                "lo_error_fb": 1e3 * error,
                "nnlo_nnll_fb": 1e3 * reference,
                "k": reference / value,
                "k_error": reference / value * error / value,
            }
        )
    return rows


def read_files(folder: Path, process: str) -> list[Events]:
    """All files of one process in a sample."""
    parts = [read_events(path) for path in sorted(folder.glob(f"{process}_*.h5"))]
    if not parts:
        raise InputError(f"{folder}: no {process} files, expected at least one; run simulate.py")
    return parts


def read_sample(folder: Path, process: str) -> Events:
    """All files of one process in a sample, as one without weights."""
    parts = read_files(folder, process)
    return merge(parts, parts[0].attributes)


def cut_flow(folder: Path) -> Rows:
    """Events left after every cut, per process and value of its first parameter.

    As shares of all begun: of weights and, beside it, of events.
    """
    flows: dict[tuple[str, int | str], np.ndarray] = {}
    for path in sorted(folder.glob("[!.]*.h5")):
        events = read_events(path)
        key = events.process, events.numbers[0] if PROCESSES[events.process].parameters else ""
        both = np.stack([events.generator_cut_flow, events.cut_flow["events"]], axis=1)
        flows[key] = flows.get(key, 0) + both
        cuts = [name.decode() for name in events.cut_flow["name"]]
    rows = []
    by_role = sorted(flows, key=lambda key: (PROCESSES[key[0]].role == SIGNAL, key[0], key[1] or 0))
    for process, parameter in by_role:
        key, flow = {"process": process, "parameter": parameter}, flows[process, parameter]
        for cut, (share, of_events) in zip(cuts, (flow / flow[0]).tolist(), strict=True):
            rows.append(key | {"cut": cut, "share": share, "share_of_events": of_events})
    return rows


def ttbar_yield(folder: Path) -> tuple[float, float]:
    """Fully selected top pairs expected in 137 fb^-1, NNLO+NNLL, and the statistical error."""
    parts = read_files(folder, "ttbar")
    weight = np.concatenate([part.generator_weight[part.fully_selected] for part in parts])
    begun = sum(part.sum_of_weights for part in parts)
    expected = 1e3 * CROSS_SECTION * LUMINOSITY * weight.sum() / begun
    return expected, expected * np.sqrt(np.sum(weight**2)) / weight.sum()


def yields(folder: Path) -> Rows:
    """The tt̄ yield against CMS."""
    value, error = ttbar_yield(folder)
    ratio = value / CMS_TTBAR_EVENTS
    return [
        {
            "process": "ttbar",
            "value": value,
            "error": error,
            "cms": CMS_TTBAR_EVENTS,
            "ratio": ratio,
        }
    ]


def from_one_jet(events: Events, quarks: np.ndarray, definition: str) -> np.ndarray:
    """Masses of the large-R jets that hold all of `quarks`, structured (n, q).

    The quarks are nearer than 0.75 R, and every other parton of the event's decays farther than R.
    """
    radius = JET_DEFINITIONS[definition].radius
    jets = events.large_r[definition]
    near = _distance(jets, quarks) < QUARKS_INSIDE * radius
    tops = [_of_top(events.truth, w) for w in TOPS]
    partons = np.concatenate([*tops, *_of_neutralinos(events.truth)], axis=1)
    # Counting is enough, because the quarks are among the partons.
    alone = (_distance(jets, partons) < radius).sum(axis=2) == near.sum(axis=2)
    return jets["mass"][near.all(axis=2) & alone & (jets["pt"] > 0)]


def from_small_jets(events: Events, quarks: np.ndarray) -> np.ndarray:
    """Masses of the R = 0.4 jets, one for each of `quarks` (n, q) within 0.3, all different."""
    counts = np.diff(events.jet_offsets)
    jets = np.zeros((len(counts), counts.max()), events.jets.dtype)
    jets[np.arange(counts.max()) < counts[:, None]] = events.jets
    distance = np.where(jets["pt"][..., None] > 0, _distance(jets, quarks), np.inf)
    nearest = distance.argmin(axis=1)
    found = (distance.min(axis=1) < MATCHED_WITHIN).all(axis=1)
    found &= (np.diff(np.sort(nearest, axis=1), axis=1) > 0).all(axis=1)
    chosen = np.take_along_axis(jets, nearest, axis=1)[found]
    return _vectors(chosen).sum(axis=-1).mass


def _distance(jets: np.ndarray, partons: np.ndarray) -> np.ndarray:
    """Delta R (n, jets, partons)."""
    one, two = jets[:, :, None], partons[:, None, :]
    return delta_r(one["eta"], one["phi"], two["eta"], two["phi"])


def _vectors(p: np.ndarray) -> vector.MomentumNumpy4D:
    return vector.array({name: p[name].astype(float) for name in ("pt", "eta", "phi", "mass")})


def _of_top(truth: np.ndarray, w: int) -> np.ndarray:
    """Directions (n, 3) of a top's b quark, from t - W, and of what its W decays to."""
    quarks = truth[:, [TOPS[w], w + 1, w + 2]]
    bottom = _vectors(quarks[:, 0]).subtract(_vectors(truth[:, w]))
    quarks["eta"][:, 0], quarks["phi"][:, 0] = bottom.eta, bottom.phi
    return quarks


def _of_neutralinos(truth: np.ndarray) -> list[np.ndarray]:
    """The three quarks (n, 3) of each neutralino; of top pairs none."""
    return [truth[:, i + 1 : i + 4] for i in NEUTRALINO_SLOTS if i < truth.shape[1]]


def peak_masses(
    events: Events, particle: str, reconstruct: Callable[[Events, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Masses of hadronic W's, tops or neutralinos, each from its quarks by `reconstruct`."""
    if particle == "neutralino":
        masses = [reconstruct(events, quarks) for quarks in _of_neutralinos(events.truth)]
        return np.concatenate(masses)
    masses = []
    for w in TOPS:
        hadronic = events.take(np.abs(events.truth["pdg_id"][:, w + 1]) < 6)
        quarks = _of_top(hadronic.truth, w)
        masses.append(reconstruct(hadronic, quarks if particle == "top" else quarks[:, 1:]))
    return np.concatenate(masses)


def peak(masses: np.ndarray) -> tuple[float, float]:
    """Where the density of the masses is highest, and its bootstrap error; GeV.

    A Gaussian kernel in the logarithm of the mass with Silverman's width of the inner half, so
    that tails of wrongly assigned jets do not smooth the peak away.
    """
    logarithm = np.log(masses)
    width = 0.9 * iqr(logarithm) / 1.34 * len(masses) ** -0.2
    grid = np.linspace(*np.quantile(logarithm, [0.02, 0.98]), 400)
    kernels = np.exp(-(((grid[:, None] - logarithm) / width) ** 2) / 2)
    counts = np.random.default_rng(SEED).poisson(1.0, (len(masses), 200))
    modes = np.exp(grid[(kernels @ counts).argmax(axis=0)])
    return float(np.exp(grid[kernels.sum(axis=1).argmax()])), float(modes.std())


def mass_peaks(folder: Path) -> Rows:
    """Reconstructed mass peaks of truth-matched jets."""
    background, signal = [read_sample(folder, "ttbar")], {}
    for events in read_files(folder, "stop"):
        signal.setdefault(events.numbers[1], []).append(events)
    lightest = min(signal)
    cases = [
        ("W", 80.4, background, "AK08"),
        ("W", 80.4, background, SMALL),
        ("top", 172.5, background, "AK14"),
        ("top", 172.5, background, SMALL),
        ("neutralino", lightest, signal[lightest], "AK14"),
        *(("neutralino", mass, parts, SMALL) for mass, parts in sorted(signal.items())),
    ]
    rows = []
    for particle, nominal, parts, jets in cases:
        one_jet = functools.partial(from_one_jet, definition=jets)
        reconstruct = from_small_jets if jets == SMALL else one_jet
        masses = np.concatenate([peak_masses(part, particle, reconstruct) for part in parts])
        value, error = peak(masses)
        rows.append(
            {
                "particle": particle,
                "mass": nominal,
                "jet_definition": jets,
                "candidates": len(masses),
                "peak": value,
                "peak_error": error,
                "ratio": value / nominal,
                "ratio_error": error / nominal,
            }
        )
    return rows


def veto_loss(folder: Path) -> Rows:
    """What the early veto would have taken from a sample made without it."""
    events = read_sample(folder, "ttbar")
    if events.attributes["early_veto"]:
        raise InputError(f"{folder}: made with the early veto; see studies/control.toml")
    rows = []
    for n_jets in (JETS_MIN, 6, 5):
        score = events.veto_score[events.observables["n_jets"] >= n_jets]
        n, lost = len(score), int((score < VETO_SCORE_MIN).sum())
        low, high = clopper_pearson(lost, n)
        interval = {"loss": lost / n, "low": float(low), "high": float(high)}
        rows.append({"jets_min": n_jets, "selected": n, "lost": lost, **interval})
    return rows


def veto_speed(tries: int = 6_000, rounds: int = 3) -> Rows:
    """Core time of the same seeds with and without the veto, in turn, and the share kept."""
    seconds, kept = {True: 0.0, False: 0.0}, [0, 0]
    for number, veto in itertools.product(range(rounds), (True, False)):
        start = time.process_time()
        chunk = make_chunk(TTBAR, (), tries, SEED + number, veto)
        seconds[veto] += time.process_time() - start
        if veto:
            kept[0] += chunk.cut_flow["early veto"]
            kept[1] += chunk.cut_flow[TTBAR.cut]
    with_veto, without = (seconds[veto] / tries / rounds * 1e3 for veto in (True, False))
    return [
        {
            "begun": tries * rounds,
            "kept": kept[0] / kept[1],
            "with_veto_ms": with_veto,
            "without_veto_ms": without,
            "ratio": without / with_veto,
        }
    ]


def stage_shares() -> Rows:
    """Time of every stage relative to Pythia."""
    rows = []
    for process, parameters in EXAMPLES:
        seconds = make_chunk(process, parameters, process.tries, SEED).seconds
        pythia = seconds.pop("Pythia")
        seconds["together"] = sum(seconds.values())
        shares = {stage.replace(" ", "_"): spent / pythia for stage, spent in seconds.items()}
        rows.append(_key(process, parameters) | {"pythia_seconds": pythia} | shares)
    return rows


def _key(process: Process, parameters: tuple[int, ...]) -> dict[str, object]:
    masses = dict(zip(process.parameters, parameters, strict=True))
    return {"process": process.name, "m_stop": "", "m_neutralino": ""} | masses


def hadronic_share(tries: int = 1_000) -> Rows:
    """Mean share of pT in neutral hadrons, for both significances seen in versions of the card."""
    rows = []
    for process, parameters in EXAMPLES:
        particles = visible(Record.of(generate(process, parameters, tries, SEED).particles))
        for significance in (1.0, 2.0):
            of_both = (detector.TOWER_SIGNIFICANCE_MIN[0], significance)
            objects = detector.respond(particles, np.random.default_rng(SEED), of_both)
            central = np.abs(objects.eta) < 2.5
            event = objects.event[central]
            neutral = objects.type[central] == detector.NEUTRAL_HADRON
            total = np.bincount(event, weights=objects.pt[central])
            part = np.bincount(event, weights=(objects.pt[central] * neutral), minlength=len(total))
            share = (part / np.maximum(total, 1e-9))[total > 0]
            error = share.std() / np.sqrt(len(share))
            number = {"significance": significance, "value": share.mean(), "error": error}
            rows.append(_key(process, parameters) | number)
    return rows


# Table -> headings, and the cells of a line from a row of `_in_words`.
LINES = {
    "stage_shares": (
        "process | Pythia [s] | record | detector | selection | large jets | together",
        "{of} | {pythia_seconds:.1f} | {record:.3f} | {detector:.3f} | {selection:.3f} | "
        "{large_jets:.3f} | {together:.3f}",
    ),
    "yield": (
        "quantity | ours | CMS | ratio",
        "{of} events in 137 fb⁻¹ after the preselection | {value:,.0f} ± {error:,.0f} | "
        "{cms:,.0f} | {ratio:.2f}",
    ),
    "mass_peaks": (
        "particle | mass [GeV] | from | candidates | peak [GeV] | peak / mass",
        "{particle} | {mass:g} | {jets} | {candidates:.0f} | {peak:.1f} ± {peak_error:.1f} | "
        "{ratio:.3f} ± {ratio_error:.3f}",
    ),
    "veto_loss": (
        "events with | selected | lost | loss | 68 % interval",
        "≥ {jets_min:.0f} jets | {selected:.0f} | {lost:.0f} | {loss:.2%} | {low:.2%} – {high:.2%}",
    ),
    "veto_speed": (
        "events begun | kept of those with a leptonic W | with veto [ms an event] | "
        "without [ms an event] | selected per core-second, ratio before the loss",
        "{begun:.0f} | {kept:.1%} | {with_veto_ms:.2f} | {without_veto_ms:.2f} | {ratio:.2f}",
    ),
    "cross_sections": (
        "m_stop [GeV] | LO [fb] | NNLO+NNLL [fb] | K",
        "{m_stop:.0f} | {lo_fb:.4g} ± {lo_error_fb:.1g} | {nnlo_nnll_fb:.4g} | "
        "{k:.3f} ± {k_error:.3f}",
    ),
}


def printed(name: str, rows: Rows) -> Rows:
    """The printed form of a table, whose rows may come from its CSV."""
    if name == "environment":
        return rows
    rows = [_in_words(row) for row in rows]
    if name == "cut_flow":
        return pivot(rows, lambda row: {"cut": row["cut"]}, lambda row: {row["of"]: _share(row)})
    if name == "hadronic_share":
        heading, cell = "EhT share at significance {significance:g}", "{value:.4f} ± {error:.4f}"
        return pivot(
            rows,
            lambda row: {"process": row["of"]},
            lambda row: {heading.format(**row): cell.format(**row)},
        )
    return formatted(rows, *LINES[name])


def _in_words(row: Mapping) -> dict:
    """A row with numbers as such, its process and masses (`of`) and its jets in words."""
    found = with_numbers(row)
    masses = [found.get(name, "") for name in ("parameter", "m_stop", "m_neutralino")]
    masses = ", ".join(f"{mass:g}" for mass in masses if mass != "")
    of = f"{row.get('process')} {masses} GeV" if masses else row.get("process")
    jets = row.get("jet_definition")
    return found | {"of": of, "jets": "R = 0.4 jets" if jets == SMALL else f"one {jets} jet"}


def _share(row: Mapping) -> str:
    """Of weights; that of events in brackets if it differs."""
    weighted, counted = (f"{row[name]:.3%}" for name in ("share", "share_of_events"))
    return weighted if weighted == counted else f"{weighted} ({counted})"


def main() -> None:
    """Make all tables: as CSV, in doc/validation.md between their marks, and on the screen."""
    parser = parser_of(__doc__)
    add_study_options(parser, default="demo")
    folder = study_of(parser.parse_args()).sample_dir
    tables = {
        "environment": environment,
        "cut_flow": lambda: cut_flow(folder),
        "yield": lambda: yields(folder),
        "mass_peaks": lambda: mass_peaks(folder),
        "veto_loss": lambda: veto_loss(Path("train_data/control")),
        "veto_speed": veto_speed,
        "stage_shares": stage_shares,
        "hadronic_share": hadronic_share,
        "cross_sections": cross_sections,
    }
    for name, table in tables.items():
        rows = table()
        write_csv(Path(f"doc/results/validation_{name}.csv"), rows)
        shown = printed(name, rows)
        show(Path("doc/validation.md"), name, shown)
        print(f"\n{name}\n{markdown(shown)}", flush=True)


if __name__ == "__main__":
    run(main)

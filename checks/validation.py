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
from collections.abc import Callable
from pathlib import Path

import numpy as np
import vector
from scipy.stats import iqr

from collisions import detector
from collisions.chunk import make_chunk
from collisions.generate import generate
from collisions.particles import Record, visible
from command import InputError, parser_of, run
from evaluation.pages import Rows, environment, markdown, show
from jets.events import Events, merge, read_events
from jets.ragged import delta_r
from physics import JET_DEFINITIONS, JETS_MIN, LUMINOSITY
from processes import every
from processes.stop import STOP, cross_section
from processes.ttbar import CROSS_SECTION, TTBAR, VETO_SCORE_MIN
from products import write_csv
from sensitivity.sic import clopper_pearson
from study import PRESETS, add_study_options, study_of

CMS_TTBAR_EVENTS = 276_060  # arXiv:2102.06976, after the preselection
QUARKS_INSIDE = 0.75  # a jet holds a quark nearer than this share of its radius
MATCHED_WITHIN = 0.3  # an R = 0.4 jet is a quark's
SMALL = "R = 0.4 jets"
# Places in the truth (doc/data-format.md): the top of each W, and the neutralinos.
TOPS = {2: 0, 5: 1}
NEUTRALINO_SLOTS = (8, 12)
STOP_900 = ("stop 900, χ 300 GeV", STOP, (900, 300))
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
                "m_stop [GeV]": mass,
                "LO [fb]": f"{1e3 * value:.4g} ± {1e3 * error:.1g}",
                "NNLO+NNLL [fb]": f"{1e3 * reference:.4g}",
                "K": f"{reference / value:.3f} ± {reference / value * error / value:.3f}",
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
    """Events left after every cut, per process and stop mass, as shares of all begun.

    Shares are of weights; where they differ, those of events are in brackets.
    """
    flows: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("[!.]*.h5"), key=lambda path: path.name[0] == "s"):
        events = read_events(path)
        column = "tt̄" if events.process == TTBAR.name else f"stop {events.numbers[0]} GeV"
        both = np.stack([events.generator_cut_flow, events.cut_flow["events"]], axis=1)
        flows[column] = flows.get(column, 0) + both
        cuts = events.cut_flow["name"]

    def share(flow: np.ndarray, i: int) -> str:
        weighted, counted = (f"{value:.3%}" for value in flow[i] / flow[0])
        return weighted if weighted == counted else f"{weighted} ({counted})"

    return [
        {"cut": cut.decode()} | {column: share(flow, i) for column, flow in flows.items()}
        for i, cut in enumerate(cuts)
    ]


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
    return [
        {
            "quantity": "tt̄ events in 137 fb⁻¹ after the preselection",
            "ours": f"{value:,.0f} ± {error:,.0f}",
            "CMS": f"{CMS_TTBAR_EVENTS:,}",
            "ratio": f"{value / CMS_TTBAR_EVENTS:.2f}",
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
                "mass [GeV]": f"{nominal:g}",
                "from": jets if jets == SMALL else f"one {jets} jet",
                "candidates": len(masses),
                "peak [GeV]": f"{value:.1f} ± {error:.1f}",
                "peak / mass": f"{value / nominal:.3f} ± {error / nominal:.3f}",
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
        rows.append(
            {
                "events with": f"≥ {n_jets} jets",
                "selected": n,
                "lost": lost,
                "loss": f"{lost / n:.2%}",
                "68 % interval": f"{float(low):.2%} – {float(high):.2%}",
            }
        )
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
            "events begun": tries * rounds,
            "kept of those with a leptonic W": f"{kept[0] / kept[1]:.1%}",
            "with veto [ms an event]": f"{with_veto:.2f}",
            "without [ms an event]": f"{without:.2f}",
            "selected per core-second, ratio before the loss": f"{without / with_veto:.2f}",
        }
    ]


def stage_shares() -> Rows:
    """Time of every stage relative to Pythia."""
    rows = []
    for name, process, parameters in (("tt̄, early veto", TTBAR, ()), STOP_900):
        seconds = make_chunk(process, parameters, process.tries, SEED).seconds
        pythia = seconds.pop("Pythia")
        shares = {**seconds, "together": sum(seconds.values())}
        row = {"process": name, "Pythia [s]": f"{pythia:.1f}"}
        rows.append(row | {stage: f"{spent / pythia:.3f}" for stage, spent in shares.items()})
    return rows


def hadronic_share(tries: int = 1_000) -> Rows:
    """Mean share of pT in neutral hadrons, for both significances seen in versions of the card."""
    rows = []
    for name, process, parameters in (("tt̄", TTBAR, ()), STOP_900):
        particles = visible(Record.of(generate(process, parameters, tries, SEED).particles))
        row: dict[str, object] = {"process": name}
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
            row[f"EhT share at significance {significance:g}"] = f"{share.mean():.4f} ± {error:.4f}"
        rows.append(row)
    return rows


def main() -> None:
    """Make all tables: as CSV, in doc/validation.md between their marks, and on the screen."""
    parser = parser_of(__doc__)
    add_study_options(parser)
    parser.set_defaults(study="demo")
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
        show(Path("doc/validation.md"), name, rows)
        print(f"\n{name}\n{markdown(rows)}", flush=True)


if __name__ == "__main__":
    run(main)

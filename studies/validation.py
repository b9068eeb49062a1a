"""Validate the simulation: every table of doc/validation.md, made again by one command.

Reads   train_data/<sample>/ (default: the demo's) and train_data/control/, top pairs without the
        early veto (how to make them: studies/control.toml).
Writes  doc/results/validation_<table>.csv, and the tables in doc/validation.md between its marks.
Takes   about 5 minutes on one core.

    python -m studies.validation
"""

import argparse
import csv
import dataclasses
import itertools
import os
import platform
import re
import time
from pathlib import Path

import numpy as np

from collisions import detector
from collisions.chunk import make_chunk
from collisions.particles import Record, visible
from collisions.processes import VETO_SCORE_MIN, generate, stop_pair, ttbar
from collisions.ragged import delta_r
from jets.events import Events, merge, read_events
from products import InputError, atomic_write, run, versions
from sensitivity.cross_sections import TTBAR, stop_pair_cross_section
from sensitivity.sic import clopper_pearson
from study import JETS_MIN, LUMINOSITY, PRESETS, add_study_option, load_study

CMS_TTBAR_EVENTS = 276_060  # arXiv:2102.06976, after the preselection
QUARKS_INSIDE = 0.75  # a jet holds a quark nearer than this share of its radius
SEED = 2024

Rows = list[dict[str, object]]


def cross_sections(tries: int = 4_000) -> Rows:
    """LO cross sections, all decays open, against the NNLO+NNLL table."""
    rows = []
    for mass in PRESETS["paper"].stop_masses:
        process = stop_pair(mass, 100)
        hard = (*process.settings, "PartonLevel:all = off")
        process = dataclasses.replace(process, settings=hard, wanted=lambda _: True)
        value, error = generate(process, tries, seed=SEED + mass).cross_section
        reference = stop_pair_cross_section(mass)
        rows.append(
            {
                "m_stop [GeV]": mass,
                "LO [fb]": f"{1e3 * value:.4g} ± {1e3 * error:.1g}",
                "NNLO+NNLL [fb]": f"{1e3 * reference:.4g}",
                "K": f"{reference / value:.3f} ± {reference / value * error / value:.3f}",
            }
        )
    return rows


def read_sample(folder: Path, process: str) -> Events:
    """All files of one process in a sample, as one."""
    parts = [read_events(path) for path in sorted(folder.glob(f"{process}_*.h5"))]
    if not parts:
        raise InputError(f"{folder}: no {process} files, expected at least one; run simulate.py")
    return merge(parts, parts[0].attributes)


def cut_flow(folder: Path) -> Rows:
    """Events left after every cut, per process and stop mass, as shares of all begun."""
    columns: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.h5")):
        events = read_events(path)
        key = "tt̄" if events.process == "ttbar" else f"stop {events.m_stop} GeV"
        columns[key] = columns.get(key, 0) + events.cut_flow["events"]
        cuts = [name.decode() for name in events.cut_flow["name"]]
    keys = sorted(columns, key=lambda key: (key != "tt̄", len(key), key))
    return [
        {"cut": cut} | {key: f"{columns[key][i] / columns[key][0]:.3%}" for key in keys}
        for i, cut in enumerate(cuts)
    ]


def ttbar_yield(folder: Path) -> tuple[float, float]:
    """Fully selected top pairs expected in 137 fb^-1, NNLO+NNLL, and the statistical error."""
    flow = read_sample(folder, "ttbar").cut_flow["events"]
    expected = 1e3 * TTBAR * LUMINOSITY * flow[-1] / flow[0]
    return expected, expected / np.sqrt(flow[-1])


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


def contained(
    events: Events, definition: str, quarks: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Masses of the jets that hold all of `quarks` and none of `others`.

    Args:
        quarks, others: structured (n, q) with fields eta and phi.
    """
    radius = int(definition[2:]) / 10
    jets = events.large_r[definition]

    def distance(partons: np.ndarray) -> np.ndarray:
        one, two = jets[:, :, None], partons[:, None, :]
        return delta_r(one["eta"], one["phi"], two["eta"], two["phi"])

    inside = (distance(quarks) < QUARKS_INSIDE * radius).all(axis=2) & (jets["pt"] > 0)
    return jets["mass"][inside & (distance(others) > radius).all(axis=2)]


def bottom(truth: np.ndarray, top: int, w: int) -> np.ndarray:
    """The b quarks' directions (n, 1), from t - W."""
    momenta = []
    for slot in (top, w):
        pt, eta, phi = (truth[name][:, slot].astype(float) for name in ("pt", "eta", "phi"))
        momenta.append(np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)]))
    x, y, z = momenta[0] - momenta[1]
    direction = np.zeros((len(truth), 1), truth.dtype)
    direction["eta"][:, 0] = np.arcsinh(z / np.hypot(x, y))
    direction["phi"][:, 0] = np.arctan2(y, x)
    return direction


def peak_masses(events: Events, particle: str) -> np.ndarray:
    """Masses of jets matched to hadronic W's (AK08), tops (AK14) or neutralinos (AK14)."""
    table, masses = events.truth, []
    if particle == "neutralino":
        for slot, other in ((8, 12), (12, 8)):
            partons = table[:, slot + 1 : slot + 4]
            rest = np.concatenate([table[:, other + 1 : other + 4], table[:, 2:8]], axis=1)
            masses.append(contained(events, "AK14", partons, rest))
        return np.concatenate(masses)
    for top, w in ((0, 2), (1, 5)):
        hadronic = np.abs(table["pdg_id"][:, w + 1]) < 6
        chosen = Events(**(vars(events) | _of(events, hadronic)))
        quarks, b = chosen.truth[:, w + 1 : w + 3], bottom(chosen.truth, top, w)
        rest = chosen.truth[:, [5 - w + 2]]  # the other W
        if particle == "W":
            masses.append(contained(chosen, "AK08", quarks, np.concatenate([b, rest], axis=1)))
        else:
            masses.append(contained(chosen, "AK14", np.concatenate([quarks, b], axis=1), rest))
    return np.concatenate(masses)


def _of(events: Events, chosen: np.ndarray) -> dict:
    """What `contained` needs of the chosen events."""
    large_r = {name: table[chosen] for name, table in events.large_r.items()}
    return {"truth": events.truth[chosen], "large_r": large_r}


def mode(masses: np.ndarray) -> float:
    """Half-sample mode: halve to the densest half until two values are left.

    Source: Robertson, Cryer, J. Amer. Stat. Assoc. 69 (1974) 1012.
    """
    masses = np.sort(masses)
    while len(masses) > 2:
        half = (len(masses) + 1) // 2
        start = np.argmin(masses[half - 1 :] - masses[: len(masses) - half + 1])
        masses = masses[start : start + half]
    return float(masses.mean())


def peak(masses: np.ndarray, resamplings: int = 200) -> tuple[float, float]:
    """Mode and its bootstrap error, smoothed: the median of the resampled modes."""
    generator = np.random.default_rng(SEED)
    modes = [mode(generator.choice(masses, len(masses))) for _ in range(resamplings)]
    return float(np.median(modes)), float(np.std(modes))


def mass_peaks(folder: Path) -> Rows:
    """Reconstructed mass peaks of truth-matched jets."""
    background, signal = read_sample(folder, "ttbar"), {}
    for path in sorted(folder.glob("stop_*.h5")):
        events = read_events(path)
        signal.setdefault(events.m_neutralino, []).append(events)
    cases = [("W", 80.4, [background], "AK08"), ("top", 172.5, [background], "AK14")]
    cases += [("neutralino", mass, parts, "AK14") for mass, parts in sorted(signal.items())]
    rows = []
    for particle, nominal, parts, definition in cases:
        masses = np.concatenate([peak_masses(events, particle) for events in parts])
        value, error = peak(masses)
        rows.append(
            {
                "particle": particle,
                "mass [GeV]": f"{nominal:g}",
                "jets": f"{len(masses)} {definition}",
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
        chosen = events.observables["n_jets"] >= n_jets
        if n_jets < JETS_MIN and not (events.observables["n_jets"] < JETS_MIN).any():
            continue
        n = int(chosen.sum())
        lost = int((events.veto_score[chosen] < VETO_SCORE_MIN).sum())
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
        chunk = make_chunk(ttbar(), tries, SEED + number, veto)
        seconds[veto] += time.process_time() - start
        if veto:
            kept[0] += chunk.cut_flow["early veto"]
            kept[1] += chunk.cut_flow["a leptonic W"]
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
    for name, process, tries in (
        ("tt̄, early veto", ttbar(), 10_000),
        ("stop 900, χ 300 GeV", stop_pair(900, 300), 1_000),
    ):
        seconds = make_chunk(process, tries, SEED).seconds
        pythia = seconds.pop("Pythia")
        shares = {stage: f"{spent / pythia:.3f}" for stage, spent in seconds.items()}
        total = f"{sum(seconds.values()) / pythia:.3f}"
        rows.append({"process": name, "Pythia [s]": f"{pythia:.1f}", **shares, "together": total})
    return rows


def hadronic_share(tries: int = 1_000) -> Rows:
    """Mean share of pT in neutral hadrons, for both significances seen in versions of the card."""
    rows = []
    for name, process in (("tt̄", ttbar()), ("stop 900, χ 300 GeV", stop_pair(900, 300))):
        particles = visible(Record.of(generate(process, tries, SEED).particles))
        row: dict[str, object] = {"process": name}
        for significance in (1.0, 2.0):
            original = detector.TOWER_SIGNIFICANCE_MIN
            detector.TOWER_SIGNIFICANCE_MIN = (original[0], significance)
            objects = detector.respond(particles, np.random.default_rng(SEED))
            detector.TOWER_SIGNIFICANCE_MIN = original
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


def markdown(rows: Rows) -> str:
    """A table in Markdown."""
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(str(value) for value in row.values()) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def write_table(name: str, rows: Rows) -> None:
    """The table as CSV, and in doc/validation.md between its marks."""
    with (
        atomic_write(Path(f"doc/results/validation_{name}.csv")) as temporary,
        temporary.open("w", newline="") as file,
    ):
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    page = Path("doc/validation.md")
    block = f"<!-- {name} -->\n{markdown(rows)}\n<!-- end -->"
    text, found = re.subn(
        rf"<!-- {name} -->.*?<!-- end -->", lambda _: block, page.read_text(), flags=re.DOTALL
    )
    if not found:
        raise InputError(f"{page}: no mark <!-- {name} --> ... <!-- end -->; put it back")
    with atomic_write(page) as temporary:
        temporary.write_text(text)
    print(f"\n{name}\n{markdown(rows)}", flush=True)


def main() -> None:
    """Make all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_study_option(parser)
    parser.set_defaults(study="demo")
    folder = load_study(parser.parse_args().study).sample_dir
    environment = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", **versions()}
    write_table("environment", [{"name": k, "version": v} for k, v in environment.items()])
    write_table("cut_flow", cut_flow(folder))
    write_table("yield", yields(folder))
    write_table("mass_peaks", mass_peaks(folder))
    write_table("veto_loss", veto_loss(Path("train_data/control")))
    write_table("veto_speed", veto_speed())
    write_table("stage_shares", stage_shares())
    write_table("hadronic_share", hadronic_share())
    write_table("cross_sections", cross_sections())


if __name__ == "__main__":
    run(main)

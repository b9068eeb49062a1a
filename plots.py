#!/usr/bin/env python
"""Step 5: every figure and the summary table of the paper, from what the steps before wrote.

Reads Data/<study>/ (events, packed jets, scores, trees; two events of the sample are drawn whole),
writes plots/<study>/: each figure as PNG with the CSV of its points beside it, summary.csv and
summary.txt (also in Data/<study>/), event_networks.csv and .txt if there are such networks (and
decorrelation.png, if there are several strengths of that),
events.csv (the features of all held-out events, for `python -m studies.events` or any other tool),
and plots.json. Figures that the inputs cannot give are left out, each with its reason.

    python plots.py --study demo              # 37 s on two cores
    python plots.py --format pdf              # study readme, every figure as PDF too
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

from tqdm import tqdm

import products
from command import run
from evaluation import event_networks
from evaluation.exclusions import exclusions
from evaluation.held_out import held_out_events
from evaluation.results import Results, read_results
from evaluation.summary import summarise
from evaluation.table import Summary
from event_level.fits import PUBLISHED_NETWORKS, all_definitions, all_networks, sources
from figures import diagram, distributions, jet_images, limits, performance, style, training_curves
from figures.event_networks import against_strength
from physics import JET_DEFINITIONS
from processes.stop import STOP_MASSES
from study import Study, add_study_options, study_of
from training.plan import require_scored

AGAINST_MASS = ("sic_networks", "sic_combinations", "sic_observables", "exclusion_plane", "gain")
WITHOUT_OBSERVABLES = "the sample holds no event observables and no selection efficiencies"


def drawings(results: Results) -> dict[str, Callable[[], style.Drawing]]:
    """Every figure by its name, in the order of the paper, each drawn when called."""
    found, average = cache(partial(exclusions, results)), jet_images.average_images
    definitions = results.study.jet_definitions
    return {
        "process": diagram.process,
        "event_displays": partial(jet_images.event_displays, results),
        **{f"average_images_{d}": partial(average, results, d) for d in definitions},
        "jet_spectra": partial(distributions.jet_spectra, results),
        "training_curves": partial(training_curves.training_curves, results),
        "scores": partial(distributions.scores, results),
        "sic_single_jets": partial(performance.sic_of_jets, results),
        "sic_three_jets": partial(performance.sic_of_events, results),
        "sic_networks": partial(performance.sic_of_networks, results),
        "sic_combinations": partial(performance.sic_of_combinations, results),
        "sic_observables": partial(performance.sic_with_observables, results),
        "sic_all_known": partial(performance.sic_with_all_known, results),
        "features": partial(distributions.features, results),
        "exclusion_plane": lambda: limits.plane(found()),
        "gain": lambda: limits.gain(found()),
    }


def left_out(results: Results) -> dict[str, str]:
    """The figures that these results cannot give, each with its reason."""
    reasons = {}
    combined = [*all_definitions(), *all_networks()]
    if not results.trees.fits.keys() & set(combined):
        needed = dict.fromkeys(one for fit in combined for one in sources(fit))
        missing = [one.label for one in needed if one not in results.scores.networks]
        reasons["sic_combinations"] = (
            f"it takes one network on all of {', '.join(JET_DEFINITIONS)}, or "
            f"{', '.join(PUBLISHED_NETWORKS)} on one of them; scores are missing of "
            f"{', '.join(missing)}"
        )
    if not training_curves.histories(results):
        reasons["training_curves"] = f"{results.study.data_dir}/models holds no history.csv"
    if "stop" not in results.study.sample.processes:
        reasons["process"] = "the study has no stop pairs"
    stop_masses, neutralino_masses = results.masses
    if not len(stop_masses):
        reason = "the signal has no masses of a stop and a neutralino"
        reasons |= dict.fromkeys(AGAINST_MASS, reason)
    elif stop_masses[0] < STOP_MASSES[0] or stop_masses[-1] > STOP_MASSES[-1]:
        reason = "the table of stop-pair cross sections spans {:g} to {:g} GeV".format(*STOP_MASSES)
        reasons |= dict.fromkeys(("exclusion_plane", "gain"), reason)
    elif min(len(stop_masses), len(neutralino_masses)) < 2:
        reasons["exclusion_plane"] = "a plane needs two stop and two neutralino masses"
    if results.table.observables is None:
        unknown = ("sic_observables", "sic_all_known", "features", "exclusion_plane", "gain")
        reasons |= dict.fromkeys(unknown, WITHOUT_OBSERVABLES)
    return reasons


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_study_options(parser)
    parser.add_argument(
        "--format", choices=("png", "pdf"), default="png", help="pdf: that too (default: png)"
    )
    options = parser.parse_args()
    study, formats = study_of(options), sorted({"png", options.format}, reverse=True)
    folder, manifest = study.plots_dir, study.plots_dir / "plots.json"
    inputs: dict[str, dict] = {}
    for name, step, script in (
        ("setup", "setup", "setup.py"),
        ("scores", "predict", "predict_base_model_mass.py"),
        ("trees", "fit", "fit_xgb.py"),
    ):
        path = study.data_dir / f"{name}.json"
        made = products.read_manifest(path, script, study.settings(step), inputs)
        inputs |= made["outputs"]
        if name == "scores":
            require_scored(study, made)
    inputs |= products.fingerprints(sorted((study.data_dir / "models").glob("*/history.csv")))
    settings = study.settings("plots") | {"formats": formats}
    if products.is_finished(manifest, settings, inputs):
        print(f"{folder} is finished already")
        return

    with products.alone(manifest):
        earlier = products.recorded_outputs(manifest)
        with products.unchanged(inputs):
            summary, written, reasons = draw_all(study, made["left_out"], formats)
        products.write_manifest(manifest, settings, inputs, written, left_out=reasons)
        for path in earlier.difference(written):  # nothing here is of other settings
            path.unlink(missing_ok=True)
    n_figures = sum(path.suffix == ".png" for path in written)
    print(f"\n{summary.text()}\n{n_figures} figures and summary.txt are in {folder}")


def draw_all(
    study: Study, fits_left_out: Mapping[str, str], formats: Sequence[str]
) -> tuple[Summary, list[Path], dict[str, str]]:
    """Write all figures and the table; returns it, the files, and what is left out, and why."""
    style.apply()
    results, folder = read_results(study, fits_left_out), study.plots_dir
    reasons = left_out(results)
    points, written = {}, []
    wanted = {name: draw for name, draw in drawings(results).items() if name not in reasons}
    for name, draw in tqdm(wanted.items(), unit="figure", disable=None):
        drawing = draw()
        written += style.save(drawing, folder / f"{name}.png", formats)
        points[name] = drawing.points
        tqdm.write(f"{folder / name}.png: {drawing.words}")

    summary = summarise(results, points)
    missing = results.left_out | reasons
    summary.sentences.extend(f"Left out: {name}: {reason}." for name, reason in missing.items())
    tables = {"summary": (summary.rows, summary.text())}
    beside_trees = event_networks.compare(results, with_masses="gain" not in reasons)
    if beside_trees.rows:
        rows = event_networks.tidy(beside_trees)
        if drawing := against_strength(rows, study.event_networks.spectator):
            written += style.save(drawing, folder / "decorrelation.png", formats)
        tables["event_networks"] = rows, beside_trees.text()
    if events := held_out_events(results):
        written.append(folder / "events.csv")
        style.write_table(written[-1], events)
    for place in (study.data_dir, folder):
        for name, (rows, text) in tables.items():
            style.write_table(place / f"{name}.csv", rows)
            products.write_text(place / f"{name}.txt", text)
            written += [place / f"{name}.csv", place / f"{name}.txt"]
    return summary, written, reasons


if __name__ == "__main__":
    run(main)

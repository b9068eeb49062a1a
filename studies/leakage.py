"""What would the published split have shown? Signal that was trained on, tested again.

The published code splits by jet and passes the signal of the trainings to the later steps again, so
some of what it tests on was trained on. Here the AK14 networks of a study score signal jets that
they were trained on, from fully selected events and weighted to the mass points of the held-out
signal, against the held-out background. Jet mass and pT, which learn nothing, must not differ.

Reads   what the steps of the study wrote, its checkpoints included.
Writes  doc/results/<study>_leakage.csv and a table of doc/ordering.md.

    python -m studies.leakage --study studies/ordering_cpu.toml
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from figures.results import MASS, PT, Classifiers, read_results
from jets.packed import PackedJets, read_event_table
from jets.split import TRAIN, mass_point
from predict_base_model_mass import finished_trainings, signal_probability
from products import run, write_csv
from sensitivity.auc import auc
from sensitivity.bootstrap import Scores
from sensitivity.sic import max_sic, ratio_of_means
from studies.ordering import PAGE
from studies.pages import Rows, show, written
from study import JETS_MIN, Study, load_study
from training.batches import JetImages, read_split
from training.learner import choose_device

DEFINITION = "AK14"
BETTER, WORSE = "MaxViT", "CNN"  # whose published ratio is the question


def trained_on(study: Study) -> PackedJets:
    """Signal jets of the training split, of fully selected events."""
    jets = read_split(study, DEFINITION, TRAIN)
    n_jets = read_event_table(study.data_dir / "events.h5").events["n_jets"]
    rows = np.flatnonzero((jets.jets["label"] == 1) & (n_jets[jets.jets["event"]] >= JETS_MIN))
    return dataclasses.replace(jets, jets=jets.jets[rows], images=jets.images.take(rows))


def scores_of(jets: PackedJets, study: Study, device: str | None) -> dict[str, np.ndarray]:
    """(n,) of each classifier: mass, pT, and every seed of every network as `MaxViT/0`."""
    images = JetImages(jets, study.pixel_scale, study.standardised_mass, choose_device(device))
    found = {MASS: jets.jets["mass"], PT: jets.jets["pt"]}
    for trained in finished_trainings(study):
        one = trained.training
        if one.jet_definition == DEFINITION and not one.shuffled_labels:
            name = f"{one.network}/{one.seed}"
            found[name] = signal_probability(trained, study, images)
    return found


def weights_to(wanted: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Weights of entries of the groups `given` (n,) with which these are as common as in `wanted`.

    >>> weights_to(np.array([1, 1, 2, 2]), np.array([1, 2, 2, 2])).round(3)
    array([2.   , 0.667, 0.667, 0.667])
    """
    groups, group, n_given = np.unique(given, return_inverse=True, return_counts=True)
    n_wanted = np.sum(wanted[:, None] == groups, axis=0)
    return (n_wanted / n_given * len(given) / n_wanted.sum())[group]


def compare(
    classifiers: Classifiers,
    seen: dict[str, np.ndarray],
    event: np.ndarray,
    events: np.ndarray,
    study: Study,
) -> Rows:
    """Each classifier with signal that is held out and with signal that was trained on.

    Args:
        classifiers: of the held-out jets.
        seen: classifier -> (n,) scores of the signal jets that were trained on.
        event: (n,) their rows of the event table.
        events: the event table.
    """
    point = mass_point(events)
    weight = weights_to(point[classifiers.event[classifiers.is_signal]], point[event])
    kinds = ("held out", "trained on")
    rows, maxima = [], {kind: {} for kind in kinds}
    for name, score in seen.items():
        held_out, background = classifiers.pair(name)
        row = {"classifier": name}
        for kind, signal in zip(kinds, (held_out, Scores(score, event, weight)), strict=True):
            found = max_sic(
                signal,
                background,
                signal_efficiency_min=study.signal_efficiency_min,
                background_min=study.background_jets_min,
                bootstraps=study.bootstraps,
            )
            row[f"AUC, signal {kind}"] = written(auc(signal, background))
            row[f"max SIC, signal {kind}"] = written(found)
            maxima[kind].setdefault(name.partition("/")[0], []).append(found)
        rows.append(row)
    if {BETTER, WORSE} <= set(maxima[kinds[0]]):
        ratios = {
            f"max SIC, signal {kind}": written(ratio_of_means(some[BETTER], some[WORSE]))
            for kind, some in maxima.items()
        }
        rows.append(dict.fromkeys(rows[0], "") | {"classifier": f"{BETTER} / {WORSE}"} | ratios)
    return rows


def main() -> None:
    """Score, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", required=True, metavar="FILE", help="the study's TOML file")
    parser.add_argument("--device", help="of scoring (default: a GPU if there is one)")
    options = parser.parse_args()
    study = load_study(options.study)
    results = read_results(study, {})
    jets = trained_on(study)
    classifiers = results.repeats_of_jets(DEFINITION)
    alone = results.of_jets(DEFINITION).score
    classifiers = dataclasses.replace(
        classifiers, score={**classifiers.score, MASS: alone[MASS], PT: alone[PT]}
    )
    seen = scores_of(jets, study, options.device)
    rows = compare(classifiers, seen, jets.jets["event"], results.table.events, study)
    write_csv(Path(f"doc/results/{study.name}_leakage.csv"), rows)
    show(PAGE, "leakage", rows)
    print(f"{PAGE}: {len(jets)} signal jets that were trained on")


if __name__ == "__main__":
    run(main)

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
from sensitivity.sic import MaximumSIC, ratio_of_means
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


def with_signal_seen(
    classifiers: Classifiers, seen: dict[str, np.ndarray], event: np.ndarray, events: np.ndarray
) -> Classifiers:
    """The same classifiers and background, with other signal.

    Args:
        seen: classifier -> (n,) scores of the signal jets that were trained on.
        event: (n,) their rows of the event table.
        events: the event table.
    """
    background, point = ~classifiers.is_signal, mass_point(events)
    held_out = classifiers.event[classifiers.is_signal]

    def joined(of_signal: np.ndarray, of_all: np.ndarray) -> np.ndarray:
        return np.concatenate([of_signal, of_all[background]])

    return dataclasses.replace(
        classifiers,
        score={name: joined(seen[name], score) for name, score in classifiers.score.items()},
        event=joined(event, classifiers.event),
        is_signal=joined(np.ones(len(event), bool), classifiers.is_signal),
        pt=joined(seen[PT], classifiers.pt),
        weight=joined(weights_to(point[held_out], point[event]), classifiers.weight),
    )


def compare(of_signal: dict[str, Classifiers]) -> Rows:
    """Each classifier with signal that is held out and with signal that was trained on.

    Args:
        of_signal: kind of the signal -> the same classifiers.
    """
    rows: dict[str, dict[str, str]] = {}
    maxima: dict[str, dict[str, list[MaximumSIC]]] = {}
    for kind, classifiers in of_signal.items():
        for name, area in zip(classifiers.score, classifiers.aucs(), strict=True):
            found = classifiers.max_sic(name)
            row = rows.setdefault(name, {"classifier": name})
            row |= {f"AUC, signal {kind}": written(area), f"max SIC, signal {kind}": written(found)}
            maxima.setdefault(kind, {}).setdefault(name.partition("/")[0], []).append(found)
    if all({BETTER, WORSE} <= set(some) for some in maxima.values()):
        empty = dict.fromkeys(next(iter(rows.values())), "")
        ratio = f"{BETTER} / {WORSE}"
        rows[ratio] = empty | {"classifier": ratio}
        for kind, some in maxima.items():
            quotient = ratio_of_means(some[BETTER], some[WORSE])
            rows[ratio][f"max SIC, signal {kind}"] = written(quotient)
    return list(rows.values())


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
        classifiers, score={MASS: alone[MASS], PT: alone[PT], **classifiers.score}
    )
    seen = scores_of(jets, study, options.device)
    again = with_signal_seen(classifiers, seen, jets.jets["event"], results.table.events)
    rows = compare({"held out": classifiers, "trained on": again})
    write_csv(Path(f"doc/results/{study.name}_leakage.csv"), rows)
    show(PAGE, "leakage", rows)
    print(f"{PAGE}: {len(jets)} signal jets that were trained on")


if __name__ == "__main__":
    run(main)

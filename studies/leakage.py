"""What would the published split have shown? Signal that was trained on, tested again.

The published code splits by jet and passes the signal of the trainings to the later steps again, so
some of what it tests on was trained on. Here the AK14 networks of a study score signal jets that
they were trained on, from fully selected events and weighted to the mass points of the held-out
signal, against the held-out background: as they are after the epoch that the study takes, and after
the last one, because overfitting grows. Jet mass and pT, which learn nothing, must not
differ.

Reads   what the steps of the study wrote, its checkpoints included.
Writes  a table of the study's page, also as results/<study>_leakage.csv beside it.

    python -m studies.leakage --study studies/ordering_cpu.toml
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import torch

from command import InputError, run
from evaluation.pages import Rows
from evaluation.results import Classifiers, read_results
from evaluation.table import cell, ends, pivot
from jets.classifier import Classifier
from jets.packed import PackedJets, read_event_table
from jets.split import HELD_OUT, TRAIN, mass_point, relative_weights
from physics import JETS_MIN
from sensitivity.bootstrap import Estimate
from sensitivity.sic import ratio_of_means
from studies.pages import options_of, publish
from study import Study, load_study
from training import checkpoint
from training.jet_images import JetImages, read_split
from training.learner import choose_device
from training.scoring import finished_trainings, signal_probability

DEFINITION = "AK14"
BETTER, WORSE = "MaxViT", "CNN"  # whose published ratio is the question
BEST, LAST = "best", "last"  # epochs: that which the study takes, and the last
Scored = tuple[Classifier, str]  # a classifier after an epoch; "" if it learns nothing
MASS, PT = ((Classifier((DEFINITION,), features=(name,)), "") for name in ("mass", "pt"))


def trained_on(study: Study) -> PackedJets:
    """Signal jets of the training split, of fully selected events."""
    jets = read_split(study, DEFINITION, TRAIN)
    n_jets = read_event_table(study.data_dir / "events.h5").events["n_jets"]
    is_selected = n_jets[jets.jets["event"]] >= JETS_MIN
    return jets.take(np.flatnonzero((jets.jets["label"] == 1) & is_selected))


def held_out(study: Study, classifiers: Classifiers) -> PackedJets:
    """The jets of these classifiers, in their order."""
    jets = read_split(study, DEFINITION, HELD_OUT)
    is_in = jets.jets["classified"] & np.isin(jets.jets["event"], classifiers.event)
    rows = np.flatnonzero(is_in)
    chosen = jets.take(rows[np.argsort(jets.jets[["event", "k"]][rows])])
    if not np.array_equal(chosen.jets["mass"], classifiers.score[MASS]):
        scores = f"{study.data_dir}/scores.h5: not of the jets of {DEFINITION}.h5"
        raise InputError(f"{scores}; run predict_base_model_mass.py again")
    return chosen


def scores_of(
    jets: PackedJets, study: Study, device: torch.device, epochs: Sequence[str]
) -> dict[Scored, np.ndarray]:
    """(n,) of every seed of every network, after each of `epochs`: `BEST` or `LAST`."""
    images = JetImages(jets, study.training.pixel_scale, study.training.standardised_mass, device)
    found = {}
    for trained in finished_trainings(study):
        one = trained.training
        if one.jet_definition == DEFINITION and not one.shuffled_labels:
            last = checkpoint.checkpoint_path(trained.best.parent, study.training.epochs - 1)
            of = {BEST: trained, LAST: dataclasses.replace(trained, best=last)}
            for epoch in epochs:
                found[one.classifier, epoch] = signal_probability(of[epoch], study, images)
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
    classifiers: Classifiers, seen: dict[Scored, np.ndarray], event: np.ndarray, events: np.ndarray
) -> Classifiers:
    """The same classifiers and background, with other signal.

    Args:
        seen: classifier -> (n,) scores of the signal jets that were trained on.
        event: (n,) their rows of the event table `events`.
    """
    background, point = ~classifiers.is_signal, mass_point(events)
    wanted = classifiers.event[classifiers.is_signal]

    def joined(of_signal: np.ndarray, of_all: np.ndarray) -> np.ndarray:
        return np.concatenate([of_signal, of_all[background]])

    weight = weights_to(point[wanted], point[event]) * relative_weights(events)[event]
    return dataclasses.replace(
        classifiers,
        score={name: joined(seen[name], score) for name, score in classifiers.score.items()},
        event=joined(event, classifiers.event),
        is_signal=joined(np.ones(len(event), bool), classifiers.is_signal),
        spectra={
            name: joined(seen[one], classifiers.spectra[name])
            for name, one in (("pt", PT), ("mass", MASS))
        },
        weight=joined(weight, classifiers.weight),
    )


def compare(of_signal: dict[str, Classifiers]) -> Rows:
    """The same classifiers with signal of each kind: `held_out`, `trained_on`."""
    rows, maxima = [], {}
    for kind, classifiers in of_signal.items():
        for (one, epoch), area in zip(classifiers.score, classifiers.aucs, strict=True):
            found = classifiers.max_sic((one, epoch))
            maxima.setdefault((kind, epoch, one.networks), []).append(found)
            rows.append(_row(kind, one, epoch, "AUC", area))
            rows.append(_row(kind, one, epoch, "max SIC", found))
    for epoch, kind in itertools.product((BEST, LAST), of_signal):
        sides = [maxima.get((kind, epoch, (network,))) for network in (BETTER, WORSE)]
        if all(sides):
            better, ratio = Classifier((DEFINITION,), (BETTER,)), ratio_of_means(*sides)
            rows.append(_row(kind, better, epoch, "ratio of max SIC", ratio, WORSE))
    return rows


def _row(
    kind: str, one: Classifier, epoch: str, quantity: str, number: Estimate, reference: str = ""
) -> dict[str, object]:
    key = {"signal": kind, **one.key._asdict(), "seed": "" if one.seed is None else one.seed}
    compared = {"epoch": epoch, "reference_network": reference, "quantity": quantity}
    return key | compared | ends(number)


def printed(rows: Rows) -> Rows:
    """One line a classifier."""

    def line(row: dict) -> dict[str, str]:
        names = ("jet_definition", "network", "features")
        words = [Classifier(*((row[name],) if row[name] else () for name in names)).words]
        words += [f" / {row['reference_network']}"] if row["reference_network"] else []
        words += [", last epoch"] if row["epoch"] == LAST else []
        return {"classifier": "".join([*words, f"/{row['seed']}" if row["seed"] else ""])}

    def cells(row: dict) -> dict[str, str]:
        quantity = row["quantity"].removeprefix("ratio of ")
        return {f"{quantity}, signal {row['signal'].replace('_', ' ')}": cell(row)}

    return pivot(rows, line, cells)


def main() -> None:
    """Score, compare, write."""
    options = options_of(__doc__).parse_args()
    study, device = load_study(options.study), choose_device(options.device)
    results = read_results(study, {})
    classifiers = results.repeats_of_jets(DEFINITION)
    alone = results.of_jets(DEFINITION).only([MASS[0], PT[0]]).score
    together = {(one, ""): score for one, score in alone.items()}
    together |= {(one, BEST): score for one, score in classifiers.score.items()}
    classifiers = dataclasses.replace(classifiers, score=together)
    later = scores_of(held_out(study, classifiers), study, device, [LAST])
    classifiers = dataclasses.replace(classifiers, score=classifiers.score | later)
    jets = trained_on(study)
    seen = {MASS: jets.jets["mass"], PT: jets.jets["pt"]}
    seen |= scores_of(jets, study, device, [BEST, LAST])
    again = with_signal_seen(classifiers, seen, jets.jets["event"], results.table.events)
    rows = compare({"held_out": classifiers, "trained_on": again})
    page = publish(study, "leakage", rows, printed)
    print(f"{page}: {len(jets)} signal jets that were trained on")


if __name__ == "__main__":
    run(main)

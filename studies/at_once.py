"""What a network that sees three jets at once adds to trees over events, and its control.

Such a network is trained on events without selection, which the trees over events never see. So
what it adds can be those events and not the pictures. The control sees the same events without
pictures: trees on mass, pT and angularities of their three jets.
"""

from dataclasses import replace

import numpy as np
import torch
import xgboost

from evaluation.results import Results, results_of
from event_level.fits import CLASSICAL, KNOWN, columns, jet_columns, with_all_known
from event_level.trees import cross_fit, folds_and_offered, grow, weights_to_grow_with
from jets.angularities import ANGULARITIES, angularities
from jets.classifier import HELD_OUT_EVENTS, Classifier
from jets.packed import EventTable
from jets.scores import BaseScores, read_scores, read_trees
from jets.split import HELD_OUT, TRAIN, is_signal, relative_weights
from jets.weights import event_weights, training_weights
from study import Study
from training.scoring import signal_probability, trained_seeds
from training.three_jets import ThreeJetImages, three_jets

ALL_KNOWN = with_all_known([])[-1]


def with_three_jets(
    results: Results, jet_definition: str, network: str, device: torch.device
) -> Results:
    """The results and trees over events that see all that is known and one more column: the score
    of each training of the network, the first under no seed, or that of its control."""
    study, table = results.study, results.table
    trained = trained_seeds(study, jet_definition, network)
    if not trained:
        return results
    scores = read_scores(study.data_dir / "scores.h5", study.classifiers.seeds)
    images = ThreeJetImages.read(study, jet_definition, HELD_OUT, device)
    assert np.array_equal(images.table["event"], scores.event), "the same held-out events"
    found = {one.training.classifier: signal_probability(one, study, images) for one in trained}
    found = {
        one._replace(seed=one.seed if i else None): score
        for i, (one, score) in enumerate(found.items())
    }
    control = Classifier((jet_definition,), (f"trees of {network}'s events",))
    found[control] = of_same_events(study, jet_definition, scores, table)

    events = table.events[scores.event]
    labels, known = is_signal(events), columns(ALL_KNOWN, scores, table)
    fold, offered = folds_and_offered(events, labels, study)
    weight = np.zeros(len(events))
    source = study.data_dir / "events.h5"
    weight[offered] = weights_to_grow_with(relative_weights(events)[offered], study, source)
    grown = {
        one._replace(features=KNOWN, trees=HELD_OUT_EVENTS): cross_fit(
            np.column_stack([known, score]), labels, weight, fold, study, "cpu"
        )
        for one, score in found.items()
    }
    trees = read_trees(study.data_dir / "trees.h5")
    trees = replace(trees, fits=trees.fits | grown)
    return results_of(study, table, scores, trees, results.left_out)


def of_same_events(
    study: Study, jet_definition: str, scores: BaseScores, table: EventTable
) -> np.ndarray:
    """The control's probability of signal (m,) of the held-out events of `scores`; its trees are
    grown on the events, and with the weights, that train a network of three jets."""
    features, events = columns_of_three_jets(study, jet_definition, TRAIN)
    label = events["label"] == 1
    weights = event_weights([events], table, study)
    [weight], _ = training_weights([events], [events["label"]], weights, study)
    rows = weight > 0
    trees = grow(features[rows], label[rows], weight[rows], study, "cpu")
    tested = columns(seen_of(jet_definition), scores, table)
    return trees.predict(xgboost.DMatrix(tested, nthread=1))


def columns_of_three_jets(
    study: Study, jet_definition: str, split: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mass, pT and angularities of three jets (n, 21), 0 without a jet, in the order of
    `event_level.fits.columns`, and the events (n,), see `three_jets`."""
    packed, jet_of_event, events = three_jets(study, jet_definition, split)
    shapes = angularities(packed.images, packed.side, jet_definition)
    names = jet_columns(seen_of(jet_definition))
    found = [(shapes if name in ANGULARITIES else packed.jets)[name] for name in names]
    exists = jet_of_event < len(packed) - 1
    return np.hstack([np.where(exists, column[jet_of_event], 0) for column in found]), events


def seen_of(jet_definition: str) -> Classifier:
    """What the control sees: all that is known of three jets, and nothing else of the event."""
    return Classifier((jet_definition,), (), CLASSICAL[-1], HELD_OUT_EVENTS)

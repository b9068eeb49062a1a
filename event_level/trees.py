"""Gradient-boosted trees, cross-fitted: each event is scored by trees grown on the other folds."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import xgboost
from tqdm import tqdm

from command import InputError
from event_level.fits import (
    OBJECTS,
    columns,
    jet_columns,
    null_check,
    reason_against,
    repeats,
    sources,
)
from jets.angularities import ANGULARITIES, angularities
from jets.classifier import TRAINING_JETS, Classifier
from jets.event_set import read_event_set
from jets.packed import EventTable, PackedJets, read_event_table, read_jets
from jets.scores import BaseScores, TreeScores, read_scores
from jets.split import (
    HELD_OUT,
    TRAIN,
    is_background,
    is_signal,
    lowest,
    mass_point,
    relative_weights,
    uniform,
)
from jets.weights import event_weights, training_weights
from physics import MISSING_SCORE
from products import cores
from study import Study


def folds_and_offered(
    events: np.ndarray, labels: np.ndarray, study: Study
) -> tuple[np.ndarray, np.ndarray]:
    """The fold of every event (m,) of the table, and whether trees may be grown on it.

    They may not on signal beyond `trees.events_per_mass_point`, nor on variations. Both follow from
    an event's key alone, with independent hashes.

    Raises:
        InputError: a fold without signal or without background.
    """
    fold = (uniform(events, salt="fold") * study.trees.folds).astype(np.uint8)
    background = is_background(events)
    for of_class, what in ((is_signal(events), "signal"), (background, "background")):
        if len(np.unique(fold[of_class])) < study.trees.folds:
            raise InputError(
                f"{study.data_dir}/events.h5: {np.sum(of_class)} held-out {what} events "
                f"do not fill {study.trees.folds} folds; add {what} files or lower trees.folds"
            )
    chosen = lowest(
        uniform(events, salt="trees"), mass_point(events), study.trees.events_per_mass_point
    )
    return fold, background | (labels & chosen)


def weights_to_grow_with(weight: np.ndarray, study: Study, source: Path) -> np.ndarray:
    """Weights (n,) without negative ones, by the study's `trees.negative_weights`; 0 leaves out.

    Args:
        source: the file that has them.

    Raises:
        InputError: the study refuses them.
    """
    negative = np.count_nonzero(weight < 0)
    if negative and study.trees.negative_weights == "refuse":
        raise InputError(
            f"{source}: {negative} of {len(weight)} weights to grow trees with "
            "are negative; set trees.negative_weights to 'leave out' or to 'absolute', which takes "
            "|w|"
        )
    if negative:
        rule = study.trees.negative_weights
        print(f"{negative} of {len(weight)} weights to grow trees with are negative: {rule}")
    return np.abs(weight) if study.trees.negative_weights == "absolute" else np.maximum(weight, 0)


def grow(
    features: np.ndarray, is_signal: np.ndarray, weight: np.ndarray, study: Study, device: str
) -> xgboost.Booster:
    """Trees on features (n, f) of events of some weight (n,), 0 or more; in one thread."""
    # Both classes weigh the same, as in the paper, where they are equally many.
    share = weight[is_signal].sum() / weight.sum()
    weight = weight * (0.5 / np.where(is_signal, share, 1.0 - share))
    return xgboost.train(
        {
            "objective": "binary:logistic",
            "eta": study.trees.learning_rate,
            "tree_method": "hist",
            "device": device,
            "nthread": 1,
            "seed": 0,
        },
        xgboost.DMatrix(features, is_signal, weight=weight, nthread=1),
        num_boost_round=study.trees.number,
    )


def cross_fit(
    features: np.ndarray,
    is_signal: np.ndarray,
    weight: np.ndarray,
    fold: np.ndarray,
    study: Study,
    device: str,
) -> np.ndarray:
    """Out-of-fold probability of signal (n,) of rows of features (n, f).

    One thread grows the trees of one fold, and all folds grow at once: no result depends on the
    number of cores. Rows of weight 0 are scored, but no trees are grown on them. A GPU is named as
    in PyTorch.
    """

    def grow_and_score(tested: np.ndarray) -> np.ndarray:
        rows = (weight > 0) & ~tested
        trees = grow(features[rows], is_signal[rows], weight[rows], study, device)
        return trees.predict(xgboost.DMatrix(features[tested], nthread=1))

    tests = [fold == number for number in range(study.trees.folds)]
    assert (np.sum(tests, axis=0) == 1).all(), "every event is a test event exactly once"
    score = np.full(len(fold), np.nan, np.float32)
    with ThreadPoolExecutor(cores() if device == "cpu" else 1) as pool:
        for tested, tested_score in zip(tests, pool.map(grow_and_score, tests), strict=True):
            score[tested] = tested_score
    return score


def scores_of_one_jet(
    jets: np.ndarray, names: Sequence[str], fit: Callable[..., np.ndarray]
) -> np.ndarray:
    """Trees on these columns of one jet, grown on classified jets; (m, 3), -1 without a jet."""
    exists = jets["pt"] > 0
    event = np.broadcast_to(np.arange(len(jets))[:, None], jets.shape)[exists]
    score = np.full(jets.shape, MISSING_SCORE, np.float32)
    score[exists] = fit(_stacked(jets[exists], names), event, jets["classified"][exists])
    return score


def scores_by_same_jets(
    jets: np.ndarray,
    packed: PackedJets,
    weight: np.ndarray,
    names: Sequence[str],
    study: Study,
    device: str,
) -> np.ndarray:
    """The same, grown on the `packed` jets, which train the networks, with their weights (n,)."""
    shapes = angularities(packed.images, packed.side, packed.jet_definition)
    seen = {name: (shapes if name in ANGULARITIES else packed.jets)[name] for name in names}
    rows, exists = weight > 0, jets["pt"] > 0
    is_signal = packed.jets["label"] == 1
    trees = grow(_stacked(seen, names)[rows], is_signal[rows], weight[rows], study, device)
    score = np.full(jets.shape, MISSING_SCORE, np.float32)
    score[exists] = trees.predict(xgboost.DMatrix(_stacked(jets[exists], names), nthread=1))
    return score


def training_jets(
    study: Study, jet_definition: str, table: EventTable
) -> tuple[PackedJets, np.ndarray]:
    """The jets that train the networks, and their weights (n,) in that."""
    packed = read_jets(study.packed_file(jet_definition), TRAIN)
    weights = event_weights([packed.jets], table, study)
    [weight], _ = training_weights([packed.jets], [packed.jets["label"]], weights, study)
    return packed, weight


def _stacked(columns: np.ndarray | Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    return np.stack([columns[name] for name in names], axis=1)


def held_out_events(
    study: Study, table: EventTable, scores: BaseScores
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether each held-out event is signal, its weight to grow with and its fold, (m,) each."""
    events = table.events[scores.event]
    assert (events["split"] == HELD_OUT).all(), "an event that was trained on is no test"
    labels, weight = is_signal(events), np.zeros(len(events))
    fold, offered = folds_and_offered(events, labels, study)
    source = study.data_dir / "events.h5"
    weight[offered] = weights_to_grow_with(relative_weights(events)[offered], study, source)
    return labels, weight, fold


def grow_all(
    study: Study, wanted: Sequence[Classifier], device: str
) -> tuple[TreeScores, dict[str, str]]:
    """All trees, and networks of events, whose inputs exist; by their labels why others of `wanted`
    are left out."""
    table = read_event_table(study.data_dir / "events.h5")
    scores = read_scores(study.data_dir / "scores.h5", study.classifiers.seeds)
    labels, weight, fold = held_out_events(study, table, scores)
    shuffled = np.random.default_rng(0).permutation(labels)
    reasons = {one: reason_against(one, scores, table) for one in (*wanted, *repeats(scores))}
    chosen = [one for one, reason in reasons.items() if not reason]
    networks_of = None
    if any(one.event_network for one in chosen):
        from event_level.networks import cross_fit as fit_networks  # PyTorch, which trees do not
        from event_level.networks import fitting

        networks_of = partial(fit_networks, **fitting(study, table, scores, device))
    print(
        f"{len(fold)} held-out events, {study.trees.folds} folds, "
        f"{len(chosen)} of {len(reasons)} fits"
    )

    def fit(
        features: np.ndarray,
        event: np.ndarray,
        usable: np.ndarray | bool = True,
        label: np.ndarray = labels,
    ) -> np.ndarray:
        return cross_fit(features, label[event], weight[event] * usable, fold[event], study, device)

    of_definition = cache(lambda name: training_jets(study, name, table))
    of_objects = cache(lambda networks: read_event_set(study, scores, networks, "AK14"))
    found, every = {}, np.arange(len(fold))
    progress = tqdm(total=len(chosen) + 1, unit="fit", disable=None)
    for one in chosen:
        if OBJECTS in one.features:
            objects = of_objects(tuple(sources(one)))
            seen = objects if one.event_network else objects.features
        elif one.level == "events":
            seen = columns(one, scores, table)
        if one.event_network:
            found[one] = networks_of(one, seen, labels, weight, fold)
        elif one.level == "events":
            found[one] = fit(seen, every)
        else:
            (definition,), names = one.jet_definitions, jet_columns(one)
            jets = scores.jets[definition]
            if one.trees == TRAINING_JETS:
                packed, of_jets = of_definition(definition)
                found[one] = scores_by_same_jets(jets, packed, of_jets, names, study, device)
            else:
                found[one] = scores_of_one_jet(jets, names, fit)
        progress.update()
    features = np.concatenate([columns(one, scores, table) for one in scores.networks], axis=1)
    found[null_check(scores)] = fit(features, every, label=shuffled)
    progress.update()
    progress.close()

    left_out = {one.label: reason for one, reason in reasons.items() if reason}
    return TreeScores(scores.event, fold, shuffled, found), left_out

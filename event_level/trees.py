"""Gradient-boosted trees, cross-fitted: each event is scored by trees grown on the other folds."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xgboost
from tqdm import tqdm

from command import InputError
from event_level.fits import CLASSICAL, OF_ONE_JET, SAME_JETS, columns, possible, repeats
from jets.angularities import ANGULARITIES, angularities
from jets.packed import PackedJets, read_event_table, read_jets
from jets.scores import TreeScores, read_scores
from jets.split import (
    HELD_OUT,
    TRAIN,
    is_background,
    is_signal,
    lowest,
    mass_point,
    uniform,
)
from physics import MISSING_SCORE
from products import cores
from study import Study


def folds_and_offered(
    events: np.ndarray, labels: np.ndarray, study: Study
) -> tuple[np.ndarray, np.ndarray]:
    """The fold of every event, and whether the trees may be grown on it.

    Args:
        events: structured (m,) rows of the event table.
        labels: (m,) whether an event is signal.

    Returns:
        (m,) folds; (m,) False for signal events beyond `tree_events_per_mass_point` and for
        variations. Both follow from an event's key alone, with independent hashes.

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


def grow(features: np.ndarray, is_signal: np.ndarray, study: Study, device: str) -> xgboost.Booster:
    """Trees on features (n, f), in one thread."""
    # Both classes weigh the same, as in the paper, where they are equally many.
    share = is_signal.mean()
    weight = 0.5 / np.where(is_signal, share, 1.0 - share)
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
    fold: np.ndarray,
    offered: np.ndarray,
    study: Study,
    device: str,
) -> np.ndarray:
    """Out-of-fold probability of signal: the score of each row by trees grown on the other folds.

    One thread grows the trees of one fold, and all folds grow at once: no result depends on the
    number of cores.

    Args:
        features: (n, f)
        is_signal, fold: (n,)
        offered: (n,) rows that trees may be grown on; all are scored.
        study: folds, number of trees, learning rate.
        device: `cpu`, or a GPU as PyTorch names it.

    Returns:
        (n,) float32.
    """

    def grow_and_score(tested: np.ndarray) -> np.ndarray:
        rows = offered & ~tested
        trees = grow(features[rows], is_signal[rows], study, device)
        return trees.predict(xgboost.DMatrix(features[tested], nthread=1))

    tests = [fold == number for number in range(study.trees.folds)]
    assert (np.sum(tests, axis=0) == 1).all(), "every event is a test event exactly once"
    score = np.full(len(fold), np.nan, np.float32)
    with ThreadPoolExecutor(cores() if device == "cpu" else 1) as pool:
        for tested, tested_score in zip(tests, pool.map(grow_and_score, tests), strict=True):
            score[tested] = tested_score
    return score


def scores_of_one_jet(
    jets: np.ndarray, names: tuple[str, ...], fit: Callable[..., np.ndarray]
) -> np.ndarray:
    """Trees on these columns of one jet, grown on classified jets; (m, 3), -1 without a jet."""
    score = np.full(jets.shape, MISSING_SCORE, np.float32)
    exists = jets["pt"] > 0
    event = np.broadcast_to(np.arange(len(jets))[:, None], jets.shape)[exists]
    features = np.stack([jets[name][exists] for name in names], axis=1)
    score[exists] = fit(features, event, jets["classified"][exists])
    return score


def scores_by_same_jets(
    jets: np.ndarray, packed: PackedJets, names: tuple[str, ...], study: Study, device: str
) -> np.ndarray:
    """Trees on these columns of one jet, grown on the `packed` jets, which train the networks.

    Returns:
        (m, 3), -1 without a jet.
    """
    shapes = angularities(packed.images, packed.side, packed.jet_definition)
    columns = [(shapes if name in ANGULARITIES else packed.jets)[name] for name in names]
    trees = grow(np.stack(columns, axis=1), packed.jets["label"] == 1, study, device)
    score = np.full(jets.shape, MISSING_SCORE, np.float32)
    exists = jets["pt"] > 0
    features = np.stack([jets[name][exists] for name in names], axis=1)
    score[exists] = trees.predict(xgboost.DMatrix(features, nthread=1))
    return score


def grow_all(
    study: Study, wanted: Mapping[str, tuple[str, ...]], device: str
) -> tuple[TreeScores, dict[str, str]]:
    """Every fit whose inputs exist, and the reasons why others of `wanted` are left out."""
    table = read_event_table(study.data_dir / "events.h5")
    scores = read_scores(study.data_dir / "scores.h5", study.classifiers.seeds)
    events = table.events[scores.event]
    assert (events["split"] == HELD_OUT).all(), "an event that was trained on is no test"
    labels = is_signal(events)
    fold, offered = folds_and_offered(events, labels, study)
    shuffled = np.random.default_rng(0).permutation(labels)
    every_fit = wanted | repeats(scores)
    chosen, left_out = possible(every_fit, scores, table)
    print(
        f"{len(events)} held-out events, {study.trees.folds} folds, "
        f"{len(chosen)} of {len(every_fit)} fits"
    )

    def fit(
        features: np.ndarray,
        event: np.ndarray,
        usable: np.ndarray | bool = True,
        label: np.ndarray = labels,
    ) -> np.ndarray:
        return cross_fit(
            features,
            label[event],
            fold[event],
            offered[event] & usable,
            study,
            device,
        )

    found, inputs = {}, {}
    every = np.arange(len(events))
    of_one_jet = [(d, name) for d in scores.jets for name in OF_ONE_JET]
    progress = tqdm(total=len(chosen) + len(of_one_jet) + 1, unit="fit", disable=None)
    for name, sources in chosen.items():
        seen = columns(sources, scores, table)
        features = np.stack(list(seen.values()), axis=1)
        found[name], inputs[name] = fit(features, every), list(seen)
        progress.update()
    for definition, what in of_one_jet:
        name, jets = f"{definition}/{what}", scores.jets[definition]
        seen = CLASSICAL["angularities" if what == SAME_JETS else what]
        if what == SAME_JETS:
            packed = read_jets(study.data_dir / f"{definition}.h5", TRAIN)
            found[name] = scores_by_same_jets(jets, packed, seen, study, device)
        else:
            found[name] = scores_of_one_jet(jets, seen, fit)
        inputs[name] = list(seen)
        progress.update()
    every_column = columns(tuple(scores.networks), scores, table)
    features = np.stack(list(every_column.values()), axis=1)
    null_check = fit(features, every, label=shuffled)
    progress.update()
    progress.close()

    return TreeScores(scores.event, fold, found, inputs, shuffled, null_check), left_out

"""Networks of events on what trees see, cross-fitted: each event is scored by a network that was
trained, and whose epoch was chosen, on other folds.

Each training goes on from its newest checkpoint in Data/<study>/event_networks/<fit>_<fold>/.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit
from scipy.stats import norm
from torch import nn

from command import InputError
from event_level.fits import spectator
from jets.classifier import Classifier, EventNetwork
from jets.event_set import EventSet
from jets.packed import EventTable
from jets.scores import BaseScores
from jets.split import is_signal, population
from jets.weights import balanced, expected_yields, is_weighted
from physics import MISSING_SCORE
from sensitivity.bootstrap import cumulative
from study import SPECTATORS, Study, TrainingSettings
from training import checkpoint
from training.event_features import EventFeatures
from training.event_set import EventSets, moments
from training.inputs import Inputs, Sample, make_sample
from training.interruption import Watch
from training.learner import Learner, choose_device
from training.loop import best_epoch, logits_of, train
from training.losses import LOSSES, OF_EXPECTED_EVENTS
from training.plan import Training, require_known

FOLDS_MIN = 3  # one is scored, one chooses the epoch, the others train
USES = ("to train on", "to choose the epoch by")
BOOTSTRAPS = 10  # of the metrics of an epoch: their errors, to a quarter, decide nothing
REACH = 4.0  # standard deviations to either side that a feature may have
Scale = Callable[[np.ndarray], np.ndarray] | dict[str, tuple[np.ndarray, np.ndarray]]


class Fold(NamedTuple):
    """The network that scores one fold of n events.

    Attributes:
        tested: (n,) the events of the fold.
        network: trained, and its epoch chosen, on others.
        inputs: of the fold, as it sees them.
        scale: what makes them so: a function of features (m, f), or moments of objects.
    """

    tested: np.ndarray
    network: nn.Module
    inputs: Inputs
    scale: Scale


def fitting(study: Study, table: EventTable, scores: BaseScores, device: str) -> dict[str, object]:
    """What `folds` and `cross_fit` take for the held-out events of a study by name; what is left to
    give are the classifier, and features or objects, labels, weights and folds of these events.

    Raises:
        InputError: settings that exclude each other, or lack something of the events.
    """
    require_settings(study, f"set it to {' or '.join(SPECTATORS)}")
    asked = study.event_networks
    if asked.spectator == "AK14 mass" and "AK14" not in scores.jets:
        raise InputError(
            f"{study.data_dir / 'scores.h5'}: holds no jets of AK14, whose mass is "
            "event_networks.spectator; train a network on them, or set it to MJ"
        )
    is_known = is_weighted(table.events)
    if not is_known and (needing := [one for one in asked.losses if one in OF_EXPECTED_EVENTS]):
        raise InputError(
            f"{study.data_dir / 'events.h5'}: all events of a class have the weight 1, so how many "
            f"are expected is unknown, which the loss {needing[0]!r} takes; simulate the sample "
            "again, or leave the loss out of event_networks.losses"
        )
    expected = expected_of_classes(table, study) if is_known else None
    seen = spectator(asked.spectator, scores, table) if asked.spectator else None
    chosen = choose_device(device)
    torch.set_num_threads(1)  # as the trees of a fold: no result depends on the number of cores

    return {"study": study, "device": chosen, "spectator": seen, "expected": expected}


def require_settings(study: Study, remedy: str) -> None:
    """Refuse losses that do not exist, too few folds, and strengths without a spectator.

    Args:
        remedy: how a spectator is named.
    """
    asked, name = study.event_networks, f"study {study.name!r}"
    require_known(study, "event_networks.losses", asked.losses, LOSSES)
    if study.trees.folds < FOLDS_MIN:
        raise InputError(
            f"{name}: trees.folds is {study.trees.folds}, expected {FOLDS_MIN} or more for event "
            "networks: one to score, one to choose the epoch by, the others to train on"
        )
    if any(asked.decorrelations) and not asked.spectator:
        raise InputError(
            f"{name}: event_networks.decorrelations are {list(asked.decorrelations)}, but "
            f"event_networks.spectator is empty; {remedy}"
        )


def expected_of_classes(table: EventTable, study: Study) -> np.ndarray:
    """Expected events (2,) of background and of signal, of which the mass points are averaged: by
    the held-out events, which these networks are trained on."""
    of_signal = np.zeros(population(table.events).max() + 1, bool)
    of_signal[population(table.events)[is_signal(table.events)]] = True
    yields = expected_yields(table, study, of_held_out=True)
    return np.array([yields[~of_signal].sum(), yields[of_signal].sum()])


def cross_fit(
    fit: Classifier, seen: np.ndarray | EventSet, *given: object, **named: object
) -> np.ndarray:
    """Out-of-fold probability of signal (n,), from the networks of all `folds`, which take the same
    arguments."""
    score = np.full(len(seen), np.nan, np.float32)
    for fold in folds(fit, seen, *given, **named):
        logits = logits_of(fold.network, fold.inputs, fit.label).astype(float)
        score[fold.tested] = expit(logits[:, 1] - logits[:, 0])
    return score


def folds(
    fit: Classifier,
    seen: np.ndarray | EventSet,
    is_signal: np.ndarray,
    weight: np.ndarray,
    fold: np.ndarray,
    study: Study,
    device: torch.device,
    spectator: np.ndarray | None = None,
    expected: np.ndarray | None = None,
) -> Iterator[Fold]:
    """The network of each fold in turn, trained when it is asked for, on n events: rows of features
    (n, f), or objects.

    As in `event_level.trees.cross_fit`, both classes weigh the same, and rows of weight 0 are
    scored only. A loss of expected events has the same weights within a class, and the classes as
    they are expected. The fold after the one that is scored chooses the epoch.

    Args:
        fit: what is fitted, by its `event_network`.
        seen: of the events; features are standardised by rank, objects by mean and deviation.
        spectator: (n,) that the loss sees.
        expected: (2,) events of background and of signal that are expected, if that is known.

    Raises:
        InputError: a fold without one of the classes, or what `training.loop.train` refuses.
    """
    made, label = fit.event_network, is_signal.astype(np.int64)
    of_training = _training_settings(study, made)
    classes = expected if of_training.training.by_cross_section else np.ones(2)
    beside = np.zeros(len(fold)) if spectator is None else spectator
    table = np.rec.fromarrays([np.arange(len(fold)), label, beside], names="event,label,spectator")

    def scale_of(known: np.ndarray) -> Scale:
        """Of the known events."""
        if isinstance(seen, EventSet):
            return moments(seen.take(known))
        by_rank = balanced(weight[known], label[known], np.ones(2))
        return normal_scores(seen[known], by_rank)

    def inputs_of(rows: np.ndarray, scale: Scale) -> Inputs:
        if isinstance(seen, EventSet):
            return EventSets(seen.take(rows), scale, table[rows], device)
        return EventFeatures(scale(seen[rows]), table[rows], device)

    def sample(inputs: Inputs, rows: np.ndarray) -> Sample:
        balance = partial(balanced, weight[rows], label[rows])
        named = "spectator" if of_training.training.spectator else ""
        of_rows = make_sample(inputs, "label", balance(classes), named)
        if expected is None:
            return of_rows
        events = balance(expected) * (expected.sum() / np.count_nonzero(rows))
        return dataclasses.replace(of_rows, expected=events)

    for number in range(study.trees.folds):
        tested, validates = fold == number, fold == (number + 1) % study.trees.folds
        parts = [rows & (weight > 0) for rows in (~tested & ~validates, validates)]
        for rows, use in zip(parts, USES, strict=True):
            if len(np.unique(label[rows])) < 2:
                raise InputError(
                    f"{fit.label}, fold {number}: {np.count_nonzero(rows)} events {use} are all of "
                    "one class; add files of the other, or lower trees.folds"
                )
        scale = scale_of(parts[0])
        samples = [sample(inputs_of(rows, scale), rows) for rows in parts]
        directory = study.data_dir / "event_networks" / f"{fit.dataset}_{number}"
        network = _trained(made, samples, of_training, directory)
        yield Fold(tested, network, inputs_of(tested, scale), scale)


def normal_scores(features: np.ndarray, weight: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Standardisation by rank: the quantile of the normal distribution at the share of the training
    events that are below, equal values counting half.

    So networks, as trees, depend on the order of values only, and long tails need no care. A jet
    that does not exist has no rank: its score of -1 becomes -`REACH`, below all others, and its
    mass, pT and angularities of 0 share one rank. A constant feature becomes 0.

    Args:
        features: (n, f) of the events to train on.
        weight: (n,) of these, above 0.

    Returns:
        A function of features (m, f), of these events or others, to (m, f).

    >>> normal_scores(np.array([[2.0], [5], [9], [-1]]), np.ones(4))(np.array([[5.0], [0], [-1]]))
    array([[ 0.],
           [-4.],
           [-4.]])
    """
    ranked = []
    for column in features.T:
        known = column != MISSING_SCORE
        order = column[known].argsort()
        sums = cumulative(weight[known][order])
        ranked.append((column[known][order], sums / max(sums[-1], np.finfo(float).tiny)))

    def standardised(features: np.ndarray) -> np.ndarray:
        shares = [
            (
                below[np.searchsorted(values, column)]
                + below[np.searchsorted(values, column, "right")]
            )
            for column, (values, below) in zip(features.T, ranked, strict=True)
        ]
        return np.clip(norm.ppf(np.stack(shares, axis=1) / 2), -REACH, REACH)

    return standardised


def _training_settings(study: Study, made: EventNetwork) -> Study:
    """The study whose trainings are those of a network of events."""
    asked = study.event_networks
    training = TrainingSettings(
        loss=made.loss,
        by_cross_section=made.loss in OF_EXPECTED_EVENTS,
        spectator=asked.spectator,
        decorrelation=made.decorrelation,
        choose_by=asked.choose_by,
        epochs=asked.epochs,
        batch_size=asked.batch_size,
        learning_rate=asked.learning_rate,
        cosine_schedule=True,
    )
    of_metrics = dataclasses.replace(study.figures, bootstraps=BOOTSTRAPS)
    return dataclasses.replace(study, training=training, figures=of_metrics)


def _trained(
    made: EventNetwork, samples: Sequence[Sample], study: Study, directory: Path
) -> nn.Module:
    """The network of its best epoch; of the checkpoints those of this and of the last are kept."""
    training, inputs = Training("AK14", made.network, made.seed), samples[0].inputs
    torch.manual_seed(made.seed)
    network = training.create(study, inputs.size).to(inputs.device)
    learner = Learner(network, study, plain=True)
    settings = training.decisive(study, _sha256(samples))
    checkpoint.set_aside(directory, study.data_dir / "set_aside", settings)
    directory.mkdir(parents=True, exist_ok=True)
    watch = Watch()
    history = train(learner, samples, made.seed, directory, settings, watch, lambda row: None)
    best = best_epoch(history, study.training.choose_by)
    for row in history[:-1]:
        if row["epoch"] != best:
            checkpoint.checkpoint_path(directory, row["epoch"]).unlink(missing_ok=True)
    checkpoint.load(checkpoint.checkpoint_path(directory, best), network, settings)
    return network


def _sha256(samples: Sequence[Sample]) -> str:
    """Of all that samples hold."""
    digest = hashlib.sha256()
    for sample in samples:
        for part in sample.batches(sample.rows, np.array([len(sample.rows)])):
            for column in (*part.inputs.values(), part.label, part.weight, part.spectator):
                digest.update(b"" if column is None else column.cpu().numpy().tobytes())
        digest.update(b"" if sample.expected is None else sample.expected.tobytes())
    return digest.hexdigest()

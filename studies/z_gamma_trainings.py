"""The trainings of `studies.higgs_to_z_gamma`: what is trained, on what, and the scores."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xgboost

from event_level.higgs_to_z_gamma import FEATURES, ZGammaTable
from event_level.trees import grow
from jets.split import TRAIN, VALIDATION, uniform
from jets.weights import balanced
from models import create_model
from processes.higgs_to_z_gamma import HIGGS_MASS
from studies.trainings import Made, read_training, train_once
from study import Study, stated
from training import checkpoint
from training.event_features import EventFeatures
from training.inputs import Sample, make_sample
from training.interruption import Watch
from training.learner import Learner
from training.loop import best_epoch, logits_of, train
from training.metrics import evaluate, expected_significance

TREES, FEED_FORWARD, TRANSFORMER = "XGBoost", "FeedForward", "EventTransformer"
NETWORKS = FEED_FORWARD, TRANSFORMER
CROSS_ENTROPY, EXTREME = "cross entropy", "extreme"
WINDOW, OTHER_WINDOWS = 5.0, (2.5, 10.0)  # GeV on either side of the Higgs mass
FEATURE_COUNTS = 5, 10, 15, 30  # the first of `FEATURES`; beyond 15 noise
STAGE = 10  # trees, which are to trees what an epoch is to networks
CHOSEN_BY = LOSS, SIGNIFICANCE = "loss", "significance"  # of validation events, the epoch


class Way(NamedTuple):
    """What is trained, and how.

    Attributes:
        network: a key of `models.MODELS`, or `TREES`.
        loss: a key of `training.losses.LOSSES`.
        decorrelation: times the distance correlation of background with the mass.
        window: GeV; the data scope of the class term is the Higgs mass +- this, 0: all events.
        features: how many.
    """

    network: str
    loss: str = CROSS_ENTROPY
    decorrelation: float = 0.0
    window: float = 0.0
    features: int = len(FEATURES)


class Trained(NamedTuple):
    """A finished training, at one of its epochs.

    Attributes:
        chosen_by: what chose the epoch, one of `CHOSEN_BY`.
        epoch: from 1.
        score: (n,) of all events, a logit of signal.
        parameters: of the network; 0 for trees.
        seconds: of training alone, without validation.
        history: one row per epoch.
    """

    way: Way
    seed: int
    chosen_by: str
    epoch: int
    score: np.ndarray
    parameters: int
    seconds: float
    history: list[dict]


def ways(study: Study) -> list[Way]:
    """What the study trains; it names the strength of the decorrelation."""
    strength = study.training.decorrelation
    trees = [Way(TREES, window=window) for window in (0.0, WINDOW)]
    networks = [
        Way(network, loss, decorrelation, window)
        for network in NETWORKS
        for loss in (CROSS_ENTROPY, EXTREME)
        for decorrelation in (0.0, strength)
        for window in (0.0, WINDOW)
    ]
    windows = [
        Way(name, EXTREME, strength, window) for name in NETWORKS for window in OTHER_WINDOWS
    ]
    counts = [Way(name, features=n) for name in (TREES, *NETWORKS) for n in FEATURE_COUNTS]
    return list(dict.fromkeys([*trees, *networks, *windows, *counts]))


def trainings(study: Study) -> list[tuple[Way, int]]:
    """All ways, each with all seeds; trees draw nothing at random and have the first alone."""
    first, *others = study.classifiers.seeds
    every = ways(study)
    return [(way, first) for way in every] + [
        (way, seed) for seed in others for way in every if way.network != TREES
    ]


def variant(study: Study, way: Way) -> Study:
    """The study with the loss of a way."""
    scope = (HIGGS_MASS - way.window, HIGGS_MASS + way.window) if way.window else ()
    loss = {"loss": way.loss, "decorrelation": way.decorrelation, "scope": scope}
    return study.changed(training=loss)


# --- Events -------------------------------------------------------------------------------------


def seen(table: ZGammaTable, n: int) -> np.ndarray:
    """Features (n_events, n): the first of `FEATURES`, -1 to 1 over the ranges of the paper, which
    do not clip; those beyond are noise, uniform from -1 to 1 and different in every event."""
    low, high = np.transpose([*FEATURES.values()])
    scaled = 2 * (table.features - low) / (high - low) - 1
    noise = [2 * uniform(table.events, f"noise {i}") - 1 for i in range(n - scaled.shape[1])]
    return np.column_stack([scaled[:, :n], *noise])


def expected(table: ZGammaTable, study: Study) -> np.ndarray:
    """How many expected events (n,) each stands for among those of its split."""
    return table.weight / np.array(study.images.split)[table.split]


def sample_of(
    table: ZGammaTable, study: Study, features: int, device: torch.device, split: int | None = None
) -> Sample:
    """Events of a split, or all; in a loss both classes count alike."""
    rows = np.flatnonzero(table.split == split) if split is not None else np.arange(len(table.mass))
    label = table.label[rows]
    packed = np.zeros(len(rows), [("event", "i8"), ("label", "i8"), ("mass", "f4")])
    packed["event"], packed["label"], packed["mass"] = rows, label, table.mass[rows]
    inputs = EventFeatures(seen(table, features)[rows], packed, device)
    weight = balanced(table.weight[rows], label, np.ones(2))
    sample = make_sample(inputs, weight=weight, spectator="mass")
    return replace(sample, expected=expected(table, study)[rows])


def sha256_of(table: ZGammaTable) -> str:
    """Of everything that trainings see."""
    digest = hashlib.sha256()
    for column in (
        table.events,
        table.features,
        table.mass,
        table.label,
        table.weight,
        table.split,
    ):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


# --- Training -----------------------------------------------------------------------------------


def directory_of(study: Study, way: Way, seed: int) -> Path:
    """Where a training lies."""
    named = way.network, way.loss.replace(" ", "-"), *(f"{number:g}" for number in way[2:])
    return study.data_dir / "models" / "_".join([*named, str(seed)])


def settings_of(study: Study, way: Way, seed: int, sha256: str) -> dict:
    """What decides a training."""
    asked = variant(study, way)
    section = stated(asked.trees if way.network == TREES else asked.training)
    return {"way": way._asdict(), "seed": seed, "settings": section, "events_sha256": sha256}


def run_training(
    study: Study, way: Way, seed: int, table: ZGammaTable, sha256: str, device: torch.device
) -> None:
    """Train and score all events, unless that is done.

    Raises:
        BeingMade: another process is at it.
    """
    asked, directory = variant(study, way), directory_of(study, way, seed)

    def make(settings: dict) -> Made:
        samples = [sample_of(table, asked, way.features, device, s) for s in (TRAIN, VALIDATION)]
        history, score, facts = (
            grow_trees(asked, way, table, samples)
            if way.network == TREES
            else train_network(asked, way, seed, table, samples, directory, settings)
        )
        best = history[epoch_of(history, SIGNIFICANCE)]
        print(
            f"{directory.name}: epoch {best['epoch'] + 1} of {len(history)}, expected significance "
            f"of validation events {best['significance']:.3f} ± {best['significance_error']:.3f}",
            flush=True,
        )
        scores = np.stack([score(epoch_of(history, by)) for by in CHOSEN_BY])
        return Made(history, {"scores": scores}, facts)

    aside, settings = study.data_dir / "set_aside", settings_of(study, way, seed, sha256)
    train_once(directory, aside, settings, make)


Learnt = tuple[list[dict[str, float]], Callable[[int], np.ndarray], dict[str, float]]


def train_network(
    study: Study,
    way: Way,
    seed: int,
    table: ZGammaTable,
    samples: Sequence[Sample],
    directory: Path,
    settings: dict,
) -> Learnt:
    """The history, the scores (n,) float32 of all events at an epoch, and what it took."""
    device = samples[0].inputs.device
    torch.manual_seed(seed)
    network = create_model(way.network, way.features, study.training.width).to(device)
    history = train(
        Learner(network, study), samples, seed, directory, settings, Watch(), lambda row: None
    )
    every = sample_of(table, study, way.features, device).inputs

    def score(epoch: int) -> np.ndarray:
        checkpoint.load(checkpoint.checkpoint_path(directory, epoch), network, settings)
        logits = logits_of(network, every, "scores")
        return logits[:, 1] - logits[:, 0]

    of_event = float(np.median([1 / row["jets_per_second"] for row in history]))
    return history, score, {
        "parameters": sum(one.numel() for one in network.parameters()),
        "seconds": of_event * len(samples[0]) * len(history),
    }  # fmt: skip


def grow_trees(study: Study, way: Way, table: ZGammaTable, samples: Sequence[Sample]) -> Learnt:
    """The same of trees, on the events of the data scope, with `STAGE` of them to an epoch.

    Their loss is XGBoost's own cross entropy.
    """
    features = seen(table, way.features)
    near = np.abs(table.mass - HIGGS_MASS) < (way.window or np.inf)
    rows = near & (table.split == TRAIN)
    begin = time.perf_counter()
    trees = grow(features[rows], table.label[rows] == 1, table.weight[rows], study, "cpu")
    seconds = time.perf_counter() - begin
    every = xgboost.DMatrix(features, nthread=1)

    def score(epoch: int) -> np.ndarray:
        first = 0, min(STAGE * (epoch + 1), study.trees.number)
        return trees.predict(every, output_margin=True, iteration_range=first)

    history, validation = [], table.split == VALIDATION
    for epoch in range(-(-study.trees.number // STAGE)):
        logits = np.pad(score(epoch)[:, None], ((0, 0), (1, 0)))
        metrics = evaluate(
            logits[validation], table.label[validation], samples[1].weight.cpu().numpy(),
            np.flatnonzero(validation), study, table.mass[validation],
        )  # fmt: skip
        of_splits = logits[table.split == TRAIN], logits[validation]
        metrics["significance"] = expected_significance(samples, of_splits, study)
        row: dict[str, float] = {"epoch": epoch}
        for name, metric in metrics.items():
            row |= {name: metric.value, f"{name}_error": metric.error}
        history.append(row)
    return history, score, {"parameters": 0, "seconds": seconds}


def epoch_of(history: Sequence[Mapping], chosen_by: str) -> int:
    """The epoch, from 0, of the largest significance or the least loss of validation events."""
    return int(best_epoch(history, chosen_by))


def read_trainings(study: Study) -> list[Trained]:
    """All trainings at both of their epochs."""
    found = []
    for way, seed in trainings(study):
        history, scores, facts = read_training(directory_of(study, way, seed))
        for by, score in zip(CHOSEN_BY, scores["scores"], strict=True):
            epoch = epoch_of(history, by) + 1
            sizes = facts["parameters"], facts["seconds"]
            found.append(Trained(way, seed, by, epoch, score, *sizes, history))
    return found

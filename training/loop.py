"""The training loop, and scoring with what it left."""

import math
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from command import InputError
from products import write_csv
from sensitivity.bootstrap import Estimate
from study import CHOOSE_BY, Study
from training import checkpoint
from training.distributed import ALONE, Processes
from training.inputs import Inputs, Sample
from training.interruption import Watch, Wish
from training.learner import Learner
from training.metrics import evaluate, expected_significance


def train_epoch(
    learner: Learner,
    sample: Sample,
    seed: int,
    progress: checkpoint.Progress,
    watch: Watch,
    save: Callable[[], None] = lambda: None,
) -> None:
    """What is left of an epoch; `progress` ends with all its steps and the sum of their losses.

    Order and augmentation follow from seed and epoch. All processes call `save` when `watch` wants
    `progress` to be kept, and before it ends the epoch by TimeIsUp or KeyboardInterrupt.
    """
    learner.network.train()
    study, processes, n = learner.study, learner.processes, len(sample)
    batch_size, done = study.training.batch_size, progress.step
    order = sample.epoch(np.random.default_rng((seed, progress.epoch)))
    rows, sizes, factors = processes.shares(order, batch_size)
    rows, sizes, factors = rows[sizes[:done].sum() :], sizes[done:], factors[done:]
    moves = sample.inputs.moves(study, seed, progress.epoch)
    # Read when it is saved only: no step waits for it.
    loss_sum = torch.zeros((), device=learner.device)
    if processes.rank == 0:
        loss_sum += progress.loss_sum
    begin = time.perf_counter() - progress.seconds

    def keep() -> None:
        progress.loss_sum = processes.sum(loss_sum.clone()).item()
        progress.seconds = time.perf_counter() - begin

    steps = tqdm(
        zip(sample.batches(rows, sizes, moves), factors.tolist(), strict=True),
        f"epoch {progress.epoch + 1}",
        done + len(sizes),
        initial=done,
        unit=f" {sample.inputs.unit}",
        unit_scale=batch_size,
        leave=False,
        disable=None if processes.rank == 0 else True,
    )
    for batch, factor in steps:
        for group in learner.optimiser.param_groups:
            group["lr"] = scheduled(study, n, progress.epoch, progress.step)
        loss = learner.step(batch, factor)
        size = min(batch_size, n - batch_size * progress.step)
        loss_sum += loss * (factor * size / processes.number)
        progress.step += 1
        if wish := watch.agreed(processes):
            keep()
            save()
            wish.leave()
    keep()


@torch.inference_mode()
def logits_of(
    network: nn.Module, inputs: Inputs, title: str, processes: Processes = ALONE
) -> np.ndarray:
    """Logits (n, 2) of background and signal for all rows, in their order; eager, in float32."""
    network.eval()
    logits = torch.zeros(len(inputs), 2, device=inputs.device)
    rows = np.arange(*processes.share(len(inputs)))
    sizes = np.minimum(inputs.at_once, len(rows) - np.arange(0, len(rows), inputs.at_once))
    look = {"unit": f" {inputs.unit}", "unit_scale": inputs.at_once, "leave": False}
    batches = inputs.batches(rows, sizes)
    for part, named in tqdm(batches, title, len(sizes), disable=None, **look):
        logits[part] = network(**named).float()
    return processes.sum(logits).cpu().numpy()


@torch.inference_mode()
def unseen_inputs(network: nn.Module, inputs: Inputs) -> list[str]:
    """The inputs that make no difference to the logits of some 64 rows when they are exchanged.

    Where every ReLU of a layer has died, a network knows nothing of the images, but the mass.
    Masks, which can be the same for all, and what a network `ignores` are not among them.
    """
    network.eval()
    n = min(len(inputs), 64)
    _, named = next(inputs.batches(np.arange(n), np.array([n])))
    logits = network(**named)
    ignored = getattr(network, "ignores", ())
    exchanged = {
        name: named | {name: column.roll(1, 0)}
        for name, column in named.items()
        if name not in ignored and column.dtype != torch.bool
    }
    return [name for name, other in exchanged.items() if torch.equal(network(**other), logits)]


def validate(learner: Learner, samples: Sequence[Sample]) -> dict[str, Estimate]:
    """Loss, accuracy, AUC and max SIC of the validation sample and, if it chooses the epoch, the
    expected significance; nothing if a logit is not finite."""
    (training, validation), study, processes = samples, learner.study, learner.processes
    logits = logits_of(learner.network, validation.inputs, "validation", processes)
    if not np.isfinite(logits).all():
        return {}
    rows = validation.rows
    label, weight = (c.cpu().numpy()[rows] for c in (validation.label, validation.weight))
    event, seen = validation.inputs.table["event"][rows], validation.spectator
    seen = None if seen is None else seen.cpu().numpy()[rows]
    metrics = evaluate(logits[rows], label, weight, event, study, seen)
    if study.training.choose_by == "significance":
        known = logits_of(learner.network, training.inputs, "bins", processes)
        metrics["significance"] = expected_significance(samples, (known, logits), study)
    return metrics


def train(
    learner: Learner,
    samples: Sequence[Sample],
    seed: int,
    directory: Path,
    settings: dict,
    watch: Watch,
    report: Callable[[dict[str, float]], None],
    measure: Callable[[Learner, Sequence[Sample]], dict[str, Estimate]] = validate,
) -> list[dict[str, float]]:
    """Train to the study's number of epochs, going on from the newest sound checkpoint.

    Each epoch leaves a checkpoint and a row of history.csv.

    Args:
        learner: its network on the device of the samples, as initialised from `seed`.
        samples: to train on, and to validate with.
        directory: of the checkpoints, which have to have these `settings`.
        report: is shown each new row.
        measure: what of the samples after each epoch; nothing where it is not finite.

    Returns:
        One row per epoch: epoch, learning rate of its first step, training loss, what was measured
        with its errors, training jets (or events) per second, seconds.

    Raises:
        InputError: foreign or damaged checkpoints, or the loss is no longer finite.
        TimeIsUp, KeyboardInterrupt: it was to stop; a checkpoint was saved.
    """
    training, study, processes = samples[0], learner.study, learner.processes
    progress = checkpoint.resume(directory, learner, settings)
    if not processes.agree(zlib.crc32(repr(progress).encode())):
        raise InputError(
            f"{directory}: the processes of this training find different checkpoints there; put it "
            "where all of them see the same files"
        )

    def save() -> None:
        if processes.rank == 0:
            checkpoint.save(directory, learner, progress, settings)
            write_history()

    def write_history() -> None:
        if progress.history and processes.rank == 0:
            write_csv(directory / "history.csv", progress.history)

    write_history()  # a kill may have come before its last row
    while progress.epoch < study.training.epochs:
        begin = time.perf_counter() - progress.seconds
        with watch.listening():
            train_epoch(learner, training, seed, progress, watch, save)
        try:
            processes.align(learner.network)
            loss = progress.loss_sum / len(training)
            metrics = measure(learner, samples)
            if not (math.isfinite(loss) and metrics):
                raise InputError(
                    f"{directory}: the loss is no longer finite in epoch {progress.epoch + 1}; "
                    "train with a smaller training.learning_rate"
                )
        except KeyboardInterrupt:
            with watch.listening():
                save()
            raise
        row = {
            "epoch": progress.epoch,
            "learning_rate": scheduled(study, len(training), progress.epoch, 0),
            "training_loss": loss,
        }
        for name, metric in metrics.items():
            row |= {name: metric.value, f"{name}_error": metric.error}
        row["jets_per_second"] = len(training) / progress.seconds
        row["seconds"] = time.perf_counter() - begin
        progress = checkpoint.Progress(progress.epoch + 1, history=[*progress.history, row])
        with watch.listening():
            save()
        report(row)
        if progress.epoch < study.training.epochs:
            Wish(processes.largest(watch.wish())).leave()
    return progress.history


def scheduled(study: Study, n_jets: int, epoch: int, step: int) -> float:
    """The learning rate of a step of an epoch of `n_jets`; both count from 0.

    As published it falls by a constant factor after each epoch. The cosine schedule climbs
    linearly over a twentieth of all steps, then falls to 0 as 1 + cos (arXiv:1608.03983, eq. 5).

    >>> cosine = {"epochs": 2, "batch_size": 10, "cosine_schedule": True, "learning_rate": 1.0}
    >>> study = Study("x").changed(training=cosine)
    >>> [round(scheduled(study, 200, *at), 3) for at in ((0, 0), (0, 1), (1, 1), (1, 19))]
    [0.5, 1.0, 0.5, 0.002]
    """
    asked = study.training
    if not asked.cosine_schedule:
        return asked.learning_rate * asked.learning_rate_decay**epoch
    steps = -(-n_jets // asked.batch_size)
    done, warm_up = epoch * steps + step, max(asked.epochs * steps // 20, 1)
    if done < warm_up:
        return asked.learning_rate * (done + 1) / warm_up
    phase = (done - warm_up) / max(asked.epochs * steps - warm_up, 1)
    return asked.learning_rate * (1 + math.cos(math.pi * phase)) / 2


def best_epoch(history: Sequence[Mapping[str, float]], choose_by: str) -> int:
    """The epoch of lowest validation loss, largest AUC or largest expected significance, as the
    study's `training.choose_by` says; the first epoch (0) included."""
    column, sign = CHOOSE_BY[choose_by]
    return max(history, key=lambda row: sign * row[column])["epoch"]

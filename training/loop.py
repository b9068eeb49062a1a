"""The training loop, and scoring with what it left."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from command import InputError
from jets.packed import PackedJets
from products import write_csv
from study import Study
from training import checkpoint
from training.augmentation import Moves, draw_moves
from training.batches import JetImages
from training.distributed import ALONE, Processes
from training.interruption import Watch, Wish
from training.learner import Learner
from training.metrics import evaluate

# Several processes agree on whether to save or to stop about once a second, but not in every step.
SECONDS_BETWEEN_AGREEMENTS, STEPS_BETWEEN_AGREEMENTS = 1.0, 16
# Pixels scored at once: 1,024 images of 64 x 64 fill a GPU with up to 4 GiB; elsewhere 64 of them
# stay in a processor's cache.
PIXELS_SCORED_AT_ONCE = {"cuda": 1024 * 64**2, "cpu": 64 * 64**2}


@dataclass(frozen=True)
class Sample:
    """The jets of one split.

    Attributes:
        images: on the device.
        label: (n,) 1 for signal, int64 on the device.
        event: (n,) the row of each jet's event.
    """

    images: JetImages
    label: torch.Tensor
    event: np.ndarray


def make_sample(jets: PackedJets, label: str, study: Study, device: torch.device) -> Sample:
    """Put jets on a device.

    Args:
        label: the column to learn, `label` or `shuffled_label`.

    Raises:
        InputError: jets of one class only.
    """
    truth = jets.jets[label].astype(np.int64)
    signal = int(truth.sum())
    if not 0 < signal < len(truth):
        raise InputError(
            f"{study.data_dir / jets.jet_definition}.h5: {signal} of {len(truth)} jets of a split "
            "are signal, expected both classes; add events to the sample and run setup.py again"
        )
    images = JetImages(jets, study.training.pixel_scale, study.training.standardised_mass, device)
    return Sample(images, torch.from_numpy(truth).to(device), jets.jets["event"])


def train_epoch(
    learner: Learner,
    sample: Sample,
    order: np.ndarray,
    batch_size: int,
    progress: checkpoint.Progress,
    wish: Callable[[], Wish],
    save: Callable[[], None],
    learning_rate: Callable[[int], float] | None = None,
    moves: Moves | None = None,
) -> None:
    """What is left of an epoch; `progress` ends with all its steps and the sum of their losses.

    Args:
        order: (n,) all jets of the sample in the order of this epoch.
        batch_size: of all processes together.
        wish: is asked between two steps.
        save: is called, in all processes, when `progress` is to be kept.
        learning_rate: of each step of the epoch; without it the optimiser's own.
        moves: of the sample's jets, in this epoch.

    Raises:
        TimeIsUp, KeyboardInterrupt: it was to stop, and `progress` was saved.
    """
    learner.network.train()
    processes = learner.processes
    rows, sizes, factors = processes.shares(order, batch_size)
    done = progress.step
    rows, sizes, factors = rows[sizes[:done].sum() :], sizes[done:], factors[done:]
    # Read when it is saved only: no step waits for it.
    loss_sum = torch.zeros((), device=sample.label.device)
    if processes.rank == 0:
        loss_sum += progress.loss_sum
    begin = time.perf_counter() - progress.seconds

    taken, until_agreement, agreed = 1, 0, time.perf_counter()

    def keep() -> None:
        progress.loss_sum = processes.sum(loss_sum.clone()).item()
        progress.seconds = time.perf_counter() - begin

    with tqdm(
        total=len(order),
        initial=min(done * batch_size, len(order)),
        desc=f"epoch {progress.epoch + 1}",
        unit=" jets",
        disable=None if processes.rank == 0 else True,
        leave=False,
    ) as bar:
        steps = zip(sample.images.batches(rows, sizes, moves), factors.tolist(), strict=True)
        for (jets, images, mass), factor in steps:
            if learning_rate:
                learner.set_learning_rate(learning_rate(progress.step))
            loss = learner.step(images, mass, sample.label[jets], factor)
            size = min(batch_size, len(order) - batch_size * progress.step)
            loss_sum += loss * (factor * size / processes.number)
            progress.step += 1
            bar.update(size)
            if until_agreement:
                until_agreement -= 1
                continue
            asked = Wish(processes.largest(wish()))
            if asked:
                keep()
                save()
                asked.leave()
            if processes.number > 1:
                now = time.perf_counter()
                seconds, agreed = processes.largest(round(1000 * (now - agreed))) / 1000, now
                possible = int(SECONDS_BETWEEN_AGREEMENTS / max(seconds, 1e-3) * taken)
                taken = min(max(possible, 1), STEPS_BETWEEN_AGREEMENTS)
                until_agreement = taken - 1
    keep()


@torch.inference_mode()
def logits_of(
    network: nn.Module,
    jets: JetImages,
    title: str,
    processes: Processes = ALONE,
) -> np.ndarray:
    """Logits (n, 2) of background and signal for all jets, in their order; eager, in float32."""
    network.eval()
    logits = torch.zeros(len(jets), 2, device=jets.device)
    rows = np.arange(*processes.share(len(jets)))
    at_once = max(PIXELS_SCORED_AT_ONCE[jets.device.type] // jets.side**2, 1)
    sizes = np.minimum(at_once, len(rows) - np.arange(0, len(rows), at_once))
    with tqdm(total=len(rows), desc=title, unit=" jets", disable=None, leave=False) as bar:
        for some, images, mass in jets.batches(rows, sizes):
            logits[some] = network(images, mass).float()
            bar.update(len(some))
    return processes.sum(logits).cpu().numpy()


@torch.inference_mode()
def sees_images(network: nn.Module, jets: JetImages) -> bool:
    """Whether the features of some 64 jets differ.

    Where every ReLU of a layer has died they do not, and a network knows nothing but the mass.
    """
    network.eval()
    _, images, _ = next(jets.batches(np.arange(len(jets))[:64], np.array([min(len(jets), 64)])))
    return bool((network.backbone(images).std(dim=0) > 0).any())


def train(
    learner: Learner,
    training: Sample,
    validation: Sample,
    study: Study,
    seed: int,
    settings: dict,
    directory: Path,
    watch: Watch,
    report: Callable[[dict[str, float]], None],
) -> list[dict[str, float]]:
    """Train to the study's number of epochs, going on from the newest sound checkpoint.

    Cross entropy, Adam, the study's schedule and augmentations. Each epoch leaves a checkpoint and
    a row of history.csv.

    Args:
        learner: its network on the device of the samples, as initialised from `seed`.
        settings: what decides the weights; checkpoints of other settings are refused.
        directory: of the checkpoints.
        watch: says when to save and to stop within an epoch.
        report: is shown each new row.

    Returns:
        A row an epoch: epoch, learning rate of its first step, training loss and, of the validation
        jets, loss, accuracy, AUC and max SIC with their errors; seconds, training jets per second.

    Raises:
        InputError: foreign or damaged checkpoints, or the loss is no longer finite.
        TimeIsUp, KeyboardInterrupt: it was to stop; a checkpoint was saved.
    """
    network, processes = learner.network, learner.processes
    progress = checkpoint.resume(
        directory, network, learner.optimiser, settings, study.training.epochs
    )
    if not processes.agree(progress.digest()):
        raise InputError(
            f"{directory}: the processes of this training find different checkpoints there; put it "
            "where all of them see the same files"
        )

    def save() -> None:
        if processes.rank == 0:
            checkpoint.save(directory, network, learner.optimiser, progress, settings)
            if progress.history:
                write_csv(directory / "history.csv", progress.history)

    if progress.history and processes.rank == 0:  # a kill may have come before this row
        write_csv(directory / "history.csv", progress.history)
    label = validation.label.cpu().numpy()
    while progress.epoch < study.training.epochs:
        begin = time.perf_counter() - progress.seconds
        n = len(training.images)
        order = np.random.default_rng((seed, progress.epoch)).permutation(n)
        moves = draw_moves(n, study, seed, progress.epoch, training.images.device)
        learning_rate = partial(scheduled, study, n, progress.epoch)
        with watch.listening():
            train_epoch(
                learner, training, order, study.training.batch_size, progress, watch.wish, save,
                learning_rate, moves,
            )  # fmt: skip
        try:
            processes.align(network)
            logits = logits_of(network, validation.images, "validation", processes)
            loss = progress.loss_sum / len(order)
            if not (math.isfinite(loss) and np.isfinite(logits).all()):
                raise InputError(
                    f"{directory}: the loss is no longer finite in epoch {progress.epoch + 1}; "
                    "train with a smaller --learning-rate"
                )
            metrics = evaluate(logits, label, validation.event, study)
        except KeyboardInterrupt:
            with watch.listening():
                save()
            raise
        row = {
            "epoch": progress.epoch,
            "learning_rate": learning_rate(0),
            "training_loss": loss,
        }
        for name, metric in metrics.items():
            row |= {name: metric.value, f"{name}_error": metric.error}
        row["jets_per_second"] = len(order) / progress.seconds
        row["seconds"] = time.perf_counter() - begin
        history = [*progress.history, row]
        progress = checkpoint.Progress(epoch=progress.epoch + 1, history=history)
        with watch.listening():
            save()
        report(row)
        if progress.epoch < study.training.epochs:
            Wish(processes.largest(watch.wish())).leave()
    return progress.history


def scheduled(study: Study, n_jets: int, epoch: int, step: int) -> float:
    """The learning rate of a step.

    As published it falls by a constant factor after each epoch. The cosine schedule climbs
    linearly over a twentieth of all steps, then falls to 0 as 1 + cos (arXiv:1608.03983, eq. 5).

    Args:
        n_jets: of an epoch.
        epoch, step: from 0; the step counts within the epoch.

    >>> study = Study("x", epochs=2, batch_size=10, cosine_schedule=True, learning_rate=1.0)
    >>> [round(scheduled(study, 200, *at), 3) for at in ((0, 0), (0, 1), (1, 1), (1, 19))]
    [0.5, 1.0, 0.5, 0.002]
    """
    if not study.training.cosine_schedule:
        return study.training.learning_rate * study.training.learning_rate_decay**epoch
    steps = -(-n_jets // study.training.batch_size)
    done, warm_up = epoch * steps + step, max(study.training.epochs * steps // 20, 1)
    if done < warm_up:
        return study.training.learning_rate * (done + 1) / warm_up
    phase = (done - warm_up) / max(study.training.epochs * steps - warm_up, 1)
    return study.training.learning_rate * (1 + math.cos(math.pi * phase)) / 2


def best_epoch(history: list[dict[str, float]]) -> int:
    """The epoch of lowest validation loss, the first epoch (0) included."""
    return min(history, key=lambda row: row["loss"])["epoch"]

"""The training loop, and scoring with what it left."""

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from jets.packed import PackedJets
from products import InputError, atomic_write
from study import Study
from training import checkpoint
from training.batches import JetImages
from training.metrics import evaluate


def choose_device(name: str | None) -> torch.device:
    """The device of this name; without one, a GPU if there is one.

    Raises:
        InputError: this machine, or this PyTorch, has no such device.
    """
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"--device {name}: {reason}; leave the option out or name another"
        ) from None


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
    images = JetImages(jets, study.pixel_power, study.standardised_mass, device)
    return Sample(images, torch.from_numpy(truth).to(device), jets.jets["event"])


def train_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    sample: Sample,
    order: np.ndarray,
    batch_size: int,
    title: str,
) -> float:
    """One pass over the jets in this order; the mean loss while learning."""
    network.train()
    loss_sum = torch.zeros((), device=sample.label.device)  # read once: no step waits for it
    with tqdm(total=len(order), desc=title, unit=" jets", disable=None, leave=False) as bar:
        for rows, images, mass in sample.images.batches(order, batch_size):
            loss = cross_entropy(network(images, mass), sample.label[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss_sum += loss.detach() * len(rows)
            bar.update(len(rows))
    return loss_sum.item() / len(order)


@torch.inference_mode()
def score(network: nn.Module, jets: JetImages, batch_size: int, title: str) -> np.ndarray:
    """Logits (n, 2) of background and signal for all jets, in their order."""
    network.eval()
    logits = torch.empty(len(jets), 2, device=jets.device)
    with tqdm(total=len(jets), desc=title, unit=" jets", disable=None, leave=False) as bar:
        for rows, images, mass in jets.batches(np.arange(len(jets)), batch_size):
            logits[rows] = network(images, mass)
            bar.update(len(rows))
    return logits.cpu().numpy()


def train(
    network: nn.Module,
    training: Sample,
    validation: Sample,
    study: Study,
    seed: int,
    settings: dict,
    directory: Path,
    report: Callable[[dict[str, float]], None],
) -> list[dict[str, float]]:
    """Train to the study's number of epochs, going on from the last finished one.

    Cross entropy, Adam, a learning rate that falls by a constant factor after each epoch. Each
    epoch leaves a checkpoint and a row of history.csv.

    Args:
        network: on the device of the samples, as initialised from `seed`.
        settings: what decides the weights; checkpoints of other settings are refused.
        directory: of the checkpoints.
        report: is shown each new row.

    Returns:
        A row an epoch: epoch, learning rate, training loss and, of the validation jets, loss,
        accuracy, AUC and max SIC with their errors; seconds, and training jets per second.

    Raises:
        InputError: foreign checkpoint, or the loss is no longer finite.
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=study.learning_rate)
    history = checkpoint.resume(directory, network, optimiser, settings, study.epochs)
    if history:  # an interrupt may have come between a checkpoint and its row
        write_history(directory / "history.csv", history)
    label = validation.label.cpu().numpy()
    for epoch in range(len(history), study.epochs):
        begin = time.perf_counter()
        learning_rate = study.learning_rate * study.learning_rate_decay**epoch
        for group in optimiser.param_groups:
            group["lr"] = learning_rate
        order = np.random.default_rng((seed, epoch)).permutation(len(training.images))
        title = f"epoch {epoch + 1}/{study.epochs}"
        loss = train_epoch(network, optimiser, training, order, study.batch_size, title)
        trained = time.perf_counter()
        logits = score(network, validation.images, study.batch_size, "validation")
        if not (math.isfinite(loss) and np.isfinite(logits).all()):
            raise InputError(
                f"{directory}: the loss is no longer finite in epoch {epoch + 1}; "
                "train with a smaller --learning-rate"
            )
        row = {"epoch": epoch, "learning_rate": learning_rate, "training_loss": loss}
        for name, metric in evaluate(logits, label, validation.event, study).items():
            row |= {name: metric.value, f"{name}_error": metric.error}
        row["jets_per_second"] = len(order) / (trained - begin)
        row["seconds"] = time.perf_counter() - begin
        history.append(row)
        checkpoint.save(directory, network, optimiser, history, settings)
        write_history(directory / "history.csv", history)
        report(row)
    return history


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """One CSV row an epoch."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, history[0])
        writer.writeheader()
        writer.writerows(history)


def best_epoch(history: list[dict[str, float]]) -> int:
    """The epoch of lowest validation loss, the first epoch (0) included."""
    return min(history, key=lambda row: row["loss"])["epoch"]

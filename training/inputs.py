"""What networks are trained on: inputs by name, and what is to be learnt from them.

An input is a class with all that `Inputs` says and one line in `INPUTS`; a network names the input
that it takes in `models.MODELS`. Learner, loop, metrics and scoring know no more of it.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from command import InputError
from jets.packed import read_event_table
from jets.split import TRAIN, VALIDATION
from jets.weights import (
    draws,
    event_weights,
    expected_events,
    expected_yields,
    is_weighted,
    training_weights,
)
from physics import LUMINOSITY
from study import Study
from training.constituents import JetConstituents
from training.event_features import EventFeatures
from training.jet_images import JetImages
from training.plan import Training
from training.three_jets import ThreeJetImages


class Batch(NamedTuple):
    """What a network and its loss see of b jets or events.

    Attributes:
        rows: (b,) which ones of the sample they are.
        inputs: name -> (b, ...), the arguments of the network, valid until the next batch is made.
        label: (b,) 1 for signal, int64.
        weight: (b,) of their losses; the mean over an epoch is 1.
        spectator: (b,) what a loss may see and the network must not know; None without one.
    """

    rows: torch.Tensor
    inputs: dict[str, torch.Tensor]
    label: torch.Tensor
    weight: torch.Tensor
    spectator: torch.Tensor | None = None


class Inputs(Protocol):
    """Jets or events of one split on a device, as networks see them.

    Attributes:
        table: structured (n,) with their `event` (row of the event table), `k` (number of the jet
            in it), `label`, `shuffled_label`, and `pt` and `mass`, in which spectra may be equal.
        size: that the factory of a network is told: pixels along a side, features, ...
        at_once: how many are scored at once.
        unit: `jets` or `events`.
    """

    table: np.ndarray
    size: int
    device: torch.device
    at_once: int
    unit: str

    @staticmethod
    def size_in(study: Study, jet_definition: str) -> int:
        """Their size, before anything is read."""

    @staticmethod
    def sha256(study: Study, jet_definition: str, is_shuffled: bool) -> str:
        """Of the training and validation split, with permuted labels if the training is on them; a
        training of others is another training."""

    @classmethod
    def read(cls, study: Study, jet_definition: str, split: int, device: torch.device) -> "Inputs":
        """One split of what setup.py made, which is whole, or an InputError."""

    def moves(self, study: Study, seed: int, epoch: int) -> Any:
        """The augmentation of an epoch, as `batches` takes it; None in a study without any."""

    def batches(
        self, rows: np.ndarray, sizes: np.ndarray, moves: Any = None
    ) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        """The rows (m,) in batches of these sizes (steps,), which sum to m: which rows (b,) are in
        each, and their inputs by name (b, ...), valid until the next batch is made."""

    def __len__(self) -> int: ...


INPUTS: dict[str, type[Inputs]] = {
    "jet image": JetImages,
    "jet constituents": JetConstituents,
    "three jets": ThreeJetImages,
    "event features": EventFeatures,
}


def input_of(training: Training) -> type[Inputs]:
    """What its network sees.

    Raises:
        InputError: step 4 alone can make that.
    """
    if training.input not in INPUTS:
        raise InputError(
            f"{training}: the input of {training.network} holds scores of jet networks, so step 4 "
            "trains it; name it in event_networks.networks of a study, and run fit_xgb.py"
        )
    return INPUTS[training.input]


@dataclass(frozen=True)
class Sample:
    """One split, and what is to be learnt from it.

    Attributes:
        inputs: of n jets or events.
        label: (n,) 1 for signal, int64 on the device.
        weight: (n,) float32 on the device: 0 leaves out, and the mean of the others is 1.
        rows: (m,) those that are not left out.
        spectator: (n,) on the device, see `Batch`.
        drawn: (n,) weights by which an epoch draws them, see `jets.weights.draws`; None: each of
            `rows` once.
        expected: (n,) events that each stands for in an expected significance, see
            `jets.weights.expected_events`; None: in proportion to `weight`.
    """

    inputs: Inputs
    label: torch.Tensor
    weight: torch.Tensor
    rows: np.ndarray
    spectator: torch.Tensor | None = None
    drawn: np.ndarray | None = None
    expected: np.ndarray | None = None

    def __len__(self) -> int:
        """Of an epoch."""
        if self.drawn is None:
            return len(self.rows)
        return 2 * int(np.bincount(self.label.cpu().numpy()[self.drawn > 0]).min())

    def epoch(self, generator: np.random.Generator) -> np.ndarray:
        """The rows of an epoch in random order."""
        if self.drawn is None:
            return generator.permutation(self.rows)
        return draws(self.drawn, self.label.cpu().numpy(), generator)

    def batches(self, rows: np.ndarray, sizes: np.ndarray, moves: Any = None) -> Iterator[Batch]:
        """Rows in batches, as `Inputs.batches` has them."""
        for part, inputs in self.inputs.batches(rows, sizes, moves):
            spectator = None if self.spectator is None else self.spectator[part]
            yield Batch(part, inputs, self.label[part], self.weight[part], spectator)


def make_sample(
    inputs: Inputs,
    label: str = "label",
    weight: np.ndarray | None = None,
    spectator: str = "",
) -> Sample:
    """Inputs with their labels, weights (n,), all 1 without, and a spectator, if any.

    Label and spectator are columns of the inputs' table.
    """
    weight = np.ones(len(inputs)) if weight is None else weight

    def on_device(column: np.ndarray, dtype: type) -> torch.Tensor:
        return torch.from_numpy(column.astype(dtype)).to(inputs.device)

    return Sample(
        inputs,
        on_device(inputs.table[label], np.int64),
        on_device(weight, np.float32),
        np.flatnonzero(weight),
        on_device(inputs.table[spectator], np.float32) if spectator else None,
    )


def read_samples(
    training: Training, study: Study, device: torch.device
) -> tuple[list[Sample], list[str]]:
    """The training and the validation sample, and what is to be said of their weights.

    Raises:
        InputError: as `Inputs.read` and `training_weights`.
    """
    read = input_of(training).read
    label = "shuffled_label" if training.shuffled_labels else "label"
    splits = [read(study, training.jet_definition, s, device) for s in (TRAIN, VALIDATION)]
    tables = [inputs.table for inputs in splits]
    events = read_event_table(study.data_dir / "events.h5")
    weights, remarks = training_weights(
        tables, [table[label] for table in tables], event_weights(tables, events, study), study
    )
    samples = [
        make_sample(inputs, label, weight, study.training.spectator)
        for inputs, weight in zip(splits, weights, strict=True)
    ]
    if study.training.choose_by == "significance" and is_weighted(events.events):
        counts = expected_events(tables, events, study)
        samples = [
            dataclasses.replace(sample, expected=count)
            for sample, count in zip(samples, counts, strict=True)
        ]
        signal, background = (counts[1][tables[1][label] == value].sum() for value in (1, 0))
        remarks.append(
            f"the significance is that of {signal:.4g} signal and {background:.6g} background "
            f"events expected in {LUMINOSITY:g} fb^-1"
        )
    elif study.training.choose_by == "significance":
        remarks.append(
            "the events have no weights: the significance is relative, both classes count as drawn"
        )
    if study.training.drawn:
        ones = torch.ones_like(samples[0].weight)
        samples[0] = dataclasses.replace(samples[0], weight=ones, drawn=weights[0])
    return samples, remarks


def settings_of(training: Training, study: Study) -> dict:
    """What the manifest of a training holds: which it is, its settings, the hash of its jets, and,
    if it asks how many events are expected, of that."""
    asked, of_input = study.training, input_of(training)
    sha256 = of_input.sha256(study, training.jet_definition, training.shuffled_labels)
    if asked.by_cross_section or asked.choose_by == "significance":
        yields = expected_yields(read_event_table(study.data_dir / "events.h5"), study)
        sha256 = hashlib.sha256(sha256.encode() + yields.tobytes()).hexdigest()
    stated = {"training": training.stated(study), "jets_sha256": sha256}
    return dataclasses.asdict(training) | stated

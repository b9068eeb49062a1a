"""What is explained: a finished training, and held-out jets or events with it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from attribution import deposits
from attribution.averages import Explained
from attribution.baselines import Baseline, baseline_of
from attribution.deposits import Deposits
from command import InputError
from jets.angularities import OF_JETS
from jets.packed import DS2, read_event_table
from jets.prongs import read_prongs
from jets.split import HELD_OUT, lowest, relative_weights, uniform
from study import Study
from training import checkpoint
from training.inputs import Inputs, input_of
from training.jet_images import read_split
from training.plan import Training
from training.scoring import Trained

FEATURES = {"features": DS2, "jet": OF_JETS, "mass": ("mass",)}  # the names of inputs' numbers


@dataclass(frozen=True)
class Subject:
    """A finished training, and what it is explained on.

    Attributes:
        network: of its best epoch.
        inputs: of all held-out jets or events.
        rows: (n,) those that are explained: of each class as many, of least hash.
        background: (m,) other rows, from which baselines are drawn.
        weight: of all inputs, relative, of their events.
    """

    study: Study
    trained: Trained
    network: nn.Module
    inputs: Inputs
    rows: np.ndarray
    background: np.ndarray
    weight: np.ndarray

    @property
    def training(self) -> Training:
        """Which it is."""
        return self.trained.training

    @property
    def jets(self) -> np.ndarray:
        """The table (n,) of what is explained."""
        return self.inputs.table[self.rows]

    @property
    def is_signal(self) -> np.ndarray:
        """(n,)"""
        return self.jets["label"] == 1

    def baseline(self, name: str, draws: int, seed: int = 0) -> Baseline:
        """Of the rows that are explained."""
        weight = self.weight[self.background]
        return baseline_of(name, self.inputs, self.background, weight, len(self.rows), draws, seed)

    def deposits(self, found: Explained) -> Deposits | None:
        """Pixels or particles with their attributions; None of what is no single jet."""
        kind, definition = self.training.input, self.training.jet_definition
        if kind == "jet image":
            jets = read_split(self.study, definition, HELD_OUT)
            return deposits.of_images(found, jets.take(found.rows))
        if kind == "jet constituents":
            return deposits.of_particles(found, self.inputs.table[found.rows])
        return None

    def prongs(self) -> np.ndarray:
        """Those of the truth (n, 3, 2), in the frame of the deposits."""
        oriented = self.training.input == "jet image" and self.study.images.oriented
        return read_prongs(self.study, self.training.jet_definition, self.jets, oriented)


def subject_of(study: Study, trained: Trained, n: int, device: torch.device) -> Subject:
    """A finished training with n held-out jets, or events, of each class.

    Raises:
        InputError: fewer than twice as many of background.
    """
    training = trained.training
    inputs = input_of(training).read(study, training.jet_definition, HELD_OUT, device)
    network = training.create(study, inputs.size).to(device)
    checkpoint.load(trained.best, network, trained.settings)
    network.eval().requires_grad_(False)
    events = read_event_table(study.data_dir / "events.h5").events
    table = inputs.table
    of_jet, classified = events[table["event"]], np.flatnonzero(table["classified"])
    hashes, label = uniform(of_jet, "explained")[classified], table["label"][classified]
    chosen = classified[lowest(hashes, label, n)]
    background = np.setdiff1d(classified[label == 0], chosen)
    if len(background) < n:
        raise InputError(
            f"{training}: {np.count_nonzero(label == 0)} held-out background {inputs.unit}, "
            f"expected at least {2 * n}: {n} to explain and as many others to draw baselines from; "
            "explain fewer, with --jets"
        )
    weight = relative_weights(events)[table["event"]]
    return Subject(study, trained, network, inputs, chosen, background, weight)


def feature_names(name: str, number: int) -> list[str]:
    """The names of the numbers of an input.

    >>> feature_names("jet", 7)[:2], feature_names("features", 2)
    (['mass', 'pt'], ['features 0', 'features 1'])
    """
    known = FEATURES.get(name, ())
    return list(known) if len(known) == number else [f"{name} {i}" for i in range(number)]

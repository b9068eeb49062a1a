"""Which trainings a study asks for, what decides each, and where its products lie."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from command import InputError
from jets.classifier import Classifier
from models import MODELS, create_model, model_name
from physics import JET_DEFINITIONS
from study import Study

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, order=True)
class Training:
    """One network trained on one jet definition from one seed.

    Attributes:
        jet_definition: a key of `physics.JET_DEFINITIONS`.
        network: a key of `models.MODELS`; any case is understood.
        seed: of the initial weights and of the order of the jets.
        shuffled_labels: a null check, trained and validated on labels that were permuted over
            all jets before the split: its AUC against them is 0.5 unless the splits share jets.

    Raises:
        InputError: unknown jet definition or network.
    """

    jet_definition: str
    network: str
    seed: int = 0
    shuffled_labels: bool = False

    def __post_init__(self) -> None:
        if self.jet_definition not in JET_DEFINITIONS:
            raise InputError(
                f"unknown jet definition {self.jet_definition!r}; "
                f"known are {', '.join(JET_DEFINITIONS)}"
            )
        try:
            object.__setattr__(self, "network", model_name(self.network))
        except ValueError as error:
            raise InputError(str(error)) from None

    def __str__(self) -> str:
        """As on the command line: `AK14 MaxViT 0`."""
        option = " --shuffle-labels" if self.shuffled_labels else ""
        return f"{self.jet_definition} {self.network} {self.seed}{option}"

    @property
    def classifier(self) -> Classifier:
        """Whose scores its best epoch gives."""
        names = (self.jet_definition,), (self.network,)
        return Classifier(*names, seed=self.seed, permuted=self.shuffled_labels)

    @property
    def label(self) -> str:
        """The column of the packed jets that it is trained and tested on."""
        return "shuffled_label" if self.shuffled_labels else "label"

    def directory(self, study: Study) -> Path:
        """Where its checkpoints, history, log and manifest lie."""
        return study.data_dir / "models" / self.classifier.dataset.replace("/", "_")

    @property
    def input(self) -> str:
        """What its network sees, a key of `training.inputs.INPUTS`."""
        return MODELS[self.network].input

    def create(self, study: Study, size: int) -> "nn.Module":
        """Its network, freshly initialised, for an input of this size (see `create_model`).

        Raises:
            InputError: the study asks for options or a width that the network does not have.
        """
        options = study.training.network_options.get(self.network, {})
        try:
            return create_model(self.network, size, study.training.width, **options)
        except ValueError as error:
            raise InputError(f"{self}: {error}; correct the study") from None

    def stated(self, study: Study) -> dict:
        """What a study says of it, as JSON has it; of the options of networks, those of its own."""
        options = study.training.network_options.get(self.network, {})
        stated = dataclasses.asdict(study.training) | {"network_options": options}
        return json.loads(json.dumps(stated))

    def settings(self, study: Study) -> dict:
        """What decides its weights, besides the jets.

        Not the number of epochs, for more go on from fewer.
        """
        chosen = self.stated(study)
        del chosen["epochs"]
        if study.training.cosine_schedule:  # it depends on where it ends
            chosen["schedule_epochs"] = study.training.epochs
        return dataclasses.asdict(self) | chosen


def trainings(study: Study) -> list[Training]:
    """All trainings of a study: networks, jet definitions and seeds, and one null check.

    The null check is the first network and seed on the last jets, AK14: it looks for jets or events
    that stand on both sides of the split, which are the same for all networks and definitions, and
    the plain CNN is the one that memorises most readily.

    Raises:
        InputError: a network that does not exist, is of events, is spelled in another way or named
            twice, or options of one that does not exist.
    """
    for network in study.classifiers.networks:
        name = Training("AK14", network).network
        if MODELS[name].of_events:
            raise InputError(
                f"study {study.name!r}: {name} classifies events, expected networks of jets; take "
                f"it out of classifiers.networks and train it by name, train.py AK14 {name}"
            )
        if name != network or study.classifiers.networks.count(network) > 1:
            raise InputError(
                f"study {study.name!r}: classifiers.networks are "
                f"{', '.join(study.classifiers.networks)}, expected {name} once and spelled like "
                "this; correct the study"
            )
    if strange := [network for network in study.training.network_options if network not in MODELS]:
        raise InputError(
            f"study {study.name!r}: training.network_options of {strange[0]!r}, expected one of "
            f"{', '.join(MODELS)}; correct the study"
        )
    return [
        Training(jet_definition, network, seed)
        for seed in study.classifiers.seeds
        for jet_definition in study.classifiers.jet_definitions
        for network in study.classifiers.networks
    ] + [
        Training(
            study.classifiers.jet_definitions[-1],
            study.classifiers.networks[0],
            study.classifiers.seeds[0],
            True,
        )
    ]


def require_scored(study: Study, scores: Mapping) -> None:
    """Refuse scores that lack a training of the study which is finished by now.

    Args:
        scores: their manifest.

    Raises:
        InputError: the first that is missing.
    """
    scored = scores["settings"].get("trainings", ())
    for training in trainings(study):
        manifest = training.directory(study) / "manifest.json"
        if manifest.is_file() and str(training) not in scored:
            raise InputError(
                f"{study.data_dir / 'scores.json'}: made without {training}, whose training is "
                "finished by now; run predict_base_model_mass.py again"
            )

"""Which trainings a study asks for, what decides each, and where its products lie."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from command import InputError
from jets.classifier import Classifier
from models import MODELS, create_model, model_name
from physics import IMAGED_JETS
from products import fingerprint
from study import Study, stated

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, order=True)
class Training:
    """One network trained on one jet definition from one seed.

    Attributes:
        network: a key of `models.MODELS`; any case is understood.
        seed: of the initial weights and of the order of the jets.
        shuffled_labels: a null check, trained and validated on labels that were permuted over
            all jets before the split: its AUC against them is 0.5 unless the splits share jets.

    Raises:
        InputError: unknown jet definition or network, or a negative seed.
    """

    jet_definition: str
    network: str
    seed: int = 0
    shuffled_labels: bool = False

    def __post_init__(self) -> None:
        if self.jet_definition not in IMAGED_JETS:
            raise InputError(
                f"unknown jet definition {self.jet_definition!r}; "
                f"known are {', '.join(IMAGED_JETS)}"
            )
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}, expected 0 or more")
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

    def directory(self, study: Study) -> Path:
        """Where its checkpoints, history, log and manifest lie."""
        return study.data_dir / "models" / self.classifier.dataset.replace("/", "_")

    @property
    def input(self) -> str:
        """What its network sees, see `models.Network`."""
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
        """What a study says of it, as JSON has it; of the options of networks, those of its own,
        with the hash of a pre-trained encoder in place of its file.

        Raises:
            InputError: no such file.
        """
        options = study.training.network_options.get(self.network, {})
        if path := options.get("init"):
            options = options | {"init": fingerprint(Path(path))["sha256"]}
        return json.loads(json.dumps(stated(study.training) | {"network_options": options}))

    def decisive(self, study: Study, jets_sha256: str) -> dict:
        """What decides its weights: not how many epochs, for more go on from fewer, except with a
        cosine schedule."""
        chosen = self.stated(study) | {"jets_sha256": jets_sha256}
        epochs = chosen.pop("epochs")
        if study.training.cosine_schedule:  # it depends on where it ends
            chosen["schedule_epochs"] = epochs
        return dataclasses.asdict(self) | chosen


def trainings(study: Study) -> list[Training]:
    """All trainings of a study: networks, jet definitions and seeds, and one null check.

    The null check is the first network and seed on the last jets, AK14: it looks for jets or events
    that stand on both sides of the split, which are the same for all networks and definitions, and
    the plain CNN is the one that memorises most readily.

    Raises:
        InputError: a network that does not exist or classifies events, is spelled in another way or
            named twice, options of one that does not exist, or jets that the study has not.
    """
    asked, of_jets = study.classifiers, [name for name in MODELS if not MODELS[name].of_events]
    for place, named, known in (
        ("classifiers.networks", asked.networks, of_jets),
        ("training.network_options", tuple(study.training.network_options), MODELS),
        ("classifiers.jet_definitions", asked.jet_definitions, study.jet_definitions),
    ):
        require_known(study, place, named, known)
    return [
        *(
            Training(jet_definition, network, seed)
            for seed in asked.seeds
            for jet_definition in asked.jet_definitions
            for network in asked.networks
        ),
        Training(asked.jet_definitions[-1], asked.networks[0], asked.seeds[0], True),
    ]


def require_known(study: Study, place: str, named: Sequence[str], known: Iterable[str]) -> None:
    """Refuse a setting that names what is not known, or something twice."""
    known = list(known)
    if strange := [one for one in named if one not in known or named.count(one) > 1]:
        raise InputError(
            f"study {study.name!r}: {place} names {strange[0]!r}, expected each once and among "
            f"{', '.join(known)}; correct the study"
        )


def require_scored(study: Study, scores: Mapping) -> None:
    """Refuse scores, by their manifest, that lack a training of the study that is finished now."""
    scored = scores["settings"].get("trainings", ())
    for training in trainings(study):
        manifest = training.directory(study) / "manifest.json"
        if manifest.is_file() and str(training) not in scored:
            raise InputError(
                f"{study.data_dir / 'scores.json'}: made without {training}, whose training is "
                "finished by now; run predict_base_model_mass.py again"
            )

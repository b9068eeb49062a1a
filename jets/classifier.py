"""Which classifier a score or a number is of: the key of every table, and its names for people."""

import re
from collections.abc import Mapping
from typing import NamedTuple, Self

from study import SHUFFLED

HELD_OUT_EVENTS, HELD_OUT_JETS, TRAINING_JETS = "held-out events", "held-out jets", "training jets"


class Key(NamedTuple):
    """The columns of a table that say which classifier a row is of; empty if there is none.

    An event network has those of the trees that see the same, in a table of its own
    (`evaluation.event_networks`).
    """

    jet_definition: str
    network: str
    features: str
    trees: str

    @classmethod
    def of(cls, row: Mapping[str, str]) -> Self:
        """Of a row that was read."""
        return cls(*(row[name] for name in cls._fields))


class EventNetwork(NamedTuple):
    """A network of events, trained on what trees see.

    Attributes:
        network: a key of `models.MODELS`.
        loss: a key of `training.losses.LOSSES`.
        decorrelation: times the distance correlation with the study's spectator.
        seed: of its training.
    """

    network: str
    loss: str
    decorrelation: float
    seed: int

    def __str__(self) -> str:
        """Without the seed."""
        away = [f"decorrelated {self.decorrelation:g}"] if self.decorrelation else []
        return ", ".join([self.network, self.loss, *away])


class Classifier(NamedTuple):
    """Which classifier a score or a number is of. Its names are for people, and never read back.

    Attributes:
        jet_definitions: of the jets that it sees.
        networks: whose scores of these jets it is, or sees.
        features: what else it sees: `mass`, `pt`, `angularities` of jets; `DS1`, `DS2` of an event;
            `classical` of both; `objects`, the whole event (jets/event_set.py).
        trees: what its trees were grown on, or its network of events was trained on; else "".
        seed: of the training; None: the one that stands for a network, of the study's first seed.
        permuted: trained and to be tested on permuted labels, a null check.
        event_network: in place of trees; None: it is none.
    """

    jet_definitions: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    trees: str = ""
    seed: int | None = None
    permuted: bool = False
    event_network: EventNetwork | None = None

    @property
    def stated(self) -> tuple:
        """As files hold it: event networks came later, and nothing else names that there is none.

        >>> Classifier(("AK14",), ("CNN",), seed=0).stated
        (('AK14',), ('CNN',), (), '', 0, False)
        """
        return tuple(self if self.event_network else self[:-1])

    @property
    def of_any_seed(self) -> Self:
        """What all its trainings have in common."""
        made = self.event_network
        return self._replace(seed=None, event_network=made and made._replace(seed=0))

    @property
    def level(self) -> str:
        """What it classifies: `jets` or `events`."""
        return "events" if self.trees == HELD_OUT_EVENTS else "jets"

    @property
    def words(self) -> str:
        """In words, without the jet definition.

        >>> Classifier(("AK14",), ("CNN",), ("DS2",), HELD_OUT_EVENTS).words
        'CNN + DS2'
        >>> Classifier(("AK14",), (), ("mass", "pt"), HELD_OUT_JETS).words
        'trees on (mass, pT)'
        """
        if self.event_network:
            return f"{self._replace(event_network=None).words}, {self.event_network}"
        seen = ["pT" if name == "pt" else name for name in self.features]
        if len(self.networks) > 2:
            definition, *others = self.jet_definitions
            return "all scores" if others else f"{definition}, all networks"
        if self.networks or not self.jet_definitions or seen[0] in ("DS2", "objects"):
            return " + ".join([*filter(None, [" and ".join(self.networks)]), *seen])
        if not self.trees:
            return f"jet {seen[0]}"
        joined = f"trees on ({', '.join(seen)})" if len(seen) > 1 else f"trees on {seen[0]}"
        return f"{joined}, networks' jets" if self.trees == TRAINING_JETS else joined

    @property
    def label(self) -> str:
        """In words, with the jet definition.

        >>> Classifier(("AK08", "AK10"), ("CoAtNet", "MaxViT"), (), HELD_OUT_EVENTS).label
        'AK08 + AK10 CoAtNet and MaxViT'
        """
        definitions = () if len(self.networks) > 2 else self.jet_definitions
        seed = "" if self.seed is None else str(self.seed)
        return " ".join(filter(None, [" + ".join(definitions), self.words, seed]))

    @property
    def dataset(self) -> str:
        """The name of its scores on disk."""
        features = (*self.features, *(["training_jets"] if self.trees == TRAINING_JETS else []))
        seed = "" if self.seed is None else str(self.seed)
        names = [*map("_".join, (self.jet_definitions, self.networks, features)), seed]
        if made := self.event_network:
            names += [re.sub(r"\W+", "_", str(made)).strip("_"), str(made.seed)]
        between = "_" if self.level == "events" else "/"
        return between.join(filter(None, names)) + SHUFFLED * self.permuted

    @property
    def key(self) -> Key:
        """Its key in tables."""
        return Key(*map(" + ".join, self[:3]), self.trees)

    def row(self) -> dict[str, object]:
        """Its part of a row in a table: itself, in words; its name with jets; and its key."""
        return {"classifier": self, "label": self._replace(seed=None).label} | self.key._asdict()

    def __str__(self) -> str:
        return self.words

"""Scores of held-out events on disk: of base classifiers (scores.h5) and trees (trees.h5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from command import InputError
from jets import hdf5
from physics import JET_DEFINITIONS, JETS_PER_EVENT, MISSING_SCORE
from study import SHUFFLED

# Of the jets, besides their angularities.
JET_COLUMNS = ("mass", "pt", "eta", "delta_r", "classified", "shuffled_label")
HELD_OUT_EVENTS, HELD_OUT_JETS, TRAINING_JETS = "held-out events", "held-out jets", "training jets"
COLUMNS = ("jet_definition", "network", "features", "trees")  # of tables: a classifier's key
_BETWEEN = " + "  # names in one of these columns
_LABEL = "shuffled_label"


class Classifier(NamedTuple):
    """Which classifier a score or a number is of. Its names are for people, and never read back.

    Attributes:
        jet_definitions: of the jets that it sees.
        networks: whose scores of these jets it is, or sees.
        features: what else it sees: `mass`, `pt`, `angularities` of jets; `DS1`, `DS2` of an event.
        trees: what its trees were grown on, "" without trees.
        seed: of the training; None: the one that stands for a network, of the study's first seed.
        permuted: trained and to be tested on permuted labels, a null check.
    """

    jet_definitions: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    trees: str = ""
    seed: int | None = None
    permuted: bool = False

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
        seen = ["pT" if name == "pt" else name for name in self.features]
        if len(self.networks) > 2:
            definition, *others = self.jet_definitions
            return "all scores" if others else f"{definition}, all networks"
        if self.networks or not self.jet_definitions:
            return " + ".join([*filter(None, [" and ".join(self.networks)]), *seen])
        if not self.trees:
            return f"jet {seen[0]}"
        if self.trees == TRAINING_JETS:
            return "trees on the networks' jets"
        joined = ", ".join(seen)
        return f"trees on ({joined})" if len(seen) > 1 else f"trees on {joined}"

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
        between = "_" if self.level == "events" else "/"
        return between.join(filter(None, names)) + SHUFFLED * self.permuted

    def row(self) -> dict[str, str]:
        """Its part of a row in a table: its name in words and `COLUMNS`, empty if there is none."""
        key = (*map(_BETWEEN.join, self[:3]), self.trees)
        return {"classifier": self.words} | dict(zip(COLUMNS, key, strict=True))

    @classmethod
    def of_row(cls, row: Mapping[str, str], prefix: str = "") -> "Classifier":
        """The classifier of a row of a table, whose columns may have a prefix.

        >>> classifier = Classifier(("AK08", "AK10"), ("CNN",), (), HELD_OUT_EVENTS)
        >>> Classifier.of_row(classifier.row()) == classifier
        True
        """
        *names, trees = (row[prefix + column] for column in COLUMNS)
        return cls(*(tuple(filter(None, name.split(_BETWEEN))) for name in names), trees)


@dataclass(frozen=True)
class BaseScores:
    """What step 3 wrote.

    Attributes:
        event: (m,) rows of the event table, ascending.
        jets: jet definition -> structured (m, 3): mass, pt, eta, delta_r, classified,
            shuffled_label, and the angularities; pt 0 where there is no jet.
        networks: (m, 3) probabilities of signal, -1 where there is no jet; of several trainings
            of a network that with the study's first seed (an average is not published).
        repeats: the same of every seed of the study.
        shuffled: the same of trainings on permuted labels, as `networks`.
    """

    event: np.ndarray
    jets: dict[str, np.ndarray]
    networks: dict[Classifier, np.ndarray]
    repeats: dict[Classifier, np.ndarray]
    shuffled: dict[Classifier, np.ndarray]

    def take(self, rows: np.ndarray) -> "BaseScores":
        """The events of a mask (m,)."""
        tables = (self.jets, self.networks, self.repeats, self.shuffled)
        return BaseScores(
            self.event[rows],
            *({name: array[rows] for name, array in table.items()} for table in tables),
        )


@dataclass(frozen=True)
class TreeScores:
    """What step 4 wrote.

    Attributes:
        event: (m,) as in `BaseScores`.
        fold: (m,) the fold in which an event was a test event.
        shuffled_label: (m,) labels of the events, permuted: those of a permuted classifier.
        fits: (m,) out-of-fold probability of signal; (m, 3) of trees on one jet, -1 without a jet.
    """

    event: np.ndarray
    fold: np.ndarray
    shuffled_label: np.ndarray
    fits: dict[Classifier, np.ndarray]

    def take(self, rows: np.ndarray) -> "TreeScores":
        """The events of a mask (m,)."""
        columns = (self.event, self.fold, self.shuffled_label)
        fits = {classifier: score[rows] for classifier, score in self.fits.items()}
        return TreeScores(*(column[rows] for column in columns), fits)


def write_scores(path: Path, arrays: Mapping[str | Classifier, np.ndarray]) -> None:
    """Write scores.h5 or trees.h5, atomically. Attributes say whose scores a dataset holds.

    Args:
        arrays: `events` (m,), and scores: (m,) of events, (m, 3) of jets. scores.h5 also has
            `<jet definition>/jets` (m, 3), trees.h5 `fold` and `shuffled_label` (m,).

    Raises:
        InputError: a score that would be refused when it is read.
    """
    with hdf5.written(path) as file:
        for key, array in arrays.items():
            name = key.dataset if isinstance(key, Classifier) else key
            _check(path, name, array, hdf5.UNWRITTEN)
            file[name] = array
            if isinstance(key, Classifier):
                seed = -1 if key.seed is None else key.seed
                more = {"seed": seed, "permuted": key.permuted}
                file[name].attrs.update(key.row() | more)


def write_trees(path: Path, trees: TreeScores) -> None:
    """Write trees.h5, see `write_scores`."""
    of_events = {"events": trees.event, "fold": trees.fold, _LABEL: trees.shuffled_label}
    write_scores(path, of_events | trees.fits)


def read_array(path: Path, name: str) -> np.ndarray:
    """One dataset of scores.h5, as `write_scores` was given it.

    Raises:
        InputError: missing or damaged file or dataset.
    """
    remedy = "run predict_base_model_mass.py again"
    with hdf5.opened(path, remedy) as file:
        return _array(path, file, name, remedy)


def read_scores(path: Path, seeds: Sequence[int]) -> BaseScores:
    """Read scores.h5.

    Args:
        seeds: of the study. Where none of them was trained, the lowest that was takes their place.

    Raises:
        InputError: missing or damaged file or dataset.
    """
    made_by = "predict_base_model_mass.py"
    arrays, scores = _read(path, made_by, ("events",))
    networks, repeats, shuffled = {}, {}, {}

    def rank(training: Classifier) -> int:
        seed = training.seed
        return list(seeds).index(seed) if seed in seeds else len(seeds) + seed

    for training in sorted(scores, key=rank):
        of_first = shuffled if training.permuted else networks
        of_first.setdefault(training._replace(seed=None), scores[training])
        if not training.permuted and rank(training) < len(seeds):
            repeats[training] = scores[training]
    jets = {d: arrays[f"{d}/jets"] for d in JET_DEFINITIONS if f"{d}/jets" in arrays}
    if not networks:
        raise InputError(f"{path}: holds no scores; train a network and run {made_by} again")
    return BaseScores(arrays["events"], jets, networks, repeats, shuffled)


def read_trees(path: Path) -> TreeScores:
    """Read trees.h5.

    Raises:
        InputError: missing or damaged file or dataset.
    """
    names = ("events", "fold", _LABEL)
    arrays, fits = _read(path, "fit_xgb.py", names)
    return TreeScores(*(arrays[name] for name in names), fits)


def _read(
    path: Path, made_by: str, needed: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[Classifier, np.ndarray]]:
    """All datasets: by name, or by classifier if they hold its scores."""
    remedy, names, arrays, scores = f"run {made_by} again", [], {}, {}
    with hdf5.opened(path, remedy) as file:
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        if absent := [name for name in needed if name not in names]:
            raise InputError(f"{path}: dataset {absent[0]!r} is missing; {remedy}")
        for name in names:
            array, stated = _array(path, file, name, remedy), file[name].attrs
            of_jets = name.endswith("/jets")
            if COLUMNS[0] in stated:
                seed = None if stated["seed"] < 0 else int(stated["seed"])
                more = {"seed": seed, "permuted": bool(stated["permuted"])}
                one = Classifier.of_row(stated)._replace(**more)
                scores[one], of_jets = array, one.level == "jets"
            else:
                arrays[name] = array
            expected = (len(file["events"]), JETS_PER_EVENT)[: 1 + of_jets]
            if array.shape != expected:
                raise InputError(
                    f"{path}: dataset {name!r} has shape {array.shape}, expected {expected}; "
                    f"{remedy}"
                )
    return arrays, scores


def _array(path: Path, file: h5py.File, name: str, remedy: str) -> np.ndarray:
    """One dataset, in the byte order of this machine."""
    array = hdf5.dataset(file, name, remedy)[()]
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    _check(path, name, array, remedy)
    return array


def _check(path: Path, name: str, array: np.ndarray, remedy: str) -> None:
    """Refuse scores that are neither a probability nor -1, and columns of jets that are no number.

    Scores are all arrays of floats; what else there is are whole numbers and tables.
    """
    for field in array.dtype.names or ():
        if array[field].dtype.kind == "f":
            good = np.isfinite(array[field])
            hdf5.require(path, f"{name}/{field}", array[field], good, "a number", remedy)
    if array.dtype.kind == "f":
        good = ((array >= 0) & (array <= 1)) | (array == MISSING_SCORE)
        expected = f"a probability or {MISSING_SCORE:g}"
        hdf5.require(path, name, array, good, expected, remedy)

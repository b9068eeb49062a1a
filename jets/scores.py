"""Scores of held-out events on disk: of base classifiers (scores.h5) and trees (trees.h5)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import h5py
import numpy as np

from command import InputError
from jets import hdf5
from jets.classifier import Classifier, EventNetwork
from physics import IMAGED_JETS, JETS_PER_EVENT, MISSING_SCORE

# Of the jets, besides their angularities.
JET_COLUMNS = ("mass", "pt", "eta", "delta_r", "classified", "shuffled_label")
_OF_TREES = ("events", "fold", "shuffled_label")
SCORE_MIN = 1e-7  # and as far from 1: what float32 can tell from both


def log_odds(score: np.ndarray) -> np.ndarray:
    """ln p / (1 - p) of scores that are probabilities; finite also of 0 and 1.

    >>> log_odds(np.array([0.5, 1.0])).round(2).tolist()
    [0.0, 16.12]
    """
    score = np.clip(score.astype(float), SCORE_MIN, 1 - SCORE_MIN)
    return np.log(score / (1 - score))


class _OfEvents:
    """Columns (m, ...) and tables of such columns."""

    def take(self, rows: np.ndarray) -> Self:
        """The events of a mask (m,)."""
        taken = {
            name: {key: column[rows] for key, column in found.items()}
            if isinstance(found, dict)
            else found[rows]
            for name, found in vars(self).items()
        }
        return replace(self, **taken)


@dataclass(frozen=True)
class BaseScores(_OfEvents):
    """What step 3 wrote.

    Attributes:
        event: (m,) rows of the event table, ascending.
        jets: jet definition -> structured (m, 3): `JET_COLUMNS` and the angularities; pt 0 where
            there is no jet.
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


@dataclass(frozen=True)
class TreeScores(_OfEvents):
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


def write_scores(path: Path, arrays: Mapping[str | Classifier, np.ndarray]) -> None:
    """Write scores.h5 or trees.h5, atomically. An attribute says whose scores a dataset holds.

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
                file[name].attrs["classifier"] = json.dumps(key.stated)


def write_trees(path: Path, trees: TreeScores) -> None:
    """Write trees.h5, see `write_scores`."""
    columns = (trees.event, trees.fold, trees.shuffled_label)
    write_scores(path, dict(zip(_OF_TREES, columns, strict=True)) | trees.fits)


def read_array(path: Path, name: str) -> np.ndarray:
    """One dataset of scores.h5, as it was written; InputError if it is missing or damaged."""
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
    jets = {d: arrays[f"{d}/jets"] for d in IMAGED_JETS if f"{d}/jets" in arrays}
    if not networks:
        raise InputError(f"{path}: holds no scores; train a network and run {made_by} again")
    return BaseScores(arrays["events"], jets, networks, repeats, shuffled)


def read_trees(path: Path) -> TreeScores:
    """Read trees.h5; InputError if it or a dataset is missing or damaged."""
    arrays, fits = _read(path, "fit_xgb.py", _OF_TREES)
    return TreeScores(*(arrays[name] for name in _OF_TREES), fits)


def _read(
    path: Path, made_by: str, needed: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[Classifier, np.ndarray]]:
    """All datasets: by name, or by classifier if they hold its scores."""
    remedy, names, arrays, scores = f"run {made_by} again", [], {}, {}
    with hdf5.opened(path, remedy) as file:
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        for name in dict.fromkeys((*needed, *names)):
            array, of_jets = _array(path, file, name, remedy), name.endswith("/jets")
            if stated := file[name].attrs.get("classifier"):
                definitions, networks, features, trees, seed, permuted, *made = json.loads(stated)
                seen = map(tuple, (definitions, networks, features))
                one = Classifier(*seen, trees, seed, permuted, *(EventNetwork(*m) for m in made))
                scores[one], of_jets = array, one.level == "jets"
            else:
                arrays[name] = array
            expected = (len(file["events"]), JETS_PER_EVENT)[: 1 + of_jets]
            if array.shape != expected:
                raise hdf5.wrong_shape(path, name, array.shape, expected, remedy)
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
    for field, column in hdf5.columns(name, array).items():
        if column.dtype.kind != "f":
            continue
        good, expected = np.isfinite(column), "a number"
        if field == name:
            good = ((column >= 0) & (column <= 1)) | (column == MISSING_SCORE)
            expected = f"a probability or {MISSING_SCORE:g}"
        hdf5.require(path, field, column, good, expected, remedy)

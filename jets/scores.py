"""Scores of held-out events on disk: of base classifiers (scores.h5) and trees (trees.h5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from command import InputError
from jets import hdf5
from physics import JET_DEFINITIONS, JETS_PER_EVENT, MISSING_SCORE
from study import SHUFFLED

# Of the jets, besides their angularities.
JET_COLUMNS = ("mass", "pt", "eta", "delta_r", "classified", "shuffled_label")
_LABEL, _NULL_CHECK = "null_check/shuffled_label", "null_check/score"


@dataclass(frozen=True)
class BaseScores:
    """What step 3 wrote.

    Attributes:
        event: (m,) rows of the event table, ascending.
        jets: jet definition -> structured (m, 3): mass, pt, eta, delta_r, classified,
            shuffled_label, and the angularities; pt 0 where there is no jet.
        networks: `AK14/MaxViT` -> (m, 3) probabilities of signal, -1 where there is no jet; of
            several trainings that with the study's first seed (an average is not published).
        repeats: `AK14/MaxViT/1` -> the same of every seed of the study.
        shuffled: the same of trainings on permuted labels, as `networks`.
    """

    event: np.ndarray
    jets: dict[str, np.ndarray]
    networks: dict[str, np.ndarray]
    repeats: dict[str, np.ndarray]
    shuffled: dict[str, np.ndarray]

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
        fits: name -> (m,) out-of-fold probability of signal; (m, 3) for `AK14/mass_pt`.
        inputs: name -> names of the columns that the trees saw.
        shuffled_label: (m,) labels of the events, permuted.
        null_check: (m,) score of trees on all networks, grown and to be tested on these labels.
    """

    event: np.ndarray
    fold: np.ndarray
    fits: dict[str, np.ndarray]
    inputs: dict[str, Sequence[str]]
    shuffled_label: np.ndarray
    null_check: np.ndarray

    def take(self, rows: np.ndarray) -> "TreeScores":
        """The events of a mask (m,)."""
        fits = {name: score[rows] for name, score in self.fits.items()}
        columns = (self.event, self.fold, self.shuffled_label, self.null_check)
        event, fold, label, null_check = (column[rows] for column in columns)
        return TreeScores(event, fold, fits, self.inputs, label, null_check)


def write_scores(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write scores.h5, atomically.

    Args:
        arrays: `events` (m,), `<jet definition>/jets` (m, 3), and for each training
            `<jet definition>/<network>/<seed>` (m, 3).

    Raises:
        InputError: a score that `read_scores` would refuse.
    """
    for name, array in arrays.items():
        _check(path, name, array, hdf5.UNWRITTEN)
    with hdf5.written(path) as file:
        for name, array in arrays.items():
            file[name] = array


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
    arrays = _read(path, made_by)
    event = _dataset(path, arrays, "events", made_by)
    networks: dict[str, np.ndarray] = {}
    repeats: dict[str, np.ndarray] = {}
    shuffled: dict[str, np.ndarray] = {}
    trainings = [name for name in arrays if name.count("/") == 2]

    def rank(training: str) -> int:
        seed = int(training.rpartition("/")[2].removesuffix(SHUFFLED))
        return list(seeds).index(seed) if seed in seeds else len(seeds) + seed

    for training in sorted(trainings, key=rank):
        name = training.rpartition("/")[0]
        score = _dataset(path, arrays, training, made_by, (len(event), JETS_PER_EVENT))
        if training.endswith(SHUFFLED):
            shuffled.setdefault(name, score)
            continue
        networks.setdefault(name, score)
        if rank(training) < len(seeds):
            repeats[training] = score
    jets = {
        definition: _dataset(
            path, arrays, f"{definition}/jets", made_by, (len(event), JETS_PER_EVENT)
        )
        for definition in JET_DEFINITIONS
        if f"{definition}/jets" in arrays
    }
    if not networks:
        raise InputError(f"{path}: holds no scores; train a network and run {made_by} again")
    return BaseScores(event, jets, networks, repeats, shuffled)


def write_trees(path: Path, trees: TreeScores) -> None:
    """Write trees.h5, atomically.

    Raises:
        InputError: a score that `read_trees` would refuse.
    """
    for name, score in (*trees.fits.items(), (_NULL_CHECK, trees.null_check)):
        _check(path, name, score, hdf5.UNWRITTEN)
    with hdf5.written(path) as file:
        file["events"] = trees.event
        file["fold"] = trees.fold
        file[_LABEL], file[_NULL_CHECK] = trees.shuffled_label, trees.null_check
        for name, score in trees.fits.items():
            file[name] = score
            file[name].attrs["inputs"] = list(trees.inputs[name])


def read_trees(path: Path) -> TreeScores:
    """Read trees.h5.

    Raises:
        InputError: missing or damaged file or dataset.
    """
    made_by = "fit_xgb.py"
    arrays = _read(path, made_by)
    event = _dataset(path, arrays, "events", made_by)
    fold, label, null_check = (
        _dataset(path, arrays, name, made_by, event.shape) for name in ("fold", _LABEL, _NULL_CHECK)
    )
    with hdf5.opened(path, f"run {made_by} again") as file:
        inputs = {name: tuple(file[name].attrs["inputs"]) for name in arrays}
    return TreeScores(event, fold, arrays, inputs, label, null_check)


def _read(path: Path, made_by: str) -> dict[str, np.ndarray]:
    """All datasets of a file by their full names."""
    remedy = f"run {made_by} again"
    with hdf5.opened(path, remedy) as file:
        names: list[str] = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        return {name: _array(path, file, name, remedy) for name in names}


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


def _dataset(
    path: Path,
    arrays: dict[str, np.ndarray],
    name: str,
    made_by: str,
    shape: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Take one dataset out of `arrays`."""
    if name not in arrays:
        raise InputError(f"{path}: dataset {name!r} is missing; run {made_by} again")
    array = arrays.pop(name)
    if shape is not None and array.shape != shape:
        raise InputError(
            f"{path}: dataset {name!r} has shape {array.shape}, expected {shape}; "
            f"run {made_by} again"
        )
    return array

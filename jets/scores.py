"""Scores of held-out events on disk: of base classifiers (scores.h5) and trees (trees.h5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from jets import hdf5
from products import InputError
from study import JET_DEFINITIONS, JETS_PER_EVENT, SHUFFLED


@dataclass(frozen=True)
class BaseScores:
    """What step 3 wrote.

    Attributes:
        event: (m,) rows of the event table, ascending.
        jets: jet definition -> structured (m, 3): mass, pt, eta, delta_r, classified,
            shuffled_label; pt 0 where there is no jet.
        networks: `AK14/MaxViT` -> (m, 3) probabilities of signal, -1 where there is no jet; of
            several trainings that with the lowest seed (an average of seeds is not published).
        shuffled: the same of trainings on permuted labels.
    """

    event: np.ndarray
    jets: dict[str, np.ndarray]
    networks: dict[str, np.ndarray]
    shuffled: dict[str, np.ndarray]


@dataclass(frozen=True)
class TreeScores:
    """What step 4 wrote.

    Attributes:
        event: (m,) as in `BaseScores`.
        fold: (m,) the fold in which an event was a test event.
        fits: name -> (m,) out-of-fold probability of signal; (m, 3) for `AK14/mass_pt`.
        inputs: name -> names of the columns that the trees saw.
    """

    event: np.ndarray
    fold: np.ndarray
    fits: dict[str, np.ndarray]
    inputs: dict[str, Sequence[str]]


def write_scores(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write scores.h5, atomically.

    Args:
        arrays: `events` (m,), `<jet definition>/jets` (m, 3), and for each training
            `<jet definition>/<network>/<seed>` (m, 3).
    """
    with hdf5.written(path) as file:
        for name, array in arrays.items():
            file[name] = array


def read_scores(path: Path) -> BaseScores:
    """Read scores.h5.

    Raises:
        InputError: missing or damaged file or dataset.
    """
    made_by = "predict_base_model_mass.py"
    arrays = _read(path, made_by)
    event = _dataset(path, arrays, "events", made_by)
    networks: dict[bool, dict[str, np.ndarray]] = {False: {}, True: {}}
    trainings = [tuple(name.split("/")) for name in arrays if name.count("/") == 2]

    def seed(training: tuple[str, ...]) -> int:
        return int(training[2].removesuffix(SHUFFLED))

    for training in sorted(trainings, key=seed, reverse=True):
        name, is_shuffled = "/".join(training[:2]), training[2].endswith(SHUFFLED)
        networks[is_shuffled][name] = _dataset(
            path, arrays, "/".join(training), made_by, (len(event), JETS_PER_EVENT)
        )
    jets = {
        definition: _dataset(
            path, arrays, f"{definition}/jets", made_by, (len(event), JETS_PER_EVENT)
        )
        for definition in JET_DEFINITIONS
        if f"{definition}/jets" in arrays
    }
    if not networks[False]:
        raise InputError(f"{path}: holds no scores; train a network and run {made_by} again")
    return BaseScores(event, jets, networks[False], networks[True])


def write_trees(path: Path, trees: TreeScores) -> None:
    """Write trees.h5, atomically."""
    with hdf5.written(path) as file:
        file["events"] = trees.event
        file["fold"] = trees.fold
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
    fold = _dataset(path, arrays, "fold", made_by, event.shape)
    with hdf5.opened(path, f"run {made_by} again") as file:
        inputs = {name: tuple(file[name].attrs["inputs"]) for name in arrays}
    return TreeScores(event, fold, arrays, inputs)


def _read(path: Path, made_by: str) -> dict[str, np.ndarray]:
    """All datasets of a file by their full names."""
    remedy = f"run {made_by} again"
    with hdf5.opened(path, remedy) as file:
        names: list[str] = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        return {name: hdf5.dataset(file, name, remedy)[()] for name in names}


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

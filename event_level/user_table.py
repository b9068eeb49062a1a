"""Events of a user's own: a table in CSV, Parquet, HDF5 or ROOT, one row an event."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas

from command import InputError
from products import naming

PROCESS, WEIGHT = "process", "weight"  # columns, unless others are named
NEITHER = -1  # label of a process that is neither signal nor background: scored alone


@dataclass(frozen=True)
class UserTable:
    """n events.

    Attributes:
        features: (n, f) float64.
        names: (f,) of the features.
        process: (n,) names.
        label: (n,) 1 of signal, 0 of background, `NEITHER` of other processes.
        weight: (n,) expected events that each stands for; 1 without such a column.
        spectator: (n,) float64, what classifiers are decorrelated from; None without one.
    """

    features: np.ndarray
    names: tuple[str, ...]
    process: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    spectator: np.ndarray | None


def read_user_table(
    path: Path,
    signal: Sequence[str],
    background: Sequence[str],
    process: str = PROCESS,
    weight: str = WEIGHT,
    spectator: str | None = None,
    features: Sequence[str] = (),
    part: str | None = None,
) -> UserTable:
    """Read a table and check everything that training takes for granted.

    Args:
        signal, background: names of processes; `*` stands for any letters, as in a shell.
        process, weight, spectator: columns. One named `weight` may be missing.
        features: columns; none: all that are none of these three.
        part: see `read_columns`.

    Raises:
        InputError: columns that are missing, hold text or a value that is not finite; names of
            processes that meet none or both classes; a class whose weights do not add up to more
            than 0; a spectator of one value.
    """
    columns = read_columns(path, part)
    wanted = [process, *features, *([spectator] if spectator else [])]
    if absent := [name for name in wanted if name not in columns]:
        raise InputError(
            f"{path}: no column {absent[0]!r}, expected one of {', '.join(columns)}; name another"
        )
    kind = columns[process]
    is_text = kind.dtype.kind in "OSUT"
    names = np.array([_text(one) for one in kind] if is_text else kind.astype(str), dtype=object)
    label = _labels(path, process, names, signal, background)
    others = [name for name in columns if name not in (process, weight, spectator)]
    chosen = tuple(features or others)
    if not chosen:
        raise InputError(f"{path}: no column is left to be a feature; add one")
    return UserTable(
        np.stack([_numbers(path, columns, name) for name in chosen], axis=1),
        chosen,
        names,
        label,
        _weights(path, columns, weight, label),
        _spectator(path, columns, spectator, label) if spectator else None,
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _labels(
    path: Path,
    column: str,
    names: np.ndarray,
    signal: Sequence[str],
    background: Sequence[str],
) -> np.ndarray:
    known = list(dict.fromkeys(names))
    classes = []
    for what, patterns in (("signal", signal), ("background", background)):
        met = {one for pattern in patterns for one in fnmatch.filter(known, pattern)}
        for pattern in patterns:
            if not fnmatch.filter(known, pattern):
                raise InputError(
                    f"{path}: column {column!r} has no {pattern!r}, expected a {what} among "
                    f"{', '.join(known[:20])}; name one of them"
                )
        classes.append(met)
    if both := sorted(classes[0] & classes[1]):
        raise InputError(f"{path}: {both[0]!r} is named as signal and as background; name it once")
    label = np.full(len(names), NEITHER)
    for value, met in zip((1, 0), classes, strict=True):
        label[np.isin(names, list(met))] = value
    return label


def _numbers(path: Path, columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    column = columns[name]
    if column.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: column {name!r} holds {column.dtype}, expected numbers; leave it out by "
            "naming the features with --features"
        )
    numbers = column.astype(float)
    if len(bad := np.flatnonzero(~np.isfinite(numbers))):
        raise InputError(
            f"{path}: column {name!r} is {numbers[bad[0]]} in row {bad[0]} ({len(bad)} of "
            f"{len(numbers)} rows), expected finite numbers; mend the rows or leave them out"
        )
    return numbers


def _weights(
    path: Path, columns: Mapping[str, np.ndarray], name: str, label: np.ndarray
) -> np.ndarray:
    if name not in columns and name == WEIGHT:
        return np.ones(len(label))
    if name not in columns:
        raise InputError(
            f"{path}: no column {name!r}, expected one of {', '.join(columns)}; name another"
        )
    weight = _numbers(path, columns, name)
    for value, what in ((1, "signal"), (0, "background")):
        if (total := weight[label == value].sum()) <= 0:
            raise InputError(
                f"{path}: column {name!r} adds up to {total:g} for the {what}, expected more than "
                "0; give weights of expected events"
            )
    return weight


def _spectator(
    path: Path, columns: Mapping[str, np.ndarray], name: str, label: np.ndarray
) -> np.ndarray:
    spectator = _numbers(path, columns, name)
    if np.ptp(spectator[label == 0]) == 0:
        raise InputError(
            f"{path}: column {name!r} is {spectator[label == 0][0]:g} in all background events, "
            "expected different values; name another spectator, or none"
        )
    return spectator


# --- Files ----------------------------------------------------------------------------------------


def read_columns(path: Path, part: str | None = None) -> dict[str, np.ndarray]:
    """The columns of a table by name, all of one length.

    Args:
        path: *.csv, with a line of names; *.parquet; *.h5 or *.hdf5, one structured dataset, or
            one dataset a column; *.root, a TTree of numbers and text (with uproot).
        part: the dataset, group or tree, if there are several.

    Raises:
        InputError: another ending, a file that is missing or cannot be read, no such part, several
            and none named, no rows, or columns of different lengths.
    """
    readers = {
        ".csv": _read_csv, ".parquet": _read_parquet, ".root": _read_root,
        ".h5": _read_hdf5, ".hdf5": _read_hdf5,
    }  # fmt: skip
    if path.suffix.lower() not in readers:
        raise InputError(
            f"{path}: ends in {path.suffix!r}, expected {', '.join(readers)}; convert the table"
        )
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with naming(path):
        columns = readers[path.suffix.lower()](path, part)
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or not max(lengths):
        found = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        raise InputError(
            f"{path}: its columns have lengths {found or 'none'}, expected equal ones above 0"
        )
    return columns


def _read_csv(path: Path, part: str | None) -> dict[str, np.ndarray]:
    try:
        return _of_frame(pandas.read_csv(path, skipinitialspace=True))
    except ValueError as error:  # also what pandas and UTF-8 have against it
        raise InputError(f"{path}: {_line(error)}; expected a CSV table") from None


def _read_parquet(path: Path, part: str | None) -> dict[str, np.ndarray]:
    try:
        return _of_frame(pandas.read_parquet(path))
    except ValueError as error:  # ArrowInvalid
        raise InputError(f"{path}: {_line(error)}; write it again") from None


def _of_frame(frame: pandas.DataFrame) -> dict[str, np.ndarray]:
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _read_hdf5(path: Path, part: str | None) -> dict[str, np.ndarray]:
    def is_column(one: h5py.Dataset | h5py.Group) -> bool:
        return isinstance(one, h5py.Dataset) and one.dtype.names is None and one.ndim == 1

    try:
        with h5py.File(path) as file:
            tables = [name for name, one in file.items() if not is_column(one)]
            found = file[_one_of(path, part, tables)] if part or tables else file
            if isinstance(found, h5py.Dataset):
                rows = found[:]
                return {name: rows[name] for name in rows.dtype.names or ()}
            return {name: one[:] for name, one in found.items() if is_column(one)}
    except OSError as error:
        raise InputError(f"{path}: {_line(error)}; write it again") from None


def _read_root(path: Path, part: str | None) -> dict[str, np.ndarray]:
    try:
        import uproot  # not everybody has it
    except ImportError:
        raise InputError(
            f"{path}: a ROOT file takes uproot to read; install it, or convert the table"
        ) from None
    try:
        with uproot.open(path) as file:
            trees = file.keys(filter_classname="TTree", cycle=False)
            return file[_one_of(path, part, trees)].arrays(library="np")
    except ValueError as error:
        raise InputError(f"{path}: {_line(error)}; write it again") from None


def _one_of(path: Path, part: str | None, known: Sequence[str]) -> str:
    if part is None and len(known) == 1:
        return known[0]
    if part not in known:
        found = f"no {part!r}" if part else f"{len(known)} tables"
        raise InputError(
            f"{path}: {found}, expected one of {', '.join(known)}; name it with --part"
        )
    return part

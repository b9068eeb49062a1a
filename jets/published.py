"""The published layout of jet images (arXiv:2406.03096, written with PyTables): reader and writer.

`BG_{definition}_{index}.hdf5` and `SI_{definition}_{m_stop}GeV.hdf5`, one row an event, the same
events in the same order in all three jet definitions; the three hardest jets are k = 0, 1, 2.

    /mass/Mass                (n, 1)            neutralino mass, GeV; not read of a background
    /Jet/info{k}              (n, >= 6)         delta R to the two neutralinos, pT (<= 0: no such
                                                jet), eta, phi, mass
    /Jet/{channel}/index{k}   n rows of 2 m     (row, column) of m pixels, flattened
    /Jet/{channel}/values{k}  n rows of m       GeV

Rows have variable length; a fixed length is read too, a value of 0 then being no pixel. The channel
ET = EhT + EmT is written and not read. A jet without a pixel has mass -1 and is never classified.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from command import InputError
from jets import content, hdf5
from jets.events import NUMBER_MAX, Events, read_attributes, read_events
from jets.images import SparseImages, concatenate, draw_events, sum_deposits
from jets.packed import KINEMATICS
from jets.ragged import events_of
from physics import (
    BEAM_ENERGY,
    CHANNELS,
    JET_DEFINITIONS,
    JETS_MIN,
    JETS_PER_EVENT,
    MISSING_DELTA_R,
)
from processes import NONE
from processes.stop import STOP
from processes.ttbar import TTBAR
from products import atomic_write
from study import Study

EVENTS_AT_ONCE = 4096
INFO_COLUMNS = 6
NO_MASS = -1.0  # of a jet without pixels
NO_NEUTRALINO = -1.0  # mass, of a background event
PIXELS = ("index", "values")
CALORIMETERS = ("EhT", "EmT")
REMEDY = "fetch it again"
LEAVE_OUT = "fetch the file again or leave it out"
_NAME = re.compile(rf"(?:BG|SI)_({'|'.join(JET_DEFINITIONS)})_(\d+)(?:GeV)?\.hdf5")


def background_name(jet_definition: str, index: int) -> str:
    """Name of a background file."""
    return f"BG_{jet_definition}_{index}.hdf5"


def signal_name(jet_definition: str, m_stop: int) -> str:
    """Name of a signal file."""
    return f"SI_{jet_definition}_{m_stop}GeV.hdf5"


def find_files(folder: Path, study: Study) -> tuple[dict[int, dict], dict[int, dict], list[Path]]:
    """The published files of a folder that a study asks for.

    Returns:
        Backgrounds by index and signals by stop mass, dicts of dicts jet definition -> path, each
        with all three definitions; and all other files called BG_... and SI_...

    Raises:
        InputError: a definition is missing; a number beyond what the table of events can hold.
    """
    kinds = (
        (
            background_name,
            range(study.sample.background_files) if TTBAR.name in study.sample.processes else (),
        ),
        (signal_name, study.sample.stop_masses if STOP.name in study.sample.processes else ()),
    )
    found: tuple[dict, dict] = ({}, {})
    others = []
    for path in sorted([*folder.glob("BG_*.hdf5"), *folder.glob("SI_*.hdf5")]):
        name = _NAME.fullmatch(path.name)
        definition, number = (name[1], int(name[2])) if name else ("", -1)
        for files, (name_of, asked) in zip(found, kinds, strict=True):
            if number in asked and path.name == name_of(definition, number):
                files.setdefault(number, {})[definition] = path
                break
        else:
            others.append(path)
        if number > NUMBER_MAX and path not in others:
            raise InputError(f"{path}: number {number}, expected at most {NUMBER_MAX}; rename it")
    for files, (name_of, _) in zip(found, kinds, strict=True):
        for number, paths in files.items():
            for jet_definition in JET_DEFINITIONS:
                if jet_definition not in paths:
                    missing = folder / name_of(jet_definition, number)
                    there = next(iter(paths.values())).name
                    raise InputError(
                        f"{missing}: no such file, while {there} of the same events is there; "
                        "fetch it, or move the others away"
                    )
    return *found, others


# --- Reader -------------------------------------------------------------------------------------


def count_events(path: Path) -> int:
    """Number of events of one file.

    Raises:
        InputError: not a readable file, no events, or a dataset of another shape.
    """
    with hdf5.opened(path, REMEDY) as file:
        return _check_shapes(path, file)


def read_neutralino_masses(path: Path) -> np.ndarray:
    """Neutralino mass (n,) float64 in GeV of every event of a signal file.

    Raises:
        InputError: the dataset is missing, wrongly shaped, or holds what is no mass.
    """
    with hdf5.opened(path, REMEDY) as file:
        n = _check_shapes(path, file)
        dataset = _dataset(path, file, "mass/Mass", "iuf")
        if dataset.dtype == object or dataset.shape not in ((n, 1), (n,)):
            raise _wrong_shape(path, dataset, f"({n}, 1)")
        mass = dataset[()].reshape(n).astype(np.float64)
    good = (mass > 0) & (mass <= BEAM_ENERGY)
    _require(path, "mass/Mass", good, 0, mass, f"a mass of 0 to {BEAM_ENERGY:g}")
    return mass


def read_kinematics(
    path: Path, side: int, signal: bool, jet_definition: str
) -> tuple[np.ndarray, np.ndarray]:
    """All jets of a file, once their images are found good, and what makes each event itself.

    Returns:
        Structured (n, 3), see `read_jets`, and `content.of_published` (n,).
    """
    parts = [
        (jets, content.of_published(jets, images, jet_definition))
        for jets, images in read_jets(path, side, signal)
    ]
    jets, hashes = (np.concatenate(column) for column in zip(*parts, strict=True))
    return jets, hashes


def read_images(path: Path, side: int, signal: bool, wanted: np.ndarray) -> SparseImages:
    """The images of the jets `wanted`, (n, 3) bool, by event and jet number; see `read_jets`."""
    parts, first = [], 0
    for jets, images in read_jets(path, side, signal):
        parts.append(images.take(np.flatnonzero(wanted[first : first + len(jets)])))
        first += len(jets)
    return concatenate(parts)


def read_jets(path: Path, side: int, signal: bool) -> Iterator[tuple[np.ndarray, SparseImages]]:
    """The jets of some thousand events at a time.

    Args:
        path: one published file.
        side: pixels along one side of its images.
        signal: whether the distances to the neutralinos mean anything.

    Yields:
        jets: structured (m, 3) with the fields of `KINEMATICS`; pT 0 where there is no jet or it
            has no pixel.
        images: 3 m images, event after event.

    Raises:
        InputError: whatever is wrong with the file, with dataset and row.
    """
    with hdf5.opened(path, REMEDY) as file:
        n = _check_shapes(path, file)
        for first in range(0, n, EVENTS_AT_ONCE):
            last = min(first + EVENTS_AT_ONCE, n)
            jets = np.zeros((last - first, JETS_PER_EVENT), KINEMATICS)
            deposits = []
            for k in range(JETS_PER_EVENT):
                jets[:, k] = _read_info(path, file, k, first, last, signal)
                for channel in range(len(CHANNELS)):
                    row, pixel, value = _read_pixels(path, file, channel, k, first, last, side)
                    exists = jets["pt"][row, k] > 0
                    image = row * JETS_PER_EVENT + k
                    pixel += channel * side * side
                    deposits.append((image[exists], pixel[exists], value[exists]))
            columns = (np.concatenate(column) for column in zip(*deposits, strict=True))
            images = sum_deposits(*columns, jets.size)
            seen = images.counts().reshape(jets.shape) > 0
            jets["pt"][~seen] = 0
            for k in range(JETS_PER_EVENT):
                mass = jets["mass"][:, k]
                good = (mass >= 0) | ~seen[:, k]
                _require(path, f"Jet/info{k}", good, first, mass, "a mass, for it has pixels")
            yield jets, images


def _dataset(path: Path, file: h5py.File, name: str, kinds: str) -> h5py.Dataset:
    """A dataset of numbers of one of these numpy kinds, in rows of fixed or variable length."""
    dataset = hdf5.dataset(file, name, REMEDY)
    dtype = h5py.check_vlen_dtype(dataset.dtype) or dataset.dtype
    if not isinstance(dtype, np.dtype) or dtype.kind not in kinds or not _is_plain(dataset, dtype):
        expected = "integers" if kinds == "iu" else "numbers"
        raise InputError(
            f"{path}: dataset {name!r} has type {dataset.dtype}, expected {expected}; "
            "fetch the file again"
        )
    if dataset.dtype == object and not dtype.isnative:
        raise InputError(
            f"{path}: dataset {name!r} has rows of variable length of type {dtype}, of which "
            "h5py mistakes the bytes; write them in the byte order of this machine"
        )
    return dataset


def _is_plain(dataset: h5py.Dataset, dtype: np.dtype) -> bool:
    """Whether its numbers lie in the file as numpy has them.

    HDF5 converts others, such as floats of a damaged description, and reads outside them.
    """
    stored = dataset.id.get_type()
    if isinstance(stored, h5py.h5t.TypeVlenID):
        stored = stored.get_super()
    return stored == h5py.h5t.py_create(dtype)


def _wrong_shape(path: Path, dataset: h5py.Dataset, expected: str) -> InputError:
    return InputError(
        f"{path}: dataset {dataset.name.lstrip('/')!r} has shape {dataset.shape}, "
        f"expected {expected}; fetch the file again"
    )


def _check_shapes(path: Path, file: h5py.File) -> int:
    """The number of events, once every dataset has as many rows."""
    n = None
    for k in range(JETS_PER_EVENT):
        info = _dataset(path, file, f"Jet/info{k}", "iuf")
        n = len(info) if n is None and info.ndim else n
        if info.ndim != 2 or len(info) != n or info.shape[1] < INFO_COLUMNS:
            raise _wrong_shape(path, info, f"({'n' if n is None else n}, at least {INFO_COLUMNS})")
        for channel in CHANNELS:
            for column, kinds in zip(PIXELS, ("iu", "iuf"), strict=True):
                dataset = _dataset(path, file, f"Jet/{channel}/{column}{k}", kinds)
                variable = h5py.check_vlen_dtype(dataset.dtype) is not None
                if dataset.ndim != (1 if variable else 2) or len(dataset) != n:
                    raise _wrong_shape(path, dataset, f"{n} rows of pixels")
    if n == 0:
        raise InputError(f"{path}: dataset 'Jet/info0' holds 0 events; fetch the file again")
    return n


def _require(
    path: Path, name: str, good: np.ndarray, first: int, found: np.ndarray, expected: str,
    remedy: str = LEAVE_OUT, row: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Refuse the file if any entry is not `good`, naming the row and value of the first such."""
    if good.all():
        return
    bad = int(np.argmin(good))
    event = first + (bad if row is None else int(row[bad]))
    raise InputError(
        f"{path}: dataset {name!r}, row {event}: found {found[bad].tolist()}, expected {expected}; "
        f"{remedy}"
    )


def _read_info(
    path: Path, file: h5py.File, k: int, first: int, last: int, signal: bool
) -> np.ndarray:
    """The k-th jets of some events, structured (m,)."""
    name = f"Jet/info{k}"
    info = file[name][first:last, :INFO_COLUMNS].astype(np.float64)
    _check_info(path, name, info, first, signal)
    exists = ~(info[:, 2] <= 0)
    jets = np.zeros(len(info), KINEMATICS)
    for field, column in (("pt", 2), ("eta", 3), ("phi", 4), ("mass", 5)):
        jets[field][exists] = info[exists, column]
    jets["delta_r"] = MISSING_DELTA_R
    if signal:
        jets["delta_r"][exists] = info[exists, :2].min(axis=1)
    return jets


def _check_info(
    path: Path, name: str, info: np.ndarray, first: int, signal: bool, remedy: str = LEAVE_OUT
) -> None:
    """Refuse numbers (m, 6) that no jet has, of those that exist."""
    exists = ~(info[:, 2] <= 0)
    used = info[:, 0 if signal else 2 :]
    good = np.isfinite(used).all(axis=1) & (np.abs(used) <= BEAM_ENERGY).all(axis=1)
    expected = f"finite numbers below {BEAM_ENERGY:g}"
    _require(path, name, good | ~exists, first, used, expected, remedy)
    if signal:
        near = (info[:, :2] >= 0).all(axis=1) | ~exists
        _require(path, name, near, first, info[:, :2], "distances of 0 or more", remedy)
    marked = (info[:, 5] >= 0) | (info[:, 5] == NO_MASS) | ~exists
    _require(path, name, marked, first, info[:, 5], "a mass of 0 or more, or -1", remedy)


def _read_pixels(
    path: Path, file: h5py.File, channel: int, k: int, first: int, last: int, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Event (counted from `first`), pixel in the plane and value of the pixels of some events."""
    index_name, value_name = (f"Jet/{CHANNELS[channel]}/{column}{k}" for column in PIXELS)
    index, n_index = _read_rows(file[index_name], first, last)
    value, n_value = _read_rows(file[value_name], first, last)
    _require(path, index_name, n_index % 2 == 0, first, n_index, "an even number of indices")
    expected = "half as many values as indices"
    _require(path, value_name, n_index == 2 * n_value, first, n_value, expected)
    row = np.repeat(np.arange(last - first), n_value)
    _check_values(path, value_name, value, row, first)
    index = index.reshape(-1, 2)
    if h5py.check_vlen_dtype(file[index_name].dtype) is None:
        row, index, value = row[value > 0], index[value > 0], value[value > 0]
    inside = ((index >= 0) & (index < side)).all(axis=1)
    _require(path, index_name, inside, first, index, f"(row, column) below {side}", row=row)
    pixel = index.astype(np.int64) @ (side, 1)
    key = np.sort(row * side**2 + pixel)
    twice = key[1:][key[1:] == key[:-1]]
    if len(twice):
        event, pixel_twice = divmod(int(twice[0]), side**2)
        raise InputError(
            f"{path}: dataset {index_name!r}, row {first + event}: pixel "
            f"{divmod(pixel_twice, side)} is there twice, expected once; fetch the file again"
        )
    seen = value.astype(np.float32) > 0
    return row[seen], pixel[seen], value[seen].astype(np.float64)


def _check_values(
    path: Path, name: str, value: np.ndarray, row: np.ndarray, first: int, remedy: str = LEAVE_OUT
) -> None:
    """Refuse pixel values that no jet has; `row`, counted from `first`, is their event."""
    good = np.isfinite(value) & (value >= 0) & (value <= BEAM_ENERGY)
    _require(path, name, good, first, value, f"values of 0 to {BEAM_ENERGY:g}", remedy, row)


def _read_rows(dataset: h5py.Dataset, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of some rows, flat, and how many each row has."""
    rows = dataset[first:last]
    if rows.dtype != object:
        return rows.ravel(), np.full(len(rows), rows.shape[1])
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))  # HDF5 gives one array a row
    return np.concatenate(rows), lengths


# --- Writer -------------------------------------------------------------------------------------


def write_published(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Write the fully selected events of our own files in the published layout.

    Signal files of one stop mass become one file a jet definition, ordered by neutralino mass.

    Args:
        folder: where to write, beside nothing that a later step reads.
        paths: files as `jets.events` writes them.

    Returns:
        The files written.

    Raises:
        InputError: numbers that the reader would refuse, no fully selected event, or a process
            or weights that the layout does not know.
    """
    attributes = {path: read_attributes(path) for path in paths}
    groups: dict[tuple, list[Path]] = {}
    for path in sorted(paths, key=lambda path: attributes[path].get("m_neutralino", NONE)):
        found = attributes[path]
        if found["process"] not in (STOP.name, TTBAR.name):
            raise InputError(
                f"{path}: process is {found['process']!r}, expected {TTBAR.name} or {STOP.name}, "
                "which the published layout knows; leave it out"
            )
        key = (found["process"], found.get("m_stop", NONE), found["index"])
        groups.setdefault(key, []).append(path)
    written = []
    for (process, m_stop, index), members in sorted(groups.items()):
        names = {
            jet_definition: folder
            / (
                signal_name(jet_definition, m_stop)
                if process == STOP.name
                else background_name(jet_definition, index)
            )
            for jet_definition in JET_DEFINITIONS
        }
        with ExitStack() as stack:
            files = {}
            for jet_definition, path in names.items():
                temporary = stack.enter_context(atomic_write(path))
                files[jet_definition] = stack.enter_context(h5py.File(temporary, "w"))
            for member in members:
                # HDF5 itself crashes on a full disk. Images take five to seven times as much.
                if shutil.disk_usage(folder).free < 10 * member.stat().st_size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
                events = read_events(member)
                if events.weight is not None and np.ptp(events.weight):
                    raise InputError(
                        f"{member}: its events have different weights, expected one weight, for "
                        "the published layout holds none; leave it out"
                    )
                for jet_definition, file in files.items():
                    _append_events(names[jet_definition], file, events, jet_definition)
            if not len(file["Jet/info0"]):
                there = ", ".join(map(str, members))
                raise InputError(f"{there}: no event with {JETS_MIN} jets or more, expected some")
        written += names.values()
    return written


def _append_events(path: Path, file: h5py.File, events: Events, jet_definition: str) -> None:
    signal = events.process == STOP.name
    side = JET_DEFINITIONS[jet_definition].pixels
    large_r = events.large_r[jet_definition]
    images = draw_events(events, jet_definition, np.ones(large_r.shape, bool))
    seen = (images.counts() > 0).reshape(large_r.shape) & (large_r["pt"] > 0)
    n_events = np.count_nonzero(events.fully_selected)
    mass = events.m_neutralino if signal else NO_NEUTRALINO
    first = _append(file, "mass/Mass", np.full((n_events, 1), mass, np.float64))
    for k in range(JETS_PER_EVENT):
        jets = large_r[:, k][events.fully_selected]
        exists = seen[:, k][events.fully_selected]
        info = np.zeros((n_events, INFO_COLUMNS))
        info[:, :2] = np.where(exists[:, None], jets["delta_r"], MISSING_DELTA_R)
        for column, field in enumerate(("pt", "eta", "phi"), start=2):
            info[:, column] = np.where(exists, jets[field], 0)
        info[:, 5] = np.where(exists, jets["mass"], NO_MASS)
        _check_info(path, f"Jet/info{k}", info, first, signal, hdf5.UNWRITTEN)
        _append(file, f"Jet/info{k}", info)
        chosen = images.take(np.flatnonzero(events.fully_selected) * JETS_PER_EVENT + k)
        image = events_of(chosen.offsets)
        plane, pixel = np.divmod(chosen.pixels.astype(np.int64), side * side)
        channels = {name: (name,) for name in CHANNELS} | {"ET": CALORIMETERS}
        for channel, summands in channels.items():
            part = np.isin(plane, [CHANNELS.index(name) for name in summands])
            plain = sum_deposits(image[part], pixel[part], chosen.values[part], n_events)
            name = f"Jet/{channel}/values{k}"
            row = events_of(plain.offsets)
            _check_values(path, name, plain.values, row, first, hdf5.UNWRITTEN)
            index = np.stack(np.divmod(plain.pixels.astype(np.int32), side), axis=1).ravel()
            rows = _rows(index, 2 * plain.offsets), _rows(plain.values, plain.offsets)
            _append(file, f"Jet/{channel}/index{k}", rows[0], np.int32)
            _append(file, name, rows[1], np.float32)


def _rows(flat: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Rows of variable length, one array each, as h5py takes them."""
    return np.fromiter(np.split(flat, offsets[1:-1]), object, len(offsets) - 1)


def _append(file: h5py.File, name: str, rows: np.ndarray, variable: type | None = None) -> int:
    """Append rows to a dataset that is made on first use; the number of the first of them."""
    if name not in file:
        dtype = rows.dtype if variable is None else h5py.vlen_dtype(variable)
        shape = (0, *rows.shape[1:])
        file.create_dataset(name, shape, dtype, maxshape=(None, *shape[1:]), chunks=True)
    dataset = file[name]
    first = len(dataset)
    dataset.resize(first + len(rows), axis=0)
    dataset[first:] = rows
    return first

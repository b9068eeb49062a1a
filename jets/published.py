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

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from command import InputError
from jets import content, hdf5
from jets.events import Events, read_attributes, read_events
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
from processes import NONE, PROCESSES, Process
from processes.stop import STOP
from processes.ttbar import TTBAR
from products import atomic_write
from study import Study

EVENTS_AT_ONCE = 4096
MASS = "mass/Mass"
INFO = {"pt": 2, "eta": 3, "phi": 4, "mass": 5}  # columns, behind those of delta R
INFO_COLUMNS = 6
NO_MASS = -1.0  # of a jet without pixels
NO_NEUTRALINO = -1.0  # mass, of a background event
REMEDY = "fetch it again or leave it out"
_NAME = re.compile(rf"(?:BG|SI)_({'|'.join(JET_DEFINITIONS)})_(\d+)(?:GeV)?\.hdf5")


def file_name(process: Process, jet_definition: str, number: int) -> str:
    """Name of the file of a background's index, or of a stop mass in GeV."""
    start, end = ("SI", "GeV") if process == STOP else ("BG", "")
    return f"{start}_{jet_definition}_{number}{end}.hdf5"


def find_files(
    folder: Path, study: Study
) -> tuple[dict[tuple[Process, int], dict[str, Path]], list[Path]]:
    """The published files of a folder that a study asks for, and those that it does not.

    Returns:
        (process, index or stop mass) -> jet definition -> path, all three; and the others.

    Raises:
        InputError: a definition is missing.
    """
    asked = {TTBAR: range(study.sample.background_files), STOP: study.sample.stop_masses}
    found: dict[tuple[Process, int], dict[str, Path]] = {}
    others = []
    for path in sorted([*folder.glob("BG_*.hdf5"), *folder.glob("SI_*.hdf5")]):
        name = _NAME.fullmatch(path.name)
        process = STOP if path.name.startswith("SI") else TTBAR
        number = int(name[2]) if name else -1
        if (
            process.name not in study.sample.processes
            or number not in asked[process]
            or path.name != file_name(process, name[1], number)
        ):
            others.append(path)
        else:
            found.setdefault((process, number), {})[name[1]] = path
    for (process, number), paths in found.items():
        for missing in (name for name in JET_DEFINITIONS if name not in paths):
            raise InputError(
                f"{folder / file_name(process, missing, number)}: no such file, while "
                f"{next(iter(paths.values())).name} of the same events is there; fetch it, or move "
                "the others away"
            )
    return dict(sorted(found.items(), key=lambda item: (item[0][0].number, item[0][1]))), others


def read_neutralino_masses(path: Path) -> np.ndarray:
    """Neutralino mass (n,) float64 in GeV of every event of a signal file, or an InputError."""
    with hdf5.opened(path, REMEDY) as file:
        n = _check_shapes(file)
        dataset = _dataset(file, MASS, "iuf")
        if dataset.dtype == object or dataset.shape not in ((n, 1), (n,)):
            raise hdf5.wrong_shape(path, MASS, dataset.shape, f"({n}, 1)", REMEDY)
        mass = dataset[()].reshape(n).astype(np.float64)
    good = (mass > 0) & (mass <= BEAM_ENERGY)
    hdf5.require(path, MASS, mass, good, f"a mass of 0 to {BEAM_ENERGY:g}", REMEDY)
    return mass


def read_kinematics(
    path: Path, jet_definition: str, signal: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All of a file but its images, once they are found good.

    Returns:
        Neutralino masses (n,), -1 of a background; jets (n, 3) and `content.of_published` (n,).
    """
    parts = [
        (jets, content.of_published(jets, images, jet_definition))
        for jets, images in read_jets(path, JET_DEFINITIONS[jet_definition].pixels, signal)
    ]
    jets, hashes = (np.concatenate(column) for column in zip(*parts, strict=True))
    masses = read_neutralino_masses(path) if signal else np.full(len(jets), NO_NEUTRALINO)
    return masses, jets, hashes


def read_images(path: Path, jet_definition: str, signal: bool, wanted: np.ndarray) -> SparseImages:
    """The images of the jets `wanted`, (n, 3) bool, by event and jet number; see `read_jets`."""
    parts, first = [], 0
    for jets, images in read_jets(path, JET_DEFINITIONS[jet_definition].pixels, signal):
        parts.append(images.take(np.flatnonzero(wanted[first : first + len(jets)])))
        first += len(jets)
    return concatenate(parts)


def read_jets(path: Path, side: int, signal: bool) -> Iterator[tuple[np.ndarray, SparseImages]]:
    """The jets of some thousand events at a time.

    Args:
        side: pixels along one side of its images.
        signal: whether the distances to the neutralinos mean anything.

    Yields:
        Jets, structured (m, 3) `KINEMATICS`, pT 0 where there is no jet or it has no pixel; and
        3 m images, event after event.

    Raises:
        InputError: whatever is wrong with the file, with dataset and row.
    """
    with hdf5.opened(path, REMEDY) as file:
        n = _check_shapes(file)
        for first in range(0, n, EVENTS_AT_ONCE):
            events = range(first, min(first + EVENTS_AT_ONCE, n))
            jets = np.zeros((len(events), JETS_PER_EVENT), KINEMATICS)
            deposits = []
            for k in range(JETS_PER_EVENT):
                jets[:, k] = _read_info(file, k, events, signal)
                for channel, name in enumerate(CHANNELS):
                    row, pixel, value = _read_pixels(file, name, k, events, side)
                    exists = jets["pt"][row, k] > 0
                    image = row * JETS_PER_EVENT + k
                    pixel += channel * side * side
                    deposits.append((image[exists], pixel[exists], value[exists]))
            columns = (np.concatenate(column) for column in zip(*deposits, strict=True))
            images = sum_deposits(*columns, jets.size)
            seen = images.counts().reshape(jets.shape) > 0
            jets["pt"][~seen] = 0
            good, expected = (jets["mass"] >= 0) | ~seen, "a mass, for it has pixels"
            for k, mass in enumerate(jets["mass"].T):
                hdf5.require(path, f"Jet/info{k}", mass, good[:, k], expected, REMEDY, events)
            yield jets, images


def _dataset(file: h5py.File, name: str, kinds: str) -> h5py.Dataset:
    """A dataset of numbers of one of these numpy kinds, in rows of fixed or variable length.

    Its numbers have to lie in the file as numpy has them: HDF5 converts others, such as floats of a
    damaged description, and reads outside them.
    """
    dataset = hdf5.dataset(file, name, REMEDY)
    dtype, stored = h5py.check_vlen_dtype(dataset.dtype) or dataset.dtype, dataset.id.get_type()
    if isinstance(stored, h5py.h5t.TypeVlenID):
        stored = stored.get_super()
    is_number = isinstance(dtype, np.dtype) and dtype.kind in kinds
    has = f"{file.filename}: dataset {name!r} has"
    if not is_number or stored != h5py.h5t.py_create(dtype):
        expected = "integers" if kinds == "iu" else "numbers"
        raise InputError(f"{has} type {dataset.dtype}, expected {expected}; {REMEDY}")
    if dataset.dtype == object and not dtype.isnative:
        raise InputError(
            f"{has} rows of variable length of type {dtype}, of which h5py mistakes the bytes; "
            "write them in the byte order of this machine"
        )
    return dataset


def _check_shapes(file: h5py.File) -> int:
    """The number of events, once every dataset has as many rows."""
    n = None
    for k in range(JETS_PER_EVENT):
        info = _dataset(file, f"Jet/info{k}", "iuf")
        n = len(info) if n is None and info.ndim else n
        if info.ndim != 2 or len(info) != n or info.shape[1] < INFO_COLUMNS:
            expected = f"({'n' if n is None else n}, at least {INFO_COLUMNS})"
            raise hdf5.wrong_shape(file.filename, f"Jet/info{k}", info.shape, expected, REMEDY)
        for name in itertools.chain(*(_pixel_names(channel, k) for channel in CHANNELS)):
            dataset = _dataset(file, name, "iu" if "index" in name else "iuf")
            variable = h5py.check_vlen_dtype(dataset.dtype) is not None
            if dataset.ndim != (1 if variable else 2) or len(dataset) != n:
                expected = f"{n} rows of pixels"
                raise hdf5.wrong_shape(file.filename, name, dataset.shape, expected, REMEDY)
    if n == 0:
        raise InputError(f"{file.filename}: dataset 'Jet/info0' holds 0 events; {REMEDY}")
    return n


def _read_info(file: h5py.File, k: int, events: range, signal: bool) -> np.ndarray:
    """The k-th jets of some events, structured (m,)."""
    name = f"Jet/info{k}"
    info = file[name][events.start : events.stop, :INFO_COLUMNS].astype(np.float64)
    exists = ~(info[:, 2] <= 0)  # NaN is refused below
    used, near, mass = info[:, 0 if signal else 2 :], info[:, :2], info[:, INFO["mass"]]
    finite = f"finite numbers below {BEAM_ENERGY:g}"
    for column, good, expected in (
        (used, (np.abs(used) <= BEAM_ENERGY).all(axis=1), finite),
        (near, (near >= 0).all(axis=1) | (not signal), "distances of 0 or more"),
        (mass, (mass >= 0) | (mass == NO_MASS), "a mass of 0 or more, or -1"),
    ):
        hdf5.require(file.filename, name, column, good | ~exists, expected, REMEDY, events)
    jets = np.zeros(len(info), KINEMATICS)
    for field, column in INFO.items():
        jets[field][exists] = info[exists, column]
    jets["delta_r"] = MISSING_DELTA_R
    if signal:
        jets["delta_r"][exists] = info[exists, :2].min(axis=1)
    return jets


def _read_pixels(
    file: h5py.File, channel: str, k: int, events: range, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Event (counted from the first), pixel in the plane and value of the pixels of some events."""
    name, index_name, value_name = file.filename, *_pixel_names(channel, k)
    index, n_index = _read_rows(file[index_name], events)
    value, n_value = _read_rows(file[value_name], events)
    even, half = "an even number of indices", "half as many values as indices"
    hdf5.require(name, index_name, n_index, n_index % 2 == 0, even, REMEDY, events)
    hdf5.require(name, value_name, n_value, n_index == 2 * n_value, half, REMEDY, events)
    row = np.repeat(np.arange(len(events)), n_value)
    in_file = events.start + row
    hdf5.require_range(name, value_name, value, 0, BEAM_ENERGY, REMEDY, in_file)
    index = index.reshape(-1, 2)
    if h5py.check_vlen_dtype(file[index_name].dtype) is None:
        index, row, in_file, value = (column[value > 0] for column in (index, row, in_file, value))
    inside = ((index >= 0) & (index < side)).all(axis=1)
    expected = f"(row, column) below {side}"
    hdf5.require(name, index_name, index, inside, expected, REMEDY, in_file)
    pixel = index.astype(np.int64) @ (side, 1)
    once = np.zeros(len(pixel), bool)
    once[np.unique(row * side**2 + pixel, return_index=True)[1]] = True
    hdf5.require(name, index_name, index, once, "no pixel twice", REMEDY, in_file)
    seen = value.astype(np.float32) > 0
    return row[seen], pixel[seen], value[seen].astype(np.float64)


def _pixel_names(channel: str, k: int) -> tuple[str, str]:
    return f"Jet/{channel}/index{k}", f"Jet/{channel}/values{k}"


def _read_rows(dataset: h5py.Dataset, events: range) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of some rows, flat, and how many each row has."""
    rows = dataset[events.start : events.stop]
    if rows.dtype != object:
        return rows.ravel(), np.full(len(rows), rows.shape[1])
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))  # HDF5 gives one array a row
    return np.concatenate(rows), lengths


def write_published(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Write the fully selected events of our own files `paths` in the published layout.

    Signal files of one stop mass become one file a jet definition, ordered by neutralino mass.

    Returns:
        The files written.

    Raises:
        InputError: numbers that the reader would refuse, no fully selected event, or a process
            or weights that the layout does not know.
    """
    attributes = {path: read_attributes(path) for path in paths}
    groups: dict[tuple[Process, int], list[Path]] = {}
    for path in sorted(paths, key=lambda path: attributes[path].get("m_neutralino", NONE)):
        process = PROCESSES[attributes[path]["process"]]
        if process not in (TTBAR, STOP):
            raise InputError(
                f"{path}: process is {process.name!r}, expected {TTBAR.name} or {STOP.name}, "
                "which the published layout knows; leave it out"
            )
        number = attributes[path]["m_stop" if process == STOP else "index"]
        groups.setdefault((process, number), []).append(path)
    written = []
    for (process, number), members in groups.items():
        names = {name: folder / file_name(process, name, number) for name in JET_DEFINITIONS}
        with ExitStack() as stack:
            temporary = {n: stack.enter_context(atomic_write(path)) for n, path in names.items()}
            files = {n: stack.enter_context(h5py.File(p, "w")) for n, p in temporary.items()}
            for member in members:
                hdf5.require_space(folder, 10 * member.stat().st_size)  # images take 5 to 7 times
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
    """Append the fully selected events to a file that is to become `path`."""
    side = JET_DEFINITIONS[jet_definition].pixels
    large_r = events.large_r[jet_definition]
    images = draw_events(events, jet_definition, np.ones(large_r.shape, bool))
    seen = (images.counts() > 0).reshape(large_r.shape) & (large_r["pt"] > 0)
    selected = np.flatnonzero(events.fully_selected)
    mass = events.attributes.get("m_neutralino", NO_NEUTRALINO)
    first = _append(file, MASS, np.full((len(selected), 1), mass, np.float64))
    for k in range(JETS_PER_EVENT):
        jets, exists = large_r[selected, k], seen[selected, k]
        info = np.zeros((len(selected), INFO_COLUMNS))
        info[:, :2] = np.where(exists[:, None], jets["delta_r"], MISSING_DELTA_R)
        for field, column in INFO.items():
            info[:, column] = np.where(exists, jets[field], NO_MASS if field == "mass" else 0)
        _append(file, f"Jet/info{k}", info)
        chosen = images.take(selected * JETS_PER_EVENT + k)
        image = events_of(chosen.offsets)
        plane, pixel = np.divmod(chosen.pixels.astype(np.int64), side * side)
        channels = {name: (name,) for name in CHANNELS} | {"ET": ("EhT", "EmT")}
        for channel, summands in channels.items():
            part = np.isin(plane, [CHANNELS.index(name) for name in summands])
            plain = sum_deposits(image[part], pixel[part], chosen.values[part], len(selected))
            (index_name, name), row = _pixel_names(channel, k), first + events_of(plain.offsets)
            hdf5.require_range(path, name, plain.values, 0, BEAM_ENERGY, hdf5.UNWRITTEN, row)
            index = np.stack(np.divmod(plain.pixels.astype(np.int32), side), axis=1)
            _append(file, index_name, index.ravel(), 2 * plain.offsets)
            _append(file, name, plain.values, plain.offsets)


def _append(file: h5py.File, name: str, rows: np.ndarray, offsets: np.ndarray | None = None) -> int:
    """Append rows, or a flat array in rows of variable length; the number of the first of them."""
    dtype = rows.dtype
    if offsets is not None:
        dtype = h5py.vlen_dtype(dtype)
        rows = np.fromiter(np.split(rows, offsets[1:-1]), object, len(offsets) - 1)
    shape = rows.shape[1:]
    if name not in file:
        file.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=True)
    dataset = file[name]
    first = len(dataset)
    dataset.resize(first + len(rows), axis=0)
    dataset[first:] = rows
    return first

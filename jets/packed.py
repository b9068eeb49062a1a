"""What setup.py writes and the later steps read: the table of events, and the packed jets.

`events.h5` has one row an event of everything that was read. `AK08.h5`, `AK10.h5` and `AK14.h5`
hold the jets that the networks see, sorted by split, event and jet number, so that a split is one
contiguous range (layouts: doc/data-format.md).
"""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from command import InputError
from jets import hdf5
from jets.images import SparseImages
from jets.ragged import offsets_from
from jets.split import HELD_OUT, SPLITS, TRAIN
from physics import BEAM_ENERGY, CHANNELS, FOX_WOLFRAM_ORDERS, JETS_PER_EVENT
from products import atomic_write

_SAMPLE = [("process", "<i4"), ("m_stop", "<i4"), ("m_neutralino", "<i4"), ("index", "<i4")]
EVENT_DTYPE = np.dtype(
    [*_SAMPLE, ("row", "<i8"), ("split", "u1"), ("n_jets", "<i2"), ("weight", "<f8")]
)
SAMPLE_DTYPE = np.dtype(
    [
        *_SAMPLE,
        ("events", "<i8"),
        ("selection_efficiency", "<f8"),
        ("selection_efficiency_error", "<f8"),
        ("cross_section_pb", "<f8"),
    ]
)
KINEMATICS = [(name, "<f4") for name in ("mass", "pt", "eta", "phi", "delta_r")]
JET_DTYPE = np.dtype(
    [
        ("event", "<i8"),
        ("k", "u1"),
        ("split", "u1"),
        ("label", "u1"),
        ("shuffled_label", "u1"),
        ("classified", "?"),
        *KINEMATICS,
    ]
)
OBSERVABLES = ("pTmiss", "HT", "MJ", "Nj", *(f"H{order}" for order in FOX_WOLFRAM_ORDERS))
REMEDY = "run setup.py again"
LAYOUT = 4  # of the files described here: setup.py makes older ones again
CHUNK = 2**16  # rows of a chunk on disk
_STORED = {"compression": "lzf", "shuffle": True, "fletcher32": True}
_COLUMNS = {
    "jets": JET_DTYPE,
    "counts": np.dtype("<i8"),
    "pixels": np.dtype("<u2"),
    "values": np.dtype("<f4"),
}


# --- The table of events ------------------------------------------------------------------------


@dataclass(frozen=True)
class EventTable:
    """All events of a study.

    Attributes:
        events: structured (n,), `EVENT_DTYPE`; `m_stop` and `m_neutralino` are the two parameters
            of the process, whatever it calls them, -1 where it has none; n_jets -1 where unknown
            (published files); weight 1 of events that have none.
        observables: (n, 9) float32, columns `OBSERVABLES` in GeV; None with published files.
        samples: structured, `SAMPLE_DTYPE`, one row a mass point or background file; `events`
            counts the fully selected ones; NaN where unknown.
        source: `collisions` or `published files`.
    """

    events: np.ndarray
    observables: np.ndarray | None
    samples: np.ndarray
    source: str


def write_event_table(path: Path, table: EventTable) -> None:
    """Write `events.h5`, atomically."""
    with hdf5.written(path) as file:
        file.attrs["source"] = table.source
        file.create_dataset("events", data=table.events, **_STORED)
        file.create_dataset("samples", data=table.samples)
        if table.observables is not None:
            observables = file.create_dataset("observables", data=table.observables, **_STORED)
            observables.attrs["names"] = list(OBSERVABLES)


def read_event_table(path: Path) -> EventTable:
    """Read `events.h5`.

    Raises:
        InputError: it is missing or damaged.
    """
    with hdf5.opened(path, REMEDY) as file:
        events = _read(file, "events", EVENT_DTYPE)
        good = np.isfinite(events["weight"])
        hdf5.require(path, "events/weight", events["weight"], good, "a finite number", REMEDY)
        samples = _read(file, "samples", SAMPLE_DTYPE)
        observables = None
        if "observables" in file:
            observables = _read(file, "observables", np.dtype("<f4"))
        return EventTable(events, observables, samples, str(file.attrs["source"]))


# --- The packed jets ----------------------------------------------------------------------------


@dataclass(frozen=True)
class PackedJets:
    """Jets of one definition, of one split or of all.

    Attributes:
        jets: structured (n,), `JET_DTYPE`.
        images: their n images, GeV.
        side: pixels along one side of the image.
        mass_mean, mass_std: of the training jets, TeV.
        jet_definition: `AK08`, `AK10` or `AK14`.
    """

    jets: np.ndarray
    images: SparseImages
    side: int
    mass_mean: float
    mass_std: float
    jet_definition: str

    def __len__(self) -> int:
        return len(self.jets)

    def take(self, rows: np.ndarray) -> "PackedJets":
        """The jets of these numbers, in their order."""
        return replace(self, jets=self.jets[rows], images=self.images.take(rows))


class JetWriter:
    """Collects jets sample by sample and lays them down split by split; see `jet_writer`."""

    def __init__(self, path: Path, jet_definition: str, side: int, scratch: list[dict]):
        self.path, self.jet_definition, self.side = path, jet_definition, side
        self._scratch = scratch

    def add(self, jets: np.ndarray, images: SparseImages) -> None:
        """Append jets, structured (m,) `JET_DTYPE`, and their m images.

        Raises:
            InputError: numbers that `read_jets` would refuse.
        """
        _check(self.path, jets, images, self.side, hdf5.UNWRITTEN)
        for split, scratch in enumerate(self._scratch):
            rows = np.flatnonzero(jets["split"] == split)
            part = images.take(rows)
            columns = (jets[rows], part.counts(), part.pixels, part.values)
            for (name, dtype), column in zip(_COLUMNS.items(), columns, strict=True):
                scratch[name].write(column.astype(dtype, copy=False).tobytes())

    def finish(self) -> None:
        """Write the product, atomically.

        Raises:
            OSError: no space left; HDF5 itself would crash.
        """
        scratch = [file for files in self._scratch for file in files.values()]
        if shutil.disk_usage(self.path.parent).free < sum(file.tell() for file in scratch):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        with atomic_write(self.path) as temporary, h5py.File(temporary, "w") as file:
            for name in ("jets", "pixels", "values"):
                self._lay_down(file, name)
            counts = np.concatenate([*self._parts("counts", self._scratch), []]).astype(np.int64)
            offsets = offsets_from(counts)
            file.create_dataset("offsets", data=offsets, **_STORED)
            jets = file["jets"][()]
            mass = jets["mass"][jets["split"] == TRAIN].astype(np.float64) / 1000
            file.attrs.update(
                jet_definition=self.jet_definition,
                pixels=self.side,
                channels=list(CHANNELS),
                mass_mean=mass.mean(),
                mass_std=mass.std(),
                training_sha256=self._training_sha256(),
            )

    def _training_sha256(self) -> str:
        """Of all that decides a training; held-out jets may come and go without a new one."""
        digest = hashlib.sha256(f"{self.jet_definition} {self.side}".encode())
        for name in _COLUMNS:
            for part in self._parts(name, self._scratch[:HELD_OUT]):
                digest.update(part)
        return digest.hexdigest()

    def _lay_down(self, file: h5py.File, name: str) -> None:
        """One dataset from the scratch files of all splits, some chunks at a time."""
        dtype = _COLUMNS[name]
        n_rows = sum(scratch[name].tell() for scratch in self._scratch) // dtype.itemsize
        chunk = (min(CHUNK, n_rows),)
        dataset = file.create_dataset(name, (n_rows,), dtype, chunks=chunk, **_STORED)
        first = 0
        for part in self._parts(name, self._scratch):
            dataset[first : first + len(part)] = part
            first += len(part)

    def _parts(self, name: str, splits: Iterable[dict]) -> Iterator[np.ndarray]:
        """One column of the scratch files of some splits, in order, some chunks at a time."""
        dtype = _COLUMNS[name]
        for scratch in splits:
            scratch[name].seek(0)
            while part := scratch[name].read(16 * CHUNK * dtype.itemsize):
                yield np.frombuffer(part, dtype)


@contextmanager
def jet_writer(path: Path, jet_definition: str, side: int) -> Iterator[JetWriter]:
    """A writer of packed jets.

    The splits grow side by side in nameless scratch files beside the product, so memory never holds
    more than what one call to `add` brings.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = [
            {
                name: stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
                for name in _COLUMNS
            }
            for _ in SPLITS
        ]
        try:
            yield JetWriter(path, jet_definition, side, scratch)
        except OSError as error:  # nameless files have no name to tell
            error.filename = error.filename or str(path)
            raise


def read_jet_table(path: Path) -> np.ndarray:
    """The packed jets of all splits without their images, structured (n,) `JET_DTYPE`.

    Raises:
        InputError: the file is missing or damaged.
    """
    with hdf5.opened(path, REMEDY) as file:
        return _read(file, "jets", JET_DTYPE)


def read_training_sha256(path: Path) -> str:
    """SHA-256 of the packed jets of training and validation, with their images.

    Raises:
        InputError: the file is missing or damaged.
    """
    with hdf5.opened(path, REMEDY) as file:
        return str(file.attrs["training_sha256"])


def read_jets(path: Path, split: int | None = None) -> PackedJets:
    """Read the packed jets of one split (`split.TRAIN`, `VALIDATION`, `HELD_OUT`) or of all.

    Raises:
        InputError: the file is missing or damaged.
    """
    with hdf5.opened(path, REMEDY) as file:
        jets = _read(file, "jets", JET_DTYPE)
        first, last = 0, len(jets)
        if split is not None:
            first, last = np.searchsorted(jets["split"], [split, split + 1])
        offsets = _read(file, "offsets", np.dtype("<i8"), slice(first, last + 1))
        pixels = slice(offsets[0], offsets[-1])
        images = SparseImages(
            offsets - offsets[0],
            _read(file, "pixels", _COLUMNS["pixels"], pixels),
            _read(file, "values", _COLUMNS["values"], pixels),
        )
        side = int(file.attrs["pixels"])
        _check(path, jets[first:last], images, side, REMEDY)
        return PackedJets(
            jets[first:last],
            images,
            side,
            float(file.attrs["mass_mean"]),
            float(file.attrs["mass_std"]),
            str(file.attrs["jet_definition"]),
        )


def _read(file: h5py.File, name: str, dtype: np.dtype, rows: slice | tuple[()] = ()) -> np.ndarray:
    """Some rows of a dataset, of any type that `dtype` holds exactly, such as a narrower one."""
    dataset = hdf5.dataset(file, name, REMEDY)
    found = dataset.dtype
    if found.names != dtype.names or not np.can_cast(found, dtype, "safe"):
        raise InputError(
            f"{file.filename}: dataset {name!r} has type {found}, expected {dtype}; {REMEDY}"
        )
    return dataset[rows].astype(dtype, copy=False)


def _check(path: Path, jets: np.ndarray, images: SparseImages, side: int, remedy: str) -> None:
    """Refuse what no jet of any sample is; one rule for what is written and what is read."""

    def require(name: str, column: np.ndarray, low: float, high: float) -> None:
        if len(column) and not (column.min() >= low and column.max() <= high):  # NaN is neither
            good = (column >= low) & (column <= high)
            hdf5.require(path, name, column, good, f"{low:g} to {high:g}", remedy)

    for name, high in (("k", JETS_PER_EVENT), ("split", len(SPLITS)), ("label", 2)):
        require(f"jets/{name}", jets[name], 0, high - 1)
    for name, _ in KINEMATICS:
        low = -BEAM_ENERGY if name in ("eta", "phi") else 0
        require(f"jets/{name}", jets[name], low, BEAM_ENERGY)
    counts = images.counts()
    require("offsets", counts, 0, len(images.pixels))
    if len(images) != len(jets) or not counts.sum() == len(images.pixels) == len(images.values):
        raise InputError(
            f"{path}: {len(jets)} jets have {len(images)} images of {counts.sum()} pixels, found "
            f"{len(images.pixels)} places and {len(images.values)} values of pixels; {remedy}"
        )
    require("pixels", images.pixels, 0, len(CHANNELS) * side**2 - 1)
    require("values", images.values, np.finfo(np.float32).smallest_subnormal, BEAM_ENERGY)

"""What setup.py writes and the later steps read: the table of events, and the packed jets.

`events.h5` has one row an event of everything that was read. `AK08.h5`, `AK10.h5` and `AK14.h5`
hold the jets that the networks see, sorted by split, event and jet number, so that a split is one
contiguous range (layouts: doc/data-format.md).
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile

import h5py
import numpy as np
from numpy.lib.recfunctions import repack_fields

from jets import hdf5
from jets.images import SparseImages
from jets.ragged import offsets_from
from jets.split import HELD_OUT, SPLITS, TRAIN
from physics import BEAM_ENERGY, CHANNELS, FOX_WOLFRAM_ORDERS, JETS_PER_EVENT
from products import atomic_write, naming

_SAMPLE = [("process", "<i4"), ("m_stop", "<i4"), ("m_neutralino", "<i4"), ("index", "<i4")]
EVENT_DTYPE = np.dtype(
    [*_SAMPLE, ("row", "<i8"), ("split", "u1"), ("n_jets", "<i2"), ("weight", "<f8")]
)
# Of the generated process; unknown of published files.
OF_PROCESS = ("selection_efficiency", "selection_efficiency_error", "cross_section_pb")
SAMPLE_DTYPE = np.dtype([*_SAMPLE, ("events", "<i8"), *((name, "<f8") for name in OF_PROCESS)])
KINEMATICS = [(name, "<f4") for name in ("mass", "pt", "eta", "phi", "delta_r")]
_SMALL = [(name, "u1") for name in ("k", "split", "label", "shuffled_label")]
JET_DTYPE = np.dtype([("event", "<i8"), *_SMALL, ("classified", "?"), *KINEMATICS])
DS2 = ("pTmiss", "HT", "MJ", "Nj", *(f"H{order}" for order in FOX_WOLFRAM_ORDERS))
OBSERVABLES = (*DS2, "lepton pT", "Nb")
REMEDY = "run setup.py again"
LAYOUT = 5  # of the files described here: setup.py makes older ones again
# Of a jet, what decides a training; held-out events move the number of its event.
_DECISIVE = [name for name in JET_DTYPE.names if name not in ("event", "shuffled_label")]
CHUNK = 2**16  # rows of a chunk on disk
_STORED = {"compression": "lzf", "shuffle": True, "fletcher32": True}
_COLUMNS = {
    "jets": JET_DTYPE,
    "counts": np.dtype("<i8"),
    "pixels": np.dtype("<u2"),
    "values": np.dtype("<f4"),
}


@dataclass(frozen=True)
class EventTable:
    """All events of a study.

    Attributes:
        events: (n,) `EVENT_DTYPE`; `m_stop` and `m_neutralino` are the two parameters of any
            process, -1 where it has none; n_jets -1 where unknown; weight 1 where there is none.
        observables: (n, 11) float32, columns `OBSERVABLES` in GeV; None but of our collisions.
        samples: `SAMPLE_DTYPE`, one row a mass point or background file; `events` counts the fully
            selected ones; NaN where unknown.
        source: the `name` of one of `jets.sources.Source`.
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
    """Read `events.h5`; InputError if it is missing or damaged."""
    with hdf5.opened(path, REMEDY) as file:
        events = hdf5.read(file, "events", EVENT_DTYPE, REMEDY)
        good = np.isfinite(events["weight"])
        hdf5.require(path, "events/weight", events["weight"], good, "a finite number", REMEDY)
        samples, observables = hdf5.read(file, "samples", SAMPLE_DTYPE, REMEDY), None
        if "observables" in file:
            observables = hdf5.read(file, "observables", np.dtype("<f4"), REMEDY)
        return EventTable(events, observables, samples, str(file.attrs["source"]))


@dataclass(frozen=True)
class PackedJets:
    """Jets of one definition, of one split or of all.

    Attributes:
        jets: structured (n,), `JET_DTYPE`.
        images: their n images, GeV.
        side: pixels along one side of the image.
        mass_mean, mass_std: of the training jets, TeV.
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


@contextmanager
def jet_writer(
    path: Path, jet_definition: str, side: int, weight: np.ndarray | None = None
) -> Iterator[Callable[[np.ndarray, SparseImages], None]]:
    """Packed jets, taken sample by sample, laid down split by split, written atomically at the end.

    The splits grow side by side in nameless scratch files beside the product, so memory never holds
    more than what one call brings.

    Args:
        weight: of the jets to train and to validate with, if not all are 1: others make another
            training.

    Yields:
        A function that appends jets, structured (m,) `JET_DTYPE`, and their m images.

    Raises:
        InputError: numbers that `read_jets` would refuse.
        OSError: no space left.
    """

    def add(jets: np.ndarray, images: SparseImages) -> None:
        _check(path, jets, images, side, hdf5.UNWRITTEN)
        for split, files in enumerate(scratch):
            rows = np.flatnonzero(jets["split"] == split)
            part = images.take(rows)
            columns = (jets[rows], part.counts(), part.pixels, part.values)
            for (name, dtype), column in zip(_COLUMNS.items(), columns, strict=True):
                files[name].write(column.astype(dtype, copy=False).tobytes())

    def parts(name: str, n_splits: int = len(SPLITS)) -> Iterator[np.ndarray]:
        """One column of the first splits, in order, some chunks at a time."""
        for files in scratch[:n_splits]:
            files[name].seek(0)
            while part := files[name].read(16 * CHUNK * _COLUMNS[name].itemsize):
                yield np.frombuffer(part, _COLUMNS[name])

    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), ExitStack() as stack:
        scratch = [
            {name: stack.enter_context(TemporaryFile(dir=path.parent)) for name in _COLUMNS}
            for _ in SPLITS
        ]
        yield add
        sizes = {name: sum(files[name].tell() for files in scratch) for name in _COLUMNS}
        hdf5.require_space(path.parent, sum(sizes.values()))
        with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
            for name in ("jets", "pixels", "values"):
                dtype, first = _COLUMNS[name], 0
                shape = (sizes[name] // dtype.itemsize,)
                chunks = (min(CHUNK, *shape),)
                dataset = file.create_dataset(name, shape, dtype, chunks=chunks, **_STORED)
                for part in parts(name):
                    dataset[first : first + len(part)] = part
                    first += len(part)
            counts = np.concatenate([np.zeros(0, np.int64), *parts("counts")])
            file.create_dataset("offsets", data=offsets_from(counts), **_STORED)
            # Of all that decides a training; held-out jets may come and go without a new one.
            digest = hashlib.sha256(f"{jet_definition} {side}".encode())
            labels = hashlib.sha256()
            for part in parts("jets", HELD_OUT):
                digest.update(repack_fields(part[_DECISIVE]).tobytes())
                labels.update(part["shuffled_label"].tobytes())
            for part in itertools.chain(*(parts(name, HELD_OUT) for name in list(_COLUMNS)[1:])):
                digest.update(part)
            if weight is not None and ((rounded := weight.astype("<f4")) != 1).any():
                digest.update(rounded.tobytes())
            labels.update(digest.digest())
            jets = file["jets"][()]
            mass = jets["mass"][jets["split"] == TRAIN].astype(np.float64) / 1000
            file.attrs.update(
                jet_definition=jet_definition,
                pixels=side,
                channels=list(CHANNELS),
                mass_mean=mass.mean(),
                mass_std=mass.std(),
                training_sha256=digest.hexdigest(),
                shuffled_sha256=labels.hexdigest(),
            )


def read_jet_table(path: Path) -> np.ndarray:
    """The packed jets of all splits without their images, structured (n,) `JET_DTYPE`."""
    with hdf5.opened(path, REMEDY) as file:
        return hdf5.read(file, "jets", JET_DTYPE, REMEDY)


def read_training_sha256(path: Path, is_shuffled: bool = False) -> str:
    """SHA-256 of the packed jets of training and validation, with images, and permuted labels."""
    with hdf5.opened(path, REMEDY) as file:
        return str(file.attrs["shuffled_sha256" if is_shuffled else "training_sha256"])


def read_jets(path: Path, split: int | None = None) -> PackedJets:
    """The packed jets of one split (`TRAIN`, ...) or of all; InputError if damaged or missing."""
    with hdf5.opened(path, REMEDY) as file:
        jets = hdf5.read(file, "jets", JET_DTYPE, REMEDY)
        first, last = 0, len(jets)
        if split is not None:
            first, last = np.searchsorted(jets["split"], [split, split + 1])
        rows = slice(first, last + 1)
        offsets = hdf5.read(file, "offsets", np.dtype("<i8"), REMEDY, rows)
        rows = slice(offsets[0], offsets[-1])
        pixels, values = (
            hdf5.read(file, name, _COLUMNS[name], REMEDY, rows) for name in ("pixels", "values")
        )
        images = SparseImages(offsets - offsets[0], pixels, values)
        side = int(file.attrs["pixels"])
        _check(path, jets[first:last], images, side, REMEDY)
        mean, std = float(file.attrs["mass_mean"]), float(file.attrs["mass_std"])
        definition = str(file.attrs["jet_definition"])
        return PackedJets(jets[first:last], images, side, mean, std, definition)


def _check(path: Path, jets: np.ndarray, images: SparseImages, side: int, remedy: str) -> None:
    """Refuse what no jet of any sample is; one rule for what is written and what is read."""
    ranges = {name: (0, BEAM_ENERGY) for name, _ in KINEMATICS}
    ranges |= dict.fromkeys(("eta", "phi"), (-BEAM_ENERGY, BEAM_ENERGY))
    ranges |= {"k": (0, JETS_PER_EVENT - 1), "split": (0, len(SPLITS) - 1), "label": (0, 1)}
    counts = images.counts()
    checks = {f"jets/{name}": (jets[name], *ends) for name, ends in ranges.items()} | {
        "offsets": (counts, 0, len(images.pixels)),
        "pixels": (images.pixels, 0, len(CHANNELS) * side**2 - 1),
        "values": (images.values, np.finfo(np.float32).smallest_subnormal, BEAM_ENERGY),
    }
    for name, (column, low, high) in checks.items():
        hdf5.require_range(path, name, column, low, high, remedy)
    expected = len(jets), counts.sum(), counts.sum()
    found = len(images), len(images.pixels), len(images.values)
    if found != expected:
        raise hdf5.wrong_shape(path, "offsets, pixels, values", found, expected, remedy)

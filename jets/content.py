"""The same event under two names: found by a hash of what a classifier sees of it.

An event's identity (jets/split.py) is where it lies. A file that is there twice, under another
number, mass or process, would put the same event into training and test. No label, true particle
or name enters the hash, and neither the type nor the order in which numbers are stored.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from command import InputError
from jets.constituents import Constituents
from jets.events import Events
from jets.images import SparseImages
from jets.split import mix

NOTHING = 0  # the hash of an event that has nothing to compare
JET = ("pt", "eta", "phi", "mass")


def of_collisions(events: Events) -> np.ndarray:
    """The hash (n,) of what the detector saw: its objects, R = 0.4 jets, lepton, observables."""
    objects, jets = events.objects, events.jets
    fields = ("pt", "eta", "phi", "type", "charge")
    of_objects = _sums(_hashes(*(objects[name] for name in fields)), events.object_offsets)
    of_jets = _sums(_hashes(*(jets[name] for name in JET)), events.jet_offsets)
    tables = (events.lepton, events.observables)
    columns = [table[name] for table in tables for name in table.dtype.names]
    filled = (np.diff(events.object_offsets) > 0) | (np.diff(events.jet_offsets) > 0)
    return np.where(filled, _hashes(of_objects, of_jets, *columns), np.uint64(NOTHING))


def of_jets(axes: np.ndarray, found: Constituents) -> np.ndarray:
    """The hash (n,) of jets of particles: their axes, structured (n,), and constituents."""
    of_particles = _sums(_hashes(found.pt, found.rapidity, found.phi, found.kind), found.offsets)
    return _hashes(of_particles, *(axes[name] for name in axes.dtype.names))


def of_published(jets: np.ndarray, images: SparseImages, jet_definition: str) -> np.ndarray:
    """The hash (n,) of the jets (n, 3), pT 0 where there is none, with their 3 n images.

    An event may look alike in two jet definitions: the hashes of two have nothing in common.
    """
    pixels = _sums(_hashes(images.pixels, images.values), images.offsets).reshape(jets.shape)
    exists = jets["pt"] > 0
    of_jets = np.where(exists, _hashes(pixels, *(jets[name] for name in JET)), np.uint64(NOTHING))
    definition = np.frombuffer(jet_definition.encode().ljust(8), np.uint64)
    hashes = _hashes(np.broadcast_to(definition, len(jets)), *of_jets.T)
    return np.where(exists.any(axis=1), hashes, np.uint64(NOTHING))


def refuse_copies(contents: Iterable[tuple[Path, np.ndarray, np.ndarray]]) -> None:
    """InputError if an event is there twice, with both places, and how many there are.

    Args:
        contents: of each file its path, and the row (n,) and hash (n,) of every event.
    """
    paths, rows, hashes = zip(*contents, strict=True)
    file = np.repeat(np.arange(len(paths)), [len(some) for some in rows])
    row, hashed = np.concatenate(rows), np.concatenate(hashes)
    order = np.argsort(hashed, kind="stable")  # of equal ones the first stays in front
    alike = np.diff(hashed[order]) == 0
    alike &= hashed[order][1:] != NOTHING
    if not alike.any():
        return
    copies, originals = order[1:][alike], order[:-1][alike]
    first = np.argmin(copies)
    copy, original = copies[first], originals[first]
    n = np.count_nonzero((file[copies] == file[copy]) & (file[originals] == file[original]))
    which = "this file" if file[copy] == file[original] else "these two files"
    raise InputError(
        f"{paths[file[copy]]}, row {row[copy]}: the same event as {paths[file[original]]}, row "
        f"{row[original]}; {n} events of {which} are there twice, {len(copies)} of all files, "
        "expected each once; leave the copies out"
    )


def _hashes(*columns: np.ndarray) -> np.ndarray:
    """One hash for each entry of columns of one shape."""
    state = np.zeros(columns[0].shape, np.uint64)
    for column in columns:
        if column.dtype.kind == "f":
            column = (column.astype(np.float32) + np.float32(0)).view(np.uint32)  # no -0
        state = mix(state ^ column.astype(np.uint64))
    return state


def _sums(hashes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The sum, modulo 2^64, of the hashes between two offsets: their order does not matter."""
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes, dtype=np.uint64)])
    return total[offsets[1:]] - total[offsets[:-1]]

"""Every kind of damage to an HDF5 file that we know, by name, for both layouts.

A damage takes the path of a good file and a source of chance. `FILES` and `DATASETS` need none and
fit any layout, `RANDOM` is another one at every call, `KINDS` is all but these by layout.
"""

import os
import random
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from jets.events import Events, read_events, to_arrays, write_arrays
from physics import BEAM_ENERGY

Damage = Callable[[Path, random.Random], object]


def of(damage: Callable[..., object]) -> Callable[..., Damage]:
    """Make damages of a function that takes more, before path and chance."""
    return partial(partial, damage)


# --- Damage to any file -------------------------------------------------------------------------


@of
def in_bytes(change: Callable, path: Path, chance: random.Random) -> None:
    """Change the bytes of the file in place, or return others."""
    content = bytearray(path.read_bytes())
    changed = change(content, chance)
    path.write_bytes(content if changed is None else changed)


@of
def replaced(make: Callable[[Path], object], path: Path, _: random.Random) -> None:
    """Something else under the file's name."""
    path.unlink()
    make(path)


def place(content: bytearray, chance: random.Random) -> int:
    """A byte to damage: half of the times one that is not 0, for much of a file is padding."""
    used = np.flatnonzero(np.frombuffer(content, np.uint8))
    return int(chance.choice(used)) if chance.random() < 0.5 else chance.randrange(len(content))


def flip(content: bytearray, chance: random.Random, n: int = 1) -> None:
    """Other values in n bytes."""
    for _ in range(n):
        content[place(content, chance)] ^= chance.randrange(1, 256)


def flip_bit(content: bytearray, chance: random.Random) -> None:
    content[place(content, chance)] ^= 1 << chance.randrange(8)


def blank(content: bytearray, chance: random.Random, value: bytes = b"\0") -> None:
    """A lost sector."""
    first = place(content, chance)
    length = min(512, len(content) - first)
    content[first : first + length] = value * length


def move_block(content: bytearray, chance: random.Random) -> None:
    """A sector in the place of another."""
    first, second = (chance.randrange(len(content) // 512) * 512 for _ in range(2))
    content[first : first + 512] = content[second : second + 512]


def change_structure(content: bytearray, chance: random.Random) -> None:
    """A byte near one of the marks that HDF5 puts in front of its parts."""
    marks = rb"OHDR|TREE|SNOD|HEAP|GCOL|FAHD|FADB|\x89HDF"
    starts = [found.start() for found in re.finditer(marks, content)]
    position = min(chance.choice(starts) + chance.randrange(160), len(content) - 1)
    content[position] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))


RANDOM: dict[str, Damage] = {
    "flipped byte": in_bytes(flip),
    "flipped bit": in_bytes(flip_bit),
    "eight flipped bytes": in_bytes(partial(flip, n=8)),
    "changed structure": in_bytes(change_structure),
    "sector of zeros": in_bytes(blank),
    "sector of ones": in_bytes(partial(blank, value=b"\xff")),
    "misplaced sector": in_bytes(move_block),
    "truncated anywhere": in_bytes(lambda data, chance: data[: chance.randrange(len(data))]),
    "bytes after the end": in_bytes(lambda content, _: content + b"more" * 100),
}
FILES: dict[str, Damage] = {
    "empty": in_bytes(lambda content, _: b""),
    "text": in_bytes(lambda content, _: b"no HDF5 at all\n"),
    "only the signature": in_bytes(lambda content, _: content[:8]),
    "cut in the superblock": in_bytes(lambda content, _: content[:40]),
    "cut in the middle": in_bytes(lambda content, _: content[: len(content) // 2]),
    "last byte lost": in_bytes(lambda content, _: content[:-1]),
    "line ends converted": in_bytes(lambda content, _: content.replace(b"\r\n", b"\n")),
    "a directory": replaced(Path.mkdir),
    "a dangling link": replaced(lambda path: path.symlink_to("nowhere")),
    "a link to itself": replaced(lambda path: path.symlink_to(path.name)),
    "a named pipe": replaced(os.mkfifo),
    # Put beside it by the bench in checks/fuzz.py.
    "of the other layout": replaced(lambda path: shutil.copy(path.with_name("other"), path)),
}


# --- Damage to a dataset ------------------------------------------------------------------------

NUMBERS = {".h5": "pt_hat", ".hdf5": "Jet/info1"}  # by suffix, thus by layout


@of
def in_file(change: Callable[[h5py.File], object], path: Path, _: random.Random) -> None:
    """Change the file, which is open."""
    with h5py.File(path, "r+") as file:
        change(file)


@of
def other(make: Callable[[h5py.Dataset], object], path: Path, _: random.Random, name="") -> None:
    """What is made of a dataset in its place; if that is None, nothing."""
    with h5py.File(path, "r+") as file:
        name = name or NUMBERS[path.suffix]
        made = make(file[name])
        del file[name]
        if made is not None:
            file[name] = made


def stored(name: str = "", chunk: Callable[[int], bytes] | None = None, **options) -> Damage:
    """A dataset of other storage in its place; `chunk`, of its bytes, is stored as it is."""

    def make(old: h5py.Dataset) -> h5py.Dataset:
        made = old.file.create_dataset(None, **({"shape": old.shape, "dtype": old.dtype} | options))
        if chunk is not None:
            made.id.write_direct_chunk((0,) * made.ndim, chunk(made.nbytes))
        return made

    return other(make, name=name)


def elsewhere(old: h5py.Dataset) -> h5py.Dataset:
    layout = h5py.VirtualLayout(old.shape, old.dtype)
    layout[...] = h5py.VirtualSource("nowhere.h5", old.name, shape=old.shape)
    return old.file.create_virtual_dataset(None, layout)


HUGE = (2**40,)
# A filter of this number is nobody's.
UNKNOWN = {"chunks": True, "compression": 300, "allow_unknown_filter": True}
DATASETS: dict[str, Damage] = {
    "a dataset is missing": other(lambda old: None),
    "a group for a dataset": other(lambda old: old.file.create_group(None)),
    "a link to no dataset": other(lambda old: h5py.SoftLink("/nowhere")),
    "a dataset linked to itself": other(lambda old: h5py.SoftLink(old.name)),
    "a dataset of a missing file": other(lambda old: h5py.ExternalLink("nowhere.h5", old.name)),
    "a virtual dataset of nothing": other(elsewhere),
    "numbers in a missing file": stored(external=[("nowhere.raw", 0, h5py.h5f.UNLIMITED)]),
    "text for numbers": other(lambda old: np.full(old.shape, b"12.5")),
    "long text for numbers": other(lambda old: np.full(old.shape, "12.5", object)),
    "complex numbers": other(lambda old: old[()].astype(complex)),
    "truth values": other(lambda old: old[()] > 0),
    "records": other(lambda old: np.zeros(old.shape, [("a", "f4"), ("b", "i2")])),
    "opaque bytes": other(lambda old: np.zeros(old.shape, "V6")),
    "a scalar": other(lambda old: old[()].flat[0]),
    "no value at all": other(lambda old: h5py.Empty("f4")),
    "a dimension more": other(lambda old: old[()][None]),
    "a row fewer": other(lambda old: old[:-1]),
    "no rows": other(lambda old: old[:0]),
    "never written": stored(),
    "huge": stored(shape=HUGE),
    "huge and compressed": stored(shape=HUGE, chunks=(2**27,), compression="gzip"),
    "a chunk that is not compressed": stored("", lambda n: b"x" * n, chunks=True, compression=1),
    "a chunk cut short": stored("", lambda n: bytes(n // 2), chunks=True),
    "a chunk with a wrong checksum": stored("", lambda n: b"x" * (n + 4), fletcher32=True),
    "an unknown filter": stored("", lambda n: bytes(1000), **UNKNOWN),
}


# --- Damage to our own layout -------------------------------------------------------------------


@of
def rewritten(change: Callable[[Events], object], path: Path, _: random.Random) -> None:
    """Other content, under a checksum that holds."""
    events = read_events(path)
    change(events)
    write_arrays(path, {"layout": events.LAYOUT, **events.attributes}, to_arrays(path, events))


def stated(**attributes: object) -> Damage:
    """Other attributes, under a checksum that holds."""
    return rewritten(lambda events: events.attributes.update(attributes))


def attribute(**attributes: object) -> Damage:
    """Other attributes, under the old checksum."""
    return in_file(lambda file: file.attrs.update(attributes))


def put(name: str, where: object, value: float) -> Damage:
    """Another number in a dataset."""
    return in_file(lambda file: file[name].__setitem__(where, value))


COLLISIONS: dict[str, Damage] = {
    "no layout": in_file(lambda file: file.attrs.pop("layout")),
    "a later layout": attribute(layout="stop pair events 2"),
    "a layout in numbers": attribute(layout=[1, 2, 3]),
    "no checksum": in_file(lambda file: file.attrs.pop("checksum")),
    "another checksum": attribute(checksum="0" * 64),
    "no mass": in_file(lambda file: file.attrs.pop("m_stop")),
    "a mass in words": attribute(m_stop="heavy"),
    "several masses": attribute(m_stop=[700, 800]),
    "a mass of no value": attribute(m_stop=h5py.Empty("i8")),
    "one attribute more": attribute(comment="mine"),
    "text of no encoding": attribute(sample=np.bytes_(b"\xff\xfe")),
    "an unknown process": stated(process="susy"),
    "a name of other masses": stated(m_neutralino=110),
    "an endless efficiency": stated(selection_efficiency=np.inf),
    "a changed number": put("lepton", (3, "pt"), 40.0),
    "falling offsets": put("jet_offsets", 3, 10**6),
    "negative offsets": put("object_offsets", 0, -1),
    "offsets past the end": put("object_offsets", -1, 10**15),
    "NaN": rewritten(lambda events: events.large_r["AK08"]["eta"].put(4, np.nan)),
    "infinity": rewritten(lambda events: events.objects["pt"].put(4, np.inf)),
    "a negative mass": rewritten(lambda events: events.large_r["AK14"]["mass"].put(4, -1.0)),
    "more than all energy": rewritten(lambda events: events.observables["ht"].put(4, 1e6)),
    "an unknown particle": rewritten(lambda events: events.objects["type"].put(4, 7)),
    "too few jets": rewritten(lambda events: events.observables["n_jets"].put(4, 2)),
}


# --- Damage to the published layout -------------------------------------------------------------

INDEX, VALUES, INFO = "Jet/TrackPT/index0", "Jet/TrackPT/values0", "Jet/info0"
FLOAT = bytes.fromhex("11201f00040000000000200017080017")  # description of a 32-bit float
SIGNAL = "SI_AK08_700GeV.hdf5"


@of
def row_of(name: str, change: Callable[[np.ndarray], object], path: Path, _: object) -> None:
    """The first row with enough pixels of a dataset, changed."""
    with h5py.File(path, "r+") as file:
        row = next(i for i, old in enumerate(file[name]) if len(old) > 4)
        file[name][row] = change(file[name][row])


def entry(name: str, position: int, value: float) -> Damage:
    """Another number in the first row with enough pixels of a dataset."""
    return row_of(name, lambda row: np.where(np.arange(len(row)) == position, value, row))


def rows_of(dtype: object) -> Damage:
    """Empty rows of variable length, 16 bytes each in the file, of another type."""
    of_rows = h5py.vlen_dtype(np.dtype(dtype))
    return stored(VALUES, lambda n: bytes(2 * n), chunks=True, dtype=of_rows)


@of
def bytes_at(
    begin: Callable[[Path], int], offset: int, value: bytes, path: Path, _: object
) -> None:
    """Other bytes so far behind the beginning of a part of the file."""
    first = begin(path) + offset
    with path.open("r+b") as file:
        file.seek(first)
        file.write(value)


def heap(path: Path) -> int:
    """The first heap, where the rows of variable length lie.

    A heap is `GCOL`, version 1, 3 bytes, its size in 8 bytes, and then objects: number and
    references in 2 bytes each, 4 bytes, size in 8 bytes, content.
    """
    return path.read_bytes().find(b"GCOL")


def first_row(path: Path) -> int:
    """Where the first row says its length (4 bytes), heap (8) and number in the heap (4)."""
    with h5py.File(path) as file:
        return file[VALUES].id.get_chunk_info(0).byte_offset


def float_type(offset: int, value: int) -> Damage:
    """Another byte in the descriptions of floats: 16 bits of offset, 16 of precision, ..."""
    changed = FLOAT[:offset] + bytes([value]) + FLOAT[offset + 1 :]
    return in_bytes(lambda content, _: content.replace(FLOAT, changed))


def halve(_: str, node: h5py.HLObject) -> None:
    if isinstance(node, h5py.Dataset):
        node.resize(5, axis=0)


@of
def in_signal(damage: Damage, path: Path, chance: random.Random) -> None:
    """The same of the signal file, which says more."""
    damage(path.with_name(SIGNAL), chance)


PUBLISHED: dict[str, Damage] = {
    "a pixel outside": entry(INDEX, 0, 128),
    "a pixel far outside": entry(INDEX, 1, 2**31 - 1),
    "a negative pixel": entry(INDEX, 0, -1),
    "a pixel twice": row_of(INDEX, lambda row: np.tile(row[:2], len(row) // 2)),
    "half a pixel": row_of(INDEX, lambda row: row[:-1]),
    "a value too few": row_of(VALUES, lambda row: row[:-1]),
    "a NaN pixel": entry(VALUES, 0, np.nan),
    "an infinite pixel": entry(VALUES, 0, np.inf),
    "a negative pixel value": entry(VALUES, 0, -1.0),
    "a pixel above all energy": entry(VALUES, 0, 2 * BEAM_ENERGY),
    "NaN momentum": entry(INFO, 2, np.nan),
    "infinite direction": entry(INFO, 3, -np.inf),
    "momentum above all energy": entry(INFO, 2, 2 * BEAM_ENERGY),
    "a negative mass": entry(INFO, 5, -2.0),
    "pixels without a mass": entry(INFO, 5, -1.0),
    "a negative distance": in_signal(entry(INFO, 0, -0.1)),
    "NaN neutralino mass": in_signal(put("mass/Mass", 3, np.nan)),
    "another neutralino mass": in_signal(put("mass/Mass", 3, 110)),
    "fewer events": in_file(lambda file: file.visititems(halve)),
    "rows of text": rows_of("S4"),
    "rows of records": rows_of([("a", "f4")]),
    "huge rows of fixed length": other(
        lambda old: old.file.create_dataset(None, (len(old), 2**40), "f4"), name=VALUES
    ),
    "a row of 16 GB": bytes_at(first_row, 0, b"\xff\xff\xff\xff"),
    "a row of another length": bytes_at(first_row, 0, b"\x01\0\0\0"),
    "a row in no heap": bytes_at(first_row, 4, b"\x11" * 8),
    "a row before its heap": bytes_at(first_row, 4, bytes(8)),
    "a row of an unknown object": bytes_at(first_row, 12, b"\xff\xff\0\0"),
    "a heap of no size": bytes_at(heap, 8, bytes(8)),
    "a heap of all sizes": bytes_at(heap, 8, b"\xff" * 8),
    "an object of no size": bytes_at(heap, 24, bytes(8)),
    "an object of all sizes": bytes_at(heap, 24, b"\xff" * 8),
    "a heap without an end": bytes_at(heap, 16, bytes(16)),
    "a float outside itself": float_type(8, 158),
    "a float of no bits": float_type(10, 0),
    "a float of huge bits": float_type(11, 255),
}

KINDS: dict[str, dict[str, Damage]] = {
    "collisions": FILES | DATASETS | COLLISIONS,
    "published": FILES | DATASETS | PUBLISHED,
}

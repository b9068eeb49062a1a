"""Every kind of damage to an HDF5 file that we know, by name, for both layouts.

A damage takes the path of a good file and a source of chance. `FILES` and `DATASETS` need none and
fit any layout, `RANDOM` is another one at every call, `KINDS` is all but these by layout.
"""

import gzip
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from jets.events import LAYOUT, Events, read_events, to_arrays, write_arrays
from physics import BEAM_ENERGY

Damage = Callable[[Path, random.Random], object]


# --- Damage to any file -------------------------------------------------------------------------


def bytes_changed(change: Callable[[bytearray, random.Random], object]) -> Damage:
    """Change the bytes of the file in place, or return others."""

    def damage(path: Path, chance: random.Random) -> None:
        content = bytearray(path.read_bytes())
        changed = change(content, chance)
        path.write_bytes(content if changed is None else changed)

    return damage


def replaced(make: Callable[[Path], object]) -> Damage:
    """Something else under the file's name."""

    def damage(path: Path, _: random.Random) -> None:
        path.unlink()
        make(path)

    return damage


def place(content: bytearray, chance: random.Random) -> int:
    """A byte to damage: half of the times one that is not 0, for much of a file is padding."""
    used = np.flatnonzero(np.frombuffer(content, np.uint8))
    return int(chance.choice(used)) if chance.random() < 0.5 else chance.randrange(len(content))


def flip(content: bytearray, chance: random.Random, n: int = 1) -> None:
    """Other values in n bytes."""
    for _ in range(n):
        content[place(content, chance)] ^= chance.randrange(1, 256)


def flip_bit(content: bytearray, chance: random.Random) -> None:
    """One bit."""
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


def change_signed(content: bytearray, chance: random.Random) -> None:
    """A byte of the structure: near one of the marks that HDF5 puts in front of its parts."""
    marks = [b"OHDR", b"TREE", b"SNOD", b"HEAP", b"GCOL", b"FAHD", b"FADB", b"\x89HDF"]
    starts = []
    for mark in marks:
        first = content.find(mark)
        while first >= 0:
            starts.append(first)
            first = content.find(mark, first + 1)
    position = min(chance.choice(starts) + chance.randrange(160), len(content) - 1)
    content[position] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))


RANDOM: dict[str, Damage] = {
    "flipped byte": bytes_changed(flip),
    "flipped bit": bytes_changed(flip_bit),
    "eight flipped bytes": bytes_changed(lambda content, chance: flip(content, chance, 8)),
    "changed structure": bytes_changed(change_signed),
    "sector of zeros": bytes_changed(blank),
    "sector of ones": bytes_changed(lambda content, chance: blank(content, chance, b"\xff")),
    "misplaced sector": bytes_changed(move_block),
    "truncated anywhere": bytes_changed(
        lambda content, chance: content[: chance.randrange(len(content))]
    ),
    "bytes after the end": bytes_changed(lambda content, _: content + b"more" * 100),
}
FILES: dict[str, Damage] = {
    "empty": bytes_changed(lambda content, _: b""),
    "text": bytes_changed(lambda content, _: b"no HDF5 at all\n"),
    "zeros": bytes_changed(lambda content, _: bytes(len(content))),
    "only the signature": bytes_changed(lambda content, _: content[:8]),
    "cut in the superblock": bytes_changed(lambda content, _: content[:40]),
    "cut after a kilobyte": bytes_changed(lambda content, _: content[:1024]),
    "cut in the middle": bytes_changed(lambda content, _: content[: len(content) // 2]),
    "last byte lost": bytes_changed(lambda content, _: content[:-1]),
    "first byte lost": bytes_changed(lambda content, _: content[1:]),
    "line ends converted": bytes_changed(lambda content, _: content.replace(b"\r\n", b"\n")),
    "compressed": bytes_changed(lambda content, _: gzip.compress(content)),
    "a directory": replaced(Path.mkdir),
    "a dangling link": replaced(lambda path: path.symlink_to("nowhere")),
    "a link to itself": replaced(lambda path: path.symlink_to(path.name)),
    "a named pipe": replaced(os.mkfifo),
    "of the other layout": replaced(
        lambda path: shutil.copy(
            path.parents[1] / "other" if path.suffix == ".h5" else path.parent / "other", path
        )
    ),
}


# --- Damage to a dataset ------------------------------------------------------------------------

NUMBERS = {".h5": "pt_hat", ".hdf5": "Jet/info1"}  # by suffix, thus by layout


def in_dataset(change: Callable[[h5py.File, str], object]) -> Damage:
    """Change the file, which is open, and its dataset of that name."""

    def damage(path: Path, _: random.Random) -> None:
        with h5py.File(path, "r+") as file:
            change(file, NUMBERS[path.suffix])

    return damage


def other(make: Callable[[np.ndarray], object]) -> Damage:
    """Something made of a dataset in its place."""

    def change(file: h5py.File, name: str) -> None:
        old = file[name][()]
        del file[name]
        file[name] = make(old)

    return in_dataset(change)


def created(*, chunk: Callable[[int], bytes] | None = None, **options) -> Damage:
    """A dataset of other storage in its place; `chunk`, of its bytes, is stored as it is."""

    def change(file: h5py.File, name: str) -> None:
        old = file[name]
        arguments = {"shape": old.shape, "dtype": old.dtype} | options
        del file[name]
        made = file.create_dataset(name, **arguments)
        if chunk is not None:
            made.id.write_direct_chunk((0,) * made.ndim, chunk(made.nbytes))

    return in_dataset(change)


def unknown_filter(file: h5py.File, name: str) -> None:
    """A filter that this machine does not have (number 300 is nobody's)."""
    old = file[name]
    shape, dtype = old.shape, old.dtype
    del file[name]
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk(shape)
    settings.set_filter(300, h5py.h5z.FLAG_OPTIONAL, ())
    space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(dtype)
    made = h5py.h5d.create(file.id, name.encode(), kind, space, settings)
    made.write_direct_chunk((0,) * len(shape), bytes(1000))


def elsewhere(file: h5py.File, name: str) -> None:
    """Its numbers in another dataset, of a file that is not there."""
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource("nowhere.h5", name, shape=shape)
    file.create_virtual_dataset(name, layout)


def without(file: h5py.File, name: str) -> None:
    """No such dataset."""
    del file[name]


def linked(link: Callable[[str], object]) -> Damage:
    """A link in place of a dataset."""

    def change(file: h5py.File, name: str) -> None:
        del file[name]
        file[name] = link(name)

    return in_dataset(change)


def group(file: h5py.File, name: str) -> None:
    """A group in place of a dataset."""
    del file[name]
    file.create_group(name)


HUGE = (2**40,)
DATASETS: dict[str, Damage] = {
    "a dataset is missing": in_dataset(without),
    "a group for a dataset": in_dataset(group),
    "a link to no dataset": linked(lambda _: h5py.SoftLink("/nowhere")),
    "a dataset linked to itself": linked(lambda name: h5py.SoftLink(f"/{name}")),
    "a dataset of a missing file": linked(lambda name: h5py.ExternalLink("nowhere.h5", name)),
    "a dataset of a directory": linked(lambda name: h5py.ExternalLink(".", name)),
    "a virtual dataset of nothing": in_dataset(elsewhere),
    "numbers in a missing file": created(external=[("nowhere.raw", 0, h5py.h5f.UNLIMITED)]),
    "text for numbers": other(lambda old: np.full(old.shape, b"12.5")),
    "long text for numbers": other(lambda old: np.full(old.shape, "12.5", object)),
    "complex numbers": other(lambda old: old.astype(complex)),
    "truth values": other(lambda old: old > 0),
    "records": other(lambda old: np.zeros(old.shape, [("a", "f4"), ("b", "i2")])),
    "small arrays": other(lambda old: np.zeros(old.shape, [("a", "f4", 3)])),
    "references": created(dtype=h5py.ref_dtype),
    "opaque bytes": other(lambda old: np.zeros(old.shape, "V6")),
    "a scalar": other(lambda old: old.flat[0]),
    "no value at all": other(lambda old: h5py.Empty("f4")),
    "a dimension more": other(lambda old: old[None]),
    "a dimension of 1": other(lambda old: old.reshape(-1, 1, 1)),
    "a row fewer": other(lambda old: old[:-1]),
    "a row more": other(lambda old: np.concatenate([old, old[:1]])),
    "no rows": other(lambda old: old[:0]),
    "never written": created(),
    "huge": created(shape=HUGE),
    "huge, in small chunks": created(shape=HUGE, chunks=(1000,)),
    "huge, in huge chunks": created(shape=HUGE, chunks=(2**29,)),
    "huge and compressed": created(shape=HUGE, chunks=(2**27,), compression="gzip"),
    "huge in two dimensions": created(shape=(2**20, 2**20)),
    "a chunk that is not compressed": created(
        chunks=True, compression="gzip", chunk=lambda size: b"x" * size
    ),
    "a chunk cut short": created(chunks=True, chunk=lambda size: bytes(size // 2)),
    "a chunk with a wrong checksum": created(
        chunks=True, fletcher32=True, chunk=lambda size: b"x" * (size + 4)
    ),
    "an unknown filter": in_dataset(unknown_filter),
}


# --- Damage to our own layout -------------------------------------------------------------------


def rewritten(change: Callable[[Events], object]) -> Damage:
    """Other content, under a checksum that holds."""

    def damage(path: Path, _: random.Random) -> None:
        events = read_events(path)
        change(events)
        attributes = {"layout": LAYOUT, **events.attributes}
        write_arrays(path, attributes, to_arrays(path, events))

    return damage


def in_file(change: Callable[[h5py.File], object]) -> Damage:
    """Change the file, which is open."""

    def damage(path: Path, _: random.Random) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return damage


def put(name: str, row: int, value: float, field: str | None = None) -> Callable[[h5py.File], None]:
    """Another number in a row of a dataset."""

    def change(file: h5py.File) -> None:
        rows = file[name][()]
        (rows[field] if field else rows)[row] = value
        file[name][()] = rows

    return change


def attribute(name: str, value: object) -> Damage:
    """Another attribute."""
    return in_file(lambda file: file.attrs.__setitem__(name, value))


COLLISIONS: dict[str, Damage] = {
    "no layout": in_file(lambda file: file.attrs.__delitem__("layout")),
    "a later layout": attribute("layout", "stop pair events 2"),
    "a layout in numbers": attribute("layout", [1, 2, 3]),
    "no checksum": in_file(lambda file: file.attrs.__delitem__("checksum")),
    "another checksum": attribute("checksum", "0" * 64),
    "no mass": in_file(lambda file: file.attrs.__delitem__("m_stop")),
    "a mass in words": attribute("m_stop", "heavy"),
    "several masses": attribute("m_stop", [700, 800]),
    "a mass of no value": attribute("m_stop", h5py.Empty("i8")),
    "another mass": attribute("m_stop", 710),
    "another cross section": attribute("cross_section_pb", 7.0),
    "one attribute more": attribute("comment", "mine"),
    "text of no encoding": attribute("sample", np.bytes_(b"\xff\xfe")),
    "an unknown process": rewritten(lambda events: events.attributes.update(process="susy")),
    "a mass off the grid": rewritten(lambda events: events.attributes.update(m_stop=710)),
    "a name of other masses": rewritten(lambda events: events.attributes.update(m_neutralino=110)),
    "an endless efficiency": rewritten(
        lambda events: events.attributes.update(selection_efficiency=np.inf)
    ),
    "a changed number": in_file(put("lepton", 3, 40.0, "pt")),
    "falling offsets": in_file(put("jet_offsets", 3, 10**6)),
    "negative offsets": in_file(put("object_offsets", 0, -1)),
    "offsets past the end": in_file(put("object_offsets", -1, 10**15)),
    "NaN": rewritten(lambda events: events.large_r["AK08"]["eta"].put(4, np.nan)),
    "infinity": rewritten(lambda events: events.objects["pt"].put(4, np.inf)),
    "a negative mass": rewritten(lambda events: events.large_r["AK14"]["mass"].put(4, -1.0)),
    "more than all energy": rewritten(lambda events: events.observables["ht"].put(4, 1e6)),
    "an unknown particle": rewritten(lambda events: events.objects["type"].put(4, 7)),
    "too few jets": rewritten(lambda events: events.observables["n_jets"].put(4, 2)),
}


# --- Damage to the published layout -------------------------------------------------------------

INDEX, VALUES, INFO = "Jet/TrackPT/index0", "Jet/TrackPT/values0", "Jet/info0"


def row_of(name: str, change: Callable[[np.ndarray], object]) -> Damage:
    """Change the first row with enough pixels of a dataset in place, or return another one."""

    def damage(path: Path, _: random.Random) -> None:
        with h5py.File(path, "r+") as file:
            row = next(i for i, old in enumerate(file[name]) if len(old) > 4)
            content = file[name][row]
            changed = change(content)
            file[name][row] = content if changed is None else changed

    return damage


def of_index(position: int, value: int) -> Damage:
    """Another pixel number."""
    return row_of(INDEX, lambda row: row.__setitem__(position, value))


def of_values(value: float) -> Damage:
    """Another pixel value."""
    return row_of(VALUES, lambda row: row.__setitem__(0, value))


def of_info(column: int, value: float) -> Damage:
    """Another number of a jet."""
    return row_of(INFO, lambda row: row.__setitem__(column, value))


def swap_rows_type(dtype: object) -> Damage:
    """Empty rows of variable length, of another type."""

    def change(file: h5py.File) -> None:
        n = len(file[VALUES])
        del file[VALUES]
        file.create_dataset(VALUES, (n,), h5py.vlen_dtype(dtype))
        for row in range(n):
            file[VALUES][row] = np.zeros(3, dtype)

    return in_file(change)


def heap_bytes(offset: int, value: bytes) -> Damage:
    """Other bytes in the first heap, where the rows of variable length lie.

    A heap is `GCOL`, version 1, 3 bytes, its size in 8 bytes, and then objects: number and
    references in 2 bytes each, 4 bytes, size in 8 bytes, content.
    """

    def change(content: bytearray, _: random.Random) -> None:
        first = content.find(b"GCOL") + offset
        content[first : first + len(value)] = value

    return bytes_changed(change)


def row_reference(offset: int, value: bytes) -> Damage:
    """Other bytes where a row says its length (4), heap (8) and number in the heap (4)."""

    def damage(path: Path, chance: random.Random) -> None:
        with h5py.File(path) as file:
            first = file[VALUES].id.get_chunk_info(0).byte_offset + offset
        bytes_changed(
            lambda content, _: content.__setitem__(slice(first, first + len(value)), value)
        )(path, chance)

    return damage


def float_type(offset: int, value: int) -> Damage:
    """Another byte in the descriptions of 32-bit floats: 16 bits of offset, 16 of precision, ..."""
    known = bytes.fromhex("11201f00040000000000200017080017")

    def change(content: bytearray, _: random.Random) -> None:
        first = content.find(known)
        while first >= 0:
            content[first + offset] = value
            first = content.find(known, first + 1)

    return bytes_changed(change)


def fewer_events(file: h5py.File) -> None:
    """Half the events of the other jet definitions."""
    file.visititems(
        lambda _, node: node.resize(5, axis=0) if isinstance(node, h5py.Dataset) else None
    )


def huge_rows(file: h5py.File) -> None:
    """Rows of a fixed and huge length, never written."""
    n = len(file[VALUES])
    del file[VALUES]
    file.create_dataset(VALUES, (n, 2**40), "f4")


def in_signal(damage: Damage) -> Damage:
    """The same of the signal file, which says more."""
    return lambda path, chance: damage(path.with_name("SI_AK08_700GeV.hdf5"), chance)


PUBLISHED: dict[str, Damage] = {
    "a pixel outside": of_index(0, 128),
    "a pixel far outside": of_index(1, 2**31 - 1),
    "a negative pixel": of_index(0, -1),
    "a pixel twice": row_of(INDEX, lambda row: np.tile(row[:2], len(row) // 2)),
    "half a pixel": row_of(INDEX, lambda row: row[:-1]),
    "a value too few": row_of(VALUES, lambda row: row[:-1]),
    "a NaN pixel": of_values(np.nan),
    "an infinite pixel": of_values(np.inf),
    "a negative pixel value": of_values(-1.0),
    "a pixel above all energy": of_values(2 * BEAM_ENERGY),
    "NaN momentum": of_info(2, np.nan),
    "infinite direction": of_info(3, -np.inf),
    "momentum above all energy": of_info(2, 2 * BEAM_ENERGY),
    "a negative mass": of_info(5, -2.0),
    "pixels without a mass": of_info(5, -1.0),
    "a negative distance": in_signal(of_info(0, -0.1)),
    "a mass off the grid": in_signal(in_file(put("mass/Mass", 3, 105))),
    "NaN neutralino mass": in_signal(in_file(put("mass/Mass", 3, np.nan))),
    "another neutralino mass": in_signal(in_file(put("mass/Mass", 3, 110))),
    "fewer events": in_file(fewer_events),
    "rows of text": swap_rows_type(np.dtype("S4")),
    "rows of records": swap_rows_type(np.dtype([("a", "f4")])),
    "huge rows of fixed length": in_file(huge_rows),
    "a row of 16 GB": row_reference(0, b"\xff\xff\xff\xff"),
    "a row of another length": row_reference(0, b"\x01\0\0\0"),
    "a row in no heap": row_reference(4, b"\x11" * 8),
    "a row before its heap": row_reference(4, bytes(8)),
    "a row of an unknown object": row_reference(12, b"\xff\xff\0\0"),
    "a row of the free space": row_reference(12, bytes(4)),
    "a heap of no size": heap_bytes(8, bytes(8)),
    "a heap of all sizes": heap_bytes(8, b"\xff" * 8),
    "an object of no size": heap_bytes(24, bytes(8)),
    "an object of all sizes": heap_bytes(24, b"\xff" * 8),
    "a heap without an end": heap_bytes(16, bytes(16)),
    "an object larger than its heap": heap_bytes(24, b"\0\0\xff\0\0\0\0\0"),
    "a float outside itself": float_type(8, 158),
    "a float of no bits": float_type(10, 0),
    "a float of huge bits": float_type(11, 255),
}

KINDS: dict[str, dict[str, Damage]] = {
    "collisions": FILES | DATASETS | COLLISIONS,
    "published": FILES | DATASETS | PUBLISHED,
}

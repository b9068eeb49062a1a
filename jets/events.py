"""Our own collisions on disk: physics objects, not pictures (layout: doc/data-format.md).

One HDF5 file a mass point or background file: flat arrays and offsets, 16-bit fixed point where
that is finer than the detector, compressed, with a checksum over everything that is read.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np

from command import InputError
from jets import hdf5
from jets.ragged import offsets_from, take
from physics import (
    BEAM_ENERGY,
    FOX_WOLFRAM_ORDERS,
    JET_DEFINITIONS,
    JETS_MIN,
    JETS_MIN_LOOSE,
    JETS_PER_EVENT,
    LUMINOSITY,
    MISSING_DELTA_R,
)
from processes import (
    BACKGROUND,
    NONE,
    PARTICLE_JETS,
    PROCESSES,
    SIGNAL,
    STATED,
    STOP_SEARCH,
    Z_GAMMA,
    of_role,
    unregistered,
)

ANGLE_STEP = 2e-4  # of the objects' eta and phi
MANTISSA_BITS = 13  # kept of other momenta: 6e-5 relative, far below any resolution

FOUR_VECTOR = [(name, "<f4") for name in ("pt", "eta", "phi", "mass")]
RESOLUTION = ("resolution", "<f4")
LARGE_R_DTYPE = np.dtype([*FOUR_VECTOR, ("delta_r", "<f4", (2,))])
TABLES = {
    "observables": np.dtype(
        [(name, "<f4") for name in ("met_x", "met_y", "ht", "mj")]
        + [(name, "<i2") for name in ("n_jets", "n_b_tags")]
        + [(f"h{order}", "<f4") for order in FOX_WOLFRAM_ORDERS]
    ),
    "lepton": np.dtype([*FOUR_VECTOR, ("charge", "i1"), ("pdg_id", "i1")]),
    "truth": np.dtype([("pdg_id", "<i4"), *FOUR_VECTOR]),
    "pt_hat": np.dtype("<f4"),
    "veto_score": np.dtype("<f4"),
    "jets": np.dtype([*FOUR_VECTOR, ("b_tag", "i1"), ("flavour", "i1")]),
    "jet_offsets": np.dtype("<i8"),
    "object_offsets": np.dtype("<i8"),
    "cut_flow": np.dtype([("name", "S40"), ("events", "<i8")]),
} | dict.fromkeys(JET_DEFINITIONS, LARGE_R_DTYPE)
OBJECT_DTYPE = np.dtype(
    [*FOUR_VECTOR[:3], ("charge", "i1"), ("type", "u1"), ("jet", "u1", (len(JET_DEFINITIONS),))]
)
N_TYPES = 5  # charged hadron, neutral hadron, photon, electron, muon
RANGES = {  # what a collision can have, by the last part of a column's name; others are finite
    **dict.fromkeys(("pt", "mass", "ht", "mj", "pt_hat"), (0.0, BEAM_ENERGY)),
    **{f"h{order}": (0.0, 1.0 + 1e-3) for order in FOX_WOLFRAM_ORDERS},
    "delta_r": (0.0, MISSING_DELTA_R),
    **dict.fromkeys(("eta", "rapidity"), (-20.0, 20.0)),
    "phi": (-6.2832, 6.2832),  # any turn, but no other number
    "n_jets": (JETS_MIN_LOOSE, math.inf),  # of selected events
    "n_b_tags": (0, math.inf),
    "resolution": (0.0, math.inf),
    "charge": (-1, 1),
    "b_tag": (0, 1),
    "events": (0, math.inf),
}
KINDS = 8  # by which `kind` tells type and charge apart
ANY = ("objects/eta", "objects/phi", "veto_score")  # in steps; NaN: no veto
WEIGHT = {"weight": np.dtype("<f8")}  # which a file may lack
STORED_OBJECTS = {
    f"objects/{name}": np.dtype(kind)
    for name, kind in (("pt", "<f2"), ("eta", "<i2"), ("phi", "<i2"), ("kind", "u1"), ("jet", "u1"))
}
NUMBER_MAX = 2**31 - 1  # of a background file, or GeV: what the table of events can hold
NON_NEGATIVE = (float, 0, math.inf)
ATTRIBUTES = {  # type and range of each, besides process, parameters and index
    "cross_section_pb": NON_NEGATIVE,
    "cross_section_error_pb": NON_NEGATIVE,
    "generated": (int, 0, math.inf),
    "selected": (int, 0, math.inf),
    "selection_efficiency": (float, 0, 1),
    "selection_efficiency_error": NON_NEGATIVE,
}
# The attributes that normalise weights, and what stands for those that a file lacks.
OF_WEIGHTS = {"normalised_to_pb": "cross_section_pb", "sum_of_weights": "generated"}
PER_EVENT = ("observables", "lepton", "truth", "pt_hat", "veto_score")  # one row each
REMEDY = "simulate or copy it again"


@dataclass(frozen=True)
class ProcessEvents:
    """The events of one file, and what every layout says of them; momenta in GeV.

    Attributes:
        LAYOUT: the attribute `layout` of its files.
        DATASETS: name -> type, as it lies in a file; weights aside.
        ROWS: of datasets with several rows for each event: their number.
        FLAT: datasets with any number of rows for each event, and those of their offsets.
        attributes: as doc/data-format.md lists them.
        cut_flow: structured (name, events), from all that were begun.
        truth: structured (n, slots), what the process keeps: of top and stop pairs t, tbar, W+ and
            2 daughters, W- and 2 daughters, and of stop pairs each neutralino followed by its 3
            quarks.
        pt_hat, veto_score: (n,) f4, of the hard process and the early veto.
        weight: (n,) f8, so many events of this kind are expected in `physics.LUMINOSITY`; None of
            a file without weights.
    """

    LAYOUT: ClassVar[str]
    DATASETS: ClassVar[dict[str, np.dtype]]
    ROWS: ClassVar[dict[str, int]]
    FLAT: ClassVar[tuple[tuple[str, str], ...]] = ()

    attributes: dict
    cut_flow: np.ndarray
    truth: np.ndarray
    pt_hat: np.ndarray
    veto_score: np.ndarray
    weight: np.ndarray | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.pt_hat)

    @property
    def process(self) -> str:
        """A key of `processes.PROCESSES`."""
        return self.attributes["process"]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The parameters of the process, or the file's index if it has none."""
        names = PROCESSES[self.process].parameters or ("index",)
        return tuple(int(self.attributes[name]) for name in names)

    @property
    def is_for_training(self) -> bool:
        """Whether no selection was applied."""
        return PROCESSES[self.process].for_training

    @property
    def sample_name(self) -> str:
        """What the file should be called, without its suffix."""
        return PROCESSES[self.process].sample_name(*self.numbers)

    @property
    def sum_of_weights(self) -> float:
        """Of the generator's, over all events begun; their number if it gives all the weight 1."""
        return float(self.attributes.get("sum_of_weights", self.attributes["generated"]))

    @property
    def unit_weight(self) -> float:
        """The weight of an event of generator weight 1: cross section x luminosity / sum."""
        cross_section = self.attributes["cross_section_pb"]
        picobarn = self.attributes.get("normalised_to_pb", cross_section)
        return 1e3 * picobarn * LUMINOSITY / self.sum_of_weights

    @property
    def generator_weight(self) -> np.ndarray:
        """(n,), 1 where a file has none."""
        return np.ones(len(self)) if self.weight is None else self.weight / self.unit_weight

    @property
    def weighted_cut_flow(self) -> np.ndarray:
        """The sum of the weights (cuts,) of the events left after every cut."""
        stated = self.attributes.get("weighted_cut_flow")
        return np.array(json.loads(stated) if stated else self.cut_flow["events"], float)

    @property
    def generator_cut_flow(self) -> np.ndarray:
        """The same of the generator's weights."""
        unit = self.unit_weight if "weighted_cut_flow" in self.attributes else 1.0
        return self.weighted_cut_flow / unit

    @property
    def fully_selected(self) -> np.ndarray:
        """(n,) which events are: all of a layout that keeps no others."""
        return np.ones(len(self), bool)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """All that has rows, weights and cut flow aside, by its name."""
        aside = ("attributes", "cut_flow", "weight")
        return {name: column for name, column in vars(self).items() if name not in aside}

    @classmethod
    def of_columns(cls, attributes: dict, columns: dict[str, np.ndarray]) -> "ProcessEvents":
        """From `columns`, and with the cut flow and perhaps weights among them."""
        return cls(attributes, **columns)

    def packed(self, path: Path) -> dict[str, np.ndarray]:
        """The tables of a file, in any type; `path` is for an InputError's sentence."""
        return vars(self)

    @staticmethod
    def unpacked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Columns from the datasets of a file."""
        return arrays


@dataclass(frozen=True)
class Events(ProcessEvents):
    """The events of the stop search, all past the loose preselection.

    Attributes:
        observables, lepton: structured (n,).
        jets: the R = 0.4 jets, structured, flat; jet_offsets (n + 1,).
        large_r: jet definition -> structured (n, 3), pT 0 where there is no such jet.
        objects: energy-flow objects in any large-R jet, structured, flat; object_offsets (n + 1,).
            `jet` (., 3) is the number of the jet in each definition, 3 for none.
    """

    LAYOUT = "stop pair events 1"
    DATASETS = TABLES | STORED_OBJECTS
    ROWS = dict.fromkeys(JET_DEFINITIONS, JETS_PER_EVENT)
    FLAT = (("jets", "jet_offsets"), ("objects", "object_offsets"))

    observables: np.ndarray
    lepton: np.ndarray
    jets: np.ndarray
    jet_offsets: np.ndarray
    large_r: dict[str, np.ndarray]
    objects: np.ndarray
    object_offsets: np.ndarray

    def take(self, chosen: np.ndarray) -> "Events":
        """The events of a mask (n,); attributes and cut flow stay those of the file."""
        columns = {name: vars(self)[name][chosen] for name in PER_EVENT}
        for rows, offsets in self.FLAT:
            taken, columns[offsets] = take(vars(self)[offsets], chosen)
            columns[rows] = vars(self)[rows][taken]
        large_r = {name: table[chosen] for name, table in self.large_r.items()}
        weight = None if self.weight is None else self.weight[chosen]
        return replace(self, large_r=large_r, weight=weight, **columns)

    @property
    def fully_selected(self) -> np.ndarray:
        """(n,) at least seven jets; the others have five or six, or are for training only."""
        return (self.observables["n_jets"] >= JETS_MIN) & (not self.is_for_training)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """As in every layout; large-R jets by the name of their definition."""
        columns = super().columns
        return columns | columns.pop("large_r")

    @classmethod
    def of_columns(cls, attributes: dict, columns: dict[str, np.ndarray]) -> "Events":
        """As in every layout."""
        large_r = {name: columns[name] for name in JET_DEFINITIONS}
        rest = {name: column for name, column in columns.items() if name not in JET_DEFINITIONS}
        return cls(attributes, large_r=large_r, **rest)

    def packed(self, path: Path) -> dict[str, np.ndarray]:
        """The tables of a file; objects in the numbers of doc/data-format.md."""
        objects = self.objects
        for name, high in (("type", KINDS - 1), ("jet", JETS_PER_EVENT)):  # they share a number
            hdf5.require_range(path, f"objects/{name}", objects[name], 0, high, hdf5.UNWRITTEN)
        phi = objects["phi"]
        hdf5.require(path, "objects/phi", phi, np.isfinite(phi), "an angle", hdf5.UNWRITTEN)
        # Half a step beyond pi may come back from a file: such angles stay bit for bit.
        turned = np.remainder(phi + np.pi, 2 * np.pi) - np.pi
        phi = np.where(np.abs(phi) <= np.pi + ANGLE_STEP, phi, turned)
        return (
            vars(self)
            | self.large_r
            | {
                "objects/pt": objects["pt"],
                "objects/eta": np.rint(objects["eta"] / ANGLE_STEP),
                "objects/phi": np.rint(phi / ANGLE_STEP),
                "objects/kind": objects["type"] + KINDS * (objects["charge"] + 1),
                "objects/jet": objects["jet"] @ 4 ** np.arange(len(JET_DEFINITIONS)),
            }
        )

    @staticmethod
    def unpacked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Columns from the datasets of a file."""
        objects = np.empty(len(arrays["objects/pt"]), OBJECT_DTYPE)
        objects["pt"] = arrays["objects/pt"]
        for name in ("eta", "phi"):
            objects[name] = arrays[f"objects/{name}"] * np.float32(ANGLE_STEP)
        kind, member = arrays["objects/kind"], arrays["objects/jet"]
        objects["type"] = kind % KINDS
        objects["charge"] = (kind // KINDS).astype(np.int8) - 1
        objects["jet"] = member[:, None] // 4 ** np.arange(len(JET_DEFINITIONS)) % 4
        columns = {name: arrays[name] for name in arrays if name not in STORED_OBJECTS}
        return columns | {"objects": objects}


@dataclass(frozen=True)
class ZGammaEvents(ProcessEvents):
    """Events with two leptons and a photon, all fully selected (collisions/z_gamma.py).

    The field `resolution` is the detector's relative standard deviation of pT.

    Attributes:
        lepton: structured (n, 2), of the same flavour and opposite charge, falling in pT.
        photon: structured (n,).
    """

    LAYOUT = "dilepton and photon events 1"
    DATASETS: ClassVar = {
        "lepton": np.dtype([*TABLES["lepton"].descr, RESOLUTION]),
        "photon": np.dtype([*FOUR_VECTOR, RESOLUTION]),
        **{name: TABLES[name] for name in ("truth", "pt_hat", "veto_score", "cut_flow")},
    }
    ROWS: ClassVar = {"lepton": 2}

    lepton: np.ndarray
    photon: np.ndarray


@dataclass(frozen=True)
class ParticleJets(ProcessEvents):
    """Events with one jet of stable particles, without a detector (collisions/particle_jets.py).

    Attributes:
        jet: structured (n,), with its rapidity.
        particles: structured, flat, in each jet falling in pT; rapidity and phi as in the event,
            phi within pi of the jet's; particle_offsets (n + 1,).
    """

    LAYOUT = "quark and gluon jets 1"  # the first ones; others are called the same
    DATASETS: ClassVar = {
        "jet": np.dtype([(name, "<f4") for name in ("pt", "rapidity", "phi", "mass")]),
        "particles": np.dtype(
            [*((name, "<f4") for name in ("pt", "rapidity", "phi")), ("pdg_id", "<i4")]
        ),
        "particle_offsets": np.dtype("<i8"),
        **{name: TABLES[name] for name in ("truth", "pt_hat", "veto_score", "cut_flow")},
    }
    ROWS: ClassVar = {}
    FLAT = (("particles", "particle_offsets"),)

    jet: np.ndarray
    particles: np.ndarray
    particle_offsets: np.ndarray


# Of the selections of processes.
LAYOUTS = {STOP_SEARCH: Events, Z_GAMMA: ZGammaEvents, PARTICLE_JETS: ParticleJets}


def merge(parts: Sequence[ProcessEvents], attributes: dict) -> ProcessEvents:
    """The events of several files of one layout under new attributes.

    Without weights, because those of each file are normalised on their own.
    """
    tables = [part.columns for part in parts]
    cut_flow = parts[0].cut_flow.copy()
    cut_flow["events"] = np.sum([part.cut_flow["events"] for part in parts], axis=0)
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    for _, name in parts[0].FLAT:
        columns[name] = offsets_from(np.concatenate([np.diff(table[name]) for table in tables]))
    return parts[0].of_columns(attributes, columns | {"cut_flow": cut_flow})


def write_events(path: Path, events: ProcessEvents) -> None:
    """Write one file, atomically; it may be empty, as chunks are.

    Raises:
        InputError: a number that the file's type cannot hold, or that `read_events` would refuse.
    """
    arrays = to_arrays(path, events)
    attributes = {"layout": events.LAYOUT}
    attributes |= {name: _plain(value) for name, value in events.attributes.items()}
    _check_attributes(path, attributes, "weight" in arrays, hdf5.UNWRITTEN)
    _check_shapes(path, type(events), arrays, hdf5.UNWRITTEN)
    _check_values(path, attributes, arrays, hdf5.UNWRITTEN)
    write_arrays(path, attributes, arrays)


def write_arrays(path: Path, attributes: dict, arrays: dict[str, np.ndarray]) -> None:
    """Write one file, atomically, with a checksum that holds; what it says is not checked."""
    with hdf5.written(path, libver="v110") as file:
        for name, array in arrays.items():
            options = {"compression": 9, "shuffle": True, "fletcher32": True} if array.size else {}
            file.create_dataset(name, data=array, **options)
        for name, value in (attributes | {"checksum": _checksum(attributes, arrays)}).items():
            # Text of fixed length: h5py's variable-length text is the one thing that HDF5 would
            # store without a checksum.
            file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value


def to_arrays(path: Path, events: ProcessEvents) -> dict[str, np.ndarray]:
    """The arrays as they lie in the file.

    Raises:
        InputError: a number that the file's type cannot hold; `path` is for the sentence.
    """
    tables = events.packed(path)
    types = events.DATASETS | (WEIGHT if events.weight is not None else {})
    return {name: _narrowed(path, name, tables[name], dtype) for name, dtype in types.items()}


def _narrowed(path: Path, name: str, table: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A table or column in the type of the file, which holds each number as closely as it should.

    Float32 is rounded to 13 bits of mantissa, which compress far better.
    """
    if dtype.names:
        stored = np.empty(table.shape, dtype)
        for field in dtype.names:
            if field not in (table.dtype.names or ()):
                raise InputError(
                    f"{path}: dataset {name!r} has no column {field!r}; {hdf5.UNWRITTEN}"
                )
            stored[field] = _narrowed(path, f"{name}/{field}", table[field], dtype[field].base)
        return stored
    if table.dtype.kind == "U":
        table = np.char.encode(table, "utf-8")
    with np.errstate(invalid="ignore", over="ignore"):
        stored = table.astype(dtype)
    good = stored == table
    if dtype.kind == "f":
        most = np.finfo(dtype)
        smallest = float(most.smallest_subnormal)
        good = np.isclose(stored, table, most.eps, smallest, equal_nan=True)
    hdf5.require(path, name, table, good, f"what the type {dtype} can hold", hdf5.UNWRITTEN)
    if dtype == np.float32:
        dropped = 23 - MANTISSA_BITS
        bits, finite = stored.view(np.uint32), np.isfinite(stored)
        bits[finite] = (bits[finite] + (1 << (dropped - 1))) & np.uint32(2**32 - (1 << dropped))
    return stored


def _checksum(attributes: dict, arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over all attributes and arrays, their names, types and shapes."""
    plain = {name: _plain(value) for name, value in attributes.items()}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.descr} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _plain(value: object) -> object:
    """An attribute as JSON and Python have it."""
    if isinstance(value, np.generic):
        value = value.item()
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value


def read_attributes(path: Path) -> dict:
    """The attributes of one file, without verifying the checksum."""
    with hdf5.opened(path, REMEDY) as file:
        return _attributes(path, file, Events)


def read_events(
    path: Path, may_be_empty: bool = False, selection: str = STOP_SEARCH
) -> ProcessEvents:
    """Read and verify one file; only a chunk may be empty.

    Args:
        selection: what the events passed, a key of `LAYOUTS`, which says what is returned.

    Raises:
        InputError: what is wrong with the file, a dataset, a number, or the checksum.
    """
    layout = LAYOUTS[selection]
    with hdf5.opened(path, REMEDY) as file:
        attributes = _attributes(path, file, layout)
        types = layout.DATASETS | (WEIGHT if "weight" in file else {})
        arrays = {
            name: hdf5.read(file, name, dtype, REMEDY, casting="no")
            for name, dtype in types.items()
        }
    _check_shapes(path, layout, arrays, REMEDY)
    if not may_be_empty and not len(arrays["pt_hat"]):
        raise InputError(f"{path}: dataset 'pt_hat' holds 0 events, expected at least 1; {REMEDY}")
    if attributes.pop("checksum", None) != _checksum(attributes, arrays):
        raise InputError(f"{path}: the checksum does not hold, so the file is damaged; {REMEDY}")
    _check_values(path, attributes, arrays, REMEDY)
    del attributes["layout"]
    return layout.of_columns(attributes, layout.unpacked(arrays))


def read_tables(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Some of `TABLES`, from a file that setup.py has verified and that has not changed since."""
    with hdf5.opened(path, REMEDY) as file:
        return {name: hdf5.read(file, name, TABLES[name], REMEDY, casting="no") for name in names}


def _attributes(path: Path, file: h5py.File, layout: type[ProcessEvents]) -> dict:
    attributes = {name: _plain(value) for name, value in file.attrs.items()}
    if attributes.get("layout") != layout.LAYOUT:
        raise InputError(
            f"{path}: layout is {attributes.get('layout')!r}, expected {layout.LAYOUT!r}; "
            "only files made by simulate.py belong here"
        )
    _check_attributes(path, attributes, "weight" in file, REMEDY)
    return attributes


def _check_attributes(path: Path, attributes: dict, weighted: bool, remedy: str) -> None:
    """All are there, and are what they can be; those of weighted events tell of how many."""

    def require(name: str, good: bool, expected: str) -> None:
        if not good:
            found = repr(attributes[name]) if name in attributes else "missing"
            raise InputError(
                f"{path}: attribute {name!r} is {found}, expected {expected}; {remedy}"
            )

    for name, value in attributes.items():
        if isinstance(value, str):
            plain = value.encode(errors="ignore").decode().rstrip("\0")
            require(name, value == plain, "text that UTF-8 can hold, without a zero at its end")
        else:
            good = isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)
            require(name, good, "text or a number of 64 bits")
    process = of_role(SIGNAL, BACKGROUND).get(attributes.get("process"))
    if process is None:
        raise InputError(f"{path}: {unregistered(attributes.get('process'))}")
    there = attributes.keys()
    rules = ATTRIBUTES | dict.fromkeys(there & {*OF_WEIGHTS, "sum_of_squares"}, NON_NEGATIVE)
    rules |= dict.fromkeys(("index", *(there & {*STATED})), (int, NONE, NONE))
    for name in process.parameters or ("index",):
        rules[name] = (int, 1, BEAM_ENERGY) if name in STATED else (int, 0, NUMBER_MAX)
    for name, (kind, low, high) in rules.items():
        value = attributes.get(name)
        good = isinstance(value, (int, kind)) and math.isfinite(value) and low <= value <= high
        what = "an integer" if kind is int else "a number"
        require(name, good, f"{what} of {low} to {high:g}")
    generated = attributes["generated"]
    require("selected", attributes["selected"] <= generated, f"at most {generated} events")
    for name, instead in OF_WEIGHTS.items() if weighted else ():
        name = name if name in attributes else instead
        require(name, attributes[name] > 0, "more than 0 beside weights of events")


def _check_shapes(
    path: Path, layout: type[ProcessEvents], arrays: dict[str, np.ndarray], remedy: str
) -> None:
    """Every dataset has one row an event (or jet, or object), as the others say."""
    n = len(np.atleast_1d(arrays["pt_hat"]))
    expected: dict[str, tuple[int, ...]] = dict.fromkeys(arrays, (n,))
    expected |= {name: (n, rows) for name, rows in layout.ROWS.items()}
    expected["truth"] = (n, *arrays["truth"].shape[-1:])
    expected["cut_flow"] = (arrays["cut_flow"].size,)
    for flat, name in layout.FLAT:
        offsets, rows = arrays[name], [one for one in arrays if one.partition("/")[0] == flat]
        if offsets.shape != (n + 1,) or offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise InputError(
                f"{path}: dataset {name!r} is not {n + 1} rising numbers from 0; {remedy}"
            )
        expected |= {name: offsets.shape} | dict.fromkeys(rows, (int(offsets[-1]),))
    for name, array in arrays.items():
        if array.shape != expected[name]:
            raise hdf5.wrong_shape(path, name, array.shape, expected[name], remedy)


def _check_values(path: Path, attributes: dict, arrays: dict[str, np.ndarray], remedy: str) -> None:
    """Every number is one that a collision can have; a checksum vouches for no meaning."""
    ranges = dict(RANGES)
    if PROCESSES[attributes["process"]].for_training:
        ranges["n_jets"] = 0, math.inf
    every = {
        full: column
        for name, array in arrays.items()
        for full, column in hdf5.columns(name, array).items()
        if name not in ANY
    }
    for name, column in every.items():
        if (last := name.rpartition("/")[2]) in ranges:
            hdf5.require_range(path, name, column, *ranges[last], remedy)
        elif column.dtype.kind == "f":
            hdf5.require(path, name, column, np.isfinite(column), "a finite number", remedy)
    if (kind := arrays.get("objects/kind")) is None:
        return
    good = (kind % KINDS < N_TYPES) & (kind // KINDS < 3)
    expected = f"type + {KINDS} (charge + 1) with a type below {N_TYPES}"
    hdf5.require(path, "objects/kind", kind, good, expected, remedy)


def of_chunk(
    columns: dict[str, np.ndarray], cut_flow: dict[str, int], attributes: dict
) -> ProcessEvents:
    """Events from named columns, such as `collisions` makes them of a process."""
    flow = np.array([(name.encode(), n) for name, n in cut_flow.items()], TABLES["cut_flow"])
    layout = LAYOUTS[PROCESSES[attributes["process"]].selection]
    return layout.of_columns(attributes, columns | {"cut_flow": flow})

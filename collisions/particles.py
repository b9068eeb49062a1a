"""From Pythia's event records to the particles a detector sees, and to the truth that is kept."""

from dataclasses import dataclass, replace
from typing import Self

import awkward as ak
import numpy as np

from jets.events import TABLES
from jets.ragged import events_of, offsets_from, offsets_of

NEUTRINOS = (12, 14, 16)
HEAVY_HADRON_PT_MIN = 5.0  # GeV, of hadrons that give a jet its flavour


class Rows:
    """Columns (n,) of a batch of `n_events` events, sorted by their number, the column `event`."""

    @property
    def offsets(self) -> np.ndarray:
        """(n_events + 1,) first row of every event."""
        return offsets_of(self.event, self.n_events)

    def take(self, chosen: np.ndarray) -> Self:
        """The chosen rows, a mask or row numbers sorted by event; event numbers stay."""
        columns = {name: vars(self)[name][chosen] for name in vars(self) if name != "n_events"}
        return replace(self, **columns)


@dataclass(frozen=True)
class Particles(Rows):
    """Particles of a batch, one row each, sorted by event; momenta in GeV.

    Attributes:
        event: (n,) event numbers.
        pdg_id: (n,) PDG ids.
        charge: (n,) in units of e.
        pt, eta, phi, energy, mass: (n,).
        n_events: events in the batch, those without particles included.
    """

    event: np.ndarray
    pdg_id: np.ndarray
    charge: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    energy: np.ndarray
    mass: np.ndarray
    n_events: int


@dataclass(frozen=True)
class Record:
    """The event records of a batch as flat columns; daughters are row numbers of these columns."""

    event: np.ndarray
    offsets: np.ndarray
    pdg_id: np.ndarray
    status: np.ndarray
    daughter_1: np.ndarray
    daughter_2: np.ndarray
    px: np.ndarray
    py: np.ndarray
    pz: np.ndarray
    energy: np.ndarray
    mass: np.ndarray

    @classmethod
    def of(cls, batch: ak.Array) -> "Record":
        """Flatten what `Pythia.nextBatch` gave."""
        rows = ak.flatten(batch.prt)
        offsets = offsets_from(ak.to_numpy(ak.num(batch.prt)))
        event = events_of(offsets)
        columns = (rows.id, rows.status, rows.daughter1, rows.daughter2)
        columns += (rows.p.px, rows.p.py, rows.p.pz, rows.p.e, rows.m)
        pdg_id, status, *daughters, px, py, pz, energy, mass = map(ak.to_numpy, columns)
        daughters = (daughter + offsets[event] for daughter in daughters)
        return cls(event, offsets, pdg_id, status, *daughters, px, py, pz, energy, mass)

    def __len__(self) -> int:
        return len(self.event)

    def rows(self, chosen: np.ndarray) -> Particles:
        """The chosen rows (a mask or sorted row numbers) as particles."""
        px, py, pz = self.px[chosen], self.py[chosen], self.pz[chosen]
        pt = np.hypot(px, py)
        pdg_id = self.pdg_id[chosen]
        return Particles(
            event=self.event[chosen],
            pdg_id=pdg_id,
            charge=charge_of(pdg_id),
            pt=pt,
            eta=np.arcsinh(pz / np.maximum(pt, 1e-9)),
            phi=np.arctan2(py, px),
            energy=self.energy[chosen],
            mass=self.mass[chosen],
            n_events=len(self.offsets) - 1,
        )


def charge_of(pdg_id: np.ndarray) -> np.ndarray:
    """Electric charge, in units of e, of the stable particles that Pythia leaves.

    >>> charge_of(np.array([211, -11, 2212, 22, 3112, -321]))
    array([ 1.,  1.,  1.,  0., -1., -1.])
    """
    size = np.abs(pdg_id)
    charge = np.zeros(len(pdg_id))
    charge[np.isin(size, (211, 321, 2212, 3222))] = 1
    charge[np.isin(size, (11, 13, 15, 3112, 3312, 3334))] = -1
    return charge * np.sign(pdg_id)


def visible(record: Record) -> Particles:
    """Stable particles that leave something in a detector: all but neutrinos and neutralinos."""
    return record.rows((record.status > 0) & ~np.isin(np.abs(record.pdg_id), (*NEUTRINOS, 1000022)))


def heavy_hadrons(record: Record) -> Particles:
    """Bottom and charm hadrons above 5 GeV; `charge` holds their flavour, 5 or 4."""
    size = np.abs(record.pdg_id)
    digits = np.stack([size // 10 % 10, size // 100 % 10, size // 1000 % 10])
    flavour = np.where(digits.max(axis=0) < 6, digits.max(axis=0), 0)
    hadron = (size > 100) & (size < 1_000_000) & (digits[1] > 0)
    hard = np.hypot(record.px, record.py) > HEAVY_HADRON_PT_MIN
    chosen = hadron & hard & ((flavour == 4) | (flavour == 5))
    return replace(record.rows(chosen), charge=flavour[chosen])


def truth(record: Record, kept: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Last copies of the particles that a process names, each followed by its daughters.

    Args:
        kept: (PDG id, number of daughters) per particle; a second entry with the same id is the
            second such particle of the record.

    Returns:
        (n_events, slots), as `jets.events.TABLES` says; a particle that is missing has PDG id 0.
    """
    n_events = len(record.offsets) - 1
    table = np.zeros((n_events, sum(1 + daughters for _, daughters in kept)), TABLES["truth"])
    seen: dict[int, int] = {}
    slot = 0
    for pdg_id, daughters in kept:
        same = record.pdg_id == pdg_id
        rows = np.flatnonzero(same)
        copied = same[record.daughter_1[rows]] | same[record.daughter_2[rows]]
        rows = rows[~copied]
        rank = np.arange(len(rows)) - offsets_of(record.event[rows], n_events)[record.event[rows]]
        rows = rows[rank == seen.get(pdg_id, 0)]
        seen[pdg_id] = seen.get(pdg_id, 0) + 1
        for step in range(daughters + 1):
            found = record.rows(rows if step == 0 else record.daughter_1[rows] + step - 1)
            for name in ("pdg_id", "pt", "eta", "phi", "mass"):
                table[name][found.event, slot] = getattr(found, name)
            slot += 1
    return table

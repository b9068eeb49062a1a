"""Anti-kT jets of a batch of events, with FastJet."""

from dataclasses import dataclass, replace

import awkward as ak
import fastjet
import numpy as np

from collisions.detector import Objects
from collisions.particles import Rows
from jets.ragged import offsets_from, take

# FastJet's banner, once a process, would break the progress bar; its citation is in the README.
fastjet.ClusterSequenceArea.set_fastjet_banner_stream(None)


@dataclass(frozen=True)
class Jets(Rows):
    """Jets of a batch, one row each, sorted by event and falling pT; GeV.

    Attributes:
        event: (n,) event numbers.
        pt, eta, phi, mass: (n,).
        constituents: row numbers of the clustered objects, jet by jet.
        constituent_offsets: (n + 1,) where a jet's constituents begin.
        n_events: events in the batch.
    """

    event: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    mass: np.ndarray
    constituents: np.ndarray
    constituent_offsets: np.ndarray
    n_events: int

    def take(self, rows: np.ndarray) -> "Jets":
        """The jets of the given row numbers, in that order."""
        members, offsets = take(self.constituent_offsets, rows)
        return replace(
            self,
            **{name: vars(self)[name][rows] for name in ("event", "pt", "eta", "phi", "mass")},
            constituents=self.constituents[members],
            constituent_offsets=offsets,
        )


def anti_kt(objects: Objects, radius: float, pt_min: float) -> Jets:
    """Inclusive anti-kT jets (E scheme) above `pt_min` GeV of every event.

    Source: Cacciari, Salam, Soyez, arXiv:0802.1189; FastJet, arXiv:1111.6097.
    """
    offsets = objects.offsets
    filled = np.flatnonzero(np.diff(offsets))  # FastJet wants at least one particle an event
    if len(filled) == 0:
        none, number = np.zeros(0), np.zeros(0, int)
        return Jets(number, none, none, none, none, number, offsets_from(number), objects.n_events)
    pt, pz = objects.pt, objects.pt * np.sinh(objects.eta)
    momenta = {"px": pt * np.cos(objects.phi), "py": pt * np.sin(objects.phi), "pz": pz}
    momenta = ak.zip(momenta | {"E": np.sqrt(pt**2 + pz**2 + objects.mass**2)})
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, radius)
    sequence = fastjet.ClusterSequence(ak.unflatten(momenta, np.diff(offsets)[filled]), definition)
    clustered = sequence.inclusive_jets(min_pt=pt_min)
    constituents = sequence.constituent_index(min_pt=pt_min)
    jet_counts = ak.to_numpy(ak.num(clustered))
    event = np.repeat(filled, jet_counts)
    sizes = ak.to_numpy(ak.flatten(ak.num(constituents, axis=2)))
    members = ak.to_numpy(ak.flatten(constituents, axis=None)) + np.repeat(offsets[event], sizes)

    flat = ak.flatten(clustered)
    px, py, pz, energy = (ak.to_numpy(flat[name]) for name in ("px", "py", "pz", "E"))
    pt = np.hypot(px, py)
    eta, phi = np.arcsinh(pz / pt), np.arctan2(py, px)
    mass = np.sqrt(np.maximum(energy**2 - pz**2 - pt**2, 0.0))
    jets = Jets(event, pt, eta, phi, mass, members, offsets_from(sizes), objects.n_events)
    return jets.take(np.lexsort((-pt, event)))


def exclusive_kt(
    pt: np.ndarray, eta: np.ndarray, phi: np.ndarray, offsets: np.ndarray, n_subjets: int
) -> np.ndarray:
    """Which of exactly `n_subjets` exclusive kT subjets each massless particle (m,) is in, from 0
    by falling scalar sum of pT; -1 in jets with fewer particles.

    Source: Catani, Dokshitzer, Seymour, Webber, Nucl. Phys. B 406 (1993) 187; FastJet.

    Args:
        pt, eta, phi: (m,) jet after jet.
        offsets: (n + 1,) where each jet begins.
    """
    number, counts = np.full(len(pt), -1), np.diff(offsets)
    filled = np.flatnonzero(counts >= n_subjets)
    if not len(filled):
        return number
    rows, _ = take(offsets, filled)
    pt, eta, phi = (x[rows].astype(float) for x in (pt, eta, phi))
    momenta = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta)}
    momenta = ak.zip(momenta | {"E": pt * np.cosh(eta)})
    # So far apart from any jet that no particle is merged with the beam before the end.
    definition = fastjet.JetDefinition(fastjet.kt_algorithm, 100.0)
    sequence = fastjet.ClusterSequence(ak.unflatten(momenta, counts[filled]), definition)
    members = sequence.exclusive_jets_constituent_index(njets=n_subjets)
    subjet = np.repeat(
        np.arange(len(filled) * n_subjets), ak.to_numpy(ak.flatten(ak.num(members, axis=2)))
    )
    begin = offsets_from(counts[filled])[subjet // n_subjets]
    particle = ak.to_numpy(ak.flatten(members, axis=None)) + begin
    sums = np.bincount(subjet, pt[particle], len(filled) * n_subjets).reshape(-1, n_subjets)
    rank = np.argsort(np.argsort(-sums, axis=1), axis=1)
    number[rows[particle]] = rank.ravel()[subjet]
    return number


def membership(jets: Jets, n_objects: int, none: int) -> np.ndarray:
    """The number (n_objects,) uint8, in its event, of each object's jet, or `none`."""
    number = np.full(n_objects, none, np.uint8)
    number[jets.constituents] = np.repeat(ranks(jets), np.diff(jets.constituent_offsets))
    return number


def ranks(jets: Jets) -> np.ndarray:
    """A jet's number (n_jets,) in its event, 0 the hardest."""
    return np.arange(len(jets.event)) - jets.offsets[jets.event]

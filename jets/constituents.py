"""The constituents of jets, flat: what a network sees that takes particles instead of pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jets.events import Events
from jets.images import SparseImages, draw, members
from jets.ragged import delta_phi, events_of, offsets_from, take
from physics import OBJECT_MASSES

CONSTITUENTS_MAX = 128  # of a jet, the hardest ones
UNKNOWN_KIND = 5


@dataclass(frozen=True)
class Constituents:
    """The constituents of n jets, jet after jet, falling in pT.

    Attributes:
        offsets: (n + 1,) where each jet begins in the others.
        pt: (m,) float32, GeV.
        rapidity, phi: (m,) float32, less those of the jet's axis.
        mass: (m,) float32, GeV.
        kind: (m,) uint8, 0 charged hadron, 1 neutral hadron, 2 photon, 3 electron, 4 muon, 5
            unknown.
    """

    offsets: np.ndarray
    pt: np.ndarray
    rapidity: np.ndarray
    phi: np.ndarray
    mass: np.ndarray
    kind: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def columns(self) -> dict[str, np.ndarray]:
        """All that has a row a constituent, by name."""
        return {name: column for name, column in vars(self).items() if name != "offsets"}

    def take(self, jets: np.ndarray) -> "Constituents":
        """The jets of these numbers or of a mask, in their order."""
        rows, offsets = take(self.offsets, jets)
        return Constituents(offsets, **{name: one[rows] for name, one in self.columns().items()})


def hardest(offsets: np.ndarray, at_most: int = CONSTITUENTS_MAX, **columns) -> Constituents:
    """Constituents in any order within a jet, as `Constituents` has them, the hardest alone.

    Args:
        offsets: (n + 1,)
        columns: pt, rapidity, phi, mass, kind, (m,) each.

    >>> some = {"rapidity": np.zeros(3), "phi": np.zeros(3), "mass": np.zeros(3)}
    >>> pt, kind = np.array([1.0, 3.0, 2.0]), np.array([2, 0, 1])
    >>> hardest(np.array([0, 3]), at_most=2, pt=pt, kind=kind, **some).kind
    array([0, 1], dtype=uint8)
    """
    jet = events_of(offsets)
    order = np.lexsort((-columns["pt"], jet))
    place = np.arange(len(jet)) - np.repeat(offsets[:-1], np.diff(offsets))
    order = order[place < at_most]
    counts = np.minimum(np.diff(offsets), at_most)
    kinds = {"kind": np.uint8}
    return Constituents(
        offsets_from(counts),
        **{name: one[order].astype(kinds.get(name, np.float32)) for name, one in columns.items()},
    )


def concatenate(parts: Sequence[Constituents]) -> Constituents:
    """The jets of all parts, one after the other."""
    columns = [part.columns() for part in parts]
    return Constituents(
        offsets_from(np.concatenate([np.diff(part.offsets) for part in parts])),
        **{name: np.concatenate([one[name] for one in columns]) for name in columns[0]},
    )


def draw_constituents(found: Constituents, side: int, oriented: bool) -> SparseImages:
    """Images of n jets, see `jets.images.draw`, with rapidity in place of eta."""
    axis = np.zeros(len(found))
    of_image = found.pt, found.rapidity, found.phi, found.kind, found.offsets, axis, axis
    return draw(*of_image, side, oriented)


def of_events(events: Events, jet_definition: str, wanted: np.ndarray) -> Constituents:
    """Of the large-R jets `wanted` (n, 3) of n events, by event and jet number: the objects that
    are in them, with the masses that the detector gave them."""
    found, offsets = members(events, jet_definition, wanted)
    jet, axes = events_of(offsets), events.large_r[jet_definition][wanted]
    pt, eta = (found[name].astype(np.float64) for name in ("pt", "eta"))
    mass = np.array(OBJECT_MASSES)[found["type"]]
    of_axes = (axes[name].astype(np.float64) for name in ("pt", "eta", "mass"))
    rapidity, of_axis = rapidity_of(pt, eta, mass), rapidity_of(*of_axes)
    return hardest(
        offsets,
        pt=pt,
        rapidity=rapidity - of_axis[jet],
        phi=delta_phi(found["phi"].astype(np.float64), axes["phi"][jet].astype(np.float64)),
        mass=mass,
        kind=found["type"],
    )


def rapidity_of(pt: np.ndarray, eta: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Rapidities of momenta, pT and mass in the same unit."""
    return np.arcsinh(pt * np.sinh(eta) / np.hypot(pt, mass))

"""Jet angularities, the classical tagger's view of what an image shows."""

import numpy as np

from jets.constituents import Constituents
from jets.images import SparseImages
from jets.ragged import events_of
from physics import IMAGED_JETS, PIXEL_WIDTH

# Larkoski, Thaler, Waalewijn, arXiv:1408.3122: name -> (kappa, beta).
ANGULARITIES = {
    "multiplicity": (0.0, 0.0),
    "pt_d": (2.0, 0.0),
    "lha": (1.0, 0.5),
    "width": (1.0, 1.0),
    "thrust": (1.0, 2.0),
}
OF_JETS = ("mass", "pt", *ANGULARITIES)  # all that is known of a jet without a network


def angularities(images: SparseImages, side: int, jet_definition: str) -> np.ndarray:
    """Sums over the pixels of a jet of z^kappa theta^beta, eq. 1.1 of arXiv:1408.3122.

    z is a pixel's share of the image's pT, theta the distance of its centre from the jet axis over
    the jet radius. A pixel that is filled in two channels counts as two.

    Returns:
        Structured (n,) float32, a field for each of `ANGULARITIES`; 0 for a jet without pixels.

    Two pixels side by side, each half a pixel from the axis, that share the pT one to three:

    >>> pixels = np.array([64 * 31 + 31, 64 * 31 + 32], np.uint16)
    >>> two = SparseImages(np.array([0, 2]), pixels, np.array([1.0, 3.0], np.float32))
    >>> angularities(two, 64, "AK10")[["multiplicity", "pt_d"]].item()
    (2.0, 0.625)
    """
    definition = IMAGED_JETS[jet_definition]
    width = PIXEL_WIDTH * definition.pixels / side
    row, column = np.divmod(images.pixels.astype(np.int64) % side**2, side)
    centre = (side - 1) / 2
    distance = np.hypot(row - centre, column - centre) * width
    return of_parts(images.offsets, images.values, distance / definition.radius)


def of_constituents(constituents: Constituents, radius: float) -> np.ndarray:
    """The same sums over the constituents of jets of this radius."""
    distance = np.hypot(constituents.rapidity, constituents.phi)
    return of_parts(constituents.offsets, constituents.pt, distance / radius)


def of_parts(offsets: np.ndarray, pt: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The sums over the parts (m,) of n jets, jet after jet, see `angularities`."""
    n, jet = len(offsets) - 1, events_of(offsets)
    z = pt / np.bincount(jet, pt, n)[jet]
    found = np.empty(n, [(name, "f4") for name in ANGULARITIES])
    for name, (kappa, beta) in ANGULARITIES.items():
        found[name] = np.bincount(jet, z**kappa * theta**beta, n)
    return found

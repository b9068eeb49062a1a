"""Jet images: sparse, centred on the jet axis, rotated, with three detector channels.

Before the rotation eta grows to the right (columns) and phi upwards (towards lower rows). The image
is then turned about the jet axis until the hardest deposit stands straight above it; it is never
reflected, so going from eta to phi stays a left turn. "The hardest deposit" is here the constituent
of highest pT, not the brightest pixel of an unrotated image: it depends on no pixel edge. The jet
axis lies on the corner of the four central pixels, the hardest deposit on the left edge of column
p / 2. A constituent exactly on the axis gives no direction: then the image stays as it is.

Orientation and pixel: the average image published with arXiv:2406.03096.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jets.events import Events
from jets.ragged import delta_phi, events_of, offsets_from, take
from physics import CHANNELS, JET_DEFINITIONS, JETS_PER_EVENT, PIXEL_WIDTH

# The channel of a charged hadron, neutral hadron, photon, electron, muon, and of who knows what.
CHANNEL_OF_TYPE = np.array(
    [CHANNELS.index(name) for name in ("TrackPT", "EhT", "EmT", "TrackPT", "TrackPT", "EhT")]
)

UP = np.array([0.0, 1.0])  # towards larger phi


@dataclass(frozen=True)
class SparseImages:
    """The pixels above zero of n images, flat.

    Attributes:
        offsets: (n + 1,) where each image begins in the other two.
        pixels: uint16, channel * p * p + row * p + column, rising inside an image.
        values: float32, GeV of pT.
    """

    offsets: np.ndarray
    pixels: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def counts(self) -> np.ndarray:
        """Pixels above zero of every image, (n,)."""
        return np.diff(self.offsets)

    def take(self, images: np.ndarray) -> "SparseImages":
        """The images of these numbers (m,), in their order."""
        source, offsets = take(self.offsets, images)
        return SparseImages(offsets, self.pixels[source], self.values[source])


def concatenate(parts: Sequence[SparseImages]) -> SparseImages:
    """The images of all parts, one after the other."""
    return SparseImages(
        offsets_from(np.concatenate([part.counts() for part in parts])),
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def sum_deposits(
    image: np.ndarray, pixel: np.ndarray, value: np.ndarray, n_images: int
) -> SparseImages:
    """Sparse images from deposits in any order; those in one pixel of one image add up.

    Args:
        image, pixel, value: (m,) image number, flat pixel index and GeV of every deposit.
    """
    width = 1 + int(np.iinfo(np.uint16).max)
    key, inverse = np.unique(image.astype(np.int64) * width + pixel, return_inverse=True)
    values = np.bincount(inverse, weights=value, minlength=len(key))
    offsets = np.searchsorted(key, width * np.arange(n_images + 1))
    return SparseImages(offsets, (key % width).astype(np.uint16), values.astype(np.float32))


def draw(
    pt: np.ndarray,
    eta: np.ndarray,
    phi: np.ndarray,
    kind: np.ndarray,
    offsets: np.ndarray,
    axis_eta: np.ndarray,
    axis_phi: np.ndarray,
    side: int,
    oriented: bool = True,
) -> SparseImages:
    """Images of jets from their constituents, as the module says; what falls outside is dropped.

    Args:
        pt, eta, phi: (m,) of all constituents, jet after jet; GeV.
        kind: (m,) 0 charged hadron, 1 neutral hadron, 2 photon, 3 electron, 4 muon, 5 unknown.
        offsets: (n + 1,) where each jet begins.
        axis_eta, axis_phi: (n,) of the jets.
        side: pixels along one side of the square image.
        oriented: whether to turn the hardest deposit upwards; without, phi is up.
    """
    n_jets = len(offsets) - 1
    jet = events_of(offsets)
    x = eta.astype(np.float64) - axis_eta[jet]
    y = delta_phi(phi.astype(np.float64), axis_phi[jet])
    up, hardest = np.tile(UP, (n_jets, 1)), []
    if oriented:
        up, hardest = hardest_direction(x, y, pt, offsets)
    across, upwards = turned(x, y, up[jet])
    across[hardest] = 0.0  # rounding must not move it over the edge that it lies on
    column = np.floor(across / PIXEL_WIDTH).astype(np.int64) + side // 2
    row = side // 2 - 1 - np.floor(upwards / PIXEL_WIDTH).astype(np.int64)
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side) & (pt > 0)
    pixel = (CHANNEL_OF_TYPE[kind] * side + row) * side + column
    return sum_deposits(jet[inside], pixel[inside], pt[inside], n_jets)


def centres(side: int, jet_definition: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the centre of each pixel (side, side) lies from the jet axis: to the right, upwards."""
    width = PIXEL_WIDTH * JET_DEFINITIONS[jet_definition].pixels / side
    place = (np.arange(side) - (side - 1) / 2) * width
    return tuple(np.meshgrid(place, -place))


def hardest_direction(
    x: np.ndarray, y: np.ndarray, pt: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The unit vector (n, 2) from the axis of each jet to its hardest constituent, the first of
    equals, and the rows of these; `UP`, and no row, of a jet where it lies on the axis.

    Args:
        x, y: (m,) eta and phi from the axis, jet after jet.
        pt: (m,)
        offsets: (n + 1,)
    """
    order = np.lexsort((-pt, events_of(offsets)))
    filled = np.flatnonzero(np.diff(offsets))
    hardest = order[offsets[filled]]
    distance = np.hypot(x[hardest], y[hardest])
    filled, hardest, distance = (one[distance > 0] for one in (filled, hardest, distance))
    up = np.tile(UP, (len(offsets) - 1, 1))
    up[filled] = np.stack([x[hardest], y[hardest]], axis=1) / distance[:, None]
    return up, hardest


def turned(x: np.ndarray, y: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points in the frame whose second axis is the unit vector `up` (..., 2): across, upwards."""
    return x * up[..., 1] - y * up[..., 0], x * up[..., 0] + y * up[..., 1]


def members(
    events: Events, jet_definition: str, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The objects in the large-R jets `wanted` (n, 3) of n events, jet after jet by event and
    number, and where each jet begins."""
    event = events_of(events.object_offsets)
    k = events.objects["jet"][:, list(JET_DEFINITIONS).index(jet_definition)]
    member = np.flatnonzero(k < JETS_PER_EVENT)
    member = member[wanted[event[member], k[member]]]
    jet = (np.cumsum(wanted) - 1).reshape(wanted.shape)[event[member], k[member]]
    member = member[np.argsort(jet, kind="stable")]
    return events.objects[member], offsets_from(
        np.bincount(jet, minlength=np.count_nonzero(wanted))
    )


def draw_events(
    events: Events, jet_definition: str, wanted: np.ndarray, oriented: bool = True
) -> SparseImages:
    """Images of the large-R jets `wanted` (n, 3) of n events, by event and jet number."""
    objects, offsets = members(events, jet_definition, wanted)
    jets = events.large_r[jet_definition][wanted]
    return draw(
        *(objects[name] for name in ("pt", "eta", "phi", "type")),
        offsets,
        *(jets[name].astype(np.float64) for name in ("eta", "phi")),
        JET_DEFINITIONS[jet_definition].pixels,
        oriented,
    )


def sum_pixels(images: SparseImages, side: int, n: int) -> SparseImages:
    """Images of side / n pixels from images of `side`, by summing n x n pixels."""
    plane, pixel = np.divmod(images.pixels.astype(np.int64), side * side)
    row, column = np.divmod(pixel, side)
    summed = (plane * (side // n) + row // n) * (side // n) + column // n
    image = events_of(images.offsets)
    return sum_deposits(image, summed, images.values, len(images))


def dense(images: SparseImages, side: int) -> np.ndarray:
    """Dense images (n, 3, side, side) in GeV.

    >>> one = SparseImages(np.array([0, 1]), np.array([5], np.uint16), np.array([2.0], np.float32))
    >>> dense(one, 2)[0, 1]
    array([[0., 2.],
           [0., 0.]], dtype=float32)
    """
    flat = np.zeros((len(images), len(CHANNELS) * side * side), np.float32)
    flat[events_of(images.offsets), images.pixels] = images.values
    return flat.reshape(-1, len(CHANNELS), side, side)

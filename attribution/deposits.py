"""Where in a jet the attribution lies: about the axis, about the prongs of the truth.

Pixels and particles alike are *deposits*. The truth mask, deposits within some distance of a quark
of the neutralino, is that of arXiv:2604.25885. A network may look elsewhere and be right: the mask
says where the three prongs are, not what tells them from others.
"""

from dataclasses import dataclass

import numpy as np

from attribution.averages import Explained
from jets.constituents import rapidity_of
from jets.images import CHANNEL_OF_TYPE, centres, dense, turned
from jets.packed import PackedJets
from physics import CHANNELS
from sensitivity.bootstrap import Estimate
from training.constituents import KINDS

OF_PARTICLES = "constituents", "momenta"  # inputs
NEAR = 0.2  # Delta R of a deposit and a prong


@dataclass(frozen=True)
class Deposits:
    """The deposits of n jets.

    Attributes:
        attribution: (n, m) of each of m places, over channels or features.
        pt: (n, m) GeV, or in any unit of the jet; 0 where there is none.
        x, y: (n, m) from the axis, in the frame of the image or, of particles, eta and phi.
        channel: (n, m) which of `physics.CHANNELS` each is in.
        others: input -> (n, ...) attributions to what is no deposit.
    """

    attribution: np.ndarray
    pt: np.ndarray
    x: np.ndarray
    y: np.ndarray
    channel: np.ndarray
    others: dict[str, np.ndarray]

    def take(self, rows: np.ndarray) -> "Deposits":
        """Those of the jets of a mask (n,)."""
        taken = {name: x[rows] for name, x in vars(self).items() if name != "others"}
        return Deposits(**taken, others={name: x[rows] for name, x in self.others.items()})

    @property
    def size(self) -> np.ndarray:
        """|attribution| (n, m) of what the jet has; 0 where it has nothing."""
        return np.abs(self.attribution) * (self.pt > 0)

    @property
    def share_of_empty(self) -> np.ndarray:
        """The share (n,) of |attribution| on places where the jet has nothing, in all."""
        empty = np.abs(self.attribution).sum(axis=1) - self.size.sum(axis=1)
        return _divided(empty, self.every)

    @property
    def share_of_others(self) -> dict[str, np.ndarray]:
        """Input -> the share (n,) or (n, features) of |attribution| on what is no deposit, as the
        jet mass, in all."""
        sizes = {name: np.abs(x).reshape(len(x), -1) for name, x in self.others.items()}
        return {name: _divided(x, self.every[:, None]) for name, x in sizes.items()}

    @property
    def every(self) -> np.ndarray:
        """|attribution| (n,) to all that the network sees."""
        others = (np.abs(x).reshape(len(x), -1).sum(axis=1) for x in self.others.values())
        return np.abs(self.attribution).sum(axis=1) + sum(others)


def of_images(found: Explained, jets: PackedJets) -> Deposits:
    """Pixels of each channel, of the jets (n,) that are explained."""
    attribution = found.values["images"].reshape(len(found), -1)
    of_plane = [
        np.tile(one.ravel(), len(CHANNELS)) for one in centres(jets.side, jets.jet_definition)
    ]
    of_plane.append(np.repeat(np.arange(len(CHANNELS)), jets.side**2))
    x, y, channel = (np.broadcast_to(one, attribution.shape) for one in of_plane)
    pt = dense(jets.images, jets.side).reshape(attribution.shape)
    others = {name: value for name, value in found.values.items() if name != "images"}
    return Deposits(attribution, pt, x, y, channel, others)


def of_particles(found: Explained, axes: np.ndarray) -> Deposits:
    """Constituents, from the pseudorapidity of the axis as images are; the attributions to the
    features of each are added up.

    Args:
        axes: structured (n,) with pt, eta and mass.
    """
    pt, x, y, _ = np.moveaxis(found.inputs["momenta"], 2, 0)
    axis, eta, mass = (axes[name].astype(float) for name in ("pt", "eta", "mass"))
    x = x + (rapidity_of(axis, eta, mass) - eta)[:, None]
    attribution = of_each_particle(found)
    channel = CHANNEL_OF_TYPE[np.argmax(found.inputs["constituents"][..., -len(KINDS) :], axis=2)]
    others = {name: value for name, value in found.values.items() if name not in OF_PARTICLES}
    return Deposits(attribution, pt * found.inputs["exists"], x, y, channel, others)


def of_each_particle(found: Explained) -> np.ndarray:
    """Attributions (n, m), of all that the network sees of each particle."""
    return sum(found.values[name].sum(axis=2) for name in OF_PARTICLES if name in found.values)


def distance_to_prongs(deposits: Deposits, prongs: np.ndarray) -> np.ndarray:
    """From each deposit (n, m) to the nearest of the prongs (n, 3, 2); NaN without any."""
    squares = [
        (deposits.x - across[:, None]) ** 2 + (deposits.y - upwards[:, None]) ** 2
        for across, upwards in np.moveaxis(prongs, 1, 0).transpose(0, 2, 1)
    ]
    return np.sqrt(np.fmin.reduce(squares))


def shares_near_prongs(
    deposits: Deposits, prongs: np.ndarray, near: float = NEAR
) -> dict[str, np.ndarray]:
    """Shares (n,) within `near` of a prong, of what the jet has: of |attribution|, of pT, which is
    that of attribution in proportion to pT, and of the number of deposits, which is the mean of an
    attribution that is exchanged at random between them."""
    is_near = distance_to_prongs(deposits, prongs) < near
    weights = {
        "attribution": deposits.size,
        "pT": deposits.pt,
        "random": (deposits.pt > 0).astype(float),
    }
    return {n: _divided((w * is_near).sum(axis=1), w.sum(axis=1)) for n, w in weights.items()}


def mean_images(deposits: Deposits, weight: np.ndarray, half: float, bins: int) -> np.ndarray:
    """The mean attribution (3, bins, bins) to each channel, about the axis of the jets, which are
    turned until their hardest deposit is up.

    Args:
        weight: (n,) of the jets.
        half: of the frame, in eta and phi.
    """
    hardest = np.arange(len(weight)), np.argmax(deposits.pt, axis=1)
    up = np.stack([deposits.x[hardest], deposits.y[hardest]], axis=1)
    up = up / np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-9)
    across, upwards = turned(deposits.x, deposits.y, up[:, None])
    shares = deposits.attribution * (weight / weight.sum())[:, None]
    found, _ = np.histogramdd(
        [deposits.channel.ravel(), -upwards.ravel(), across.ravel()],
        [np.arange(len(CHANNELS) + 1), *[np.linspace(-half, half, bins + 1)] * 2],
        weights=shares.ravel(),
    )
    return found


def profile(weight: np.ndarray, distance: np.ndarray, edges: np.ndarray) -> list[Estimate]:
    """The mean over jets of the share of a weight (n, m) in each bin of a distance (n, m)."""
    place = np.searchsorted(edges, distance, "right") - 1
    shares = [_divided((weight * (place == i)).sum(axis=1), weight.sum(axis=1))
              for i in range(len(edges) - 1)]  # fmt: skip
    return [mean_of(share) for share in shares]


def mean_of(values: np.ndarray) -> Estimate:
    """Mean and standard error over jets (n,); those that are NaN are left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Estimate(np.nan, np.nan)
    error = known.std(ddof=1) / len(known) ** 0.5 if len(known) > 1 else np.nan
    return Estimate(float(known.mean()), float(error))


def _divided(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)

"""Four-momenta (..., 4), as E, px, py, pz, and their products."""

import numpy as np
from numpy.typing import ArrayLike

METRIC = np.array([1.0, -1.0, -1.0, -1.0])


def four_momenta(
    pt: np.ndarray, eta: np.ndarray, phi: np.ndarray, mass: ArrayLike = 0.0
) -> np.ndarray:
    """From transverse momentum, pseudorapidity, azimuth and mass (...) to (..., 4).

    >>> four_momenta(3.0, 0.0, 0.0, 4.0).tolist()
    [5.0, 3.0, 0.0, 0.0]
    """
    pt = np.asarray(pt, float)
    pz = pt * np.sinh(np.asarray(eta, float))
    energy = np.sqrt(pt**2 + pz**2 + np.asarray(mass, float) ** 2)
    return np.stack(np.broadcast_arrays(energy, pt * np.cos(phi), pt * np.sin(phi), pz), axis=-1)


def momenta_of(rows: np.ndarray) -> np.ndarray:
    """(..., 4) of a structured table (...) with the fields pt, eta, phi, mass."""
    return four_momenta(*(rows[name] for name in ("pt", "eta", "phi", "mass")))


def product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Minkowski product (...) of four-momenta (..., 4)."""
    return (first * METRIC * second).sum(axis=-1)


def invariant_mass(momentum: np.ndarray) -> np.ndarray:
    """(...), 0 for what rounding makes spacelike.

    >>> invariant_mass(np.array([5.0, 3.0, 0.0, 0.0])).item()
    4.0
    """
    return np.sqrt(np.maximum(product(momentum, momentum), 0.0))

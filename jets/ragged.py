"""Rows of many events (jets, images) in one flat table: where each begins, pairs, distances."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, DTypeLike


def offsets_of(event: np.ndarray, n_events: int) -> np.ndarray:
    """Offsets (n_events + 1,) of rows whose event numbers `event` (n,) are sorted."""
    return np.searchsorted(event, np.arange(n_events + 1))


def offsets_from(counts: np.ndarray) -> np.ndarray:
    """Offsets (n + 1,) of events with so many rows (n,) each.

    >>> offsets_from(np.array([2, 0, 3]))
    array([0, 2, 2, 5])
    """
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def table(
    dtype: DTypeLike, shape: int | tuple[int, ...], columns: Mapping[str, ArrayLike]
) -> np.ndarray:
    """A structured array of some columns, arrays or one number each; 0 in the others.

    >>> table([("k", "u1"), ("pt", "f4"), ("eta", "f4")], 2, {"k": [0, 1], "pt": 30}).tolist()
    [(0, 30.0, 0.0), (1, 30.0, 0.0)]
    """
    made = np.zeros(shape, dtype)
    for name, column in columns.items():
        made[name] = column
    return made


def take(offsets: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of chosen events, a mask or numbers in any order, and their offsets.

    >>> take(np.array([0, 2, 2, 5]), np.array([2, 0]))
    (array([2, 3, 4, 0, 1]), array([0, 3, 5]))
    """
    counts = np.diff(offsets)[chosen]
    taken = offsets_from(counts)
    return np.arange(taken[-1]) + np.repeat(offsets[:-1][chosen] - taken[:-1], counts), taken


def events_of(offsets: np.ndarray) -> np.ndarray:
    """The event number of every row, from offsets."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of all pairs of a row of one table and a row of another in the same event.

    Args:
        first, second: sorted offsets (n_events + 1,) of the two tables.

    >>> pairs(np.array([0, 1, 2]), np.array([0, 2, 3]))
    (array([0, 0, 1]), array([0, 1, 2]))
    """
    event = events_of(first)
    partners = np.diff(second)[event]
    left = np.repeat(np.arange(len(event)), partners)
    start = np.cumsum(partners) - partners
    return left, np.arange(len(left)) - start[left] + second[event][left]


def delta_phi(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Azimuthal difference in [-pi, pi)."""
    return (first - second + np.pi) % (2 * np.pi) - np.pi


def delta_r(
    eta_1: np.ndarray, phi_1: np.ndarray, eta_2: np.ndarray, phi_2: np.ndarray
) -> np.ndarray:
    """Distance in the (eta, phi) plane."""
    return np.hypot(eta_1 - eta_2, delta_phi(phi_1, phi_2))

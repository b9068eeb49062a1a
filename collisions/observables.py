"""Observables of whole events, from their R = 0.4 jets and energy-flow objects."""

import numpy as np

from jets.ragged import events_of, pairs


def fox_wolfram(
    pt: np.ndarray, eta: np.ndarray, phi: np.ndarray, offsets: np.ndarray, orders: tuple[int, ...]
) -> np.ndarray:
    """Fox-Wolfram moments H_l / H_0 of the jets of every event, in the laboratory frame.

    H_l = sum_ij |p_i| |p_j| P_l(cos Omega_ij) / (sum_i |p_i|)^2, i = j included, so H_0 = 1.
    Source: Fox, Wolfram, Phys. Rev. Lett. 41 (1978) 1581.

    Args:
        pt, eta, phi: (n_jets,), sorted by event.
        offsets: (n_events + 1,).
        orders: the l to compute.

    Returns:
        (n_events, len(orders)); 0 for an event without jets.

    >>> phi, offsets = np.array([0, np.pi]), np.array([0, 2])  # two jets, back to back
    >>> fox_wolfram(np.ones(2), np.zeros(2), phi, offsets, (1, 2)).round(12) + 0.0
    array([[0., 1.]])
    """
    n_events = len(offsets) - 1
    event = events_of(offsets)
    momentum = pt * np.cosh(eta)
    total = np.bincount(event, weights=momentum, minlength=n_events)
    first, second = pairs(offsets, offsets)
    cosine = (np.cos(phi[first] - phi[second]) + np.sinh(eta[first]) * np.sinh(eta[second])) / (
        np.cosh(eta[first]) * np.cosh(eta[second])
    )
    weight = momentum[first] * momentum[second] / total[event[first]] ** 2
    moments = [
        np.bincount(
            event[first],
            weights=weight * np.polynomial.legendre.Legendre.basis(order)(cosine),
            minlength=n_events,
        )
        for order in orders
    ]
    return np.stack(moments, axis=1)


def missing_momentum(
    event: np.ndarray, pt: np.ndarray, phi: np.ndarray, n_events: int
) -> tuple[np.ndarray, np.ndarray]:
    """x and y components (n_events,) in GeV of minus the vector sum of all objects."""
    x = np.bincount(event, weights=pt * np.cos(phi), minlength=n_events)
    y = np.bincount(event, weights=pt * np.sin(phi), minlength=n_events)
    return -x, -y

"""A resonance over a smooth background: binned likelihood fits of a mass spectrum.

The background is the exponential of a polynomial, so it is positive, and the likelihood has one
maximum. The signal has a given shape and any size.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import kl_div

from sensitivity.bootstrap import Estimate

ORDERS = range(1, 7)  # of polynomials among which `best_order` chooses
LARGEST = 50.0  # logarithm: where there are no events, a polynomial may fall without end
STEPS = 30  # of a fit; most need less than 10


class Fit(NamedTuple):
    """A fit of background alone to the n bins of a spectrum.

    Attributes:
        background: (n,) events.
        deviance: -2 ln of the likelihood over its largest value, that of the counts themselves.
        chi2: Pearson's, sum of (counts - fit)^2 / fit.
    """

    background: np.ndarray
    deviance: float
    chi2: float


def polynomials(edges: ArrayLike, order: int) -> np.ndarray:
    """Legendre polynomials (n, order + 1) at the centres of the n bins between these edges.

    >>> polynomials([100.0, 140.0, 180.0], 1)
    array([[ 1. , -0.5],
           [ 1. ,  0.5]])
    """
    edges = np.asarray(edges, float)
    middle = (edges[1:] + edges[:-1] - edges[0] - edges[-1]) / (edges[-1] - edges[0])
    return np.polynomial.legendre.legvander(middle, order)


def fit(counts: ArrayLike, shapes: np.ndarray, background: ArrayLike = 1.0) -> Fit:
    """The largest Poisson likelihood of a background times exp(shapes @ a).

    Args:
        counts: (n,) events, 0 or more; they may be expected ones.
        shapes: (n, k) of the logarithm of the background; one should be constant.
        background: (n,) what the background is for a = 0, or one number.

    >>> fit([9.0, 12.0, 15.0], np.ones((3, 1))).background.round(6)
    array([12., 12., 12.])
    """
    counts = np.asarray(counts, float)

    def expected(a: np.ndarray) -> np.ndarray:
        return background * np.exp(np.clip(shapes @ a, -LARGEST, LARGEST))

    root = np.sqrt(counts + 0.5)
    rough = root * np.log((counts + 0.5) / background)
    best = minimize(
        lambda a: kl_div(counts, expected(a)).sum(),  # half the deviance
        np.linalg.lstsq(shapes * root[:, None], rough, rcond=None)[0],
        method="trust-exact",
        jac=lambda a: (expected(a) - counts) @ shapes,
        hess=lambda a: shapes.T @ (shapes * expected(a)[:, None]),
        options={"gtol": 1e-7 * np.sqrt(counts.sum()), "maxiter": STEPS},
    )
    found = expected(best.x)
    return Fit(found, 2 * float(best.fun), float(((counts - found) ** 2 / found).sum()))


def excess(
    counts: np.ndarray, background: np.ndarray, shapes: np.ndarray, template: np.ndarray
) -> Estimate:
    """The signal in counts whose background was fitted, to first order in the signal.

    The step from the fit of background alone towards that of both, by the Fisher information: also
    where the likelihood of a negative signal ends, because no expected count may be below 0.

    Args:
        counts, background: (n,) and their `Fit.background`.
        shapes: (n, k) of the fit.
        template: (n,) shape of the signal, with the sum 1.

    >>> counts, flat = np.array([100.0, 130.0, 100.0, 100.0]), np.ones((4, 1))
    >>> found = excess(counts, fit(counts, flat).background, flat, np.array([0.0, 1.0, 0.0, 0.0]))
    >>> f"{found.value:.1f} {found.error:.1f}"
    '30.0 12.0'
    """
    slopes = np.column_stack([background[:, None] * shapes, template])
    covariance = np.linalg.inv(slopes.T @ (slopes / background[:, None]))
    step = covariance @ (slopes.T @ (counts / background - 1))
    return Estimate(float(step[-1]), float(covariance[-1, -1] ** 0.5))


def best_order(counts: ArrayLike, edges: ArrayLike) -> int:
    """The order of `ORDERS` with the least Akaike criterion: deviance + 2 x number of parameters.

    >>> best_order(np.full(40, 50.0), np.linspace(100, 180, 41))
    1
    """
    criteria = {i: fit(counts, polynomials(edges, i)).deviance + 2 * i for i in ORDERS}
    return min(criteria, key=criteria.get)


def discovery_significance(signal: np.ndarray, background: np.ndarray, shapes: np.ndarray) -> float:
    """Expected significance of a signal over a background that only a fit of the spectrum knows.

    The root of the profile likelihood ratio of no signal at the expected (Asimov) counts
    (arXiv:1007.1727). There a fit with signal finds the expectation itself, so only the fit of
    background alone is left to do.

    Args:
        signal, background: (n,) expected events in the bins of the spectrum.
        shapes: (n, k) functions; the background is known but for a factor exp(shapes @ a).
    """
    return float(np.sqrt(fit(signal + background, shapes, background=background).deviance))

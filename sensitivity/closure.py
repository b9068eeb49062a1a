"""Do two weighted samples have the same distribution and the same yield? A chi2 says."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

# Shares of the yield below the edges between bins, the last few in the tail.
BELOW = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


def inner_edges(
    values: np.ndarray, weight: np.ndarray, below: Sequence[float] = BELOW
) -> np.ndarray:
    """Edges (bins - 1,) of bins, the outer ones open, with given shares of the yield below them.

    Args:
        values: (n,) of events or (n, k) of their jets, NaN where there is no jet.
        weight: (n,) of events.

    Example:
        >>> inner_edges(np.array([7.0, 8.0, 9.0, 10.0]), np.array([4.0, 3.0, 2.0, 1.0]), [0.5, 0.9])
        array([8., 9.])
    """
    values = values.reshape(len(values), -1)
    there = np.isfinite(values)
    each = np.broadcast_to(weight[:, None], values.shape)[there]
    edges = np.quantile(values[there], below, weights=each, method="inverted_cdf")
    return np.unique(edges[edges > values[there].min()])


def counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many values of each event are in each bin, (n, bins).

    Example:
        >>> counts(np.array([[1.0, 3.0, np.nan], [5.0, 6.0, 2.0]]), np.array([2.0, 4.0]))
        array([[1., 1., 0.],
               [0., 1., 2.]])
    """
    values = values.reshape(len(values), -1, 1)
    bins = np.searchsorted(edges, values, side="right")
    return ((bins == np.arange(len(edges) + 1)) & np.isfinite(values)).sum(axis=1).astype(float)


def chi2(
    sample: np.ndarray, weight: np.ndarray, other: np.ndarray, other_weight: np.ndarray
) -> float:
    """Chi2 of the difference of two histograms, as many degrees of freedom as bins.

    Entries of one event are correlated: where events are a Poisson process, sum w counts has the
    covariance sum w^2 counts counts^T. What the covariance of the other sample should be is taken
    from this one, which is meant to be the larger; its own would be small where it fluctuates low.

    Args:
        sample, other: `counts` of their events; weight, other_weight: (n,) of these events.

    Example:
        >>> two, one = np.array([[1.0, 0], [1, 0], [0, 1]]), np.array([[1.0, 0], [0, 1]])
        >>> chi2(two, np.full(3, 0.5), one, np.ones(2))  # 1, 0.5 with 1, 1: 0.5^2 / (0.25 + 0.5)
        0.3333333333333333
    """
    unit = np.sum(other_weight**2) / other_weight.sum()
    covariance = sample.T * (weight**2 + unit * weight) @ sample
    difference = other_weight @ other - weight @ sample
    return float(difference @ np.linalg.solve(covariance, difference))


def compared(
    sample: np.ndarray, weight: np.ndarray, other: np.ndarray, other_weight: np.ndarray
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Chi2 of values (n,) of events or (n, k) of their jets, and the bins as columns."""
    edges = inner_edges(sample, weight)
    one, two, bins = counts(sample, edges), counts(other, edges), len(edges) + 1
    value = chi2(one, weight, two, other_weight)
    found = {"chi2": value, "bins": bins, "chi2_per_bin": value / bins}
    found |= {"p_value": float(stats.chi2.sf(value, bins)), "last_above": float(edges[-1])}
    return found, {
        "low": [-np.inf, *edges.tolist()],
        "high": [*edges.tolist(), np.inf],
        "sample": (weight @ one).tolist(),
        "sample_error": np.sqrt(weight**2 @ one**2).tolist(),
        "other": (other_weight @ two).tolist(),
        "other_error": np.sqrt(other_weight**2 @ two**2).tolist(),
    }

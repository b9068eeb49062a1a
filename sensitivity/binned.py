"""Expected significance of a discovery in bins of a score that hold equal shares of the signal.

The figure of merit by which arXiv:2401.00428 chooses the epoch of a training: bins of equal signal,
in each of which the signal is counted between two values of a mass, and the significances of the
bins added in quadrature. Where the bins lie follows from training events only. Bins of little
background may lie at either end: a score and its opposite have almost the same significance.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import kl_div

from sensitivity.bootstrap import HAIR, Estimate, Scores, completed, cumulative, poisson_counts

BINS = 8  # [arXiv:2401.00428]
IN_WINDOW = 0.9  # [arXiv:2401.00428] of the signal of a bin, as much left out on either side


class Bins(NamedTuple):
    """Bins of a score.

    Attributes:
        edges: (bins - 1,) scores between bins, rising; one that is equal is in the bin above.
        windows: (bins, 2) the least and the largest mass that is counted; None: every event is.
    """

    edges: np.ndarray
    windows: np.ndarray | None = None


def equal_signal_bins(
    score: ArrayLike,
    weight: ArrayLike | None = None,
    mass: ArrayLike | None = None,
    bins: int = BINS,
) -> Bins:
    """Bins that hold equal shares of a signal, and the central window of its mass in each.

    Of equal scores all are in one bin: with few different ones, bins may be empty. No mass is in
    the window of a bin without signal.

    Args:
        score, weight, mass: (n,) of the signal; weights are 1 by default, and a mass gives windows.

    Example:
        >>> equal_signal_bins([1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 3], bins=2).edges
        array([5.])
    """
    score = np.asarray(score, float)
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, float)
    edges = _quantiles(score, weight, np.arange(1, bins) / bins)
    if mass is None:
        return Bins(edges)
    mass, bin_of = np.asarray(mass, float), np.searchsorted(edges, score, "right")
    outside = (1 - IN_WINDOW) / 2
    windows = np.full((bins, 2), np.nan)
    for i in range(bins):
        rows = bin_of == i
        if weight[rows].sum() > 0:
            ends = (_quantiles(sign * mass[rows], weight[rows], [outside]) for sign in (1, -1))
            windows[i] = np.concatenate([*ends]) * (1, -1)
    return Bins(edges, windows)


def binned_significance(
    signal: Scores,
    background: Scores,
    bins: Bins,
    masses: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    bootstraps: int = 100,
) -> Estimate:
    """Expected significance sqrt(sum of Z_i^2), Z_i^2 = 2 [(S + B) ln(1 + S / B) - S] in bin i.

    Bins without signal or background add nothing. The error is that of a bootstrap over the events
    of both classes in given bins, so it holds the statistics of a simulated background; a bin where
    few of its events are left is overestimated.

    Args:
        signal, background: whose weights are expected events; a common factor c makes the
            significance sqrt(c) times as large.
        bins: of other events.
        masses: (n,) of signal and (m,) of background, if the bins have windows.

    Example:
        >>> classes = Scores(np.array([0.2, 0.9])), Scores(np.array([0.1, 0.3, 0.4, 0.8]))
        >>> z = binned_significance(*classes, Bins(np.array([0.5])))  # 1 beside 3, and 1 beside 1
        >>> expected = np.sqrt(2 * (4 * np.log(4 / 3) + 2 * np.log(2) - 2))
        >>> f"{z.value:.4f} {expected:.4f}"
        '1.0364 1.0364'
    """
    value, *resampled = significances(signal, background, bins, masses, bootstraps=bootstraps)
    return Estimate(float(value), float(np.std(resampled, ddof=1)))


def significances(
    signal: Scores,
    background: Scores,
    bins: Bins,
    masses: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    bootstraps: int = 100,
) -> np.ndarray:
    """The value of `binned_significance`, then those of its resamplings: (1 + bootstraps,).

    Classifiers of the same events have the same resamplings, so their differences may be taken one
    by one.
    """
    classes = completed(signal, background)
    places = [np.searchsorted(bins.edges, scores.score, "right") for scores in classes]
    inside = [np.ones(len(place), bool) for place in places]
    if bins.windows is not None:
        low, high = bins.windows.T
        inside = [
            (low[place] <= mass) & (mass <= high[place])
            for place, mass in zip(places, masses, strict=True)
        ]
    n = len(bins.edges) + 1

    def significance(*counts: ArrayLike) -> float:
        s, b = (
            np.bincount(place, scores.weight * is_inside * count, n)
            for place, scores, is_inside, count in zip(places, classes, inside, counts, strict=True)
        )
        s, b = (found[(s > 0) & (b > 0)] for found in (s, b))
        return float(np.sqrt(2 * kl_div(s + b, b).sum()))

    counts = zip(*(poisson_counts(scores.event, bootstraps) for scores in classes), strict=True)
    return np.array([significance(1, 1), *(significance(*pair) for pair in counts)])


def _quantiles(values: np.ndarray, weight: np.ndarray, shares: ArrayLike) -> np.ndarray:
    """The least of the values (n,) below which at least these shares of the weight lie: (shares,).

    The largest, if there is none. They are actual values: if f rises, the quantiles of f(values)
    are f(quantiles).
    """
    values, place = np.unique(values, return_inverse=True)
    sums = cumulative(np.bincount(place, weight))
    below = np.maximum.accumulate(sums[:-1])  # some weights may be negative
    # A hair less is asked: 1 of 8 equal weights is an eighth.
    wanted = np.asarray(shares) * sums[-1] * (1 - HAIR)
    at = np.searchsorted(below, wanted)
    return values[np.minimum(at, len(values) - 1)]

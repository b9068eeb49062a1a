"""Expected significance of a discovery in bins of a score that hold equal shares of the signal.

The figure of merit by which arXiv:2401.00428 chooses the epoch of a training: bins of equal signal,
in each of which the signal is counted between two values of a mass, and the significances of the
bins added in quadrature. Where the bins lie follows from training events only. Bins of little
background may lie at either end: a score and its opposite have almost the same significance.
"""

from collections.abc import Sequence
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

    def place(self, score: np.ndarray, mass: np.ndarray | None = None) -> np.ndarray:
        """The number of the bin of each score (n,), -1 where its mass (n,) is not counted.

        >>> Bins(np.array([0.5]), np.array([[1, 2], [1, 3]])).place([0.2, 0.6], [2.5, 2.5])
        array([-1,  1])
        """
        found = np.searchsorted(self.edges, score, "right")
        if self.windows is None:
            return found
        low, high = self.windows[found].T
        return np.where((low <= mass) & (mass <= high), found, -1)


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

    Bins without signal add nothing. A bin without background counts as if it held one simulated
    event, of the mean weight sum w^2 / sum w in the nearest bin below that has any, or else above:
    without that, a classifier would lose significance by rejecting the last of them. The error is
    that of a bootstrap over the events of both classes in given bins, so it holds the statistics of
    a simulated background; a bin where few of its events are left is overestimated.

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
    classes = signal, background
    places = [
        bins.place(scores.score, mass)
        for scores, mass in zip(classes, masses or (None, None), strict=True)
    ]
    return significances_of(*classes, places, bootstraps=bootstraps)


def significances_of(
    signal: Scores,
    background: Scores,
    places: Sequence[np.ndarray],
    *,
    bootstraps: int = 100,
) -> np.ndarray:
    """The same of events whose bins, (n,) of signal and (m,) of background, are known (`place`)."""
    classes = signal, background = completed(signal, background)
    n = 1 + max(place.max() for place in places)
    least = simulated_event(places[1], background, n)

    def significance(*counts: ArrayLike) -> float:
        s, b = (
            np.bincount(place + 1, scores.weight * count, n + 1)[1:]
            for place, scores, count in zip(places, classes, counts, strict=True)
        )
        return float(np.sqrt((significance_of(s, np.maximum(b, least)) ** 2).sum()))

    counts = zip(*(poisson_counts(scores.event, bootstraps) for scores in classes), strict=True)
    return np.array([significance(1, 1), *(significance(*pair) for pair in counts)])


def simulated_event(place: np.ndarray, scores: Scores, n: int) -> np.ndarray:
    """The weight (n,) of one event in each bin, see `binned_significance`; 0 if all are empty.

    Args:
        place: the bins of the scores, which have events and weights.
    """
    _, event = np.unique(scores.event, return_inverse=True)
    parts, part = np.unique(event * (n + 1) + place + 1, return_inverse=True)  # of one event
    weight = np.bincount(part, scores.weight)
    sums, squares = (np.bincount(parts % (n + 1), weight**power, n + 1)[1:] for power in (1, 2))
    known = np.flatnonzero(sums > 0)
    if not len(known):
        return np.zeros(n)
    nearest = known[np.maximum(np.searchsorted(known, np.arange(n), "right") - 1, 0)]
    return squares[nearest] / sums[nearest]


def significance_of(signal: ArrayLike, background: ArrayLike) -> np.ndarray:
    """sqrt(2 [(S + B) ln(1 + S / B) - S]) of expected events; 0 where either is not above 0.

    >>> significance_of([10, 10], [100, 0])
    array([0.98399164, 0.        ])
    """
    s, b = np.broadcast_arrays(np.asarray(signal, float), np.asarray(background, float))
    seen = (s > 0) & (b > 0)
    s, b = np.where(seen, s, 0.0), np.where(seen, b, 1.0)
    return np.sqrt(2 * np.maximum(kl_div(s + b, b), 0))


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

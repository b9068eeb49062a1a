"""Factors of event weights that give the background the signal's spectrum of one quantity."""

import numpy as np
from numpy.typing import ArrayLike

from sensitivity.bootstrap import Scores, Values, completed, effective_count, is_fewer

BINS = 20
BACKGROUND_MIN = 25  # effective, in a bin: of equal weights none stands for more than 4 % of it


def spectrum_weights(
    signal: Values, background: Values, bins: int = BINS, background_min: float = BACKGROUND_MIN
) -> np.ndarray:
    """Factors (m,) of background weights with which their histogram is that of the signal.

    The bins hold equal numbers of signal values, so that without weights each has the same
    statistical error; values beyond the signal's range count in the outermost bins. A bin with too
    little background is joined with its neighbour, as is one whose signal weights sum to less than
    0: so no factor is negative.

    The factors leave the sum of the background's weights as it is.

    Args:
        signal, background: (n,) and (m,) values of the quantity in place of scores.
        bins: at most.
        background_min: effective number of background values in a bin, at least (unless there are
            fewer in all).

    Example:
        >>> spectrum_weights(np.arange(1.0, 5.0), [1.0, 1.5, 2.0, 3.5], 2, background_min=1)
        array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    signal, background = completed(signal, background)

    def histogram(of: Scores, edges: ArrayLike, power: int = 1) -> np.ndarray:
        return np.bincount(np.searchsorted(edges, of.score), of.weight**power, len(edges) + 1)

    edges = np.unique(np.quantile(signal.score, np.linspace(0, 1, bins + 1)[1:-1]))
    kinds = ((signal, 1), (background, 1), (background, 2))
    contents = np.transpose([histogram(of, edges, power) for of, power in kinds])
    # An edge stays where there is enough above it, and below it back to the last one.
    above = contents[::-1].cumsum(axis=0)[::-1]
    kept, since = [], np.zeros(3)
    for edge, here, rest in zip(edges, contents[:-1], above[1:], strict=True):
        since += here
        of_signal, sums, squares = np.transpose([since, rest])
        too_few = is_fewer(effective_count(sums, squares), background_min).any()
        if of_signal.min() >= 0 and not too_few:
            kept.append(edge)
            since = np.zeros(3)
    wanted, found = (histogram(of, kept) for of in (signal, background))
    ratio = wanted * (background.weight.sum() / signal.weight.sum()) / found
    return ratio[np.searchsorted(kept, background.score)]

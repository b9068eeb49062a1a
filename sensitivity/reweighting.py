"""Factors of event weights that give the background the signal's spectrum of some quantities."""

import numpy as np

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
    0: so no factor is negative. Of several quantities the joint spectrum becomes the signal's: each
    bin of the first has bins of the second, and so on.

    The factors leave the sum of the background's weights as it is.

    Args:
        signal, background: (n,) and (m,) values of the quantity in place of scores; of d
            quantities (d, n) and (d, m).
        bins: of each quantity, at most.
        background_min: effective number of background values in a bin, at least (unless there are
            fewer in all).

    Example:
        >>> spectrum_weights(np.arange(1.0, 5.0), [1.0, 1.5, 2.0, 3.5], 2, background_min=1)
        array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    classes = completed(signal, background)
    values = [np.atleast_2d(one.score) for one in classes]
    first = [value[0] for value in values]
    edges = _edges(*first, *(one.weight for one in classes), bins, background_min)
    places = [np.searchsorted(edges, value) for value in first]
    sums = [
        np.bincount(place, one.weight, len(edges) + 1)
        for place, one in zip(places, classes, strict=True)
    ]
    of_signal, of_background = (one.weight.sum() for one in classes)
    factor = (sums[0] * (of_background / of_signal) / sums[1])[places[1]]
    if len(values[0]) > 1:
        for place in np.flatnonzero(sums[0] > 0):
            rows = [some == place for some in places]
            inside = (
                Scores(value[1:, some], weight=one.weight[some])
                for value, some, one in zip(values, rows, classes, strict=True)
            )
            factor[rows[1]] *= spectrum_weights(*inside, bins, background_min)
    return factor


def _edges(
    signal: np.ndarray,
    background: np.ndarray,
    signal_weight: np.ndarray,
    background_weight: np.ndarray,
    bins: int,
    background_min: float,
) -> np.ndarray:
    """The inner edges of the bins of one quantity."""
    edges = np.unique(np.quantile(signal, np.linspace(0, 1, bins + 1)[1:-1]))
    above, beyond = (np.searchsorted(edges, of) for of in (signal, background))
    kinds = ((above, signal_weight), (beyond, background_weight), (beyond, background_weight**2))
    contents = np.transpose([np.bincount(*kind, len(edges) + 1) for kind in kinds])
    # An edge stays where there is enough above it, and below it back to the last one.
    rests = contents[::-1].cumsum(axis=0)[::-1]
    kept, since = [], np.zeros(3)
    for edge, here, rest in zip(edges, contents[:-1], rests[1:], strict=True):
        since += here
        of_signal, sums, squares = np.transpose([since, rest])
        too_few = is_fewer(effective_count(sums, squares), background_min).any()
        if of_signal.min() >= 0 and not too_few:
            kept.append(edge)
            since = np.zeros(3)
    return np.array(kept)

"""Factors of event weights that give the background the signal's spectrum of some quantities."""

from collections.abc import Sequence

import numpy as np

from sensitivity.bootstrap import Scores, Values, completed, effective_count, is_fewer

# Bins at most, and the effective number of background values in a bin at least: of one quantity,
# and of each of several, whose common bins would be too few with 25. Then each quantity by itself
# is made equal again, in turn: bins of several are too wide for that.
OF_ONE, OF_SEVERAL, TURNS = (20, 25.0), (12, 10.0), 3


def spectrum_weights(
    signal: Values,
    background: Values,
    bins: int | None = None,
    background_min: float | None = None,
) -> np.ndarray:
    """Factors (m,) of background weights with which their histogram is that of the signal.

    The bins hold equal numbers of signal values, so that without weights each has the same
    statistical error; values beyond the signal's range count in the outermost bins. A bin with too
    little background is joined with its neighbour, as is one whose signal weights sum to less than
    0: so no factor is negative. Of several quantities the joint spectrum becomes the signal's: each
    bin of the first has bins of the second, and so on; then the spectrum of each by itself.

    The factors leave the sum of the background's weights as it is.

    Args:
        signal, background: (n,) and (m,) values of the quantity in place of scores; of d
            quantities (d, n) and (d, m).
        bins: of each quantity, at most (default: `OF_ONE`, `OF_SEVERAL`).
        background_min: effective number of background values in a bin, at least (unless there are
            fewer in all; default: as for `bins`).

    Example:
        >>> spectrum_weights(np.arange(1.0, 5.0), [1.0, 1.5, 2.0, 3.5], 2, background_min=1)
        array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    classes = completed(signal, background)
    values = [np.atleast_2d(one.score) for one in classes]
    weights = [one.weight for one in classes]
    if len(values[0]) == 1:
        return _joint(values, weights, bins or OF_ONE[0], background_min or OF_ONE[1])
    factor = _joint(values, weights, bins or OF_SEVERAL[0], background_min or OF_SEVERAL[1])
    for _ in range(TURNS):
        for quantity in zip(*values, strict=True):
            weighted = Scores(quantity[1], weight=weights[1] * factor)
            factor *= spectrum_weights(Scores(quantity[0], weight=weights[0]), weighted)
    return factor


def _joint(
    values: Sequence[np.ndarray], weights: Sequence[np.ndarray], bins: int, background_min: float
) -> np.ndarray:
    """The factors by bins of the first quantity, each with bins of the second, and so on.

    Args:
        values: (d, n) of signal and (d, m) of background.
        weights: (n,) and (m,).
    """
    first = [value[0] for value in values]
    edges = _edges(*first, *weights, bins, background_min)
    places = [np.searchsorted(edges, value) for value in first]
    sums = [
        np.bincount(place, weight, len(edges) + 1)
        for place, weight in zip(places, weights, strict=True)
    ]
    of_signal, of_background = (weight.sum() for weight in weights)
    factor = (sums[0] * (of_background / of_signal) / sums[1])[places[1]]
    if len(values[0]) > 1:
        for place in np.flatnonzero(sums[0] > 0):
            rows = [some == place for some in places]
            inside = [value[1:, some] for value, some in zip(values, rows, strict=True)]
            known = [weight[some] for weight, some in zip(weights, rows, strict=True)]
            factor[rows[1]] *= _joint(inside, known, bins, background_min)
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

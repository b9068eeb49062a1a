"""Weights that give the background the signal's spectrum of one quantity."""

import numpy as np

BINS = 20
BACKGROUND_MIN = 25  # in a bin: no single background value stands for more than 4 % of it


def spectrum_weights(
    signal: np.ndarray,
    background: np.ndarray,
    bins: int = BINS,
    background_min: int = BACKGROUND_MIN,
) -> np.ndarray:
    """Weights (m,) of background values with which their histogram is that of the signal.

    The bins hold equal numbers of signal values, so each has the same statistical error; values
    beyond the signal's range count in the outermost bins. A bin with too little background is
    joined with its neighbour.

    Args:
        signal: (n,) values.
        background: (m,) values of the same quantity.
        bins: at most.
        background_min: background values in a bin, at least (unless there are fewer in all).

    Returns:
        Weights with the mean 1.

    >>> spectrum_weights(np.arange(1.0, 5.0), np.array([1.0, 1.5, 2.0, 3.5]), 2, background_min=1)
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    edges = np.unique(np.quantile(signal, np.linspace(0, 1, bins + 1)[1:-1]))
    counts = np.bincount(np.searchsorted(edges, background), minlength=len(edges) + 1)
    # An edge stays where there is enough background above it, and below it back to the last one.
    above = len(background) - np.cumsum(counts)
    kept, since = [], 0
    for edge, here, rest in zip(edges, counts[:-1], above[:-1], strict=True):
        since += here
        if min(since, rest) >= background_min:
            kept.append(edge)
            since = 0
    wanted, found = (
        np.bincount(np.searchsorted(kept, values), minlength=len(kept) + 1)
        for values in (signal, background)
    )
    ratio = wanted * (len(background) / len(signal)) / found
    return ratio[np.searchsorted(kept, background)]

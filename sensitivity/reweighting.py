"""Weights that give the background the signal's spectrum of one quantity."""

import numpy as np

BINS = 20


def spectrum_weights(signal: np.ndarray, background: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Weights (m,) of background values with which their histogram is that of the signal.

    The bins hold equal numbers of signal values, so each has the same statistical error; values
    beyond the signal's range count in the outermost bins. A bin without background is joined with
    the one below it (at the lower end, above it).

    Args:
        signal: (n,) values.
        background: (m,) values of the same quantity.
        bins: at most.

    Returns:
        Weights with the mean 1.

    >>> spectrum_weights(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 1.5, 2.0, 3.5]), bins=2)
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    edges = np.unique(np.quantile(signal, np.linspace(0, 1, bins + 1)[1:-1]))
    counts = np.bincount(np.searchsorted(edges, background), minlength=len(edges) + 1)
    # An edge stays where there is background on both of its sides, back to the last one that did.
    kept, since = [], 0
    for edge, below in zip(edges, counts[:-1], strict=True):
        since += below
        if since and counts[np.searchsorted(edges, edge) + 1 :].any():
            kept.append(edge)
            since = 0
    wanted, found = (
        np.bincount(np.searchsorted(kept, values), minlength=len(kept) + 1)
        for values in (signal, background)
    )
    ratio = wanted * (len(background) / len(signal)) / found
    return ratio[np.searchsorted(kept, background)]

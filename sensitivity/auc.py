"""Area under the ROC curve, and differences of it between classifiers of the same jets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sensitivity.bootstrap import Estimate, Values, completed, cumulative, poisson_counts


@dataclass(frozen=True)
class CorrelatedAUCs:
    """AUCs of several classifiers on the same events.

    Attributes:
        value: (classifiers,) AUCs.
        covariance: (classifiers, classifiers) of the values, from the bootstrap; NaN where fewer
            than two resamplings hold both classes.
    """

    value: np.ndarray
    covariance: np.ndarray

    def __getitem__(self, i: int) -> Estimate:
        return Estimate(float(self.value[i]), float(np.sqrt(self.covariance[i, i])))

    def difference(self, i: int, j: int) -> Estimate:
        """The AUC of classifier i minus that of classifier j."""
        return self.difference_of_means([i], [j])

    def difference_of_means(
        self, some: Sequence[int], others: Sequence[int], paired: bool = False
    ) -> Estimate:
        """Mean AUC of some trainings of a network minus that of others, of the same events.

        The error holds the events that all share and the spread of either's trainings; or, if each
        training is paired with one of the others, as by the jets that both learn from, the spread
        of the differences.

        Example:
            >>> aucs = CorrelatedAUCs(np.array([0.92, 0.9, 0.8]), np.full((3, 3), 4e-6))
            >>> found = aucs.difference_of_means([0, 1], [2])
            >>> round(found.value, 4), round(found.error, 4)  # of two trainings 0.02 apart
            (0.11, 0.01)
        """
        sign, value = np.zeros(len(self.value)), self.value
        for rows, factor in ((some, 1.0), (others, -1.0)):
            sign[rows] += factor / len(rows)
        spreads = [value[some] - value[others]] if paired else [value[some], value[others]]
        of_trainings = sum(one.var(ddof=1) / len(one) for one in spreads if len(one) > 1)
        # Rounding may leave a classifier minus itself a hair below zero.
        variance = max(float(sign @ self.covariance @ sign), 0.0) + of_trainings
        return Estimate(float(sign @ self.value), float(variance**0.5))


def auc(signal: Values, background: Values, *, bootstraps: int = 100) -> Estimate:
    """Probability that a signal score (n,) is above a background score (m,), ties counting half.

    A pair of scores counts with the product of its weights.

    Example:
        >>> auc([0.9, 0.6, 0.5], [0.5, 0.1]).value
        0.9166666666666666
    """
    return correlated_aucs(signal, background, bootstraps=bootstraps)[0]


def correlated_aucs(signal: Values, background: Values, *, bootstraps: int = 100) -> CorrelatedAUCs:
    """AUCs of several classifiers with their covariance, by a paired bootstrap.

    Args:
        signal, background: (classifiers, n) and (classifiers, m) scores of the same jets or events.
        bootstraps: resamplings of whole events, the same ones for all classifiers.

    Example:
        >>> aucs = correlated_aucs([[3.0, 2.0], [0.0, 3.0]], [[1.0, 0.0], [1.0, 2.0]])
        >>> aucs.value, aucs.difference(0, 1).value
        (array([1. , 0.5]), 0.5)
    """
    classes = signal, background = completed(signal, background)
    of_classifiers = zip(*(np.atleast_2d(scores.score) for scores in classes), strict=True)
    areas = [_area(*scores) for scores in of_classifiers]
    value = np.array([area(signal.weight, background.weight) for area in areas])
    counts = zip(*(poisson_counts(scores.event, bootstraps) for scores in classes), strict=True)
    resampled = np.array(
        [[area(n * signal.weight, m * background.weight) for area in areas] for n, m in counts]
    )
    # A resampling in which a class has no weight, or a negative one, has no AUC.
    resampled = resampled[np.isfinite(resampled).all(axis=1)]
    if len(resampled) < 2:
        return CorrelatedAUCs(value, np.full((len(value), len(value)), np.nan))
    return CorrelatedAUCs(value, np.atleast_2d(np.cov(resampled, rowvar=False)))


def _area(
    signal: np.ndarray, background: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], np.float64]:
    """The AUC, or NaN, as a function of the weights: the scores are sorted only once."""
    signal_order, background_order = np.argsort(signal), np.argsort(background)
    signal, background = signal[signal_order], background[background_order]
    below, not_above = (np.searchsorted(background, signal, side) for side in ("left", "right"))

    def area(signal_weight: np.ndarray, background_weight: np.ndarray) -> np.float64:
        sums, weight = cumulative(background_weight[background_order]), signal_weight[signal_order]
        total = weight.sum(), sums[-1]
        beaten = weight @ (sums[below] + sums[not_above])
        return beaten / (2.0 * total[0] * total[1]) if min(total) > 0 else np.nan

    return area

"""Area under the ROC curve, and differences of it between classifiers of the same jets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sensitivity.bootstrap import Estimate, Scores, completed, cumulative, poisson_counts


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
        """The AUC of classifier i."""
        return Estimate(float(self.value[i]), float(np.sqrt(self.covariance[i, i])))

    def difference(self, i: int, j: int) -> Estimate:
        """The AUC of classifier i minus that of classifier j; the error knows of the shared events.

        Example:
            >>> aucs = CorrelatedAUCs(np.array([0.9, 0.8]), np.array([[4.0, 3.0], [3.0, 4.0]]))
            >>> round(aucs.difference(0, 1).error ** 2, 6)
            2.0
        """
        return self.difference_of_means([i], [j])

    def difference_of_means(self, some: Sequence[int], others: Sequence[int]) -> Estimate:
        """Mean AUC of some trainings of a network minus that of others, of the same events.

        The error holds the events that all share and the spread of either's trainings.

        Example:
            >>> aucs = CorrelatedAUCs(np.array([0.92, 0.9, 0.8]), np.full((3, 3), 4e-6))
            >>> found = aucs.difference_of_means([0, 1], [2])
            >>> round(found.value, 4), round(found.error, 4)  # of two trainings 0.02 apart
            (0.11, 0.01)
        """
        sign, of_trainings = np.zeros(len(self.value)), 0.0
        for rows, factor in ((some, 1.0), (others, -1.0)):
            sign[rows] += factor / len(rows)
            if len(rows) > 1:
                of_trainings += self.value[rows].var(ddof=1) / len(rows)
        # Rounding may leave a classifier minus itself a hair below zero.
        variance = max(float(sign @ self.covariance @ sign), 0.0) + of_trainings
        return Estimate(float(sign @ self.value), float(variance**0.5))


def auc(
    signal: ArrayLike | Scores,
    background: ArrayLike | Scores,
    *,
    bootstraps: int = 100,
    seed: int = 0,
) -> Estimate:
    """Probability that a signal score is above a background score, ties counting half.

    A pair of scores counts with the product of its weights.

    Args:
        signal, background: (n,) and (m,) scores.
        bootstraps, seed: resamplings of whole events behind the standard error.

    Example:
        >>> auc([0.9, 0.6, 0.5], [0.5, 0.1]).value
        0.9166666666666666
    """
    signal, background = (
        Scores(np.atleast_2d(scores.score), scores.event, scores.weight)
        for scores in completed(signal, background)
    )
    return correlated_aucs(signal, background, bootstraps=bootstraps, seed=seed)[0]


def correlated_aucs(
    signal: ArrayLike | Scores,
    background: ArrayLike | Scores,
    *,
    bootstraps: int = 100,
    seed: int = 0,
) -> CorrelatedAUCs:
    """AUCs of several classifiers with their covariance, by a paired bootstrap.

    Args:
        signal, background: (classifiers, n) and (classifiers, m) scores of the same jets or events.
        bootstraps, seed: resamplings of whole events, the same ones for all classifiers.

    Example:
        >>> aucs = correlated_aucs([[3.0, 2.0], [0.0, 3.0]], [[1.0, 0.0], [1.0, 2.0]])
        >>> aucs.value, aucs.difference(0, 1).value
        (array([1. , 0.5]), 0.5)
    """
    signal, background = completed(signal, background)
    rankings = [_Ranking(*scores) for scores in zip(signal.score, background.score, strict=True)]
    value = np.array([ranking.auc(signal.weight, background.weight) for ranking in rankings])
    resamplings = zip(
        poisson_counts(signal.event, bootstraps, seed),
        poisson_counts(background.event, bootstraps, seed),
        strict=True,
    )
    resampled = np.array(
        [
            [ranking.auc(n * signal.weight, m * background.weight) for ranking in rankings]
            for n, m in resamplings
        ]
    )
    # A resampling in which a class has no weight, or a negative one, has no AUC.
    resampled = resampled[np.isfinite(resampled).all(axis=1)]
    if len(resampled) < 2:
        return CorrelatedAUCs(value, np.full((len(value), len(value)), np.nan))
    return CorrelatedAUCs(value, np.atleast_2d(np.cov(resampled, rowvar=False)))


class _Ranking:
    """Where signal scores lie among the sorted background scores: sorted once, then reweighted."""

    def __init__(self, signal: np.ndarray, background: np.ndarray) -> None:
        self.signal_order = np.argsort(signal)
        self.background_order = np.argsort(background)
        signal, background = signal[self.signal_order], background[self.background_order]
        self.below = np.searchsorted(background, signal, side="left")
        self.not_above = np.searchsorted(background, signal, side="right")

    def auc(self, signal_weight: np.ndarray, background_weight: np.ndarray) -> float:
        """The AUC with these weights of the signal (n,) and background (m,) scores, or NaN."""
        background = cumulative(background_weight[self.background_order])
        weight = signal_weight[self.signal_order]
        beaten = weight @ (background[self.below] + background[self.not_above])
        total = weight.sum(), background[-1]
        return beaten / (2.0 * total[0] * total[1]) if min(total) > 0 else np.nan

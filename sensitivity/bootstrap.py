"""Scores of one class, and the bootstrap over the events that they come from."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.6827  # of every central interval: one standard deviation of a Gaussian

HAIR = 1e-12  # relative: sums of weights that differ by less do so by their rounding

# Poisson(1) as a function of 16 uniform bits; its mean and variance are 1 to better than 1e-4.
_POISSON = stats.poisson.ppf((np.arange(2**16) + 0.5) / 2**16, 1.0).astype(np.uint8)


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error."""

    value: float
    error: float

    @property
    def deviations(self) -> float:
        """Standard errors from 0; infinite where every resampling gives the same."""
        if self.error == 0:
            return math.copysign(math.inf, self.value) if self.value else 0.0
        return self.value / self.error


def mean_of_seeds(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of one classifier trained from several seeds and tested on the same events.

    The error holds the test events, whose fluctuation all seeds share, and the seeds' spread.

    Example:
        >>> mean = mean_of_seeds([Estimate(0.90, 0.003), Estimate(0.908, 0.003)])
        >>> round(mean.value, 4), round(mean.error, 4)  # 0.003 and 0.004
        (0.904, 0.005)
    """
    values = np.array([one.value for one in estimates])
    of_seeds = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    of_events = np.mean([one.error for one in estimates])
    return Estimate(float(values.mean()), float(np.hypot(of_events, of_seeds)))


@dataclass(frozen=True)
class Scores:
    """Scores of jets or events of one class; a larger score is more like signal.

    Attributes:
        score: (n,), or (classifiers, n) where several classifiers are compared on the same jets.
        event: (n,) numbers of the events of signal and background together; jets of one event are
            resampled together. None: every score is an event of its own.
        weight: (n,), some may be negative; only their ratios matter. None: 1.
        counted: (n,) weights by which `max_sic` and `cut_at` count the background that passes, if
            `weight` holds factors of another spectrum too (see `reweighting`). None: `weight`.

    Raises:
        ValueError: a score that is not finite, none at all, weights whose sum is not positive.
    """

    score: np.ndarray
    event: np.ndarray | None = None
    weight: np.ndarray | None = None
    counted: np.ndarray | None = None

    def __post_init__(self) -> None:
        score = np.asarray(self.score)
        if not score.size or not np.isfinite(score).all():
            raise ValueError("scores must be finite, and at least one")
        for name in ("event", "weight", "counted"):
            array = getattr(self, name)
            if array is not None and np.shape(array) != score.shape[-1:]:
                raise ValueError(f"{name} has shape {np.shape(array)}, scores {score.shape}")
        if self.weight is not None and not 0 < (total := np.sum(self.weight)) < np.inf:
            raise ValueError(f"the weights of a class sum to {total:g}; expected more than 0")


Values = ArrayLike | Scores


def completed(signal: Values, background: Values) -> tuple[Scores, Scores]:
    """Both classes with their events and weights filled in.

    Example:
        >>> signal, background = completed([0.9, 0.8], [0.1])
        >>> signal.event, background.event, background.weight
        (array([-1, -2]), array([0]), array([1.]))
    """
    pair = [given if isinstance(given, Scores) else Scores(given) for given in (signal, background)]
    if (pair[0].event is None) != (pair[1].event is None):
        raise ValueError("give the events of both classes or of neither")
    for i, scores in enumerate(pair):
        score = np.asarray(scores.score)
        # Signal counts down from -1 and background up from 0: no event has a number twice, and
        # the numbers of one class do not depend on the size of the other.
        number = np.arange(score.shape[-1])
        event = (-1 - number, number)[i] if scores.event is None else scores.event
        weight = np.ones(len(number)) if scores.weight is None else np.asarray(scores.weight, float)
        counted = weight if scores.counted is None else np.asarray(scores.counted, float)
        pair[i] = Scores(score, np.asarray(event, np.int64), weight, counted)
    return tuple(pair)


def effective_count(sums: ArrayLike, squares: ArrayLike) -> np.ndarray:
    """(sum w)^2 / sum w^2: as many events without weights have the same relative error.

    It is 0 where the weights do not sum to more than 0.

    Example:
        >>> effective_count([8.0, -1.0], [22.0, 3.0]).round(2)  # weights 3, 3, 2 and 1, -1, -1
        array([2.91, 0.  ])
    """
    squares = np.where(np.greater(squares, 0), squares, 1.0)
    return np.maximum(sums, 0.0) ** 2 / squares


def is_fewer(effective: ArrayLike, number: float) -> np.ndarray:
    """Whether effective numbers are below a number; that of ten equal weights is not below 10."""
    return np.less(effective, number * (1.0 - HAIR))


def printed_count(effective: float) -> int:
    """An effective number as it is printed: rounded down, because 9.6 are fewer than 10."""
    return int(effective * (1.0 + HAIR))


def poisson_counts(event: np.ndarray, bootstraps: int, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each event enters each resampling: independent Poisson counts of mean 1.

    The count of an event depends on nothing but its number, the resampling and the seed (it is
    made of element `event` of a SplitMix64 stream; Steele, Lea and Flood 2014). So all jets of an
    event get the same count, as does the event in another sample or scored by another classifier:
    differences may be taken resampling by resampling.

    Yields:
        (n,) counts, uint8, of the events (n,) int64, once per resampling.

    Example:
        >>> [counts.tolist() for counts in poisson_counts(np.array([3, 3, 5]), 3, seed=0)]
        [[0, 0, 1], [1, 1, 0], [0, 0, 0]]
    """
    streams = -(-bootstraps // 4)
    position = event.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    starts = np.random.default_rng(seed).integers(2**64, size=streams, dtype=np.uint64)
    for stream, start in enumerate(starts):
        bits = position + start
        bits ^= bits >> np.uint64(30)
        bits *= np.uint64(0xBF58476D1CE4E5B9)
        bits ^= bits >> np.uint64(27)
        bits *= np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
        # 64 random bits serve four resamplings.
        for quarter in bits.view(np.uint16).reshape(-1, 4).T[: bootstraps - 4 * stream]:
            yield _POISSON.take(quarter)


def cumulative(weight: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... n weights: (n + 1,)."""
    return np.concatenate([[0.0], np.cumsum(weight, dtype=float)])

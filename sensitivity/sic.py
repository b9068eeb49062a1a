"""Significance improvement: SIC = eps_S / sqrt(eps_B) of cuts on a classifier's score.

eps_S and eps_B are the shares of signal and background at or above the cut. A cut is always an
actual threshold: equal scores pass or fail together, and "at signal efficiency e" means the
tightest cut that keeps at least e of the signal. Uncertainties are central intervals of 68.27 %
from a bootstrap over events; where fewer than 25 background scores pass, they are widened to those
of the Clopper-Pearson interval of eps_B, for a bootstrap of few events is too narrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sensitivity.bootstrap import (
    CONFIDENCE,
    Estimate,
    Scores,
    completed,
    cumulative,
    poisson_counts,
)

SIGNAL_EFFICIENCIES = np.linspace(0.01, 1.0, 100)
FEW = 25  # background scores, below which Clopper-Pearson is asked
LIMIT_CONFIDENCE = 0.95  # of one-sided limits: the convention of searches


@dataclass(frozen=True)
class SICCurve:
    """SIC against signal efficiency, all (points,); NaN where too little background passes.

    The efficiencies are those of the cuts: where scores are equal, more than was asked for, and
    several points may be of one cut.
    """

    signal_efficiency: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    background_count: np.ndarray


@dataclass(frozen=True)
class SICPoint:
    """SIC at a working point; a lower limit has `value` = `low` = the limit, `high` = inf.

    Attributes:
        background_count: background scores that pass; of weighted ones the number with the same
            relative error.
        signal_efficiency: of the cut, at least that of the working point.
        resampled: (bootstraps,) the SIC of each resampling, for differences between classifiers of
            the same events; infinite where no background passes.
    """

    value: float
    low: float
    high: float
    background_count: int
    is_lower_limit: bool
    signal_efficiency: float
    resampled: np.ndarray


@dataclass(frozen=True)
class MaximumSIC(Estimate):
    """The largest SIC of all cuts, with its standard error.

    Attributes:
        signal_efficiency: of that cut.
        background_count: background scores that pass it, unweighted.
        resampled: (bootstraps,) the largest SIC of each resampling, -inf where there is no cut.
    """

    signal_efficiency: float
    background_count: int
    resampled: np.ndarray


def ratio_of_means(
    better: Sequence[MaximumSIC | SICPoint], worse: Sequence[MaximumSIC | SICPoint]
) -> Estimate:
    """Ratio of two classifiers, each trained from several seeds and tested on the same events.

    The error holds the test events, by the bootstrap that all share, and where there are several
    seeds their spread.

    Example:
        >>> a, b = ([MaximumSIC(v, 1, 0.3, 9, np.array([v, 2 * v]))] for v in (6.0, 3.0))
        >>> ratio_of_means(a, b)
        Estimate(value=2.0, error=0.0)
    """
    of_events = []
    for some in (better, worse):
        of_events.append(np.mean([one.resampled for one in some], axis=0))
    there = np.isfinite(of_events[0]) & np.isfinite(of_events[1]) & (of_events[1] > 0)
    values = [np.array([one.value for one in some]) for some in (better, worse)]
    ratio = float(values[0].mean() / values[1].mean())
    of_seeds = [v.var(ddof=1) / len(v) / v.mean() ** 2 if len(v) > 1 else 0.0 for v in values]
    spread = _spread(of_events[0][there] / of_events[1][there])
    return Estimate(ratio, float(np.hypot(spread, ratio * sum(of_seeds) ** 0.5)))


def _spread(values: np.ndarray) -> float:
    """Standard deviation; infinite of fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.inf


@dataclass(frozen=True)
class Cut:
    """A cut and what passes it.

    Attributes:
        threshold: scores at or above it pass.
        signal_efficiency, background_efficiency: shares that pass.
        background_count: background scores that pass, unweighted.
        is_loosened: the cut is looser than the working point, to keep enough background.
        resampled_signal_efficiency, resampled_background_efficiency: (bootstraps,) of this cut.
    """

    threshold: float
    signal_efficiency: float
    background_efficiency: float
    background_count: int
    is_loosened: bool
    resampled_signal_efficiency: np.ndarray
    resampled_background_efficiency: np.ndarray


def clopper_pearson(
    k: ArrayLike, n: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Central confidence interval of a binomial probability (Clopper and Pearson 1934).

    Args:
        k: successes; fractional effective counts of weighted events are allowed.
        n: trials, same shape.
        confidence: of the interval; its upper end alone is a one-sided bound at
            (1 + confidence) / 2.

    Returns:
        Lower and upper ends, shaped like k.

    Example:
        >>> low, high = clopper_pearson(0, 10, 0.90)  # no success in 10: p < 0.26 at 95 %
        >>> float(low), round(float(high), 4)
        (0.0, 0.2589)
    """
    k, n = np.broadcast_arrays(np.asarray(k, float), np.asarray(n, float))
    tail = (1.0 - confidence) / 2.0
    # The ends of the range are exact, and the beta distribution is not defined there.
    low = stats.beta.ppf(tail, np.where(k > 0, k, 1.0), n - k + 1.0)
    high = stats.beta.isf(tail, k + 1.0, np.where(k < n, n - k, 1.0))
    return np.where(k > 0, low, 0.0), np.where(k < n, high, 1.0)


def sic_curve(
    signal: ArrayLike | Scores,
    background: ArrayLike | Scores,
    signal_efficiency: np.ndarray = SIGNAL_EFFICIENCIES,
    *,
    background_min: int = 10,
    bootstraps: int = 100,
    seed: int = 0,
) -> SICCurve:
    """SIC of the cuts that keep a grid of signal efficiencies, with its band.

    Args:
        signal, background: (n,) and (m,) scores.
        signal_efficiency: (points,) grid, in (0, 1].
        background_min: the curve stops (NaN) where fewer background scores than this pass.
        bootstraps, seed: resamplings of whole events, each with its own cuts.

    Example:
        >>> curve = sic_curve([3, 4, 5, 6], [0, 1, 2, 3], np.array([0.5, 1.0]), background_min=1)
        >>> curve.value, curve.background_count
        (array([nan,  2.]), array([0, 1]))
    """
    scan = _Scan(*completed(signal, background), signal_efficiency, bootstraps, seed)
    stops = scan.background_count < background_min
    low, high = scan.interval()
    value, low, high = (np.where(stops, np.nan, sic) for sic in (scan.sic, low, high))
    return SICCurve(scan.signal_efficiency, value, low, high, scan.background_count)


def sic_at(
    signal: ArrayLike | Scores,
    background: ArrayLike | Scores,
    signal_efficiency: float,
    *,
    background_min: int = 10,
    bootstraps: int = 100,
    seed: int = 0,
) -> SICPoint:
    """SIC at a working point, or a lower limit on it where little background passes.

    The limit holds at 95 %, one-sided: the Clopper-Pearson upper bound on eps_B at the confidence
    that searches quote for limits, for a reader takes an arrow for that and not for one sigma.

    Args:
        signal, background: (n,) and (m,) scores.
        signal_efficiency: of the working point, in (0, 1].
        background_min: below this many background scores the result is a lower limit.
        bootstraps, seed: resamplings of whole events, each with its own cut.

    Example:
        >>> point = sic_at(np.arange(100.0, 200.0), np.arange(100.0), 0.3)
        >>> point.is_lower_limit, point.background_count, round(point.value, 3)
        (True, 0, 1.746)
    """
    scan = _Scan(*completed(signal, background), np.array([signal_efficiency]), bootstraps, seed)
    count, kept = int(scan.background_count[0]), float(scan.signal_efficiency[0])
    if count < background_min:
        _, bound = scan.background_interval(2.0 * LIMIT_CONFIDENCE - 1.0)
        limit = float((scan.signal_efficiency / np.sqrt(bound))[0])
        return SICPoint(limit, limit, np.inf, count, True, kept, scan.resampled_sic[:, 0])
    low, high = scan.interval()
    sic = float(scan.sic[0])
    ends = float(low[0]), float(high[0])
    return SICPoint(sic, *ends, count, False, kept, scan.resampled_sic[:, 0])


def max_sic(
    signal: ArrayLike | Scores,
    background: ArrayLike | Scores,
    *,
    signal_efficiency_min: float = 0.1,
    background_min: int = 10,
    bootstraps: int = 100,
    seed: int = 0,
) -> MaximumSIC:
    """Largest SIC of all cuts that keep enough signal and background; NaN if there is none.

    The error is the standard deviation over resamplings that each choose their own best cut. The
    maximum of a fluctuating curve lies above that of the true one, by up to about one error.

    Args:
        signal, background: (n,) and (m,) scores.
        signal_efficiency_min: lowest signal efficiency of a cut.
        background_min: lowest number of background scores that pass a cut, unweighted.
        bootstraps, seed: resamplings of whole events.

    Example:
        >>> background = np.arange(100.0)
        >>> round(max_sic(background + 50.0, background).value, 4)  # 0.6 / sqrt(0.1)
        1.8974
    """
    cuts = _Cuts(*completed(signal, background))

    def best(sums: _Sums) -> tuple[float, int]:
        tightest = max(
            cuts.keeping_signal(signal_efficiency_min, sums),
            cuts.keeping_background(background_min, sums),
        )
        if tightest == len(cuts.threshold):
            return -np.inf, -1
        # Between two signal scores a looser cut only adds background.
        looser = cuts.at_signal[np.searchsorted(cuts.at_signal, tightest) :]
        at = np.append(tightest, looser)
        sic = cuts.sic(at, sums)
        return np.max(sic), at[np.argmax(sic)]

    sums = cuts.sums()
    value, at = best(sums)
    resampled = np.array([best(sums)[0] for sums in cuts.resampled(bootstraps, seed)])
    if value == -np.inf:
        return MaximumSIC(np.nan, np.nan, np.nan, 0, np.full_like(resampled, -np.inf))
    return MaximumSIC(
        float(value),
        _spread(resampled[np.isfinite(resampled)]),
        float(cuts.signal_efficiency(at, sums)),
        int(cuts.background_above[at]),
        resampled,
    )


def cut_at(
    signal: ArrayLike | Scores,
    background: ArrayLike | Scores,
    signal_efficiency: float,
    *,
    background_min: int = 10,
    bootstraps: int = 100,
    seed: int = 0,
) -> Cut:
    """The cut of the working point, or the tightest that keeps enough background if that is looser.

    Unlike in a SIC curve, the resamplings keep the cut: an analysis fixes it once. With the same
    event numbers and seed, the background is resampled alike for every signal and classifier.

    Args:
        signal, background: (n,) and (m,) scores.
        signal_efficiency: of the working point, in (0, 1].
        background_min: background scores that must pass, unweighted.
        bootstraps, seed: resamplings of whole events.

    Raises:
        ValueError: fewer than `background_min` background scores in all.

    Example:
        >>> cut = cut_at(np.arange(50.0, 150.0), np.arange(100.0), 0.3)
        >>> cut.threshold, cut.signal_efficiency, cut.background_efficiency, cut.is_loosened
        (90.0, 0.6, 0.1, True)
    """
    signal, background = completed(signal, background)
    if len(background.score) < background_min:
        raise ValueError(f"{len(background.score)} background scores, {background_min} needed")
    cuts = _Cuts(signal, background)
    sums = cuts.sums()
    wanted = cuts.keeping_signal(signal_efficiency, sums)
    at = max(wanted, cuts.keeping_background(background_min, sums))
    threshold = cuts.threshold[at]
    signal_efficiency, background_efficiency = (
        _efficiency(scores, threshold, bootstraps, seed) for scores in (signal, background)
    )
    return Cut(
        threshold=float(threshold),
        signal_efficiency=float(signal_efficiency[0]),
        background_efficiency=float(background_efficiency[0]),
        background_count=int(cuts.background_above[at]),
        is_loosened=bool(at > wanted),
        resampled_signal_efficiency=signal_efficiency[1:],
        resampled_background_efficiency=background_efficiency[1:],
    )


@dataclass(frozen=True)
class _Sums:
    """Sums over the highest 0, 1, ... n scores of a class, as they are or in a resampling.

    Attributes:
        signal, background: of the weights.
        number: of the background scores.
    """

    signal: np.ndarray
    background: np.ndarray
    number: np.ndarray


class _Cuts:
    """One cut at each distinct score of either class, tightest first."""

    def __init__(self, signal: Scores, background: Scores) -> None:
        self.signal, self.background = _descending(signal), _descending(background)
        self.threshold = np.unique(np.concatenate([signal.score, background.score]))[::-1]
        self.at_signal = np.flatnonzero(np.isin(self.threshold, self.signal.score))
        self.signal_above = _above(self.threshold, self.signal)
        self.background_above = _above(self.threshold, self.background)
        self._is_weighted = [(scores.weight != 1.0).any() for scores in (signal, background)]

    def sums(
        self, signal_counts: np.ndarray | None = None, background_counts: np.ndarray | None = None
    ) -> _Sums:
        """Sums in which every score stands as many times as `counts`, (n,), says; or once."""
        classes = zip(
            (self.signal, self.background),
            (signal_counts, background_counts),
            self._is_weighted,
            strict=True,
        )
        numbers, sums = [], []
        for scores, counts, is_weighted in classes:
            counts = np.ones(len(scores.score)) if counts is None else counts
            numbers.append(cumulative(counts))
            sums.append(cumulative(counts * scores.weight) if is_weighted else numbers[-1])
        return _Sums(*sums, numbers[1])

    def resampled(self, bootstraps: int, seed: int) -> Iterator[_Sums]:
        """The sums of every resampling."""
        return map(
            self.sums,
            poisson_counts(self.signal.event, bootstraps, seed),
            poisson_counts(self.background.event, bootstraps, seed),
        )

    def keeping_signal(self, efficiency: np.ndarray | float, sums: _Sums) -> np.ndarray:
        """Index of the tightest cut with at least this signal efficiency."""
        if not (np.greater(efficiency, 0) & np.less_equal(efficiency, 1)).all():
            raise ValueError("signal efficiencies must lie in (0, 1]")
        # A hair less is asked: 3 of 10 scores do pass at signal efficiency 0.3.
        needed = np.searchsorted(sums.signal, efficiency * (1.0 - 1e-12) * sums.signal[-1])
        return np.searchsorted(self.signal_above, needed)

    def keeping_background(self, number: int, sums: _Sums) -> int:
        """Index of the tightest cut that this many background scores pass, unweighted."""
        return np.searchsorted(self.background_above, np.searchsorted(sums.number, number))

    def signal_efficiency(self, at: np.ndarray, sums: _Sums) -> np.ndarray:
        """Share of the signal that passes these cuts."""
        return _share(sums.signal, self.signal_above[at])

    def background_efficiency(self, at: np.ndarray, sums: _Sums) -> np.ndarray:
        """Share of the background that passes these cuts."""
        return _share(sums.background, self.background_above[at])

    def sic(self, at: np.ndarray, sums: _Sums) -> np.ndarray:
        """SIC of these cuts; infinite where no background passes."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.signal_efficiency(at, sums) / np.sqrt(self.background_efficiency(at, sums))


def _share(sums: np.ndarray, above: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # a resampling of very few events may hold none
        return sums[above] / sums[-1]


def _descending(scores: Scores) -> Scores:
    order = np.argsort(-scores.score)
    return Scores(scores.score[order], scores.event[order], scores.weight[order])


def _above(threshold: np.ndarray, descending: Scores) -> np.ndarray:
    """How many scores lie at or above each threshold."""
    return np.searchsorted(-descending.score, -threshold, side="right")


class _Scan:
    """The cuts at given signal efficiencies, and the SIC at these efficiencies in resamplings."""

    def __init__(
        self,
        signal: Scores,
        background: Scores,
        wanted: np.ndarray,
        bootstraps: int,
        seed: int,
    ) -> None:
        cuts = _Cuts(signal, background)

        sums = cuts.sums()
        at = cuts.keeping_signal(wanted, sums)
        self.signal_efficiency = cuts.signal_efficiency(at, sums)
        self.background_efficiency = cuts.background_efficiency(at, sums)
        self.sic = cuts.sic(at, sums)
        self.resampled_sic = np.array(
            [
                cuts.sic(cuts.keeping_signal(wanted, sums), sums)
                for sums in cuts.resampled(bootstraps, seed)
            ]
        )
        above = cuts.background_above[at]
        # The unweighted count with the relative error of the weighted sum: (sum w)^2 / sum w^2.
        weight = cuts.background.weight
        sums, squares = cumulative(weight), cumulative(weight**2)
        some = np.where(sums[above] > 0, above, len(weight))
        self.effective_trials = sums[some] * sums[-1] / squares[some]
        effective = np.where(sums[above] > 0, sums[above] ** 2 / squares[some], 0)
        self.background_count = np.floor(effective * (1 + 1e-12)).astype(int)

    def background_interval(self, confidence: float) -> tuple[np.ndarray, np.ndarray]:
        """Clopper-Pearson interval of the background efficiency."""
        successes = self.background_efficiency * self.effective_trials
        return clopper_pearson(successes, self.effective_trials, confidence)

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Central interval of the SIC at every point, widened to hold the SIC itself.

        A resampling finds its own cut, so all of them can lie on one side of the measured value.
        """
        tail = (1.0 - CONFIDENCE) / 2.0
        # Quantiles that are one of the resamplings, for some of these may be infinite.
        tails = [tail, 1.0 - tail]
        # Where every resampling lacks a class, as of one event some may, nothing bounds the SIC.
        is_silent = np.isnan(self.resampled_sic).all(axis=0)
        resampled = np.where(is_silent, 0.0, self.resampled_sic)
        low, high = np.nanquantile(resampled, tails, axis=0, method="inverted_cdf")
        high[is_silent] = np.inf
        with np.errstate(divide="ignore"):
            exact_high, exact_low = (
                self.signal_efficiency / np.sqrt(bound)
                for bound in self.background_interval(CONFIDENCE)
            )
        low, high = np.fmin(low, self.sic), np.fmax(high, self.sic)
        few = self.background_count < FEW
        return (
            np.where(few, np.minimum(low, exact_low), low),
            np.where(few, np.maximum(high, exact_high), high),
        )


def _efficiency(scores: Scores, threshold: float, bootstraps: int, seed: int) -> np.ndarray:
    """Share of scores at or above a threshold, (1 + bootstraps,): as it is, then resampled."""
    passing = scores.weight * (scores.score >= threshold)
    counts = poisson_counts(scores.event, bootstraps, seed)
    sums = [(passing.sum(), scores.weight.sum())]
    sums += [(n @ passing, n @ scores.weight) for n in counts]
    with np.errstate(invalid="ignore"):
        return np.divide(*np.transpose(sums))

"""Significance improvement: SIC = eps_S / sqrt(eps_B) of cuts on a classifier's score.

eps_S and eps_B are the shares of the signal's and the background's weight at or above the cut. A
cut is always an actual threshold: equal scores pass or fail together, and "at signal efficiency e"
means the tightest cut that keeps at least e of the signal; with negative weights looser cuts may
keep less again. Where the background's weights that pass sum to zero or less, the SIC is infinite,
as without any background.

How much background is behind a number is counted in effective scores, (sum w)^2 / sum w^2: without
weights simply their number. Uncertainties are central intervals of 68.27 % from a bootstrap over
events; where fewer than 25 background scores pass, they are widened to those of the Clopper-Pearson
interval of eps_B, because a bootstrap of few events is too narrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sensitivity.bootstrap import (
    CONFIDENCE,
    HAIR,
    Estimate,
    Scores,
    completed,
    cumulative,
    effective_count,
    is_fewer,
    poisson_counts,
)

SIGNAL_EFFICIENCIES = np.linspace(0.01, 1.0, 100)
FEW = 25  # effective background scores, below which Clopper-Pearson is asked
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
    effective_background: np.ndarray


@dataclass(frozen=True)
class SICPoint:
    """SIC at a working point; a lower limit has `value` = `low` = the limit, `high` = inf.

    Attributes:
        effective_background: effective number of background scores that pass.
        signal_efficiency: of the cut, at least that of the working point.
        resampled: (bootstraps,) the SIC of each resampling, for differences between classifiers of
            the same events; infinite where no background passes.
    """

    value: float
    low: float
    high: float
    effective_background: float
    is_lower_limit: bool
    signal_efficiency: float
    resampled: np.ndarray


@dataclass(frozen=True)
class MaximumSIC(Estimate):
    """The largest SIC of all cuts, with its standard error.

    Attributes:
        signal_efficiency: of that cut.
        effective_background: effective number of background scores that pass it, by their
            `Scores.counted`.
        resampled: (bootstraps,) the largest SIC of each resampling, -inf where there is no cut.
    """

    signal_efficiency: float
    effective_background: float
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
        effective_background: effective number of background scores that pass, by their
            `Scores.counted`.
        is_loosened: the cut is looser than the working point, to keep enough background.
        resampled_signal_efficiency, resampled_background_efficiency: (bootstraps,) of this cut.
    """

    threshold: float
    signal_efficiency: float
    background_efficiency: float
    effective_background: float
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
    background_min: float = 10,
    bootstraps: int = 100,
    seed: int = 0,
) -> SICCurve:
    """SIC of the cuts that keep a grid of signal efficiencies, with its band.

    Args:
        signal, background: (n,) and (m,) scores.
        signal_efficiency: (points,) grid, in (0, 1].
        background_min: the curve stops (NaN) where fewer effective background scores pass.
        bootstraps, seed: resamplings of whole events, each with its own cuts.

    Example:
        >>> curve = sic_curve([3, 4, 5, 6], [0, 1, 2, 3], np.array([0.5, 1.0]), background_min=1)
        >>> curve.value, curve.effective_background
        (array([nan,  2.]), array([0., 1.]))
    """
    scan = _Scan(signal, background, signal_efficiency, bootstraps, seed)
    stops = is_fewer(scan.effective_background, background_min)
    low, high = scan.interval()
    value, low, high = (np.where(stops, np.nan, sic) for sic in (scan.sic, low, high))
    return SICCurve(scan.signal_efficiency, value, low, high, scan.effective_background)


def sic_at(
    signal: ArrayLike | Scores,
    background: ArrayLike | Scores,
    signal_efficiency: float,
    *,
    background_min: float = 10,
    bootstraps: int = 100,
    seed: int = 0,
) -> SICPoint:
    """SIC at a working point, or a lower limit on it where little background passes.

    The limit holds at 95 %, one-sided: the Clopper-Pearson upper bound on eps_B at the confidence
    that searches quote for limits, because a reader takes an arrow for that and not for one sigma.

    Args:
        signal, background: (n,) and (m,) scores.
        signal_efficiency: of the working point, in (0, 1].
        background_min: below this many effective background scores, the result is a lower limit.
        bootstraps, seed: resamplings of whole events, each with its own cut.

    Example:
        >>> point = sic_at(np.arange(100.0, 200.0), np.arange(100.0), 0.3)
        >>> point.is_lower_limit, point.effective_background, round(point.value, 3)
        (True, 0.0, 1.746)
    """
    scan = _Scan(signal, background, np.array([signal_efficiency]), bootstraps, seed)
    count, kept = float(scan.effective_background[0]), float(scan.signal_efficiency[0])
    if is_fewer(count, background_min):
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
    background_min: float = 10,
    bootstraps: int = 100,
    seed: int = 0,
) -> MaximumSIC:
    """Largest SIC of all cuts that keep enough signal and background; NaN if there is none.

    Cuts are tried at the tightest threshold that keeps enough of both, and at every signal score
    below it: a looser cut, up to the next signal score, only adds background. The error is the
    standard deviation over resamplings that each choose their own best cut. The maximum of a
    fluctuating curve lies above that of the true one, by up to about one error.

    Args:
        signal, background: (n,) and (m,) scores.
        signal_efficiency_min: lowest signal efficiency of a cut.
        background_min: lowest effective number of background scores that pass a cut.
        bootstraps, seed: resamplings of whole events.

    Example:
        >>> background = np.arange(100.0)
        >>> round(max_sic(background + 50.0, background).value, 4)  # 0.6 / sqrt(0.1)
        1.8974
    """
    signal, background = map(_Ranked, completed(signal, background))
    thresholds = np.unique(signal.score)[::-1]
    signal_above, background_above = signal.above(thresholds), background.above(thresholds)

    def best(n: ArrayLike = 1, m: ArrayLike = 1) -> tuple[float, float, float]:
        """SIC, signal efficiency and effective background of the best cut of a resampling."""
        signal_sums, background_sums = signal.sums(n), background.sums(m)
        effective = background.effective(background.counted, background_sums, m)
        is_enough = ~is_fewer(effective, background_min)
        tightest = min(
            signal.keeping(signal_efficiency_min, signal_sums), background.tightest(is_enough)
        )
        if tightest == -np.inf:
            return -np.inf, np.nan, 0.0
        looser = np.searchsorted(-thresholds, -tightest)
        in_signal = np.append(signal.above(tightest), signal_above[looser:])
        in_background = np.append(background.above(tightest), background_above[looser:])
        efficiency = _share(signal_sums[in_signal], signal_sums[-1])
        sic = _sic(efficiency, _share(background_sums[in_background], background_sums[-1]))
        # With weights, the effective number may fall again where a looser cut adds background.
        sic[~is_enough[in_background]] = -np.inf
        at = np.argmax(sic)
        return float(sic[at]), float(efficiency[at]), float(effective[in_background[at]])

    value, signal_efficiency, effective = best()
    resampled = [best(*counts)[0] for counts in _counts(signal, background, bootstraps, seed)]
    resampled = np.array(resampled)
    if value == -np.inf:
        return MaximumSIC(np.nan, np.nan, np.nan, 0.0, np.full_like(resampled, -np.inf))
    error = _spread(resampled[np.isfinite(resampled)])
    return MaximumSIC(value, error, signal_efficiency, effective, resampled)


def cut_at(
    signal: ArrayLike | Scores,
    background: ArrayLike | Scores,
    signal_efficiency: float,
    *,
    background_min: float = 10,
    bootstraps: int = 100,
    seed: int = 0,
) -> Cut:
    """The cut of the working point, or the tightest that keeps enough background if that is looser.

    Unlike in a SIC curve, the resamplings keep the cut: an analysis fixes it once. With the same
    event numbers and seed, the background is resampled alike for every signal and classifier.

    Args:
        signal, background: (n,) and (m,) scores.
        signal_efficiency: of the working point, in (0, 1].
        background_min: effective number of background scores that must pass.
        bootstraps, seed: resamplings of whole events.

    Raises:
        ValueError: no cut keeps `background_min` background scores.

    Example:
        >>> cut = cut_at(np.arange(50.0, 150.0), np.arange(100.0), 0.3)
        >>> cut.threshold, cut.signal_efficiency, cut.background_efficiency, cut.is_loosened
        (90.0, 0.6, 0.1, True)
    """
    classes = signal, background = tuple(map(_Ranked, completed(signal, background)))
    effective = background.effective(background.counted, background.sums())
    wanted = signal.keeping(signal_efficiency, signal.sums())
    threshold = min(wanted, background.tightest(~is_fewer(effective, background_min)))
    if threshold == -np.inf:
        raise ValueError(f"{effective[-1]:g} effective background scores, {background_min} needed")
    # As it is, then resampled.
    of_signal, of_background = (
        np.array([scores.efficiency(threshold, n) for n in (1, *scores.counts(bootstraps, seed))])
        for scores in classes
    )
    return Cut(
        threshold=float(threshold),
        signal_efficiency=float(of_signal[0]),
        background_efficiency=float(of_background[0]),
        effective_background=float(effective[background.above(threshold)]),
        is_loosened=bool(threshold < wanted),
        resampled_signal_efficiency=of_signal[1:],
        resampled_background_efficiency=of_background[1:],
    )


class _Ranked:
    """Scores of one class from the highest down, and sums over the highest 0, 1, ... n of them."""

    def __init__(self, scores: Scores) -> None:
        self.has_negative = (scores.weight < 0).any()
        if self.has_negative:
            # Of equal scores the negative weights come first: then no sum of some of them exceeds
            # both that without any and that with all, and the running maximum is one over cuts.
            order = np.lexsort((scores.weight, -scores.score))
        else:
            order = np.argsort(-scores.score)
        self.score, self.event, self.weight = (
            array[order] for array in (scores.score, scores.event, scores.weight)
        )
        is_same = scores.counted is scores.weight
        self.counted = self.weight if is_same else scores.counted[order]
        self.rising = -self.score
        self.is_cut = np.append(False, np.diff(self.rising, append=np.inf) > 0)  # (n + 1,)

    def above(self, threshold: ArrayLike) -> np.ndarray:
        """How many scores lie at or above each threshold."""
        return np.searchsorted(self.rising, np.negative(threshold), side="right")

    def counts(self, bootstraps: int, seed: int) -> Iterator[np.ndarray]:
        """How often each score stands in each resampling, (n,)."""
        return poisson_counts(self.event, bootstraps, seed)

    def sums(self, counts: ArrayLike = 1) -> np.ndarray:
        """Sums of the weights, (n + 1,), every score standing as many times as `counts` says."""
        return cumulative(counts * self.weight)

    def effective(self, weight: np.ndarray, sums: np.ndarray, counts: ArrayLike = 1) -> np.ndarray:
        """Effective numbers of scores, (n + 1,), by `weight`, of these sums, or `counted`."""
        if weight is not self.weight:
            sums = cumulative(counts * weight)
        is_plain = (weight == 1).all()
        return sums if is_plain else effective_count(sums, cumulative(counts * weight**2))

    def efficiency(self, threshold: float, counts: ArrayLike = 1) -> float:
        """Share of the weight at or above a threshold."""
        weight = counts * self.weight
        return _share(weight[: self.above(threshold)].sum(), weight.sum())

    def keeping(self, efficiency: np.ndarray | float, sums: np.ndarray) -> np.ndarray:
        """The tightest thresholds that keep at least these efficiencies."""
        if not (np.greater(efficiency, 0) & np.less_equal(efficiency, 1)).all():
            raise ValueError("signal efficiencies must lie in (0, 1]")
        # A hair less is asked: 3 of 10 scores do pass at signal efficiency 0.3.
        wanted = efficiency * (1.0 - HAIR) * sums[-1]
        sums = np.maximum.accumulate(sums) if self.has_negative else sums
        return self.score[np.searchsorted(sums, wanted) - 1]

    def tightest(self, is_enough: np.ndarray) -> float:
        """The tightest threshold that enough scores pass, (n + 1,); -inf if there is none."""
        at = (self.is_cut & is_enough).argmax()
        return self.score[at - 1] if at else -np.inf


def _counts(
    signal: _Ranked, background: _Ranked, bootstraps: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How often each signal and each background score stands in each resampling."""
    return zip(signal.counts(bootstraps, seed), background.counts(bootstraps, seed), strict=True)


def _share(part: ArrayLike, total: float) -> np.ndarray:
    """NaN of a total that is not positive, as a resampling of very few events may have."""
    return part / (total if total > 0 else np.nan)


def _sic(signal_efficiency: np.ndarray, background_efficiency: np.ndarray) -> np.ndarray:
    """Infinite where no background passes, or a sum of weights that is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return signal_efficiency / np.sqrt(np.maximum(background_efficiency, 0.0))


class _Scan:
    """The cuts at given signal efficiencies, and the SIC at these efficiencies in resamplings."""

    def __init__(
        self,
        signal: ArrayLike | Scores,
        background: ArrayLike | Scores,
        wanted: np.ndarray,
        bootstraps: int,
        seed: int,
    ) -> None:
        signal, background = map(_Ranked, completed(signal, background))

        def cut(n: ArrayLike = 1, m: ArrayLike = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            """Both efficiencies, and how many background scores pass."""
            sums, background_sums = signal.sums(n), background.sums(m)
            threshold = signal.keeping(wanted, sums)
            above = background.above(threshold)
            return (
                _share(sums[signal.above(threshold)], sums[-1]),
                _share(background_sums[above], background_sums[-1]),
                above,
            )

        self.signal_efficiency, self.background_efficiency, above = cut()
        self.sic = _sic(self.signal_efficiency, self.background_efficiency)
        self.resampled_sic = np.array(
            [_sic(*cut(*counts)[:2]) for counts in _counts(signal, background, bootstraps, seed)]
        )
        effective = background.effective(background.weight, background.sums())
        self.effective_background = effective[above]
        # Trials of which that many pass; all effective scores where none does.
        passes = self.effective_background > 0
        share = np.where(passes, np.minimum(self.background_efficiency, 1.0), 1.0)
        self.effective_trials = np.where(passes, self.effective_background / share, effective[-1])

    def background_interval(self, confidence: float) -> tuple[np.ndarray, np.ndarray]:
        """Clopper-Pearson interval of the background efficiency."""
        return clopper_pearson(self.effective_background, self.effective_trials, confidence)

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Central interval of the SIC at every point, widened to hold the SIC itself.

        A resampling finds its own cut, so all of them can lie on one side of the measured value.
        """
        tail = (1.0 - CONFIDENCE) / 2.0
        # Quantiles that are one of the resamplings, because some of these may be infinite.
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
        few = is_fewer(self.effective_background, FEW)
        return (
            np.where(few, np.minimum(low, exact_low), low),
            np.where(few, np.maximum(high, exact_high), high),
        )

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

All functions take signal scores (n,), background scores (m,), the least effective number
`background_min` of background scores that pass, and how many `bootstraps` there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sensitivity.bootstrap import (
    CONFIDENCE,
    HAIR,
    Estimate,
    Scores,
    Values,
    completed,
    cumulative,
    effective_count,
    is_fewer,
    mean_of_seeds,
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

    The cut has at least the signal efficiency of the working point. Of resamplings (bootstraps,)
    without background the SIC is infinite.
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
    """The largest SIC of all cuts, with its standard error; what passes as in a `Cut`.

    The largest SIC of each resampling is `resampled` (bootstraps,), -inf where there is no cut.
    """

    signal_efficiency: float
    effective_background: float
    resampled: np.ndarray


def ratio_of_means(
    better: Sequence[MaximumSIC | SICPoint], worse: Sequence[MaximumSIC | SICPoint]
) -> Estimate:
    """Ratio of two classifiers, each trained from several seeds and tested on the same events.

    The error holds the test events, by the bootstrap that all share, and the spread of seeds.

    Example:
        >>> a, b = ([MaximumSIC(v, 1, 0.3, 9, np.array([v, 2 * v]))] for v in (6.0, 3.0))
        >>> ratio_of_means(a, b)
        Estimate(value=2.0, error=0.0)
    """
    values = [np.array([one.value for one in some]) for some in (better, worse)]
    resampled = [np.mean([one.resampled for one in some], axis=0) for some in (better, worse)]
    there = np.isfinite(resampled).all(axis=0) & (resampled[1] > 0)
    ratio = float(values[0].mean() / values[1].mean())
    of_seeds = [v.var(ddof=1) / len(v) / v.mean() ** 2 if len(v) > 1 else 0.0 for v in values]
    spread = _spread(resampled[0][there] / resampled[1][there])
    return Estimate(ratio, float(np.hypot(spread, ratio * sum(of_seeds) ** 0.5)))


def sic_of_seeds(
    points: Sequence[SICPoint], reference: Sequence[SICPoint]
) -> tuple[Estimate, float, Estimate]:
    """Mean SIC of a working point, the effective background behind it, and its ratio to that of
    `reference`, see `ratio_of_means`.

    NaN where too little background passes.
    """
    unknown = Estimate(np.nan, np.nan)
    limits = [any(point.is_lower_limit for point in some) for some in (points, reference)]
    errors = [Estimate(one.value, (one.high - one.low) / 2) for one in points]
    return (
        unknown if limits[0] else mean_of_seeds(errors),
        float(np.mean([one.effective_background for one in points])),
        unknown if any(limits) else ratio_of_means(points, reference),
    )


def _spread(values: np.ndarray) -> float:
    """Standard deviation; infinite of fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.inf


@dataclass(frozen=True)
class Cut:
    """A cut, and what lies at or above its threshold, in resamplings (bootstraps,) too.

    A cut is loosened if the one of the working point keeps too little background. The effective
    background is counted by `Scores.counted`.
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
        k, n: successes and trials; effective counts of weighted events may be fractions.
        confidence: of the interval; either end alone bounds at (1 + confidence) / 2.

    Example:
        >>> low, high = clopper_pearson(0, 10, 0.90)  # no success in 10: p < 0.26 at 95 %
        >>> float(low), round(float(high), 4)
        (0.0, 0.2589)
    """
    k, n = np.asarray(k, float), np.asarray(n, float)
    tail = (1.0 - confidence) / 2.0
    # The ends of the range are exact, and the beta distribution is not defined there.
    low = np.where(k > 0, stats.beta.ppf(tail, k, n - k + 1.0), 0.0)
    return low, np.where(k < n, stats.beta.isf(tail, k + 1.0, n - k), 1.0)


def efficiency_interval(
    efficiency: ArrayLike,
    effective: ArrayLike,
    effective_total: float,
    confidence: float = CONFIDENCE,
) -> tuple[np.ndarray, np.ndarray]:
    """Clopper-Pearson interval of the efficiency of a cut on weighted scores.

    The trials are as many as give the effective number that passes this efficiency; where none
    passes, the effective number of all scores.

    Example:
        >>> efficiency_interval(0.25, 10.0, 40.0) == clopper_pearson(10, 40)
        True
    """
    passes = np.greater(effective, 0)
    share = np.where(passes, np.minimum(efficiency, 1.0), 1.0)
    trials = np.where(passes, effective / share, effective_total)
    return clopper_pearson(effective, trials, confidence)


def sic_curve(
    signal: Values,
    background: Values,
    signal_efficiency: np.ndarray = SIGNAL_EFFICIENCIES,
    *,
    background_min: float = 10,
    bootstraps: int = 100,
) -> SICCurve:
    """SIC of the cuts that keep signal efficiencies (points,) in (0, 1], with its band.

    The curve stops (NaN) where fewer than `background_min` background scores pass. Every resampling
    has its own cuts.

    Example:
        >>> curve = sic_curve([3, 4, 5, 6], [0, 1, 2, 3], np.array([0.5, 1.0]), background_min=1)
        >>> curve.value, curve.effective_background
        (array([nan,  2.]), array([0., 1.]))
    """
    curve, _, _ = _scan(signal, background, signal_efficiency, bootstraps)
    stops = is_fewer(curve.effective_background, background_min)
    band = {
        name: np.where(stops, np.nan, getattr(curve, name)) for name in ("value", "low", "high")
    }
    return replace(curve, **band)


def sic_at(
    signal: Values,
    background: Values,
    signal_efficiency: float,
    *,
    background_min: float = 10,
    bootstraps: int = 100,
) -> SICPoint:
    """SIC at a working point in (0, 1], or a lower limit where fewer than `background_min` pass.

    The limit holds at 95 %, one-sided: the Clopper-Pearson upper bound on eps_B at the confidence
    that searches quote for limits, because a reader takes an arrow for that and not for one sigma.

    Example:
        >>> point = sic_at(np.arange(100.0, 200.0), np.arange(100.0), 0.3)
        >>> point.is_lower_limit, point.effective_background, round(point.value, 3)
        (True, 0.0, 1.746)
    """
    curve, limit, resampled = _scan(signal, background, np.array([signal_efficiency]), bootstraps)
    kept, *interval, count = (float(array[0]) for array in vars(curve).values())
    is_limit = bool(is_fewer(count, background_min))
    if is_limit:
        interval = float(limit[0]), float(limit[0]), np.inf
    return SICPoint(*interval, count, is_limit, kept, resampled[:, 0])


def max_sic(
    signal: Values,
    background: Values,
    *,
    signal_efficiency_min: float = 0.1,
    background_min: float = 10,
    bootstraps: int = 100,
) -> MaximumSIC:
    """Largest SIC of all cuts that keep enough signal and background; NaN if there is none.

    Cuts are tried at the tightest threshold that keeps enough of both, and at every signal score
    below it: a looser cut, up to the next signal score, only adds background. Resamplings choose
    their own best cut. The maximum of a fluctuating curve lies above that of the true one, by up to
    about one error.

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
        of_signal = signal.keeping(signal_efficiency_min, signal_sums)
        tightest = min(of_signal, background.tightest(is_enough))
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
    resampled = np.array([best(*n)[0] for n in _counts(signal, background, bootstraps)])
    if value == -np.inf:
        return MaximumSIC(np.nan, np.nan, np.nan, 0.0, np.full_like(resampled, -np.inf))
    error = _spread(resampled[np.isfinite(resampled)])
    return MaximumSIC(value, error, signal_efficiency, effective, resampled)


def cut_at(
    signal: Values,
    background: Values,
    signal_efficiency: float,
    *,
    background_min: float = 10,
    bootstraps: int = 100,
) -> Cut:
    """The cut of the working point, or the tightest that keeps enough background if that is looser.

    Unlike in a SIC curve, the resamplings keep the cut: an analysis fixes it once.

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
    (kept, *resampled), (passing, *resampled_background) = (
        [scores.efficiency(threshold, n) for n in (1, *poisson_counts(scores.event, bootstraps))]
        for scores in classes
    )
    return Cut(
        threshold=float(threshold),
        signal_efficiency=float(kept),
        background_efficiency=float(passing),
        effective_background=float(effective[background.above(threshold)]),
        is_loosened=bool(threshold < wanted),
        resampled_signal_efficiency=np.array(resampled),
        resampled_background_efficiency=np.array(resampled_background),
    )


class _Ranked:
    """Scores of one class from the highest down, and sums over the highest 0, 1, ... n of them."""

    def __init__(self, scores: Scores) -> None:
        self.has_negative = (scores.weight < 0).any()
        # Of equal scores the negative weights come first: then no sum of some of them exceeds
        # both that without any and that with all, and the running maximum is one over cuts.
        keys = (scores.weight, -scores.score)
        order = np.lexsort(keys) if self.has_negative else np.argsort(keys[1])
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
    signal: _Ranked, background: _Ranked, bootstraps: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How often each signal and each background score stands in each resampling."""
    return zip(*(poisson_counts(of.event, bootstraps) for of in (signal, background)), strict=True)


def _share(part: ArrayLike, total: float) -> np.ndarray:
    """NaN of a total that is not positive, as a resampling of very few events may have."""
    return part / (total if total > 0 else np.nan)


def _sic(signal_efficiency: np.ndarray, background_efficiency: np.ndarray) -> np.ndarray:
    """Infinite where no background passes, or a sum of weights that is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return signal_efficiency / np.sqrt(np.maximum(background_efficiency, 0.0))


def _scan(
    signal: Values, background: Values, wanted: np.ndarray, bootstraps: int
) -> tuple[SICCurve, np.ndarray, np.ndarray]:
    """The curve whatever number passes, lower limits (points,), resampled SIC (bootstraps, points).

    The interval is widened to hold the SIC itself: a resampling finds its own cut, so all of them
    can lie on one side of the measured value.
    """
    signal, background = map(_Ranked, completed(signal, background))

    def cut(n: ArrayLike = 1, m: ArrayLike = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Both efficiencies, and how many background scores pass."""
        sums, background_sums = signal.sums(n), background.sums(m)
        threshold = signal.keeping(wanted, sums)
        above = background.above(threshold)
        kept = _share(sums[signal.above(threshold)], sums[-1])
        return kept, _share(background_sums[above], background_sums[-1]), above

    kept, passing, above = cut()
    effective = background.effective(background.weight, background.sums())
    count = effective[above]
    sic = _sic(kept, passing)
    resampled = np.array([_sic(*cut(*n)[:2]) for n in _counts(signal, background, bootstraps)])
    # Where every resampling lacks a class, as of one event some may, nothing bounds the SIC.
    is_silent = np.isnan(resampled).all(axis=0)
    # Quantiles that are one of the resamplings, because some of these may be infinite.
    tails = np.array([1.0 - CONFIDENCE, 1.0 + CONFIDENCE]) / 2.0
    low, high = np.nanquantile(
        np.where(is_silent, 0.0, resampled), tails, axis=0, method="inverted_cdf"
    )
    high[is_silent] = np.inf
    low, high = np.fmin(low, sic), np.fmax(high, sic)
    exact, one_sided = (
        efficiency_interval(passing, count, effective[-1], confidence)
        for confidence in (CONFIDENCE, 2.0 * LIMIT_CONFIDENCE - 1.0)
    )
    few = is_fewer(count, FEW)
    low = np.where(few, np.minimum(low, _sic(kept, exact[1])), low)
    high = np.where(few, np.maximum(high, _sic(kept, exact[0])), high)
    return SICCurve(kept, sic, low, high, count), _sic(kept, one_sided[1]), resampled

"""Figures of merit of weighted events: closed forms, and samples that must give the same numbers.

Scores are Gaussians of width 1 about 0 (background) or `DISTANCE` (signal). Where a fluctuation is
allowed it is four standard deviations.
"""

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from sensitivity.auc import auc
from sensitivity.bootstrap import Scores, effective_count, is_fewer
from sensitivity.reweighting import OF_ONE, spectrum_weights
from sensitivity.sic import cut_at, max_sic, sic_at, sic_curve

DISTANCE = 1.2
MEANS = DISTANCE, 0.0  # of signal, of background
EFFICIENCY = 0.3
THRESHOLD = DISTANCE + stats.norm.isf(EFFICIENCY)
BACKGROUND_EFFICIENCY = stats.norm.sf(THRESHOLD)
AUC = stats.norm.cdf(DISTANCE / np.sqrt(2))
SIC = EFFICIENCY / np.sqrt(BACKGROUND_EFFICIENCY)
NEGATIVE = 0.2  # share of negative weights


def inclusive(rng: np.random.Generator, size: int, mean: float) -> Scores:
    return Scores(rng.normal(mean, 1, rng.poisson(size)))


def sliced(rng: np.random.Generator, size: int, mean: float, latent: float = 1.0) -> Scores:
    """A quantity below 0 in one slice, above in another with four times the events; as many events
    in effect as `inclusive`. The quantity makes half of the score's variance, or `latent` of it.
    """
    n = rng.poisson(np.array([1.25, 5.0]) / 4 * size)
    of_slice = np.repeat([-1.0, 1.0], n) * abs(rng.normal(size=n.sum()))
    score = mean + np.sqrt(latent / 2) * of_slice + rng.normal(0, np.sqrt(1 - latent / 2), n.sum())
    return Scores(score, weight=0.37 * np.repeat([4.0, 1.0], n))


def signed(rng: np.random.Generator, size: int, mean: float) -> Scores:
    """Signs drawn independently of the score; as many events in effect as `inclusive`."""
    n = rng.poisson(size / (1 - 2 * NEGATIVE) ** 2)
    sign = np.where(rng.random(n) < NEGATIVE, -1.0, 1.0)
    return Scores(rng.normal(mean, 1, n), weight=sign)


def pair(sample, seed: int, size: int, **more) -> list[Scores]:
    rng = np.random.default_rng(seed)
    return [sample(rng, size, mean, **more) for mean in MEANS]


def merits(signal: Scores, background: Scores, **bootstrap) -> dict[str, tuple[float, float]]:
    """Values with their errors."""
    cut = cut_at(signal, background, EFFICIENCY, **bootstrap)
    point = sic_at(signal, background, EFFICIENCY, **bootstrap)
    at_threshold = Scores(np.array([THRESHOLD]))  # all of this signal: the cut is the threshold
    fixed = cut_at(at_threshold, background, 1.0, **bootstrap)
    area = auc(signal, background, **bootstrap)
    return {
        "AUC": (area.value, area.error),
        "SIC": (point.value, (point.high - point.low) / 2),
        "eps_S": (cut.signal_efficiency, cut.resampled_signal_efficiency.std()),
        "eps_B": (fixed.background_efficiency, fixed.resampled_background_efficiency.std()),
    }


TRUTH = {"AUC": AUC, "SIC": SIC, "eps_S": EFFICIENCY, "eps_B": BACKGROUND_EFFICIENCY}


# --- slices and signs against the inclusive sample ------------------------------------------------


@pytest.mark.parametrize("sample", [inclusive, sliced, signed])
def test_values_are_the_closed_form(sample):
    for name, (value, error) in merits(*pair(sample, 1, 20_000)).items():
        assert value == pytest.approx(TRUTH[name], abs=4 * error), name


@pytest.mark.parametrize("sample", [sliced, signed])
def test_values_are_unbiased_and_errors_are_the_spread_of_repeated_experiments(sample):
    toys = 100
    found = [merits(*pair(sample, seed, 1_000), bootstraps=40) for seed in range(toys)]
    for name, truth in TRUTH.items():
        values, errors = np.transpose([one[name] for one in found])
        if name != "eps_S":  # that of the working point: here it does not fluctuate
            assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(toys)), name
            assert errors.mean() == pytest.approx(values.std(), rel=4 / np.sqrt(2 * toys)), name


@pytest.mark.parametrize("sample", [sliced, signed])
def test_errors_are_those_of_as_many_events_in_effect(sample):
    """Where weights know nothing of the score, N_eff weighted events are N_eff events."""
    resamplings, apart = 600, {"latent": 0.0} if sample is sliced else {}
    ours, theirs = (
        merits(*pair(one, 3, 4_000, **more), bootstraps=resamplings)
        for one, more in ((sample, apart), (inclusive, {}))
    )
    for name, (_, error) in ours.items():
        # Of either error 1 / sqrt(2 resamplings), and at eps_B that of the 170 events that pass.
        allowed = 4 * np.sqrt(1 / resamplings + 1 / 600)
        assert error == pytest.approx(theirs[name][1], rel=allowed), name


def test_error_of_an_efficiency_in_slices_is_the_closed_form():
    """Var(eps) = sum_i w_i^2 n_i (p_i (1 - 2 eps) + eps^2) / (sum_i w_i n_i)^2 over slices i."""
    background = pair(sliced, 5, 8_000)[1]
    cut = cut_at(Scores(np.array([0.5])), background, 1.0, bootstraps=1_000)
    both_below = stats.multivariate_normal.cdf(
        [0.5, 0.0], cov=[[1, np.sqrt(0.5)], [np.sqrt(0.5), 1]]
    )
    low = 1 - 2 * both_below
    share = np.array([low, 2 * stats.norm.sf(0.5) - low])  # that passes, of each slice
    w, n = np.array([4.0, 1.0]), np.array([2_500, 10_000])
    eps = stats.norm.sf(0.5)
    variance = (w**2 * n) @ (share * (1 - 2 * eps) + eps**2) / (w @ n) ** 2
    assert cut.background_efficiency == pytest.approx(eps, abs=4 * variance**0.5)
    assert cut.resampled_background_efficiency.std() == pytest.approx(variance**0.5, rel=0.1)


def test_effective_background_of_slices_and_of_signs():
    one = np.array([1.0])
    for sample in (sliced, signed):
        background = pair(sample, 2, 10_000)[1]
        every = sic_curve(one + background.score.min() - 1, background, one)
        # Of signs n (1 - 2f)^2, of slices (sum w n)^2 / sum w^2 n: here the same 10,000.
        assert every.effective_background[0] == pytest.approx(10_000, rel=4 * 0.03)
        expected = background.weight.sum() ** 2 / (background.weight**2).sum()
        assert every.effective_background[0] == pytest.approx(expected, rel=1e-9)


# --- weights as such ------------------------------------------------------------------------------


def everything(signal: Scores, background: Scores) -> np.ndarray:
    """All numbers of all figures of merit in one row."""
    found = (
        auc(signal, background),
        sic_curve(signal, background),
        sic_at(signal, background, EFFICIENCY),
        max_sic(signal, background),
        cut_at(signal, background, EFFICIENCY),
    )
    numbers = [np.ravel(field) for merit in found for field in astuple(merit)]
    return np.concatenate([*numbers, spectrum_weights(signal, background)])


@pytest.mark.parametrize("sample", [sliced, signed])
def test_all_weights_doubled_change_nothing(sample):
    samples = pair(sample, 4, 500)
    doubled = (Scores(scores.score, weight=2 * scores.weight) for scores in samples)
    np.testing.assert_array_equal(everything(*doubled), everything(*samples))


def test_equal_weights_are_none():
    samples = pair(inclusive, 4, 500)
    weighted = (Scores(s.score, weight=np.full(len(s.score), 0.37)) for s in samples)
    np.testing.assert_allclose(everything(*weighted), everything(*samples), rtol=1e-11)


def test_weight_two_is_an_event_twice():
    rng = np.random.default_rng(13)
    samples = rng.integers(0, 20, 60), rng.integers(0, 14, 80)
    weights = rng.integers(0, 4, 60), rng.integers(1, 4, 80)
    weighted = [Scores(*both) for both in zip(samples, (None, None), weights, strict=True)]
    repeated = [Scores(np.repeat(*both)) for both in zip(samples, weights, strict=True)]
    enough = {"background_min": 1}
    for merit in (auc, lambda *both: max_sic(*both, **enough),
                  lambda *both: sic_at(*both, 0.6, **enough)):  # fmt: skip
        assert merit(*weighted).value == pytest.approx(merit(*repeated).value)
    curves = [sic_curve(*both, **enough) for both in (weighted, repeated)]
    for name in ("value", "signal_efficiency"):
        np.testing.assert_allclose(*(getattr(curve, name) for curve in curves))
    cuts = [cut_at(*both, EFFICIENCY, **enough) for both in (weighted, repeated)]
    for name in ("threshold", "signal_efficiency", "background_efficiency"):
        assert getattr(cuts[0], name) == pytest.approx(getattr(cuts[1], name))


@pytest.mark.parametrize("weight", [[1.0, -1.0], [0.0, 0.0], [1.0, -3.0], [1.0, np.nan]])
def test_weights_that_do_not_sum_to_more_than_zero_are_refused(weight):
    with pytest.raises(ValueError, match=r"weights of a class sum to .*; expected more than 0"):
        auc(Scores(np.ones(2), weight=np.array(weight)), [0.0])


def test_effective_count_of_equal_weights_is_their_number():
    n = np.arange(1, 200)
    found = effective_count(n * 0.37, n * 0.37**2)
    np.testing.assert_allclose(found, n, rtol=1e-14)
    assert not is_fewer(found, n).any() and is_fewer(found, n + 1e-9).all()


# --- negative weights -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "score, weight, efficiency, threshold, kept",
    [
        # A looser cut, at 3, keeps less again.
        ([5, 4, 3, 2, 1], [1, 1, -1, 1, 1], 0.6, 4, 2 / 3),
        # At 5 the sum is 1 in whatever order the equal scores stand.
        ([5, 5, 4, 3], [2, -1, 1, 1], 0.5, 4, 2 / 3),
        ([5, 5, 4, 3], [-1, 2, 1, 1], 0.5, 4, 2 / 3),
        # More than everything, at 2.
        ([2, 1], [2, -1], 1.0, 2, 2.0),
    ],
)
def test_cut_is_the_tightest_that_keeps_enough(score, weight, efficiency, threshold, kept):
    signal = Scores(np.array(score), weight=np.array(weight, float))
    cut = cut_at(signal, np.full(20, 9.0), efficiency)
    assert (cut.threshold, cut.signal_efficiency) == (threshold, pytest.approx(kept))


def test_background_that_cancels_is_a_lower_limit():
    """Weights 1, -2 pass: no more is known than that of 99 effective events none passes."""
    score = np.append([2.0, 2.0], np.zeros(100))
    background = Scores(score, weight=np.append([1.0, -2.0], np.ones(100)))
    point = sic_at(np.ones(10), background, 0.5)
    assert point.is_lower_limit and point.effective_background == 0
    assert point.value == pytest.approx(1 / np.sqrt(1 - 0.05 ** (105 / 99**2)))
    assert np.isnan(sic_curve(np.ones(10), background, np.array([0.5])).value[0])
    assert max_sic(np.append(np.full(9, 2.0), 0.0), background).value == pytest.approx(1.0)


def test_max_sic_of_signed_weights_is_that_of_a_brute_force_scan():
    rng = np.random.default_rng(2)
    scores = [rng.integers(0, high, n) for high, n in ((30, 200), (25, 600))]
    weights = [np.where(rng.random(len(score)) < NEGATIVE, -1.0, 1.0) for score in scores]
    scan, enough = [], [False, False]
    for threshold in np.unique(scores[0])[::-1]:
        passing = [w * (score >= threshold) for score, w in zip(scores, weights, strict=True)]
        share = [w.sum() / every.sum() for w, every in zip(passing, weights, strict=True)]
        effective = passing[1].sum() ** 2 / max((passing[1] ** 2).sum(), 1) * (share[1] > 0)
        enough = [enough[0] or share[0] >= 0.1, enough[1] or effective >= 10]
        if all(enough) and effective >= 10:
            scan.append(share[0] / np.sqrt(share[1]))
    found = max_sic(*(Scores(s, weight=w) for s, w in zip(scores, weights, strict=True)))
    assert found.value == pytest.approx(max(scan))
    assert found.effective_background >= 10


def test_resamplings_whose_weights_cancel_have_no_value_and_give_no_warning():
    rng = np.random.default_rng(1)
    few = [Scores(rng.random(4), weight=np.array([1.0, 1.0, 1.0, -1.5])) for _ in range(2)]
    assert np.isfinite(astuple(auc(*few))).all()
    assert sic_at(*few, 0.5).is_lower_limit
    assert np.isfinite(max_sic(*few, background_min=0.1).value)
    resampled = cut_at(*few, 0.5, background_min=0.1).resampled_background_efficiency
    assert 0 < np.isnan(resampled).sum() < len(resampled)


# --- spectra --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", [sliced, signed])
def test_factors_give_weighted_background_the_spectrum_of_weighted_signal(sample):
    signal, background = pair(sample, 7, 20_000)
    factor = spectrum_weights(signal, background)
    weight = factor * background.weight
    assert weight.sum() == pytest.approx(background.weight.sum())
    assert (factor >= 0).all()
    edges = np.quantile(signal.score, np.linspace(0, 1, OF_ONE[0] + 1))[1:-1]
    shares = [
        np.bincount(np.searchsorted(edges, of.score), w) / w.sum()
        for of, w in ((signal, signal.weight), (background, weight))
    ]
    np.testing.assert_allclose(*shares, rtol=1e-9)
    area = auc(signal, Scores(background.score, weight=weight))
    assert area.value == pytest.approx(0.5, abs=0.02)


def test_bins_of_negative_weight_are_joined():
    """The bin in the middle sums to -1: with the next, to 1 of 3."""
    signal = Scores(np.array([0.5, 1.5, 2.5]), weight=np.array([2.0, -1.0, 2.0]))
    factor = spectrum_weights(signal, np.array([0.6, 1.4, 2.6]), bins=3, background_min=1)
    assert factor == pytest.approx([2.0, 0.5, 0.5])


def test_a_spectrum_does_not_enter_the_count_of_a_scan():
    signal, background = (scores.score for scores in pair(inclusive, 8, 1_000))
    weight = np.linspace(0.1, 3.0, len(background))
    found = max_sic(signal, Scores(background, None, weight, np.ones(len(background))))
    passing = background >= np.sort(signal)[::-1][round(found.signal_efficiency * len(signal)) - 1]
    assert found.effective_background == passing.sum()
    assert is_fewer(max_sic(signal, Scores(background, weight=weight)).effective_background,
                    passing.sum())  # fmt: skip

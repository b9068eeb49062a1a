"""AUC, SIC and their uncertainties against closed forms, brute force and other implementations."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from sensitivity.auc import auc, correlated_aucs
from sensitivity.binned import Bins, binned_significance, equal_signal_bins
from sensitivity.bootstrap import Scores, poisson_counts
from sensitivity.reweighting import OF_ONE, spectrum_weights
from sensitivity.sic import clopper_pearson, cut_at, max_sic, sic_at, sic_curve


def exponential(size: int, scale: float) -> np.ndarray:
    """The `size` quantiles of an exponential distribution: a sample without fluctuations."""
    return stats.expon.isf((np.arange(size) + 0.5) / size, scale=scale)


def steep(size_signal: int, size_background: int) -> tuple[np.ndarray, np.ndarray]:
    """eps_B = eps_S^3, hence SIC = eps_S^(-1/2)."""
    return exponential(size_signal, 3.0), exponential(size_background, 1.0)


def delong_covariance(signal: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Covariance of AUCs (classifiers, n), (classifiers, m) by placements (DeLong et al. 1988)."""
    beats = np.sign(signal[:, :, None] - background[:, None, :]) / 2 + 0.5
    of_signal, of_background = beats.mean(axis=2), beats.mean(axis=1)
    return np.cov(of_signal) / signal.shape[1] + np.cov(of_background) / background.shape[1]


# --- bootstrap ----------------------------------------------------------------------------------


def test_counts_are_independent_poisson():
    counts = np.array(list(poisson_counts(np.arange(20_000), 9, seed=5)), float)
    observed = np.bincount(counts.astype(int).ravel(), minlength=6)
    expected = counts.size * stats.poisson.pmf(np.arange(6), 1.0)
    assert (
        stats.chisquare(observed[:5], expected[:5] * observed[:5].sum() / expected[:5].sum()).pvalue
        > 1e-3
    )
    between_resamplings = np.corrcoef(counts)[np.triu_indices(9, 1)]
    between_neighbours = [np.corrcoef(row[:-1], row[1:])[0, 1] for row in counts]
    assert abs(between_resamplings).max() < 4.5 / np.sqrt(20_000)
    assert np.abs(between_neighbours).max() < 4.5 / np.sqrt(20_000)


def test_count_belongs_to_the_event_and_not_to_its_place():
    event = np.array([11, 4, 11, -3, 2_000_000])
    counts = np.array(list(poisson_counts(event, 50, seed=1)))
    alone = np.array(list(poisson_counts(event[[4, 1]], 50, seed=1)))
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, [4, 1]] == alone).all()
    assert (counts != np.array(list(poisson_counts(event, 50, seed=2)))).any()


@pytest.mark.parametrize(
    "arguments",
    [
        ([],),
        ([0.1, np.nan],),
        ([0.1, 0.2], [1]),
        ([0.1, 0.2], None, [1.0, -1.0]),
    ],
)
def test_bad_scores_are_refused(arguments):
    with pytest.raises(ValueError, match=r"scores|weights"):
        Scores(*(None if a is None else np.array(a) for a in arguments))


def test_events_of_one_class_only_are_refused():
    with pytest.raises(ValueError, match="both classes or of neither"):
        auc(Scores(np.ones(2), np.arange(2)), [0.0])


# --- AUC ----------------------------------------------------------------------------------------


def test_auc_agrees_with_sklearn_on_ties_weights_and_missing_scores():
    rng = np.random.default_rng(3)
    signal, background = rng.integers(-1, 8, 300) / 8, rng.integers(-1, 6, 500) / 8
    weight = rng.exponential(size=800)
    label = np.repeat([1, 0], [300, 500])
    score = np.concatenate([signal, background])
    assert auc(signal, background).value == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    weighted = auc(
        Scores(signal, weight=weight[:300]), Scores(background, weight=weight[300:])
    ).value
    expected = roc_auc_score(label, score, sample_weight=weight)
    assert weighted == pytest.approx(expected, abs=1e-12)


def test_auc_error_is_that_of_hanley_and_mcneil():
    """Their variance is exact for exponential scores (Radiology 143 (1982) 29)."""
    n, m = 400, 700
    found = auc(exponential(n, 3.0), exponential(m, 1.0), bootstraps=600)
    a = 0.75
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    variance = (a * (1 - a) + (n - 1) * (q1 - a**2) + (m - 1) * (q2 - a**2)) / (n * m)
    assert found.value == pytest.approx(a, abs=1e-3)
    assert found.error == pytest.approx(variance**0.5, rel=0.1)


def test_error_of_a_difference_is_that_of_delong():
    rng = np.random.default_rng(8)
    common_signal, common_background = rng.normal(1.2, 1, 300), rng.normal(0, 1, 500)
    signal = common_signal + rng.normal(0, [[0.3], [0.6]], (2, 300))
    background = common_background + rng.normal(0, [[0.3], [0.6]], (2, 500))
    aucs = correlated_aucs(signal, background, bootstraps=600)
    covariance = delong_covariance(signal, background)
    variance = np.array([1, -1]) @ covariance @ np.array([1, -1])
    difference = aucs.difference(0, 1)
    assert difference.value == pytest.approx(aucs[0].value - aucs[1].value)
    assert difference.error == pytest.approx(variance**0.5, rel=0.1)
    assert difference.error < 0.6 * np.hypot(aucs[0].error, aucs[1].error)
    assert aucs.difference(1, 1).error == 0.0
    alone = auc(signal[1], background[1], bootstraps=600)
    assert (aucs[1].value, aucs[1].error) == pytest.approx((alone.value, alone.error))


def test_jets_of_one_event_are_no_further_information():
    """Every jet twice: over jets the error would shrink by sqrt(2), over events it must not."""
    rng = np.random.default_rng(4)
    signal, background = rng.normal(1, 1, 400), rng.normal(0, 1, 600)
    events = np.arange(400), 400 + np.arange(600)
    once = auc(Scores(signal, events[0]), Scores(background, events[1]), bootstraps=800)
    twice = [np.repeat(array, 2) for array in (signal, background, *events)]
    grouped = auc(Scores(twice[0], twice[2]), Scores(twice[1], twice[3]), bootstraps=800)
    ungrouped = auc(twice[0], twice[1], bootstraps=800)
    assert grouped.error == pytest.approx(once.error, rel=1e-9)
    assert grouped.error / ungrouped.error == pytest.approx(np.sqrt(2), rel=0.1)


def test_event_with_jets_of_both_labels_is_resampled_as_a_whole():
    """The same score on both sides of every event: every resampling has AUC 1/2 exactly."""
    score, event = np.random.default_rng(6).random(200), np.arange(200)
    shared = auc(Scores(score, event), Scores(score, event))
    assert shared.value == 0.5
    assert shared.error == pytest.approx(0.0, abs=1e-12)
    assert auc(Scores(score, event), Scores(score, event + 200)).error > 0.02


# --- SIC ----------------------------------------------------------------------------------------


def test_sic_of_exponential_scores():
    curve = sic_curve(*steep(20_000, 20_000), np.array([0.2, 0.3, 0.5, 0.8, 1.0]))
    assert curve.value == pytest.approx(curve.signal_efficiency**-0.5, rel=5e-3)
    assert curve.effective_background / 20_000 == pytest.approx(
        curve.signal_efficiency**3, rel=1e-2
    )
    assert (curve.low <= curve.value).all()
    assert (curve.value <= curve.high).all()


def test_curve_stops_where_too_little_background_passes():
    curve = sic_curve(*steep(2_000, 2_000), background_min=10)
    stopped = curve.effective_background < 10
    assert 0 < stopped.sum() < len(stopped)
    for band in (curve.value, curve.low, curve.high):
        assert (np.isnan(band) == stopped).all()


def test_missing_jets_pass_together_or_not_at_all():
    signal = np.concatenate([np.full(20, -1.0), np.linspace(0.5, 1, 80)])
    background = np.concatenate([np.full(50, -1.0), np.linspace(0, 0.6, 50)])
    curve = sic_curve(signal, background, np.array([0.8, 0.81, 0.9, 1.0]), background_min=1)
    assert curve.effective_background.tolist() == [9, 100, 100, 100]
    assert curve.value == pytest.approx([0.8 / np.sqrt(0.09), 1.0, 1.0, 1.0])


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(12)
    covered = []
    for _ in range(300):
        signal, background = rng.exponential(3.0, 300), rng.exponential(1.0, 3_000)
        point = sic_at(signal, background, 0.4, bootstraps=60)
        covered.append(point.low <= 0.4**-0.5 <= point.high)
    assert np.mean(covered) == pytest.approx(0.6827, abs=3.5 * np.sqrt(0.68 * 0.32 / 300))


def test_few_background_events_get_at_least_the_exact_interval():
    signal, background = steep(5_000, 1_000)
    point = sic_at(signal, background, 0.25)
    assert 10 <= point.effective_background < 25
    exact = stats.binomtest(int(point.effective_background), 1_000).proportion_ci(0.6827, "exact")
    assert not point.is_lower_limit
    assert point.low <= 0.25 / np.sqrt(exact.high) * (1 + 1e-9)
    assert point.high >= 0.25 / np.sqrt(exact.low) * (1 - 1e-9)


@pytest.mark.parametrize("passing", [0, 1, 9])
def test_lower_limit_is_the_one_sided_clopper_pearson_bound(passing):
    signal = np.linspace(0.5, 1.0, 200)
    background = np.concatenate([np.full(passing, 2.0), np.zeros(500 - passing)])
    point = sic_at(signal, background, 0.5)
    # Where nothing passes the bound is 1 - 0.05^(1/n), close to the rule of three, 3 / n.
    bound = stats.binomtest(passing, 500, alternative="less").proportion_ci(0.95, "exact").high
    assert point.is_lower_limit
    assert point.effective_background == passing
    assert point.value == point.low == pytest.approx(0.5 / np.sqrt(bound))
    assert point.high == np.inf
    assert np.isnan(sic_curve(signal, background, np.array([0.5])).value[0])


def test_limit_of_weighted_background_counts_effective_events():
    signal, weight = np.ones(10), np.tile([1.0, 3.0], 50)
    point = sic_at(signal, Scores(np.zeros(100), weight=weight), 0.5)
    effective = 200.0**2 / 500.0
    assert point.value == pytest.approx(1 / np.sqrt(1 - 0.05 ** (1 / effective)))


@pytest.mark.parametrize("k, n", [(0, 7), (3, 7), (7, 7), (12, 3_000), (1, 1)])
def test_clopper_pearson_agrees_with_scipy(k, n):
    expected = stats.binomtest(k, n).proportion_ci(0.6827, "exact")
    assert np.ravel(clopper_pearson(k, n)) == pytest.approx([expected.low, expected.high])


def test_weighted_background_has_the_spectrum_of_the_signal():
    """Of exponential spectra: the means agree, the weighted AUC of the quantity itself is 1/2."""
    generator = np.random.default_rng(7)
    signal, background = generator.exponential(2.0, 20_000), generator.exponential(1.0, 40_000)
    weight = spectrum_weights(signal, background)
    assert weight.mean() == pytest.approx(1.0)
    edges = np.quantile(signal, np.linspace(0, 1, OF_ONE[0] + 1))[1:-1]
    shares = [
        np.bincount(np.searchsorted(edges, values), weights) / weights.sum()
        for values, weights in ((signal, np.ones(len(signal))), (background, weight))
    ]
    np.testing.assert_allclose(*shares, rtol=1e-9)
    plain = auc(signal, background, bootstraps=2).value
    weighted = auc(signal, Scores(background, weight=weight), bootstraps=2)
    assert plain == pytest.approx(2 / 3, abs=0.01)
    assert weighted.value == pytest.approx(0.5, abs=0.01)


def test_joint_spectrum_of_two_quantities_leaves_nothing_to_either():
    """Of correlated Gaussians: no linear combination of them separates the classes any longer."""
    generator = np.random.default_rng(3)
    covariance = [[1.0, 0.6], [0.6, 1.0]]
    signal = generator.multivariate_normal([0.6, 0.3], covariance, 30_000).T
    background = generator.multivariate_normal([0.0, 0.0], covariance, 60_000).T
    weight = spectrum_weights(signal, background)
    assert weight.mean() == pytest.approx(1.0)
    for direction in ([1, 0], [0, 1], [1, 1], [1, -1]):
        one, other = direction @ signal, direction @ background
        assert auc(one, other, bootstraps=2).value > 0.55
        found = auc(one, Scores(other, weight=weight), bootstraps=2)
        assert found.value == pytest.approx(0.5, abs=0.012)
    of_first = spectrum_weights(signal[0], background[0])
    found = auc(signal[1], Scores(background[1], weight=of_first), bootstraps=2)
    assert found.value < 0.5 - 0.01  # equal in the first, its mean is below: 0.3 < 0.6 x 0.6


def test_joint_spectrum_closes_where_background_is_rare():
    """As for jets: a steep background, of which few have the signal's first quantity."""
    generator = np.random.default_rng(4)
    found = []
    for _ in range(10):
        signal, background = (
            np.exp(generator.multivariate_normal([mean, mean], [[0.15, 0.1], [0.1, 0.3]], 12_000).T)
            for mean in (0.6, 0.0)
        )
        weight = spectrum_weights(signal, background)
        assert 700 < weight.sum() ** 2 / (weight**2).sum() < 1_400
        of_both = np.array([signal, signal * signal[::-1] ** [[1], [-1]]]).reshape(4, -1)
        others = np.array([background, background * background[::-1] ** [[1], [-1]]]).reshape(4, -1)
        found.append(
            [
                auc(one, Scores(other, weight=weight), bootstraps=2).value
                for one, other in zip(of_both, others, strict=True)
            ]
        )
    first, second, product, ratio = np.mean(found, axis=0)
    assert first == pytest.approx(0.5, abs=0.003)
    assert second == pytest.approx(0.5, abs=0.003)
    assert product == pytest.approx(0.5, abs=0.01)  # one error of so few
    assert ratio == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("background", [[5.0], [0.1, 0.2], [10.0], [0.5, 9.5]])
def test_weights_exist_wherever_the_background_is(background):
    weight = spectrum_weights(np.linspace(0, 10, 101), np.array(background))
    assert np.isfinite(weight).all() and weight.mean() == pytest.approx(1.0)


def test_max_sic_of_exponential_scores():
    """SIC = eps_S^(-1/2) is largest at the lowest eps_S allowed, or where 10 events are left."""
    assert max_sic(*steep(50_000, 50_000)).value == pytest.approx(0.1**-0.5, rel=1e-2)
    few = max_sic(*steep(50_000, 1_000), background_min=10)
    # Ten of 1000 pass, with all signal down to the eleventh, which is the quantile 10.5 / 1000.
    assert few.value == pytest.approx(0.0105 ** (1 / 3) / 0.01**0.5, rel=1e-3)
    assert np.isnan(max_sic(*steep(100, 9), background_min=10).value)


def test_max_sic_is_that_of_a_brute_force_scan():
    rng = np.random.default_rng(2)
    signal, background = rng.integers(-1, 30, 90), rng.integers(-1, 25, 120)
    weight = rng.random(120)
    scan = []
    for threshold in range(-1, 30):
        passing = background >= threshold
        if (signal >= threshold).mean() >= 0.1 and passing.sum() >= 10:
            scan.append((signal >= threshold).mean() / np.sqrt(weight @ passing / weight.sum()))
    assert max_sic(signal, Scores(background, weight=weight)).value == pytest.approx(max(scan))


def test_max_sic_error_is_the_spread_of_repeated_experiments():
    rng = np.random.default_rng(9)
    samples = [(rng.normal(1.5, 1, 500), rng.normal(0, 1, 2_000)) for _ in range(120)]
    found = [max_sic(*sample, background_min=25, bootstraps=40) for sample in samples]
    spread = np.std([estimate.value for estimate in found])
    assert np.mean([estimate.error for estimate in found]) == pytest.approx(spread, rel=0.3)
    # The normal model is integrable: its largest SIC, and the upward bias of a maximum.
    threshold = np.linspace(-1, 2.5, 1_000)
    truth = (stats.norm.sf(threshold - 1.5) / np.sqrt(stats.norm.sf(threshold))).max()
    bias = np.mean([estimate.value for estimate in found]) - truth
    assert 0 < bias < spread


def test_equal_scores_lie_at_the_efficiency_of_their_cut():
    """Half of the signal and a tenth of the background score 1, all others 0."""
    signal, background = np.arange(100) < 50, np.arange(100) < 10
    curve = sic_curve(signal.astype(float), background.astype(float), np.array([0.01, 0.5, 0.6]))
    assert curve.signal_efficiency == pytest.approx([0.5, 0.5, 1.0])
    assert curve.value == pytest.approx([0.5 / 0.1**0.5, 0.5 / 0.1**0.5, 1.0])
    assert sic_at(signal.astype(float), background.astype(float), 0.3).signal_efficiency == 0.5


@pytest.mark.parametrize("efficiency", [0.0, 1.2])
def test_impossible_signal_efficiency_is_refused(efficiency):
    with pytest.raises(ValueError, match="signal efficiencies"):
        sic_at([1.0], [0.0], efficiency)


def test_cut_at_the_working_point_and_its_fluctuations():
    cut = cut_at(*steep(2_000, 4_000), 0.3, bootstraps=600)
    assert not cut.is_loosened
    assert cut.signal_efficiency == pytest.approx(0.3)
    assert cut.background_efficiency == pytest.approx(0.027, rel=0.02)
    assert cut.effective_background == 4_000 * cut.background_efficiency
    for efficiency, resampled, n in (
        (cut.signal_efficiency, cut.resampled_signal_efficiency, 2_000),
        (cut.background_efficiency, cut.resampled_background_efficiency, 4_000),
    ):
        binomial = np.sqrt(efficiency * (1 - efficiency) / n)
        assert resampled.mean() == pytest.approx(efficiency, abs=4 * binomial / np.sqrt(600))
        assert resampled.std() == pytest.approx(binomial, rel=0.1)


def test_cut_is_loosened_until_ten_background_events_pass():
    signal, background = steep(500, 1_000)
    cut = cut_at(signal, background, 0.1)
    assert cut.is_loosened
    assert cut.effective_background == 10
    assert cut.threshold == np.sort(background)[-10]
    assert cut.signal_efficiency == np.mean(signal >= cut.threshold) > 0.1
    with pytest.raises(ValueError, match="background scores"):
        cut_at(signal, background[:9], 0.1)


def test_background_is_resampled_alike_for_all_signals():
    background = exponential(1_000, 1.0)
    cuts = [cut_at(background[:n] + 1e-9, background, 50 / n) for n in (100, 200)]
    assert cuts[0].threshold == cuts[1].threshold
    first, second = (cut.resampled_background_efficiency for cut in cuts)
    assert (first == second).all()
    assert np.std(first) > 0


def test_too_few_resamplings_are_an_open_error_and_no_warning():
    """Where no resampling draws the one signal event, nothing bounds the numbers."""
    event = next(i for i in np.arange(99)[:, None] if not any(poisson_counts(i, 2)))
    pair = Scores(np.ones(1), event), Scores(np.linspace(0, 2, 100), event + np.arange(1, 101))
    point = sic_at(*pair, 0.5, bootstraps=2)
    assert point.value == pytest.approx(1 / np.sqrt(0.5))
    assert (point.low, point.high) == (0.0, np.inf)
    area = auc(*pair, bootstraps=2)
    assert area.value == pytest.approx(0.5) and np.isnan(area.error)
    alone = Scores(np.ones(1), event)  # of background too: never enough of it in a resampling
    assert max_sic(alone, alone, background_min=1, bootstraps=2).error == np.inf


# --- Bins of equal signal -----------------------------------------------------------------------


def asimov(s: float, b: float) -> float:
    """Of a discovery over a known background."""
    return np.sqrt(2 * ((s + b) * np.log(1 + s / b) - s))


def gaussians(seed: int, n: int = 4000) -> tuple[np.ndarray, ...]:
    """Scores, and masses that peak for signal and are flat for background; weights of both."""
    random = np.random.default_rng(seed)
    score, mass = random.normal([[1.0], [0]], size=(2, n)), random.uniform(100, 180, (2, n))
    mass[0] = random.normal(125, 8, n)
    return score, mass, random.uniform(0, 2, (2, n)) * [[0.01], [1]]


def test_significances_of_two_bins_add_in_quadrature():
    signal = Scores(np.array([0.1, 0.5, 0.9]), weight=np.array([1.0, 2, 5]))
    background = Scores(np.array([0.2, 0.3, 0.5, 0.8]), weight=np.array([30.0, 10, 4, 3]))
    found = binned_significance(signal, background, Bins(np.array([0.5])))
    assert found.value == pytest.approx(np.hypot(asimov(1, 40), asimov(7, 7)))
    found = binned_significance(signal, background, Bins(np.array([0.5, 0.85])))  # the last has S
    of_last = asimov(5, (16 + 9) / 7)  # no background: one event of those of the bin below
    known = np.hypot(asimov(1, 40), asimov(2, 7))
    assert found.value == pytest.approx(np.hypot(known, of_last))


def test_a_perfect_separation_leaves_the_background_to_the_lowest_bin():
    """The others are without, and count as if each held one simulated event."""
    signal, background = np.arange(800) + 1000.0, np.arange(900.0)
    bins = equal_signal_bins(signal)
    assert np.array_equal(bins.edges, 1000 + 100 * np.arange(1, 8))
    found = binned_significance(Scores(signal), Scores(background), bins)
    assert found.value == pytest.approx(np.hypot(asimov(100, 900), asimov(100, 1) * 7**0.5))


def test_to_reject_the_last_background_of_a_bin_loses_nothing():
    signal, bins = Scores(np.linspace(0, 1, 100)), Bins(np.array([0.5]))
    found = [
        binned_significance(signal, Scores(np.array([*[0.1] * 50, last])), bins)
        for last in (0.9, 0.1)  # the same number in the upper bin, one more in the lower
    ]
    assert found[0].value == pytest.approx(np.hypot(asimov(50, 50), asimov(50, 1)))
    assert found[1].value == pytest.approx(np.hypot(asimov(50, 51), asimov(50, 1)))


def test_a_score_that_tells_nothing_gains_nothing_and_any_other_does():
    score, _, weight = gaussians(0)
    bins = equal_signal_bins(score[0], weight[0])
    same = [Scores(score[0], weight=k * weight[0]) for k in (1, 40)]
    inclusive = asimov(*(one.weight.sum() for one in same))
    assert binned_significance(*same, bins).value == pytest.approx(inclusive)
    signal, background = (Scores(*pair) for pair in zip(score, [None] * 2, weight, strict=True))
    inclusive = asimov(signal.weight.sum(), background.weight.sum())
    assert binned_significance(signal, background, bins).value > 1.3 * inclusive


def test_bins_hold_equal_signal_and_windows_its_central_part():
    score, mass, weight = (column[0] for column in gaussians(1))
    edges, windows = equal_signal_bins(score, weight, mass)
    place = np.searchsorted(edges, score, "right")
    largest = weight.max()
    for i in range(8):
        rows, (low, high) = place == i, windows[i]
        of_bin = weight[rows].sum()
        assert abs(of_bin - weight.sum() / 8) < largest
        for out in (mass[rows] < low, mass[rows] > high):
            assert 0 <= weight[rows][out].sum() - 0.05 * of_bin < largest
    assert (windows[:, 0] < 125).all() and (windows[:, 1] > 125).all()


def measured(score, mass, weight, event=None, bins=None, bootstraps=100):
    """The significance in bins and windows of the same events."""
    bins = bins or equal_signal_bins(score[0], weight[0], mass[0])
    event = np.arange(score.size).reshape(score.shape) if event is None else event
    classes = [Scores(*columns) for columns in zip(score, event, weight, strict=True)]
    return binned_significance(*classes, bins, tuple(mass), bootstraps=bootstraps)


def test_only_the_order_of_scores_and_masses_matters():
    score, mass, weight = gaussians(2)
    assert measured(np.exp(score), mass**3, weight) == measured(score, mass, weight)


def test_weight_2_is_an_event_twice_in_bins():
    score, mass, weight = gaussians(3, 500)
    event = np.arange(1000).reshape(2, 500)
    copied = [np.repeat(column, 2, axis=1) for column in (score, mass, weight, event)]
    once, twice = measured(score, mass, 2 * weight, event), measured(*copied)
    assert twice.value == pytest.approx(once.value) and twice.error == pytest.approx(once.error)


def test_the_error_is_the_spread_of_other_samples_in_the_same_bins():
    score, mass, weight = gaussians(4)
    bins = equal_signal_bins(score[0], weight[0], mass[0])
    found = []
    for n in np.random.default_rng(0).poisson(4000, (100, 2)):  # of each class
        score, mass, weight = gaussians(len(found), 4500)
        weight *= np.arange(4500) < n[:, None]
        found.append(measured(score, mass, weight, bins=bins, bootstraps=30))
    spread = np.std([one.value for one in found], ddof=1)
    assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=0.25)


def test_bins_without_signal_or_background_are_defined():
    """Few different scores leave bins empty; no mass is in the window of such a bin."""
    edges, windows = equal_signal_bins([1.0, 1, 1, 2], mass=[125.0, 126, 126, 124], bins=4)
    assert np.array_equal(edges, [2, 2, 2]) and np.isnan(windows[1:3]).all()
    bins, signal = Bins(edges, windows), Scores(np.array([1.0, 2.0]))
    for background in (1.5, 2.5, 1.0):
        scores, masses = Scores(np.array([background])), (np.array([125.5, 124]), np.array([124.0]))
        found = binned_significance(signal, scores, bins, masses).value
        assert found == pytest.approx(asimov(1, 1) if background > 2 else 0)

"""The Z gamma study: fits of the mass, correlation with it, noise features, epochs, comparisons."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from event_level.higgs_to_z_gamma import FEATURES, ZGammaTable
from jets.split import HELD_OUT, IDENTITY, assign_split
from sensitivity.binned import binned_significance, equal_signal_bins, significances
from sensitivity.bootstrap import Scores
from sensitivity.resonance import best_order, discovery_significance, excess, fit, polynomials
from studies import higgs_to_z_gamma as page
from studies import z_gamma_results as results
from studies import z_gamma_trainings as study_trainings
from studies.z_gamma_results import EDGES, comparisons, difference, fits_of, grouped, measured
from studies.z_gamma_trainings import (
    CHOSEN_BY,
    TRANSFORMER,
    TREES,
    Trained,
    Way,
    epoch_of,
    expected,
    run_training,
    sample_of,
    seen,
    sha256_of,
    trainings,
    ways,
)
from study import load_study

STUDY = str(Path(__file__).parent.parent / "studies/higgs_to_z_gamma.toml")
MASS = (EDGES[1:] + EDGES[:-1]) / 2
PEAK = norm.pdf(MASS, 125, 2) / norm.pdf(MASS, 125, 2).sum()


def toy_study(name: str = "toy", **training):
    study = load_study(STUDY).changed(name)
    return study.changed(
        training={"epochs": 2, **training},
        classifiers={"seeds": (0, 1)},
        figures={"bootstraps": 2},
        trees={"number": 20},
    )


def toy_table(n: int = 3_000, study=None) -> ZGammaTable:
    """Uniform features, the first of which shifts with the label and the second with the mass."""
    random = np.random.default_rng(0)
    label = np.repeat([1, 0], [n // 3, n - n // 3])
    mass = np.where(label == 1, random.normal(125, 2, n), 100 + random.exponential(25, n) % 80)
    low, high = np.transpose([*FEATURES.values()])
    features = random.uniform(low, high, (n, len(low)))
    features[:, 0] += label
    features[:, 1] += (mass - 140) / 20
    events = np.zeros(n, [(name, "i8") for name in IDENTITY])
    events["process"], events["row"] = label, np.arange(n)
    weight = np.where(label == 1, 300 / np.sum(label), 30_000 / np.sum(1 - label))
    split = assign_split(events, np.ones(n, bool), study or toy_study())
    return ZGammaTable(events, features, mass, label, weight, split)


def counting(s: float, b: float) -> float:
    return np.sqrt(2 * ((s + b) * np.log1p(s / b) - s))


# --- Fits ---------------------------------------------------------------------------------------


def test_a_shape_that_sidebands_fix_is_a_counting_experiment_with_known_background():
    signal, background = np.array([12.0, 0.0]), np.array([30.0, 1e9])
    found = discovery_significance(signal, background, np.ones((2, 1)))
    assert found == pytest.approx(counting(12, 30), rel=1e-6)
    several = np.array([12.0, 3.0, 0.0]), np.array([30.0, 8.0, 1e9])
    found = discovery_significance(*several, np.ones((3, 1)))
    assert found == pytest.approx(np.hypot(counting(12, 30), counting(3, 8)), rel=1e-6)


@pytest.mark.parametrize("tau", [0.5, 3.0])
def test_a_background_known_from_one_sideband_has_the_significance_of_li_and_ma(tau):
    """Astrophys. J. 272 (1983) 317, equation 17, of the expected counts."""
    s, b = 15.0, 40.0
    on, off, alpha = s + b, tau * b, 1 / tau
    known = on * np.log((1 + alpha) / alpha * on / (on + off))
    known += off * np.log((1 + alpha) * off / (on + off))
    found = discovery_significance(np.array([s, 0.0]), np.array([b, tau * b]), np.ones((2, 1)))
    assert found == pytest.approx(np.sqrt(2 * known))


def test_over_a_flat_background_a_small_signal_loses_what_looks_like_background():
    """Z^2 = sum s^2 / b - (sum s)^2 / sum b: the fit moves the level of all bins."""
    background, signal = np.full(len(MASS), 500.0), 0.5 * PEAK
    flat = polynomials(EDGES, 0)
    expected_z = np.sqrt((signal**2).sum() / 500 - signal.sum() ** 2 / background.sum())
    assert discovery_significance(signal, background, flat) == pytest.approx(expected_z, rel=1e-3)
    curved = discovery_significance(signal, background, polynomials(EDGES, 4))
    assert curved < expected_z


def test_a_fit_finds_the_truth_and_the_error_of_a_signal_is_signal_over_significance():
    background = 300 * np.exp(-(MASS - 100) / 25)
    shapes, signal = polynomials(EDGES, 2), 5 * PEAK
    np.testing.assert_allclose(fit(background, shapes).background, background, rtol=1e-6)
    found = fit(background + signal, shapes)
    of_signal = excess(background + signal, found.background, shapes, PEAK)
    z = discovery_significance(signal, background, shapes)
    assert of_signal.value == pytest.approx(5, rel=0.02)
    assert of_signal.deviations == pytest.approx(z, rel=0.02)


def test_pulls_of_fits_to_background_alone_are_standard_normal():
    random, background = np.random.default_rng(3), 60 * np.exp(-(MASS - 100) / 30)
    shapes, pulls, chi2 = polynomials(EDGES, 2), [], []
    for counts in random.poisson(background, (150, len(MASS))):
        found = fit(counts, shapes)
        pulls.append(excess(counts, found.background, shapes, PEAK).deviations)
        chi2.append(found.chi2)
    assert abs(np.mean(pulls)) < 3 / 150**0.5 and np.std(pulls) == pytest.approx(1, abs=0.2)
    assert np.mean(chi2) == pytest.approx(len(MASS) - 3, rel=0.03)


def test_an_order_describes_what_was_drawn():
    x = polynomials(EDGES, 3)
    for order, truth in ((1, x @ [6, -1, 0, 0]), (2, x @ [6, -1, -0.5, 0]), (3, x @ [6, 0, 0, 1])):
        assert best_order(np.exp(truth), EDGES) == order


# --- Test events --------------------------------------------------------------------------------


def test_significances_are_those_of_the_estimate_and_of_independent_scores_differ():
    random = np.random.default_rng(0)
    classes = Scores(random.normal(1, 1, 500)), Scores(random.normal(0, 1, 5_000))
    bins = equal_signal_bins(classes[0].score)
    every = significances(*classes, bins, bootstraps=50)
    estimate = binned_significance(*classes, bins, bootstraps=50)
    assert len(every) == 51 and every[0] == estimate.value
    assert np.std(every[1:], ddof=1) == pytest.approx(estimate.error)


PLAIN = Way(TREES)


def scored(score: np.ndarray, way: Way = PLAIN, seed: int = 0, by: str = CHOSEN_BY[1]):
    history = [{"loss": 0.5, "significance": 1.0}] * 2
    return Trained(way, seed, by, 1, score, 10, 1.0, history)


def test_background_of_an_independent_score_has_the_correlation_of_permuted_events(monkeypatch):
    monkeypatch.setattr(results, "BOOTSTRAPS", 3)
    study, table = toy_study(), toy_table()
    random = np.random.default_rng(1)
    n = np.count_nonzero((table.label == 0) & (table.split == HELD_OUT))
    independent = measured(table, study, scored(random.normal(size=len(table.mass)))).row
    for name in ("correlation", "correlation_zero"):
        assert 0 < independent[name] < 6 / n
    of_mass = (table.mass - 140) / 10 + random.normal(size=len(table.mass))
    mass = measured(table, study, scored(of_mass)).row
    assert mass["correlation"] > 0.3 and mass["correlation_zero"] < 6 / n
    assert independent["auc"] == pytest.approx(0.5, abs=4 * independent["auc_error"])


def test_bins_of_the_fit_share_the_signal_and_hold_all_events():
    study, table = toy_study(), toy_table(9_000)
    events, known = expected(table, study), (table.label == 1) & (table.split == 0)
    score = table.features[:, 0] + np.random.default_rng(1).normal(size=len(table.mass))
    bins = equal_signal_bins(score[known], events[known], table.mass[known])
    rows = fits_of(table, events, score, bins)
    assert sum(row["signal"] for row in rows) == pytest.approx(300, rel=0.1)
    assert sum(row["background"] for row in rows) == pytest.approx(30_000, rel=0.05)
    assert np.allclose([row["signal"] for row in rows], 300 / 8, rtol=0.35)
    best, worst = rows[-1], rows[0]
    assert best["z_fit"] > worst["z_fit"] and best["spectra"].shape == (4, 160)
    assert all(row["z_fit"] > 0 and abs(row["pull"]) < 5 for row in rows)


def test_a_score_that_knows_nothing_gives_one_bin():
    study, table = toy_study(), toy_table()
    events, known = expected(table, study), (table.label == 1) & (table.split == 0)
    flat = np.zeros(len(table.mass))
    bins = equal_signal_bins(flat[known], events[known], table.mass[known])
    z = [row["z_fit"] for row in fits_of(table, events, flat, bins)]
    assert z[:-1] == [0] * 7 and z[-1] > 0


def test_differences_are_paired():
    seeds = np.random.default_rng(0).normal(3, 1, (5, 1))
    assert difference(seeds + 0.1, seeds).value == pytest.approx(0.1)
    assert difference(seeds + 0.1, seeds).error == pytest.approx(0, abs=1e-12)
    events = np.random.default_rng(1).normal(0, 0.2, (1, 4_001))
    both = difference(np.hstack([seeds, seeds + events[:, 1:]]), np.zeros((1, 4_001)))
    assert both.error == pytest.approx(np.hypot(seeds.std(ddof=1) / 5**0.5, 0.2), rel=0.05)


def test_compared_are_pairs_that_differ_in_one_setting():
    study = load_study(STUDY)
    found = [
        results.Measured(
            {**way._asdict(), "seed": seed, "chosen_by": by, "z_fit": 1.0, "correlation": 0.0},
            np.array([2.0, 2.1, 1.9]),
            [],
        )
        for way, seed in trainings(study)
        for by in CHOSEN_BY
    ]
    rows = comparisons(grouped(found))
    pairs = {tuple(row[name] for name in (*results.KEYS, "first", "second")) for row in rows}
    assert len(pairs) * 3 == len(rows)
    of_networks = [row for row in rows if row["changed"] == "network" and row["quantity"] == "z"]
    assert {(row["first"], row["second"]) for row in of_networks} == {
        *itertools.combinations((TREES, "FeedForward", TRANSFORMER), 2)
    }
    assert not any(row["is_ordered"] for row in rows)


# --- Trainings ----------------------------------------------------------------------------------


def test_features_are_scaled_to_the_published_ranges_and_noise_is_noise():
    table = toy_table(6_000)
    low, high = np.transpose([*FEATURES.values()])
    at_ends = ZGammaTable(**{**vars(table), "features": np.tile([low, high], (3_000, 1))})
    np.testing.assert_allclose(seen(at_ends, 15)[:2], [[-1] * 15, [1] * 15])
    found = seen(table, 30)
    np.testing.assert_array_equal(found[:, :15], seen(table, 15))
    np.testing.assert_array_equal(found[:, :5], seen(table, 5))
    noise, n = found[:, 15:], len(found)
    assert (np.abs(noise) <= 1).all()
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=4 * (1 / 3 / n) ** 0.5)
    np.testing.assert_allclose(noise.var(axis=0), 1 / 3, rtol=0.06)
    correlation = np.corrcoef(np.column_stack([noise, table.label, table.mass]), rowvar=False)
    assert np.abs(correlation - np.eye(17))[:, :15].max() < 4.5 / n**0.5
    some = np.arange(0, n, 7)  # an event's noise does not depend on the others
    fewer = ZGammaTable(**{name: column[some] for name, column in vars(table).items()})
    np.testing.assert_array_equal(seen(fewer, 30), found[some])


def test_epochs_by_loss_and_by_significance_are_read_from_one_history():
    history = [
        {"epoch": i, "loss": loss, "significance": z}
        for i, (loss, z) in enumerate([(0.5, 1.0), (0.4, 1.3), (0.2, 1.2), (0.3, 1.25)])
    ]
    assert [epoch_of(history, by) for by in CHOSEN_BY] == [2, 1]


def test_every_split_stands_for_all_expected_events_and_classes_count_alike():
    study, table = toy_study(), toy_table(30_000)
    events = expected(table, study)
    for split, label in itertools.product(range(3), (0, 1)):
        rows = (table.split == split) & (table.label == label)
        total = table.weight[table.label == label].sum()
        assert events[rows].sum() == pytest.approx(total, rel=4 / rows.sum() ** 0.5)
    sample = sample_of(table, study, 15, torch.device("cpu"), 0)
    weight, label = sample.weight.numpy(), sample.label.numpy()
    assert weight[label == 1].sum() == pytest.approx(weight[label == 0].sum(), rel=1e-4)
    assert weight.mean() == pytest.approx(1, rel=1e-4)


def test_the_study_has_all_that_the_page_compares():
    found = ways(load_study(STUDY))
    assert len(set(found)) == len(found)
    for network in (TRANSFORMER, "FeedForward"):
        mine = [way for way in found if way.network == network]
        full = {(w.loss, w.decorrelation, w.window) for w in mine if w.features == 15}
        losses = ("cross entropy", "extreme")
        assert full >= set(itertools.product(losses, (0, 10), (0, 5)))
        assert {w.window for w in mine if w.decorrelation and w.loss == "extreme"} == {
            0,
            2.5,
            5,
            10,
        }
        assert {w.features for w in mine} == {5, 10, 15, 30}


@pytest.mark.parametrize("network", [TREES, TRANSFORMER])
def test_a_finished_training_is_skipped_and_one_of_other_events_made_again(
    network, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    study, table, device = toy_study(batch_size=128), toy_table(600), torch.device("cpu")
    way = Way(network, window=10.0)
    place = study_trainings.directory_of(study, way, 0)
    run_training(study, way, 0, table, sha256_of(table), device)
    scores = place / "scores.npy"
    first, made = np.load(scores), scores.stat().st_mtime_ns
    assert first.shape == (2, 600) and np.isfinite(first).all()
    run_training(study, way, 0, table, sha256_of(table), device)
    assert scores.stat().st_mtime_ns == made
    other = ZGammaTable(**{**vars(table), "mass": table.mass + 1})
    assert sha256_of(other) != sha256_of(table)
    run_training(study, way, 0, other, sha256_of(other), device)
    assert scores.stat().st_mtime_ns > made


def test_the_page_of_a_study(tmp_path, monkeypatch):
    """Scores that know the first feature, and the more of the mass the less they are trained."""
    text = page.PAGE.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    page.PAGE.parent.mkdir()
    page.PAGE.write_text(text, encoding="utf-8")
    monkeypatch.setattr(results, "BOOTSTRAPS", 3)
    monkeypatch.setattr(results, "best_order", lambda *_: 2)
    monkeypatch.setattr(study_trainings, "FEATURE_COUNTS", (5, 15))
    monkeypatch.setattr(study_trainings, "OTHER_WINDOWS", (10.0,))
    study, table = toy_study(), toy_table(2_000)
    random = np.random.default_rng(0)

    def score(way: Way) -> np.ndarray:
        known = 3 * table.features[:, 0] + random.normal(size=len(table.mass))
        return known + (0 if way.decorrelation else (table.mass - 125) / 20)

    found = [scored(score(way), way, s, by) for way, s in trainings(study) for by in CHOSEN_BY]
    written = page.write_page(table, study, found)
    text = written.read_text(encoding="utf-8")
    assert written == study.plots_dir / page.PAGE.name and "not run" not in text
    assert len(list(written.parent.glob("figures/*.png"))) == 4
    assert "| none |" in text and " σ" in text

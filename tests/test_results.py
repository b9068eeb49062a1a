"""Event weights in the results of a study: what they change, and what they must not."""

import contextlib
import dataclasses

import numpy as np
import pytest
from synthetic_study import write_known_trees, write_study

from command import InputError
from evaluation.exclusions import exclusions
from evaluation.results import Classifiers, Results, read_results
from event_level.fits import DS2, jet_mass, on_three_jets
from figures import distributions
from jets.classifier import Classifier
from jets.split import is_signal
from sensitivity.bootstrap import effective_count
from study import load_study

CNN = Classifier(("AK14",), ("CNN",))


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    write_study(folder, signal=100, background=2_000)
    write_known_trees(folder)
    with contextlib.chdir(folder):
        found = read_results(load_study("synthetic.toml"), {})
    # A number that one event passes is no limit: so point estimates do not ask how many there are.
    least = {"background_jets_min": 1, "background_events_min": 1}
    return dataclasses.replace(found, study=found.study.changed(figures=least))


def weighted(results: Results, weight: np.ndarray) -> Results:
    """With other weights of the held-out events (m,)."""
    events = results.table.events.copy()
    events["weight"][results.scores.event] = weight
    return dataclasses.replace(results, table=dataclasses.replace(results.table, events=events))


def taken(results: Results, rows: np.ndarray) -> Results:
    """Of some of the held-out events, or of some several times."""
    scores, trees = results.scores.take(rows), results.trees.take(rows)
    return dataclasses.replace(results, scores=scores, trees=trees)


def merits(results: Results) -> np.ndarray:
    """AUC, max SIC and SIC at the working point of a network, of the jet mass and of trees."""
    jets, events = results.of_jets("AK14"), results.of_events
    found = [
        *((jets.only([CNN, jet_mass("AK14")]), one) for one in (CNN, jet_mass("AK14"))),
        *((events.only([one]), one) for one in (*on_three_jets("AK14", ["CNN"]), DS2)),
    ]
    return np.array([_merits(classifiers, one) for classifiers, one in found])


def _merits(classifiers: Classifiers, one: Classifier) -> list[float]:
    aucs = classifiers.aucs.value[list(classifiers.score).index(one)]
    return [aucs, classifiers.max_sic(one).value, classifiers.sic_at(one).value]


def plane(results: Results) -> np.ndarray:
    """What is measured at every mass point, of DS2."""
    names = ("signal_efficiency", "background_efficiency", "expected_signal", "significance")
    return np.array([[row[name] for name in names] for row in exclusions(results)[-1].points()])


def test_all_weights_doubled_change_nothing(results):
    doubled = weighted(results, np.full(len(results.events), 2.0))
    assert (merits(doubled) == merits(results)).all()
    assert (plane(doubled) == plane(results)).all()


def test_the_weights_of_a_mass_point_do_not_change_another(results):
    """Mass points are alternatives, not a mixture."""
    heavier = np.where(results.events["m_stop"] == 900, 50.0, 1.0)
    np.testing.assert_allclose(merits(weighted(results, heavier)), merits(results), rtol=1e-12)
    np.testing.assert_allclose(plane(weighted(results, heavier)), plane(results), rtol=1e-12)


def test_weight_2_is_an_event_twice(results):
    times = np.random.default_rng(0).integers(1, 4, len(results.events))
    found = weighted(results, times.astype(float))
    repeated = taken(results, np.repeat(np.arange(len(times)), times))
    np.testing.assert_allclose(plane(found), plane(repeated), rtol=1e-12)
    # Of all mass points together each counts by its events, not by their weights: so one alone.
    events = results.events
    signal, point = is_signal(events), (events["m_stop"], events["m_neutralino"])
    rows = np.flatnonzero(~signal | ((point[0] == 900) & (point[1] == 300)))
    pair = taken(found, rows), taken(results, np.repeat(rows, times[rows]))
    np.testing.assert_allclose(*map(merits, pair), rtol=1e-12)


def test_background_in_two_slices_is_the_same_background(results):
    """Of the events with a soft hardest jet one in three, of three times the weight."""
    pt = results.of_events.spectra["pt"]
    soft = pt < np.median(pt)
    signal = is_signal(results.events)
    kept = signal | ~soft | (np.arange(len(signal)) % 3 == 0)
    sliced = taken(weighted(results, np.where(soft & ~signal, 3.0, 1.0)), kept)
    weight = sliced.weight[~is_signal(sliced.events)]
    n = sliced.of_events.effective_background
    assert n == pytest.approx(effective_count(weight.sum(), (weight**2).sum()))
    assert n < len(weight) < np.count_nonzero(~signal)
    for find in (lambda r: r.of_jets("AK14").only([CNN]), lambda r: r.of_events.only([DS2])):
        inclusive, slices = find(results), find(sliced)
        (one,) = inclusive.score
        pairs = [
            [classifiers.aucs[0] for classifiers in (inclusive, slices)],
            [classifiers.max_sic(one) for classifiers in (inclusive, slices)],
        ]
        for whole, part in pairs:
            assert abs(whole.value - part.value) < 4 * np.hypot(whole.error, part.error)


def test_histograms_are_sums_of_weights(results):
    times = np.random.default_rng(1).integers(1, 4, len(results.events))
    found = distributions.features(weighted(results, times.astype(float))).points
    value = results.table.observables[results.scores.event][:, 1]
    rows = ~is_signal(results.events)
    for point in (point for point in found if point["feature"] == "HT"):
        width = point["high"] - point["low"]
        inside = rows & (value >= point["low"]) & (value < point["high"])
        total = times[rows].sum() * width
        assert point["background"] == pytest.approx(times[inside].sum() / total, abs=2 / total)
        error = np.sqrt((times[inside] ** 2).sum()) / total
        assert point["background_error"] == pytest.approx(error, abs=2 / total)


def test_negative_weights_are_taken_and_sums_below_zero_refused(results):
    rng = np.random.default_rng(2)
    sign = np.where(rng.random(len(results.events)) < 0.05, -1.0, 1.0)
    found, usual = merits(weighted(results, sign)), merits(results)
    np.testing.assert_allclose(found[:, 0], usual[:, 0], atol=0.03)
    with pytest.raises(InputError, match="add up to"):
        merits(weighted(results, np.where(is_signal(results.events), 1.0, -1.0)))

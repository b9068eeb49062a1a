"""Closure of slices, on toys whose truth is known."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from toy_events import toy_events

from checks.slices import BOTH, LINES, TAIL, TopPairs, loss, speed, veto_loss
from command import InputError
from evaluation.pages import formatted, markdown
from jets.events import write_events
from jets.packed import KINEMATICS, OBSERVABLES
from processes.ttbar import TTBAR, TTBAR_HARD, TTBAR_SOFT
from products import read_csv
from sensitivity.closure import compared, counts, inner_edges

ROOT = Path(__file__).parent.parent
SLOPE, BOUNDARY = 250.0, 400.0  # GeV, of the toy's activity: its mean, and where slices meet
HARD = np.exp(-BOUNDARY / SLOPE)  # share of the hard slice


def jets_of(rng: np.random.Generator, activity: np.ndarray) -> np.ndarray:
    """Three jets (n, 3), correlated by their event's activity; the last is missing at times."""
    jets = activity[:, None] + rng.exponential(SLOPE / 2, (len(activity), 3)) + [200, 100, 0]
    jets[rng.random(len(jets)) < 0.2, 2] = np.nan
    return jets


def samples(rng: np.random.Generator, of_hard: float = 1.0) -> tuple[np.ndarray, ...]:
    """Jets and weights of two slices together, and of inclusive events; Poisson numbers of 2,500.

    The weights of a slice are 2 : 1, as of one and two leptonic W; those of the hard one are wrong
    by the factor `of_hard`.
    """
    n, n_soft, n_hard = rng.poisson([2_500, 2_500, 2_500])
    soft = -SLOPE * np.log(1 - (1 - HARD) * rng.random(n_soft))
    hard = BOUNDARY + rng.exponential(SLOPE, n_hard)
    weight = np.repeat([1 - HARD, HARD * of_hard], [n_soft, n_hard])
    weight *= rng.choice([2 / 3, 4 / 3], len(weight))
    inclusive = jets_of(rng, rng.exponential(SLOPE, n))
    return jets_of(rng, np.concatenate([soft, hard])), weight, inclusive, np.ones(n)


def p_values(
    toys: int, jets: int = 3, of_hard: float = 1.0, independent: bool = False
) -> np.ndarray:
    """Of toys (toys,) with the first jets of each event, or taken as if each had its own event."""
    rng, found = np.random.default_rng(1), []
    for _ in range(toys):
        sliced, weight, inclusive, ones = samples(rng, of_hard)
        sliced, inclusive = sliced[:, :jets], inclusive[:, :jets]
        if independent:
            weight, ones = np.repeat(weight, jets), np.repeat(ones, jets)
            sliced, inclusive = sliced.ravel(), inclusive.ravel()
        found.append(compared(sliced, weight, inclusive, ones)[0]["p_value"])
    return np.array(found)


@pytest.mark.parametrize("jets", [1, 3])
def test_slices_that_add_up_have_uniform_p_values(jets):
    assert stats.kstest(p_values(200, jets), "uniform").pvalue > 0.01


@pytest.mark.parametrize("jets", [1, 3])
def test_a_wrong_weight_of_one_slice_is_refused(jets):
    assert np.mean(p_values(30, jets, of_hard=1.5) < 1e-3) > 0.9


def test_jets_of_an_event_are_correlated():
    """Else the p-values of these toys are not uniform: the covariance matters."""
    assert stats.kstest(p_values(60, independent=True), "uniform").pvalue < 1e-3


def test_bins_hold_all_jets_of_all_events():
    sliced, weight, inclusive, ones = samples(np.random.default_rng(2))
    row, bins = compared(sliced, weight, inclusive, ones)
    expected = weight @ np.isfinite(sliced).sum(axis=1)
    assert sum(bins["sample"]) == pytest.approx(expected)
    assert sum(bins["other"]) == np.isfinite(inclusive).sum()
    assert bins["sample"][-1] / expected == pytest.approx(0.01, abs=1e-3)  # reaches into the tail
    assert row["bins"] == len(bins["low"]) == 13


def test_whole_numbers_have_a_bin_each():
    n_jets = np.repeat([7, 8, 9, 10, 11], [60, 25, 10, 4, 1])
    edges = inner_edges(n_jets, np.ones(100))
    assert edges.tolist() == [8, 9, 10]
    assert counts(n_jets, edges).sum(axis=0).tolist() == [60, 25, 10, 5]


def test_loss_of_weight_and_its_interval():
    """The mean over toys is the loss put in; the interval covers it about as often as it says."""
    rng, truth, found = np.random.default_rng(3), 0.04, []
    for _ in range(400):
        weight = rng.choice([1.0, 2.0], rng.poisson(500))
        found.append(loss(weight, rng.random(len(weight)) < truth))
    values = np.array([one["loss"] for one in found])
    assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(len(found))
    covered = np.mean([one["low"] < truth < one["high"] for one in found])
    assert 0.683 - 0.1 < covered < 0.9  # Clopper-Pearson covers at least as often, up to weights
    none = loss(np.ones(100), np.zeros(100, bool))
    assert none["loss"] == none["low"] == 0
    assert none["high"] == pytest.approx(1 - 0.1587 ** (1 / 100), abs=1e-4)


def control(folder, process, early_veto: bool = False, lost: int = 0) -> None:
    """20 selected events of weight 1 and 20 of weight 2; `lost` of the former have a low score."""
    events = toy_events(40, index=0)
    attributes = events.attributes | {"process": process.name, "early_veto": early_veto}
    score = np.where(np.arange(40) < lost, -1, 1) + np.float32(process.veto_below)
    weight = np.repeat([1.0, 2.0], 20) * replace(events, attributes=attributes).unit_weight
    events = replace(events, attributes=attributes, veto_score=score, weight=weight)
    write_events(folder / f"{process.name}_0.h5", events)


def test_the_loss_of_each_slice_is_by_its_own_threshold(tmp_path):
    control(tmp_path, TTBAR_SOFT, lost=6)
    control(tmp_path, TTBAR_HARD, lost=3)
    found = {row["slice"]: row for row in veto_loss(tmp_path) if row["ht_above"] == 0}
    assert found["ttbar_soft"]["loss"] == pytest.approx(6 / 60)
    assert found["ttbar_hard"]["loss"] == pytest.approx(3 / 60)
    assert found[BOTH]["loss"] == pytest.approx(9 / 120)
    assert found[BOTH]["lost"] == 9 and found[BOTH]["selected"] == 80


def test_a_control_sample_with_the_veto_is_refused(tmp_path):
    control(tmp_path, TTBAR_SOFT, early_veto=True)
    with pytest.raises(InputError, match=r"slices_control\.toml"):
        veto_loss(tmp_path)


def in_tail(n: int, weight: float) -> TopPairs:
    observables = np.full((n, len(OBSERVABLES)), 2 * TAIL)
    return TopPairs(np.full(n, weight), observables, np.zeros((n, 3), KINEMATICS), np.zeros(n))


def test_speed_is_of_effective_events():
    """Equal weights: events per second, with Poisson errors and those of the times."""
    pairs = {TTBAR: in_tail(100, 4.0), TTBAR_HARD: in_tail(400, 1.0), TTBAR_SOFT: in_tail(0, 1.0)}
    tries = {TTBAR: 1e4, TTBAR_HARD: 1e4, TTBAR_SOFT: 5e3}
    seconds = {TTBAR: (1e-3, 1e-4), TTBAR_HARD: (5e-4, 0.0), TTBAR_SOFT: (1e-3, 0.0)}
    today, hard, both = speed(pairs, tries, seconds)
    assert today["seconds"] == pytest.approx(10 / 100)
    assert today["seconds_error"] == pytest.approx(0.1 * np.hypot(1 / np.sqrt(100), 0.1))
    assert hard["gain"] == pytest.approx(8)
    assert hard["gain_error"] == pytest.approx(8 * np.sqrt(1 / 100 + 0.1**2 + 1 / 400))
    assert both["gain"] == pytest.approx(4)  # the soft slice takes as long as the hard one


@pytest.mark.parametrize("name", LINES)
def test_the_page_shows_what_its_csv_files_hold(name):
    """No number of a table was written by hand."""
    page = (ROOT / "doc/validation.md").read_text()
    (table,) = re.findall(rf"<!-- slices_{name} -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    csv = ROOT / f"doc/results/slices_{name}.csv"
    rows = formatted(read_csv(csv), *LINES[name]) if csv.exists() else [{"": "not run"}]
    assert markdown(rows) == table

"""The event-level split: fractions, uniformity, independence, and that no event ever moves."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from command import InputError
from jets.packed import EVENT_DTYPE, KINEMATICS
from jets.split import (
    HELD_OUT,
    TRAIN,
    VALIDATION,
    assign_split,
    choose_training_jets,
    is_background,
    is_signal,
    mix,
    relative_weights,
    shuffle_labels,
    uniform,
)
from processes import PROCESSES
from processes.stop import STOP
from processes.ttbar import TTBAR
from study import PRESETS


def background(n=60_000, index=0) -> np.ndarray:
    events = np.zeros(n, EVENT_DTYPE)
    events["process"], events["index"], events["row"] = TTBAR.number, index, np.arange(n)
    events["m_stop"] = events["m_neutralino"] = -1
    return events


def signal(n=1_000, m_stop=700, m_neutralino=100) -> np.ndarray:
    events = np.zeros(n, EVENT_DTYPE)
    events["process"], events["index"], events["row"] = STOP.number, -1, np.arange(n)
    events["m_stop"], events["m_neutralino"] = m_stop, m_neutralino
    return events


def some_jets(events, seed=0) -> np.ndarray:
    """Jets (n, 3) of which some are missing and some matched."""
    rng = np.random.default_rng(seed)
    jets = np.zeros((len(events), 3), KINEMATICS)
    jets["pt"] = np.where(rng.random(jets.shape) < 0.9, 200, 0)
    jets["delta_r"] = rng.uniform(0, 1.5, jets.shape)
    return jets


# --- The hash -----------------------------------------------------------------------------------


def test_the_hash_is_splitmix64():
    """One round from a state of 0 gives the first number of the reference implementation."""
    assert mix(np.zeros(1, np.uint64))[0] == 0xE220A8397B1DCDAF


def test_consecutive_rows_are_uniform():
    number = uniform(background(), "split")
    assert number.min() >= 0
    assert number.max() < 1
    counts, _ = np.histogram(number, bins=100, range=(0, 1))
    assert stats.chisquare(counts).pvalue > 1e-3
    # So are pairs of neighbours, which a weak hash would correlate.
    pairs, _, _ = np.histogram2d(number[::2], number[1::2], bins=10, range=[[0, 1], [0, 1]])
    assert stats.chisquare(pairs.ravel()).pvalue > 1e-3


@pytest.mark.parametrize(
    "others",
    [background(index=1), signal(60_000), background()],
    ids=["another file", "another process", "another salt"],
)
def test_numbers_of_others_are_independent(others):
    first = uniform(background(), "split")
    second = uniform(others, "fold" if np.array_equal(others, background()) else "split")
    joint, _, _ = np.histogram2d(first, second, bins=10, range=[[0, 1], [0, 1]])
    assert stats.chi2_contingency(joint).pvalue > 1e-3
    assert not np.isin(first, second).any()


def test_an_event_has_its_number_for_ever():
    """Pinned: another number here would move every event of every study."""
    expected = [0.96072815, 0.29717222, 0.96663919]
    assert uniform(background(3), "split") == pytest.approx(expected, abs=1e-8)


# --- The split ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["readme", "demo"])
def test_fractions_are_those_of_the_study(name):
    study, events = PRESETS[name], background()
    for fully_selected, fractions in (
        (True, study.images.split),
        (False, study.images.split_loose),
    ):
        split = assign_split(events, np.full(len(events), fully_selected), study)
        counts = np.bincount(split, minlength=3)
        expected = len(events) * np.array(fractions)
        assert (counts[expected == 0] == 0).all()
        kept = expected > 0
        assert stats.chisquare(counts[kept], expected[kept]).pvalue > 1e-3


def test_no_event_with_five_or_six_jets_is_held_out():
    events = background()
    fully_selected = np.random.default_rng(0).random(len(events)) < 0.1
    split = assign_split(events, fully_selected, PRESETS["demo"])
    assert fully_selected[split == HELD_OUT].all()


def test_no_event_moves_when_files_are_added():
    one, more = (
        background(index=3),
        np.concatenate([background(index=1), signal(), background(index=3)]),
    )
    study = PRESETS["readme"]
    alone = assign_split(one, np.ones(len(one), bool), study)
    together = assign_split(more, np.ones(len(more), bool), study)
    np.testing.assert_array_equal(together[-len(one) :], alone)


@pytest.mark.parametrize(
    "settings",
    [
        {"split": (0.5, 0.5)},
        {"split": (0.5, 0.2, 0.2)},
        {"split": (float("nan"), 0.5, 0.5)},
        {"split_loose": (0.5, float("nan"), 0.0)},
        {"split": (1.2, -0.4, 0.2)},
        {"split_loose": (0.5, 0.3, 0.2)},
    ],
)
def test_impossible_fractions_are_refused(settings):
    study = PRESETS["readme"].changed(images=settings)
    with pytest.raises(InputError, match="split"):
        assign_split(background(10), np.ones(10, bool), study)


# --- Training jets and shuffled labels ----------------------------------------------------------


def events_with_split(*parts) -> np.ndarray:
    events = np.concatenate(parts)
    events["split"] = assign_split(events, np.ones(len(events), bool), PRESETS["readme"])
    return events


def may_train(events: np.ndarray) -> np.ndarray:
    return events["split"] != HELD_OUT


def test_training_jets_are_matched_limited_and_balanced():
    events = events_with_split(background(3_000), signal(), signal(400, 700, 200), signal(20, 900))
    jets = some_jets(events)
    chosen = choose_training_jets(events, jets, 300, may_train(events))
    assert (events["split"][np.nonzero(chosen)[0]] != HELD_OUT).all()
    assert (jets["pt"][chosen] > 0).all()
    of_signal = chosen & is_signal(events)[:, None]
    assert (jets["delta_r"][of_signal] < 0.5).all()
    candidates = (jets["pt"] > 0) & (jets["delta_r"] < 0.5) & (events["split"] != HELD_OUT)[:, None]
    for m_stop, m_neutralino in ((700, 100), (700, 200), (900, 100)):
        point = (events["m_stop"] == m_stop) & (events["m_neutralino"] == m_neutralino)
        assert chosen[point].sum() == min(300, candidates[point].sum())
    assert chosen[is_background(events)].sum() == of_signal.sum()
    shares = np.bincount(events["split"][np.nonzero(chosen)[0]]) / chosen.sum()
    assert shares[[TRAIN, VALIDATION]] == pytest.approx([5 / 7, 2 / 7], abs=0.06)


def test_the_background_may_have_several_times_the_jets_of_the_signal():
    events = events_with_split(background(3_000), signal())
    jets, trains = some_jets(events), may_train(events)
    alone, more = (choose_training_jets(events, jets, 100, trains, ratio) for ratio in (1, 2.5))
    assert (more >= alone).all()
    assert more[is_background(events)].sum() == 2.5 * alone[is_signal(events)].sum()
    assert alone[is_signal(events)].sum() == more[is_signal(events)].sum()


def test_all_background_is_taken_where_there_is_less():
    events = events_with_split(background(30), signal())
    jets = some_jets(events)
    chosen = choose_training_jets(events, jets, 300, may_train(events))
    trains = is_background(events) & (events["split"] != HELD_OUT)
    np.testing.assert_array_equal(chosen[trains], jets["pt"][trains] > 0)


def test_a_mass_point_keeps_its_jets_when_files_are_added():
    point = signal()
    jets = some_jets(point)
    alone = events_with_split(point)
    more = events_with_split(point, signal(m_stop=800), background(2_000))
    more_jets = np.concatenate([jets, some_jets(more[len(point) :], seed=1)])
    np.testing.assert_array_equal(
        choose_training_jets(more, more_jets, 100, may_train(more))[: len(point)],
        choose_training_jets(alone, jets, 100, may_train(alone)),
    )


def test_shuffled_labels_are_a_permutation_that_knows_nothing():
    rng = np.random.default_rng(0)
    labels = (rng.random(40_000) < 0.3).astype(np.uint8)
    classified = rng.random(40_000) < 0.8
    shuffled = shuffle_labels(labels, classified, "AK14")
    np.testing.assert_array_equal(shuffled[~classified], labels[~classified])
    assert shuffled[classified].sum() == labels[classified].sum()
    table = np.histogram2d(labels[classified], shuffled[classified], bins=2)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-3
    np.testing.assert_array_equal(shuffled, shuffle_labels(labels, classified, "AK14"))
    assert (shuffled != shuffle_labels(labels, classified, "AK08")).any()


# --- Weights ------------------------------------------------------------------------------------


def test_relative_weights_of_equal_ones_are_exactly_1():
    events = np.concatenate([background(7), signal(11), signal(3, 900)])
    events["weight"] = np.where(is_signal(events), events["m_stop"] / 7, 0.1)
    assert (relative_weights(events) == 1).all()


def test_mass_points_are_alternatives_and_backgrounds_a_mixture(monkeypatch):
    other = dataclasses.replace(TTBAR, name="other", settings=lambda: ())
    monkeypatch.setitem(PROCESSES, "other", other)
    more = background(300)
    more["process"] = other.number
    events = np.concatenate([background(100), more, signal(50), signal(50, 900)])
    random = np.random.default_rng(0)
    events["weight"] = random.normal(3, 1, len(events)) * np.repeat(
        [4, 1, 5, 1e-6], [100, 300, 50, 50]
    )
    relative = relative_weights(events)
    for group in (is_background(events), events["m_stop"] == 700, events["m_stop"] == 900):
        assert relative[group].mean() == pytest.approx(1, abs=1e-12)
        ratio = relative[group] / events["weight"][group]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)
    events["weight"] *= 2
    np.testing.assert_array_equal(relative_weights(events), relative)


def test_slices_of_a_variation_are_a_mixture_of_their_own():
    """Each shower by itself, beside the backgrounds; an inclusive one as if it were alone."""
    mixtures = {
        "half_scale": ["half_scale_soft", "half_scale_hard"],
        "double_scale": ["double_scale_soft", "double_scale_hard"],
        "power_shower": ["power_shower"],
        "background": ["ttbar_soft", "ttbar_hard"],
    }
    names = np.repeat([part for parts in mixtures.values() for part in parts], 100)
    events = background(len(names))
    events["process"] = [PROCESSES[name].number for name in names]
    random = np.random.default_rng(0)
    events["weight"] = random.exponential(size=len(names)) * random.integers(1, 9, len(names))
    relative = relative_weights(events)
    for mixture, parts in mixtures.items():
        assert {PROCESSES[part].mixture for part in parts} == {mixture}
        rows = np.isin(names, parts)
        assert relative[rows].mean() == pytest.approx(1, abs=1e-12)
        ratio = relative[rows] / events["weight"][rows]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)
        np.testing.assert_array_equal(relative[rows], relative_weights(events[rows]))


def test_weights_that_add_up_to_nothing_are_refused():
    events = np.concatenate([background(4), signal(4)])
    events["weight"] = [1, 1, 1, 1, 1, 1, -1, -1]
    with pytest.raises(InputError, match=r"4 stop events .* add up to 0, expected more than 0"):
        relative_weights(events)


def test_training_jets_are_drawn_without_looking_at_weights():
    events = events_with_split(background(500), signal())
    jets = some_jets(events)
    chosen = choose_training_jets(events, jets, 100, may_train(events))
    events["weight"] = np.random.default_rng(0).exponential(size=len(events))
    np.testing.assert_array_equal(
        choose_training_jets(events, jets, 100, may_train(events)), chosen
    )

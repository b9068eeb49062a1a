"""Networks of whole events beside trees: which are trained, in which order they are shown."""

import re
import shutil

import numpy as np
import pytest

from evaluation.pages import show
from evaluation.results import Results
from evaluation.table import Summary
from event_level.fits import DS2, beside_event_networks
from jets.classifier import HELD_OUT_EVENTS, Classifier, EventNetwork
from jets.scores import BaseScores, TreeScores
from products import read_csv
from sensitivity.bootstrap import Estimate
from studies import whole_events
from study import load_study

STUDY = load_study("studies/whole_events.toml")
NETWORK = Classifier(
    ("AK14",), ("MaxViT",), ("DS2", "classical"), HELD_OUT_EVENTS,
    event_network=EventNetwork("FeedForward", "extreme", 0.0, 0),
)  # fmt: skip


def of(fits: dict, varied: dict) -> Results:
    n = 4
    no_scores = BaseScores(np.arange(n), {}, {}, {}, {})
    trees, other = (
        TreeScores(np.arange(n), np.zeros(n), np.zeros(n), found) for found in (fits, varied)
    )
    return Results(STUDY, None, no_scores, trees, {"half_scale": other}, {})


def test_each_part_trains_what_its_table_is_about():
    parts = {
        name: beside_event_networks(whole_events.part_of(STUDY, name))
        for name in whole_events.PARTS
    }
    seeds = len(STUDY.event_networks.seeds)
    assert seeds >= 5
    strengths = {
        one.event_network.decorrelation for some in parts["decorrelation"].values() for one in some
    }
    assert 0 in strengths and len(strengths) == 5
    made = {one.event_network[:2] for some in parts["losses"].values() for one in some}
    losses = "cross entropy", "extreme", "delta Z"
    assert made == {(name, loss) for name in ("EventTransformer", "FeedForward") for loss in losses}
    assert [len(some) for some in parts["losses"].values()] == [6 * seeds]  # on the same inputs
    assert [trees.words for trees in parts["decorrelation"]] == [whole_events.SEEN]
    assert [trees.words for trees in parts["objects"]] == ["MaxViT + objects"]


def test_parts_are_put_together_and_a_shower_with_them():
    """Each part has its own fits beside DS2; the same seed of a network in two parts is one."""
    other = NETWORK._replace(event_network=NETWORK.event_network._replace(decorrelation=1.0))
    columns = {one: np.full(4, i / 10) for i, one in enumerate((DS2, NETWORK, other))}
    parts = [
        of({one: columns[one] for one in some}, {one: columns[one] + 0.5 for one in some})
        for some in ((DS2, NETWORK), (DS2, NETWORK, other))
    ]
    found = whole_events.together(parts)
    assert set(found.trees.fits) == set(found.varied["half_scale"].fits) == set(columns)
    for one, column in columns.items():
        assert np.array_equal(found.trees.fits[one], column)
        assert np.array_equal(found.varied["half_scale"].fits[one], column + 0.5)


def test_a_seed_of_an_event_network_is_not_what_it_is():
    again = NETWORK._replace(event_network=NETWORK.event_network._replace(seed=3))
    assert again.of_any_seed == NETWORK.of_any_seed == NETWORK
    assert NETWORK._replace(event_network=None, seed=2).of_any_seed.seed is None
    other = NETWORK._replace(event_network=NETWORK.event_network._replace(loss="delta Z"))
    assert other.of_any_seed != NETWORK


def test_other_showers_are_compared_at_every_working_point():
    summary = Summary()
    for at in (0.3, 0.5):
        for variation, quantity in (("", "eps_B"), ("half_scale", "shift of eps_B")):
            keys = {"variation": variation, "signal_efficiency": at}
            summary.add("modelling", DS2, quantity, Estimate(at, 0.1), **keys)
    assert whole_events.printed_modelling(summary.rows) == [
        {"": DS2.label, "eps_S": at, "eps_B": f"{at:.2f} ± 0.10", "half_scale": f"{at:.2f} ± 0.10"}
        for at in (0.3, 0.5)
    ]


def test_the_page_shows_what_its_csv_files_hold(tmp_path, monkeypatch):
    """No number of a table was written by hand."""
    shutil.copytree("doc", tmp_path / "doc")
    monkeypatch.chdir(tmp_path)
    before = whole_events.PAGE.read_text()
    marks = set(re.findall(r"^<!-- (\w+)", before, re.M))
    assert marks == {"studies", "end", *whole_events.PRINTED}
    for name, printed in whole_events.PRINTED.items():
        path = whole_events.PAGE.parent / f"results/whole_events_{name}.csv"
        show(whole_events.PAGE, name, read_csv(path) if path.is_file() else [], printed)
    assert whole_events.PAGE.read_text() == before and "| missing:" not in before


@pytest.mark.parametrize("setting", ["simulation", "sample", "event_networks"])
def test_a_quick_run_has_a_sample_and_products_of_its_own(setting):
    quick = whole_events.quick(STUDY)
    assert quick.data_dir != STUDY.data_dir and quick.sample_dir != STUDY.sample_dir
    assert getattr(quick, setting) != getattr(STUDY, setting)

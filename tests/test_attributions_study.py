"""The study of attributions: rankings of a network that is known, scenes whose truth is known."""

import re
import shutil

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.metrics import roc_auc_score
from torch import nn
from toy_jets import SIDE, packed

from attribution.averages import Explained
from attribution.remove import score
from evaluation.pages import show
from jets.images import dense
from products import read_csv
from studies import attributions as study_of
from studies.erasures import TRUTH, Colours, hardest, scenes, summed, toys
from studies.rankings import RAW_ZERO, Case, of_seeds, rankings, references, shares_of
from study import load_study
from training.event_features import EventFeatures

STUDY = load_study("studies/whole_events.toml")
CPU = torch.device("cpu")
WEIGHTS = torch.tensor([2.0, 1.0, 0.0, 0.0])


class Linear(nn.Module):
    """A logit that rests on the first feature, half as much on the second, on no other."""

    def forward(self, features):
        return torch.stack([torch.zeros(len(features)), features @ WEIGHTS], dim=1)


def case(raw_zero=(0.0, 0, 0, 0)) -> Case:
    """Signal and background differ in all four features but the last; weights are of two kinds."""
    random = np.random.default_rng(0)
    label = np.repeat([0, 1], 400)
    seen = random.normal(size=(800, 4)) + label[:, None] * np.array([1.0, 1, 2, 0])
    table = np.zeros(800, [("event", "i8"), ("label", "u1")])
    table["event"], table["label"] = np.arange(800), label
    weight = np.where((label == 0) & (np.arange(800) % 4 == 0), 30.0, 1.0)
    names = ("first", "second", "third", "fourth")
    inputs = EventFeatures(seen, table, CPU)
    return Case("toy", names, Linear(), inputs, label, weight, np.array(raw_zero))


def test_what_a_network_does_not_see_is_not_ranked_whatever_it_separates():
    features, agreement = rankings(lambda: iter([case(), case()]), n=60, draws=4, steps=2)
    value = {(row["feature"], row["by"]): row["value"] for row in features}
    for by in ("zero", RAW_ZERO, "uniform", "weighted", "mean", "permuted"):
        first, second, third, fourth = (value[name, by] for name in case().features)
        assert first > second > 0 and third == fourth == 0
        assert first + second == pytest.approx(1)
    assert value["third", "alone"] > value["first", "alone"]  # which the network does not know
    assert {row["trainings"] for row in (*features, *agreement)} == {2}
    numbers = {(row["by"], row["quantity"]): row for row in agreement}
    assert numbers["weighted", "rank correlation, permuted"]["value"] > 0.9
    assert numbers["weighted", "area, background, signal"]["low"] > 0
    assert abs(numbers["zero", "completeness error"]["value"]) < 1e-5


def test_a_raw_zero_far_away_ranks_what_is_far_away():
    """From (0, 100) the second feature has most of it, though it matters half as much."""
    features, _ = rankings(lambda: iter([case((0.0, 100, 0, 0))]), n=40, draws=1, steps=2)
    value = {(row["feature"], row["by"]): row["value"] for row in features}
    assert value["second", RAW_ZERO] > 0.9 > 0.5 > value["second", "zero"]


def test_references_see_the_network_or_the_feature():
    known = {name: shares for name, (shares, _) in references(case()).items()}
    assert known["permuted"][0] > known["permuted"][1] > 0
    assert known["permuted"][2:].tolist() == [0, 0]
    assert known["alone"].argmax() == 2 and known["alone"][3] < 0.1


def test_errors_of_references_are_the_spread_over_samples_of_events():
    """Shares add up to 1, so that their covariances with all add up to 0."""
    made = case()
    for shares, covariance in references(made).values():
        assert_allclose(shares.sum(), 1)
        assert_allclose(covariance.sum(axis=0), 0, atol=1e-12)
    random, found = np.random.default_rng(2), []
    for _ in range(100):
        rows = random.integers(0, len(made.label), len(made.label))
        areas = [
            roc_auc_score(made.label[rows], one, sample_weight=made.weight[rows])
            for one in made.seen[rows].T
        ]
        distance = np.abs(np.array(areas) - 0.5)
        found.append(distance / distance.sum())
    error = np.sqrt(np.diag(references(made)["alone"][1]))
    assert_allclose(error[:3], np.std(found, axis=0)[:3], rtol=0.3)


def test_an_event_of_weight_two_counts_as_two_events():
    n = 40
    seen, label = np.random.default_rng(1).normal(size=(n, 3)), np.arange(n) % 2
    weight = 1.0 + (np.arange(n) == 4)

    def shares(rows, weight):
        given, nothing = {"features": seen[rows]}, np.zeros(len(rows))
        found = Explained(rows, given, given, nothing, nothing)
        return shares_of(found, label[rows], weight, rows)

    once = shares(np.arange(n), weight)
    again = shares(np.sort(np.append(np.arange(n), 4)), np.ones(n + 1))
    assert np.allclose(once, again)  # resampled together, too
    assert np.allclose(once.sum(axis=1), 1) and once[1:].std(axis=0).min() > 0


def test_seeds_and_their_spread_are_one_row():
    rows = [{"by": "zero", "value": v, "error": 0.3} for v in (1.0, 1.8)]
    [row] = of_seeds(rows)
    assert (row["value"], row["trainings"]) == (pytest.approx(1.4), 2)
    assert row["high"] - row["value"] == pytest.approx(0.5)  # 0.3 and 0.4


def test_scenes_differ_inside_the_mask_alone():
    mask, images = scenes(3)
    inside = mask == 255
    assert 0.05 < inside.mean() < 0.25
    for name, image in images.items():
        changed = (image != images[TRUTH]).any(axis=2)
        if name != "two halves":
            assert not changed[~inside].any()
        assert changed.any() == (name != TRUTH)
    assert np.array_equal(images["camouflage"], images["same texture"])  # nobody can tell them


def test_a_bad_erasure_scores_lower_and_camouflage_does_not():
    """Features that need no training; the score is of consistency, not of removal."""
    rows = toys(4, {"colours": Colours()})
    below = {r["way"]: r["value"] for r in rows if r["quantity"] == "below the truth"}
    assert min(below[way] for way in ("not erased", "black")) > 0.9
    assert abs(below["camouflage"] - 0.5) < 0.45
    mask, images = scenes(0)
    assert score(images["black"], mask, Colours(), crop=True) < score(
        images[TRUTH], mask, Colours(), crop=True
    )


def test_a_prong_is_laid_on_top_of_another_jet():
    jets = packed(20).images
    n = len(jets) // 2
    first, second = jets.take(np.arange(n)), jets.take(np.arange(n, 2 * n))
    both = dense(summed(first, second), SIDE)
    assert np.allclose(both, dense(first, SIDE) + dense(second, SIDE), atol=1e-4)
    of_pixel = np.random.default_rng(0).integers(-1, 3, len(first.pixels))
    alone = hardest(first, of_pixel)
    assert len(alone) == n and alone.values.sum() == first.values[of_pixel == 0].sum()


def test_the_page_shows_what_its_csv_files_hold(tmp_path, monkeypatch):
    """No number of a table was written by hand."""
    shutil.copytree("doc", tmp_path / "doc")
    monkeypatch.chdir(tmp_path)
    before = study_of.PAGE.read_text()
    marks = set(re.findall(r"^<!-- (\w+)", before, re.M))
    assert marks == {"studies", "end", *study_of.PRINTED}
    for name, printed in study_of.PRINTED.items():
        path = study_of.PAGE.parent / f"results/attributions_{name}.csv"
        show(study_of.PAGE, name, read_csv(path) if path.is_file() else [], printed)
    assert study_of.PAGE.read_text() == before and "| missing:" not in before


def test_a_quick_run_has_products_of_its_own():
    quick = study_of.quick(STUDY)
    assert quick.data_dir != STUDY.data_dir and quick.sample_dir.name == "demo"


def test_numbers_of_jets_stand_in_the_table_that_is_about_them():
    quantities = ["within 0.2 of a prong: pT", "area, zeros", "share of mass"]
    found = study_of.split([{"quantity": one} for one in quantities])
    assert {name: rows[0]["quantity"] for name, rows in found.items()} == {
        "prongs": "pT", "areas": "area, zeros", "shares": "share of mass"
    }  # fmt: skip

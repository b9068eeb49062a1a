"""Step 4: which fits, cross-fitting over events, and what the trees see."""

import contextlib
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xgboost
from scipy import stats
from synthetic_study import OF_JETS, STUDY, write_study
from toy_jets import packed, select

import fit_xgb
from command import InputError
from event_level.fits import (
    CLASSICAL,
    DS1,
    DS2,
    KNOWN,
    PUBLISHED_NETWORKS,
    columns,
    fits,
    null_check,
    with_all_known,
)
from event_level.trees import (
    cross_fit,
    folds_and_offered,
    grow,
    scores_by_same_jets,
    weights_to_grow_with,
)
from jets.angularities import ANGULARITIES
from jets.classifier import HELD_OUT_EVENTS, Classifier, Key
from jets.packed import read_event_table
from jets.scores import read_scores, read_trees
from jets.split import IDENTITY, TRAIN, is_signal
from physics import JET_DEFINITIONS
from products import fingerprints, write_manifest
from sensitivity.auc import auc
from study import Study, load_study


def run(folder: Path, *options: str) -> None:
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fit_xgb.py", "--study", "synthetic.toml", *options])
        fit_xgb.main()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    write_study(folder)
    run(folder)
    return folder


def on(definitions: str, networks: str = "", *features: str) -> Classifier:
    """Trees over events."""
    return Classifier(
        tuple(definitions.split()), tuple(networks.split()), features, HELD_OUT_EVENTS
    )


EVERY = " ".join(JET_DEFINITIONS)


def test_the_23_fits_of_the_paper_and_four_for_another_network():
    published, extended = (
        {one for one in fits(networks) if one.networks or not one.jet_definitions}
        - {*with_all_known(networks)}
        for networks in (PUBLISHED_NETWORKS, [*PUBLISHED_NETWORKS, "ViT"])
    )
    assert len(published) == 23
    assert sum(not one.features for one in published) == 17
    assert published > {DS1, DS2, on(EVERY, "CNN CoAtNet MaxViT"), on("AK14", "CNN", "DS2")}
    added = {on(name, "ViT") for name in JET_DEFINITIONS} | {on("AK14", "ViT", "DS2")}
    assert extended - published == added


def test_columns_are_three_scores_a_network_and_the_features(finished):
    data = finished / "Data/synthetic"
    scores, table = read_scores(data / "scores.h5", (0, 1)), read_event_table(data / "events.h5")
    sizes = {
        on("AK14", "MaxViT"): 3,
        on("AK14", "CNN CoAtNet MaxViT"): 9,
        on(EVERY, "CoAtNet MaxViT"): 18,
        on(EVERY, "CNN CoAtNet MaxViT"): 27,
        DS1: 4,
        DS2: 9,
        on("AK14", "", *KNOWN): 32,
        on("AK14", "CNN", *KNOWN): 35,
        on("AK14", "MaxViT", "DS1"): 7,
        on("AK14", "CNN", "DS2"): 12,
        on("AK10", "", "mass", "pt"): 6,
    }
    assert {one: columns(one, scores, table).shape[1] for one in sizes} == sizes
    seen = columns(on("AK14", "CNN", "DS1"), scores, table)
    assert np.array_equal(seen[:, :3], scores.networks[Classifier(("AK14",), ("CNN",))])
    assert np.array_equal(seen[:, 3:], table.observables[scores.event, :4])
    masses = columns(on("AK10", "", "mass", "pt"), scores, table)
    assert np.array_equal(masses[:, 3:], scores.jets["AK10"]["pt"])


def test_a_key_is_read_back_as_it_was_written(finished):
    """Of every score on disk; names of datasets differ."""
    trees = read_trees(finished / "Data/synthetic/trees.h5")
    scores = read_scores(finished / "Data/synthetic/scores.h5", (0, 1))
    repeat = Classifier(("AK10",), ("MaxViT",), seed=1)
    further = {
        repeat._replace(jet_definitions=(name,), trees=HELD_OUT_EVENTS) for name in JET_DEFINITIONS
    }
    further |= {one._replace(features=KNOWN) for one in further if one[0] == ("AK14",)}
    assert set(trees.fits) == {*fits(OF_JETS), null_check(scores)} | further
    assert repeat in scores.repeats and repeat._replace(seed=None) in scores.networks
    assert Classifier(("AK10",), ("CNN",), permuted=True) in scores.shuffled
    assert len({one.dataset for one in trees.fits}) == len(trees.fits)
    for one in trees.fits:
        assert Key.of(one.row()) == one.key


def test_every_event_is_scored_once_and_missing_jets_not_at_all(finished):
    scores = read_scores(finished / "Data/synthetic/scores.h5", (0, 1))
    trees = read_trees(finished / "Data/synthetic/trees.h5")
    assert np.array_equal(trees.event, scores.event)
    assert set(np.unique(trees.fold)) == {0, 1, 2}
    for one, score in trees.fits.items():
        if score.ndim == 2:
            exists = scores.jets[one.jet_definitions[0]]["pt"] > 0
            assert (score[~exists] == -1).all() and ((score > 0) & (score < 1))[exists].all()
        else:
            assert ((score > 0) & (score < 1)).all()


def test_further_seeds_have_fits_of_their_own(finished):
    trees = read_trees(finished / "Data/synthetic/trees.h5")
    usual, further = on("AK14", "MaxViT"), on("AK14", "MaxViT")._replace(seed=1)
    assert not np.array_equal(trees.fits[further], trees.fits[usual])


def test_trees_learn_nothing_from_permuted_labels(finished):
    trees = read_trees(finished / "Data/synthetic/trees.h5")
    (score,) = (score for one, score in trees.fits.items() if one.permuted)
    found = auc(*(score[trees.shuffled_label == n] for n in (1, 0)))
    assert abs(found.value - 0.5) < 3 * found.error


def test_folds_are_even_of_all_classes_and_follow_from_the_event_alone():
    events = np.zeros(6000, [(name, "i8") for name in IDENTITY])
    events["row"] = np.arange(6000)
    events["process"] = np.arange(6000) % 2
    events["m_stop"] = np.where(is_signal(events), 900, -1)
    study = Study("test").changed(trees={"folds": 5})
    fold, offered = folds_and_offered(events, is_signal(events), study)
    counts = np.bincount(fold[is_signal(events)], minlength=5)
    assert stats.chisquare(counts).pvalue > 1e-3
    reversed_fold, _ = folds_and_offered(events[::-1], is_signal(events[::-1]), study)
    assert np.array_equal(fold, reversed_fold[::-1])
    assert offered[~is_signal(events)].all()
    # 3000 events of one mass point, 2000 offered; which ones has nothing to do with the fold.
    signal = offered & is_signal(events)
    assert signal.sum() == 2000
    shares = np.bincount(fold[signal], minlength=5) / counts
    assert (abs(shares - 2 / 3) < 5 * np.sqrt(2 / 9 / counts)).all()


def test_trees_never_see_the_fold_that_they_score():
    """Labels are noise: trees that saw them would remember, honest ones stay at AUC 0.5."""
    random = np.random.default_rng(3)
    n = 3000
    features, label = random.normal(size=(n, 3)), random.uniform(size=n) < 0.5
    fold = random.integers(0, 3, n)
    study = Study("test").changed(trees={"folds": 3, "number": 60})
    weight = np.ones(n)
    score = cross_fit(features, label, weight, fold, study, "cpu")
    rank = stats.mannwhitneyu(score[label], score[~label]).statistic
    auc = rank / label.sum() / (~label).sum()
    assert abs(auc - 0.5) < 4 * np.sqrt(1 / 12 * (1 / label.sum() + 1 / (~label).sum()))
    # Another label in fold 0 changes the trees of the others, and no score of fold 0.
    changed = np.where(fold == 0, ~label, label)
    again = cross_fit(features, changed, weight, fold, study, "cpu")
    assert np.array_equal(again[fold == 0], score[fold == 0])
    assert not np.array_equal(again[fold == 1], score[fold == 1])


def test_trees_of_one_class_know_that_class():
    """As of a fold whose mass points have one signal event each; there is no warning either."""
    background = np.zeros(40, bool)
    study = Study("x").changed(trees={"number": 20})
    trees = grow(np.arange(40.0)[:, None], background, np.ones(40), study, "cpu")
    assert (trees.predict(xgboost.DMatrix(np.arange(40.0)[:, None])) < 0.2).all()


def test_trees_of_the_same_jets_grow_on_what_trains_the_networks():
    """There heavy jets are signal; a jet that does not exist is not scored."""
    jets = packed(300)
    jets.jets["mass"] = 100 + 100 * jets.jets["label"]
    training = select(jets, TRAIN)
    held_out = np.zeros((5, 3), [(name, "f4") for name in ("pt", "mass", *ANGULARITIES)])
    held_out["pt"][:, :2] = 300
    held_out["mass"] = (90, 210, 210)
    seen = ("mass", "pt", *ANGULARITIES)
    study = Study("x").changed(trees={"number": 20})
    weight = np.ones(len(training.jets))
    score = scores_by_same_jets(held_out, training, weight, seen, study, "cpu")
    assert (score[:, 0] < 0.2).all() and (score[:, 1] > 0.8).all() and (score[:, 2] == -1).all()
    jets.jets["label"][jets.jets["split"] == TRAIN] ^= 1
    opposite = scores_by_same_jets(held_out, select(jets, TRAIN), weight, seen, study, "cpu")
    assert (opposite[:, 0] > 0.8).all()


def test_classes_weigh_the_same():
    """Without any information the probability is 1/2, whatever the numbers of events."""
    n = 2000
    label, fold = np.arange(n) % 10 == 0, np.arange(n) % 3
    score = cross_fit(
        np.zeros((n, 1)),
        label,
        np.ones(n),
        fold,
        Study("test").changed(trees={"folds": 3, "number": 30}),
        "cpu",
    )
    assert score == pytest.approx(0.5, abs=1e-3)


def test_a_tree_takes_weight_2_as_an_event_twice():
    random = np.random.default_rng(4)
    features, label = random.integers(0, 30, (500, 2)).astype("f4"), random.random(500) < 0.3
    features[label] += 4
    study, times = Study("x").changed(trees={"number": 20}), random.integers(1, 4, 500)
    rows = np.repeat(np.arange(500), times)
    trees = (
        grow(features, label, times.astype(float), study, "cpu"),
        grow(features[rows], label[rows], np.ones(len(rows)), study, "cpu"),
    )
    scores = [one.predict(xgboost.DMatrix(features)) for one in trees]
    np.testing.assert_allclose(*scores, atol=1e-4)  # of sums in single precision
    unweighted = grow(features, label, np.ones(500), study, "cpu")
    assert abs(unweighted.predict(xgboost.DMatrix(features)) - scores[0]).max() > 0.01


def test_negative_weights_are_refused_or_handled_as_the_study_says():
    weight = np.array([1.0, -0.5, 2.0])
    with pytest.raises(InputError, match=r"1 of 3 weights .* 'leave out' or to 'absolute'"):
        weights_to_grow_with(weight, Study("x"), Path("events.h5"))
    for way, expected in (("leave out", [1, 0, 2]), ("absolute", [1, 0.5, 2])):
        study = Study("x").changed(trees={"negative_weights": way})
        assert weights_to_grow_with(weight, study, Path("events.h5")).tolist() == expected


def test_no_tree_grows_on_a_weight_of_0():
    random = np.random.default_rng(5)
    features, label, fold = (
        random.normal(size=(400, 2)),
        np.arange(400) % 2 == 0,
        np.arange(400) % 3,
    )
    study = Study("x").changed(trees={"folds": 3, "number": 10})
    weight = np.where(random.random(400) < 0.2, 0.0, 1.0)
    score = cross_fit(features, label, weight, fold, study, "cpu")
    again = cross_fit(features, label ^ (weight == 0), weight, fold, study, "cpu")
    assert np.array_equal(score, again)


def test_trees_on_three_jets_approach_the_best_combination(finished):
    """Three independent Gaussian scores at distance d combine to sqrt(3) d; few jets are missing.

    The AUC of a Gaussian score is Phi(d / sqrt(2)).
    """
    trees = read_trees(finished / "Data/synthetic/trees.h5")
    with h5py.File(finished / "Data/synthetic/events.h5") as file:
        signal = is_signal(file["events"][()][trees.event])
    score = trees.fits[on("AK14", "MaxViT")]
    rank = stats.mannwhitneyu(score[signal], score[~signal]).statistic
    auc = rank / signal.sum() / (~signal).sum()
    one, three = stats.norm.cdf(OF_JETS["MaxViT"] * np.sqrt([1 / 2, 3 / 2]))
    assert one + 0.5 * (three - one) < auc < three + 0.01


def test_a_second_run_does_nothing_and_a_repeated_one_gives_the_same(finished, capsys):
    path = finished / "Data/synthetic/trees.h5"
    before, first = path.stat().st_mtime_ns, read_trees(path)
    run(finished)
    assert "finished already" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == before
    (finished / "Data/synthetic/trees.json").unlink()
    run(finished)
    second = read_trees(path)
    assert all(np.array_equal(first.fits[name], second.fits[name]) for name in first.fits)


def test_published_files_give_the_17_fits_and_a_reason_for_the_others(tmp_path, capsys):
    stated = STUDY.replace(', "ViT"]', "]")
    write_study(tmp_path, signal=10, background=200, published=True, stated=stated)
    run(tmp_path)
    left_out = json.loads((tmp_path / "Data/synthetic/trees.json").read_text())["left_out"]
    seed = on("AK14", "MaxViT", *KNOWN)._replace(seed=1)
    needing = [one for one in fits(PUBLISHED_NETWORKS) if {"DS1", "DS2"} & set(one.features)]
    assert set(left_out) == {one.label for one in (*needing, seed)} and len(needing) == 10
    printed = capsys.readouterr().out
    assert all(
        "the sample holds no" in why and f"{name}: {why}" in printed
        for name, why in left_out.items()
    )
    found = read_trees(tmp_path / "Data/synthetic/trees.h5").fits
    assert sum(bool(one.networks) and one.seed is None for one in found) == 17 + 1  # null check
    assert sum(not one.networks for one in found) == (len(CLASSICAL) + 4) * len(JET_DEFINITIONS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "abacus"])
def test_a_device_that_is_not_there_is_refused(tmp_path, device):
    write_study(tmp_path, signal=10, background=200)
    with pytest.raises(InputError, match=f"--device {device}"):
        run(tmp_path, "--device", device)
    assert not (tmp_path / "Data/synthetic/trees.h5").exists()


def test_bad_input_names_the_step_to_run(tmp_path):
    write_study(tmp_path, signal=10, background=2)
    with pytest.raises(InputError, match="2 held-out background events"):
        run(tmp_path)
    (tmp_path / "Data/synthetic/scores.h5").write_bytes(b"not HDF5")
    with pytest.raises(InputError, match=r"predict_base_model_mass\.py again"):
        run(tmp_path)
    (tmp_path / "Data/synthetic/scores.json").unlink()
    with pytest.raises(InputError, match=r"run predict_base_model_mass\.py first"):
        run(tmp_path)
    assert not (tmp_path / "Data/synthetic/trees.h5").exists()


@pytest.mark.parametrize("name", ["events", "AK14"])
def test_scores_of_other_events_or_jets_are_refused(tmp_path, name):
    """Another split leaves scores of events that are no longer held out."""
    write_study(tmp_path, signal=10, background=200)
    data = tmp_path / "Data" / "synthetic"
    packed = [f"Data/synthetic/{one}.h5" for one in ("events", *JET_DEFINITIONS)]
    with contextlib.chdir(tmp_path):
        paths = [Path(one) for one in packed]
        study, scores = load_study("synthetic.toml"), [Path("Data/synthetic/scores.h5")]
        settings = study.settings("predict")
        write_manifest(data / "scores.json", settings, fingerprints(paths), scores)
        with h5py.File(f"Data/synthetic/{name}.h5", "a") as file:
            file.attrs["another"] = "split"
        write_manifest(data / "setup.json", study.settings("setup"), {}, paths)
    with pytest.raises(
        InputError, match=rf"{name}\.h5: no longer what predict_base_model_mass\.py"
    ):
        run(tmp_path)

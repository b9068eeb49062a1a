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
from event_level.fits import CLASSICAL, OF_ONE_JET, fits
from event_level.trees import cross_fit, folds_and_offered, grow, scores_by_same_jets
from jets.angularities import ANGULARITIES
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


def test_the_23_fits_of_the_paper_and_four_for_another_network():
    published = fits(["CNN", "CoAtNet", "MaxViT"])
    assert len(published) == 23
    of_scores = {name: fit for name, fit in published.items() if not {"DS1", "DS2"} & set(fit)}
    assert len(of_scores) == 17
    assert [len(of_scores[name]) for name in ("AK08_CNN", "all_definitions_CNN")] == [1, 3]
    assert [len(of_scores[name]) for name in ("AK14_all_networks", "transformers", "all")] == [
        3,
        6,
        9,
    ]
    added = set(fits(["CNN", "CoAtNet", "MaxViT", "ViT"])) - set(published)
    assert added == {"AK08_ViT", "AK10_ViT", "AK14_ViT", "AK14_ViT_DS2"}


def test_columns_are_three_scores_a_network_and_four_or_nine_features(finished):
    trees = read_trees(finished / "Data/synthetic/trees.h5")
    sizes = {"AK14_MaxViT": 3, "AK14_all_networks": 9, "transformers": 18, "all": 27}
    sizes |= {
        "DS1": 4,
        "DS2": 9,
        "AK14_MaxViT_DS1": 7,
        "AK14_CNN_DS2": 12,
        "AK10/mass_pt": 2,
        "AK10_mass_pt": 6,
    }
    assert {name: len(trees.inputs[name]) for name in sizes} == sizes
    assert trees.inputs["DS1"] == ("pTmiss", "HT", "MJ", "Nj")


def test_every_event_is_scored_once_and_missing_jets_not_at_all(finished):
    scores = read_scores(finished / "Data/synthetic/scores.h5", (0, 1))
    trees = read_trees(finished / "Data/synthetic/trees.h5")
    assert np.array_equal(trees.event, scores.event)
    assert set(np.unique(trees.fold)) == {0, 1, 2}
    for name, score in trees.fits.items():
        if score.ndim == 2:
            exists = scores.jets[name.split("/")[0]]["pt"] > 0
            assert (score[~exists] == -1).all() and ((score > 0) & (score < 1))[exists].all()
        else:
            assert ((score > 0) & (score < 1)).all()


def test_further_seeds_have_fits_of_their_own(finished):
    trees = read_trees(finished / "Data/synthetic/trees.h5")
    assert trees.inputs["AK14_MaxViT_1"] == tuple(f"AK14/MaxViT/1 jet {k}" for k in range(3))
    assert not np.array_equal(trees.fits["AK14_MaxViT_1"], trees.fits["AK14_MaxViT"])


def test_trees_learn_nothing_from_permuted_labels(finished):
    trees = read_trees(finished / "Data/synthetic/trees.h5")
    of_class = (trees.null_check[trees.shuffled_label == n] for n in (1, 0))
    found = auc(*of_class)
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
    everywhere = np.ones(n, bool)
    score = cross_fit(features, label, fold, everywhere, study, "cpu")
    rank = stats.mannwhitneyu(score[label], score[~label]).statistic
    auc = rank / label.sum() / (~label).sum()
    assert abs(auc - 0.5) < 4 * np.sqrt(1 / 12 * (1 / label.sum() + 1 / (~label).sum()))
    # Another label in fold 0 changes the trees of the others, and no score of fold 0.
    changed = np.where(fold == 0, ~label, label)
    again = cross_fit(features, changed, fold, everywhere, study, "cpu")
    assert np.array_equal(again[fold == 0], score[fold == 0])
    assert not np.array_equal(again[fold == 1], score[fold == 1])


def test_trees_of_one_class_know_that_class():
    """As of a fold whose mass points have one signal event each; there is no warning either."""
    background = np.zeros(40, bool)
    trees = grow(
        np.arange(40.0)[:, None], background, Study("x").changed(trees={"number": 20}), "cpu"
    )
    assert (trees.predict(xgboost.DMatrix(np.arange(40.0)[:, None])) < 0.2).all()


def test_trees_of_the_same_jets_grow_on_what_trains_the_networks():
    """There heavy jets are signal; a jet that does not exist is not scored."""
    jets = packed(300)
    jets.jets["mass"] = 100 + 100 * jets.jets["label"]
    training = select(jets, TRAIN)
    held_out = np.zeros((5, 3), [(name, "f4") for name in ("pt", "mass", *ANGULARITIES)])
    held_out["pt"][:, :2] = 300
    held_out["mass"] = (90, 210, 210)
    seen = CLASSICAL["angularities"]
    score = scores_by_same_jets(
        held_out, training, seen, Study("x").changed(trees={"number": 20}), "cpu"
    )
    assert (score[:, 0] < 0.2).all() and (score[:, 1] > 0.8).all() and (score[:, 2] == -1).all()
    jets.jets["label"][jets.jets["split"] == TRAIN] ^= 1
    opposite = scores_by_same_jets(
        held_out, select(jets, TRAIN), seen, Study("x").changed(trees={"number": 20}), "cpu"
    )
    assert (opposite[:, 0] > 0.8).all()


def test_classes_weigh_the_same():
    """Without any information the probability is 1/2, whatever the numbers of events."""
    n = 2000
    label, fold = np.arange(n) % 10 == 0, np.arange(n) % 3
    score = cross_fit(
        np.zeros((n, 1)),
        label,
        fold,
        np.ones(n, bool),
        Study("test").changed(trees={"folds": 3, "number": 30}),
        "cpu",
    )
    assert score == pytest.approx(0.5, abs=1e-3)


def test_trees_on_three_jets_approach_the_best_combination(finished):
    """Three independent Gaussian scores at distance d combine to sqrt(3) d; few jets are missing.

    The AUC of a Gaussian score is Phi(d / sqrt(2)).
    """
    trees = read_trees(finished / "Data/synthetic/trees.h5")
    with h5py.File(finished / "Data/synthetic/events.h5") as file:
        signal = is_signal(file["events"][()][trees.event])
    score = trees.fits["AK14_MaxViT"]
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
    networks = [f"AK14_{name}_DS2" for name in ("CNN", "CoAtNet", "MaxViT")]
    assert set(left_out) == {"DS1", "DS2", "AK14_MaxViT_DS1", *networks}
    printed = capsys.readouterr().out
    assert all(
        "published files" in why and f"{name}: {why}" in printed for name, why in left_out.items()
    )
    fits = read_trees(tmp_path / "Data/synthetic/trees.h5").fits
    further = len(CLASSICAL) + len(OF_ONE_JET) + 1  # the second seed of MaxViT
    assert len(fits) == 17 + further * len(JET_DEFINITIONS)


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

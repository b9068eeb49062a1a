"""The study of pre-training: who has which labels, what starts from what, its page."""

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.pages import show
from models.pretrained import read_facts
from products import read_csv
from sensitivity.auc import auc
from sensitivity.bootstrap import Scores
from studies import jepa_trainings as of_study
from studies import jepa_transfer as study_of
from studies.jepa_trainings import (
    FINE_TUNED,
    FROZEN,
    JETS_MIN,
    KINDS,
    PUBLISHED,
    QUARKS,
    SCRATCH,
    SHARES,
    SOURCES,
    STARTS,
    STOPS,
    TREES,
    UNTRAINED,
    Trained,
    Way,
    labelled,
    scratch_of,
    trainings,
)
from study import Study, load_study
from tests.test_quark_gluon_study import STUDY, write_jets
from training.learner import choose_device

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("jepa")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        base = ROOT / "studies/quark_gluon.toml"
        Path("tiny.toml").write_text(STUDY.format(base=base))
        write_jets(Path("train_data/tiny/QG_jets.npz"))
        yield load_study("tiny.toml").changed(training={"width": 0.25, "epochs": 1})


@pytest.fixture(scope="module")
def jets(study):
    device = choose_device("cpu")
    return functools.cache(
        lambda task, is_shuffled: of_study.jets_of(task, study, device, is_shuffled)
    )


def test_few_labels_are_among_many_and_are_seen_as_often_as_it_takes(jets):
    sample = jets(QUARKS, False).training
    sets = [labelled(sample, share, seed=1) for share in (0.1, 0.5, 1.0)]
    labels = [set(one.rows.tolist()) for one in sets]
    assert labels[0] < labels[1] < labels[2] == set(sample.rows.tolist())
    for one, few in zip(sets, labels, strict=True):
        assert len(one.rows) >= JETS_MIN and len(one.rows) % len(few) == 0
        assert (np.bincount(one.rows)[list(few)] == len(one.rows) / len(few)).all()
    assert set(labelled(sample, 0.1, seed=2).rows.tolist()) != labels[0]


def test_no_jet_is_in_two_of_training_choice_and_test(jets):
    found = jets(QUARKS, False)
    parts = [
        set(one.inputs.table["event"][one.rows].tolist())
        for one in (found.training, found.watched, found.tested)
    ]
    assert all(parts) and sum(map(len, parts)) == len(set.union(*parts))
    shuffled = jets(QUARKS, True)
    for plain, other in zip(found[:3], shuffled[:3], strict=True):
        assert not torch.equal(plain.label, other.label)
        assert plain.label.sum() == other.label.sum()  # of each split


def test_some_jets_are_of_both_classes_where_files_come_class_by_class():
    label = np.repeat([1, 0], 2_000)
    watched = of_study.some(np.arange(4_000), of_study.WATCHED, 0)
    assert len(np.unique(watched)) == of_study.WATCHED
    assert abs(label[watched].mean() - 0.5) < 5 * (0.25 / of_study.WATCHED) ** 0.5


def test_every_start_has_its_training_from_scratch():
    asked = trainings((0, 1, 2), list(SOURCES))
    assert len(asked) == len(set(asked))
    ways = {way for way, _ in asked}
    for way in ways:
        if way.start in (FROZEN, FINE_TUNED) and not way.is_shuffled:
            for start in (SCRATCH, UNTRAINED):
                assert way._replace(kind=scratch_of(KINDS[way.kind]), start=start) in ways
    of_published = {(w.task, w.start, w.share) for w in ways if w.kind == PUBLISHED.name}
    assert of_published == {
        (task, start, share)
        for task in SOURCES
        for start in (*STARTS, UNTRAINED, TREES)
        for share in SHARES
    }
    assert {way.task for way, _ in trainings((0,), [STOPS])} == {STOPS}
    # Random masks change nothing in a network that was not pre-trained.
    assert not any(way.kind == "random masks" and way.start == SCRATCH for way in ways)


def test_trainings_from_before_there_were_other_targets_stay_what_they_are(study, jets):
    """What decides a training names them only where they differ."""
    way = Way(QUARKS, PUBLISHED.name, TREES, 0.1)
    of_study.run_training(study, way, 0, jets, choose_device("cpu"))
    manifest = json.loads((of_study._directory(study, way, 0) / "manifest.json").read_text())
    assert sorted(manifest["settings"]["kind"]) == ["masks", "name", "options", "shares", "tasks"]


def test_fewer_targets_leave_more_of_a_jet_to_predict_from(study, jets):
    rows = study_of.contexts(study, {QUARKS: jets(QUARKS, False)})
    found = {(row["kind"], row["jets"], row["quantity"]): row for row in rows}
    for one in QUARKS.split(" or "):
        most, least = (
            found[kind, one, "pT in the context"] for kind in ("fewer targets", PUBLISHED.name)
        )
        assert most["low"] > least["high"]
        assert found[PUBLISHED.name, one, "pT in no token"]["value"] < 0.2
    assert len({kind for kind, *_ in found}) == 4  # those whose masks differ


def test_encoders_are_made_once_and_stay_as_they_are_where_frozen(study, jets, monkeypatch):
    device, way = choose_device("cpu"), Way(QUARKS, PUBLISHED.name, FROZEN, 0.1)
    for start in (FROZEN, FINE_TUNED, SCRATCH, UNTRAINED, TREES):
        of_study.run_training(study, way._replace(start=start), 0, jets, device)
    encoder = of_study.encoder_directory(study, PUBLISHED, QUARKS, 0) / "encoder.safetensors"
    facts = read_facts(encoder)
    assert facts["jets"] == QUARKS and facts["epochs"] == str(of_study.LONGER)
    monkeypatch.setattr(of_study, "pretrain", None)  # would fail
    monkeypatch.setattr(of_study, "trainings", lambda *_: [(way, 0), (way._replace(share=1.0), 0)])
    of_study.run_training(study, way, 0, jets, device)
    [found] = of_study.read_trainings(study, [QUARKS])
    assert found.score.shape == jets(QUARKS, False).tested.rows.shape
    names = sorted(path.name for path in (study.data_dir / "models").iterdir() if path.is_dir())
    assert len(names) == 5
    states = []
    for name in names:
        if FROZEN in name or FINE_TUNED in name:
            path = study.data_dir / "models" / name / "epoch_00.pt"
            state = torch.load(path, weights_only=True)["network"]
            states.append({k: v for k, v in state.items() if k.startswith("encoder.")})
    tuned, untrained, frozen = states  # by name
    assert any(not torch.equal(untrained[name], frozen[name]) for name in frozen)
    assert any(not torch.equal(tuned[name], frozen[name]) for name in frozen)
    from safetensors.torch import load_file

    for name, weight in load_file(encoder).items():
        assert torch.equal(frozen[f"encoder.{name}"], weight)


def test_differences_are_paired_and_permuted_labels_are_their_own(study, jets):
    given, random = jets(QUARKS, False), np.random.default_rng(0)
    label = given.tested.label.numpy()[given.tested.rows]
    way = Way(QUARKS, PUBLISHED.name, SCRATCH, 1.0)

    def scores(gain: float) -> np.ndarray:
        return 1 / (1 + np.exp(-gain * label - random.normal(size=len(label))))

    found = [Trained(way, seed, scores(1.0), []) for seed in (0, 1)]
    found += [Trained(way._replace(start=FROZEN), seed, scores(2.0), []) for seed in (0, 1)]
    rows = {(row["start"], row["quantity"]): row for row in study_of.measured(study, given, found)}
    values = [
        auc(*(Scores(one.score[label == c], np.flatnonzero(label == c)) for c in (1, 0))).value
        for one in found
    ]
    assert rows[SCRATCH, "AUC"]["value"] == pytest.approx(np.mean(values[:2]))
    gain = np.mean(values[2:]) - np.mean(values[:2])
    assert rows[FROZEN, "AUC difference"]["value"] == pytest.approx(gain)
    share = np.mean([(one.score > 0.5) == (label == 1) for one in found[:2]])
    assert rows[SCRATCH, "accuracy"]["value"] == pytest.approx(share)
    assert (SCRATCH, "AUC difference") not in rows


def test_the_page_shows_what_its_tables_hold():
    page = ROOT / study_of.PAGE
    text = page.read_text(encoding="utf-8")
    marks = re.findall(r"<!-- (?!end|studies)(\w+).* -->", text)
    assert sorted(marks) == sorted(study_of.PRINTED)
    for name, printed in study_of.PRINTED.items():
        path = ROOT / f"doc/results/jepa_transfer_{name}.csv"
        show(page, name, read_csv(path) if path.is_file() else [], printed)
    assert page.read_text(encoding="utf-8") == text

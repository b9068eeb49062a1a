"""Malformed HDF5: every kind of damage in checks/damage.py, and some that chance makes."""

import contextlib
import os
import random
import shutil
import subprocess
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from synthetic_study import write_known_trees, write_study

import plots
from checks.damage import DATASETS, FILES, KINDS, NUMBERS, RANDOM, flip
from checks.fuzz import ROOT, TARGETS, Bench
from command import InputError, run
from jets.events import Events, read_events
from jets.packed import read_event_table, read_jet_table, read_jets
from jets.scores import read_scores, read_trees

CASES = {"collisions": 6, "published": 2}  # of each random kind; checks.fuzz judges thousands
FLIPS = 200


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def test_there_are_at_least_forty_kinds_for_each_layout():
    assert min(len(kinds) for kinds in KINDS.values()) >= 40


@pytest.mark.parametrize(
    ("layout", "kind"), [(layout, kind) for layout, kinds in KINDS.items() for kind in kinds]
)
def test_damage_is_refused_in_one_sentence_and_nothing_is_written(bench, layout, kind):
    verdict = bench.judge(layout, KINDS[layout][kind], seed=0)
    assert verdict.outcome == "refused", verdict.said


@pytest.mark.parametrize("layout", TARGETS)
@pytest.mark.parametrize("kind", RANDOM)
def test_random_damage_is_refused_or_does_no_harm(bench, layout, kind):
    for seed in range(CASES[layout]):
        verdict = bench.judge(layout, RANDOM[kind], seed, may_be_read=True)
        assert verdict.outcome != "failed", f"seed {seed}: {verdict.said}"


def test_a_flipped_byte_of_our_own_layout_is_noticed_or_changes_nothing(bench, tmp_path):
    content = (bench.folder / "collisions" / TARGETS["collisions"]).read_bytes()
    path = tmp_path / "flipped.h5"
    path.write_bytes(content)
    original = read_events(path)
    refused = 0
    for seed in range(FLIPS):
        flipped = bytearray(content)
        flip(flipped, random.Random(seed))
        path.write_bytes(flipped)
        try:
            found = read_events(path)
        except InputError:
            refused += 1
        else:
            assert _content(found) == _content(original), f"seed {seed}"
    assert refused > 0.8 * FLIPS  # most of the file is compressed numbers


def _content(events: Events) -> dict:
    """Everything in it, as bytes."""
    values = {field.name: getattr(events, field.name) for field in fields(events)}
    values |= values.pop("large_r")
    return {
        name: value.tobytes() if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


@pytest.mark.parametrize(
    ("layout", "kind", "words"),
    [
        ("collisions", "cut in the middle", ["stop_700_100.h5", "truncated", "copy it again"]),
        ("published", "a heap without an end", ["BG_AK08_0.hdf5", "came to no end", "fetch it"]),
        ("published", "a row of 16 GB", ["BG_AK08_0.hdf5", "memory", "fetch it"]),
    ],
)
def test_the_command_line_says_what_is_wrong(bench, tmp_path, layout, kind, words):
    shutil.copytree(bench.folder / layout, tmp_path, dirs_exist_ok=True)
    KINDS[layout][kind](tmp_path / TARGETS[layout], random.Random(0))
    done = subprocess.run(
        [sys.executable, ROOT / "setup.py", "--study", f"{layout}.toml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("setup.py: ") and done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words), done.stderr
    assert not (tmp_path / "Data").exists()


# --- Products damaged between the steps ---------------------------------------------------------

READERS = {
    "events.h5": read_event_table,
    "AK14.h5": read_jets,
    "AK10.h5": read_jet_table,
    "scores.h5": partial(read_scores, seeds=(0,)),
    "trees.h5": read_trees,
}
TAKEN = {"events.h5": "events", "AK14.h5": "pixels", "AK10.h5": "jets"} | dict.fromkeys(
    ("scores.h5", "trees.h5"), "events"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A study in which all steps but the figures have run."""
    folder = tmp_path_factory.mktemp("finished")
    with contextlib.chdir(folder):
        write_study(Path(), signal=5, background=50)
        write_known_trees(Path())
    return folder


@pytest.fixture
def study(finished, tmp_path, monkeypatch) -> Path:
    """A copy of it as the current directory; where its products lie."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "Data" / "synthetic"


@pytest.mark.parametrize("name", READERS)
def test_a_step_refuses_products_that_are_not_as_they_were_left(study, name, monkeypatch, capsys):
    RANDOM["flipped bit"](study / name, random.Random(0))
    monkeypatch.setattr(sys, "argv", ["plots.py", "--study", "synthetic.toml"])
    with pytest.raises(SystemExit) as stopped:
        run(plots.main)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert name in said and "again" in said and said.count("\n") == 1
    assert not (study.parents[1] / "plots").exists()


@pytest.mark.parametrize("name", READERS)
def test_readers_of_products_refuse_malformed_files(finished, tmp_path, name, monkeypatch):
    monkeypatch.setitem(NUMBERS, ".h5", TAKEN[name])
    kinds = {kind: FILES[kind] for kind in FILES if kind != "of the other layout"}
    kinds |= {kind: DATASETS[kind] for kind in ("a dataset is missing", "a group for a dataset")}
    for kind, damage in (kinds | {"huge": DATASETS["huge"]}).items():
        path = tmp_path / kind / name
        path.parent.mkdir()
        shutil.copy(finished / "Data/synthetic" / name, path)
        damage(path, random.Random(0))
        with pytest.raises(InputError, match=name):
            READERS[name](path)

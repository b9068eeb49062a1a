"""train.py, train_all.sh and predict_base_model_mass.py through their command lines."""

import csv
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from toy_jets import SIDE, make_events, make_jets, write_jets, write_study

import fit_xgb
import plots
import predict_base_model_mass
import train
from command import run
from jets.classifier import Classifier
from jets.packed import read_jets
from jets.scores import read_scores
from jets.split import HELD_OUT
from models import create_model
from physics import JET_DEFINITIONS, MISSING_DELTA_R
from products import alone, write_manifest
from sensitivity.auc import auc
from study import load_study

TOY = """
[training]
width = 0.125
pixel_scale = "sqrt"
epochs = 2
batch_size = 16
learning_rate = 3e-3
[classifiers]
networks = ["CNN"]
[figures]
background_jets_min = 2
"""
LONGER = ("--set", "training.epochs=3")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which both steps have run, and what train_all.sh said."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "toy.toml").write_text(TOY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_study(load_study("toy.toml"), 300)
        training = train_all("--study", "toy.toml", "--device", "cpu")
        assert training.returncode == 0, training.stderr
        patch.setattr(sys, "argv", ["predict_base_model_mass.py", "--study", "toy.toml"])
        predict_base_model_mass.main()
    return folder, training.stdout


@pytest.fixture
def toy(finished, tmp_path, monkeypatch):
    """A copy of that folder to work in."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "Data" / "toy"


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a script in this process; its exit status, and what it wrote to stdout and stderr."""

    def call(script, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *arguments])
        status = 0
        try:
            run(script.main)
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


def train_all(*options, python=sys.executable):
    """Run the shell script as a user does."""
    return subprocess.run(
        [ROOT / "train_all.sh", *options],
        env=os.environ | {"PYTHON": str(python)},
        capture_output=True,
        text=True,
    )


def trained_names(data: Path) -> list[str]:
    return sorted(path.parent.name for path in data.glob("models/*/manifest.json"))


def test_train_all_trains_everything_and_keeps_logs(finished):
    folder, said = finished
    models = folder / "Data" / "toy" / "models"
    assert trained_names(models.parent) == [
        "AK08_CNN_0",
        "AK10_CNN_0",
        "AK14_CNN_0",
        "AK14_CNN_0_shuffled",
    ]
    logs = [path.read_text() for path in sorted(models.glob("*/log.txt"))]
    logged = [line for log in logs for line in log.splitlines()]
    assert set(logged) <= {line.partition(": ")[2] for line in said.splitlines()}
    assert "standard errors from 0.5" in logs[-1]
    assert "at least 2 of" in said


def test_a_training_leaves_a_row_and_a_checkpoint_an_epoch(toy):
    folder = toy / "models" / "AK14_CNN_0"
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["best_epoch"] == int(np.argmin([float(row["loss"]) for row in rows]))
    for name in ("epoch_00.pt", "epoch_01.pt"):
        assert torch.load(folder / name, weights_only=True)["settings"]["network"] == "CNN"


def test_several_at_a_time_end_with_the_first_that_fails(toy):
    shutil.rmtree(toy / "models")
    (toy / "models").mkdir()
    (toy / "models" / "AK10_CNN_0").touch()
    ended = train_all("--study", "toy.toml", "--jobs", "2")
    assert ended.returncode == 2 and ended.stderr.count("AK10_CNN_0: File exists") >= 1
    assert "Traceback" not in ended.stderr


def test_a_second_run_does_nothing_and_says_so(toy, call):
    before = {path: path.stat().st_mtime_ns for path in toy.rglob("*")}
    status, said, _ = call(train, "--all", "--study", "toy.toml")
    assert status == 0 and said.count("already finished") == 4
    status, said, _ = call(predict_base_model_mass, "--study", "toy.toml")
    assert status == 0 and "already there" in said
    assert {path: path.stat().st_mtime_ns for path in toy.rglob("*")} == before


def test_more_epochs_go_on_from_fewer(toy, call):
    first = toy / "models" / "AK08_CNN_0" / "epoch_00.pt"
    before = first.stat().st_mtime_ns
    status, said, _ = call(train, "AK08", "cnn", "--study", "toy.toml", *LONGER)
    assert status == 0 and "epoch 3/3" in said and "epoch 2/3" not in said
    assert first.stat().st_mtime_ns == before


def test_the_best_epoch_is_asked_whether_it_sees_images(toy, call, monkeypatch):
    asked = []
    monkeypatch.setattr(train, "best_epoch", lambda history, choose_by: 0)
    monkeypatch.setattr(train, "unseen_inputs", lambda network, _: asked.append(network) or [])
    assert call(train, "AK08", "CNN", "--study", "toy.toml", *LONGER)[0] == 0
    first = torch.load(toy / "models" / "AK08_CNN_0" / "epoch_00.pt", weights_only=True)
    torch.testing.assert_close(asked[0].state_dict(), first["network"], rtol=0, atol=0)


def test_weights_of_equal_spectra_are_a_setting_of_the_training(toy, call):
    """Said in the log."""
    option = ("--set", "training.equalise=flat")
    status, said, _ = call(train, "AK08", "CNN", "4", "--study", "toy.toml", *option)
    assert status == 0 and "equal spectra in pt: 0 of " in said
    manifest = json.loads((toy / "models/AK08_CNN_4/manifest.json").read_text())
    assert manifest["settings"]["training"]["equalise"] == "flat"
    option = ("--set", "training.loss=hinge")
    status, _, complaint = call(train, "AK08", "CNN", "--study", "toy.toml", *option)
    assert status == 2 and "training.loss is 'hinge', expected one of cross entropy" in complaint
    assert (toy / "models/AK08_CNN_0/manifest.json").is_file() and not (toy / "set_aside").exists()


def test_two_runs_do_not_train_the_same(toy, call):
    command = (train, "AK08", "CNN", "--study", "toy.toml", *LONGER)
    with alone(Path("Data/toy/models/AK08_CNN_0")):
        before = {path: path.stat().st_mtime_ns for path in toy.rglob("*")}
        status, said, error = call(*command)
        assert status == 2 and not said and error.count("\n") == 1
        assert "AK08_CNN_0: another run is making this" in error
        assert {path: path.stat().st_mtime_ns for path in toy.rglob("*")} == before
    assert call(*command)[0] == 0  # its run has ended


@pytest.mark.parametrize("definition", JET_DEFINITIONS)
def test_an_older_checkpoint_may_be_removed_unless_it_is_the_best(toy, call, definition):
    folder = toy / "models" / f"{definition}_CNN_0"
    best = json.loads((folder / "manifest.json").read_text())["best_epoch"]
    (folder / "epoch_00.pt").unlink()
    status, _, error = call(train, definition, "CNN", "--study", "toy.toml")
    if best == 0:
        assert status == 2 and f"{folder.name}/epoch_00.pt: No such file" in error
    else:
        assert status == 0
        assert call(predict_base_model_mass, "--study", "toy.toml")[0] == 0


def test_another_seed_is_trained_and_scored_beside_the_first(toy, call):
    """Alone; with all scores gone, all are made again, bit for bit."""
    predict = (predict_base_model_mass, "--study", "toy.toml")
    assert call(train, "AK08", "CNN", "1", "--study", "toy.toml")[0] == 0
    status, said, _ = call(*predict)
    assert status == 0 and said.count(": scored") == 1 and "AK08 CNN 1: scored" in said
    with h5py.File(toy / "scores.h5") as file:
        assert set(file["AK08/CNN"]) == {"0", "1"}
        assert not np.array_equal(file["AK08/CNN/0"], file["AK08/CNN/1"])
    added = (toy / "scores.h5").read_bytes()
    (toy / "scores.h5").unlink()
    status, said, _ = call(*predict)
    assert status == 0 and said.count(": scored") == 5
    assert (toy / "scores.h5").read_bytes() == added


@pytest.mark.parametrize("script", [fit_xgb, plots])
def test_scores_without_a_training_that_is_finished_by_now_are_refused(script, toy, call):
    Path("toy.toml").write_text(TOY.replace('["CNN"]\n', '["CNN"]\nseeds = [2, 0]\n'))
    options = ("--study", "toy.toml")
    status, said, _ = call(predict_base_model_mass, *options)
    assert status == 0 and "AK08 CNN 2: not trained; another seed stands in" in said
    assert call(train, "AK08", "CNN", "2", *options)[0] == 0
    status, _, complaint = call(script, *options)
    assert status == 2 and complaint.count("\n") == 1
    assert "scores.json: made without AK08 CNN 2, whose training is finished by now" in complaint


def test_what_is_no_longer_the_same_is_scored_again(toy, call):
    """Scores are changed by hand, then another checkpoint becomes the best."""
    with h5py.File(toy / "scores.h5", "r+") as file:
        file["AK10/CNN/0"][:] = 0.5
    status, said, _ = call(predict_base_model_mass, "--study", "toy.toml")
    assert status == 0 and said.count(": scored") == 4
    assert call(train, "--all", "--study", "toy.toml", *LONGER)[0] == 0
    manifests = toy.glob("models/*/manifest.json")
    best = [json.loads(manifest.read_text())["best_epoch"] for manifest in manifests]
    status, said, _ = call(predict_base_model_mass, "--study", "toy.toml", *LONGER)
    assert status == 0 and said.count(": scored") == best.count(2)


def test_scores_are_those_of_the_best_checkpoint_of_the_held_out_jets(toy):
    """Rebuilt jet by jet from dense images."""
    scores = read_scores(toy / "scores.h5", (0,))
    packed = read_jets(toy / "AK10.h5", HELD_OUT)
    network = create_model("CNN", SIDE, 0.125).eval()
    folder = toy / "models" / "AK10_CNN_0"
    best = json.loads((folder / "manifest.json").read_text())["best_epoch"]
    network.load_state_dict(
        torch.load(folder / f"epoch_{best:02d}.pt", weights_only=True)["network"]
    )
    for row in range(0, len(packed), 10):
        image = np.zeros(3 * SIDE * SIDE, np.float32)
        first, last = packed.images.offsets[row : row + 2]
        image[packed.images.pixels[first:last]] = packed.images.values[first:last]
        image = torch.from_numpy(np.sqrt(image / (image.max() + 1e-6)).reshape(1, 3, SIDE, SIDE))
        jet = packed.jets[row]
        mass = torch.tensor([jet["mass"] / 1000])
        probability = torch.softmax(network(image, mass), dim=1)[0, 1].item()
        event = int(np.flatnonzero(scores.event == jet["event"])[0])
        assert scores.networks[Classifier(("AK10",), ("CNN",))][event, jet["k"]] == pytest.approx(
            probability, abs=1e-6
        )
        assert scores.jets["AK10"]["pt"][event, jet["k"]] == jet["pt"]


def test_held_out_jets_are_told_apart_and_missing_ones_marked(toy):
    scores = read_scores(toy / "scores.h5", (0,))
    with h5py.File(toy / "events.h5") as file:
        events = file["events"][()]
    np.testing.assert_array_equal(scores.event, np.flatnonzero(events["split"] == HELD_OUT))
    is_signal = events["process"][scores.event] == 1
    for definition in JET_DEFINITIONS:
        jets, score = scores.jets[definition], scores.networks[Classifier((definition,), ("CNN",))]
        exists = jets["pt"] > 0
        assert 0 < exists.sum() < exists.size
        assert (score[~exists] == -1).all() and (jets["delta_r"][~exists] == MISSING_DELTA_R).all()
        assert ((score[exists] >= 0) & (score[exists] <= 1)).all()
        hardest = exists[:, 0]
        signal, background = (score[hardest & (is_signal == truth), 0] for truth in (True, False))
        assert auc(signal, background).value > 0.95
    assert set(scores.shuffled) == {Classifier(("AK14",), ("CNN",), permuted=True)}


def test_a_log_on_a_full_disk_is_named(toy, call):
    log = toy / "models" / "AK08_CNN_7" / "log.txt"
    log.parent.mkdir()
    log.symlink_to("/dev/full")
    status, _, complaint = call(train, "AK08", "CNN", "7", "--study", "toy.toml")
    assert status == 2 and complaint.count("\n") == 1
    assert complaint.endswith("AK08_CNN_7/log.txt: No space left on device; free space\n")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"settings": {}, "inputs": [], '])
def test_a_cut_manifest_is_made_again_or_refused_in_one_sentence(content, toy, call):
    manifest = toy / "models" / "AK08_CNN_0" / "manifest.json"
    whole = json.loads(manifest.read_text())
    for name in ("manifest.json", "history.csv"):
        (manifest.parent / name).write_text(content)
    (toy / "scores.json").write_text(content)
    status, _, complaint = call(predict_base_model_mass, "--study", "toy.toml")
    assert status == 2 and complaint.count("\n") == 1
    assert "manifest.json: not a manifest" in complaint and "run train.py again" in complaint
    assert call(train, "AK08", "CNN", "--study", "toy.toml")[0] == 0
    assert json.loads(manifest.read_text())["settings"] == whole["settings"]
    assert call(predict_base_model_mass, "--study", "toy.toml")[0] == 0


def test_a_training_of_other_settings_is_not_scored(toy, call):
    predict = (predict_base_model_mass, "--study", "toy.toml")
    assert call(train, "AK08", "CNN", "--study", "toy.toml", *LONGER)[0] == 0
    status, _, complaint = call(*predict)
    assert status == 2 and complaint.count("\n") == 1
    assert "AK08_CNN_0/manifest.json: made with training.epochs 3, the study says 2" in complaint
    assert "run train.py AK08 CNN 0 again" in complaint


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("AK12", "CNN"), "unknown jet definition 'AK12'"),
        (("AK04", "CNN", "--study", "toy.toml"), "has no AK04 jets; it has AK08, AK10, AK14"),
        (("AK14", "ResNet"), "unknown network 'ResNet'"),
        (("AK14", "CNN", "--study", "mine"), "unknown study 'mine'"),
        (("AK14", "CNN", "--study", "demo"), "run setup.py first"),
        (("AK14", "CNN", "--device", "abacus"), "--device abacus"),
        (("AK14", "CNN", "--set", "training.epochs=0"), "training.epochs is 0"),
        (("AK14", "CNN", "-1"), "seed is -1"),
    ],
)
def test_train_refuses_in_one_sentence(arguments, sentence, toy, call):
    before = sorted(toy.parent.rglob("*"))
    status, said, complaint = call(train, *arguments)
    assert status == 2 and sentence in complaint and complaint.count("\n") == 1 and not said
    assert sorted(toy.parent.rglob("*")) == before


def test_no_training_begins_where_a_later_one_cannot_be_made(toy, call):
    options = "[training.network_options.MaxViT]\ndepth = 9.0\n"
    Path("toy.toml").write_text(TOY.replace('["CNN"]', '["CNN", "MaxViT"]') + options)
    before = sorted(toy.rglob("*"))
    status, said, complaint = call(train, "--all", "--study", "toy.toml")
    assert status == 2 and not said and complaint.count("\n") == 1
    assert "MaxViT 0: MaxViT has no option 'depth'; it has batch_norm_momentum" in complaint
    assert sorted(toy.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments", [(), ("AK14",), ("AK14", "CNN", "--all"), ("--all", "--shuf")]
)
def test_train_is_told_one_training_or_all(arguments, call):
    status, _, complaint = call(train, *arguments)
    assert status == 2 and "error:" in complaint


def test_a_training_of_other_settings_is_moved_aside_and_nothing_of_it_is_lost(toy, call):
    folder = toy / "models" / "AK08_CNN_0"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for change, number in (("0.1", 1), ("0.2", 2)):
        option = ("--set", f"training.learning_rate={change}")
        status, said, _ = call(train, "AK08", "CNN", "--study", "toy.toml", *option)
        assert status == 0 and "epoch 1/2" in said
        aside = toy / "set_aside" / f"AK08_CNN_0_{number}"
        assert f"now {change}; moved to {aside.relative_to(Path.cwd())}" in said
    kept = toy / "set_aside" / "AK08_CNN_0_1"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    shutil.rmtree(folder)
    kept.rename(folder)
    assert "already finished" in call(train, "AK08", "CNN", "--study", "toy.toml")[1]


def test_predict_names_the_step_or_the_training_that_is_missing(toy, call):
    status, _, complaint = call(predict_base_model_mass, "--study", "demo")
    assert status == 2 and "run setup.py first" in complaint
    shutil.rmtree(toy / "models" / "AK14_CNN_0_shuffled")
    status, _, complaint = call(predict_base_model_mass, "--study", "toy.toml")
    assert status == 2 and "run train.py AK14 CNN 0 --shuffle-labels" in complaint


def test_trainings_outlive_a_change_of_held_out_jets_but_not_of_their_own(toy, call):
    """Top pairs of other showers may be made when everything is trained."""
    study = load_study("toy.toml")
    jets, images = make_jets(make_events(300), list(JET_DEFINITIONS).index("AK14"))
    held_out = jets["split"] == HELD_OUT

    def pack(kept):
        write_jets(study, "AK14", jets[kept], images.take(np.flatnonzero(kept)))
        outputs = [toy / f"{name}.h5" for name in ("events", *JET_DEFINITIONS)]
        write_manifest(toy / "setup.json", study.settings("setup"), {}, outputs)

    pack(~held_out | (np.cumsum(held_out) > 20))
    status, said, _ = call(train, "--all", "--study", "toy.toml")
    assert status == 0 and said.count("already finished") == 4
    status, said, _ = call(predict_base_model_mass, "--study", "toy.toml")
    assert status == 0 and f"AK14: {held_out.sum() - 20} jets" in said
    pack(held_out | (np.cumsum(~held_out) > 1))
    status, said, _ = call(train, "AK14", "CNN", "--study", "toy.toml")
    assert status == 0 and "AK14_CNN_0: made with jets_sha256" in said
    status, _, complaint = call(predict_base_model_mass, "--study", "toy.toml")
    assert status == 2 and "AK14_CNN_0_shuffled/manifest.json: made with jets_sha256" in complaint


@pytest.mark.parametrize("exchanged", ["manifest.json", "epoch_01.pt", "the jets", "the folder"])
def test_predict_refuses_what_is_not_of_this_training(exchanged, toy, call):
    folder, other = toy / "models" / "AK08_CNN_0", toy / "models" / "AK10_CNN_0"
    before = (toy / "scores.h5").read_bytes()
    if exchanged == "the jets":
        shutil.copy(toy / "AK10.h5", toy / "AK08.h5")
    elif exchanged == "the folder":
        shutil.rmtree(folder)
        shutil.copytree(other, folder)
    else:
        shutil.copy(other / exchanged, folder / exchanged)
    status, _, complaint = call(predict_base_model_mass, "--study", "toy.toml")
    named = "AK08.h5: no longer" if exchanged == "the jets" else "models/AK08_CNN_0"
    assert status == 2 and f"Data/toy/{named}" in complaint
    assert complaint.count("\n") == 1
    assert (toy / "scores.h5").read_bytes() == before


def test_train_all_hands_on_its_options_and_the_exit_status(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nshift\necho "$@"\nexit 3\n')
    python.chmod(0o755)
    stopped = train_all("--study", "a study.toml", "--set", "training.epochs=1", python=python)
    assert (
        stopped.returncode == 3
        and stopped.stdout == "--all --study a study.toml --set training.epochs=1\n"
    )


@pytest.mark.parametrize(
    ("arguments", "file"),
    [((train, "AK14", "CNN", "1"), "epoch_00.pt"), ((predict_base_model_mass,), "scores.h5")],
)
def test_where_nothing_more_can_be_written_the_file_is_named(arguments, file, toy, call):
    """Beyond 4 KiB a write fails, as it does on a full disk; HDF5 itself would crash."""
    for product in toy.glob("scores.*"):
        product.unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        status, _, complaint = call(*arguments, "--study", "toy.toml")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 2 and file in complaint and "Traceback" not in complaint
    assert not list(toy.rglob("*.tmp"))
    assert not (toy / "scores.h5").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--all", "--jobs", "0"), "--jobs is 0, expected 1 or more"),
        (("--all", "--max-minutes", "0"), "--max-minutes is 0.0, expected more than 0"),
        (("--all", "--every-minutes", "nan"), "--every-minutes is nan, expected more than 0"),
        (("AK14", "CNN", "-1"), "seed is -1, expected 0 or more"),
    ],
)
def test_numbers_of_options_are_checked(options, sentence, toy, call):
    status, _, complaint = call(train, *options, "--study", "toy.toml")
    assert status == 2 and sentence in complaint and complaint.count("\n") == 1

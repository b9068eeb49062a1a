"""explain.py on a few of the demo's collisions, through its command line."""

import csv
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_chain import write_few

import explain
import setup
import train
from attribution import averages
from attribution.averages import GAP_MAX
from command import InputError

STUDY = """
base = "demo"
[sample]
folder = "few"
published_files = false
stop_masses = [700, 1100]
neutralino_masses = [100, 500]
background_files = 1
[images]
training_jets_per_mass_point = 40
[training]
width = 0.125
epochs = 1
"""
NETWORKS = "CNN", "JetViT", "CNN3", "FeedForward"
FEW = ["--jets", "4", "--draws", "2", "--steps", "16"]


def call(patch, script, *arguments):
    name = Path(script.__file__).name
    patch.setattr(sys, "argv", [name, *arguments, "--study", "few.toml", "--device", "cpu"])
    script.main()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    write_few(folder / "train_data" / "few", every=6)
    (folder / "few.toml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["setup.py", "--study", "few.toml"])
        setup.main()
        for network in NETWORKS:
            call(patch, train, "AK14", network, "0")
    return folder


@pytest.fixture
def here(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return monkeypatch


def numbers(name: str) -> list[dict[str, str]]:
    with Path(f"plots/few/attributions/AK14_{name}_0_logit.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("network", NETWORKS)
def test_every_kind_of_network_is_explained_completely(here, network, capsys):
    call(here, explain, "AK14", network, "0", *FEW)
    assert "completeness error" in capsys.readouterr().out
    rows = numbers(network)
    errors = [float(row["value"]) for row in rows if row["quantity"] == "completeness error"]
    assert len(errors) == 4 and max(errors) < GAP_MAX
    for baseline in ("zero", "weighted"):
        with h5py.File(f"Data/few/attributions/AK14_{network}_0/logit_{baseline}.h5") as file:
            total = sum(x[()].reshape(8, -1).sum(1) for x in file["values"].values())
            assert np.allclose(total, file["end"][()] - file["start"][()], atol=0.02)
    near = [row for row in rows if row["quantity"].endswith("prong: attribution")]
    assert sum(int(row["n"]) for row in near) == (16 if network in ("CNN", "JetViT") else 0)
    shares = [row for row in rows if row["quantity"].startswith("share of ")]
    assert all(0 <= float(row["value"]) <= 1 for row in shares)
    drawn = {
        path.stem.split("_0_logit_")[1]
        for path in Path("plots/few/attributions").glob(f"AK14_{network}_*.png")
    }
    jets = {"images", "profiles"} if network in ("CNN", "JetViT") else {"features"}
    assert drawn == {"removal_zeros", "removal_background", *jets}


def test_a_prong_is_erased_and_its_control(here, capsys):
    here.setattr(explain, "draw", lambda *_: None)
    call(here, explain, "AK14", "CNN", "0", *FEW, "--baselines", "zero", "--erase", "highest")
    assert "| signal | control | background |" in capsys.readouterr().out
    with Path("plots/few/attributions/AK14_CNN_0_logit_erased_highest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * 2 * 3  # jets, regions, fills
    assert all(float(row["change"]) == 0 for row in rows if row["fill"] == "as it is")
    with pytest.raises(InputError, match="--erase: JetViT sees no image"):
        call(here, explain, "AK14", "JetViT", "0", "--erase", "first")


def test_what_is_there_is_not_computed_again(here):
    """What follows sees the network as it is evaluated, whether it was explained just now or not:
    dropout and the means of batches would make other numbers."""
    here.setattr(explain, "draw", lambda subject, *_: trains.append(subject.network.training))
    trains: list[bool] = []
    asked = ["AK14", "FeedForward", "0", *FEW, "--baselines", "mean"]
    call(here, explain, *asked)
    here.setattr(averages, "_part", lambda *_: pytest.fail("computed again"))
    call(here, explain, *asked)
    assert trains == [False, False]
    assert not list(Path("Data/few/attributions").rglob(".parts_*"))
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        call(here, explain, *asked, "--steps", "17")


def test_an_interruption_keeps_what_was_finished(here):
    """The second part is lost; the run after it makes that alone, and no part is left behind."""
    here.setattr(explain, "draw", lambda *_: None)
    here.setattr(averages, "PART", 4)
    real, calls = averages._part, []

    def interrupted(*given):
        calls.append(given[3].tolist())
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    here.setattr(averages, "_part", interrupted)
    asked = ["AK14", "FeedForward", "0", *FEW, "--baselines", "uniform", "--output", "probability"]
    with pytest.raises(KeyboardInterrupt):
        call(here, explain, *asked)
    call(here, explain, *asked)
    assert calls == [[0, 1, 2, 3], [4, 5, 6, 7], [4, 5, 6, 7]]
    folder = Path("Data/few/attributions/AK14_FeedForward_0")
    assert sorted(path.name for path in folder.glob("probability*")) == [
        "probability_uniform.h5", "probability_uniform.json"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (["AK14", "ViT", "0"], r"AK14_ViT_0/manifest.json: not there yet; run train.py first"),
        (["AK14", "CNN", "0", "--jets", "0"], "--jets is 0, expected 1 or more"),
        (["AK14", "CNN", "0", "--jets", "5000"], r"expected at least 10000: .* with --jets"),
        (["AK14", "Perceptron", "0"], "unknown network 'Perceptron'"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(here, asked, sentence):
    with pytest.raises(InputError, match=sentence):
        call(here, explain, *asked)


def test_attributions_that_miss_the_change_are_not_kept(here):
    here.setattr(averages, "STEPS_MAX", 1)
    asked = ["AK14", "CNN", "0", "--jets", "4", "--steps", "1", "--baselines", "mean"]
    with pytest.raises(InputError, match="expected at most 1%"):
        call(here, explain, *asked)
    record = json.loads(Path("Data/few/attributions/AK14_CNN_0/logit_mean.json").read_text())
    assert record["settings"]["steps"] != 1  # those that are there are of an earlier test

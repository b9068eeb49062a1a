"""Weights as files, and the command that tags jets with ours."""

import contextlib
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tag
from command import InputError
from jets.events import read_events, write_events
from models import create_model
from models.pretrained import load_weights, save_weights
from physics import MATCHING_RADIUS
from products import read_csv
from sensitivity.auc import auc
from study import PRESETS

CPU = torch.device("cpu")
ROOT = Path(__file__).parent.parent
DEMO = ROOT / PRESETS["demo"].sample_dir
FACTS = {"network": "MaxViT", "pixels": "32", "width": "0.125", "network_options": "{}"}


def small_network() -> torch.nn.Module:
    torch.manual_seed(1)
    network = create_model("MaxViT", 32, 0.125)
    network(torch.rand(8, 3, 32, 32), torch.rand(8))  # batch-norm statistics that are not 0 and 1
    return network.eval()


def test_weights_come_back_to_the_precision_of_bfloat16_and_statistics_exactly(tmp_path):
    network = small_network()
    save_weights(tmp_path / "small.safetensors", network, FACTS)
    found, facts = load_weights(tmp_path / "small.safetensors")
    assert facts == FACTS
    expected = network.state_dict()
    parameters = {name for name, _ in network.named_parameters()}
    for name, value in found.state_dict().items():
        assert value.dtype == expected[name].dtype
        tolerance = 2**-8 if name in parameters else 0
        torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=0)
    images, mass = torch.rand(4, 3, 32, 32), torch.rand(4)
    torch.testing.assert_close(found(images, mass), network(images, mass), rtol=0.05, atol=0.02)


WRONG = {
    "another network": {"network": "ViT"},
    "unknown jets": {"jet_definition": "AK12"},
    "unknown scale": {"pixel_scale": "cubic"},
    "no spread": {"mass_std": "0"},
    "no mean": {"mass_mean": "nan"},
}


@pytest.mark.parametrize("damage", ["cut", "text", *WRONG])
def test_damaged_weights_are_one_sentence(tmp_path, damage):
    path = tmp_path / "small.safetensors"
    complete = FACTS | {"jet_definition": "AK14", "pixel_scale": "sqrt", "mass_mean": "0.2"}
    complete |= {"mass_std": "0.1", "standardised_mass": "True", "oriented": "True"}
    save_weights(path, small_network(), complete | WRONG.get(damage, {}))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "text":
        path.write_text("weights")
    with pytest.raises(InputError, match="no weights of a network"):
        tag.tag(read_events(DEMO / "stop_900_300.h5"), path, "", CPU)


@pytest.mark.parametrize(
    ("name", "error"), [("none.safetensors", FileNotFoundError), (".", IsADirectoryError)]
)
def test_weights_that_cannot_be_read_are_not_called_damaged(name, error, tmp_path):
    with pytest.raises(error) as found:
        tag.tag(read_events(DEMO / "stop_900_300.h5"), tmp_path / name, "", CPU)
    assert found.value.filename == str(tmp_path / name)


def test_our_weights_tell_the_jets_of_the_demo_apart(tmp_path):
    """Far above the jet mass alone (0.83), on collisions that no training has seen."""
    jets, probability, label = [], [], []
    for name in ("ttbar_1", "stop_900_300"):
        events = read_events(DEMO / f"{name}.h5")
        tight = events.fully_selected
        some, p = tag.tag(events.take(tight & (tight.cumsum() <= 200)), tag.WEIGHTS, name, CPU)
        chosen = np.flatnonzero(some["classified"])
        jets.append(some[chosen])
        probability.append(p[chosen])
        label.append(some["label"][chosen])
    jets, probability, label = (np.concatenate(part) for part in (jets, probability, label))
    assert (jets["delta_r"][label == 1] < MATCHING_RADIUS).all()
    value = auc(probability[label == 1], probability[label == 0]).value
    assert value > auc(jets["mass"][label == 1], jets["mass"][label == 0]).value + 0.03


def test_no_two_files_share_a_table():
    """Though folder and name, put together, are the same."""
    elsewhere = Path("elsewhere")
    files = [DEMO / "ttbar_0.h5", DEMO / "ttbar_0.hdf5", DEMO.parent / "demo_ttbar/0.h5"]
    files += [elsewhere / "demo/ttbar_0.h5", elsewhere / "train_data/demo/ttbar_0.h5"]
    tables = [tag.table_of(path) for path in files]
    assert tables[0] == tag.table_of(DEMO / ".." / "demo/ttbar_0.h5")
    assert tables[0] == Path("Data/tags/demo_ttbar_0.csv")
    assert len({*tables}) == len(files)


def test_the_command_writes_a_row_a_jet(tmp_path, monkeypatch, capsys):
    events = read_events(DEMO / "stop_1100_100.h5")
    source = tmp_path / "few.h5"
    write_events(source, events.take(np.arange(len(events)) < 40))
    monkeypatch.setattr(sys, "argv", ["tag.py", str(source)])
    with contextlib.chdir(tmp_path):
        tag.main()
        rows = read_csv(tag.table_of(source))
    large_r = read_events(source).large_r["AK14"]
    assert len(rows) == np.count_nonzero(large_r["pt"] > 0)
    assert int(rows[0]["n_jets"]) == read_events(source).observables["n_jets"][0]
    assert float(rows[0]["pt"]) == pytest.approx(large_r["pt"][0, 0], rel=1e-5)
    assert all(0 <= float(row["probability"]) <= 1 for row in rows)
    assert "median probability" in capsys.readouterr().out


def test_a_file_without_a_large_jet_gives_a_table_without_rows(tmp_path, monkeypatch, capsys):
    events = read_events(DEMO / "stop_1100_100.h5")
    none = {name: np.zeros_like(table) for name, table in events.large_r.items()}
    events = dataclasses.replace(
        events,
        large_r=none,
        objects=events.objects[:0],
        object_offsets=np.zeros_like(events.object_offsets),
    )
    write_events(tmp_path / "none.h5", events)
    monkeypatch.setattr(sys, "argv", ["tag.py", str(tmp_path / "none.h5"), "--device", "cpu"])
    with contextlib.chdir(tmp_path):
        tag.main()
        [table] = [path.read_text() for path in Path("Data/tags").iterdir()]
    assert table == "event,k,pt,eta,phi,mass,delta_r,n_jets,probability\n"
    assert f"no jet in {len(events)} events" in capsys.readouterr().out

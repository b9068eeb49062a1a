"""The network of three jets: which jets it sees, and that it is trained and scored as any other."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_events import toy_events

import setup
import train
from command import InputError
from jets import split
from jets.events import write_events
from jets.packed import read_event_table
from jets.preparation import look_through, may_train
from jets.sources import find_source
from jets.split import HELD_OUT, TRAIN, VALIDATION
from models import MODELS, create_model
from studies.three_jets import score, with_options
from study import Study, load_study
from training.plan import trainings
from training.three_jets import ThreeJetImages, choose_events

STUDY = """
published_files = false
stop_masses = [700, 800]
neutralino_masses = [100, 200]
split = [0.4, 0.3, 0.3]
training_jets_per_mass_point = 12
pixels_max = 32
standardised_mass = true
width = 0.125
epochs = 1
batch_size = 8
background_jets_min = 2
bootstraps = 4
"""
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("three_jets")
    (folder / "tiny.toml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        collisions = Path("train_data/tiny")
        for m_stop, m_neutralino in ((700, 100), (700, 200), (800, 100)):
            events = toy_events(20, m_stop=m_stop, m_neutralino=m_neutralino, n_loose=10)
            write_events(collisions / f"stop_{m_stop}_{m_neutralino}.h5", events)
        write_events(collisions / "ttbar_1.h5", toy_events(60, index=1, n_loose=40))
        setup.main(["--study", "tiny.toml"])
        yield load_study("tiny.toml")


def test_as_many_top_pairs_as_signal_none_held_out(study):
    table = look_through(find_source(study), study).table
    events = table.events
    chosen = choose_events(events, may_train(table, study), study)
    assert (events["split"][chosen] != HELD_OUT).all()
    is_signal = split.is_signal(events)
    assert np.sum(chosen & is_signal) == np.sum(chosen & ~is_signal) == 3 * 12


def test_an_event_shows_its_own_three_jets(study):
    overview = look_through(find_source(study), study)
    exists, all_masses = overview.jets["AK14"]["pt"] > 0, overview.jets["AK14"]["mass"] / 1000
    assert 0 < exists.sum() < exists.size
    seen = {s: ThreeJetImages.read(study, "AK14", s, CPU) for s in (TRAIN, VALIDATION, HELD_OUT)}
    training = seen[TRAIN].table["event"]
    known = all_masses[training][exists[training]]  # whose mean and spread standardise all masses
    for events in seen.values():
        rows = np.random.default_rng(0).permutation(len(events))[:10]
        found, inputs = next(events.batches(rows, np.array([len(rows)])))
        assert found.tolist() == rows.tolist()
        event = events.table["event"][rows]
        pixels = inputs["images"].sum(dim=(2, 3, 4))
        assert torch.equal(pixels > 0, torch.from_numpy(exists[event]))
        expected = np.where(exists[event], (all_masses[event] - known.mean()) / known.std(), 0)
        np.testing.assert_allclose(inputs["mass"], expected, atol=1e-4)


def test_another_shower_makes_no_other_training(study, tmp_path, monkeypatch):
    """As for networks of one jet; another file to train on does."""
    shutil.copytree(".", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    background, hashes = Path("train_data/tiny/ttbar_1.h5"), []
    for path in (background, Path("train_data/tiny/tiny_half_scale/ttbar_2.h5"), background):
        n = 30 + 10 * len(hashes)
        write_events(path, toy_events(n, index=int(path.stem[-1]), seed=len(hashes)))
        setup.main(["--study", "tiny.toml"])
        hashes.append(ThreeJetImages.sha256(study, "AK14", False))
    assert hashes[0] == hashes[1] != hashes[2]
    assert split.is_variation(read_event_table(Path("Data/tiny/events.h5")).events).sum() == 40


def test_an_event_is_scored_by_its_jets_alone():
    torch.manual_seed(0)
    network = create_model("MaxViT3", 32, 0.125, attention_scale="head").eval()
    images, mass = torch.rand(2, 3, 3, 32, 32), torch.rand(2, 3)
    with torch.inference_mode():
        both = network(images, mass)
        second = network(images[1:], mass[1:])
        turned = network(images[:, [1, 2, 0]], mass[:, [1, 2, 0]])
    assert both.shape == (2, 2)
    torch.testing.assert_close(both[1:], second)
    assert not torch.allclose(both, turned)
    with pytest.raises(ValueError, match="MaxViT3 has no option 'depth'; it has batch_norm_mom"):
        create_model("MaxViT3", 32, depth=3)


def test_it_is_trained_as_any_network_and_scores_all_held_out_events(study, monkeypatch):
    command = ["train.py", "AK14", "MaxViT3", "0", "--study", "tiny.toml", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", command)
    train.main()
    scores, event = score(with_options(study), CPU)
    events = look_through(find_source(study), study).table.events
    assert np.array_equal(event, np.flatnonzero(events["split"] == HELD_OUT))
    assert len(scores) == 1 and scores[0].shape == event.shape
    assert ((scores[0] > 0) & (scores[0] < 1)).all()
    with pytest.raises(
        InputError, match=r"made with images\.split"
    ):  # its network has trained on others
        score(study.changed(images={"split": (0.1, 0.1, 0.8)}), CPU)


def test_a_network_of_events_is_none_of_the_networks_of_jets(study):
    """Whose scores, three an event, are what trees grow on."""
    of_events = [name for name, network in MODELS.items() if network.of_events]
    assert of_events == ["CNN3", "MaxViT3", "EventTransformer", "FeedForward", "EventSet"]
    with pytest.raises(InputError, match="names 'MaxViT3', expected each once and among CNN"):
        trainings(study.changed(classifiers={"networks": ("CNN", "MaxViT3")}))

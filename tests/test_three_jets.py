"""The network of three jets: which jets it sees, and how its events stand beside the study's."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_events import toy_events

from command import InputError
from jets import split
from jets.events import write_events
from jets.preparation import look_through
from jets.sources import find_source
from jets.split import HELD_OUT
from models import create_model
from studies.three_jets import EventImages, ThreeJets, choose_events, draw, train_and_score
from study import Study, load_study
from training.batches import JetImages

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
        yield load_study("tiny.toml")


def test_as_many_top_pairs_as_signal_none_held_out(study):
    overview = look_through(find_source(study), study)
    chosen = choose_events(overview, study)
    events = overview.table.events
    assert (events["split"][chosen] != HELD_OUT).all()
    is_signal = split.is_signal(events)
    assert np.sum(chosen & is_signal) == np.sum(chosen & ~is_signal) == 3 * 12


def test_an_event_shows_its_own_three_jets(study):
    source = find_source(study)
    overview = look_through(source, study)
    every = np.ones(len(overview.table.events), bool)
    jets, jet_of_event = draw(source, overview, every, study)
    images = JetImages(jets, study.training.pixel_scale, study.training.standardised_mass, CPU)
    of_events = EventImages(images, jet_of_event)
    exists = overview.jets["AK14"]["pt"] > 0
    assert 0 < exists.sum() < exists.size
    rows = np.random.default_rng(0).permutation(len(of_events))[:10]
    event, batch, mass = next(of_events.batches(rows, np.array([10])))
    assert event.tolist() == rows.tolist()
    pixels = batch.reshape(10, 3, -1).sum(dim=2)
    assert torch.equal(pixels > 0, torch.from_numpy(exists[rows]))
    assert (mass.reshape(10, 3)[~torch.from_numpy(exists[rows])]).abs().max() < 1e-5
    true_mass = overview.jets["AK14"]["mass"][rows][exists[rows]] / 1000
    expected = (true_mass - jets.mass_mean) / jets.mass_std
    found = mass.reshape(10, 3).numpy()[exists[rows]]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_event_is_scored_by_its_jets_alone():
    torch.manual_seed(0)
    network = ThreeJets(create_model("MaxViT", 32, 0.125)).eval()
    images, mass = torch.rand(6, 3, 32, 32), torch.rand(6)
    with torch.inference_mode():
        both = network(images, mass)
        second = network(images[3:], mass[3:])
        turned = network(images[[1, 2, 0, 3, 4, 5]], mass[[1, 2, 0, 3, 4, 5]])
    assert both.shape == (2, 2)
    torch.testing.assert_close(both[1:], second)
    torch.testing.assert_close(both[1], turned[1])
    assert not torch.allclose(both[0], turned[0])


def test_the_scored_events_are_those_held_out(study):
    scores, event = train_and_score(study, CPU)
    events = look_through(find_source(study), study).table.events
    assert np.array_equal(event, np.flatnonzero(events["split"] == HELD_OUT))
    with pytest.raises(InputError, match="its split is"):  # its network has trained on others
        train_and_score(study.changed(images={"split": (0.1, 0.1, 0.8)}), CPU)
    assert list(scores) == [0] and np.isfinite(scores[0]).all() and len(scores[0]) == len(event)

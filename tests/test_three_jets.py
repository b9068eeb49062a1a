"""The network of three jets: which jets it sees, and that it is trained and scored as any other."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_events import toy_events

import fit_xgb
import predict_base_model_mass
import setup
import train
from command import InputError
from evaluation.results import read_results
from jets import split
from jets.angularities import ANGULARITIES, angularities
from jets.events import write_events
from jets.packed import read_event_table
from jets.preparation import look_through, may_train
from jets.scores import BaseScores
from jets.sources import find_source
from jets.split import HELD_OUT, TRAIN, VALIDATION
from models import MODELS, create_model
from studies import at_once
from studies.at_once import columns_of_three_jets
from studies.three_jets import score, with_options
from study import Study, load_study
from training.jet_images import read_split
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


def test_the_control_sees_the_jets_of_the_same_events(study):
    """As setup.py packs them: of held-out events it packs all jets, so both can be compared."""
    found, events = columns_of_three_jets(study, "AK14", HELD_OUT)
    assert found.shape == (len(events), 7 * 3)
    packed = read_split(study, "AK14", HELD_OUT)
    shapes, jets = angularities(packed.images, packed.side, "AK14"), packed.jets
    place = np.searchsorted(events["event"], jets["event"])
    for i, name in enumerate(("mass", "pt", *ANGULARITIES)):
        of_jets = (shapes if name in ANGULARITIES else jets)[name]
        expected = np.zeros((len(events), 3))
        expected[place, jets["k"]] = of_jets
        np.testing.assert_allclose(found[:, 3 * i : 3 * i + 3], expected, rtol=1e-5)
    training, trained = columns_of_three_jets(study, "AK14", TRAIN)
    assert set(trained["event"]).isdisjoint(events["event"]) and len(training) == len(trained)


def test_the_control_tells_what_three_jets_tell(study, monkeypatch):
    """Its trees find a mass that follows the label, in the right column of held-out events."""
    overview = look_through(find_source(study), study)
    table, random = overview.table, np.random.default_rng(3)
    held_out = np.flatnonzero(table.events["split"] == HELD_OUT)
    dtype = [(name, "f4") for name in ("mass", "pt", *ANGULARITIES)]
    jets = np.zeros((len(held_out), 3), dtype)
    for name, _ in dtype:
        jets[name] = random.uniform(1, 2, jets.shape)
    jets["mass"][:, 2] += 6 * split.is_signal(table.events[held_out])
    scores = BaseScores(held_out, {"AK14": jets}, {}, {}, {})
    events = np.zeros(400, [("event", "i4"), ("label", "i4")])
    events["label"] = np.arange(400) % 2
    events["event"] = np.where(
        events["label"], np.flatnonzero(split.is_signal(table.events))[0],
        np.flatnonzero(~split.is_signal(table.events))[0],
    )  # fmt: skip
    features = random.uniform(1, 2, (400, 21))
    features[:, 2] += 5 * events["label"]  # the mass of the third jet
    seen = []
    monkeypatch.setattr(
        at_once, "columns_of_three_jets", lambda *asked: seen.append(asked) or (features, events)
    )
    score = at_once.of_same_events(study, "AK14", scores, table)
    assert seen == [(study, "AK14", TRAIN)]  # and no held-out event
    is_signal = split.is_signal(table.events[held_out])
    assert 0 < is_signal.sum() < len(is_signal)
    assert score[is_signal].min() > 0.5 > score[~is_signal].max()


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


def test_trees_over_events_see_its_score_beside_all_that_is_known(study, tmp_path, monkeypatch):
    """Of nominal events and of another shower alike; the first seed stands for the network."""
    shutil.copytree(".", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    write_events(Path("train_data/tiny/tiny_half_scale/ttbar_2.h5"), toy_events(30, index=2))
    asked = 'jet_definitions = ["AK14"]', 'networks = ["CNN"]', "seeds = [0, 1]", "folds = 2"
    Path("tiny.toml").write_text(STUDY + "\n".join(asked))
    study = load_study("tiny.toml")
    commands = [
        [setup], [train, "AK14", "CNN", "0"], [train, "AK14", "CNN", "0", "--shuffle-labels"],
        [predict_base_model_mass], [fit_xgb],
    ]  # fmt: skip
    at_once_trained = [[train, "AK14", "CNN3", seed] for seed in ("0", "1")]

    def call(script, *arguments: str) -> None:
        plain = [] if script in (setup, fit_xgb) else ["--device", "cpu"]
        monkeypatch.setattr(
            sys, "argv", [script.__name__, *arguments, "--study", "tiny.toml", *plain]
        )
        script.main()

    for command in commands:
        call(*command)
    alone = read_results(study, {})
    assert at_once.with_three_jets(alone, "AK14", "CNN3", CPU) is alone  # nothing is trained
    for command in at_once_trained:
        call(*command)
    results = at_once.with_three_jets(alone, "AK14", "CNN3", CPU)
    new = {one: found for one, found in results.trees.fits.items() if one not in alone.trees.fits}
    assert [(one.networks[0], one.seed) for one in new] == [
        ("CNN3", None), ("CNN3", 1), ("trees of CNN3's events", None)
    ]  # fmt: skip
    assert np.array_equal(results.scores.event, alone.scores.event)
    assert not split.is_variation(results.events).any()
    assert list(results.of_fits(new).score) == list(new)  # of nominal events, like all trees
    known = alone.trees.fits[at_once.ALL_KNOWN]
    for one, found in new.items():
        assert found.shape == known.shape and ((found > 0) & (found < 1)).all()
        assert results.varied["half_scale"].fits[one].shape == (30,)
    assert len({found.tobytes() for found in new.values()}) == 3

"""Constituents of jets: they add up to the jet, and reach the network as they are."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_events import CONSTITUENTS, toy_events

import setup
import train
from command import InputError
from jets import constituents
from jets.events import read_events, write_events
from jets.preparation import look_again
from jets.sources import PublishedFiles
from jets.split import HELD_OUT, TRAIN, VALIDATION
from physics import JET_DEFINITIONS
from study import PRESETS, Study, load_study
from training.constituents import KINDS, OF_JETS, SCALES, JetConstituents
from training.jet_images import read_split
from training.loop import unseen_inputs
from training.plan import Training

STUDY = """
published_files = false
stop_masses = [700, 800]
neutralino_masses = [100, 200]
split = [0.4, 0.3, 0.3]
training_jets_per_mass_point = 12
pixels_max = 32
width = 0.125
epochs = 1
batch_size = 8
background_jets_min = 2
bootstraps = 4
reflect = true
rotate = true
"""
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("constituents")
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


@pytest.mark.parametrize("jet_definition", JET_DEFINITIONS)
def test_constituents_add_up_to_the_jet(jet_definition):
    """On the demo's collisions, to the rounding of the file: 2^-11 of a pT, 0.0002 of an angle."""
    events = read_events(Path("train_data/demo/stop_900_300.h5"))
    jets = events.large_r[jet_definition]
    wanted = jets["pt"] > 0
    found = constituents.of_events(events, jet_definition, wanted)
    assert len(found) == wanted.sum() and np.diff(found.offsets).max() <= 128
    whole = np.diff(found.offsets) < 128
    assert whole.mean() > 0.9
    axis = np.repeat(jets["eta"][wanted].astype(float), np.diff(found.offsets))
    transverse, rapidity = np.hypot(found.pt, found.mass), found.rapidity + axis
    momenta = [
        transverse * np.cosh(rapidity),
        found.pt * np.cos(found.phi),
        found.pt * np.sin(found.phi),
        transverse * np.sinh(rapidity),
    ]
    e, x, y, z = np.add.reduceat(np.stack(momenta), found.offsets[:-1], axis=1)[:, whole]
    chosen = jets[wanted][whole]
    np.testing.assert_allclose(np.hypot(x, y), chosen["pt"], rtol=1e-3)
    np.testing.assert_allclose(np.arctanh(z / e), chosen["eta"], atol=2e-3)  # about the axis
    mass = np.sqrt(np.maximum(e**2 - x**2 - y**2 - z**2, 0))
    heavy = chosen["mass"] > 20
    np.testing.assert_allclose(mass[heavy], chosen["mass"][heavy], rtol=1e-3)
    assert heavy.sum() > 1000
    falling = np.diff(found.pt) <= 0
    falling[found.offsets[1:-1] - 1] = True
    assert falling.all()


def test_of_too_many_the_hardest_stay():
    pt = np.array([1.0, 5.0, 3.0, 2.0, 7.0])
    some = dict.fromkeys(("rapidity", "phi", "mass"), np.zeros(5))
    found = constituents.hardest(
        np.array([0, 4, 4, 5]), at_most=2, pt=pt, kind=np.arange(5), **some
    )
    assert found.offsets.tolist() == [0, 2, 2, 3] and found.kind.tolist() == [1, 2, 4]
    again = constituents.concatenate([found.take(np.array([2])), found.take(np.array([0, 1]))])
    assert again.kind.tolist() == [4, 1, 2] and again.offsets.tolist() == [0, 1, 3, 3]


def test_a_network_sees_the_objects_of_its_jets(study):
    """All of them, of every split, whatever the batches: distances, shares and kinds by hand."""
    for split in (TRAIN, VALIDATION, HELD_OUT):
        seen, packed = (
            JetConstituents.read(study, "AK14", split, CPU),
            read_split(study, "AK14", split),
        )
        assert len(seen) == len(packed.jets) and np.array_equal(seen.table, packed.jets)
        of_training = JetConstituents.sha256(study, "AK14", is_shuffled=False)
        assert seen.sha256(study, "AK14", is_shuffled=False) == of_training
        nothing = np.array([], int)  # is left of an epoch that was interrupted after its last step
        assert not list(seen.batches(nothing, nothing))
        rows = np.random.default_rng(0).permutation(len(seen))
        parts, sizes = [], np.array([3, len(rows) - 3])
        for found, inputs in seen.batches(rows, sizes):
            assert inputs["exists"].sum(dim=1).tolist() == [CONSTITUENTS] * len(found)
            pt, rapidity, phi, mass = inputs["momenta"].unbind(2)
            assert (pt.diff(dim=1) <= 0).all()
            columns = inputs["constituents"]
            named = dict(zip(SCALES, columns.unbind(2), strict=False))
            numbers = {name: named[name] * b + a for name, (a, b) in SCALES.items()}
            torch.testing.assert_close(numbers["ln pT"], (1000 * pt).log(), atol=1e-4, rtol=1e-4)
            share = numbers["ln pT / pT of all"].exp()
            torch.testing.assert_close(share.sum(dim=1), torch.ones(len(found)))
            distance = torch.hypot(rapidity, phi)
            torch.testing.assert_close(numbers["distance"], distance, atol=1e-5, rtol=1e-5)
            axes = packed.jets[found.numpy()]
            transverse = np.hypot(axes["pt"], axes["mass"])
            shift = axes["eta"] - np.arcsinh(axes["pt"] * np.sinh(axes["eta"]) / transverse)
            assert (distance.numpy() < 0.71 + np.abs(shift)[:, None]).all()
            kinds = columns[..., len(SCALES) :]
            assert (kinds.sum(dim=2) == 1).all() and len(KINDS) == kinds.shape[2] == 5
            of_kind = 1000 * torch.stack([mass[kinds[..., i] == 1].max() for i in range(5)])
            torch.testing.assert_close(of_kind, torch.tensor([0.13957, 0, 0, 0.000511, 0.10566]))
            parts.append((found, 1000 * pt.sum(dim=1), inputs["jet"]))
        found, pt, jets = (torch.cat(columns) for columns in zip(*parts, strict=True))
        assert found.tolist() == rows.tolist()
        in_image = np.add.reduceat(packed.images.values, packed.images.offsets[:-1])
        np.testing.assert_allclose(pt, in_image[rows], rtol=1e-3)
        if split == TRAIN:
            mean, std = jets.mean(dim=0), jets.std(dim=0, correction=0)
            torch.testing.assert_close(mean, torch.zeros(len(OF_JETS)), atol=1e-5, rtol=0)
            torch.testing.assert_close(std, torch.ones(len(OF_JETS)), atol=1e-4, rtol=0)


def test_turned_and_mirrored_a_jet_keeps_its_distances(study):
    seen = JetConstituents.read(study, "AK14", TRAIN, CPU)
    rows, sizes = np.arange(len(seen)), np.array([len(seen)])
    moves = seen.moves(study, seed=0, epoch=0)
    [(_, still)], [(_, moved)] = seen.batches(rows, sizes), seen.batches(rows, sizes, moves)
    torch.testing.assert_close(moved["constituents"][..., 4], still["constituents"][..., 4])
    assert torch.equal(moved["constituents"][..., 5:], still["constituents"][..., 5:])
    both = [one["momenta"][..., 1:3].double() for one in (still, moved)]
    distances = [torch.cdist(one, one) for one in both]
    torch.testing.assert_close(*distances, atol=1e-5, rtol=0)
    area = [one[:, 0, 0] * one[:, 1, 1] - one[:, 0, 1] * one[:, 1, 0] for one in both]
    torch.testing.assert_close(area[1], area[0] * moves[0].double(), atol=1e-5, rtol=0)
    assert set(moves[0].tolist()) == {-1.0, 1.0}
    assert (both[0] - both[1]).abs().max() > 0.1


def test_a_jet_without_constituents_is_no_error():
    some = dict.fromkeys(("pt", "rapidity", "phi", "mass"), np.ones(2))
    found = constituents.hardest(np.array([0, 0, 2, 2]), kind=np.array([0, 1]), **some)
    table = np.zeros(3, [("event", "i8")])
    seen = JetConstituents(found, np.zeros((3, len(OF_JETS))), table, CPU)
    [(_, inputs)] = seen.batches(np.arange(3), np.array([3]))
    assert inputs["exists"].sum(dim=1).tolist() == [0, 2, 0]
    assert all(column.isfinite().all() for column in inputs.values())
    network = Training("AK14", "JetViT", 0).create(PRESETS["demo"], seen.size).eval()
    logits = network(**inputs)
    assert logits.isfinite().all() and torch.equal(logits[0], logits[2])


def test_it_is_trained_like_any_network(study, monkeypatch, capsys):
    command = ["train.py", "AK14", "JetViT", "0", "--study", "tiny.toml", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", command)
    train.main()
    said = capsys.readouterr().out
    assert "jets/s" in said and "a layer is dead" not in said
    monkeypatch.setattr(
        sys,
        "argv",
        [*command, "--set", 'training.network_options={"JetViT" = {"pairwise" = true}}'],
    )
    train.main()
    assert "a layer is dead" not in capsys.readouterr().out
    assert (study.data_dir / "set_aside").is_dir()  # the training without pairs


def test_published_files_have_no_constituents(study, monkeypatch):
    source, (_, overview) = PublishedFiles(study.sample_dir, study), look_again(study)
    source.samples = [None]
    monkeypatch.setattr("training.constituents.look_again", lambda study: (source, overview))
    with pytest.raises(InputError, match="hold images and no constituents"):
        JetConstituents.read(study, "AK14", TRAIN, CPU)


def test_a_dead_network_is_told_from_one_that_ignores(study):
    seen = JetConstituents.read(study, "AK14", VALIDATION, CPU)
    network = Training("AK14", "JetViT", 0).create(study, seen.size)
    assert unseen_inputs(network, seen) == []
    torch.nn.init.zeros_(network.jet_mlp[-1].weight)
    assert unseen_inputs(network, seen) == ["jet"]

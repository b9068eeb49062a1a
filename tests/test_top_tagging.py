"""Top jets and QCD jets of our own: momentum is conserved, a top is a top, and files are read."""

from pathlib import Path

import numpy as np
import pytest
from test_public import write_jetclass, write_top_tagging

from collisions.chunk import make_chunk
from collisions.particle_jets import select_jets
from collisions.particles import Particles
from collisions.production import Sample, simulate_chunk
from command import InputError
from jets.events import TABLES
from jets.particle_jets import NOMINAL, files_of, read
from jets.public import from_particles, of_pdg_ids
from jets.ragged import delta_r
from jets.split import HELD_OUT, TRAIN, VALIDATION
from processes import PROCESSES, JetSelection
from processes.top_tagging import JETS
from study import Study, load_study

NAMES = "top_jets", "qcd_jets"
TRIES = 700
HADRONIC = 0.676  # of the decays of a W in Pythia


@pytest.fixture(scope="module")
def chunks():
    return {name: make_chunk(PROCESSES[name], (), TRIES, seed=3) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_particles_add_up_to_a_jet_of_the_window(chunks, name):
    columns = chunks[name].columns
    jet, particles = columns["jet"], columns["particles"]
    assert len(jet) > 15
    eta = np.arcsinh(np.sinh(jet["rapidity"]) * np.hypot(jet["pt"], jet["mass"]) / jet["pt"])
    assert ((jet["pt"] > 550) & (jet["pt"] < 650) & (np.abs(eta) < 2)).all()
    mass, kind = of_pdg_ids(particles["pdg_id"])
    momenta = [particles[one].astype(float) for one in ("pt", "rapidity", "phi")]
    counts = np.diff(columns["particle_offsets"])
    sums = from_particles(name, counts, *momenta, mass, kind, np.zeros(len(jet))).axes
    for one, tolerance in (("pt", 1e-5), ("rapidity", 1e-4), ("mass", 1e-3)):
        np.testing.assert_allclose(sums[one], jet[one], rtol=tolerance, atol=1e-4)
    np.testing.assert_allclose(np.exp(1j * sums["phi"]), np.exp(1j * jet["phi"]), atol=1e-4)
    assert not np.isin(np.abs(particles["pdg_id"]), (6, 12, 14, 16, 23, 24)).any()


def test_one_top_with_its_three_quarks_lies_in_a_top_jet(chunks):
    columns = chunks["top_jets"].columns
    jet, truth = columns["jet"], columns["truth"].reshape(-1, 2, 6)
    assert (np.abs(truth["pdg_id"][..., [0, 2]]) == (6, 5)).mean() > 0.98  # a few t -> s W, d W
    assert (np.abs(truth["pdg_id"][..., 4:]) < 6).all() and (truth["pdg_id"][..., 4:] != 0).all()
    eta = np.arcsinh(np.sinh(jet["rapidity"]) * np.hypot(jet["pt"], jet["mass"]) / jet["pt"])
    quarks = truth[..., [0, 2, 4, 5]]
    axes = eta[:, None, None], jet["phi"][:, None, None]
    inside = (delta_r(*axes, quarks["eta"], quarks["phi"]) < 0.8).all(axis=2)
    assert (inside.sum(axis=1) == 1).all()  # the other is on the other side
    near, far = truth[inside], truth[~inside]
    assert np.median(np.abs(near["pt"][:, 0] - jet["pt"])) < 30
    assert (delta_r(*axes, far["eta"][:, None], far["phi"][:, None])[:, 0] > 0.8).mean() > 0.95


def test_the_mass_of_a_top_jet_peaks_at_that_of_the_top(chunks):
    """And a window about it tells four of five jets apart."""
    top, qcd = (chunks[name].columns["jet"]["mass"] for name in NAMES)
    edges = np.arange(0, 320, 8)
    peak = edges[np.histogram(top, edges)[0].argmax()] + 4
    assert abs(peak - 173) < 8 and abs(np.median(top) - 173) < 6
    assert 70 < qcd.mean() < 110 and np.median(qcd) < 100
    assert np.mean([*(abs(top - 175) < 25), *(abs(qcd - 175) > 25)]) > 0.8


def test_the_share_of_hadronic_decays_is_in_the_weights(chunks):
    begun, hadronic, finished, *_ = chunks["top_jets"].weighted_cut_flow.values()
    assert hadronic / begun == pytest.approx(HADRONIC**2, rel=0.01)
    assert finished == pytest.approx(hadronic)
    assert chunks["top_jets"].cut_flow["wanted"] == TRIES  # no try is wasted
    assert chunks["qcd_jets"].columns["weight"].tolist() == [1] * len(
        chunks["qcd_jets"].columns["jet"]
    )


def test_a_jet_needs_all_of_one_part_within_its_radius():
    """Of two parts of two particles each: the first inside, halves of both, none, one missing."""
    asked = JetSelection(0.8, (550.0, 650.0), "eta", 2.0, ())
    event, zero = np.arange(4), np.zeros(4)
    pt = np.full(4, 600.0)
    made = Particles(event, zero, zero, pt, zero, zero + 3.1, pt, zero, 4)
    truth = np.zeros((4, 4), TABLES["truth"])
    truth["pdg_id"] = 6
    truth["phi"] = [[3.1, -2.6, 0, 0], [3.1, 0, 3.1, 0], [0, 0, 0, 0], [3.1, 3.1, 0, 0]]
    truth["pdg_id"][3, 1] = 0
    kept, _, left = select_jets(made, asked, truth, parts=2)
    assert kept.tolist() == [0]
    assert [passed.sum() for passed in left.values()] == [4, 4, 1]
    assert select_jets(made, asked, truth[:, :0], parts=0)[0].tolist() == [0, 1, 2, 3]


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    found = load_study("studies/top_tagging.toml")
    monkeypatch.chdir(tmp_path)
    found.sample_dir.mkdir(parents=True)
    return found


def test_our_files_are_read_as_jets_of_two_classes(study, chunks):
    for path in study.sample_files:
        name = path.stem.rpartition("_")[0]
        sample = Sample(name, (0,), 1, 1.0, True, study.sample_dir, TRIES // 2)
        simulate_chunk(sample, 0)
        sample.selected, sample.begun = {0: 1}, 1
        sample.chunk_path(0).rename(path)
    table = read(study)
    for name, label in zip(NAMES, (1, 0), strict=True):
        jets = table.jets[table.events["process"] == PROCESSES[name].number]
        assert (table.label[table.events["process"] == PROCESSES[name].number] == label).all()
        assert ((jets["pt"] > 549) & (jets["pt"] < 651)).all() and (jets["multiplicity"] > 10).all()
    top, qcd = (table.jets["width"][table.label == label].mean() for label in (1, 0))
    assert 0.5 > top > qcd > 0.05  # a top is wider; of R = 0.8
    assert set(np.unique(table.split)) == {TRAIN, VALIDATION, HELD_OUT}


def test_public_files_take_the_place_of_ours(study):
    """A further file moves no jet."""
    folder = study.sample_dir
    write_top_tagging(folder / "train.h5")
    before = read(study)
    assert before.label.tolist() == [1] * 3 + [0] * 3 and (before.sample == NOMINAL).all()
    assert before.events["row"].tolist() == [1, 3, 5, 0, 2, 4]
    processes = [PROCESSES[name].number for name in NAMES]
    assert before.events["process"].tolist() == np.repeat(processes, 3).tolist()
    write_top_tagging(folder / "val.h5")
    (folder / "QG_jets.npz").touch()  # of another sample
    assert [file.path.name for file in files_of(study)] == [
        "train.h5", "train.h5", "val.h5", "val.h5"
    ]  # fmt: skip
    after = read(study)
    is_new = ~np.isin(after.events, before.events)
    assert is_new.sum() == 6
    assert np.array_equal(after.events[~is_new], before.events)
    assert np.array_equal(after.split[~is_new], before.split)


def test_of_jetclass_tops_and_qcd_are_read_and_beside_no_other_sample(study):
    folder = study.sample_dir
    write_jetclass(folder / "jets.root")
    found = read(study)
    assert found.label.tolist() == found.events["row"].tolist() == [0]
    write_top_tagging(folder / "train.h5")
    with pytest.raises(InputError, match=r"jets\.root and train\.h5 are of different samples"):
        read(study)


def test_jets_of_two_kinds_are_refused(study):
    both = study.changed(sample={"processes": ("top_jets", "quark_jets", "qcd_jets")})
    with pytest.raises(InputError, match=r"of R = 0.8 \(top_jets\) and of other ones \(quark_jets"):
        read(both)
    with pytest.raises(InputError, match=r"top_jets_0\.h5: "):
        read(study)
    assert JETS.radius == 0.8 and Path("train_data").is_dir()

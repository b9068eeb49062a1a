"""Quark and gluon jets of our own: momentum is conserved, and they are like the EnergyFlow ones."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from collisions.chunk import make_chunk
from collisions.particle_jets import select_jets
from collisions.particles import Particles
from collisions.production import samples_of
from command import InputError
from jets.events import ParticleJets, of_chunk, read_events, write_events
from jets.ragged import delta_r, events_of
from processes import PARTICLE_JETS, PROCESSES, variations_of
from processes.quark_gluon import GENERATORS, JETS, PT_HAT, SHOWERS
from sensitivity.auc import auc
from study import PRESETS

# Multiplicity, mean and width, of 100,000 jets of the first file of Zenodo 3164691.
PUBLISHED = {"quark_jets": (33.40, 13.34), "gluon_jets": (53.22, 15.76)}
TRIES = 1_500
C_TAU = {"Xi0": 87, "K+": 3_711}  # mm: the longest that decays in Pythia, the shortest that lasts


@pytest.fixture(scope="module")
def chunks():
    return {name: make_chunk(PROCESSES[name], (), TRIES, seed=7) for name in PUBLISHED}


def multiplicities(chunk) -> np.ndarray:
    return np.diff(chunk.columns["particle_offsets"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_particles_add_up_to_a_jet_of_the_window(chunks, name):
    columns = chunks[name].columns
    jet, particles = columns["jet"], columns["particles"]
    of_jet = events_of(columns["particle_offsets"])
    assert len(jet) > 100 and (np.diff(columns["particle_offsets"]) > 0).all()
    assert ((jet["pt"] > 500) & (jet["pt"] < 550) & (np.abs(jet["rapidity"]) < 1.7)).all()
    x, y = (
        np.bincount(of_jet, particles["pt"] * turn(particles["phi"].astype(float)))
        for turn in (np.cos, np.sin)
    )
    np.testing.assert_allclose(np.hypot(x, y), jet["pt"], rtol=1e-5)
    np.testing.assert_allclose(np.arctan2(y, x), np.angle(np.exp(1j * jet["phi"])), atol=1e-4)
    far = [particles[name] for name in ("rapidity", "phi")]
    distance = delta_r(*far, jet["rapidity"][of_jet], jet["phi"][of_jet])
    assert distance.max() < 0.8 and np.average(distance, weights=particles["pt"]) < 0.1
    same = of_jet[1:] == of_jet[:-1]
    assert (np.diff(particles["pt"])[same] <= 0).all()
    assert not np.isin(np.abs(particles["pdg_id"]), (12, 14, 16, 23)).any()


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiplicity_is_that_of_the_published_sample(chunks, name):
    found, (mean, width) = multiplicities(chunks[name]), PUBLISHED[name]
    assert abs(found.mean() - mean) < 4 * width / len(found) ** 0.5
    assert found.std() == pytest.approx(width, rel=0.25)


def test_multiplicity_alone_separates_as_published(chunks):
    """AUC 0.843 there."""
    quark, gluon = (multiplicities(chunks[name]) for name in PUBLISHED)
    found = auc(-quark.astype(float), -gluon.astype(float), bootstraps=50)
    assert abs(found.value - 0.843) < 4 * found.error < 0.12


def test_light_quarks_only(chunks):
    """Charm and bottom are an eighth of the quarks beside a Z."""
    begun, light, *_ = chunks["quark_jets"].cut_flow.values()
    assert 0.85 * begun < light < 0.97 * begun
    begun, gluons, *_ = chunks["gluon_jets"].cut_flow.values()
    assert begun == gluons == TRIES


def test_a_file_gives_back_what_was_written(chunks, tmp_path):
    chunk, path = chunks["quark_jets"], tmp_path / "quark_jets_0.h5"
    attributes = {
        "process": "quark_jets", "index": 0, "cross_section_pb": 1.0,
        "cross_section_error_pb": 0.1, "generated": TRIES, "selected": len(chunk.columns["jet"]),
        "selection_efficiency": 0.1, "selection_efficiency_error": 0.01,
        "chunks": json.dumps([]),
    }  # fmt: skip
    write_events(path, of_chunk(chunk.columns, chunk.cut_flow, attributes))
    found = read_events(path, selection=PARTICLE_JETS)
    assert isinstance(found, ParticleJets) and found.sample_name == path.stem
    for name in ("jet", "particles"):
        for field in found.columns[name].dtype.names:
            given = chunk.columns[name][field]
            np.testing.assert_allclose(found.columns[name][field], given, rtol=1e-4, atol=1e-7)
    assert np.array_equal(found.particle_offsets, chunk.columns["particle_offsets"])


def test_an_events_hardest_jet_or_none():
    """Two particles far apart: the softer one is no jet of ours, even inside the window."""
    pt = np.array([520.0, 700, 520, 480, 510, 10])
    event = np.array([0, 1, 1, 2, 3, 3])
    phi = np.array([0.0, 0, 3, 0, 0, 0.1])
    eta = np.array([0.0, 0, 0, 0, 2.0, 2.0])
    same = np.zeros(6)
    made = Particles(event, same, same, pt, eta, phi, pt * np.cosh(eta), same, 4)
    kept, columns, left = select_jets(made, JETS, np.zeros((4, 0)), parts=0)
    assert kept.tolist() == [0] and columns["jet"]["pt"].tolist() == [520]
    assert [passed.tolist() for passed in left.values()] == [
        [True, False, False, True], [True, False, False, False]
    ]  # fmt: skip


def test_each_shower_varies_both():
    for variation in SHOWERS:
        parts = variations_of(PUBLISHED)[variation]
        assert [part.varies for part in parts] == list(PUBLISHED)
        assert all(part.energy == 14_000 for part in parts)
        lines = [set(part.pythia_settings()) for part in parts]
        nominal = [set(PROCESSES[name].pythia_settings()) for name in PUBLISHED]
        assert [one - other for one, other in zip(lines, nominal, strict=True)] == [
            set(SHOWERS[variation])
        ] * 2
    assert "Beams:eCM = 13000.0" in PROCESSES["ttbar"].pythia_settings()


def test_simulate_does_not_make_the_jets_of_another_generator():
    study = PRESETS["readme"].changed(sample={"processes": tuple(PUBLISHED)})
    for generator in GENERATORS:
        parts = [part.name for part in variations_of(PUBLISHED)[generator]]
        with pytest.raises(InputError, match=f"quark_jets_{generator}: Pythia does not make"):
            samples_of(study, parts)


@pytest.mark.parametrize("name", ["quark", "gluon"])
def test_cards_of_sherpa_are_of_the_same_collisions(name):
    card = (Path(__file__).parent.parent / f"profiles/sherpa/{name}.yaml").read_text("utf-8")
    [beam] = re.findall(r"^BEAM_ENERGIES: (\d+)", card, re.MULTILINE)
    [window] = re.findall(r"\[PT, 23, (\d+), (\d+)\]", card)
    [lifetime] = re.findall(r"Max_Proper_Lifetime: (\d+)", card)
    assert 2 * float(beam) == PROCESSES[f"{name}_jets"].energy
    assert tuple(map(float, window)) == PT_HAT
    assert C_TAU["Xi0"] < float(lifetime) < C_TAU["K+"]

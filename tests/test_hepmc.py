"""Events of another generator: the same particles give the same jets, and no others are taken."""

import gzip
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from collisions import hepmc
from collisions.chunk import make_chunk
from collisions.generate import generate
from collisions.particles import Record
from command import InputError
from jets.events import read_events
from processes import PARTICLE_JETS, PROCESSES
from study import load_study

pyhepmc = pytest.importorskip(
    "pyhepmc", reason="pyhepmc is not installed; pip install -r requirements-optional.txt"
)
SHERPA = PROCESSES["quark_jets_sherpa"]
TOML = Path(__file__).parent.parent / "studies/quark_gluon.toml"
TRIES = 60
# PDG id, status, px, py, pz of massless particles: a pi+ of 520 GeV against a neutrino, and what is
# left of both protons.
BEAMS = ((2212, 4, 0, 0, 7000), (2212, 4, 0, 0, -7000))
JET, NEUTRINO = (211, 1, 520, 0, 0), (12, 1, -520, 0, 0)
REST = ((2212, 1, 0, 0, 6480), (2112, 1, 0, 0, -6480))
EVENT = (*BEAMS, JET, NEUTRINO, *REST)
OTHER_BEAMS = ((2212, 4, 0, 0, 6500), (2212, 4, 0, 0, -6500))


def hepmc_event(particles, weight=1.0, cross_section=2.0, unit="GEV"):
    """One vertex of particles as above, or with their energy and mass as well."""
    scale = {"GEV": 1, "MEV": 1e3}[unit]
    event, vertex = pyhepmc.GenEvent(getattr(pyhepmc.Units, unit)), pyhepmc.GenVertex()
    for pdg_id, status, *momentum in particles:
        massless = (np.linalg.norm(momentum[:3]), 0)
        *momentum, mass = scale * np.array([*momentum, *massless][:5], float)
        made = pyhepmc.GenParticle(momentum, int(pdg_id), status)
        made.generated_mass = mass
        (vertex.add_particle_in if status == hepmc.BEAM else vertex.add_particle_out)(made)
    event.add_vertex(vertex)
    event.weights = [weight]
    if cross_section:
        event.cross_section = pyhepmc.GenCrossSection()
        event.cross_section.set_cross_section(cross_section, 0.1)
    return event


def write(path, events, form="hepmc3"):
    with pyhepmc.open(path, "w", format=form) as file:
        for event in events:
            file.write(event)
    return path


@pytest.fixture(scope="module")
def pythia():
    """The events of a chunk, as lists of particles."""
    record = Record.of(generate(PROCESSES["quark_jets"], (), TRIES, seed=7).particles)
    status = np.where(record.status > 0, hepmc.STABLE, 0)
    status[record.offsets[:-1, None] + [1, 2]] = hepmc.BEAM  # behind the event as a whole
    columns = (record.pdg_id, status, record.px, record.py, record.pz, record.energy, record.mass)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    events = [
        [row for row in rows[begin:end] if row[1]]
        for begin, end in zip(record.offsets[:-1], record.offsets[1:], strict=True)
    ]
    return events, make_chunk(PROCESSES["quark_jets"], (), TRIES, seed=7)


@pytest.mark.parametrize("form, suffix", [("hepmc3", ".hepmc"), ("hepmc2", ".hepmc.gz")])
def test_pythias_events_give_the_jets_of_simulate_bit_for_bit(pythia, tmp_path, form, suffix):
    events, chunk = pythia
    path = write(tmp_path / f"events{suffix}", map(hepmc_event, events), form)
    found = hepmc.jets_of(path, SHERPA)
    assert len(found) == len(chunk.columns["jet"]) > 3
    for name in ("jet", "particles", "particle_offsets"):
        assert np.array_equal(found.columns[name], chunk.columns[name])
    assert found.attributes["generated"] == len(events)
    assert found.cut_flow["events"].tolist()[1:] == list(chunk.cut_flow.values())[-2:]


def test_units_and_batches_do_not_matter(pythia, tmp_path, monkeypatch):
    events, chunk = pythia
    monkeypatch.setattr(hepmc, "BATCH", 7)
    path = write(tmp_path / "mev.hepmc", [hepmc_event(one, unit="MEV") for one in events])
    found = hepmc.jets_of(path, SHERPA)
    for name in ("pt", "rapidity", "phi"):
        given = chunk.columns["particles"][name]
        np.testing.assert_allclose(found.particles[name], given, rtol=1e-6, atol=1e-9)


def test_weights_add_up_to_what_the_cross_section_expects(tmp_path):
    """Two events in three pass: 2 pb times 137 /fb times 2 / 3."""
    none = (*BEAMS, (211, 1, 400, 0, 0), (12, 1, -400, 0, 0), (2212, 1, 0, 0, 6600))
    events = [EVENT, (*none, (2112, 1, 0, 0, -6600)), EVENT]
    path = write(tmp_path / "three.hepmc", [hepmc_event(one, weight=-3.5) for one in events])
    found = hepmc.jets_of(path, SHERPA)
    assert found.weight.sum() == pytest.approx(2e3 * 137 * 2 / 3)
    assert (
        found.jet["pt"].tolist() == [520, 520] and found.particles["pdg_id"].tolist() == [211] * 2
    )


@pytest.mark.parametrize(
    "particles, options, sentence",
    [
        ((*BEAMS, JET, *REST), {}, "event 1 has 520 GeV lost from its beams, expected below 0.1"),
        ((*BEAMS, (-211, *JET[1:]), NEUTRINO, *REST), {}, "event 1 has 2 e lost from its beams"),
        ((*EVENT, (310, 1, 0, 0, 0)), {}, "has 1 stable particles that decay in Pythia"),
        ((*OTHER_BEAMS, *EVENT[2:]), {}, "event 1 has 13000 GeV of beams, expected 14000"),
        (EVENT, {"weight": -1}, "events weigh from -1 to 1, expected one weight"),
        (EVENT, {"cross_section": None}, "its last event states no cross section"),
    ],
)
def test_an_event_that_is_not_whole_is_refused(tmp_path, particles, options, sentence):
    path = write(tmp_path / "bad.hepmc", [hepmc_event(EVENT), hepmc_event(particles, **options)])
    with pytest.raises(InputError, match=sentence):
        hepmc.jets_of(path, SHERPA)


def test_a_damaged_file_is_refused(tmp_path, capfd):
    whole = write(tmp_path / "whole.hepmc", [hepmc_event(EVENT)] * 30).read_bytes()
    third = [i for i in range(len(whole)) if whole.startswith(b"\nE ", i)][2]
    packed = gzip.compress(whole)
    for name, content, sentence in (
        ("cut.hepmc", whole[: third + 200], "cut off or damaged after event 1;"),
        ("between.hepmc", whole[: third + 1], "cut off or damaged after event 1;"),
        ("middle.hepmc", whole[: third + 60] + whole[third + 160 :], "damaged after event 1;"),
        ("cut.hepmc.gz", packed[:-20], "cut off or damaged after event"),
        ("none.hepmc.gz", whole, "not a HepMC file"),
        ("empty.hepmc", b"", "not a HepMC file"),
        ("other.hepmc", b"no events\n" * 99, "not a HepMC file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=sentence):
            hepmc.jets_of(tmp_path / name, SHERPA)
    assert not capfd.readouterr().err.count("ERROR")


def test_a_file_without_jets_is_refused(tmp_path):
    beams = [(pdg_id, hepmc.STABLE, *momentum) for pdg_id, _, *momentum in BEAMS]
    path = write(tmp_path / "nothing.hepmc", [hepmc_event((*BEAMS, *beams))])
    with pytest.raises(InputError, match="none of its 1 events is selected"):
        hepmc.jets_of(path, SHERPA)


def test_jets_from_a_pipe_are_a_variation_of_the_study(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pipe, content = (
        Path("pipe.hepmc"),
        write(Path("whole.hepmc"), [hepmc_event(EVENT)]).read_bytes(),
    )
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    call = ["hepmc.py", SHERPA.name, str(pipe), "--study", str(TOML)]
    monkeypatch.setattr(sys, "argv", call)
    hepmc.main()
    writer.join()
    [path] = load_study(str(TOML)).variation_files(SHERPA)
    found = read_events(path, selection=PARTICLE_JETS)
    assert len(found) == 1 and found.process == "quark_jets"
    hepmc.main()  # which does not wait for the pipe
    assert "is there, nothing to read" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*call[:2], "whole.hepmc", *call[3:]])
    with pytest.raises(
        InputError, match=r"made from pipe.hepmc; move it away to make it from whol"
    ):
        hepmc.main()

"""simulate.py: the files depend on nothing but the seeds, and a second call goes on."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from command import InputError
from products import alone

pytest.importorskip("pythia8mc", reason="no wheel of pythia8mc for this system")
pytest.importorskip("fastjet", reason="no wheel of fastjet for this system")

import simulate
from collisions import production
from jets.events import read_events
from physics import LUMINOSITY
from processes import PROCESSES
from processes.stop import STOP, cross_section
from study import Study

SCRIPT = Path(simulate.__file__)


def stop_sample(folder: Path, target: int = 6) -> production.Sample:
    return production.Sample("stop", (700, 100), target, 0.5, True, folder, tries=80)


def make(sample: production.Sample, workers: int) -> bytes:
    production.take_up(sample)
    production.simulate([sample], workers)
    return sample.path.read_bytes()


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "small"
    make(stop_sample(folder), workers=1)
    return folder / "stop_700_100.h5"


def test_workers_and_interruptions_leave_no_trace(reference, tmp_path, capsys):
    folder = tmp_path / "small"
    sample = stop_sample(folder)
    production.simulate_chunk(sample, 0)  # all that an interrupted call has left ...
    chunk = sample.chunk_path(0)
    before = chunk.read_bytes()
    assert make(stop_sample(folder), workers=2) == reference.read_bytes()
    assert not chunk.exists()
    held = read_events(reference).fully_selected.sum()
    assert f"{sample.path}  {held} fully selected" in capsys.readouterr().out
    production.simulate_chunk(sample, 0)  # ... or a call that ended before it could tidy up
    assert chunk.read_bytes() == before
    production.take_up(stop_sample(folder))
    assert not chunk.parent.exists()


def test_a_larger_target_extends_the_file(reference, tmp_path):
    whole, grown = tmp_path / "whole" / "small", tmp_path / "grown" / "small"
    grown.mkdir(parents=True)
    shutil.copy(reference, grown)
    target = read_events(reference).attributes["selected"] + 1
    extended = make(stop_sample(grown, target), workers=1)
    assert extended == make(stop_sample(whole, target), workers=2)


def test_the_file_says_what_it_holds(reference):
    events = read_events(reference)
    flow = dict(
        zip(events.cut_flow["name"].tolist(), events.cut_flow["events"].tolist(), strict=True)
    )
    counts = list(flow.values())
    assert counts == sorted(counts, reverse=True)
    assert flow[b"begun"] == events.attributes["generated"]
    assert counts[-1] == events.attributes["selected"] == np.count_nonzero(events.fully_selected)
    assert events.attributes["selection_efficiency"] == counts[-1] / counts[0]
    assert (events.observables["n_jets"] >= 5).all()
    assert (np.diff(events.jet_offsets) == events.observables["n_jets"]).all()
    ht = np.add.reduceat(events.jets["pt"].astype(float), events.jet_offsets[:-1])
    np.testing.assert_allclose(ht, events.observables["ht"], rtol=1e-3)


def test_an_event_stands_for_as_many_as_are_expected(reference):
    events = read_events(reference)
    picobarn, n = float(cross_section(700)), events.attributes["generated"]
    assert set(events.weight) == {1e3 * picobarn * LUMINOSITY / n}
    flow = events.weighted_cut_flow
    np.testing.assert_allclose(flow / flow[0], events.cut_flow["events"] / n, rtol=1e-12)
    assert flow[0] == pytest.approx(1e3 * picobarn * LUMINOSITY)
    assert flow[-1] == pytest.approx(events.weight[events.fully_selected].sum())


def test_weighted_events_give_the_unweighted_sample(tmp_path, monkeypatch):
    """Hard stops made more often, with weights: yield and spectrum stay, but for fluctuations."""
    biased = dataclasses.replace(
        STOP,
        name="biased",
        settings=lambda *masses: (
            *STOP.settings(*masses),
            "PhaseSpace:bias2Selection = on",
            "PhaseSpace:bias2SelectionPow = 2",
            "PhaseSpace:bias2SelectionRef = 400",
        ),
    )
    monkeypatch.setitem(PROCESSES, "biased", biased)
    found = []
    for process in ("stop", "biased"):
        sample = production.Sample(process, (700, 100), 1, 1.0, True, tmp_path, tries=200)
        production.simulate_chunk(sample, 0)
        found.append(read_events(sample.chunk_path(0)))
    plain, weighted = found
    assert np.ptp(plain.weight) == 0 < np.ptp(weighted.weight)
    expected = 1e3 * float(cross_section(700)) * LUMINOSITY
    for events in found:
        assert events.weighted_cut_flow[0] == pytest.approx(expected)
    efficiencies, errors = zip(
        *(
            (e.attributes["selection_efficiency"], e.attributes["selection_efficiency_error"])
            for e in found
        ),
        strict=True,
    )
    assert abs(np.diff(efficiencies)) < 4 * np.hypot(*errors)
    means = [np.average(e.pt_hat, weights=e.weight) for e in found]
    errors = [
        np.sqrt(np.sum((e.weight * (e.pt_hat - mean)) ** 2)) / e.weight.sum()
        for e, mean in zip(found, means, strict=True)
    ]
    assert abs(np.diff(means)) < 4 * np.hypot(*errors)
    assert weighted.pt_hat.mean() - plain.pt_hat.mean() > 3 * errors[0]  # it is biased


def test_large_jets_are_the_sum_of_their_objects(reference):
    """The stored objects, fixed point and all, give back pT and mass of the stored jets."""
    events = read_events(reference)
    objects = events.objects
    event = np.repeat(np.arange(len(events)), np.diff(events.object_offsets))
    mass = np.array([0.13957, 0, 0, 0.000511, 0.10566])[objects["type"]]
    pt, eta, phi = (objects[name].astype(float) for name in ("pt", "eta", "phi"))
    momenta = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    energy = np.sqrt((momenta**2).sum(axis=0) + mass**2)
    for i, (name, jets) in enumerate(events.large_r.items()):
        for k in range(3):
            inside = objects["jet"][:, i] == k
            x, y, z, e = (
                np.bincount(event[inside], weights=column[inside], minlength=len(events))
                for column in (*momenta, energy)
            )
            there = jets["pt"][:, k] > 0
            np.testing.assert_allclose(np.hypot(x, y)[there], jets["pt"][:, k][there], rtol=2e-3)
            invariant = np.sqrt(np.maximum(e**2 - x**2 - y**2 - z**2, 0))
            close = np.abs(invariant - jets["mass"][:, k])[there]
            assert close.max() < 1.0, name
            assert not (x[~there].any() or y[~there].any())


def test_chunks_of_other_settings_are_refused(reference, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    shutil.copy(reference, folder)
    sample = production.Sample("stop", (700, 100), 6, 1.0, True, folder, tries=80)
    with pytest.raises(InputError, match="loose_share"):
        production.take_up(sample)


def test_two_runs_do_not_make_the_same_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.toml").write_text('base = "demo"\nsignal_events = 1\n')
    command = ["simulate.py", "--study", "one.toml", "--only", "stop_900_300"]
    monkeypatch.setattr(sys, "argv", command)
    path = Path("train_data/one/stop_900_300.h5")
    with alone(path), pytest.raises(InputError, match=r"stop_900_300\.h5: another run is making"):
        simulate.main()
    assert not list(path.parent.iterdir())


def test_another_installation_and_a_space_in_its_path_change_nothing(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    code = "from collisions.generate import *; from processes.stop import STOP; "
    code += "print(generate(STOP, (700, 100), 2, 1).cut_flow['begun'])"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SCRIPT.parent,
        env=os.environ | {"PYTHIA8DATA": str(folder), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "2\n", found.stderr


def test_an_unknown_file_is_refused(tmp_path):
    command = [sys.executable, SCRIPT, "--study", "demo", "--only", "stop_1_2"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("simulate.py: --only stop_1_2: not a file of study 'demo'")
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_variations_are_of_the_slices_that_a_study_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = []
    monkeypatch.setattr(simulate, "simulate", lambda samples, workers: begun.extend(samples))
    call = ["simulate.py", "--variations", "double_scale", "power_shower", "--study"]
    for processes, expected in (
        (["ttbar", "stop"], ["double_scale", "power_shower"]),
        (
            ["ttbar_soft", "ttbar_hard", "ttbar_jets", "stop"],
            ["double_scale_soft", "double_scale_hard", "power_shower_soft", "power_shower_hard"],
        ),
    ):
        begun.clear()
        (tmp_path / "mine.toml").write_text(f'base = "demo"\nprocesses = {processes}')
        monkeypatch.setattr(sys, "argv", [*call, "mine.toml"])
        simulate.main()
        assert [sample.process for sample in begun] == expected
    (tmp_path / "mine.toml").write_text('base = "demo"\nprocesses = ["ttbar_jets", "stop"]')
    with pytest.raises(InputError, match="--variations double_scale: varies no process of study"):
        simulate.main()


def test_a_stop_too_light_for_its_decay_is_refused():
    study = Study("closed").changed(sample={"stop_masses": (700,), "neutralino_masses": (500, 600)})
    with pytest.raises(InputError, match="700 GeV cannot decay to a top and a neutralino of 600"):
        production.samples_of(study, study.sample.processes)

"""A process is one file: a background and a signal without masses, from setup.py to the figures."""

import dataclasses
import io
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from test_chain import figures, read_csv
from toy_events import toy_events

import fit_xgb
import plots
import predict_base_model_mass
import processes
import setup
import train
from collisions.production import samples_of
from command import InputError
from evaluation.results import read_results
from jets.events import Events, read_events, write_events
from jets.packed import read_event_table, read_jets
from jets.preparation import choose, look_through
from jets.sources import find_source, missing_samples
from jets.split import HELD_OUT, is_background, is_signal
from plots import AGAINST_MASS
from processes import PROCESSES, Process, discovered, of_role, variations_of
from processes.ttbar import TTBAR
from study import PRESETS, load_study

FILES = {
    "toy_background": """
from processes import BACKGROUND, Process

JETS = Process("toy_background", BACKGROUND, lambda: ("HardQCD:all = on",))
""",
    "toy_signal": """
from processes import SIGNAL, Process

RESONANCE = Process(
    "toy_signal",
    SIGNAL,
    lambda: ("NewGaugeBoson:ffbar2gmZZprime = on",),
    truth=((6, 0), (-6, 0)),
    matches=(6, -6),
)
""",
}
STUDY = """
base = "demo"
[sample]
folder = "few"
processes = ["ttbar", "toy_background", "stop", "toy_signal"]
stop_masses = [700]
neutralino_masses = [100, 200]
background_files = 1
[images]
training_jets_per_mass_point = 40
[training]
epochs = 1
[classifiers]
networks = ["Toy"]
jet_definitions = ["AK14"]
[trees]
number = 5
folds = 2
[figures]
bootstraps = 10
background_events_min = 2
background_jets_min = 2
"""
NUMBERS = {"ttbar": 0, "stop": 1, "half_scale": 2, "double_scale": 3, "power_shower": 4}


@pytest.fixture(scope="module", autouse=True)
def registered(tmp_path_factory):
    """The two files lie beside those of processes/."""
    folder = tmp_path_factory.mktemp("more")
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "__path__", [*processes.__path__, str(folder)])
        for name, process in discovered().items():
            patch.setitem(PROCESSES, name, process)
        yield
    for name in FILES:
        del sys.modules[f"processes.{name}"]


def events_of(process: str, n: int, seed: int) -> Events:
    """Toy events of a process whose files have an index; each jet of signal may match."""
    is_toy_signal = process in of_role("signal")
    events = toy_events(n, seed=seed, **({"m_stop": 700} if is_toy_signal else {"index": 0}))
    stated = {k: v for k, v in events.attributes.items() if not k.startswith("m_")}
    return dataclasses.replace(events, attributes=stated | {"process": process, "index": 0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A study `few`, and its sample, beside which lies a file that nobody knows."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "few.toml").write_text(STUDY)
    sample = folder / "train_data/few"
    for seed, process in enumerate(("ttbar", "toy_background", "toy_signal")):
        write_events(sample / f"{process}_0.h5", events_of(process, 200, seed))
    for mass in (100, 200):
        write_events(sample / f"stop_700_{mass}.h5", toy_events(80, m_stop=700, m_neutralino=mass))
    (sample / "unknown_1.h5").touch()
    return folder


@pytest.fixture(scope="module")
def finished(folder) -> Iterator[str]:
    """All steps have run in `folder`, which is the current one; what setup.py printed."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        patch.setattr(Figure, "savefig", lambda figure, path, **options: None)  # they take long
        patch.chdir(folder)
        for script in (setup, train, predict_base_model_mass, fit_xgb, plots):
            every = ["--all", "--jobs", "1"] if script is train else []
            patch.setattr(sys, "argv", [script.__file__, "--study", "few.toml", *every])
            script.main()
        yield said.getvalue()


def test_all_steps_take_any_process(finished):
    assert "left out: 1 file of processes that are not registered" in finished
    assert "missing of toy_signal: 0 of 1\n" in finished
    events = read_event_table(Path("Data/few/events.h5")).events
    kinds = {name: events["process"] == PROCESSES[name].number for name in NUMBERS | FILES}
    assert np.count_nonzero(kinds["toy_background"]) == np.count_nonzero(kinds["toy_signal"]) == 200
    np.testing.assert_array_equal(is_signal(events), kinds["toy_signal"] | kinds["stop"])
    np.testing.assert_array_equal(is_background(events), ~is_signal(events))
    jets = read_jets(Path("Data/few/AK14.h5")).jets
    np.testing.assert_array_equal(jets["label"], is_signal(events)[jets["event"]])
    event = jets["event"][jets["split"] != HELD_OUT]
    assert all(np.count_nonzero(kinds[name][event]) > 10 for name in (*FILES, "ttbar", "stop"))


def test_figures_against_masses_are_of_the_signal_that_has_them(finished):
    assert figures(Path()) > {"sic_networks", "sic_observables", "gain"}
    results = read_results(load_study("few.toml"), {})
    assert results.is_stop.sum() < is_signal(results.events).sum()
    assert [list(axis) for axis in results.masses] == [[700], [100, 200]]
    points = read_csv(Path("plots/few/sic_networks.csv"))
    assert {point["neutralino_mass"] for point in points} == {"100", "200"}


def test_without_masses_they_are_left_out_and_all_others_drawn(finished):
    results = read_results(load_study("few.toml"), {})
    rows = results.events["m_stop"] < 0
    assert is_signal(results.events[rows]).any()
    few = dataclasses.replace(
        results, scores=results.scores.take(rows), trees=results.trees.take(rows)
    )
    reasons = plots.left_out(few)
    assert reasons == dict.fromkeys(AGAINST_MASS, reasons["gain"])
    stopless = few.study.changed(sample={"processes": ("ttbar", "toy_signal")})
    reason = plots.left_out(dataclasses.replace(few, study=stopless))["process"]
    assert reason == "the study has no stop pairs" and "mass points" not in few.processes
    for name, draw in plots.drawings(few).items():
        if name not in reasons:
            plt.close(draw().figure)
    merits = few.of_events.aucs
    assert 0 <= merits[0].value <= 1 and len(few.of_events.is_signal) == rows.sum()


# --- The registry -------------------------------------------------------------------------------


def test_numbers_never_change():
    """Pinned: another number would move every event of a process to another split."""
    assert {name: PROCESSES[name].number for name in NUMBERS} == NUMBERS
    assert PROCESSES["toy_signal"].number == 550647020
    assert all(process.number < 2**31 for process in PROCESSES.values())


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"name": "mine_2"}, "ends in no number"),
        ({"name": "my process"}, "is a word"),
        ({"role": "data"}, "roles"),
        ({"role": "variation"}, "names what it varies"),
        ({"role": "variation", "varies": "ttbar"}, "names its variation"),
        ({"role": "signal"}, "what jets of signal match"),
        ({"matches": (25,)}, "keeps the truth"),
        ({"parameters": ("a", "b", "c"), "values": ((1,),) * 3}, "up to 2 parameters"),
        ({"parameters": ("m_zprime",)}, "states the values"),
    ],
)
def test_a_process_says_what_is_needed_of_it(changes, rule):
    with pytest.raises(ValueError, match=rule):
        dataclasses.replace(TTBAR, **{"name": "mine"} | changes)


def test_variations_are_made_of_what_a_study_takes():
    """Inclusively or in slices, each with its number of events, and as they have ever been."""
    demo = PRESETS["demo"]
    [inclusive] = samples_of(demo, [part.name for part in variations_of(["ttbar"])["half_scale"]])
    assert str(inclusive.path) == "train_data/demo/demo_half_scale/ttbar_0.h5"
    assert [inclusive.seed(chunk) for chunk in range(2)] == [603118632, 561186422]
    assert inclusive.settings()["process"] == "ttbar"
    study = demo.changed(simulation={"events_of": {"half_scale_hard": 3_000}})
    slices = variations_of(["ttbar_soft", "ttbar_hard"])["half_scale"]
    samples = samples_of(study, [part.name for part in slices])
    for sample, part, target in zip(samples, slices, (5_000, 3_000), strict=True):
        assert sample.path == inclusive.path.with_name(f"{part.varies}_0.h5")
        assert (sample.target, sample.loose_share) == (target, 0)
        nominal = dataclasses.replace(sample, process=part.varies).settings()
        changed = {key for key, value in sample.settings().items() if value != nominal[key]}
        assert changed == {"pythia_settings"}
    assert len({sample.seed(0) for sample in (inclusive, *samples)}) == 3


def test_parameters_of_its_own_are_in_names_and_identity():
    process = Process(
        "zprime", "signal", lambda m: (), ((6, 0),), parameters=("m_zprime",),
        values=((1000, 2000),), matches=(6,),
    )  # fmt: skip
    assert PRESETS["demo"].files_of(process) == [(1000,), (2000,)]
    assert process.sample_name(2000) == "zprime_2000"
    assert process.identity(2000) == (2000, -1, -1)


def test_an_unregistered_process_is_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "unknown_0.h5"
    write_events(path, events_of("toy_background", 5, 0))
    monkeypatch.delitem(PROCESSES, "toy_background")
    with pytest.raises(InputError, match=r"toy_background.* not registered .* file of processes"):
        read_events(path)
    (tmp_path / "mine.toml").write_text('processes = ["ttbar", "stop", "toy_background"]')
    with pytest.raises(InputError, match=r"mine\.toml: process 'toy_background' is not registered"):
        load_study(str(tmp_path / "mine.toml"))


def test_jets_for_training_are_of_their_class_and_never_held_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("ttbar", "ttbar_jets", "stop", "stop_jets")
    sample = {"processes": names, "stop_masses": (700,), "neutralino_masses": (100,)}
    study = PRESETS["demo"].changed("few", sample=sample | {"folder": "", "background_files": 1})
    for seed, name in enumerate(names):
        numbers = (700, 100) if PROCESSES[name].parameters else (0,)
        masses = dict(zip(PROCESSES[name].parameters or ("index",), numbers, strict=True))
        events = toy_events(200, seed=seed, **masses)
        events = dataclasses.replace(events, attributes=events.attributes | {"process": name})
        write_events(study.sample_dir / f"{PROCESSES[name].sample_name(*numbers)}.h5", events)
    overview = look_through(find_source(study), study)
    events = overview.table.events
    of = {name: events["process"] == PROCESSES[name].number for name in names}
    for name in names:
        splits = set(events["split"][of[name]])
        assert (HELD_OUT in splits) == (not PROCESSES[name].for_training) and len(splits) > 1
    np.testing.assert_array_equal(is_signal(events), of["stop"] | of["stop_jets"])
    assert overview.fully_selected.dtype == bool
    assert not overview.fully_selected[of["ttbar_jets"] | of["stop_jets"]].any()
    _, jets = choose(overview, study, "AK14")
    assert all(of[name][jets["event"]].any() for name in names)
    assert not any(missing_samples(study, overview.table.samples).values())

"""Step 1 through its command line: both sources, what it writes, and what it refuses."""

import dataclasses
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import toy_jets
from toy_events import toy_events

import products
import setup
from checks.damage import rewritten
from command import run
from jets import preparation
from jets.events import Events, read_events, write_events
from jets.images import dense, draw_events, sum_pixels
from jets.packed import (
    OBSERVABLES,
    jet_writer,
    read_event_table,
    read_jets,
    read_training_sha256,
)
from jets.published import write_published
from jets.sources import Collisions
from jets.split import (
    HELD_OUT,
    TRAIN,
    VALIDATION,
    is_background,
    is_signal,
    is_variation,
    uniform,
)
from physics import JET_DEFINITIONS, LUMINOSITY
from processes import PROCESSES
from study import PRESETS, load_study

STUDY = """
base = "readme"
stop_masses = [700, 800]
neutralino_masses = [100, 200]
background_files = 2
split = [0.4, 0.2, 0.4]
training_jets_per_mass_point = 40
pixels_max = 64
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    """A folder with a study `tiny`, its collisions, and the same in the published layout."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "tiny.toml").write_text(STUDY)
    (folder / "published.toml").write_text(STUDY)
    collisions = folder / "train_data" / "tiny"
    for m_stop, m_neutralino in ((700, 100), (700, 200), (800, 100)):
        events = toy_events(50, m_stop=m_stop, m_neutralino=m_neutralino, n_loose=10)
        write_events(collisions / f"stop_{m_stop}_{m_neutralino}.h5", events)
    write_events(collisions / "ttbar_1.h5", toy_events(150, index=1, n_loose=40))
    write_published(folder / "train_data", sorted(collisions.glob("*.h5")))
    return folder


@pytest.fixture
def folder(sample, tmp_path, monkeypatch) -> Path:
    """A copy of the sample, free to be damaged, as the current directory."""
    without_products = shutil.ignore_patterns("Data")
    shutil.copytree(sample, tmp_path, dirs_exist_ok=True, ignore=without_products)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module", params=["tiny", "published"])
def prepared(request, sample):
    """The study, after setup.py; read-only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(sample)
        setup.main(["--study", f"{request.param}.toml"])
        yield load_study(f"{request.param}.toml")


def refusal(capsys, *arguments) -> str:
    """The sentence on standard error, after exit status 2."""
    with pytest.raises(SystemExit) as stopped:
        run(lambda: setup.main(list(arguments)))
    assert stopped.value.code == 2
    sentence = capsys.readouterr().err.strip()
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return sentence


# --- What it writes -----------------------------------------------------------------------------


def test_the_table_of_events(prepared):
    table = read_event_table(prepared.data_dir / "events.h5")
    ours = prepared.name == "tiny"
    assert table.source == ("collisions" if ours else "published files")
    events = table.events
    assert np.count_nonzero(is_signal(events)) == (180 if ours else 150)
    assert np.count_nonzero(is_background(events)) == (190 if ours else 150)
    assert (events["m_stop"] == -1).sum() == is_background(events).sum()
    assert set(table.samples["events"]) == {50, 150}
    if ours:
        assert (events["n_jets"][events["split"] == HELD_OUT] >= 7).all()
        assert table.observables.shape == (len(events), len(OBSERVABLES))
        assert (table.observables[:, 0] == 50).all()  # of (30, -40) GeV
        assert (table.observables[:, 3] == events["n_jets"]).all()
        assert (table.samples["selection_efficiency"] == 0.1).all()
    else:
        assert (events["n_jets"] == -1).all()
        assert table.observables is None
        assert np.isnan(table.samples["selection_efficiency"]).all()


def test_only_jets_of_events_with_enough_ht_train(folder, capsys):
    """The held-out jets stay those of the study without the demand."""
    floor = ["--set", "images.training_ht_min=1000"]
    assert "holds no HT" in refusal(capsys, "--study", "published.toml", *floor)
    held_out = {}
    for options in ([], floor):
        setup.main(["--study", "tiny.toml", *options])
        ht = read_event_table(Path("Data/tiny/events.h5")).observables[:, OBSERVABLES.index("HT")]
        jets = read_jets(Path("Data/tiny/AK14.h5")).jets
        trains = ht[jets["event"][jets["split"] != HELD_OUT]]
        assert (trains.min() >= 1000) == bool(options)
        held_out[len(options)] = jets[["event", "k", "pt"]][jets["split"] == HELD_OUT]
    np.testing.assert_array_equal(held_out[0], held_out[2])


@pytest.mark.parametrize("jet_definition", JET_DEFINITIONS)
def test_the_packed_jets(prepared, jet_definition):
    path = prepared.data_dir / f"{jet_definition}.h5"
    events = read_event_table(prepared.data_dir / "events.h5").events
    everything = read_jets(path)
    jets = everything.jets
    order = np.lexsort((jets["k"], jets["event"], jets["split"]))
    np.testing.assert_array_equal(order, np.arange(len(jets)))
    np.testing.assert_array_equal(jets["split"], events["split"][jets["event"]])
    np.testing.assert_array_equal(jets["label"], is_signal(events[jets["event"]]))
    assert (everything.images.counts() > 0).all()
    assert everything.side == 64
    trained = jets[jets["split"] != HELD_OUT]
    assert (trained["label"] == 1).sum() == (trained["label"] == 0).sum() == 3 * 40
    assert (trained["delta_r"][trained["label"] == 1] < 0.5).all()
    assert trained["classified"].all()
    held_out = jets[jets["split"] == HELD_OUT]
    exists = held_out["event"].size
    n_held_out = np.count_nonzero(events["split"] == HELD_OUT)
    assert 3 * n_held_out * 0.9 < exists < 3 * n_held_out  # but every seventh third jet
    unmatched = (held_out["label"] == 1) & (held_out["delta_r"] >= 0.5)
    np.testing.assert_array_equal(held_out["classified"], ~unmatched)
    mass = jets["mass"][jets["split"] == TRAIN] / 1000
    assert everything.mass_mean == pytest.approx(mass.mean(), rel=1e-6)
    assert everything.mass_std == pytest.approx(mass.std(), rel=1e-5)
    parts = [read_jets(path, split) for split in (TRAIN, VALIDATION, HELD_OUT)]
    np.testing.assert_array_equal(np.concatenate([part.jets for part in parts]), jets)
    images = np.concatenate([dense(part.images, part.side) for part in parts])
    np.testing.assert_array_equal(images, dense(everything.images, everything.side))


def test_both_sources_give_the_same_jets(sample, monkeypatch):
    """Fully selected events without a limit: the published layout loses nothing."""
    monkeypatch.chdir(sample)
    paths = sorted(Path("train_data/tiny").glob("stop_700_*.h5"))
    for name in ("tiny", "published"):
        setup.main(["--study", f"{name}.toml"])
    table = read_event_table(Path("Data/published/events.h5"))
    packed = read_jets(Path("Data/published/AK14.h5"))
    images = dense(packed.images, 64)
    of_file = {path: read_events(path) for path in paths}
    first = {path: 50 * i for i, path in enumerate(paths)}  # fully selected events a file
    for path, events in of_file.items():
        point = table.events[packed.jets["event"]]
        rows = np.flatnonzero(
            (point["m_stop"] == 700) & (point["m_neutralino"] == events.numbers[1])
        )
        assert len(rows) > 50
        wanted = np.zeros((len(events), 3), bool)
        wanted[point["row"][rows] - first[path], packed.jets["k"][rows]] = True
        drawn = dense(sum_pixels(draw_events(events, "AK14", wanted), 128, 2), 64)
        order = np.lexsort((packed.jets["k"][rows], point["row"][rows]))
        np.testing.assert_allclose(images[rows][order], drawn, rtol=1e-6)
        np.testing.assert_array_equal(
            packed.jets["mass"][rows][order], events.large_r["AK14"]["mass"][wanted]
        )


def test_an_event_is_in_one_split_in_all_definitions(prepared):
    events = read_event_table(prepared.data_dir / "events.h5").events
    keys = {}
    for name in JET_DEFINITIONS:
        jets = read_jets(prepared.data_dir / f"{name}.h5").jets
        for event, split in zip(jets["event"], jets["split"], strict=True):
            identity = events[["process", "m_stop", "m_neutralino", "index", "row"]][event].item()
            keys.setdefault(identity, set()).add(int(split))
    assert len(keys) > 100
    assert all(len(splits) == 1 for splits in keys.values())


def test_it_says_what_is_there_and_what_is_missing(folder, capsys):
    setup.main(["--study", "tiny.toml"])
    said = capsys.readouterr().out
    assert "source: collisions, train_data/tiny/, 4 files" in said
    assert "missing of ttbar: 1 of 2\n  index 0\n" in said
    assert "missing of stop: 1 of 4\n  m_stop 800: m_neutralino 200\n" in said
    assert "events in two splits: 0 of 370" in said
    lines = {line.split("  ")[0]: line.split() for line in said.splitlines()}
    assert lines["stop 700"][2:5] == ["2", "100", "20"]
    assert lines["stop 700"][-1] == "120-120"  # two matched jets of 60 events
    assert lines["ttbar 1"][2:4] == ["150", "40"]
    shutil.rmtree("train_data/tiny")
    setup.main(["--study", "tiny.toml"])
    assert "source: published files, train_data/, 9 files" in capsys.readouterr().out


def test_a_second_run_does_nothing_and_a_changed_input_is_read_again(folder, capsys):
    setup.main(["--study", "tiny.toml"])
    before = {path: path.stat().st_mtime_ns for path in Path("Data/tiny").iterdir()}
    capsys.readouterr()
    setup.main(["--study", "tiny.toml"])
    assert "nothing to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in Path("Data/tiny").iterdir()}
    train = read_jets(Path("Data/tiny/AK14.h5"), TRAIN).jets
    write_events(
        Path("train_data/tiny/stop_800_200.h5"), toy_events(50, m_stop=800, m_neutralino=200)
    )
    setup.main(["--study", "tiny.toml"])
    assert "nothing to do" not in capsys.readouterr().out
    # The signal jets of the others stay: an added file moves no event.
    more = read_jets(Path("Data/tiny/AK14.h5"), TRAIN).jets
    assert np.isin(train["mass"][train["label"] == 1], more["mass"]).all()
    assert len(more) > len(train)


def test_too_little_background_is_said(folder, capsys):
    write_events(Path("train_data/tiny/ttbar_1.h5"), toy_events(10, index=1))
    setup.main(["--study", "tiny.toml"])
    assert "all the background there is" in capsys.readouterr().out


def test_the_manifest_names_what_was_read_and_written(prepared):
    manifest = json.loads((prepared.data_dir / "setup.json").read_text())
    names = {Path(path).name for path in manifest["outputs"]}
    assert names == {"events.h5", "AK08.h5", "AK10.h5", "AK14.h5"}
    assert len(manifest["inputs"]) == (4 if prepared.name == "tiny" else 9)
    assert {path.name for path in prepared.data_dir.iterdir()} == names | {"setup.json"}


# --- What it refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    ["install", "develop", "egg_info", "bdist_wheel", "build", "sdist", "alias", "--version"],
)
def test_packaging_commands_are_answered_in_one_sentence(capsys, command):
    sentence = refusal(capsys, command)
    assert command in sentence
    assert "pip install -r requirements.txt" in sentence


def test_packaging_needs_no_packages_and_importing_does_nothing(tmp_path):
    """As pip does it: without our packages, and with options before the command."""
    script = Path(setup.__file__)
    for arguments, status in (([script, "--quiet", "egg_info"], 2), (["-c", "import setup"], 0)):
        done = subprocess.run(
            [sys.executable, "-S", *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": str(script.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status
        assert done.stdout == ""
        assert done.stderr.count("\n") == (1 if status else 0)
    assert not any(tmp_path.iterdir())


def test_unknown_options_fail(capsys):
    assert "--sutdy" in refusal(capsys, "--sutdy", "demo")


@pytest.mark.parametrize(
    ("study", "word"), [("demos", "demos"), ("mine.toml", "mine.toml"), ("readme", "13236906")]
)
def test_nothing_to_read_is_one_sentence(tmp_path, monkeypatch, capsys, study, word):
    monkeypatch.chdir(tmp_path)
    assert word in refusal(capsys, "--study", study)
    assert not any(tmp_path.iterdir())


def test_a_study_without_published_files_does_not_offer_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert not PRESETS["demo"].sample.published_files
    sentence = refusal(capsys, "--study", "demo")
    assert "simulate.py and the same --study" in sentence
    assert "Zenodo" not in sentence


COLLISIONS, PUBLISHED = Path("train_data/tiny"), Path("train_data")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def set_first(path: Path, dataset: str, value: float) -> None:
    with h5py.File(path, "r+") as file:
        row = file[dataset][5]
        row[0] = value
        file[dataset][5] = row


def fewer_events(path: Path) -> None:
    """The file of a sample with half the events of its companions."""
    with h5py.File(path, "r+") as file:
        file.visititems(
            lambda _, node: node.resize(50, axis=0) if hasattr(node, "resize") else None
        )


def rewrite(name: str, change: Callable[[Events], None]) -> None:
    """A file of ours with changed content and a checksum that holds."""
    rewritten(change)(COLLISIONS / name, random.Random(0))


def copy_events(name: str, copy: str, **attributes) -> None:
    """The events of a file of ours under another name, which it states too."""
    events = read_events(COLLISIONS / name)
    changed = dataclasses.replace(events, attributes=events.attributes | attributes)
    write_events(COLLISIONS / copy, changed)


def weighted(name: str, picobarn: float, n: int, copy: str | None = None, **changes) -> None:
    """A file of ours with the weights of n events begun at a cross section."""
    events = read_events(COLLISIONS / name)
    stated = {"generated": n, "normalised_to_pb": picobarn, "selected": 1}
    weight = np.full(len(events), 1e3 * picobarn * LUMINOSITY / n)
    attributes = events.attributes | stated | changes
    changed = dataclasses.replace(events, attributes=attributes, weight=weight)
    write_events(COLLISIONS / (copy or name), changed)


def copy_one_definition() -> None:
    """Another published background file, which is the first in one jet definition."""
    write_events(Path("ttbar_0.h5"), toy_events(150, index=0))
    write_published(PUBLISHED, [Path("ttbar_0.h5")])
    shutil.copy(PUBLISHED / "BG_AK10_1.hdf5", PUBLISHED / "BG_AK10_0.hdf5")


FAULTS = {
    "infinite object": (
        lambda: rewrite("ttbar_1.h5", lambda events: events.objects["pt"].put(7, np.inf)),
        ["ttbar_1.h5", "objects/pt", "row 7", "inf", "0 to 13000"],
    ),
    "negative object": (
        lambda: rewrite("ttbar_1.h5", lambda events: events.objects["pt"].put(7, -5.0)),
        ["ttbar_1.h5", "objects/pt", "row 7", "-5.0"],
    ),
    "NaN mass": (
        lambda: rewrite("ttbar_1.h5", lambda e: e.large_r["AK10"]["mass"].put(4, np.nan)),
        ["ttbar_1.h5", "AK10/mass", "row 1", "nan"],
    ),
    "unknown type": (
        lambda: rewrite("ttbar_1.h5", lambda events: events.objects["type"].put(7, 7)),
        ["ttbar_1.h5", "objects/kind", "row 7"],
    ),
    "more Fox-Wolfram than all": (
        lambda: rewrite("ttbar_1.h5", lambda events: events.observables["h1"].put(3, 1.5)),
        ["ttbar_1.h5", "observables/h1", "row 3", "1.5"],
    ),
    "jet in the beam pipe": (
        lambda: rewrite("ttbar_1.h5", lambda e: e.large_r["AK10"]["eta"].put(4, 50.0)),
        ["ttbar_1.h5", "AK10/eta", "row 1", "50", "-20 to 20"],
    ),
    "negative cross section": (
        lambda: rewrite("ttbar_1.h5", lambda e: e.attributes.update(cross_section_pb=-1.0)),
        ["ttbar_1.h5", "cross_section_pb", "-1.0"],
    ),
    "no efficiency": (
        lambda: rewrite(
            "stop_700_100.h5", lambda events: events.attributes.update(selection_efficiency=np.nan)
        ),
        ["stop_700_100.h5", "selection_efficiency", "nan"],
    ),
    "mass in words": (
        lambda: rewrite("stop_700_100.h5", lambda events: events.attributes.update(m_stop="heavy")),
        ["stop_700_100.h5", "m_stop", "heavy", "integer"],
    ),
    "truncated": (lambda: truncate(COLLISIONS / "ttbar_1.h5"), ["ttbar_1.h5"]),
    "text": (
        lambda: (COLLISIONS / "stop_800_200.h5").write_text("text"),
        ["stop_800_200.h5", "HDF5"],
    ),
    "renamed": (
        lambda: (COLLISIONS / "ttbar_1.h5").rename(COLLISIONS / "ttbar_0.h5"),
        ["ttbar_0.h5", "ttbar_1.h5"],
    ),
    "a copy under another name": (
        lambda: shutil.copy(COLLISIONS / "ttbar_1.h5", COLLISIONS / "ttbar_0.h5"),
        ["ttbar_0.h5: holds the events of ttbar_1.h5, which is there too; remove one"],
    ),
    "a copy of another mass": (
        lambda: copy_events("stop_800_100.h5", "stop_800_200.h5", m_neutralino=200),
        ["stop_800_200.h5, row 0", "stop_800_100.h5, row 0; 60 events", "60 of all files"],
    ),
    "a copy of another number": (
        lambda: copy_events("ttbar_1.h5", "ttbar_0.h5", index=0),
        ["ttbar_1.h5, row 0: the same event as train_data/tiny/ttbar_0.h5, row 0; 190 events"],
    ),
    "nothing that is asked for": (
        lambda: [path.rename(path.with_stem(f"my {path.stem}")) for path in COLLISIONS.iterdir()],
        ["train_data/tiny: study 'tiny' asks for none of the 4 files", "my stop_700_100.h5"],
    ),
    "some weights": (
        lambda: (
            rewrite("stop_700_100.h5", lambda events: None),
            weighted("stop_700_200.h5", 2.0, 100),
        ),
        ["stop_700_100.h5: dataset 'weight' is missing, expected it as in", "stop_700_200.h5"],
    ),
    "no background": (lambda: (COLLISIONS / "ttbar_1.h5").unlink(), ["no background"]),
}
PUBLISHED_FAULTS = {
    "truncated": (lambda: truncate(PUBLISHED / "BG_AK08_1.hdf5"), ["BG_AK08_1.hdf5", "HDF5"]),
    "NaN pixel": (
        lambda: set_first(PUBLISHED / "SI_AK10_700GeV.hdf5", "Jet/TrackPT/values1", np.nan),
        ["SI_AK10_700GeV.hdf5", "Jet/TrackPT/values1", "row 5", "nan"],
    ),
    "outside": (
        lambda: set_first(PUBLISHED / "BG_AK08_1.hdf5", "Jet/TrackPT/index0", 64),
        ["BG_AK08_1.hdf5", "Jet/TrackPT/index0", "row 5", "64"],
    ),
    "fewer events": (
        lambda: fewer_events(PUBLISHED / "SI_AK10_700GeV.hdf5"),
        ["different numbers", "SI_AK10_700GeV.hdf5 50", "SI_AK14_700GeV.hdf5 100"],
    ),
    "other masses": (
        lambda: set_first(PUBLISHED / "SI_AK14_700GeV.hdf5", "mass/Mass", 200),
        ["SI_AK14_700GeV.hdf5", "mass/Mass", "row 5"],
    ),
    "off the grid": (
        lambda: [
            path.rename(str(path).replace("00G", "10G")) for path in PUBLISHED.glob("SI_*00GeV*")
        ],
        ["no signal"],
    ),
    "a copy of one definition": (
        copy_one_definition,
        ["BG_AK10_1.hdf5, row 0: the same event as train_data/BG_AK10_0.hdf5, row 0; 150 events"],
    ),
    "a definition is missing": (
        lambda: (PUBLISHED / "BG_AK10_1.hdf5").unlink(),
        ["BG_AK10_1.hdf5", "no such file"],
    ),
    "no signal": (lambda: [path.unlink() for path in PUBLISHED.glob("SI*")], ["no signal"]),
}


@pytest.mark.parametrize(
    ("study", "fault"),
    [("tiny", fault) for fault in FAULTS] + [("published", fault) for fault in PUBLISHED_FAULTS],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(folder, capsys, study, fault):
    damage, words = (FAULTS if study == "tiny" else PUBLISHED_FAULTS)[fault]
    damage()
    sentence = refusal(capsys, "--study", f"{study}.toml")
    for word in words:
        assert word in sentence
    assert not (folder / "Data").exists()


def test_two_studies_of_one_name_do_not_replace_each_other(folder, capsys):
    setup.main(["--study", "tiny.toml"])
    Path("second").mkdir()
    other = Path("second/tiny.toml")
    other.write_text(Path("tiny.toml").read_text() + "oriented = false\n")
    sentence = refusal(capsys, "--study", str(other))
    assert "Data/tiny: is of the study in tiny.toml" in sentence
    Path("tiny.toml").unlink()
    setup.main(["--study", str(other)])  # it was moved, and changed


def test_a_sample_that_is_replaced_while_it_is_read_is_one_sentence(folder, capsys, monkeypatch):
    whole = read_events(COLLISIONS / "ttbar_1.h5")

    def choose(*arguments):
        write_events(COLLISIONS / "ttbar_1.h5", whole.take(np.arange(len(whole)) < 20))
        return chosen(*arguments)

    chosen = preparation.choose
    monkeypatch.setattr(preparation, "choose", choose)
    assert "ttbar_1.h5: another run has replaced it" in refusal(capsys, "--study", "tiny.toml")
    assert not Path("Data").exists()


def test_a_second_run_is_told_of_the_first(folder, capsys):
    with products.alone(Path("Data/tiny/setup.json")):
        assert "another run is making this" in refusal(capsys, "--study", "tiny.toml")


def test_no_place_to_write_is_one_sentence(folder, capsys):
    (folder / "Data").write_text("a file where a folder should be")
    assert "Data" in refusal(capsys, "--study", "tiny.toml")


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(folder, capsys, monkeypatch):
    monkeypatch.setattr("jets.sources.os.access", lambda path, mode: path.name != "tiny")
    assert "train_data/tiny: no permission" in refusal(capsys, "--study", "tiny.toml")


# --- Weights ------------------------------------------------------------------------------------


def test_files_of_a_process_are_one_sample(folder, capsys):
    """Two files of 100 and 700 events begun: each event stands for sigma L / 800."""
    write_events(COLLISIONS / "ttbar_0.h5", toy_events(30, index=0))
    for name, n in (("ttbar_0.h5", 100), ("ttbar_1.h5", 700)):
        weighted(name, 832.0, n)
    setup.main(["--study", "tiny.toml"])
    events = read_event_table(Path("Data/tiny/events.h5")).events
    assert set(events["weight"][is_signal(events)]) == {1}  # files without weights
    [weight] = set(events["weight"][is_background(events)])
    assert weight == pytest.approx(832e3 * LUMINOSITY / 800, rel=1e-14)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    printed = next(line for line in lines if line[:2] == ["ttbar", "0"])
    assert float(printed[4]) == pytest.approx(30 * weight, rel=1e-5)


def test_slices_of_a_process_keep_their_weights(folder):
    """600 pb below a boundary and 60 pb above it: the two add up."""
    write_events(COLLISIONS / "ttbar_0.h5", toy_events(30, index=0))
    for name, picobarn in (("ttbar_0.h5", 600.0), ("ttbar_1.h5", 60.0)):
        weighted(name, picobarn, 100)
    setup.main(["--study", "tiny.toml"])
    events = read_event_table(Path("Data/tiny/events.h5")).events
    for index, picobarn in ((0, 600.0), (1, 60.0)):
        [weight] = set(events["weight"][is_background(events) & (events["index"] == index)])
        assert weight == pytest.approx(1e3 * picobarn * LUMINOSITY / 100, rel=1e-14)


def test_slices_of_one_cross_section_say_so_and_ones_are_no_weights(folder, capsys):
    """Without the attribute, files of one cross section are named as parts of one sample."""
    write_events(COLLISIONS / "ttbar_0.h5", toy_events(30, index=0))
    weights = []
    for part in ("", "below"):
        weighted("ttbar_0.h5", 400.0, 100)
        weighted("ttbar_1.h5", 400.0, 100, **({"slice": part} if part else {}))
        setup.main(["--study", "tiny.toml"])
        said = capsys.readouterr().out
        sentence = "weights: ttbar_0.h5, ttbar_1.h5 are taken as parts of one ttbar\n"
        assert (sentence in said) == (not part)
        events = read_event_table(Path("Data/tiny/events.h5")).events
        weights += set(events["weight"][is_background(events)])
    assert weights == [pytest.approx(2e5 * LUMINOSITY / 100), pytest.approx(4e5 * LUMINOSITY / 100)]
    digest = read_training_sha256(Path("Data/tiny/AK14.h5"))
    for name in ("ttbar_0.h5", "ttbar_1.h5"):
        events = read_events(COLLISIONS / name)
        write_events(COLLISIONS / name, dataclasses.replace(events, weight=np.ones(len(events))))
    setup.main(["--study", "tiny.toml"])
    assert (read_event_table(Path("Data/tiny/events.h5")).events["weight"] == 1).all()
    assert read_training_sha256(Path("Data/tiny/AK14.h5")) == digest  # equal weights, too


def test_a_variation_is_read_with_all_its_slices_or_not_at_all(folder, capsys):
    """900 tries of the soft slice, 4,000 of the hard one: each event has the weight of its own."""
    varied = COLLISIONS / "tiny_half_scale"
    for number, (name, n) in enumerate({"ttbar_soft": 900, "ttbar_hard": 4_000}.items()):
        for place, seed in (COLLISIONS, number), (varied, 7 + number):
            events = toy_events(60, index=0, seed=seed)
            facts = {"process": name, "generated": n, "normalised_to_pb": 832.0}
            weight = np.full(60, 832e3 * LUMINOSITY / n)
            attributes = events.attributes | facts
            changed = dataclasses.replace(events, attributes=attributes, weight=weight)
            write_events(place / f"{name}_0.h5", changed)
    processes = "sample.processes=['ttbar_soft', 'ttbar_hard', 'stop']"
    sliced = ["--study", "tiny.toml", "--set", processes]
    setup.main(sliced)
    said = capsys.readouterr().out
    assert "of half_scale" not in said and "half_scale_hard" in said
    events = read_event_table(Path("Data/tiny/events.h5")).events
    for name in ("ttbar_soft", "half_scale_soft"):
        soft, hard = (
            events[events["process"] == PROCESSES[part].number]["weight"]
            for part in (name, name.replace("soft", "hard"))
        )
        assert len(soft) == len(hard) == 60
        np.testing.assert_allclose(soft / hard, 4_000 / 900, rtol=1e-12)
    setup.main(["--study", "tiny.toml"])  # which has the inclusive process
    assert "left out: 2 files of half_scale, but not of the processes" in capsys.readouterr().out
    (varied / "ttbar_hard_0.h5").unlink()
    setup.main(sliced)
    assert "left out: 1 file of half_scale without its ttbar_hard" in capsys.readouterr().out
    events = read_event_table(Path("Data/tiny/events.h5")).events
    assert not is_variation(events).any()


def test_another_weight_of_an_event_is_another_training(folder):
    digests, path = [], COLLISIONS / "ttbar_1.h5"
    for factor in (1.0, 3.0):
        events = read_events(path)
        weight = np.where(np.arange(len(events)) % 2, factor, 1.0)
        write_events(path, dataclasses.replace(events, weight=weight))
        setup.main(["--study", "tiny.toml"])
        digests.append(read_training_sha256(Path("Data/tiny/AK14.h5")))
    assert len(set(digests)) == 2


def test_held_out_files_may_come_without_a_new_training(folder):
    """But for the null check, whose labels are permuted over all jets."""
    Path("tiny.toml").write_text(STUDY.replace("[0.4, 0.2, 0.4]", "[0.0, 0.0, 1.0]"))
    for name in ("ttbar_1.h5", "stop_700_100.h5", "stop_700_200.h5", "stop_800_100.h5"):
        weighted(name, 400.0, 100)
    found = []
    for number in (1, 0):  # read before the other from now on
        if not number:
            write_events(COLLISIONS / "ttbar_0.h5", toy_events(30, index=0))
            weighted("ttbar_0.h5", 300.0, 100)
        setup.main(["--study", "tiny.toml"])
        path = Path("Data/tiny/AK14.h5")
        found.append([read_training_sha256(path), read_training_sha256(path, is_shuffled=True)])
    assert found[0][0] == found[1][0] and found[0][1] != found[1][1]


def test_mass_points_keep_weights_of_their_own(folder):
    for i, name in enumerate(("stop_700_100.h5", "stop_700_200.h5", "stop_800_100.h5")):
        weighted(name, 1.0 + i, 1000)
    setup.main(["--study", "tiny.toml"])
    events = read_event_table(Path("Data/tiny/events.h5")).events
    found = {tuple(row)[:2]: row["weight"] for row in events[["m_stop", "m_neutralino", "weight"]]}
    assert found[700, 200] == 2 * found[700, 100] == LUMINOSITY * 2
    assert found[800, 100] == pytest.approx(3 * found[700, 100])


# --- A part of a sample -------------------------------------------------------------------------


def test_files_that_the_study_does_not_ask_for_are_left_out_and_named(folder, capsys):
    for name in ("stop_710_100", "ttbar_2", "ttbar_01", "ttbar_1 (copy)", "._ttbar_1", "notes"):
        (COLLISIONS / f"{name}.h5").write_text("no HDF5 at all")
    setup.main(["--study", "tiny.toml"])
    said = capsys.readouterr().out
    assert "train_data/tiny/, 4 files" in said
    [line] = [line for line in said.splitlines() if line.startswith("left out")]
    assert "5 files" in line and "background_files = 2" in line and "._" not in line
    for name in ("stop_710_100.h5", "ttbar_2.h5", "ttbar_01.h5", "ttbar_1 (copy).h5", "notes.h5"):
        assert name in line
    assert "events in two splits: 0 of 370" in said


def test_rows_of_other_masses_are_left_out_and_move_no_event(folder, capsys):
    setup.main(["--study", "published.toml"])
    part = STUDY.replace("[100, 200]", "[200]").replace("[700, 800]", "[700]")
    Path("part.toml").write_text(part)
    capsys.readouterr()
    setup.main(["--study", "part.toml"])
    said = capsys.readouterr().out
    assert "3 files that study 'part' does not ask for" in said
    assert "left out: 50 signal events" in said and "100 GeV" in said
    tables = [read_event_table(Path(f"Data/{name}/events.h5")) for name in ("published", "part")]
    whole, taken = (table.events for table in tables)
    kept = (whole["m_stop"] != 800) & (whole["m_neutralino"] != 100)
    np.testing.assert_array_equal(whole[kept], taken)
    assert taken["row"][is_signal(taken)].tolist() == list(range(50, 100))
    both = [read_jets(Path(f"Data/{name}/AK14.h5"), HELD_OUT) for name in ("published", "part")]
    rows = np.flatnonzero(kept[both[0].jets["event"]])
    assert len(rows) > 100
    np.testing.assert_array_equal(both[0].jets["mass"][rows], both[1].jets["mass"])
    np.testing.assert_array_equal(both[0].images.take(rows).values, both[1].images.values)


def test_a_background_file_may_have_any_number(folder):
    events = toy_events(5, index=123_456)
    write_events(COLLISIONS / "ttbar_123456.h5", events)
    study = load_study("tiny.toml").changed(sample={"background_files": 200_000})
    source = Collisions(COLLISIONS, study)
    found = source.survey(COLLISIONS / "ttbar_123456.h5").events
    assert (found["index"] == 123_456).all()
    wide = found.astype([(name, "i8") for name in found.dtype.names])
    np.testing.assert_array_equal(uniform(found, "split"), uniform(wide, "split"))


@pytest.mark.parametrize("changed", ["a value", "a pixel", "a label", "a mass", "the split"])
def test_everything_that_trains_is_in_the_hash(tmp_path, changed):
    jets = toy_jets.packed(40)

    def found(name: str) -> str:
        path = tmp_path / f"{name}.h5"
        with jet_writer(path, "AK14", jets.side) as add:
            add(jets.jets, jets.images)
        return read_training_sha256(path)

    before, again = found("before"), found("again")
    held_out = np.flatnonzero(jets.jets["split"] == HELD_OUT)
    jets.images.values[jets.images.offsets[held_out[0]]] += 1
    jets.jets["mass"][held_out[1]] += 1
    assert before == again == found("held out")
    jet = np.flatnonzero(jets.jets["split"] == VALIDATION)[0]
    pixel = jets.images.offsets[jet]
    if changed == "a value":
        jets.images.values[pixel] *= 1.001
    elif changed == "a pixel":
        jets.images.pixels[pixel] -= 1
    elif changed == "the split":
        jets.jets["split"][jet] = TRAIN
    else:
        jets.jets[changed.removeprefix("a ")][jet] += 1
    assert found("after") != before


def test_files_of_an_older_layout_are_made_again(folder, capsys):
    setup.main(["--study", "tiny.toml"])
    manifest = folder / "Data/tiny/setup.json"
    record = json.loads(manifest.read_text())
    del record["settings"]["layout"]
    manifest.write_text(json.dumps(record))
    setup.main(["--study", "tiny.toml"])
    assert "nothing to do" not in capsys.readouterr().out

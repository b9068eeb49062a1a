"""The whole chain on a few of the demo's collisions: through its command lines, then called."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.figure import Figure

import fit_xgb
import plots
import predict_base_model_mass
import products
import setup
import train
from command import InputError
from jets.events import read_events, write_events
from jets.published import write_published
from jets.split import HELD_OUT, is_variation
from processes import PROCESSES
from study import PRESETS, Study

ROOT = Path(__file__).parent.parent
DEMO = ROOT / PRESETS["demo"].sample_dir
FILES = ["ttbar_0", *(f"stop_{m}_{chi}" for m in (700, 1100) for chi in (100, 500))]
STUDY = """
base = "demo"
[sample]
folder = "few"
published_files = false
stop_masses = [700, 1100]
neutralino_masses = [100, 500]
background_files = 1
[images]
training_jets_per_mass_point = 40
[training]
width = 0.125
epochs = 1
[trees]
number = 20
folds = 2
[figures]
bootstraps = 20
"""
STEPS = [
    [sys.executable, "setup.py"],
    ["bash", "train_all.sh"],
    [sys.executable, "predict_base_model_mass.py"],
    [sys.executable, "fit_xgb.py"],
    [sys.executable, "plots.py"],
]
NEEDS_OBSERVABLES = {"sic_observables", "sic_all_known", "features", "exclusion_plane", "gain"}


def write_few(folder: Path, every: int = 8) -> list[Path]:
    """Every eighth event, say, of the demo's `FILES`: enough of each kind, quickly scored."""
    folder.mkdir(parents=True)
    for name in FILES:
        events = read_events(DEMO / f"{name}.h5")
        write_events(folder / f"{name}.h5", events.take(np.arange(len(events)) % every == 0))
    return [folder / f"{name}.h5" for name in FILES]


def write_variation(folder: Path) -> None:
    """Fully selected top pairs in place of those of another shower."""
    events = read_events(DEMO / "ttbar_1.h5")
    chosen = events.fully_selected & (np.arange(len(events)) % 4 == 0)
    folder.mkdir()
    write_events(folder / "ttbar_1.h5", events.take(chosen))


def run_steps(folder: Path) -> list[str]:
    """All steps of few.toml in `folder`; what each printed."""
    printed = []
    for interpreter, script in STEPS:
        result = subprocess.run(
            [interpreter, ROOT / script, "--study", "few.toml"],
            cwd=folder,
            env=os.environ | {"PYTHON": sys.executable, "PYTHONWARNINGS": "error"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{script}: {result.stderr[-3000:]}"
        printed.append(result.stdout)
    return printed


def call_steps(folder: Path, capsys: pytest.CaptureFixture) -> list[str]:
    """The same in this process, which spares the imports: what each printed."""
    printed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for script in (setup, train, predict_base_model_mass, fit_xgb, plots):
            every = ["--all", "--jobs", "1"] if script is train else []
            name = Path(script.__file__).name
            patch.setattr(sys, "argv", [name, "--study", "few.toml", *every])
            script.main()
            printed.append(capsys.readouterr().out)
    return printed


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def figures(folder: Path) -> set[str]:
    """Figures drawn, each of which must have its points beside it."""
    plots = folder / "plots" / "few"
    drawn = {path.stem for path in plots.glob("*.png")}
    assert all((plots / f"{name}.csv").stat().st_size for name in drawn)
    return drawn


@pytest.fixture(scope="module")
def from_collisions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collisions")
    write_few(folder / "train_data" / "few")
    write_variation(folder / "train_data" / "few" / "few_power_shower")
    (folder / "few.toml").write_text(STUDY)
    return folder, run_steps(folder)


def test_every_figure_is_made_of_real_collisions(from_collisions):
    folder, printed = from_collisions
    assert "events in two splits: 0 of" in printed[0]
    assert figures(folder) > NEEDS_OBSERVABLES
    assert (folder / "plots/few/summary.txt").read_text() in printed[-1]
    assert read_csv(folder / "plots/few/summary.csv")


def test_another_shower_is_held_out_and_shifts_the_background(from_collisions):
    folder, _ = from_collisions
    with h5py.File(folder / "Data/few/events.h5") as file:
        events = file["events"][()]
    varied = events[events["process"] == PROCESSES["power_shower"].number]
    assert len(varied) > 100 and (varied["split"] == HELD_OUT).all()
    with h5py.File(folder / "Data/few/AK14.h5") as file:
        jets = file["jets"][()]
    assert not jets["classified"][is_variation(events)[jets["event"]]].any()
    rows = read_csv(folder / "plots/few/summary.csv")
    shifts = [row for row in rows if row["quantity"] == "shift of eps_B"]
    assert {row["variation"] for row in shifts} == {"power_shower"}
    of_ds2 = next(row for row in shifts if row["classifier"] == "DS2")
    low, value, high = (float(of_ds2[name]) for name in ("low", "value", "high"))
    assert abs(value) < 4 * (high - low) / 2  # the same shower after all


def test_all_fits_are_made(from_collisions):
    folder, _ = from_collisions
    manifest = json.loads((folder / "Data/few/trees.json").read_text())
    assert not manifest["left_out"]
    of_paper, of_vit_and_jetvit, of_three_jets, of_one_jet, of_all_known = 23, 2 * 4, 12, 12, 6
    n_fits = of_paper + of_vit_and_jetvit + of_three_jets + of_one_jet + of_all_known
    assert len(manifest["settings"]["fits"]) == n_fits


def test_a_second_run_changes_nothing(from_collisions, capsys):
    folder, _ = from_collisions
    products = [path for top in ("Data", "plots") for path in (folder / top).rglob("*.*")]
    before = {path: path.stat().st_mtime_ns for path in products}
    call_steps(folder, capsys)
    after = {path: path.stat().st_mtime_ns for path in products if path.name != "log.txt"}
    assert after == {path: before[path] for path in after}


# Setting -> another value, and the first step that depends on it.
CHANGES = {
    "name": ("other", "setup"),
    "sample.folder": ("linked", "setup"),
    "sample.published_files": (True, "setup"),
    "sample.processes": (["stop", "ttbar"], "setup"),
    "sample.stop_masses": ([700, 900, 1100], "setup"),
    "sample.neutralino_masses": ([100, 300, 500], "setup"),
    "simulation.signal_events": (7, None),
    "simulation.background_events": (7, None),
    "sample.background_files": (2, "setup"),
    "simulation.signal_loose_share": (0.7, None),
    "simulation.background_loose_share": (0.7, None),
    "simulation.variation_events": (7, None),
    "simulation.events_of": ({"ttbar": 7}, None),
    "images.split": ([0.5, 0.2, 0.3], "setup"),
    "images.split_loose": ([0.6, 0.4, 0.0], "setup"),
    "images.training_jets_per_mass_point": (30, "setup"),
    "images.training_background_ratio": (2.0, "setup"),
    "images.training_ht_min": (400.0, "setup"),
    "images.pixels_max": (64, "setup"),
    "images.oriented": (False, "setup"),
    "training.pixel_scale": ("log", "train"),
    "training.standardised_mass": (False, "train"),
    "classifiers.networks": (["CNN", "MaxViT"], "predict"),
    "classifiers.jet_definitions": (["AK10", "AK14"], "predict"),
    "classifiers.seeds": ([0, 1], "predict"),
    "training.width": (0.25, "train"),
    "training.network_options": ({}, "train"),
    "training.loss": ("another", "train"),
    "training.spectator": ("mass", "train"),
    "training.decorrelation": (10.0, "train"),
    "training.scope": ([100.0, 200.0], "train"),
    "training.by_cross_section": (True, "train"),
    "training.choose_by": ("significance", "train"),
    "training.equalise": ("flat", "train"),
    "training.equalise_in": (["pt", "mass"], "train"),
    "training.negative_weights": ("absolute", "train"),
    "training.drawn": (True, "train"),
    "training.epochs": (2, "train"),
    "training.batch_size": (32, "train"),
    "training.learning_rate": (1e-2, "train"),
    "training.learning_rate_decay": (0.8, "train"),
    "training.cosine_schedule": (True, "train"),
    "training.weight_decay": (0.1, "train"),
    "training.reflect": (True, "train"),
    "training.rotate": (True, "train"),
    "figures.signal_efficiency_min": (0.2, "plots"),
    "figures.background_jets_min": (11, "plots"),
    "figures.background_events_min": (11, "plots"),
    "figures.working_point": (0.4, "plots"),
    "figures.bootstraps": (21, "plots"),
    "trees.folds": (3, "fit"),
    "trees.number": (21, "fit"),
    "trees.learning_rate": (0.2, "fit"),
    "trees.events_per_mass_point": (21, "fit"),
    "trees.negative_weights": ("absolute", "fit"),
    "event_networks.networks": (["FeedForward"], "fit"),
    "event_networks.losses": (["extreme"], "fit"),
    "event_networks.inputs": (["DS2"], "fit"),
    "event_networks.decorrelations": ([0.0, 10.0], "fit"),
    "event_networks.spectator": ("MJ", "fit"),
    "event_networks.seeds": ([0, 1], "fit"),
    "event_networks.choose_by": ("significance", "fit"),
    "event_networks.epochs": (7, "fit"),
    "event_networks.batch_size": (32, "fit"),
    "event_networks.learning_rate": (1e-2, "fit"),
}
SCRIPTS = {  # what says that it is stale in the steps after it, and the script
    "setup": ("setup.py", setup),
    "train": ("train.py", train),
    "predict": ("predict_base_model_mass.py", predict_base_model_mass),
    "fit": ("fit_xgb.py", fit_xgb),
    "plots": ("plots.py", plots),
}


class WouldWork(Exception):
    """A step is not finished."""


def test_every_setting_is_changed_below():
    sections = dataclasses.fields(Study)[1:]
    settings = {f"{s.name}.{f.name}" for s in sections for f in dataclasses.fields(s.type)}
    assert set(CHANGES) == {"name", *settings}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_setting_makes_stale_what_depends_on_it_and_nothing_else(
    name, from_collisions, monkeypatch, capsys
):
    """The first step that depends on it is done again, and later ones say which step to run."""
    folder, _ = from_collisions
    value, first = CHANGES[name]
    if not (linked := folder / "train_data/linked").exists():
        linked.symlink_to("few")
    is_finished = products.is_finished

    def no_work(*arguments) -> bool:
        if not is_finished(*arguments):
            raise WouldWork
        return True

    monkeypatch.chdir(folder)
    change = f"{name}={json.dumps(value).replace(':', ' =')}"  # a table in one line, too
    steps, found = list(SCRIPTS), {}
    for step, (script, module) in SCRIPTS.items():
        network = "MaxViT" if name == "training.network_options" else "CNN"  # that has options
        options = ["AK14", network] if step == "train" else []
        arguments = [script, *options, "--study", "few.toml", "--set", change]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", arguments)
            patch.setattr(module, "is_finished", no_work, raising=False)
            patch.setattr(products, "is_finished", no_work)
            try:
                module.main()
                found[step] = "finished"
            except WouldWork:
                found[step] = "stale"
            except InputError as error:
                found[step] = str(error)
    for step, said in found.items():
        if first is None or steps.index(step) < steps.index(first):
            assert said == "finished", step
        elif step == first:
            assert said == "stale", step
        elif name == "name":
            assert said == "Data/other/setup.json: not there yet; run setup.py first"
        else:
            if first == "train" and step in ("fit", "plots"):  # they read no manifest of train.py
                assert "scores.json: made with other settings of training; run predict" in said
            else:
                assert f"made with {name} " in said and ", the study says " in said, step
                assert f"; run {SCRIPTS[first][0]} " in said, step


def test_our_collisions_in_the_published_layout_run_through(tmp_path, capsys, monkeypatch):
    """A user's published files: scores only, and every gap is named with its reason."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: None)  # they take long
    write_published(tmp_path / "train_data", write_few(tmp_path / "few", 16))
    stated = STUDY.replace("published_files = false", "published_files = true")
    networks = PRESETS["readme"].classifiers.networks  # JetViT needs collisions
    stated += f"[classifiers]\nnetworks = {[*networks]}\n"
    (tmp_path / "few.toml").write_text(stated)
    printed = call_steps(tmp_path, capsys)
    assert "published files" in printed[0]
    manifest = json.loads((tmp_path / "Data/few/trees.json").read_text())
    assert sorted(manifest["left_out"]) == sorted(
        [
            "DS1",
            "DS2",
            "AK14 MaxViT + DS1",
            "AK14 DS2 + classical",
            *(
                f"AK14 {network} + DS2{more}"
                for network in networks
                for more in ("", " + classical")
            ),
        ]
    )
    drawn = figures(tmp_path)
    assert not drawn & NEEDS_OBSERVABLES
    assert {"sic_single_jets", "sic_three_jets", "average_images_AK14"} <= drawn
    summary = (tmp_path / "plots/few/summary.txt").read_text()
    for name in (*NEEDS_OBSERVABLES, "DS2"):
        assert f"Left out: {name}" in summary

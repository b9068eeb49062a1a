"""The page of results: tables of the summary, with published values in columns of their own."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from command import InputError, call, run
from evaluation.pages import show
from evaluation.results import Classifiers
from evaluation.table import SIGNAL_PT, Summary
from jets.classifier import HELD_OUT_EVENTS, HELD_OUT_JETS, Classifier
from jets.events import read_events
from jets.packed import EVENT_DTYPE
from products import read_csv, write_csv, write_manifest
from sensitivity.bootstrap import Estimate
from studies import changes, leakage, ordering, three_jets
from studies.leakage import BEST, MASS, PT
from studies.pages import PAGE, page_of
from study import PRESETS, load_study
from training.plan import trainings

ROOT = Path(__file__).parent.parent
DEMO = PRESETS["demo"]


def network(name: str, definition: str = "AK14", trees: str = "") -> Classifier:
    return Classifier((definition,), (name,), (), trees)


def rows_of(summary: Summary) -> list[dict[str, str]]:
    """As summary.csv gives them back."""
    return [{name: str(value) for name, value in row.items()} for row in summary.rows]


def test_rows_become_a_table_with_published_values_beside():
    summary, cnn, vit = Summary(), network("CNN"), network("ViT")
    summary.add("merits", cnn, "AUC", Estimate(0.91234, 0.002), published=0.97)
    summary.add("merits", cnn, "max SIC", Estimate(5.2, 0.4), effective_background=31)
    summary.add("merits", vit, "AUC", Estimate(0.88, 0.02))
    assert ordering.table(rows_of(summary)) == [
        {
            "": "AK14 CNN",
            "AUC": "0.9123 ± 0.0020",
            "AUC, published": "0.97",
            "max SIC": "5.20 ± 0.40 (31)",
        },
        {"": "AK14 ViT", "AUC": "0.880 ± 0.020", "AUC, published": "", "max SIC": ""},
    ]


def test_masses_become_columns():
    summary = Summary()
    for mass, status, published in ((100, "measured", 8), (500, "upper limit", None)):
        more = {"status": status, "published": published, "neutralino_mass": mass}
        summary.add("gain", network("CNN"), "gain", (9.0, 8.0, 10.0), **more)
    assert ordering.table(rows_of(summary)) == [
        {"": "AK14 CNN", "100 GeV": "9.0 ± 1.0", "100 GeV, published": "8", "500 GeV": "< 9"}
    ]


def test_the_sample_is_told_file_by_file(monkeypatch):
    monkeypatch.chdir(ROOT)
    rows = ordering.sample(DEMO)
    assert len(rows) == len(DEMO.sample_files)
    row = next(row for row in rows if row["file"] == "ttbar_0.h5")
    events = read_events(DEMO.sample_dir / "ttbar_0.h5")
    assert row["at least 7 jets"] == events.fully_selected.sum()
    assert row["begun"] == events.attributes["generated"]
    assert all(float(row[f"{cut.decode()}, weighted"]) == n for cut, n in events.cut_flow.tolist())


def test_every_training_tells_its_best_and_its_last_epoch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = load_study(str(ROOT / "studies/changes_cpu.toml"))
    for training in trainings(study):
        history = [
            {"epoch": i, "training_loss": 0.5 - 0.1 * i, "loss": abs(i - 1) + 0.4, "auc": 0.9,
             "jets_per_second": 100 + 20 * i}
            for i in range(3)
        ]  # fmt: skip
        folder = training.directory(study)
        write_csv(folder / "history.csv", history)
        outputs = [folder / "history.csv"]
        write_manifest(folder / "manifest.json", {}, [], outputs, best_epoch=1)
    (trainings(study)[2].directory(study) / "manifest.json").unlink()
    rows = ordering.trained(study)
    lines = ordering.printed_trainings(rows)
    assert lines[2] == dict.fromkeys(lines[0], "") | {
        "training": "AK14 CNN 1",
        "best epoch": "not run",
    }
    assert [line["training"] for line in lines][-1] == "AK14 CNN 0 --shuffle-labels"
    assert lines[0] == {
        "training": "AK14 CNN 0",
        "best epoch": "2 of 3",
        "training loss, best": "0.400",
        "validation loss, best": "0.400",
        "training loss, last": "0.300",
        "validation loss, last": "1.400",
        "AUC of validation jets, best": "0.9000",
        "jets/s": "120",
    }


def test_settings_are_those_that_differ():
    study = load_study(str(ROOT / "studies/ordering_cpu.toml"))
    found = {row["setting"]: row[study.name] for row in ordering.settings(study)}
    assert found["sample.background_files"] == "5" and "training.batch_size" not in found


@pytest.mark.parametrize("name", ["ordering", "ordering_cpu", "changes_cpu", "more_jets_cpu"])
def test_the_studies_share_one_sample(name):
    study = load_study(str(ROOT / f"studies/{name}.toml"))
    full = load_study(str(ROOT / "studies/ordering.toml"))
    assert study.sample_dir == full.sample_dir
    assert set(study.sample_files) <= set(full.sample_files)
    assert study.simulation.background_events // study.sample.background_files == 3_000


def test_a_page_shows_the_studies_it_names_and_no_others(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "doc", tmp_path / "doc")
    monkeypatch.chdir(tmp_path)
    before = PAGE.read_text()
    for name in ("ordering_cpu", "changes_cpu"):
        assert page_of(load_study(str(ROOT / f"studies/{name}.toml"))) == PAGE
    page = page_of(DEMO)
    assert page == Path("plots/demo/ordering.md")
    marks = set(re.findall("<!-- (.*) -->", page.read_text())) - {"end"}
    assert marks > {"headline", "claims", "leakage", "changes_gains", *ordering.TABLES}
    assert page.read_text().count("not run") == len(marks)
    for name in marks:
        show(page_of(DEMO), name, [{"of": "the demo"}])  # goes on with the page that is there
    assert page.read_text().count("| the demo |") == len(marks)
    assert PAGE.read_text() == before


def test_a_mark_chooses_rows(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- trees: jets=B|C, seed=0; jets=D; jets=A -->\n<!-- end -->\n")
    rows = [{"jets": name, "seed": seed} for name in "ABC" for seed in (0, 1)]
    shown = ["| B | 0 |", "| C | 0 |", "| A | 0 |", "| A | 1 |", "| missing: jets=D |"]
    for _ in range(2):
        show(page, "trees", rows)
        assert page.read_text().splitlines()[3:-1] == shown
    show(page, "trees", [])
    assert page.read_text().splitlines()[3:-1] == ["| not run |"]


def test_the_page_shows_what_its_csv_files_hold(tmp_path, monkeypatch):
    """No number of a table was written by hand."""
    shutil.copytree(ROOT / "doc", tmp_path / "doc")
    monkeypatch.chdir(tmp_path)
    results = Path("doc/results")
    tables = {
        "leakage": ("ordering_cpu_leakage", leakage.printed),
        "changes_ordering": ("changes_cpu_ordering", changes.printed_ordering),
        "changes_gains": ("changes_cpu_gains", changes.printed_gains),
        "three_jets": ("changes_cpu_three_jets", three_jets.printed),
    }
    before = PAGE.read_text()
    main = {"trainings", "claims", "headline", *ordering.TABLES}
    assert set(re.findall(r"^<!-- (\w+)", before, re.M)) == {"studies", "end", *main, *tables}
    summary, trained = (read_csv(results / f"ordering_{n}.csv") for n in ("summary", "trainings"))
    ordering.show_all(PAGE, summary, trained)
    for name, (file, printed) in tables.items():
        show(PAGE, name, read_csv(results / f"{file}.csv"), printed)
    assert PAGE.read_text() == before and "| missing:" not in before


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(InputError, match="no mark <!-- trees -->"):
        show(page, "trees", [{"a": 1}])
    assert page.read_text() == "nothing\n"


def test_a_step_that_fails_ends_with_its_status(tmp_path, monkeypatch, capfd):
    shutil.copytree(ROOT / "doc", tmp_path / "doc")
    steps = {name: [str(ROOT / command[0])] for name, command in ordering.STEPS.items()}
    monkeypatch.setattr(ordering, "STEPS", {"setup": steps["setup"]})
    (tmp_path / "empty.toml").write_text('base = "demo"\n')
    monkeypatch.setattr(sys, "argv", ["ordering", "--study", "empty.toml"])
    with contextlib.chdir(tmp_path), pytest.raises(SystemExit) as end:
        ordering.main()
    assert end.value.code == 2
    assert "no samples" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("settings", "options", "told"),
    [
        ("", ["--changes", "nowhere.toml"], "nowhere.toml"),
        ("", ["--device", "nowhere"], "--device nowhere"),
        ('jet_definitions = ["AK08"]', [], "expected AK14 among them"),
        ('name = "changes_cpu"', [], "its main tables are of ordering_cpu"),
    ],
)
def test_what_would_end_the_last_steps_is_told_before_the_first(
    settings, options, told, tmp_path, monkeypatch, capfd
):
    shutil.copytree(ROOT / "doc", tmp_path / "doc")
    (tmp_path / "empty.toml").write_text(f'base = "demo"\n{settings}\n')
    monkeypatch.setattr(sys, "argv", ["ordering", "--study", "empty.toml", *options])
    with contextlib.chdir(tmp_path), pytest.raises(SystemExit) as end:
        run(ordering.main)
    assert end.value.code == 2
    assert told in capfd.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"doc", "empty.toml"}


STEP = """
import signal, sys, time

saved = []

def save(number, frame):
    saved.append(number)
    with open("saved", "a") as file:
        file.write(signal.Signals(number).name)

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, save)
print("ready", flush=True)
end = time.monotonic() + 100
while not saved and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.2)  # a second one would come now
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("send", [os.kill, os.killpg])
@pytest.mark.parametrize(("ends_with", "status"), [(7, 7), (0, 130)])
def test_a_step_that_is_interrupted_saves_once(number, send, ends_with, status, tmp_path):
    """Whether one process gets the signal or, as on a terminal, all of them; no step follows."""
    (tmp_path / "step.py").write_text(STEP)
    calls = f"from command import call; [call(['step.py', '{ends_with}']) for _ in range(2)]"
    with subprocess.Popen(
        [sys.executable, "-c", calls], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, start_new_session=True, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        send(process.pid, number)
        assert process.stdout.read() == ""
    assert process.returncode == status
    as_told = signal.SIGTERM if number == signal.SIGHUP else number
    assert (tmp_path / "saved").read_text() == as_told.name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_while_a_step_is_started_is_passed_on(number, tmp_path, monkeypatch):
    """On a busy machine a step is at work before the process that started it goes on."""

    class Late(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options, stdout=subprocess.PIPE, text=True)
            with self.stdout:
                assert self.stdout.readline() == "ready\n"
            signal.raise_signal(number)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", Late)
    (tmp_path / "step.py").write_text(STEP)
    with pytest.raises(SystemExit) as end:
        call(["step.py", "0"])
    assert end.value.code == 130
    as_told = signal.SIGTERM if number == signal.SIGHUP else number
    assert (tmp_path / "saved").read_text() == as_told.name


def test_a_step_that_is_killed_ends_the_command(capfd):
    with pytest.raises(SystemExit) as end:
        call(["-c", "import os; os.kill(os.getpid(), 9)"])
    assert end.value.code == 137
    assert "killed by signal 9" in capfd.readouterr().err


def test_the_headline_puts_one_jet_and_three_side_by_side():
    summary, pt = Summary(), Classifier(("AK14",), features=("pt",))
    for one in (network("CNN"), pt):
        summary.add("merits", one, "AUC", Estimate(0.9, 0.01))
        more = {"published": 4.4, "effective_background": 30}
        summary.add("merits", one, "max SIC", Estimate(5.0, 0.12), **more)
        summary.add("merits", one, "AUC", Estimate(0.8, 0.01), spectrum=SIGNAL_PT)
        trees = one._replace(trees=HELD_OUT_EVENTS)
        summary.add("merits", trees, "max SIC", Estimate(7.0, 0.22))
    found = ordering.headline(rows_of(summary))
    assert [row["AK14 jets"] for row in found] == ["CNN", "jet pT"]
    for row in found:
        assert row["AUC, background with the signal's pT"] == "0.800 ± 0.010"
        assert row["max SIC"] == "5.00 ± 0.12" and row["published"] == "4.4"
        assert row["max SIC over events, trees on three jets"] == "7.00 ± 0.22"


def test_a_claim_holds_where_its_ratio_is_two_errors_above_one():
    summary, quantity = Summary(), "ratio of max SIC"
    a, b, c = map(network, "ABC")
    trees = Classifier(("AK14",), (), ("mass",), HELD_OUT_JETS)
    of_others = [
        (network("A", "AK08"), network("B", "AK08")),
        [network(name, trees=HELD_OUT_EVENTS) for name in "AB"],
        (a, trees),
    ]
    values = {(a, b): 1.21, (b, c): 0.79, (a, c): 1.1} | {tuple(pair): 2.0 for pair in of_others}
    for (better, worse), value in values.items():
        more = {"reference": worse, "trainings": 3, "reference_trainings": 2}
        summary.add("ratios", better, quantity, Estimate(value, 0.1), **more)
    assert ordering.claims(rows_of(summary)) == [
        {"": f"AK14 {x} / AK14 {y}", "trainings": "3 / 2", quantity: words}
        for x, y, words in (
            ("A", "B", "1.21 ± 0.10, above"),
            ("B", "C", "0.79 ± 0.10, below"),
            ("A", "C", "1.10 ± 0.10, open"),
        )
    ]


def test_signal_that_was_trained_on_shows_memory_and_nothing_else():
    """Two mass points in other shares: weighted, what learns nothing does not differ."""
    generator = np.random.default_rng(0)
    events = np.zeros(9000, EVENT_DTYPE)
    events["m_stop"], events["weight"] = np.arange(9000) % 3 * 100 + 700, 1
    is_signal = np.arange(9000) < 4000
    seen = np.arange(2000)[(events["m_stop"][:2000] > 700) | (np.arange(2000) % 4 == 0)]
    mass = generator.normal((events["m_stop"] - 600) / 50 * is_signal, 3)
    learned = mass + 2 * np.isin(np.arange(9000), seen)
    cnn, maxvit = ((network(name)._replace(seed=0), BEST) for name in ("CNN", "MaxViT"))
    classifiers = Classifiers(
        DEMO, 10, dict.fromkeys((MASS, PT, cnn, maxvit), mass),
        np.arange(9000), is_signal, {"pt": mass, "mass": mass}, np.ones(9000),
    )  # fmt: skip
    scores = {MASS: mass[seen], PT: mass[seen], cnn: mass[seen], maxvit: learned[seen]}
    again = leakage.with_signal_seen(classifiers, scores, seen, events)
    rows = leakage.compare({"held_out": classifiers, "trained_on": again})
    names = ("features", "network", "quantity", "signal")
    value = {tuple(row[name] for name in names): row["value"] for row in rows}
    held_out, trained_on = (value["mass", "", "AUC", kind] for kind in ("held_out", "trained_on"))
    assert abs(held_out - trained_on) < 0.02  # 0.05 without the weights
    assert value["", "MaxViT", "AUC", "trained_on"] > trained_on + 0.02
    assert value["", "MaxViT", "ratio of max SIC", "held_out"] == 1
    assert value["", "MaxViT", "ratio of max SIC", "trained_on"] > 1.2

"""The Snakefile: which jobs it finds necessary, in which order, and a real run."""

import importlib.util
import os
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest
from test_chain import STUDY as FEW
from test_chain import write_few

from collisions.production import samples_of
from jets.published import file_name
from physics import JET_DEFINITIONS
from processes.stop import STOP
from processes.ttbar import TTBAR
from study import PRESETS, Study, load_study
from training.plan import trainings

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("snakemake") is None,
    reason="Snakemake is not installed; pip install -r requirements-snakemake.txt",
)
ROOT = Path(__file__).parent.parent
STEPS = ["setup", "train", "predict", "fit", "plots"]
MINE = """
published_files = false
stop_masses = [700, 900]
neutralino_masses = [100]
background_files = 2
networks = ["CNN", "ViT"]
"""


def snakemake(folder: Path, *arguments: str) -> str:
    """What Snakemake says in `folder`; it must succeed."""
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", *arguments],
        cwd=folder,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    return result.stdout


def planned(folder: Path, *config: str, options: tuple[str, ...] = ("--cores", "2")) -> list:
    """The jobs of a dry run as (rule, what follows the name of the script), in their order."""
    said = snakemake(folder, "-n", "-p", *options, "--config", *config)
    job = r"^rule (\w+):$.*?^Shell command: [^\n]+?\.py ([^\n]*)$"  # paths may have spaces
    return re.findall(job, said, re.MULTILINE | re.DOTALL)


def order(jobs: list) -> list[str]:
    return [rule for rule, _ in groupby(rule for rule, _ in jobs)]


def write_products(study: Study) -> None:
    """A manifest of every step, and the sample; all as old as each other, as in a fresh copy."""
    paths = [*study.sample_files, study.plots_dir / "plots.json"]
    paths += [study.data_dir / f"{name}.json" for name in ("setup", "scores", "trees")]
    paths += [training.directory(study) / "manifest.json" for training in trainings(study)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (1e9, 1e9))


def test_planning_needs_python_alone():
    """Snakemake may live apart, and every job on a cluster reads the Snakefile anew."""
    imports = "import sys, study, training.plan; print({'torch', 'numpy'} & set(sys.modules))"
    said = subprocess.check_output([sys.executable, "-c", imports], cwd=ROOT, text=True)
    assert said == "set()\n"


def test_the_demo_trains_everything_and_simulates_nothing(tmp_path):
    (tmp_path / "train_data").symlink_to(ROOT / "train_data")
    jobs = planned(tmp_path, "study=demo")
    assert order(jobs) == STEPS
    assert sorted(command for rule, command in jobs if rule == "train") == sorted(
        f"{training} --study demo" for training in trainings(PRESETS["demo"])
    )


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Study:
    (tmp_path / "mine.toml").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return load_study("mine.toml")


def test_a_job_for_each_missing_file_of_the_sample_or_none(mine, tmp_path):
    samples = samples_of(mine, mine.sample.processes)
    assert [sample.path for sample in samples] == mine.sample_files
    samples[0].path.parent.mkdir(parents=True)
    samples[0].path.touch()
    jobs = planned(tmp_path, "study=mine.toml")
    assert order(jobs) == ["simulate", *STEPS]
    assert {command for rule, command in jobs if rule == "simulate"} == {
        f"--study mine.toml --only {sample.name} --workers 2" for sample in samples[1:]
    }
    on_a_cluster = ("--profile", str(ROOT / "profiles/slurm"))
    jobs = planned(tmp_path, "study=mine.toml", "simulate=false", options=on_a_cluster)
    assert order(jobs) == STEPS


def test_only_what_is_not_there_is_started(mine, tmp_path):
    write_products(mine)
    os.utime("mine.toml", (1e9, 1e9))
    assert planned(tmp_path, "study=mine.toml") == []
    (trainings(mine)[0].directory(mine) / "manifest.json").unlink()
    assert order(planned(tmp_path, "study=mine.toml")) == STEPS[1:]


def test_published_files_are_taken_unless_a_simulation_is_asked_for(tmp_path):
    (tmp_path / "train_data").mkdir()
    for name in JET_DEFINITIONS:
        for file in (file_name(TTBAR, name, 0), file_name(STOP, name, 700)):
            (tmp_path / "train_data" / file).touch()
    (tmp_path / "mine.toml").write_text(MINE.replace("false", "true"))
    jobs = planned(tmp_path, "study=mine.toml")
    assert order(jobs) == STEPS
    jobs = planned(tmp_path, "study=mine.toml", "simulate=true")
    assert order(jobs) == ["simulate", *STEPS]


def test_whether_to_simulate_is_true_or_false(tmp_path):
    with pytest.raises(AssertionError, match="simulate=perhaps: expected true or false"):
        planned(tmp_path, "study=demo", "simulate=perhaps")


@pytest.mark.slow
def test_a_real_run_and_what_is_done_after_it(tmp_path):
    """One file of collisions, four small trainings and the rest of the chain: 2.5 minutes."""
    pytest.importorskip("pythia8mc", reason="no wheel of pythia8mc for this system")
    few = FEW + 'networks = ["CNN"]\nsignal_events = 20\n'
    (tmp_path / "few.toml").write_text(few)
    sample = write_few(tmp_path / "train_data" / "few")
    sample[-1].unlink()
    run = ("--cores", "2", "--config", "study=few.toml")
    said = snakemake(tmp_path, *run)
    assert "10 of 10 steps" in said  # one of them is the target, `all`
    assert (tmp_path / "plots/few/summary.txt").is_file()
    assert "Nothing to be done" in snakemake(tmp_path, *run)

    products = [path for path in (tmp_path / "Data").rglob("*.*") if path.suffix != ".json"]
    before = {path: path.stat().st_mtime_ns for path in products}
    (tmp_path / "few.toml").write_text(few + "# a remark\n")
    said = snakemake(tmp_path, *run)
    assert "9 of 9 steps" in said and "nothing to do" in said
    assert before == {path: path.stat().st_mtime_ns for path in products}
    assert "Nothing to be done" in snakemake(tmp_path, *run)

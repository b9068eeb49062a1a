"""Data-parallel training: shares of batches, and the same result from one process as from two."""

import contextlib
import csv
import dataclasses
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_jets import SIDE, packed, write_study

import train
from checks.endurance import PRELOADED
from command import run
from jets.packed import PackedJets
from models import create_model
from study import Study, load_study
from training.checkpoint import Progress
from training.distributed import Processes, joined
from training.inputs import make_sample
from training.interruption import Watch
from training.jet_images import JetImages
from training.learner import Learner
from training.loop import logits_of, train_epoch

ROOT = Path(__file__).parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
CPU = torch.device("cpu")
STEPS, BATCH = 50, 12
STUDY = """
networks = ["ViT"]
width = 0.125
epochs = 2
batch_size = 16
background_jets_min = 2
bootstraps = 5
"""


@pytest.mark.parametrize("number", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [1, 4, 37, 60])
def test_shares_make_up_every_batch(n, number):
    order = np.random.default_rng(0).permutation(n)
    shares = [Processes(rank, number).shares(order, 10) for rank in range(number)]
    for step, first in enumerate(range(0, n, 10)):
        batch = order[first : first + 10]
        mean = 0.0
        seen = []
        for rows, sizes, factors in shares:
            end = sizes[: step + 1].sum()
            mine = rows[end - sizes[step] : end]
            mean += factors[step] * np.sqrt(mine).mean() / number
            seen.extend(mine)
        assert mean == pytest.approx(np.sqrt(batch).mean())
        # Fewer jets than processes: everyone works on all of them.
        assert sorted(seen) == sorted(batch.tolist() * (number if len(batch) < number else 1))


class Apart(Processes):
    """One of several processes that do not hear of each other."""

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor


@pytest.mark.parametrize("n", [1, 63, 129, 200])
def test_processes_score_every_jet_once(n):
    """With 64 jets at once and two processes, 129 leave one jet to share."""
    jets = packed(n_events=120)
    images = JetImages(select_rows(jets, n), "linear", False, CPU)
    torch.manual_seed(0)
    network = create_model("ViT", SIDE, 0.125)
    expected = logits_of(network, images, "one")
    parts = [logits_of(network, images, "some", Apart(rank, 2)) for rank in range(2)]
    np.testing.assert_allclose(sum(parts), expected, atol=1e-5)


def select_rows(jets: PackedJets, n: int) -> PackedJets:
    rows = np.arange(n)
    return dataclasses.replace(jets, jets=jets.jets[rows], images=jets.images.take(rows))


def learn(network_name: str, processes: Processes) -> dict[str, torch.Tensor]:
    """A network after some steps of gradient descent on jets of all weights, and their losses."""
    study = Study("toy").changed(
        training={"width": 0.125, "batch_size": BATCH, "learning_rate": 0.05}
    )
    images = JetImages(packed(n_events=400), "linear", False, CPU)
    weight = np.random.default_rng(2).uniform(0, 2, len(images))
    order = np.random.default_rng(1).permutation(len(images))[: STEPS * BATCH + 5]
    sample = dataclasses.replace(make_sample(images, weight=weight), rows=order)
    torch.manual_seed(0)
    network = create_model(network_name, SIDE, study.training.width)
    learner = Learner(network, study, processes=processes)
    # Adam divides rounding noise by itself.
    learner.optimiser = torch.optim.SGD(network.parameters())
    progress = Progress()
    train_epoch(learner, sample, 0, progress, Watch())
    return network.state_dict() | {"mean loss": torch.tensor(progress.loss_sum / len(order))}


def two_processes(task: Callable, folder: Path) -> list[int]:
    """Exit statuses of two that run `task(folder)` as if torchrun had started them, but sooner:
    they are forks of a process that has imported PyTorch. What they say is in `stderr_<rank>`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    processes = [
        context.Process(target=_as_rank, args=(rank, port, task, folder)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _as_rank(rank: int, port: int, task: Callable, folder: Path) -> None:
    os.environ |= {"TORCHELASTIC_RUN_ID": "x", "RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    os.dup2(os.open(folder / f"stderr_{rank}", os.O_WRONLY | os.O_CREAT), 2)
    task(folder)


def learn_and_save(folder: Path) -> None:
    with joined(CPU) as processes:
        for name in ("CNN", "ViT"):
            weights = learn(name, processes)
            if processes.rank == 0:
                torch.save(weights, folder / f"{name}.pt")


def test_two_processes_learn_what_one_does(tmp_path):
    assert two_processes(learn_and_save, tmp_path) == [0, 0]
    for name in ("CNN", "ViT"):
        start = create_model(name, SIDE, 0.125)
        one, two = learn(name, Processes()), torch.load(tmp_path / f"{name}.pt", weights_only=True)
        moved = [(one[key] - value).abs().max() for key, value in start.state_dict().items()]
        assert max(moved) > 1e-2
        for key, weight in one.items():
            torch.testing.assert_close(two[key], weight, rtol=0, atol=1e-6)


OPTIONS = ["AK14", "ViT", "--study", "toy.toml", "--device", "cpu"]


def train_here(*options: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *OPTIONS, *options])
        train.main()


def train_apart(folder: Path) -> None:
    os.chdir(folder / "elsewhere" if os.environ["RANK"] == "1" else folder)
    sys.argv = ["train.py", *OPTIONS]
    run(train.main)


def test_processes_agree_on_where_they_are(tmp_path, monkeypatch):
    """A second machine that does not see the first one's checkpoints must not go on by itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.toml").write_text(STUDY)
    write_study(load_study("toy.toml"), 100)
    train_here("--set", "training.epochs=1")
    shutil.copytree(tmp_path, tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "elsewhere/Data/toy/models")
    before = sorted(tmp_path.glob("Data/toy/models/*/*"))
    assert two_processes(train_apart, tmp_path) == [2, 2]
    for rank in range(2):
        assert "find different checkpoints" in (tmp_path / f"stderr_{rank}").read_text()
    assert sorted(tmp_path.glob("Data/toy/models/*/*")) == before


def read_history(folder: Path) -> list[dict[str, str]]:
    with (folder / "Data/toy/models/AK14_ViT_0/history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_torchrun_trains_as_one_process_does_and_one_goes_on_from_two(tmp_path, monkeypatch):
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        (folder / "toy.toml").write_text(STUDY)
        write_study(load_study("toy.toml"), 200)
    result = subprocess.run(
        [*TORCHRUN, str(ROOT / "train.py"), *OPTIONS, "--set", "training.epochs=1"],
        cwd=tmp_path / "two",
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for name in ("one", "two"):
        with contextlib.chdir(tmp_path / name):
            train_here()
    one, two = (read_history(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 2
    for row_of_one, row_of_two in zip(one, two, strict=True):
        assert float(row_of_two["auc"]) == pytest.approx(float(row_of_one["auc"]), abs=0.003)

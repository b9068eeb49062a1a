"""Data-parallel training: shares of batches, and the same result from one process as from two.

Run under torchrun, this file trains a network from its first argument for some steps and leaves
the weights in its second: what the test below compares with one process.
"""

import csv
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_jets import SIDE, packed, write_study

from jets.packed import PackedJets
from models import create_model
from study import Study, load_study
from training.batches import JetImages
from training.checkpoint import Progress
from training.interruption import Wish
from training.learner import Learner
from training.loop import make_sample, score, train_epoch
from training.processes import Processes, joined

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
    expected = score(network, images, "one")
    parts = [score(network, images, "some", Apart(rank, 2)) for rank in range(2)]
    np.testing.assert_allclose(sum(parts), expected, atol=1e-5)


def select_rows(jets: PackedJets, n: int) -> PackedJets:
    rows = np.arange(n)
    return dataclasses.replace(jets, jets=jets.jets[rows], images=jets.images.take(rows))


def learn(network_name: str, processes: Processes) -> dict[str, torch.Tensor]:
    """The weights after some steps of gradient descent."""
    study = Study("toy", width=0.125)
    sample = make_sample(packed(n_events=400), "label", study, CPU)
    order = np.random.default_rng(1).permutation(len(sample.images))[: STEPS * BATCH]
    torch.manual_seed(0)
    network = create_model(network_name, SIDE, study.width)
    learner = Learner(network, study.learning_rate, BATCH, processes=processes)
    # Adam divides rounding noise by itself.
    learner.optimiser = torch.optim.SGD(network.parameters(), lr=0.05)
    train_epoch(learner, sample, order, BATCH, Progress(), lambda: Wish.GO_ON, lambda: None)
    return network.state_dict()


def torchrun(*command: str, cwd: Path) -> None:
    result = subprocess.run(
        [*TORCHRUN, *command],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]


def test_two_processes_learn_what_one_does(tmp_path):
    torchrun(str(Path(__file__)), str(tmp_path), cwd=tmp_path)
    for name in ("CNN", "ViT"):
        start = create_model(name, SIDE, 0.125)
        one, two = learn(name, Processes()), torch.load(tmp_path / f"{name}.pt", weights_only=True)
        moved = [(one[key] - value).abs().max() for key, value in start.state_dict().items()]
        assert max(moved) > 1e-2
        for key, weight in one.items():
            torch.testing.assert_close(two[key], weight, rtol=0, atol=1e-6)


def test_processes_agree_on_where_they_are(tmp_path, monkeypatch):
    """A second machine that does not see the first one's checkpoints must not go on by itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.toml").write_text(STUDY)
    write_study(load_study("toy.toml"), 100)
    options = ["AK14", "ViT", "--study", "toy.toml", "--device", "cpu"]
    subprocess.run([sys.executable, ROOT / "train.py", *options, "--epochs", "1"], check=True)
    shutil.copytree(tmp_path, tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "elsewhere/Data/toy/models")
    apart = tmp_path / "apart.py"
    apart.write_text(
        "import os, runpy, sys\n"
        "if os.environ['RANK'] == '1':\n"
        "    os.chdir('elsewhere')\n"
        f"sys.argv = ['train.py', *{options!r}]\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
    )
    before = sorted(tmp_path.glob("Data/toy/models/*/*"))
    ended = subprocess.run(
        [*TORCHRUN, str(apart)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "find different checkpoints" in ended.stderr
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
    command = [str(ROOT / "train.py"), "AK14", "ViT", "--study", "toy.toml", "--device", "cpu"]
    torchrun(*command, "--epochs", "1", cwd=tmp_path / "two")
    for name in ("one", "two"):
        subprocess.run([sys.executable, *command], cwd=tmp_path / name, check=True)
    one, two = (read_history(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 2
    for row_of_one, row_of_two in zip(one, two, strict=True):
        assert float(row_of_two["auc"]) == pytest.approx(float(row_of_one["auc"]), abs=0.003)


if __name__ == "__main__":
    with joined(CPU) as processes:
        for name in ("CNN", "ViT"):
            weights = learn(name, processes)
            if processes.rank == 0:
                torch.save(weights, Path(sys.argv[1]) / f"{name}.pt")

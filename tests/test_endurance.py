"""Scripts killed with SIGKILL at random moments leave what undisturbed ones leave, bit for bit."""

import importlib.util

import pytest

from checks.endurance import SCRIPTS, SMALL, finish, prepare, survives


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endurance")
    prepare(folder)
    return folder


def test_a_training_survives_ten_kills(folder):
    survives("train.py", 10, folder)


def test_predictions_and_trees_survive_two_kills_each(folder):
    finish("train.py", SCRIPTS["train.py"][0], folder)  # else --all starts two processes
    finish("train.py", (*SMALL, "--all"), folder)
    for script in ("predict_base_model_mass.py", "fit_xgb.py"):
        survives(script, 2, folder)


@pytest.mark.skipif(
    importlib.util.find_spec("pythia8mc") is None, reason="simulating needs the package pythia8mc"
)
def test_a_simulation_survives_two_kills(folder):
    survives("simulate.py", 2, folder)

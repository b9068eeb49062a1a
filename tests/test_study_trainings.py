"""Small trainings of a study: made once, by one run."""

import numpy as np
import pytest

from command import InputError
from products import alone
from studies.trainings import Made, read_training, run_all, train_once


def test_a_training_is_made_once_and_again_with_other_settings(tmp_path):
    made = []

    def make(settings: dict) -> Made:
        made.append(settings)
        return Made([{"epoch": 0, "loss": 0.5}], {"score": np.arange(3.0)}, {"parameters": 7})

    def train(**given) -> None:
        train_once(tmp_path / "one", tmp_path / "aside", {"sizes": (1, 2)}, make, given)

    for jets in ("few", "few", "more"):
        train(jets=jets)
    assert made == 2 * [{"sizes": [1, 2]}]  # as checkpoints have them, without what is scored
    history, scores, facts = read_training(tmp_path / "one")
    assert history == [{"epoch": 0, "loss": 0.5}] and scores["score"].tolist() == [0, 1, 2]
    assert facts["parameters"] == 7
    np.save(tmp_path / "one/score.npy", np.zeros(3))
    with pytest.raises(InputError, match="no longer what this study wrote"):
        read_training(tmp_path / "one")


def test_a_training_of_another_run_is_left_to_it(tmp_path, capsys):
    made = []

    def train(name: str) -> None:
        def make(settings: dict) -> Made:
            made.append(name)
            return Made([{"epoch": 0}], {}, {})

        train_once(tmp_path / name, tmp_path / "aside", {}, make)

    with alone(tmp_path / "b"):
        assert not run_all([("a",), ("b",), ("c",)], train)
    assert made == ["a", "c"] and "1 trainings are another run's" in capsys.readouterr().out
    assert run_all([("a",), ("b",), ("c",)], train) and made == ["a", "c", "b"]

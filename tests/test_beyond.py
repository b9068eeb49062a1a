"""Steps beyond the published settings: what each changes, and the error of a gain."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sensitivity.sic import SICPoint, sic_at
from studies.beyond import AS_IT_STANDS, STEPS, gain, variant
from study import load_study, to_toml
from training.plan import DECISIVE, trainings

STUDY = load_study(str(Path(__file__).parent.parent / "studies/ordering.toml"))


def point(value: float, resampled: list[float]) -> SICPoint:
    return SICPoint(value, value - 1, value + 1, 30, False, np.array(resampled))


@pytest.mark.parametrize("step", STEPS)
def test_a_step_changes_what_decides_the_weights_and_nothing_else(step, tmp_path):
    study = variant(STUDY, step)
    as_it_stands = variant(STUDY, AS_IT_STANDS)
    fields = [field.name for field in dataclasses.fields(study)]
    differ = {n for n in fields if getattr(study, n) != getattr(as_it_stands, n)}
    assert differ - {"name"} == set(STEPS[step]) <= set(DECISIVE)
    assert study.sample_dir == STUDY.sample_dir and study.split == STUDY.split
    assert {str(one) for one in trainings(study)} == {
        *(f"AK14 MaxViT {seed}" for seed in STUDY.seeds),
        "AK14 MaxViT 0 --shuffle-labels",
    }
    stated = tmp_path / "study.toml"
    stated.write_text(to_toml(study))
    assert load_study(str(stated)) == study


def test_a_gain_is_a_paired_difference_of_means_over_seeds():
    """What all resamplings share cancels; the seeds' spread does not."""
    shared = np.array([0.0, 1.0, -1.0, 2.0])
    better = [point(6.0, 6 + shared), point(8.0, 8 + shared)]
    worse = [point(5.0, 5 + shared), point(5.0, 5 + shared)]
    value, error = gain(better, worse)
    assert value == pytest.approx(2.0)
    assert error == pytest.approx(np.sqrt(2.0 / 2))  # variance of (6, 8) over two seeds
    assert gain(worse[:1], worse[:1]) == (0.0, 0.0)


def test_a_point_keeps_its_resamplings():
    generator = np.random.default_rng(0)
    found = sic_at(generator.normal(1, 1, 500), generator.normal(0, 1, 500), 0.3, bootstraps=20)
    assert found.resampled.shape == (20,)
    assert abs(found.resampled.mean() - found.value) < 4 * found.resampled.std()

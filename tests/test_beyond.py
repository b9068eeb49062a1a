"""Steps beyond the published settings: what each changes, and the error of a gain."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sensitivity.sic import SICPoint, ratio_of_means, sic_at
from studies.beyond import AS_IT_STANDS, STEPS, variant
from study import load_study, to_toml
from training.plan import DECISIVE, trainings

STUDIES = Path(__file__).parent.parent / "studies"


def point(value: float, resampled: list[float]) -> SICPoint:
    return SICPoint(value, value - 1, value + 1, 30, False, np.array(resampled))


@pytest.mark.parametrize("name", ["ordering", "ordering_cpu"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_changes_what_decides_the_weights_and_nothing_else(step, name, tmp_path):
    base = load_study(str(STUDIES / f"{name}.toml"))
    study, as_it_stands = variant(base, step), variant(base, AS_IT_STANDS)
    fields = [field.name for field in dataclasses.fields(study)]
    differ = {n for n in fields if getattr(study, n) != getattr(as_it_stands, n)}
    assert differ - {"name"} <= set(STEPS[step](base)) <= {*DECISIVE, "oriented"}
    assert study.sample_dir == base.sample_dir and study.split == base.split
    assert {str(one) for one in trainings(study)} == {
        *(f"AK14 MaxViT {seed}" for seed in base.seeds),
        "AK14 MaxViT 0 --shuffle-labels",
    }
    stated = tmp_path / "study.toml"
    stated.write_text(to_toml(study))
    assert load_study(str(stated)) == study


def test_a_ratio_of_means_is_paired():
    """What all resamplings share cancels; the seeds' spread does not."""
    shared = np.array([1.0, 1.5, 0.5, 2.0])
    better = [point(6.0, 6 * shared), point(8.0, 8 * shared)]
    worse = [point(5.0, 5 * shared), point(5.0, 5 * shared)]
    ratio = ratio_of_means(better, worse)
    assert ratio.value == pytest.approx(7 / 5)
    assert ratio.error == pytest.approx(7 / 5 * np.sqrt(2 / 2) / 7)  # variance of (6, 8), two seeds
    one = ratio_of_means(worse[:1], worse[:1])
    assert (one.value, one.error) == (1.0, 0.0)


def test_a_point_keeps_its_resamplings():
    generator = np.random.default_rng(0)
    found = sic_at(generator.normal(1, 1, 500), generator.normal(0, 1, 500), 0.3, bootstraps=20)
    assert found.resampled.shape == (20,)
    assert abs(found.resampled.mean() - found.value) < 4 * found.resampled.std()

"""One changed setting at a time: what each changes, and the errors of gains."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sensitivity.bootstrap import Estimate
from sensitivity.sic import MaximumSIC, SICPoint, ratio_of_means, sic_at
from studies.changes import (
    AS_IT_STANDS,
    NETWORKS,
    STEPS,
    Outcome,
    Trained,
    error_of_gain,
    gains,
    is_done_by,
    ordering,
    variant,
)
from study import load_study, to_toml
from training.plan import DECISIVE, trainings

STUDIES = Path(__file__).parent.parent / "studies"


def point(value: float, resampled: list[float]) -> SICPoint:
    return SICPoint(value, value - 1, value + 1, 30, False, np.array(resampled))


def outcome(*validation: float, sic: float = 5.0) -> Outcome:
    """Of seeds with these AUCs; every SIC is the same."""
    shared = np.array([1.0, 1.5, 0.5, 2.0])
    trained = [
        Trained(
            validation=auc,
            best_epoch=3,
            seconds=60.0,
            auc=Estimate(auc, 0.003),
            maximum=MaximumSIC(sic, 0.1, 0.3, 30, sic * shared),
            points={what: point(sic, sic * shared) for what in ("jets", "events")},
        )
        for auc in validation
    ]
    return Outcome(1000, dict.fromkeys(NETWORKS, trained))


@pytest.mark.parametrize("name", ["ordering", "changes_cpu"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_changes_what_it_says_and_nothing_else(step, name, tmp_path):
    base = load_study(str(STUDIES / f"{name}.toml"))
    study, as_it_stands = variant(base, step), variant(base, AS_IT_STANDS)
    fields = [field.name for field in dataclasses.fields(study)]
    differ = {n for n in fields if getattr(study, n) != getattr(as_it_stands, n)}
    allowed = {*DECISIVE, "oriented", "epochs", "split", "training_jets_per_mass_point"}
    assert differ - {"name"} <= set(STEPS[step].settings(base)) <= allowed
    is_changed = bool(differ - {"name"}) or bool(STEPS[step].options)
    assert is_changed != (step == AS_IT_STANDS or is_done_by(step, base))
    assert study.sample_dir == base.sample_dir
    assert {str(one) for one in trainings(study)} == {
        *(f"AK14 {network} {seed}" for network in NETWORKS for seed in base.seeds),
        "AK14 CNN 0 --shuffle-labels",
    }
    stated = tmp_path / "study.toml"
    stated.write_text(to_toml(study))
    assert load_study(str(stated)) == study


def test_the_error_of_a_gain_is_pooled_over_the_steps():
    """Two seeds, paired gains (1, 3) and (2, 6): variances 2 and 8, so 5 / 2 of the mean."""
    outcomes = {AS_IT_STANDS: outcome(10, 20), "a": outcome(11, 23), "b": outcome(12, 26)}
    assert error_of_gain(outcomes, "CNN") == pytest.approx(np.sqrt(5 / 2))
    assert np.isnan(error_of_gain({AS_IT_STANDS: outcome(10)}, "CNN"))


def test_tables_of_changes_are_relative_to_the_study():
    outcomes = {AS_IT_STANDS: outcome(0.9, 0.92), "a": outcome(0.94, 0.94, sic=6.0)}
    usual, changed = gains(outcomes, 0.3)
    assert usual["gain"] == "" and changed["gain"] == "+0.0300 ± 0.0100"
    assert changed["SIC at eps_S = 0.3, jets"] == "6.00"
    assert (usual["relative, jets"], changed["relative, jets"]) == ("", "1.2")
    row = ordering(outcomes)[0]
    assert row["AUC, CNN"] == "0.910 ± 0.010"  # the seeds' 0.010 and the test events' 0.003
    assert row["max SIC, MaxViT / CNN"] == "1"


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

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
    gain,
    gains,
    ordering,
    printed_gains,
    printed_ordering,
    seeing,
    usual_variance,
    validation_aucs,
    variant,
)
from study import PRESETS, load_study, to_toml
from training.plan import trainings

STUDIES = Path(__file__).parent.parent / "studies"


def point(value: float, resampled: list[float]) -> SICPoint:
    return SICPoint(value, value - 1, value + 1, 30, False, 0.3, np.array(resampled))


def outcome(*distances: float, sic: float = 5.0, first: int = 0, noise: int = 0) -> Outcome:
    """Of seeds whose scores of 400 validation jets lie this far apart; every SIC is the same."""
    shared = np.array([1.0, 1.5, 0.5, 2.0])
    jets = np.zeros(400, [("event", "<i8"), ("k", "u1"), ("label", "u1")])
    jets["event"], jets["label"] = first + np.arange(400), np.arange(400) % 2
    hardness = np.random.default_rng(noise).normal(size=400)
    trained = [
        Trained(
            validation=hardness + distance * jets["label"],
            best_epoch=3,
            sees_images=True,
            seconds=60.0,
            auc=Estimate(0.9, 0.003),
            maximum=MaximumSIC(sic, 0.1, 0.3, 30, sic * shared),
            points={what: point(sic, sic * shared) for what in ("jets", "events")},
        )
        for distance in distances
    ]
    return Outcome(1000, jets, dict.fromkeys(NETWORKS, trained), Estimate(-0.01, 0.002))


@pytest.mark.parametrize("name", ["ordering", "changes_cpu"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_changes_what_it_says_and_nothing_else(step, name, tmp_path):
    base = load_study(str(STUDIES / f"{name}.toml"))
    study, as_it_stands = variant(base, step), variant(base, AS_IT_STANDS)
    sections = [section.name for section in dataclasses.fields(study)]
    differ = {n for n in sections if getattr(study, n) != getattr(as_it_stands, n)}
    assert differ <= {"name", "images", "training"}
    is_changed = bool(differ - {"name"})
    assert is_changed == (STEPS[step].change(base) != base)
    assert study.sample_dir == base.sample_dir
    assert {str(one) for one in trainings(study)} == {
        *(f"AK14 {network} {seed}" for network in NETWORKS for seed in base.classifiers.seeds),
        "AK14 CNN 0 --shuffle-labels",
    }
    stated = tmp_path / "study.toml"
    stated.write_text(to_toml(study))
    assert load_study(str(stated)) == study


def test_a_gain_on_shared_jets_forgets_their_fluctuation():
    """Jets are as hard for the step as for the reference, unless they are others."""
    reference, step = outcome(2.0), outcome(2.1)
    paired = gain(step, reference, 0.0, 50)
    assert 0 < paired.error < 0.2 * paired.value
    others = gain(outcome(2.1, first=1000, noise=1), reference, 0.0, 50)
    assert others.error > 5 * paired.error
    assert gain(reference, reference, 0.0, 50) == Estimate(0.0, 0.0)


def test_the_error_of_a_gain_holds_the_trainings():
    """Of two means over two seeds each: twice the variance of a training over two."""
    same, wild = outcome(2.0, 2.0), outcome(1.5, 2.5)
    assert gain(same, same, 0.004**2, 50).error == pytest.approx(0.004)
    own = validation_aucs([wild], 2).value.var(ddof=1)
    shared = gain(outcome(2.0, 2.0), outcome(2.0, 2.0), 0.0, 50).error
    assert gain(wild, same, 0.0, 50).error > np.sqrt(own / 2) > shared == 0
    assert usual_variance([same, same, wild]) == 0
    assert usual_variance([outcome(2.0)]) == 0


def test_the_usual_variance_is_that_of_normal_trainings():
    """Many steps of three seeds whose AUC scatters alike."""
    scatter = np.random.default_rng(1).normal(2.0, 0.05, (60, 3))
    aucs = np.array([validation_aucs([outcome(*some)], 2).value for some in scatter])
    expected = aucs.var(axis=1, ddof=1).mean()
    found = usual_variance([outcome(*some) for some in scatter])
    assert found == pytest.approx(expected, rel=0.35)


def test_tables_of_changes_are_relative_to_the_study():
    outcomes = {AS_IT_STANDS: outcome(2.0, 2.1), "rotation": outcome(2.2, 2.3, sic=6.0)}
    rows = gains(outcomes, PRESETS["demo"].changed(figures={"bootstraps": 20}))
    usual, changed = printed_gains(rows)
    assert (usual["step"], changed["step"]) == ("as it stands", "rotation")
    assert usual["gain"] == "" and changed["gain"].startswith("0.0")
    assert changed["SIC at eps_S = 0.5, jets"] == "6.0 ± 1.0 (30)"
    assert (usual["relative, jets"], changed["relative, jets"]) == ("", "1.2 ± 0")
    assert changed["training time, relative"] == "1.0"
    assert printed_ordering(ordering(outcomes))[0]["max SIC, MaxViT / CNN"] == "1 ± 0"


def test_a_network_that_sees_no_images_is_named_and_left_out():
    both, other = outcome(2.0, 2.0), outcome(2.0, sic=9.0).trained["CNN"][0]
    blind = dataclasses.replace(other, sees_images=False)
    one = dataclasses.replace(both, trained=both.trained | {"CNN": [blind, both.trained["CNN"][1]]})
    [row] = printed_ordering(ordering({AS_IT_STANDS: one}))
    assert row["best epochs, CNN"] == "sees the mass alone, 3"
    assert row["max SIC, MaxViT / CNN"] == "1 ± 0"
    assert seeing(one.trained["CNN"]) == [1] and seeing([blind, blind]) == [0, 1]
    assert row["AUC, MaxViT - CNN"] == "-0.0100 ± 0.0020"


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

"""The toy of three Gaussian processes: closed forms, counted points, optima that are known."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import ndtr, ndtri

from studies.significance_loss import (
    EVENTS,
    LOSSES,
    MEANS,
    angle_of,
    best_cut,
    best_linear_cut,
    best_of_model,
    counted,
    delta_z_of,
    draw,
    efficiencies,
    likelihood_ratio_cuts,
    loss_of,
    passing,
    significance,
    train,
)
from training.losses import delta_z

MODEL = np.array([1.3, -0.4, -2.1])


def test_efficiencies_of_a_linear_cut_are_those_of_counted_points():
    points = draw(0)
    score = points.double().numpy() @ MODEL[:2] + MODEL[2]
    of_points = (score > 0).mean(axis=1)
    error = np.sqrt(of_points * (1 - of_points) / score.shape[1])
    own = passing(MODEL)
    assert (abs(own - of_points) < 4 * error).all()
    np.testing.assert_allclose(efficiencies(angle_of(MODEL), own[0]), own)
    cuts = counted(MODEL, points)
    at = np.searchsorted(-cuts[:, 0], -own[0])
    np.testing.assert_allclose(cuts[at], of_points, atol=0.01)


def test_without_a_cut_z_is_that_of_all_events_and_swapping_changes_nothing():
    for case in EVENTS:
        assert significance(np.ones(3), EVENTS[case]) == pytest.approx(300 / np.sqrt(303_000))
    np.testing.assert_allclose(EVENTS[2], EVENTS[1][[0, 2, 1]])


def test_one_background_is_cut_along_the_line_of_the_means():
    """Z = S e / sqrt(B Phi(z - d)) with e = Phi(z), whose maximum has one variable."""
    means = np.array([[1.0, 2.0], [0.0, 0.5], [50.0, 50.0]])
    events = np.array([300.0, 3000.0, 0.0])
    distance = np.hypot(1.0, 1.5)

    def minus_z(z: float) -> float:
        return -300 * ndtr(z) / np.sqrt(3000 * ndtr(z - distance))

    found = minimize_scalar(minus_z, (-3, 0))
    angle, cut = best_linear_cut(events, scanned=False, means=means)
    assert angle == pytest.approx(np.arctan2(1.5, 1.0), abs=1e-4)
    assert significance(cut, events) == pytest.approx(-found.fun)
    assert ndtri(cut[0]) == pytest.approx(found.x, abs=1e-3)


def test_equal_backgrounds_on_both_sides_are_cut_straight():
    means = np.array([[2.0, 0.0], [0.0, 0.8], [0.0, -0.8]])
    events = np.array([300.0, 3000.0, 3000.0])
    assert best_linear_cut(events, means=means)[0] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("floor", [0.0, 300.0])
def test_swapped_cross_sections_mirror_the_best_cut_where_the_means_are_mirrored(floor):
    mirrored = MEANS * [1, -1]
    angle, cut = best_linear_cut(EVENTS[1], floor)
    other_angle, other = best_linear_cut(EVENTS[2], floor, means=mirrored[[0, 2, 1]])
    assert other_angle == pytest.approx(-angle, abs=1e-4)
    np.testing.assert_allclose(other, cut[[0, 2, 1]], rtol=1e-3)


@pytest.mark.parametrize("case", EVENTS)
def test_no_model_is_above_the_best_linear_cut_and_no_cut_above_the_likelihood_ratio(case):
    events, points = EVENTS[case], draw(1, 5000)
    linear = significance(best_linear_cut(events)[1], events)
    for way in LOSSES.values():
        for model in train(points, way, events, 0, epochs=3):
            assert significance(best_of_model(model, events), events) < linear
    ratio = likelihood_ratio_cuts(events)
    np.testing.assert_allclose(ratio[-1], 1)
    assert significance(best_cut(ratio, events), events) > linear
    best = ratio[significance(ratio, events).argmax()]  # the scan stops before it
    # On the boundary of the best cut one more event raises s / S by half as much as b / B.
    row = np.searchsorted(ratio[:, 0], best[0])
    signal, *backgrounds = (ratio[row + 500] - ratio[row - 500]) * events
    passed = best[0] * events[0] / (best[1:] @ events[1:])
    assert signal / sum(backgrounds) == pytest.approx(passed / 2, rel=0.03)


@pytest.mark.parametrize("model", [MODEL, MODEL * 0.1, [0.0, 0.0, 0.0]])
def test_the_delta_z_loss_in_closed_form_is_that_of_many_points(model):
    points, model = draw(2, 200_000).double(), np.asarray(model)
    score = points @ torch.from_numpy(model[:2]) + model[2]
    for epsilon in (300.0, 9000.0):
        found = loss_of(lambda *batch, e=epsilon: delta_z(*batch, e), score, EVENTS[1]).item()
        assert delta_z_of(model, EVENTS[1], epsilon) == pytest.approx(found, rel=1e-2)


@pytest.mark.parametrize("case", EVENTS)
def test_delta_z_is_least_for_the_model_that_is_0_everywhere(case):
    """It is convex in the model, so it is enough that it rises in all directions from there."""
    events = EVENTS[case]
    zero = delta_z_of([0, 0, 0], events, events[0])
    assert zero == pytest.approx(np.sqrt(events[0]), rel=1e-6)
    random = np.random.default_rng(0)
    angle, cut = best_linear_cut(events, events[0])
    w = np.array([np.cos(angle), np.sin(angle)])
    best = np.append(w, ndtri(cut[0]) - w @ MEANS[0])
    models = [
        best,
        *(best + random.normal(size=(50, 3)) * [0.3, 0.3, 2]),
        *random.normal(size=(50, 3)),
    ]
    assert all(delta_z_of(0.1 * one, events, events[0]) > zero for one in models)


def test_training_finds_the_direction_of_two_gaussians():
    """Cross entropy with b2 of no weight: w is the difference of the means."""
    events = np.array([300.0, 300.0, 0.0])
    model = train(draw(3, 25_000), LOSSES["weighted"]._replace(learning_rate=1.0), events, 0)[-1]
    np.testing.assert_allclose(model[:2], MEANS[0] - MEANS[1], atol=0.1)

"""Significance against a numerical profile likelihood, contours of coarse against fine grids."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

import physics
import study
from processes.stop import (
    cross_section,
)
from processes.ttbar import TTBAR
from sensitivity.exclusion import (
    CONTOUR_LEVELS,
    EXCLUSION_LEVEL,
    excluded_mass,
    expected_signal,
    significance,
    significance_plane,
)

# --- significance -------------------------------------------------------------------------------


def profile_likelihood_significance(s: float, b: float, delta: float) -> float:
    """sqrt(-2 ln(likelihood ratio)) of s against none, in data that are the background alone.

    n ~ Poisson(s + B), m ~ Poisson(tau B), observed n = b and m = tau b, with tau = 1/(delta^2 b);
    B is fitted numerically.
    """
    tau = 1.0 / (delta**2 * b)

    def twice_negative_log(log_ratio: float) -> float:
        ratio = np.exp(log_ratio)  # B / b
        total = s + b * ratio
        main = total - b - b * np.log(total / b)
        return 2.0 * (main + tau * b * (ratio - 1.0 - log_ratio))

    best = minimize_scalar(
        twice_negative_log, bounds=(-20, 1), options={"xatol": 1e-12}, method="bounded"
    )
    return np.sqrt(best.fun)


def published_significance(s: float, b: float, delta: float) -> float:
    """arXiv:1510.03456 eq. 1 as printed, with enough digits for its cancellations."""
    with localcontext() as context:
        context.prec = 80
        s, b, d2 = Decimal(s), Decimal(b), (Decimal(delta) * Decimal(b)) ** 2
        x = ((s + b) ** 2 - 4 * s * b * d2 / (b + d2)).sqrt()
        bracket = s - b * ((b + s + x) / (2 * b)).ln() - b**2 / d2 * ((b - s + x) / (2 * b)).ln()
        return float((2 * bracket - (b + s - x) * (1 + b / d2)).sqrt())


@pytest.mark.parametrize("s", [0.3, 20.0, 3_000.0])
@pytest.mark.parametrize("b", [0.5, 100.0, 8_000.0])
@pytest.mark.parametrize("delta", [0.01, 0.06, 0.5])
def test_significance_is_the_profile_likelihood(s, b, delta):
    expected = profile_likelihood_significance(s, b, delta)
    # The numerical likelihood has lost its digits below 1e-6.
    assert significance(s, b, delta) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_significance_is_the_published_formula_to_all_digits():
    rng = np.random.default_rng(1)
    for s, b, delta in 10.0 ** rng.uniform([-9, -2, -8], [4, 5, 0.5], (200, 3)):
        expected = published_significance(s, b, delta)
        assert significance(s, b, delta) == pytest.approx(expected, rel=1e-10)


def test_significance_without_uncertainty():
    s, b = np.array([1.0, 30.0, 500.0]), np.array([200.0, 10.0, 50.0])
    exact = np.sqrt(2 * (s - b * np.log1p(s / b)))
    assert significance(s, b, 0.0) == pytest.approx(exact, rel=1e-12)
    assert significance(s, b, 1e-9) == pytest.approx(exact, rel=1e-12)
    assert significance(0.0, 100.0) == 0.0


def test_significance_of_a_small_signal():
    b, delta = np.array([1.0, 50.0, 8_000.0]), 0.06
    gaussian = 1e-6 / np.sqrt(b + (delta * b) ** 2)
    assert significance(1e-6, b, delta) == pytest.approx(gaussian, rel=1e-5)


def test_significance_grows_with_signal_and_falls_with_uncertainty():
    s = np.linspace(0, 300, 50)[:, None]
    z = np.stack([significance(s, np.array([5.0, 200.0]), delta) for delta in (0.0, 0.06, 0.3)])
    assert (np.diff(z, axis=1) > 0).all()
    assert (np.diff(z, axis=0)[:, 1:] < 0).all()


@pytest.mark.parametrize("arguments", [(-1.0, 5.0, 0.1), (1.0, 0.0, 0.1), (1.0, 5.0, -0.1)])
def test_significance_refuses_the_impossible(arguments):
    with pytest.raises(ValueError, match="expected signal"):
        significance(*arguments)


# --- cross sections -----------------------------------------------------------------------------


def test_cross_sections_are_the_published_ones():
    found = cross_section(study.PRESETS["paper"].sample.stop_masses)
    assert found[[0, 4, 8, 12, 20]] == pytest.approx([0.0783, 0.0326, 0.0145, 0.00683, 0.00170])
    assert TTBAR.cross_section() == 832.0
    # Steep and smooth, so no digit of the table is misplaced: its local slopes agree to 7 %.
    slope = np.diff(np.log(found))
    assert (slope < 0).all()
    assert abs(slope[1:] / slope[:-1] - 1).max() < 0.07


def test_cross_section_between_the_points_of_the_table():
    """Leaving every second point out changes it by less than a tenth of its uncertainty."""
    masses = np.arange(700, 1201, 50)
    table = cross_section(masses)
    between = np.sqrt(table[:-1] * table[1:])
    assert between == pytest.approx(cross_section(masses[:-1] + 25), rel=7e-3)


@pytest.mark.parametrize("mass", [699.9, 1200.1, np.nan])
def test_cross_section_is_not_extrapolated(mass):
    with pytest.raises(ValueError, match="outside the cross-section table"):
        cross_section(mass)


# --- excluded masses ----------------------------------------------------------------------------

STOP_MASSES = np.arange(700.0, 1201.0, 25.0)
NEUTRALINO_MASSES = np.arange(100.0, 501.0, 10.0)


def signal_efficiency(stop_mass, neutralino_mass=100.0):
    """Of preselection and working point: rises with the stop mass and saturates."""
    return 0.3 * 0.17 * (1 - np.exp(-(stop_mass - 300) / 350)) * (1 - (neutralino_mass / 1500) ** 2)


def background_efficiency(stop_mass, neutralino_mass=100.0):
    """Of the working point: heavier stops are easier to tell from the background."""
    return 2.5e-3 * np.exp(-(((stop_mass - 700) / 260) ** 0.8)) * (1 + neutralino_mass / 400)


def true_significance(stop_mass, neutralino_mass=100.0):
    return significance(
        expected_signal(stop_mass, signal_efficiency(stop_mass, neutralino_mass)),
        physics.EXPECTED_BACKGROUND * background_efficiency(stop_mass, neutralino_mass),
    )


def true_excluded_mass(neutralino_mass):
    return brentq(lambda m: true_significance(m, neutralino_mass) - EXCLUSION_LEVEL, 701, 1199)


@pytest.mark.parametrize("neutralino_mass", [100.0, 300.0, 500.0])
@pytest.mark.parametrize(
    "stop_masses, tolerance", [(STOP_MASSES, 0.5), (np.array([700.0, 900.0, 1100.0]), 3.0)]
)
def test_coarse_grid_excludes_what_the_model_does(neutralino_mass, stop_masses, tolerance):
    found = excluded_mass(
        stop_masses,
        signal_efficiency(stop_masses, neutralino_mass),
        background_efficiency(stop_masses, neutralino_mass),
    )
    assert found.status == "inside"
    assert found.mass == pytest.approx(true_excluded_mass(neutralino_mass), abs=tolerance)


def test_nothing_or_everything_is_excluded():
    scale = np.array([0.05, 1.0, 20.0])[:, None]
    found = excluded_mass(
        STOP_MASSES, scale * signal_efficiency(STOP_MASSES), 1 * background_efficiency(STOP_MASSES)
    )
    assert found.status.tolist() == ["below grid", "inside", "above grid"]
    assert found.mass[[0, 2]].tolist() == [700.0, 1200.0]


def test_all_lighter_masses_are_excluded_too():
    """An island of exclusion beyond an allowed mass does not count."""
    weak = np.where(STOP_MASSES == 775, 0.02, 1.0)
    found = excluded_mass(
        STOP_MASSES, weak * signal_efficiency(STOP_MASSES), background_efficiency(STOP_MASSES)
    )
    assert true_significance(800.0) > EXCLUSION_LEVEL
    assert 750 < found.mass < 775


def test_missing_mass_points():
    efficiency, background = signal_efficiency(STOP_MASSES), background_efficiency(STOP_MASSES)
    efficiency[[0, 5, 9]] = np.nan
    background[20] = 0.0
    found = excluded_mass(STOP_MASSES, efficiency, background)
    assert found.mass == pytest.approx(true_excluded_mass(100.0), abs=0.5)
    everything = excluded_mass(STOP_MASSES, 20 * efficiency, background)
    assert (everything.mass, everything.status) == (1175.0, "above grid")
    nothing = excluded_mass(STOP_MASSES, efficiency / 20, background)
    assert (nothing.mass, nothing.status) == (725.0, "below grid")
    with pytest.raises(ValueError, match="no mass point"):
        excluded_mass(STOP_MASSES, np.full(21, np.nan), background)


def test_a_single_mass_is_excluded_or_not():
    found = excluded_mass([800.0], [[0.05], [1e-4]], [1e-3])
    assert found.status.tolist() == ["above grid", "below grid"]


def test_plane_of_a_coarse_grid_is_that_of_the_model():
    stop, neutralino = np.array([700.0, 900.0, 1100.0]), np.array([100.0, 300.0, 500.0])
    fine_neutralino, fine_stop, z = significance_plane(
        neutralino,
        stop,
        signal_efficiency(stop, neutralino[:, None]),
        background_efficiency(stop, neutralino[:, None]),
    )
    assert z.shape == (401, 401)
    truth = true_significance(fine_stop, fine_neutralino[:, None])
    # Farthest from the grid's points; the contours, where it matters, are within 4 GeV.
    np.testing.assert_allclose(z, truth, rtol=0.05)
    for level in CONTOUR_LEVELS:
        contour, expected = (np.argmin(abs(plane - level), axis=1) for plane in (z, truth))
        assert abs(contour - expected).max() <= 4


def test_plane_and_excluded_mass_agree_and_end_with_the_grid():
    efficiency = signal_efficiency(STOP_MASSES, NEUTRALINO_MASSES[:, None])
    background = background_efficiency(STOP_MASSES, NEUTRALINO_MASSES[:, None])
    efficiency[30:, :4] = np.nan  # heavy neutralinos of light stops are missing
    _, fine_stop, z = significance_plane(NEUTRALINO_MASSES, STOP_MASSES, efficiency, background)
    excluded = excluded_mass(STOP_MASSES, efficiency, background)
    at_excluded = [
        np.interp(mass, fine_stop, row)
        for mass, row, status in zip(excluded.mass, z[::10], excluded.status, strict=True)
        if status == "inside"
    ]
    assert len(at_excluded) > 20
    assert at_excluded == pytest.approx([EXCLUSION_LEVEL] * len(at_excluded), rel=1e-9)
    assert np.isnan(z[300:, :100]).all()
    assert np.isfinite(z[:291]).all()
    assert np.isfinite(z[:, 100:]).all()


# --- interpolation --------------------------------------------------------------------------------


def test_straight_lines_exclude_the_mass_of_their_closed_form():
    """On the grid of the table of cross sections, ln s is straight between the mass points."""
    masses, background = np.array([1000.0, 1025.0, 1050.0]), 2e-4
    efficiency = np.array([0.030, 0.014, 0.010])
    b = physics.EXPECTED_BACKGROUND * background
    level = brentq(lambda s: significance(s, b) - EXCLUSION_LEVEL, 1, 1e4)
    log_signal = np.log(expected_signal(masses, efficiency) / level)
    assert log_signal[0] > 0 > log_signal[1]
    expected = 1000 + 25 * log_signal[0] / (log_signal[0] - log_signal[1])
    found = excluded_mass(masses, efficiency, np.full(3, background), straight=True)
    assert found.mass == pytest.approx(expected, abs=0.01)


def test_cubic_lines_exclude_the_mass_of_their_closed_form():
    """Fritsch and Carlson's cubic in ln eps_S: harmonic mean of slopes, three-point ends."""
    masses, background = np.array([1000.0, 1025.0, 1050.0]), 2e-4
    efficiency = np.array([0.030, 0.014, 0.010])
    y = np.log(efficiency)
    left, right = np.diff(y)  # slopes in units of a grid step
    inner, end = 2 * left * right / (left + right), (3 * left - right) / 2

    def log_efficiency(t: float) -> float:
        """Hermite's cubic between the first two points, t from 0 to 1."""
        return (
            (1 + 2 * t) * (1 - t) ** 2 * y[0] + t**2 * (3 - 2 * t) * y[1]
            + t * (1 - t) ** 2 * end + t**2 * (t - 1) * inner
        )  # fmt: skip

    def z(t: float) -> float:
        signal = expected_signal(1000 + 25 * t, np.exp(log_efficiency(t)))
        return float(significance(signal, physics.EXPECTED_BACKGROUND * background))

    expected = 1000 + 25 * brentq(lambda t: z(t) - EXCLUSION_LEVEL, 0, 1)
    found = excluded_mass(masses, efficiency, np.full(3, background))
    assert found.mass == pytest.approx(expected, abs=0.01)
    straight = excluded_mass(masses, efficiency, np.full(3, background), straight=True)
    assert abs(found.mass - straight.mass) > 0.1


@pytest.mark.parametrize("none", [0.0, -0.01])  # negative weights may leave less than nothing
def test_without_signal_nothing_is_excluded_up_to_the_neighbours(none):
    efficiency, background = signal_efficiency(STOP_MASSES), background_efficiency(STOP_MASSES)
    efficiency[STOP_MASSES == 800] = none
    found = excluded_mass(STOP_MASSES, efficiency, background)
    assert (found.status, found.mass) == ("inside", pytest.approx(775, abs=1))
    last = np.where(STOP_MASSES < 1200, 20 * signal_efficiency(STOP_MASSES), 0.0)
    assert excluded_mass(STOP_MASSES, last, background).mass == pytest.approx(1175, abs=1)
    nothing = excluded_mass(STOP_MASSES, np.zeros(21), background)
    assert (nothing.mass, nothing.status) == (700.0, "below grid")


def test_a_resampling_without_an_event_is_unknown_and_spares_the_others():
    efficiency = np.stack([signal_efficiency(STOP_MASSES), np.full(21, np.nan)])
    found = excluded_mass(STOP_MASSES, efficiency, background_efficiency(STOP_MASSES))
    assert found.status.tolist() == ["inside", "unknown"]
    assert found.mass[0] == pytest.approx(true_excluded_mass(100.0), abs=0.5)
    assert np.isnan(found.mass[1])
    planes = significance_plane(
        [100.0, 300.0],
        STOP_MASSES,
        np.stack([efficiency, efficiency[:1].repeat(2, axis=0)]),
        np.broadcast_to(background_efficiency(STOP_MASSES), (2, 2, 21)),
        neutralino_step=50.0,
    )[2]
    assert planes.shape == (2, 5, 501)
    assert np.isfinite(planes[1]).all() and np.isfinite(planes[0, 0]).all()
    assert np.isnan(planes[0, 1:]).all()

"""Exclusion: expected significance of a signal, the excluded stop mass and the excluded region.

Between the points of a grid of masses, the logarithms of what varies slowly (background efficiency,
signal efficiency, cross section) are interpolated, and the significance is computed from them; it
is never interpolated over a grid step itself. So a coarse grid gives the contours of a fine one.
How far the answer hangs on the interpolation is asked of a second one, by straight lines between
the same logarithms.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator, make_interp_spline

import physics
from processes.stop import cross_section

# One-sided: one sigma, 90 % and 95 % confidence.
CONTOUR_LEVELS = (1.0, 1.28155, 1.64485)
EXCLUSION_LEVEL = CONTOUR_LEVELS[-1]
MASS_STEP = 1.0  # GeV, of the fine grids

BELOW_GRID, INSIDE, ABOVE_GRID, UNKNOWN = "below grid", "inside", "above grid", "unknown"


class ExcludedMass(NamedTuple):
    """Excluded stop masses in GeV, and their status.

    "inside"; "below grid": not even the lightest stop mass is excluded, which stands as the mass;
    "above grid": the heaviest is; "unknown": no mass point has both efficiencies, the mass is NaN.
    """

    mass: np.ndarray
    status: np.ndarray


def significance(
    signal: ArrayLike,
    background: ArrayLike,
    relative_uncertainty: float = physics.BACKGROUND_UNCERTAINTY,
) -> np.ndarray:
    """Expected significance with which a signal is excluded, the background being uncertain.

    The Asimov value of the profile likelihood with a Poisson auxiliary measurement of the
    background, Kumar and Martin, arXiv:1510.03456, eqs. 1 and 6 (without uncertainty). It is
    written here through the fitted background B = b (1 + v) and s + B = b (1 + u) as

        Z^2 = 2 b [h(u) + h(v) / (delta^2 b)],   h(t) = t - ln(1 + t),

    which is the same, but a sum of positive terms: small s and small delta need no limits taken.

    Args:
        signal, background: expected events, shapes that broadcast; NaN gives NaN.
        relative_uncertainty: of the background, delta.

    Raises:
        ValueError: negative signal or uncertainty, or a background that is not positive.

    Example:
        >>> significance(100.0, [400.0, 40.0]).round(4)
        array([3.2373, 9.8517])
    """
    s, b = np.broadcast_arrays(np.asarray(signal, float), np.asarray(background, float))
    if (s < 0).any() or (b <= 0).any() or relative_uncertainty < 0:
        raise ValueError("expected signal >= 0, background > 0 and relative uncertainty >= 0")
    variance = relative_uncertainty**2 * b  # D^2 / b of the paper
    x = np.sqrt((b - s) ** 2 + 4.0 * s * b / (1.0 + variance))
    v = -2.0 * s * variance / ((1.0 + variance) * (x + b + s))
    # u = (x + s - b) / 2b, without its cancellation where b > s.
    u = np.where(b > s, 2.0 * s / ((1.0 + variance) * (x + abs(b - s))), (x + s - b) / (2.0 * b))
    auxiliary = _excess(v) / np.where(variance > 0, variance, 1.0)  # v = 0 without uncertainty
    return np.sqrt(2.0 * b * (_excess(u) + auxiliary))


def _excess(t: np.ndarray) -> np.ndarray:
    """t - ln(1 + t), by its series where the difference would lose its digits."""
    series = t**2 * (1 / 2 - t * (1 / 3 - t * (1 / 4 - t / 5)))
    return np.where(abs(t) < 1e-3, series, t - np.log1p(t))


def expected_signal(stop_mass: ArrayLike, signal_efficiency: ArrayLike) -> np.ndarray:
    """Stop pairs of a mass in GeV that are expected to be selected with this efficiency.

    Example:
        >>> round(float(expected_signal(1000.0, 0.01)), 3)  # 6.83 fb * 137 / fb * 0.01
        9.357
    """
    femtobarn = 1e3 * cross_section(stop_mass)
    return femtobarn * physics.LUMINOSITY * np.asarray(signal_efficiency)


def excluded_mass(
    stop_mass: ArrayLike,
    signal_efficiency: ArrayLike,
    background_efficiency: ArrayLike,
    *,
    straight: bool = False,
) -> ExcludedMass:
    """Largest stop mass up to which all stop masses of the grid are excluded.

    Args:
        stop_mass: (p,) GeV, ascending: the grid at one neutralino mass.
        signal_efficiency: (..., p) of preselection times cut, with respect to all stop pairs; NaN
            where the mass point is missing. Where it is 0, or in a resampling of negative weights
            less, nothing is excluded up to the neighbouring mass points.
        background_efficiency: (..., p) of the cut, after the preselection; NaN, 0 or less where
            it is unknown. The result has the leading axes: bootstraps, neutralino masses, ...
        straight: interpolate the logarithms by straight lines.

    Raises:
        ValueError: no mass point at all has both efficiencies.

    Example:
        >>> found = excluded_mass([700.0, 900.0, 1100.0], [0.02, 0.03, 0.04], [2e-3, 1e-3, 5e-4])
        >>> round(float(found.mass), 1), str(found.status)
        (1025.3, 'inside')
    """
    stop_mass = np.asarray(stop_mass, float)
    fine = _fine(stop_mass)
    efficiencies = signal_efficiency, _known(background_efficiency)
    z = _significance(fine, *(_interpolated(stop_mass, e, fine, straight) for e in efficiencies))
    if not np.isfinite(z).any():
        raise ValueError("no mass point has both a signal and a background efficiency")
    return first_allowed(fine, z)


def first_allowed(stop_mass: np.ndarray, z: np.ndarray) -> ExcludedMass:
    """Where significances (..., P) on a fine grid of stop masses (P,) are first too low to exclude.

    Example:
        >>> first_allowed(np.array([700.0, 701.0]), np.array([2.0, 1.0])).mass
        np.float64(700.35515)
    """
    # Masses beyond the outermost known points are no part of the grid.
    known = np.isfinite(z)
    first = known.argmax(axis=-1)
    last = z.shape[-1] - 1 - known[..., ::-1].argmax(axis=-1)
    allowed = known & (z < EXCLUSION_LEVEL)
    crossing = allowed.argmax(axis=-1)

    before = np.maximum(crossing - 1, first)
    z_before, z_after = (
        np.take_along_axis(z, at[..., None], axis=-1)[..., 0] for at in (before, crossing)
    )
    step = np.where(crossing > first, z_before - z_after, 1.0)
    span = stop_mass[crossing] - stop_mass[before]
    crossed = stop_mass[before] + span * (z_before - EXCLUSION_LEVEL) / step

    crosses = allowed.any(axis=-1)
    cases = [~known.any(axis=-1), crosses & (crossing == first), ~crosses]
    return ExcludedMass(
        np.select(cases, [np.nan, stop_mass[first], stop_mass[last]], crossed)[()],
        np.select(cases, [UNKNOWN, BELOW_GRID, ABOVE_GRID], INSIDE)[()],
    )


def significance_plane(
    neutralino_mass: ArrayLike,
    stop_mass: ArrayLike,
    signal_efficiency: ArrayLike,
    background_efficiency: ArrayLike,
    *,
    neutralino_step: float = MASS_STEP,
    straight: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Significance over the plane of masses; at those of the grid, that behind `excluded_mass`.

    Args:
        neutralino_mass, stop_mass: (q,) and (p,) GeV, ascending.
        signal_efficiency, background_efficiency: (..., q, p) as in `excluded_mass`.
        neutralino_step: GeV, about, between the neutralino masses returned.
        straight: as in `excluded_mass`.

    Returns:
        Neutralino masses (Q,), stop masses (P,) in steps of `MASS_STEP`, significances (..., Q, P);
        NaN outside the known points.

    Example:
        >>> efficiency = np.array([[0.02, 0.03], [0.03, 0.04]])
        >>> neutralino, stop, z = significance_plane([100, 300], [700, 900], efficiency, efficiency)
        >>> z.shape, round(float(z[0, 0]), 4)
        ((201, 201), 0.6463)
    """
    axes = [np.asarray(axis, float) for axis in (neutralino_mass, stop_mass)]
    fine = _fine(axes[0], neutralino_step), _fine(axes[1])

    def over_plane(efficiency: ArrayLike) -> np.ndarray:
        columns = np.swapaxes(_interpolated(axes[1], efficiency, fine[1], straight), -1, -2)
        return np.swapaxes(_interpolated(axes[0], columns, fine[0], straight), -1, -2)

    efficiencies = signal_efficiency, _known(background_efficiency)
    return *fine, _significance(fine[1], *map(over_plane, efficiencies))


def _significance(
    stop_mass: np.ndarray, signal_efficiency: np.ndarray, background_efficiency: np.ndarray
) -> np.ndarray:
    return significance(
        expected_signal(stop_mass, signal_efficiency),
        physics.EXPECTED_BACKGROUND * background_efficiency,
    )


def _fine(masses: np.ndarray, step: float = MASS_STEP) -> np.ndarray:
    steps = max(round(np.ptp(masses) / step), min(len(masses) - 1, 1))
    return np.linspace(masses[0], masses[-1], steps + 1)


def _known(background_efficiency: ArrayLike) -> np.ndarray:
    """NaN where no background passes: that tells nothing but an upper limit."""
    efficiency = np.asarray(background_efficiency, float)
    return np.where(efficiency > 0, efficiency, np.nan)


def _interpolated(x: np.ndarray, y: ArrayLike, x_new: np.ndarray, straight: bool) -> np.ndarray:
    """y (..., n) at x_new, through its logarithm; NaN outside the known points.

    The interpolation is cubic and monotone between neighbours: statistical fluctuations of the
    points do not make it overshoot. A zero, whose logarithm no line reaches, is one up to its
    neighbours.
    """
    y = np.maximum(np.asarray(y, float), 0.0)
    rows = y.reshape(-1, y.shape[-1])
    found = np.full((len(rows), len(x_new)), np.nan)
    # 1: positive, 0: zero, -1: unknown. Rows that know the same points are interpolated together.
    kind_of_row = np.sign(np.nan_to_num(rows, nan=-1.0))
    kinds, group = np.unique(kind_of_row, axis=0, return_inverse=True)
    for i, kind in enumerate(kinds):
        of_kind = group.ravel() == i
        positive, stated = kind > 0, kind >= 0
        logarithm = np.log(rows[np.ix_(of_kind, positive)])
        found[of_kind] = np.exp(_through(x[positive], logarithm, x_new, straight))
        if (kind == 0).any():
            beside = np.interp(x_new, x[stated], kind[stated] == 0, left=0, right=0) > 0
            found[np.ix_(of_kind, beside)] = 0.0
    return found.reshape(*y.shape[:-1], len(x_new))


def _through(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, straight: bool) -> np.ndarray:
    """Lines (rows, N) through points y (rows, n) at x (n,); NaN outside."""
    if len(x) > 1:
        line = partial(make_interp_spline, k=1) if straight else PchipInterpolator
        return line(x, y, axis=-1)(x_new, extrapolate=False)
    found = np.full((len(y), len(x_new)), np.nan)
    found[:, np.isin(x_new, x)] = y
    return found

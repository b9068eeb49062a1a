"""Excluded stop masses: the exclusion plane, and the gain of the networks over event features.

At every mass point the cut is the one of the working point, or the tightest that keeps enough
background to measure eps_B. Then s = cross section x luminosity x selection efficiency x eps_S and
b = 273,085 x eps_B. Errors come from a bootstrap over events that all classifiers share, so that
what they have in common cancels in their differences. To these the interpolation between the mass
points adds, in quadrature, what straight lines in its place would change. The uncertainties of the
cross section and of the selection efficiency are not in the errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.axes import Axes

import study as definitions
from figures import style
from figures.results import Results, with_observables
from jets.split import STOP
from products import InputError
from sensitivity.bootstrap import CONFIDENCE
from sensitivity.exclusion import (
    ABOVE_GRID,
    BELOW_GRID,
    CONTOUR_LEVELS,
    EXCLUSION_LEVEL,
    INSIDE,
    ExcludedMass,
    excluded_mass,
    expected_signal,
    first_allowed,
    significance,
    significance_plane,
)
from sensitivity.sic import Cut

REFERENCE = "DS2"
COLOUR_STEP = 5  # GeV, of the coloured plane; the contours follow every GeV
GAPS_NAMED = 6
BAND_STEP = 20.0  # GeV of the neutralino mass, along the contour's error band
_LINES = dict(zip(CONTOUR_LEVELS, (":", "--", "-"), strict=True))
_LINE_NAMES = dict(zip(CONTOUR_LEVELS, ("dotted", "dashed", "full"), strict=True))


@dataclass(frozen=True)
class Exclusion:
    """One classifier over the grid of masses.

    Attributes:
        name: in figures.
        neutralino_mass, stop_mass: (q,) and (p,) GeV, ascending.
        cuts: (q, p) objects, the cut of each mass point; None where there is no such point.
        selection_efficiency: (q, p) of the preselection, with respect to all stop pairs.
    """

    name: str
    neutralino_mass: np.ndarray
    stop_mass: np.ndarray
    cuts: np.ndarray
    selection_efficiency: np.ndarray

    def _of_cuts(self, name: str) -> np.ndarray:
        """(1 + bootstraps, q, p): an efficiency of the cuts as measured, then resampled."""

        def one(cut: Cut | None) -> np.ndarray:
            if cut is None:
                return np.full(1 + self._bootstraps, np.nan)
            return np.concatenate([[getattr(cut, name)], getattr(cut, f"resampled_{name}")])

        return np.moveaxis(np.array([[one(cut) for cut in row] for row in self.cuts]), -1, 0)

    @property
    def _bootstraps(self) -> int:
        return len(next(cut for cut in self.cuts.flat if cut).resampled_signal_efficiency)

    @cached_property
    def signal_efficiency(self) -> np.ndarray:
        """(1 + bootstraps, q, p) of preselection and cut."""
        return self._of_cuts("signal_efficiency") * self.selection_efficiency

    @cached_property
    def background_efficiency(self) -> np.ndarray:
        """(1 + bootstraps, q, p) of the cut."""
        return self._of_cuts("background_efficiency")

    def _excluded(self, straight: bool) -> ExcludedMass:
        resampled = slice(1 if straight else None)
        by_mass = [
            excluded_mass(
                self.stop_mass,
                self.signal_efficiency[resampled, q],
                self.background_efficiency[resampled, q],
                straight=straight,
            )
            for q in range(len(self.neutralino_mass))
        ]
        return ExcludedMass(
            *(
                np.stack([getattr(e, field) for e in by_mass], axis=1)
                for field in ("mass", "status")
            )
        )

    @cached_property
    def excluded(self) -> ExcludedMass:
        """Excluded stop masses (1 + bootstraps, q)."""
        return self._excluded(straight=False)

    @cached_property
    def interpolation(self) -> np.ndarray:
        """(q,) GeV that straight lines between the mass points add to the excluded stop masses."""
        return self._excluded(straight=True).mass[0] - self.excluded.mass[0]

    @property
    def ends(self) -> tuple[float, float]:
        """GeV, of the grid of stop masses."""
        return self.stop_mass[0], self.stop_mass[-1]

    @cached_property
    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """Neutralino masses (n,) and the interval (3, n) of the excluded stop mass at each, GeV."""

        def along(rows: slice, straight: bool) -> tuple[np.ndarray, np.ndarray]:
            neutralino, stop, z = significance_plane(
                self.neutralino_mass,
                self.stop_mass,
                self.signal_efficiency[rows],
                self.background_efficiency[rows],
                neutralino_step=BAND_STEP,
                straight=straight,
            )
            return neutralino, first_allowed(stop, z, EXCLUSION_LEVEL).mass

        neutralino, mass = along(slice(None), False)
        _, of_lines = along(slice(1), True)
        return neutralino, _interval(mass, of_lines[0] - mass[0], self.ends)

    @cached_property
    def plane(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Neutralino masses (Q,), stop masses (P,) and significance (Q, P), every GeV."""
        return significance_plane(
            self.neutralino_mass,
            self.stop_mass,
            self.signal_efficiency[0],
            self.background_efficiency[0],
        )

    def points(self) -> list[dict[str, object]]:
        """One row a mass point: the cut, the yields and the significance."""
        rows = []
        for q, p in np.ndindex(self.cuts.shape):
            cut = self.cuts[q, p]
            if cut is None:
                continue
            signal = expected_signal(self.stop_mass[p], self.signal_efficiency[0, q, p])
            background = definitions.EXPECTED_BACKGROUND * cut.background_efficiency
            rows.append(
                {
                    "classifier": self.name,
                    "neutralino_mass": self.neutralino_mass[q],
                    "stop_mass": self.stop_mass[p],
                    "selection_efficiency": self.selection_efficiency[q, p],
                    "signal_efficiency": cut.signal_efficiency,
                    "background_efficiency": cut.background_efficiency,
                    "background_events": cut.background_count,
                    "is_loosened": cut.is_loosened,
                    "expected_signal": signal,
                    "expected_background": background,
                    "significance": significance(signal, background),
                }
            )
        return rows


def exclusions(results: Results) -> list[Exclusion]:
    """The exclusion of every network with DS2, and of DS2 alone, last.

    Raises:
        InputError: too few held-out background events for any cut.
    """
    study = results.study
    n_background = np.sum(results.events["process"] != STOP)
    if n_background < study.background_events_min:
        raise InputError(
            f"{study.data_dir}/events.h5: {n_background} held-out background events, expected at "
            f"least {study.background_events_min}; add background files"
        )
    classifiers = results.of_events.named(with_observables(study.networks))
    stop_masses, neutralino_masses = results.masses
    samples = results.table.samples
    efficiency = {
        (row["m_neutralino"], row["m_stop"]): row["selection_efficiency"]
        for row in samples[samples["process"] == STOP]
    }
    grid = [(m, stop) for m in neutralino_masses for stop in stop_masses]
    shape = (len(neutralino_masses), len(stop_masses))
    events = results.events
    among = {
        point: (events["m_neutralino"] == point[0]) & (events["m_stop"] == point[1])
        for point in grid
    }

    def of(name: str) -> Exclusion:
        cuts = np.full(len(grid), None, object)
        for i, point in enumerate(grid):
            if among[point].any():
                cuts[i] = classifiers.cut_at(name, among[point])
        selected = np.array([efficiency.get(point, np.nan) for point in grid]).reshape(shape)
        return Exclusion(name, neutralino_masses, stop_masses, cuts.reshape(shape), selected)

    return [of(name) for name in classifiers.score]


def plane(found: Sequence[Exclusion]) -> style.Drawing:
    """Exclusion significance over the plane of masses, one panel a classifier."""
    columns = min(3, len(found))
    figure, axes = style.panels(
        columns, -(-len(found) // columns), height=2.5, sharex=True, sharey=True
    )
    highest = max(np.nanmax(one.plane[2]) for one in found)
    contours, bands, verdicts = [], [], []
    for axis, one in zip(axes, found, strict=False):
        colours = _significance_panel(axis, one, highest)
        contours += _contours(axis, one)
        bands += _band(axis, one)
        verdicts.append(f"{one.name}: {_verdict(one) or 'partly excluded'}")
    for axis in axes[len(found) :]:
        axis.set_axis_off()
    for axis in axes[: len(found)]:
        axis.set(xlabel=f"{style.NEUTRALINO_MASS} [GeV]", ylabel=f"{style.STOP_MASS} [GeV]")
        axis.set(xlim=found[0].neutralino_mass[[0, -1]], ylim=found[0].stop_mass[[0, -1]])
        axis.label_outer()
    figure.colorbar(colours, ax=axes, label="exclusion significance $Z$", pad=0.01)
    points = [row for one in found for row in one.points()]
    loosened = sum(row["is_loosened"] for row in points)
    levels = ", ".join(f"{level:.3g} {_LINE_NAMES[level]}" for level in CONTOUR_LEVELS)
    note = (
        f"Contours of $Z$: {levels}; band about the last: 68 %, as far as the grid goes. Dots: the "
        "mass points."
    )
    if loosened:
        note += (
            f"\nOpen squares ({loosened}): mass points where the cut of the working point keeps "
            "too little background; the tightest one that keeps enough is used."
        )
    if gaps := _gaps(found[0]):
        note += f"\nWithout held-out events, interpolated or left blank: {gaps}."
    style.heading(figure, note)
    more = {"contours": contours, "band": bands}
    return style.Drawing(figure, points, "; ".join(verdicts), more)


def _gaps(one: Exclusion) -> str:
    """The mass points of the grid without an event, in words."""
    points = [
        f"({one.stop_mass[p]:g}, {one.neutralino_mass[q]:g})"
        for (q, p), cut in np.ndenumerate(one.cuts)
        if cut is None
    ]
    some = ", ".join(points[:GAPS_NAMED])
    more = f" and {len(points) - GAPS_NAMED} more" if len(points) > GAPS_NAMED else ""
    names = f"({style.STOP_MASS}, {style.NEUTRALINO_MASS})"
    return f"{names} = {some}{more} GeV" if points else ""


def _significance_panel(axis: Axes, one: Exclusion, highest: float):
    """The coloured plane and the mass points; returns what a colour bar needs."""
    neutralino, stop, z = (array[::COLOUR_STEP] for array in one.plane)
    colours = axis.pcolormesh(
        neutralino, stop, z[:, ::COLOUR_STEP].T, vmin=0, vmax=highest, shading="nearest",
        cmap="cividis", rasterized=True,
    )  # fmt: skip
    for is_loosened, marker, fill in ((False, "o", style.VERMILION), (True, "s", "white")):
        q, p = np.nonzero(
            [[cut is not None and cut.is_loosened == is_loosened for cut in c] for c in one.cuts]
        )
        axis.scatter(
            one.neutralino_mass[q], one.stop_mass[p], s=14, marker=marker, facecolor=fill,
            edgecolor=style.VERMILION, linewidth=0.9, clip_on=False, zorder=3,
        )  # fmt: skip
    axis.set_title(one.name)
    if verdict := _verdict(one):
        box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0}
        text = f"{verdict}\nat $Z = {EXCLUSION_LEVEL:.3g}$"
        axis.text(0.5, 0.75, text, transform=axis.transAxes, ha="center", va="center", bbox=box)
    return colours


def _verdict(one: Exclusion) -> str:
    """What a reader of an empty panel must be told; nothing where the contour is in the plane."""
    z = one.plane[2]
    if np.nanmax(z) < EXCLUSION_LEVEL:
        return "nothing excluded"
    return "everything excluded" if np.nanmin(z) >= EXCLUSION_LEVEL else ""


def _contours(axis: Axes, one: Exclusion) -> list[dict[str, object]]:
    """Draw the contours; returns their points."""
    neutralino, stop, z = one.plane
    points = []
    for level, line in _LINES.items():
        if not np.nanmin(z) < level < np.nanmax(z):
            continue
        drawn = axis.contour(
            neutralino, stop, z.T, [level], colors="white", linestyles=[line], linewidths=1.3
        )
        points += [
            {
                "classifier": one.name,
                "level": level,
                "piece": piece,
                "neutralino_mass": x,
                "stop_mass": y,
            }
            for piece, vertices in enumerate(drawn.allsegs[0])
            for x, y in vertices
        ]
    return points


def _band(axis: Axes, one: Exclusion) -> list[dict[str, object]]:
    """Draw the error band of the contour of exclusion; returns its points."""
    neutralino, (value, low, high) = one.band
    axis.fill_between(neutralino, low, high, color="white", alpha=0.3, linewidth=0)
    names = ("neutralino_mass", "excluded_mass", "excluded_low", "excluded_high")
    rows = zip(neutralino, value, low, high, strict=True)
    return [{"classifier": one.name} | dict(zip(names, row, strict=True)) for row in rows]


def gain(found: Sequence[Exclusion]) -> style.Drawing:
    """Excluded stop mass, and its gain over DS2 alone, against the neutralino mass."""
    figure, (upper, lower) = style.panels(1, 2, height=2.4, sharex=True)
    for axis in (upper, lower):
        axis.margins(y=style.ARROW_MARGIN)
    reference = found[-1]
    shifts = style.dodge(reference.neutralino_mass, len(found))
    points = []
    for one, shift in zip(found, shifts, strict=True):
        excluded, sign = one.excluded, _limit(one.excluded)
        interval = _interval(excluded.mass, one.interpolation, one.ends)
        style.measured(upper, one.neutralino_mass + shift, interval, one.name, sign)
        gained, gain_sign = gain_over(one, reference)
        if one is not reference:
            style.measured(lower, one.neutralino_mass + shift, gained, one.name, gain_sign)
        points += [
            {
                "classifier": one.name,
                "neutralino_mass": one.neutralino_mass[q],
                "drawn_at": one.neutralino_mass[q] + shift,
                "excluded_mass": interval[0, q],
                "excluded_low": interval[1, q],
                "excluded_high": interval[2, q],
                "interpolation": one.interpolation[q],
                "status": excluded.status[0, q],
                "gain": gained[0, q],
                "gain_low": gained[1, q],
                "gain_high": gained[2, q],
                "gain_interpolation": one.interpolation[q] - reference.interpolation[q],
                "gain_is": {1: "lower limit", 0: "measured", -1: "upper limit"}[gain_sign[q]]
                if np.isfinite(gained[0, q])
                else "undefined",
                "loosened_cuts": sum(bool(cut and cut.is_loosened) for cut in one.cuts[q]),
            }
            for q in range(len(one.neutralino_mass))
        ]
    upper.set_ylabel(f"excluded {style.STOP_MASS} [GeV]")
    lower.set_ylabel(f"gain over {REFERENCE} [GeV]")
    style.neutralino_axis(lower, reference.neutralino_mass)
    lower.axhline(0, color=style.BLACK, linewidth=0.7)
    style.legend(figure, [upper])
    style.heading(figure, _gain_note(points))
    lightest = reference.neutralino_mass[0]
    words = f"excluded at a neutralino mass of {lightest} GeV: " + ", ".join(
        f"{p['classifier']} {p['excluded_mass']:.0f} GeV"
        + ("" if p["status"] == INSIDE else f" ({p['status']})")
        for p in points
        if p["neutralino_mass"] == lightest
    )
    return style.Drawing(figure, points, words)


def gain_over(one: Exclusion, reference: Exclusion) -> tuple[np.ndarray, np.ndarray]:
    """Gain in excluded stop mass with its paired error.

    Returns:
        (3, q) gain, lower and upper end, GeV, NaN where both are beyond the grid; (q,) 1 where the
        gain is a lower limit, -1 an upper limit, 0 measured.
    """
    signs = [_limit(exclusion.excluded) for exclusion in (one, reference)]
    span = one.ends[1] - one.ends[0]
    interval = _interval(
        one.excluded.mass - reference.excluded.mass,
        one.interpolation - reference.interpolation,
        (-span, span),
    )
    unknown = (signs[0] != 0) & (signs[0] == signs[1])
    return np.where(unknown, np.nan, interval), np.where(unknown, 0, np.sign(signs[0] - signs[1]))


def _limit(excluded: ExcludedMass) -> np.ndarray:
    """(q,) 1 where all masses of the grid are excluded, -1 where none is, 0 between."""
    return (excluded.status[0] == ABOVE_GRID) * 1 - (excluded.status[0] == BELOW_GRID) * 1


def _interval(mass: np.ndarray, systematic: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """(3, q): the value, and the interval of its resamplings and its systematic error about it.

    The interval encloses the value, which resamplings that pile up at the edge of the grid may not.
    A resampling without an event to know the mass by speaks for neither side: it counts as the
    lower of the `ends` for the lower end of the interval, and as the upper for the upper.

    Args:
        mass: (1 + bootstraps, q) GeV, as measured, then resampled; NaN where unknown.
        systematic: (q,) GeV, added in quadrature.
        ends: GeV, of what the mass can be.
    """
    tail = (1 - CONFIDENCE) / 2
    value, resampled = mass[0], mass[1:]
    low, high = (
        np.quantile(np.where(np.isnan(resampled), end, resampled), share, axis=0)
        for end, share in zip(ends, (tail, 1 - tail), strict=True)
    )
    below = np.hypot(np.maximum(value - low, 0), systematic)
    above = np.hypot(np.maximum(high - value, 0), systematic)
    return np.stack([value, value - below, value + above])


def _gain_note(points: Sequence[dict]) -> str:
    note = (
        f"Expected exclusion at $Z={EXCLUSION_LEVEL:.3g}$ (95 % CL). Errors: 68 %, and the "
        "interpolation between mass points; they end where the grid of stop masses does. Points "
        "are shifted sideways."
    )
    beyond = {point["status"] for point in points} - {INSIDE}
    if beyond:
        note += "\nOpen arrows: limits, where the grid of stop masses ends."
    loosened = sorted({p["neutralino_mass"] for p in points if p["loosened_cuts"]})
    if loosened:
        at = f"{style.NEUTRALINO_MASS} = {', '.join(f'{mass:g}' for mass in loosened)} GeV"
        note += f"\nToo little background, cuts loosened: {at}."
    return note

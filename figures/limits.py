"""The exclusion plane, and the gain of the networks over event features."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from evaluation.exclusions import Exclusion, gain_over
from event_level.fits import DS2
from figures import style
from sensitivity.exclusion import CONTOUR_LEVELS, EXCLUSION_LEVEL, INSIDE

COLOUR_STEP = 5  # GeV, of the coloured plane; the contours follow every GeV
GAPS_NAMED = 6
_LINES = dict(zip(CONTOUR_LEVELS, ((":", "dotted"), ("--", "dashed"), ("-", "full")), strict=True))


def plane(found: Sequence[Exclusion]) -> style.Drawing:
    """Exclusion significance over the plane of masses, one panel a classifier."""
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    figure, axes = style.panels(columns, rows, height=2.5, sharex=True, sharey=True)
    highest = max(np.nanmax(one.plane[2]) for one in found)
    contours, bands, verdicts = [], [], []
    for axis, one in zip(axes, found, strict=False):
        colours = _significance_panel(axis, one, highest)
        contours += _contours(axis, one)
        bands += _band(axis, one)
        verdicts.append(f"{one.classifier.words}: {_verdict(one) or 'partly excluded'}")
        axis.set(xlabel=f"{style.NEUTRALINO_MASS} [GeV]", ylabel=f"{style.STOP_MASS} [GeV]")
        axis.set(xlim=one.neutralino_mass[[0, -1]], ylim=one.stop_mass[[0, -1]])
        axis.label_outer()
    for axis in axes[len(found) :]:
        axis.set_axis_off()
    figure.colorbar(colours, ax=axes, label="exclusion significance $Z$", pad=0.01)
    points = [row for one in found for row in one.points()]
    loosened = sum(row["is_loosened"] for row in points)
    levels = ", ".join(f"{level:.3g} {name}" for level, (_, name) in _LINES.items())
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
    return style.Drawing(figure, points, "; ".join(verdicts), {"contours": contours, "band": bands})


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
        q, p = np.nonzero([[c and c.is_loosened == is_loosened for c in row] for row in one.cuts])
        axis.scatter(
            one.neutralino_mass[q], one.stop_mass[p], s=14, marker=marker, facecolor=fill,
            edgecolor=style.VERMILION, linewidth=0.9, clip_on=False, zorder=3,
        )  # fmt: skip
    axis.set_title(one.classifier.words)
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
    for level, (line, _) in _LINES.items():
        if not np.nanmin(z) < level < np.nanmax(z):
            continue
        drawn = axis.contour(
            neutralino, stop, z.T, [level], colors="white", linestyles=[line], linewidths=1.3
        )
        for piece, vertices in enumerate(drawn.allsegs[0]):
            x, y = vertices.T
            place = {"level": level, "piece": piece, "neutralino_mass": x, "stop_mass": y}
            points += style.rows(one.classifier.row() | place)
    return points


def _band(axis: Axes, one: Exclusion) -> list[dict[str, object]]:
    """Draw the error band of the contour of exclusion; returns its points."""
    neutralino, interval = one.band
    axis.fill_between(neutralino, *interval[1:], color="white", alpha=0.3, linewidth=0)
    names = ("neutralino_mass", "excluded_mass", "excluded_low", "excluded_high")
    band = dict(zip(names, (neutralino, *interval), strict=True))
    return style.rows(one.classifier.row() | band)


def gain(found: Sequence[Exclusion]) -> style.Drawing:
    """Excluded stop mass, and its gain over DS2 alone, against the neutralino mass."""
    figure, (upper, lower) = style.panels(1, 2, height=2.4, sharex=True)
    for axis in (upper, lower):
        axis.margins(y=style.ARROW_MARGIN)
    reference = found[-1]
    shifts = style.dodge(reference.neutralino_mass, len(found))
    points = []
    for one, shift in zip(found, shifts, strict=True):
        look, x = (style.look(one.classifier), one.classifier.words), one.neutralino_mass + shift
        style.measured(upper, x, one.interval, *look, one.limit, one.loosened > 0)
        gained, gain_sign = gain_over(one, reference)
        if one is not reference:
            of_either = one.loosened + reference.loosened > 0
            style.measured(lower, x, gained, *look, gain_sign, of_either)
        kinds = np.array(["measured", "lower limit", "upper limit"])[gain_sign]
        cuts = [[cut for cut in row if cut] for row in one.cuts]
        mass, low, high = one.interval
        points += style.rows(
            {
                **one.classifier.row(), "neutralino_mass": one.neutralino_mass, "drawn_at": x,
                "excluded_mass": mass, "excluded_low": low, "excluded_high": high,
                "interpolation": one.interpolation, "status": one.excluded.status[0],
                "gain": gained[0], "gain_low": gained[1], "gain_high": gained[2],
                "gain_interpolation": one.interpolation - reference.interpolation,
                "gain_is": np.where(np.isfinite(gained[0]), kinds, "undefined"),
                "background_events": [min(cut.effective_background for cut in c) for c in cuts],
                "loosened_cuts": one.loosened,
            }
        )  # fmt: skip
    upper.set_ylabel(f"excluded {style.STOP_MASS} [GeV]")
    lower.set_ylabel(f"gain over {DS2.words} [GeV]")
    style.neutralino_axis(lower, reference.neutralino_mass)
    lower.axhline(0, color=style.BLACK, linewidth=0.7)
    if not any(np.isfinite(point["gain"]) for point in points if point["classifier"] != DS2):
        lower.set_yticks([])
        place = {"transform": lower.transAxes, "ha": "center"}
        lower.text(0.5, 0.55, "undefined: limits on both sides", **place)
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


def _gain_note(points: Sequence[dict]) -> str:
    note = (
        f"Expected exclusion at $Z={EXCLUSION_LEVEL:.3g}$ (95 % CL). Errors: 68 %, and the "
        "interpolation between mass points; they end where the grid of stop masses does."
    )
    if len({point["classifier"] for point in points}) > 1:
        note += " Points are shifted sideways."
    if {point["status"] for point in points} - {INSIDE}:
        note += "\nOpen arrows: limits, where the grid of stop masses ends."
    if any(point["loosened_cuts"] for point in points):
        note += (
            "\nOpen symbols without an arrow: a cut (in a gain, of either classifier) was loosened "
            "to keep enough background."
        )
    return note

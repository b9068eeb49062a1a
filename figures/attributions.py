"""What a network saw: mean attributions in the frame of the jet, profiles, removal, features."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import SymLogNorm

from figures import style
from physics import CHANNELS

Rows = Sequence[Mapping[str, object]]
LOOKS = {  # of baselines, and of what they are held against
    "zero": {"color": style.GREY, "marker": "s"},
    "raw zero": {"color": style.SKY, "marker": "<"},
    "uniform": {"color": style.BLUE, "marker": "o"},
    "weighted": {"color": style.VERMILION, "marker": "D"},
    "mean": {"color": style.GREEN, "marker": "^"},
    "pT": {"color": style.BLACK, "marker": ""},
    "random": {"color": style.PURPLE, "marker": ""},
    "permuted": {"color": style.BLACK, "marker": "*"},
    "alone": {"color": style.PURPLE, "marker": "x"},
}


def images(
    means: Mapping[str, np.ndarray], half: float, radius: float, words: str
) -> style.Drawing:
    """Mean attributions (3, bins, bins) of each class, one column a channel, with the jet radius.
    The colours are linear up to a thirtieth of the largest and logarithmic above.

    Args:
        half: of the frame, in eta and phi.
        words: of what, for the heading.
    """
    figure, axes = style.panels(len(CHANNELS), len(means), height=2.4, sharex=True, sharey=True)
    largest, points = max(np.abs(x).max() for x in means.values()), []
    circle = radius * np.exp(1j * np.linspace(0, 2 * np.pi, 100))
    panels = [(name, i) for name in means for i in range(len(CHANNELS))]
    for axis, (name, i) in zip(axes, panels, strict=True):
        image, channel = means[name][i], CHANNELS[i]
        norm = SymLogNorm(largest / 30, vmin=-largest, vmax=largest)
        shown = axis.imshow(image, extent=(-half, half, -half, half), norm=norm, cmap="PuOr_r")
        axis.plot(circle.real, circle.imag, color="grey", linewidth=0.7, linestyle="--")
        axis.set(title=f"{name}, {channel}", xlabel="across", ylabel="to the hardest deposit")
        axis.label_outer()
        row, column = np.indices(image.shape).reshape(2, -1)
        pixels = {"row": row, "column": column, "attribution": image.ravel()}
        points += style.rows({"class": name, "channel": channel} | pixels)
    figure.colorbar(shown, ax=axes, label="mean attribution", pad=0.01)
    style.heading(figure, words)
    return style.Drawing(figure, points)


def lines(
    rows: Rows, x: str, panels: Mapping[str, Mapping[str, object]], labels: Mapping[str, str],
    words: str = "",
) -> style.Drawing:  # fmt: skip
    """`value` between `low` and `high` against a column `x`, one line a `baseline`.

    Args:
        panels: title -> what the rows of a panel have in common.
        labels: of the axes, and their scales.
        words: for the heading.
    """
    columns = min(len(panels), 3)
    figure, axes = style.panels(columns, -(-len(panels) // columns), height=2.4)
    for axis, (title, choice) in zip(axes, panels.items(), strict=False):
        here = [row for row in rows if choice.items() <= row.items()]
        for name in dict.fromkeys(row["baseline"] for row in here):
            of_line = [row for row in here if row["baseline"] == name]
            value, error = _numbers(of_line)
            axis.errorbar([row[x] for row in of_line], value, error, **LOOKS[name], label=name)
        axis.set(title=title, **labels)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    style.legend(figure, axes[: len(panels)])
    style.heading(figure, words)
    return style.Drawing(figure, rows)


def features(rows: Rows, words: str = "") -> style.Drawing:
    """The share of each `feature`, one column of marks a `panel`, one mark a `baseline`."""
    panels, names, baselines = (
        list(dict.fromkeys(row[key] for row in rows)) for key in ("panel", "feature", "baseline")
    )
    figure, axes = style.panels(len(panels), height=1.0 + 0.25 * len(names), sharey=True)
    shifts = np.linspace(-0.35, 0.35, len(baselines))
    for axis, panel in zip(axes, panels, strict=True):
        for name, shift in zip(baselines, shifts, strict=True):
            of_line = [row for row in rows if (row["panel"], row["baseline"]) == (panel, name)]
            value, error = _numbers(of_line)
            at = [names.index(row["feature"]) + shift for row in of_line]
            axis.errorbar(value, at, xerr=error, **LOOKS[name], linestyle="", label=name)
        axis.set(title=panel, xlabel="share of |attribution|")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    style.legend(figure, axes)
    style.heading(figure, words)
    return style.Drawing(figure, rows)


def erasures(rows: Rows, words: str = "") -> style.Drawing:
    """The change of the logit against the ReMOVE score, one mark a jet, by class and region."""
    looks = {"zeros": {"color": style.GREY, "marker": "s"}, "background": {"color": style.BLUE}}
    panels = list(dict.fromkeys((row["class"], row["region"]) for row in rows))
    figure, axes = style.panels(2, -(-len(panels) // 2), height=2.2, sharex=True, sharey=True)
    for axis, panel in zip(axes, panels, strict=True):
        for fill, look in looks.items():
            some = [r for r in rows if (r["class"], r["region"], r["fill"]) == (*panel, fill)]
            x, y = ([row[name] for row in some] for name in ("ReMOVE", "change"))
            axis.scatter(x, y, 5, linewidth=0, alpha=0.6, label=f"filled by {fill}", **look)
        axis.axhline(0, color="black", linewidth=0.5)
        axis.set(title=", ".join(panel), xlabel="ReMOVE", ylabel="change of the logit")
        axis.label_outer()
    style.legend(figure, axes)
    style.heading(figure, words)
    return style.Drawing(figure, rows)


def scenes(mask: np.ndarray, images: Mapping[str, np.ndarray]) -> style.Drawing:
    """Scenes (p, p, 3), 0 to 255, after each way to erase what was inside a mask (p, p)."""
    columns = 4
    figure, axes = style.panels(columns, -(-len(images) // columns), height=1.9)
    for axis in axes:
        axis.set_axis_off()
    for axis, (name, image) in zip(axes, images.items(), strict=False):
        axis.imshow(np.rint(image).astype(np.uint8))
        axis.contour(mask, levels=[127], colors="white", linewidths=0.5)
        axis.set_title(name)
    means = {
        name: [image[side].mean() for side in (mask > 0, mask == 0)]
        for name, image in images.items()
    }
    points = [{"way": n, "mean inside": a, "mean outside": b} for n, (a, b) in means.items()]
    return style.Drawing(figure, points)


def _numbers(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """The values (m,) of rows, and their errors (2, m), 0 where there is none."""
    value, low, high = (
        np.array([row[key] for row in rows], float) for key in ("value", "low", "high")
    )
    return value, np.nan_to_num(np.abs([value - low, high - value]))

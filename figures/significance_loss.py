"""The toy of three Gaussian processes: boundaries of linear cuts, and curves of several losses."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from figures import style

# Line of a figure -> its words, colour and line style.
LINES = {
    "cross_entropy": ("cross entropy", style.SKY, "-"),
    "weighted": ("cross entropy × σ", style.BLUE, "-"),
    "extreme": ("extreme", style.PURPLE, "--"),
    "delta_z": (r"$\Delta_Z$", style.VERMILION, ":"),
    "delta_z_best": (r"$\Delta_Z$, best epoch", style.VERMILION, "-"),
    "simple": (r"direct $s/\sqrt{s+b}$", style.ORANGE, "--"),
    "asimov": ("direct Asimov Z", style.GREEN, "-"),
    "linear": ("best linear cut", style.BLACK, "--"),
    "any": ("best cut of any shape", style.GREY, ":"),
}
Rows = Sequence[Mapping[str, object]]


def _look(line: str) -> dict:
    return dict(zip(("label", "color", "linestyle"), LINES[line], strict=True))


def boundaries(means: np.ndarray, rows: Rows, titles: Mapping[int, str]) -> style.Drawing:
    """The cut of the greatest Z of every model, over circles of one and two standard deviations.

    Args:
        means: (3, 2) of signal, b1 and b2, whose covariance is the identity.
        rows: `case`, `line`, `seed`, and the boundary w1 x1 + w2 x2 + b = 0.
        titles: case -> its words.
    """
    figure, axes = style.panels(len(titles), height=3.3, sharex=True, sharey=True)
    x = np.array([-2.0, 8.0])
    for axis, (case, title) in zip(axes, titles.items(), strict=True):
        for name, mean, colour in zip(
            ("signal", "b1", "b2"), means, (style.VERMILION, style.BLUE, style.BLACK), strict=True
        ):
            for radius in (1, 2):
                axis.add_patch(Circle(mean, radius, color=colour, alpha=0.12, linewidth=0))
            axis.annotate(name, mean, ha="center", va="center", color=colour)
        for row in (row for row in rows if row["case"] == case):
            w1, w2, b = (row[name] for name in ("w1", "w2", "b"))
            normal = np.array([w1, w2]) / np.hypot(w1, w2)
            foot = means[0] - normal * (means[0] @ normal + b / np.hypot(w1, w2))
            ends = foot + np.outer((-20, 20), (-normal[1], normal[0]))
            axis.plot(*ends.T, linewidth=0.9, alpha=0.8, **_look(row["line"]))
        axis.set(title=title, xlabel="$x_1$", xlim=x, ylim=(2, 13), aspect="equal")
    axes[0].set(ylabel="$x_2$")
    style.legend(figure, axes)
    return style.Drawing(figure, rows)


def curves(
    rows: Rows, x: str, panels: Sequence[Sequence[Mapping[str, object]]], columns: int = 2
) -> style.Drawing:
    """Lines with bands over seeds, `value` between `low` and `high`, against a column `x`.

    Args:
        rows: tidy, with `line` and the columns that tell the panels apart.
        panels: what the rows of a panel have in common, and the settings of its axes.
    """
    figure, axes = style.panels(columns, len(panels) // columns, height=2.5)
    for axis, (choice, settings) in zip(axes, panels, strict=True):
        here = [row for row in rows if choice.items() <= row.items()]
        for line in dict.fromkeys(row["line"] for row in here):
            _band(axis, line, x, [row for row in here if row["line"] == line])
        axis.set(**settings)
        if x == "epoch":
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend(figure, axes)
    return style.Drawing(figure, rows)


def _band(axis: Axes, line: str, x: str, rows: Rows) -> None:
    at, value, low, high = (
        np.array([row[name] for row in rows]) for name in (x, "value", "low", "high")
    )
    look = _look(line)
    axis.plot(at, value, **look)
    axis.fill_between(at, low, high, color=look["color"], alpha=0.15, linewidth=0)

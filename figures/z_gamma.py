"""H -> Z gamma: epochs, numbers of features, and the mass in the bins of a score."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator

from figures import style

LOOKS = {  # of lines
    "XGBoost": (style.GREY, ":"),
    "FeedForward": (style.BLUE, "--"),
    "EventTransformer": (style.VERMILION, "-"),
}
SIGNAL_TIMES = 10  # to be seen beside the background
MASS = r"$m_{\ell\ell\gamma}$ [GeV]"
Rows = Sequence[Mapping[str, object]]


def curves(
    rows: Rows, x: str, panels: Sequence[tuple[Mapping[str, object], Mapping[str, object]]],
    columns: int, marker: str = "",
) -> style.Drawing:  # fmt: skip
    """One line for each network: `value` between `low` and `high` against a column `x`.

    Args:
        panels: what the rows of a panel have in common, and the settings of its axes.
        columns: of panels.
    """
    figure, axes = style.panels(columns, len(panels) // columns, height=2.2)
    for axis, (choice, settings) in zip(axes, panels, strict=True):
        here = [row for row in rows if choice.items() <= row.items()]
        for network, (colour, line) in LOOKS.items():
            line_of = [row for row in here if row["network"] == network]
            if not line_of:
                continue
            names = (x, "value", "low", "high")
            at, value, low, high = (np.array([row[name] for row in line_of]) for name in names)
            axis.plot(at, value, line, color=colour, marker=marker, label=network)
            axis.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set(**settings)
        steps = sorted({row[x] for row in here})
        few = len(steps) < MaxNLocator.default_params["nbins"]
        axis.xaxis.set_major_locator(FixedLocator(steps) if few else MaxNLocator(integer=True))
    style.legend(figure, axes)
    return style.Drawing(figure, rows)


def shapes(rows: Rows, titles: Mapping[str, str], label: str = MASS) -> style.Drawing:
    """The spectrum of a mass of background in each bin of a score, over that of all background.

    Args:
        rows: `panel`, `bin`, `mass`, `ratio` and its `error`.
        titles: panel -> its words.
        label: of the mass.
    """
    columns = min(len(titles), 3)
    figure, axes = style.panels(columns, -(-len(titles) // columns), height=2.8, sharey=True)
    bins = sorted({row["bin"] for row in rows})
    masses = sorted({row["mass"] for row in rows})
    width = np.diff(masses).min() if len(masses) > 1 else 1.0
    for axis in axes[len(titles) :]:
        axis.set_axis_off()
    for axis, (panel, title) in zip(axes, titles.items(), strict=False):
        for i, number in enumerate(bins):
            here = [row for row in rows if (row["panel"], row["bin"]) == (panel, number)]
            at, ratio, error = (np.array([r[n] for r in here]) for n in ("mass", "ratio", "error"))
            colour = matplotlib.colormaps["viridis"](i / len(bins))
            spread = (i - len(bins) / 2) * 0.06 * width
            points = {
                "color": colour,
                "marker": ".",
                "markersize": 3,
                "linewidth": 0.8,
                "elinewidth": 0.5,
            }
            axis.errorbar(at + spread, ratio, error, label=f"bin {number}", **points)
        axis.axhline(1, color=style.BLACK, linewidth=0.7, zorder=0)
        axis.set(title=title, xlabel=label, ylim=(0, 3))
    for axis in axes[::columns]:
        axis.set(ylabel="background in the bin / all background")
    style.legend(figure, axes)
    return style.Drawing(figure, rows)


def fits(rows: Rows, bins: Rows, width: float) -> style.Drawing:
    """The fit of background and signal in each bin of a score.

    Args:
        rows: `bin`, `mass`, expected `events` with their `error`, `background`, `signal` as fitted.
        bins: `bin`, and `z_fit`, its significance.
        width: GeV, of the bins of the mass.
    """
    figure, axes = style.panels(4, -(-len(bins) // 4), height=1.9, sharex=True)
    columns = "mass", "events", "error", "background", "signal"
    for axis, of_bin in zip(axes, bins, strict=True):
        here = [row for row in rows if row["bin"] == of_bin["bin"]]
        at, events, error, background, signal = (np.array([r[n] for r in here]) for n in columns)
        points = {"linestyle": "", "marker": ".", "markersize": 2, "elinewidth": 0.5}
        axis.errorbar(at, events, error, color=style.BLACK, label="simulation", **points)
        axis.plot(at, background, color=style.BACKGROUND, label="background, fitted")
        words = f"expected signal × {SIGNAL_TIMES}"
        axis.plot(at, SIGNAL_TIMES * signal, "--", color=style.SIGNAL, label=words)
        axis.set(title=f"bin {of_bin['bin']}: Z = {of_bin['z_fit']:.3f}", ylim=(0, None))
    for axis in axes[-4:]:
        axis.set(xlabel=MASS)
    for axis in axes[::4]:
        axis.set(ylabel=f"events / {width:g} GeV")
    style.legend(figure, axes)
    return style.Drawing(figure, rows)

"""Quark or gluon: epochs, and the AUC against the number of training jets."""

from collections.abc import Mapping, Sequence

import numpy as np

from figures import style
from processes.quark_gluon import ENERGY

Rows = Sequence[Mapping[str, object]]
COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.GREY)
MARKERS = ("o", "s", "^", "d")
PANELS = {
    "training_loss": "training loss", "loss": "validation loss", "accuracy": "validation accuracy"
}  # fmt: skip


def epochs(rows: Rows) -> style.Drawing:
    """Losses and accuracy against the epoch, one line a way of training."""
    figure, axes = style.panels(len(PANELS), height=2.4)
    for axis, (quantity, words) in zip(axes, PANELS.items(), strict=True):
        for line, colour in zip(dict.fromkeys(row["line"] for row in rows), COLOURS, strict=False):
            some = [row for row in rows if (row["line"], row["quantity"]) == (line, quantity)]
            names = ("epoch", "value", "low", "high")
            epoch, value, low, high = (np.array([row[name] for row in some]) for name in names)
            axis.plot(epoch, value, color=colour, label=line)
            axis.fill_between(epoch, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set(xlabel="epoch", ylabel=words)
    style.legend(figure, axes)
    style.heading(figure, energy=ENERGY)
    return style.Drawing(figure, rows)


def jets(rows: Rows) -> style.Drawing:
    """AUC and rejection against the number of training jets."""
    quantities = ["AUC", "1 / eps_B at eps_S = 0.5"]
    labels = ["AUC", r"$1/\varepsilon_B$ at $\varepsilon_S$ = 0.5"]
    figure, axes = style.panels(len(quantities), height=2.6)
    for axis, quantity, label in zip(axes, quantities, labels, strict=True):
        lines = dict.fromkeys(row["line"] for row in rows)
        for line, colour, marker in zip(lines, COLOURS, MARKERS, strict=False):
            some = [row for row in rows if (row["line"], row["quantity"]) == (line, quantity)]
            some.sort(key=lambda row: row["jets"])
            names = ("jets", "value", "low", "high")
            n, value, low, high = (np.array([row[name] for row in some], float) for name in names)
            error = np.stack([value - low, high - value])
            axis.errorbar(n, value, error, color=colour, marker=marker, label=line)
        axis.set(xscale="log", xlabel="training jets", ylabel=label)
    style.legend(figure, axes)
    style.heading(figure, energy=ENERGY)
    return style.Drawing(figure, rows)

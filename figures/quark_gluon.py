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


def jets(rows: Rows, laws: Mapping[str, Sequence[np.ndarray]]) -> style.Drawing:
    """AUC, rejection and loss against the number of training jets.

    Args:
        rows: of the table of doc/quark_gluon.md.
        laws: line -> numbers of training jets (n,), and the loss of a power law with its lower and
            upper end, (n,) each.
    """
    panels = {
        "AUC": "AUC",
        "1 / eps_B at eps_S = 0.5": r"$1/\varepsilon_B$ at $\varepsilon_S$ = 0.5",
        "loss": "loss of held-out jets",
    }
    figure, axes = style.panels(len(panels), height=2.6)
    lines = dict.fromkeys(row["line"] for row in rows)
    for axis, (quantity, label) in zip(axes, panels.items(), strict=True):
        for line, colour, marker in zip(lines, COLOURS, MARKERS, strict=False):
            some = [row for row in rows if (row["line"], row["quantity"]) == (line, quantity)]
            has_law = quantity == "loss" and line in laws
            look = {"color": colour, "marker": marker, "linestyle": "" if has_law else "-"}
            style.with_errors(axis, some, "jets", label=line, **look)
            if has_law:
                n, value, low, high = laws[line]
                axis.plot(n, value, color=colour, linewidth=0.8, linestyle="--")
                axis.fill_between(n, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set(xscale="log", xlabel="training jets", ylabel=label)
    style.legend(figure, axes)
    note = "Dashed: a power law with its 68 % interval." if laws else ""
    style.heading(figure, note, energy=ENERGY)
    return style.Drawing(figure, rows)

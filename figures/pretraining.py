"""Pre-trained encoders: have they collapsed, and what do they save in labels?"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from figures import style
from processes.quark_gluon import ENERGY

UNTRAINED = "frozen, untrained"
COLOURS = {
    "trees": style.GREEN, UNTRAINED: style.SKY, "scratch": style.GREY,
    "frozen": style.ORANGE, "fine-tuned": style.BLUE,
}  # fmt: skip
OF_ENCODERS = style.BLUE, style.VERMILION, style.GREEN, style.ORANGE, style.PURPLE, style.SKY
MARKERS = "^", "v", "o", "s", "D", "P"
AUC, DIFFERENCE = "AUC", "AUC difference"
LABELS = {AUC: "AUC", DIFFERENCE: "AUC − AUC from scratch"}
BESIDE = 1.1  # so many times as far right is a point of the next start
PANELS = {
    "smooth-L1 loss": {"training_loss": "training", "loss": "other jets"},
    "variance of tokens": {"variance": "targets", "predicted_variance": "predicted"},
    "effective rank of jets": {"rank": "target encoder"},
}


def collapse(history: Sequence[Mapping[str, float]]) -> style.Drawing:
    """The columns of `training.pretraining.monitor` by epoch, counted from 1."""
    figure, axes = style.panels(len(PANELS), height=2.3)
    epoch, points = np.arange(1, len(history) + 1), []
    for axis, (title, columns) in zip(axes, PANELS.items(), strict=True):
        most = max(row[column] for row in history for column in columns)
        for (column, label), colour in zip(
            columns.items(), (style.BLUE, style.ORANGE), strict=False
        ):
            values = np.array([row[column] for row in history])
            axis.plot(epoch, values, marker="o", markersize=2.5, color=colour, label=label)
            points += style.rows({"quantity": column, "epoch": epoch, "value": values})
        axis.set(xlabel="epoch", ylabel=title, ylim=(0, 1.3 * most))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.legend()
    note = "Variance 0, or rank 1: the encoder has collapsed, to it all jets are the same."
    figure.suptitle(note, x=0.01, ha="left")
    return style.Drawing(figure, points, f"{len(history)} epochs")


def label_efficiency(rows: Sequence[Mapping[str, object]]) -> style.Drawing:
    """AUC against the number of labels, and below it the difference to scratch; one panel a task
    and one line a start, beside each other where they have as many labels."""
    rows = [row for row in rows if row["quantity"] in (AUC, DIFFERENCE)]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure, axes = style.panels(len(tasks), rows=2, height=2.3)
    places = [(quantity, task) for quantity in (AUC, DIFFERENCE) for task in tasks]
    for axis, (quantity, task) in zip(axes, places, strict=True):
        of_panel = [row for row in rows if (row["quantity"], row["task"]) == (quantity, task)]
        if quantity == DIFFERENCE:  # the untrained one is far below
            of_panel = [row for row in of_panel if row["start"] != UNTRAINED]
        _lines(axis, of_panel, "start", COLOURS)
        axis.set(ylabel=LABELS[quantity], title=task * (quantity == AUC))
    style.legend(figure, axes)
    style.heading(figure, energy=None)
    return style.Drawing(figure, rows)


def encoders(rows: Sequence[Mapping[str, object]]) -> style.Drawing:
    """The difference of AUC to scratch with the same encoder, against the number of labels; one
    panel a start and one line a kind of encoder."""
    rows = [row for row in rows if row["quantity"] == DIFFERENCE]
    starts = list(dict.fromkeys(row["start"] for row in rows))
    figure, axes = style.panels(len(starts), height=2.6)
    kinds = dict(zip(dict.fromkeys(row["kind"] for row in rows), OF_ENCODERS, strict=False))
    for axis, start in zip(axes, starts, strict=True):
        _lines(axis, [row for row in rows if row["start"] == start], "kind", kinds)
        axis.set(ylabel=LABELS[DIFFERENCE], title=start)
    style.legend(figure, axes)
    style.heading(figure, energy=ENERGY)
    return style.Drawing(figure, rows)


def _lines(
    axis: Axes, rows: Sequence[Mapping[str, object]], column: str, colours: Mapping[str, str]
) -> None:
    """One line a name in a column, a little beside each other, against the number of labels."""
    for i, (name, colour) in enumerate(colours.items()):
        right = BESIDE ** (i - (len(colours) - 1) / 2)
        some = [{**row, "labels": row["labels"] * right} for row in rows if row[column] == name]
        style.with_errors(axis, some, "labels", color=colour, marker=MARKERS[i], label=name)
    if rows and rows[0]["quantity"] == DIFFERENCE:
        axis.axhline(0, color=style.GREY, linewidth=0.8)
    axis.set(xscale="log", xlabel="labelled jets")

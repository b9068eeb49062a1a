"""Pre-trained encoders: have they collapsed, and what do they save in labels?"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from figures import style

UNTRAINED = "frozen, untrained"
COLOURS = {
    "trees": style.GREEN, UNTRAINED: style.SKY, "scratch": style.GREY,
    "frozen": style.ORANGE, "fine-tuned": style.BLUE,
}  # fmt: skip
MARKERS = "^", "v", "o", "s", "D"
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
    quantities = "AUC", "AUC difference"
    rows = [row for row in rows if row["quantity"] in quantities]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure, axes = style.panels(len(tasks), rows=2, height=2.3)
    places = [(quantity, task) for quantity in quantities for task in tasks]
    for axis, (quantity, task) in zip(axes, places, strict=True):
        for i, (start, colour) in enumerate(COLOURS.items()):
            if (quantity, start) == (quantities[1], UNTRAINED):
                continue  # far below, and no start that anyone would choose
            some = [
                {**row, "labels": row["labels"] * BESIDE ** (i - 2)}
                for row in rows
                if (row["quantity"], row["task"], row["start"]) == (quantity, task, start)
            ]
            style.with_errors(axis, some, "labels", color=colour, marker=MARKERS[i], label=start)
        axis.set(xscale="log", xlabel="labelled jets", ylabel=quantity)
        if quantity == quantities[0]:
            axis.set_title(task)
        else:
            axis.set_ylabel("AUC less that from scratch")
            axis.axhline(0, color=style.GREY, linewidth=0.8)
    style.legend(figure, axes)
    style.heading(figure, energy=None)
    return style.Drawing(figure, rows)

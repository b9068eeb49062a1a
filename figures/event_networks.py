"""Networks of events: what decorrelation from the study's spectator costs, and what it gives."""

from collections.abc import Mapping, Sequence

import numpy as np

from figures import style
from figures.user_events import COLOURS, MARKERS

INPUTS = 3  # columns of panels, at most


def against_strength(rows: Sequence[Mapping[str, object]], spectator: str) -> style.Drawing | None:
    """SIC and squared distance correlation against the strength; trees on the same as a band.

    Of the inputs those are shown on which trees have the largest AUC. None with fewer than two
    strengths.

    Args:
        rows: of `evaluation.event_networks.tidy`.
        spectator: its name.
    """
    rows = [row for row in rows if row["table"] == "merits"]
    made = [row for row in rows if row["event_network"]]
    strengths = sorted({row["decorrelation"] for row in made})
    if len(strengths) < 2:
        return None
    of_trees = [row for row in rows if not row["event_network"]]
    by_area = sorted(
        (row for row in of_trees if row["quantity"] == "AUC"), key=lambda row: -row["value"]
    )
    inputs = [row["label"] for row in by_area][:INPUTS]
    point = next(row["signal_efficiency"] for row in rows if row["quantity"] == "SIC")
    figure, axes = style.panels(len(inputs), 2, height=2.0, sharex=True, sharey="row")
    quantities = {
        "SIC": f"{style.SIC}\nat $\\epsilon_S$ = {point}",
        "squared distance correlation": f"squared distance\ncorrelation with {spectator}",
    }
    lines = list(dict.fromkeys((row["event_network"], row["loss"]) for row in made))
    points = []
    for i, (quantity, words) in enumerate(quantities.items()):
        for k, name in enumerate(inputs):
            axis = axes[i * len(inputs) + k]
            here = [row for row in rows if row["quantity"] == quantity]
            [trees] = [row for row in here if not row["event_network"] and row["label"] == name]
            axis.axhspan(trees["low"], trees["high"], color=style.GREY, alpha=0.3, linewidth=0)
            axis.axhline(trees["value"], color=style.GREY, linewidth=0.8, label="trees")
            points.append(_point(trees, name))
            for n, (network, loss) in enumerate(lines):
                some = [
                    row
                    for row in here
                    if (row["event_network"], row["loss"]) == (network, loss)
                    and row["label"].startswith(f"{name}, ")
                ]
                some.sort(key=lambda row: row["decorrelation"])
                look = {"color": COLOURS[1:][n % 7], "marker": MARKERS[1:][n % 7]}
                x = np.array([strengths.index(row["decorrelation"]) for row in some], float)
                x += (n - (len(lines) - 1) / 2) * 0.06
                ends = ("value", "low", "high")
                value, low, high = (np.array([row[end] for row in some]) for end in ends)
                error = np.stack([value - low, high - value])
                axis.errorbar(x, value, error, label=f"{network}, {loss}", **look)
                points += [_point(row, name) for row in some]
            axis.set(xticks=range(len(strengths)), xticklabels=[f"{one:g}" for one in strengths])
        axes[i * len(inputs)].set_ylabel(words)
    for k, name in enumerate(inputs):
        axes[k].set_title(name)
        axes[len(inputs) + k].set_xlabel("strength of the decorrelation")
    style.legend(figure, axes)
    style.heading(figure)
    return style.Drawing(figure, points, f"{len(strengths)} strengths")


def _point(row: Mapping[str, object], inputs: str) -> dict[str, object]:
    names = ("event_network", "loss", "decorrelation", "quantity", "value", "low", "high")
    return {"inputs": inputs} | {name: row[name] for name in names}

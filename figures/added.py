"""What networks add: single jets of equal pT, events, and what more training jets would give."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from figures import style
from jets.classifier import TRAINING_JETS

Rows = Sequence[Mapping[str, object]]
MARKERS = ("o", "s", "^")  # of the ways of training, in their order
WITHOUT = {"color": style.GREY, "marker": "d", "label": "no jets, or held-out ones"}
COLOURS = (style.VERMILION, style.BLUE, style.GREEN)
SEEDS = (style.BLACK, style.PURPLE, style.SKY)
UNIT = 1e-3  # of differences of AUC


def added(
    jets: Rows,
    events: Rows,
    losses: Rows,
    law: Sequence[np.ndarray] | None,
    ways: Mapping[str, str],
) -> style.Drawing:
    """AUC of single jets at equal pT; what a network adds to the AUC of trees over events; the loss
    against the number of training jets.

    Args:
        jets, events, losses: rows of the tables of doc/tail.md; of the last the validation loss.
        law: numbers of training jets (n,), and the loss of a power law with its lower and upper
            end, (n,) each.
        ways: way of training -> its title, in the order of the legend.
    """
    figure, axes = style.panels(3, height=3.6)
    of_jets = [
        row for row in jets
        if (row["quantity"], row["spectrum"]) == ("AUC", "signal pT")
        and not (row["network"] and row["features"])
    ]  # fmt: skip
    of_events = [row for row in events if row["quantity"] == "AUC difference" and row["way"]]
    _by_classifier(axes[0], of_jets, ways)
    axes[0].axvline(0.5, color=style.BLACK, linewidth=0.7, linestyle=":")
    axes[0].set(title="single jets", xlabel="AUC at equal $p_T$")
    _by_classifier(axes[1], of_events, ways, UNIT)
    axes[1].axvline(0.0, color=style.BLACK, linewidth=0.7, linestyle=":")
    axes[1].set(title="events", xlabel="difference of AUC / $10^{-3}$")
    _against_jets(axes[2], losses, law)
    style.legend(figure, axes[:2])
    note = (
        "Legend: the training jets. Events: AUC beyond that of trees on all that takes no network."
    )
    if law is not None:
        common = np.mean([(row["high"] - row["low"]) / 2 for row in losses])
        note += f"\nThe band holds the error of the losses from the jets they share, {common:.3f}."
    style.heading(figure, note)
    return style.Drawing(figure, of_jets, "", {"events": of_events, "losses": losses})


def _by_classifier(axis: Axes, rows: Rows, ways: Mapping[str, str], unit: float = 1.0) -> None:
    """A line for each classifier, a symbol for each way of training."""
    names = list(dict.fromkeys(row["label"].removeprefix("AK14 ") for row in rows))
    shifts = dict(zip(ways, np.linspace(-0.2, 0.2, len(ways)), strict=True))
    looks = {
        way: {"color": colour, "marker": marker, "label": title}
        for (way, title), colour, marker in zip(ways.items(), COLOURS, MARKERS, strict=False)
    }
    first = next(iter(ways))
    # In the order of the legend; trees on jets that train networks belong to the first way.
    placed = [(row["way"] or first * (row["trees"] == TRAINING_JETS), row) for row in rows]
    for way, row in sorted(placed, key=lambda one: [*ways, ""].index(one[0])):
        place = names.index(row["label"].removeprefix("AK14 ")) + shifts.get(way, 0.0)
        value, low, high = (row[name] / unit for name in ("value", "low", "high"))
        ends = [[value - low], [high - value]]
        look = looks.get(way, WITHOUT)
        axis.errorbar(value, place, xerr=ends, linestyle="", elinewidth=0.9, **look)
    short = [name.replace(" + DS2 + classical", "").replace("), ", "),\n") for name in names]
    axis.set_yticks(range(len(names)), short, fontsize=6)
    axis.set_ylim(len(names) - 0.5, -0.5)


def _against_jets(axis: Axes, losses: Rows, law: Sequence[np.ndarray] | None) -> None:
    """Losses of each seed, and the law through their means."""
    for i, seed in enumerate(dict.fromkeys(row["seed"] for row in losses)):
        some = [row for row in losses if row["seed"] == seed]
        look = {"color": SEEDS[i % len(SEEDS)], "marker": MARKERS[i % len(MARKERS)]}
        jets = np.array([row["training_jets"] for row in some])
        axis.plot(jets, [row["value"] for row in some], **look, linestyle="", label=f"seed {seed}")
    if law is not None:
        jets, value, low, high = law
        axis.plot(jets, value, color=style.BLACK, linewidth=0.8, label="power law, 68 %")
        axis.fill_between(jets, low, high, color=style.GREY, alpha=0.3, linewidth=0)
    axis.set(title="more jets", xscale="log", xlabel="training jets", ylabel="CNN, validation loss")
    axis.legend()

"""What networks add: single jets of equal pT, events, and what more training jets would give."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from figures import style

Rows = Sequence[Mapping[str, object]]
MARKERS = ("o", "s", "^")  # of the ways of training, in their order
WITHOUT = {"color": style.GREY, "marker": "d"}  # what takes no network
COLOURS = (style.VERMILION, style.BLUE, style.GREEN)
SEEDS = (style.BLACK, style.PURPLE, style.SKY)
WORKING_POINT = 0.5


def added(
    jets: Rows, events: Rows, losses: Rows, laws: Mapping[str, Callable], ways: Mapping[str, str]
) -> style.Drawing:
    """AUC of single jets at equal pT; SIC of events over that of the trees without a network; the
    loss against the number of training jets.

    Args:
        jets, events, losses: rows of the tables of doc/tail.md; of the last the validation loss.
        laws: seed -> the power law through its losses, of thousands of jets.
        ways: way of training -> its title, in the order of the legend.
    """
    figure, axes = style.panels(3, height=3.2)
    of_jets = [r for r in jets if (r["quantity"], r["spectrum"]) == ("AUC", "signal pT")]
    of_events = [
        r for r in events
        if (r["quantity"], r["signal_efficiency"]) == ("ratio of SIC", WORKING_POINT) and r["way"]
    ]  # fmt: skip
    _by_classifier(axes[0], of_jets, ways)
    axes[0].axvline(0.5, color=style.BLACK, linewidth=0.7, linestyle=":")
    axes[0].set(title="single jets", xlabel="AUC at equal $p_T$")
    _by_classifier(axes[1], of_events, ways)
    axes[1].axvline(1.0, color=style.BLACK, linewidth=0.7, linestyle=":")
    axes[1].set(title="events", xlabel=rf"SIC ratio at $\epsilon_S={WORKING_POINT:g}$")
    _against_jets(axes[2], losses, laws)
    style.legend(figure, axes[:2])
    lines = " Lines: power laws." if laws else ""
    note = f"SIC ratio: to trees on all that takes no network.{lines}"
    if losses:
        common = np.mean([(row["high"] - row["low"]) / 2 for row in losses])
        note += f" Not drawn: the losses' error from the same jets, {common:.3f}."
    style.heading(figure, note)
    return style.Drawing(figure, of_jets, "", {"events": of_events, "losses": losses})


def _by_classifier(axis: Axes, rows: Rows, ways: Mapping[str, str]) -> None:
    """A line for each classifier, a symbol for each way of training."""
    names = list(dict.fromkeys(row["label"].removeprefix("AK14 ") for row in rows))
    shifts = dict(zip(ways, np.linspace(-0.2, 0.2, len(ways)), strict=True))
    looks = {
        way: {"color": colour, "marker": marker, "label": title}
        for (way, title), colour, marker in zip(ways.items(), COLOURS, MARKERS, strict=False)
    }
    for row in rows:
        look = looks.get(row["way"], WITHOUT | {"label": "without network"})
        place = names.index(row["label"].removeprefix("AK14 ")) + shifts.get(row["way"], 0.0)
        value, low, high = row["value"], row["low"], row["high"]
        axis.errorbar(
            value, place, xerr=[[value - low], [high - value]], linestyle="", elinewidth=0.9, **look
        )
    short = [name.replace(" + DS2 + classical", "").replace("), ", "),\n") for name in names]
    axis.set_yticks(range(len(names)), short, fontsize=6)
    axis.set_ylim(len(names) - 0.5, -0.5)


def _against_jets(axis: Axes, losses: Rows, laws: Mapping[str, Callable]) -> None:
    """Losses of each seed and the laws through them."""
    for i, seed in enumerate(dict.fromkeys(row["seed"] for row in losses)):
        some = [row for row in losses if row["seed"] == seed]
        look = {"color": SEEDS[i % len(SEEDS)], "marker": MARKERS[i % len(MARKERS)]}
        jets = np.array([row["training_jets"] for row in some])
        axis.plot(jets, [row["value"] for row in some], **look, linestyle="", label=f"seed {seed}")
        if seed in laws:
            fine = np.geomspace(jets.min(), 10 * jets.max(), 100)
            axis.plot(fine, laws[seed](fine / 1e3), color=look["color"], linewidth=0.8)
    axis.set(
        title="more jets", xscale="log", xlabel="training jets", ylabel="validation loss of the CNN"
    )
    axis.legend()

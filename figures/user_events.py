"""A user's own events: what each bin of a score holds."""

from collections.abc import Mapping, Sequence

import numpy as np

from figures import style

COLOURS = (
    style.GREY,
    style.BLUE,
    style.GREEN,
    style.PURPLE,
    style.ORANGE,
    style.SKY,
    style.WINE,
    style.BLACK,
)  # none is that of the signal
MARKERS = "soD^vPX*"


def bins(rows: Sequence[Mapping[str, object]]) -> style.Drawing:
    """Expected background and significance in each bin of a score, one symbol a classifier.

    It is open where no background is left: the significance is then that beside one event.

    Args:
        rows: `classifier`, `bin`, `signal`, `background`, `effective_background`, `significance`.
    """
    figure, axes = style.panels(2, height=2.6)
    names = list(dict.fromkeys(row["classifier"] for row in rows))
    for i, name in enumerate(names):
        here = [row for row in rows if row["classifier"] == name]
        number, background, effective, z = (
            np.array([row[column] for row in here], float)
            for column in ("bin", "background", "effective_background", "significance")
        )
        look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        at = number + style.dodge(number, len(names))[i]
        is_seen = background > 0
        error = background / np.sqrt(np.where(effective > 0, effective, 1))
        points = [column[is_seen] for column in (at, background, error)]
        axes[0].errorbar(*points, linestyle="none", label=name, elinewidth=0.8, **look)
        for those, more in ((is_seen, {}), (~is_seen, {"fillstyle": "none"})):
            axes[1].plot(at[those], z[those], linestyle="none", **look, **more)
    signal = [row["signal"] for row in rows if row["classifier"] == names[0]]
    axes[0].plot(number, signal, "-", color=style.SIGNAL, zorder=0, label="signal")
    axes[0].set(ylabel="expected events", yscale="log")
    axes[1].set(ylabel="expected significance", ylim=(0, None))
    for axis in axes:
        axis.set(xlabel="bin of the score, of equal signal", xticks=number)
    style.legend(figure, axes)
    return style.Drawing(figure, rows)

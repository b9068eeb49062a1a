"""The process: stop pairs, each stop to a top and a neutralino, each neutralino to three quarks."""

from typing import NamedTuple

import numpy as np
from matplotlib.patches import Circle

from figures import style

WAVES = 5  # of a W boson's line


class Line(NamedTuple):
    """A particle from one vertex (x, y) to the next, its label at `label` or at its end."""

    particle: str
    start: tuple[float, float]
    end: tuple[float, float]
    label: tuple[float, float] | None = None
    kind: str = "fermion"


def process() -> style.Drawing:
    """Feynman diagram of pp -> stop antistop with the UDD decay of both neutralinos."""
    figure, (axis,) = style.panels(1, height=2.9)
    axis.set(xlim=(-0.1, 7.3), ylim=(-3.1, 3.1), aspect="equal")
    axis.set_axis_off()
    lines = [*_half(1, "t", "b", "+"), *_half(-1, r"\bar{t}", r"\bar{b}", "-")]
    for line in lines:
        along = np.linspace(0, 1, 200)
        x, y = (a + (b - a) * along for a, b in zip(line.start, line.end, strict=True))
        if line.kind == "boson":
            y = y + 0.09 * np.sin(2 * np.pi * WAVES * along)
        dashes = "--" if line.kind == "scalar" else "-"
        axis.plot(x, y, color="black", linewidth=0.9, linestyle=dashes)
        place = line.label or (line.end[0] + 0.12, line.end[1])
        side = "center" if line.label else "left"
        axis.text(*place, f"${line.particle}$", ha=side, va="center")
    for y in (0.72, -0.72):
        axis.plot(4.9, y, "o", color=style.VERMILION, markersize=4, zorder=3)
        axis.text(4.78, 0.53 * y, r"$\lambda''$", color=style.VERMILION, ha="center", va="center")
    axis.add_patch(Circle((1.6, 0), 0.32, facecolor="lightgrey", edgecolor="black", zorder=3))
    names = ("particle", "kind", "x", "y", "to_x", "to_y")
    points = [
        dict(zip(names, (line.particle, line.kind, *line.start, *line.end), strict=True))
        for line in lines
    ]
    return style.Drawing(figure, points, "stop pairs and their decay")


def _half(side: int, top: str, bottom: str, charge: str) -> list[Line]:
    """The upper (side 1) or lower (side -1) half: the W decays to leptons above, quarks below."""
    production, stop_decay = (1.6, 0.0), (3.0, 1.2 * side)
    top_decay, w_decay = (4.5, 2.05 * side), (5.5, 1.75 * side)
    neutralino_decay = (4.9, 0.72 * side)
    stop = r"\tilde{t}" if side > 0 else r"\tilde{t}^{\,*}"
    of_w = (r"\ell^+", r"\nu") if side > 0 else ("q", r"\bar{q}")
    return [
        Line("p", (0.2, 0.9 * side), production, (0.0, 0.9 * side)),
        Line(stop, production, stop_decay, (2.2, 0.95 * side), "scalar"),
        Line(top, stop_decay, top_decay, (3.6, 1.95 * side)),
        Line(bottom, top_decay, (6.4, 2.85 * side)),
        Line(f"W^{charge}", top_decay, w_decay, (4.85, 1.62 * side), "boson"),
        Line(of_w[0], w_decay, (6.6, 2.15 * side)),
        Line(of_w[1], w_decay, (6.6, 1.5 * side)),
        Line(r"\tilde{\chi}^0_1", stop_decay, neutralino_decay, (3.75, 0.66 * side)),
        *(Line("q", neutralino_decay, (6.6, y * side)) for y in (1.05, 0.68, 0.31)),
    ]

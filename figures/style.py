"""How every figure looks, and how it is saved: PNG (and PDF), the CSV of its points beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jets.classifier import TRAINING_JETS, Classifier
from physics import BEAM_ENERGY, LUMINOSITY
from products import atomic_write, write_csv

ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0  # inches, widths of a journal's page
DOTS_PER_INCH = 160
ARROW_MARGIN = 0.15  # of a panel's height, free for the arrows of limits
LONE_SPACING = 100.0  # GeV, what a study's only neutralino mass has to itself
MASSES_MARKED = 6  # on an axis, each of them, at most

# Colours that the colour-blind tell apart: Okabe and Ito, "Color universal design" (2008).
ORANGE, SKY, GREEN, BLUE = "#E69F00", "#56B4E9", "#009E73", "#0072B2"
VERMILION, PURPLE, BLACK, GREY = "#D55E00", "#CC79A7", "#000000", "#7F7F7F"
# Paul Tol, "Colour schemes" (2021), "muted".
WINE, INDIGO, TEAL, ROSE = "#882255", "#332288", "#44AA99", "#CC6677"
OLIVE, FOREST, SAND, MAGENTA = "#999933", "#117733", "#DDCC77", "#AA4499"
BROWN = "#661100"
SIGNAL, BACKGROUND = VERMILION, BLUE

# A network has one colour, marker and line throughout; what it is compared with has its own. What
# trees see: networks, features, what they were grown on; jet definitions where networks are many.
_LOOKS = {
    ("CNN",): (ORANGE, "s", "-"),
    ("CoAtNet",): (BLUE, "D", "-"),
    ("MaxViT",): (VERMILION, "o", "-"),
    ("ViT",): (GREEN, "p", "-"),
    ("JetViT",): (BROWN, "h", "-"),
    ("MaxViT", "DS1"): (PURPLE, "X", "-"),
    ("CoAtNet", "MaxViT"): (WINE, "X", "-"),
    ("AK08", "AK10", "AK14"): (BLACK, "P", "-"),
    ("AK08",): (GREY, "<", "-"),
    ("AK10",): (SKY, ">", "-"),
    ("AK14",): (PURPLE, "d", "-"),
    ("mass",): (GREY, "<", "--"),
    ("pt",): (SKY, ">", "--"),
    ("mass", "pt"): (BLACK, "d", "-."),
    ("mass", "pt", "angularities"): (PURPLE, "X", "-."),
    ("mass", "pt", TRAINING_JETS): (GREY, "P", ":"),
    ("mass", "pt", "angularities", TRAINING_JETS): (WINE, "P", ":"),
    ("DS1",): (SKY, "<", "--"),
    ("DS2",): (BLACK, ">", "--"),
    ("DS2", "classical"): (INDIGO, "d", "--"),
}
ALONE = {"marker": "*", "linestyle": ":"}  # a network's scores beside those with more features
_SPARE_COLOURS = (TEAL, ROSE, OLIVE, FOREST, SAND, MAGENTA)
_SPARE_MARKERS = ("^", "v", "8", "H")
_further: dict[tuple[str, ...], int] = {}  # what has no look of its own, numbered as it comes

RC = {
    "font.size": 8, "figure.titlesize": 7, "legend.fontsize": 6.5, "legend.frameon": False,
    "axes.labelsize": 8, "axes.titlesize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "xtick.direction": "in", "ytick.direction": "in", "xtick.top": True, "ytick.right": True,
    "axes.linewidth": 0.7, "lines.linewidth": 1.2, "lines.markersize": 4,
    "savefig.dpi": DOTS_PER_INCH,
}  # fmt: skip

STOP_MASS, NEUTRALINO_MASS = r"$m_{\tilde{t}}$", r"$m_{\tilde{\chi}}$"  # in GeV
SIGNAL_EFFICIENCY = r"signal efficiency $\epsilon_S$"
SIC = r"SIC $= \epsilon_S / \sqrt{\epsilon_B}$"


@dataclass(frozen=True)
class Drawing:
    """A figure, the points in it (one mapping a row), and its numbers in a few words."""

    figure: Figure
    points: Sequence[Mapping[str, object]]
    words: str = ""
    more_points: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)


def rows(columns: Mapping[str, object]) -> list[dict[str, object]]:
    """Columns (n,) of points, arrays or lists, or what all of them have, as one mapping a row.

    Example:
        >>> ["{network} {seed}".format(**row) for row in rows({"network": "CNN", "seed": [0, 1]})]
        ['CNN 0', 'CNN 1']
    """
    own = {
        name: column for name, column in columns.items() if isinstance(column, list | np.ndarray)
    }
    return [
        {**columns, **dict(zip(own, row, strict=True))} for row in zip(*own.values(), strict=True)
    ]


def apply() -> None:
    """Draw everything from here on in this style, whatever the user's matplotlibrc says."""
    matplotlib.rcdefaults()
    matplotlib.use("agg")
    matplotlib.rcParams.update(RC)


def look(classifier: Classifier) -> dict:
    """Colour, marker and line of a classifier; what is added to a network keeps the network's.

    A network of the user's has a colour and a line that no other entry has: a dash and as many dots
    as there are such networks so far. Beyond six of them colours repeat, lines never do.

    Example:
        >>> network = Classifier(("AK14",), ("MaxViT",))
        >>> look(network) == look(network._replace(features=("DS2",)))
        True
        >>> look(network) == look(network._replace(networks=("MaxViT2",)))
        False
    """
    definitions, networks, features, trees = classifier[:4]
    known = definitions if len(networks) > 2 else networks
    known += features if known + features in _LOOKS else ()
    known += (trees,) if trees == TRAINING_JETS else ()
    if known in _LOOKS:
        return dict(zip(("color", "marker", "linestyle"), _LOOKS[known], strict=True))
    i = _further.setdefault(known, len(_further))
    return {
        "color": _SPARE_COLOURS[i % len(_SPARE_COLOURS)],
        "marker": _SPARE_MARKERS[i % len(_SPARE_MARKERS)],
        "linestyle": (0, (5, 1.5) + (1, 1.5) * (i + 1)),
    }


def panels(
    columns: int, rows: int = 1, height: float = 2.6, **options
) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` x `columns` panels over the page, each row `height` inches high."""
    width = ONE_COLUMN if columns == 1 else TWO_COLUMNS
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def heading(figure: Figure, note: str = "", energy: float | None = BEAM_ENERGY) -> None:
    """Above all panels what experiments print on a figure of collisions, and a note.

    Args:
        note: its lines are wrapped at the figure's width; no spaces inside formulas.
        energy: GeV, of both beams, None where panels differ in it; the luminosity is that of the
            search.
    """
    label = r"$\bf{Simulation}$"
    if energy is not None:
        luminosity = f", {LUMINOSITY:g} fb$^{{-1}}$" * (energy == BEAM_ENERGY)
        label += rf"   $\sqrt{{s}}={energy / 1e3:g}$ TeV{luminosity}"
    figure.suptitle("\n".join(filter(None, (label, note))), x=0.01, ha="left", wrap=True)


def with_errors(axis: Axes, rows: Sequence[Mapping], x: str, **look) -> None:
    """Draw `value` of rows, with the errors from `low` to `high`, against their `x`."""
    rows = sorted(rows, key=lambda row: row[x])
    columns = ([row[name] for row in rows] for name in (x, "value", "low", "high"))
    at, value, low, high = (np.array(column, float) for column in columns)
    axis.errorbar(at, value, [value - low, high - value], **look)


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend below all panels, every name once, in as many columns as the figure is wide."""
    handles = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    for columns in range(len(handles), 0, -1):
        drawn = figure.legend(handles.values(), handles, loc="outside lower center", ncols=columns)
        if columns == 1 or drawn.get_window_extent().width <= figure.bbox.width:
            return
        drawn.remove()


def neutralino_axis(axis: Axes, masses: np.ndarray) -> None:
    """The x axis of a panel against the neutralino masses (m,) of a study, with room to dodge."""
    half = _spacing(masses) / 2
    axis.set(xlabel=f"{NEUTRALINO_MASS} [GeV]", xlim=(masses[0] - half, masses[-1] + half))
    if len(masses) <= MASSES_MARKED:
        axis.set_xticks(masses)


def dodge(x: np.ndarray, n: int) -> np.ndarray:
    """(n,) sideways shifts that keep n points at the same x (m,) apart."""
    return (np.arange(n) - (n - 1) / 2) * min(0.07, 0.8 / n) * _spacing(x)


def _spacing(x: np.ndarray) -> float:
    return np.diff(x).min() if len(x) > 1 else LONE_SPACING


def measured(
    axis: Axes,
    x: np.ndarray,
    interval: np.ndarray,
    look: Mapping[str, object],
    label: str,
    limit: np.ndarray | None = None,
    is_apart: np.ndarray | bool = False,
) -> None:
    """Points of a classifier with their error bars, and open arrows where they are limits.

    No line leads to a limit: how high it stands says only how few events there are.

    Args:
        x, interval: (m,) and (3, m) value, lower and upper end; NaN is not drawn.
        look, label: of the classifier, its name in the legend.
        limit: (m,) 1 where the value is a lower limit, -1 an upper limit, 0 where it is measured.
        is_apart: (m,) which points that are measured have open symbols too.
    """
    limit = np.zeros(len(x), int) if limit is None else limit
    value, low, high = interval
    known = np.where(limit == 0, value, np.nan)
    axis.plot(x, known, **look | {"marker": "", "linewidth": 0.7, "alpha": 0.6})
    points = look | {"linestyle": "", "elinewidth": 0.9}
    axis.errorbar(x, known, [known - low, high - known], **points, label=label)
    is_open = (limit != 0) | is_apart
    above = {"linestyle": "", "markerfacecolor": "white", "zorder": 3}  # the filled symbols
    axis.plot(x[is_open], value[is_open], **look | above)
    for sign in (1, -1):
        at = limit == sign
        for position, end in zip(x[at], value[at], strict=True):
            arrow = {"arrowstyle": "<|-", "color": look["color"], "fill": False}
            axis.annotate(
                "", (position, end), (0, 14 * sign), textcoords="offset points", arrowprops=arrow
            )


def save(drawing: Drawing, path: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write `path` in these formats and the CSV of its points; returns what was written."""
    written = []
    for name in formats:
        written.append(path.with_suffix(f".{name}"))
        undated = {"CreationDate": None} if name == "pdf" else None  # the same bytes every time
        with atomic_write(written[-1]) as temporary:
            drawing.figure.savefig(temporary, format=name, metadata=undated)
    tables = {"": drawing.points} | {f"_{name}": rows for name, rows in drawing.more_points.items()}
    for suffix, rows in tables.items():
        if rows:
            written.append(path.with_name(f"{path.stem}{suffix}.csv"))
            write_table(written[-1], rows)
    return written


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows that share their keys as CSV, floats to six digits."""
    write_csv(path, [{name: _printed(value) for name, value in row.items()} for row in rows])


def _printed(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float | np.floating) else value

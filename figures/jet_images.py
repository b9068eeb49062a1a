"""What the networks look at: average images of each class, and two whole events."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Circle

from figures import style
from figures.results import Results
from jets.events import read_events
from jets.images import dense
from jets.packed import PackedJets, read_jets
from jets.split import HELD_OUT, STOP, TRAIN
from study import JET_DEFINITIONS, PIXEL_WIDTH

DISPLAYED = "AK14"  # the jets drawn in the event displays
JETS_AVERAGED = 50_000  # of a class, at most
NEUTRALINO = 1000022  # PDG id
FAINTEST = 1e-3  # of the brightest pixel, still coloured
OBJECTS = (  # by type: name and colour
    ("charged hadrons", style.BLUE),
    ("neutral hadrons", style.ORANGE),
    ("photons", style.GREEN),
    ("electrons", style.VERMILION),
    ("muons", style.PURPLE),
)


def average_images(results: Results, jet_definition: str) -> style.Drawing:
    """Mean images of the training jets: background, signal, and signal minus background.

    Every jet counts alike: its image, summed over the channels, is first divided by its own sum.
    """
    packed = read_jets(results.study.data_dir / f"{jet_definition}.h5", TRAIN)
    signal = packed.jets["label"] == 1
    rows = {"background": _some(~signal), "signal": _some(signal)}
    means = {name: _mean(packed, of_class) for name, of_class in rows.items()}
    difference = means["signal"] - means["background"]
    radius = JET_DEFINITIONS[jet_definition].radius
    half = PIXEL_WIDTH * JET_DEFINITIONS[jet_definition].pixels / 2
    extent = (-half, half, -half, half)

    figure, axes = style.panels(3, height=2.6, sharey=True)
    brightest = max(mean.max() for mean in means.values())
    norm = LogNorm(FAINTEST * brightest, brightest, clip=True)
    for axis, (name, mean) in zip(axes, means.items(), strict=False):
        shown = axis.imshow(mean, extent=extent, norm=norm, cmap="cividis")
        axis.set_title(f"{name}, {len(rows[name])} {jet_definition} jets")
    figure.colorbar(shown, ax=axes[:2], label="mean share of $p_T$", pad=0.01, shrink=0.8)
    largest = abs(difference).max()
    shown = axes[2].imshow(difference, extent=extent, vmin=-largest, vmax=largest, cmap="PuOr")
    axes[2].set_title("signal $-$ background")
    figure.colorbar(shown, ax=axes[2], label="difference", pad=0.01, shrink=0.8)
    for axis in axes:
        axis.add_patch(
            Circle((0, 0), radius, fill=False, edgecolor="white", linewidth=0.8, linestyle="--")
        )
        axis.set_xlabel(r"$\Delta\eta'$")
        axis.tick_params(color="grey")
    axes[2].patches[0].set_edgecolor("grey")
    axes[0].set_ylabel(r"$\Delta\phi'$ (hardest deposit up)")
    row, column = np.indices(difference.shape)
    names = ("row", "column", "background", "signal", "difference")
    pixels = zip(
        row.flat, column.flat, *(m.flat for m in (*means.values(), difference)), strict=True
    )
    points = [dict(zip(names, pixel, strict=True)) for pixel in pixels]
    words = f"{len(rows['signal'])} signal and {len(rows['background'])} background jets"
    return style.Drawing(figure, points, words)


def _some(of_class: np.ndarray) -> np.ndarray:
    """Rows of a class, evenly spread over the mass points where there are more than enough."""
    rows = np.flatnonzero(of_class)
    return rows[:: -(-len(rows) // JETS_AVERAGED)]


def _mean(packed: PackedJets, rows: np.ndarray) -> np.ndarray:
    """Mean over jets of the share of pT in every pixel, all channels together, (side, side)."""
    images = packed.images.take(rows)
    jet = np.repeat(np.arange(len(images)), images.counts())
    share = images.values / np.bincount(jet, images.values)[jet]
    pixels = packed.side**2
    sums = np.bincount(images.pixels % pixels, share, minlength=pixels)
    return sums.reshape(packed.side, packed.side) / len(images)


def event_displays(results: Results) -> style.Drawing:
    """One signal and one background event in the eta-phi plane.

    They are the first held-out events of their class with three jets, the signal event with two
    that match a neutralino (or as many as there are); nobody looked for pretty ones.
    """
    displayed = DISPLAYED if DISPLAYED in results.scores.jets else next(iter(results.scores.jets))
    jets = results.scores.jets[displayed]
    is_signal = results.events["process"] == STOP
    wanted = np.sum(jets["pt"] > 0, axis=1)
    wanted[is_signal] += np.minimum(jets["classified"].sum(axis=1), 2)[is_signal]
    chosen = {
        name: np.argmax(np.where(of_class, wanted, -1))
        for name, of_class in (("signal", is_signal), ("background", ~is_signal))
    }
    figure, axes = style.panels(2, height=4.1, sharey=True)
    points = []
    show = _show_objects if results.table.source == "collisions" else _show_images
    for axis, (name, row) in zip(axes, chosen.items(), strict=True):
        event = results.events[row]
        title = r"$t\bar{t}$"
        if name == "signal":
            title = (
                rf"$\tilde{{t}}\,\tilde{{t}}^{{\,*}}$, {style.STOP_MASS} = {event['m_stop']} GeV, "
                rf"{style.NEUTRALINO_MASS} = {event['m_neutralino']} GeV"
            )
        axis.set(xlim=(-3.2, 3.2), ylim=(-np.pi, np.pi), aspect="equal", title=title)
        axis.set(xlabel=r"$\eta$")
        points += [{"event": name} | point for point in show(axis, results, row)]
    axes[0].set_ylabel(r"$\phi$ [rad]")
    style.legend(figure, axes, columns=5)
    return style.Drawing(figure, points, f"{len(points)} objects drawn")


def _show_objects(axis: Axes, results: Results, row: int) -> list[dict[str, object]]:
    """The objects of an event of ours, their area like pT, its lepton, jets and truth."""
    event = results.events[row]
    name = f"ttbar_{event['index']}"
    if event["process"] == STOP:
        name = f"stop_{event['m_stop']}_{event['m_neutralino']}"
    events, i = read_events(results.study.sample_dir / f"{name}.h5"), event["row"]
    _show_jets(axis, events.large_r[DISPLAYED][i])
    objects = events.objects[events.object_offsets[i] : events.object_offsets[i + 1]]
    points = []
    for kind, (what, color) in enumerate(OBJECTS):
        of_kind = objects[objects["type"] == kind]
        _dots(axis, of_kind["eta"], of_kind["phi"], of_kind["pt"], color, what)
        points += _rows(what, of_kind)
    lepton, truth = events.lepton[i : i + 1], events.truth[i]
    slots = np.flatnonzero(truth["pdg_id"] == NEUTRALINO)
    marks = {
        "isolated lepton": (lepton, "*", style.BLACK),
        "neutralinos (truth)": (truth[slots], "X", style.BLACK),
        "their quarks (truth)": (truth[(slots[:, None] + [1, 2, 3]).ravel()], "+", style.BLACK),
    }
    for what, (particles, marker, color) in marks.items():
        if len(particles):
            axis.plot(
                particles["eta"], particles["phi"], marker, color=color, label=what, linestyle=""
            )
            points += _rows(what, particles)
    return points


def _rows(what: str, particles: np.ndarray) -> list[dict[str, object]]:
    names = ("eta", "phi", "pt")
    columns = zip(*(particles[name] for name in names), strict=True)
    return [{"what": what} | dict(zip(names, column, strict=True)) for column in columns]


def _show_images(axis: Axes, results: Results, row: int) -> list[dict[str, object]]:
    """The images of an event's jets at their places; the published files hold no objects."""
    packed = read_jets(results.study.data_dir / f"{DISPLAYED}.h5", HELD_OUT)
    rows = np.flatnonzero(packed.jets["event"] == results.scores.event[row])
    jets = packed.jets[rows]
    _show_jets(axis, jets)
    width = PIXEL_WIDTH * JET_DEFINITIONS[DISPLAYED].pixels / packed.side
    jet, image_row, column = np.nonzero(
        images := dense(packed.images.take(rows), packed.side).sum(1)
    )
    pixels = np.empty(len(jet), [(name, "f4") for name in ("eta", "phi", "pt")])
    pixels["eta"] = jets["eta"][jet] + (column + 0.5 - packed.side / 2) * width
    phi = jets["phi"][jet] - (image_row + 0.5 - packed.side / 2) * width
    pixels["phi"] = (phi + np.pi) % (2 * np.pi) - np.pi
    pixels["pt"] = images[jet, image_row, column]
    what = "pixels of the jets' images (each rotated)"
    _dots(axis, pixels["eta"], pixels["phi"], pixels["pt"], style.BLUE, what)
    return _rows(what, pixels)


def _dots(
    axis: Axes, eta: np.ndarray, phi: np.ndarray, pt: np.ndarray, color: str, label: str
) -> None:
    axis.scatter(eta, phi, s=0.8 * pt, color=color, alpha=0.6, linewidth=0, label=label)


def _show_jets(axis: Axes, jets: np.ndarray) -> None:
    """A circle of the jet radius about every jet, once more where phi wraps around.

    The jets are numbered from the hardest; a corner says what each one is.
    """
    radius = JET_DEFINITIONS[DISPLAYED].radius
    lines = []
    for number, jet in enumerate(jets[jets["pt"] > 0], start=1):
        for turn in (-2 * np.pi, 0, 2 * np.pi):
            centre = (jet["eta"], jet["phi"] + turn)
            axis.add_patch(Circle(centre, radius, fill=False, edgecolor=style.GREY, linestyle="--"))
            inwards = -0.8 * radius * np.sign(jet["eta"])
            axis.text(
                jet["eta"] + inwards, jet["phi"] + turn, str(number), color=style.GREY,
                ha="center", va="center", fontsize=11, clip_on=True, zorder=0.5,
            )  # fmt: skip
        lines.append(f"{number}: $p_T$ {jet['pt']:.0f} GeV, $m$ {jet['mass']:.0f} GeV")
    axis.text(
        0.98, 0.02, "\n".join(lines), transform=axis.transAxes, ha="right", va="bottom", fontsize=7,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 2},
    )  # fmt: skip

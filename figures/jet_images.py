"""What the networks look at: average images of each class, and two whole events."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Circle

from evaluation.results import Results
from figures import style
from jets.events import read_events
from jets.images import dense
from jets.packed import PackedJets, read_jets
from jets.ragged import events_of
from jets.sources import Collisions, PublishedFiles
from jets.split import HELD_OUT, TRAIN, is_signal, relative_weights
from physics import CHANNELS, IMAGED_JETS, JET_DEFINITIONS, PIXEL_WIDTH
from processes import STATED, Process, numbered
from processes.stop import NEUTRALINO

DISPLAYED = "AK14"  # the jets drawn in the event displays
CHANNEL_SUM = " + ".join(CHANNELS)
JETS_AVERAGED = 50_000  # of a class, at most
FAINTEST = 1e-3  # of the brightest pixel, still coloured
FAINTEST_PIXEL, BRIGHTEST_PIXEL = 0.5, 200.0  # GeV, of one jet's image
OBJECTS = (  # by type: name, colour, marker
    ("charged hadrons", style.BLUE, "o"),
    ("neutral hadrons", style.ORANGE, "o"),
    ("photons", style.GREEN, "o"),
    ("electrons", style.VERMILION, "s"),
    ("muons", style.PURPLE, "^"),
)
LEPTONS = ("electrons", "muons")  # few: outlined, above all else, and never too small to be seen
AREA, LEAST_AREA = 0.8, 20  # square points, of a GeV and of a lepton at least


def average_images(results: Results, jet_definition: str) -> style.Drawing:
    """Mean images of the training jets: background, signal, and signal minus background.

    Every jet counts as its event: its image, summed over the channels, is first divided by its own
    sum.
    """
    packed = read_jets(results.study.packed_file(jet_definition), TRAIN)
    signal = packed.jets["label"] == 1
    chosen = {"background": _some(~signal), "signal": _some(signal)}
    weight = relative_weights(results.table.events)[packed.jets["event"]]
    means = {name: _mean(packed, weight, rows) for name, rows in chosen.items()}
    difference = means["signal"] - means["background"]
    extent, largest = _extent(jet_definition), abs(difference).max()
    figure, axes = style.panels(3, height=2.7, sharey=True)
    brightest = max(mean.max() for mean in means.values())
    norm = LogNorm(FAINTEST * brightest, brightest, clip=True)
    for axis, (name, mean) in zip(axes, means.items(), strict=False):
        shown = axis.imshow(mean, extent=extent, norm=norm, cmap="cividis")
        axis.set_title(f"{name}, {len(chosen[name])} {jet_definition} jets")
    figure.colorbar(shown, ax=axes[:2], label="mean share of $p_T$", pad=0.01, shrink=0.8)
    shown = axes[2].imshow(difference, extent=extent, vmin=-largest, vmax=largest, cmap="PuOr")
    axes[2].set_title("signal $-$ background")
    figure.colorbar(shown, ax=axes[2], label="difference", pad=0.01, shrink=0.8)
    for axis, edge in zip(axes, ("white", "white", "grey"), strict=True):
        _jet_frame(axis, results, jet_definition, edge)
    style.heading(
        figure,
        f"Training jets: {results.processes}. Image: sum of the channels ({CHANNEL_SUM}), divided "
        "by its own sum. Circle: jet radius.",
        results.study.beam_energy,
    )
    row, column = np.indices(difference.shape)
    images = {"row": row, "column": column, **means, "difference": difference}
    points = style.rows({name: image.ravel() for name, image in images.items()})
    words = f"{len(chosen['signal'])} signal and {len(chosen['background'])} background jets"
    return style.Drawing(figure, points, words)


def _extent(jet_definition: str) -> tuple[float, float, float, float]:
    half = PIXEL_WIDTH * IMAGED_JETS[jet_definition].pixels / 2
    return -half, half, -half, half


def _jet_frame(axis: Axes, results: Results, jet_definition: str, edge: str) -> None:
    """The axes of an image about the axis of a jet, and a circle of its radius."""
    is_turned = _are_turned(results)
    look = {"fill": False, "edgecolor": edge, "linewidth": 0.8, "linestyle": "--"}
    axis.add_patch(Circle((0, 0), IMAGED_JETS[jet_definition].radius, **look))
    axis.tick_params(color="grey")
    axis.set(
        xlabel=r"$\Delta\eta'$ (turned)" if is_turned else r"$\Delta\eta$",
        ylabel=r"$\Delta\phi'$ (hardest deposit up)" if is_turned else r"$\Delta\phi$ [rad]",
    )
    axis.label_outer()


def _are_turned(results: Results) -> bool:
    """Whether images are turned until the hardest deposit is up: published ones, ours if asked."""
    return results.table.source == PublishedFiles.name or results.study.images.oriented


def _some(of_class: np.ndarray) -> np.ndarray:
    """Rows of a class, evenly spread over the mass points where there are more than enough."""
    rows = np.flatnonzero(of_class)
    return rows[:: max(1, -(-len(rows) // JETS_AVERAGED))]


def _mean(packed: PackedJets, weight: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean over jets of the share of pT in every pixel, all channels together, (side, side)."""
    images = packed.images.take(rows)
    jet = events_of(images.offsets)
    share = images.values / np.bincount(jet, images.values)[jet] * weight[rows][jet]
    pixels = packed.side**2
    sums = np.bincount(images.pixels % pixels, share, minlength=pixels)
    return sums.reshape(packed.side, packed.side) / (weight[rows].sum() or 1)


def event_displays(results: Results) -> style.Drawing:
    """One signal and one background event: in the eta-phi plane, or the images of their jets.

    They are the first held-out events of their class with three jets, the signal event with two
    that match its truth (or as many as there are); nobody looked for pretty ones. Only our
    collisions hold objects. Published images are turned about the axis of each jet by an angle that
    is not in the files: none can be put back into the eta-phi plane.
    """
    displayed = DISPLAYED if DISPLAYED in results.scores.jets else next(iter(results.scores.jets))
    jets = results.scores.jets[displayed]
    signal = is_signal(results.events)
    wanted = np.sum(jets["pt"] > 0, axis=1)
    wanted[signal] += np.minimum(jets["classified"].sum(axis=1), 2)[signal]
    chosen = {
        name: np.argmax(np.where(of_class, wanted, -1))
        for name, of_class in (("signal", signal), ("background", ~signal))
    }
    if results.table.source != Collisions.name:
        return _displays_of_images(results, displayed, chosen)
    figure, axes = style.panels(2, height=4.1, sharey=True)
    axes[0].set_ylim(-np.pi, np.pi)
    points = []
    for axis, (name, row) in zip(axes, chosen.items(), strict=True):
        axis.set(title=_process(results.events[row]), xlim=(-3.2, 3.2), aspect="equal")
        shown = _show_objects(axis, results, displayed, row)
        points += [{"event": name} | point for point in shown]
    axes[0].set_ylabel(r"$\phi$ [rad]")
    style.legend(figure, axes)
    style.heading(
        figure,
        f"Areas follow $p_T$, of leptons from {LEAST_AREA / AREA:g} GeV on. Circles: {displayed} "
        "jets, numbered from the hardest.",
    )
    return style.Drawing(figure, points, f"{len(points)} objects drawn")


def _process(event: np.void) -> str:
    """An event's process and masses."""
    process = numbered(event["process"])
    symbols = dict(zip(STATED, (style.STOP_MASS, style.NEUTRALINO_MASS), strict=True))
    numbers = zip(process.parameters, _numbers(process, event), strict=False)
    masses = [f"{symbols[k]} = {n} GeV" if k in symbols else f"{k} = {n}" for k, n in numbers]
    return ", ".join([process.title or process.name, *masses])


def _numbers(process: Process, event: np.void) -> list[int]:
    """The numbers in the name of the file that holds an event."""
    columns = STATED[: len(process.parameters)] or ("index",)
    return [event[name] for name in columns]


def _displays_of_images(
    results: Results, jet_definition: str, chosen: Mapping[str, int]
) -> style.Drawing:
    """One row per event, one column per jet: its image in its own frame, all channels together."""
    packed = read_jets(results.study.packed_file(jet_definition), HELD_OUT)
    of_event = {
        name: np.flatnonzero(packed.jets["event"] == results.scores.event[row])
        for name, row in chosen.items()
    }
    columns = max(map(len, of_event.values()))
    figure, axes = style.panels(columns, len(chosen), height=2.5, sharex=True, sharey=True)
    norm, extent = LogNorm(FAINTEST_PIXEL, BRIGHTEST_PIXEL, clip=True), _extent(jet_definition)
    drawn, points = 0, []
    for n, (name, rows) in enumerate(of_event.items()):
        images = dense(packed.images.take(rows), packed.side).sum(axis=1)
        of_row = axes[n * columns : (n + 1) * columns]
        for axis in of_row[len(rows) :]:
            axis.set_axis_off()
        for number, image in enumerate(images, start=1):
            axis, jet = of_row[number - 1], packed.jets[rows[number - 1]]
            filled = np.where(image > 0, image, np.nan)
            colours = axis.imshow(filled, extent=extent, norm=norm, cmap="cividis_r")
            axis.set_title(f"jet {number}: $p_T$ {jet['pt']:.0f} GeV, $m$ {jet['mass']:.0f} GeV")
            _jet_frame(axis, results, jet_definition, "grey")
            i, j = np.nonzero(image > 0)
            pixels = {"event": name, "jet": number, "row": i, "column": j, "pt": image[i, j]}
            points += style.rows(pixels)
        drawn += len(rows)
    figure.colorbar(colours, ax=axes, label="$p_T$ in a pixel [GeV]", pad=0.01, extend="both")
    signal, background = (results.events[row] for row in chosen.values())
    turned = ", turned until its hardest deposit is up" * _are_turned(results)
    style.heading(
        figure,
        f"Above {_process(signal)}; below {_process(background)}. Images of {jet_definition} jets, "
        f"each in its own frame{turned}. Sum of the channels {CHANNEL_SUM}. Circles: the jet "
        "radius.",
        results.study.beam_energy,
    )
    return style.Drawing(figure, points, f"{len(points)} pixels of {drawn} jets drawn")


def _show_objects(
    axis: Axes, results: Results, jet_definition: str, row: int
) -> list[dict[str, object]]:
    """The objects of a simulated event, their area like pT, its lepton, jets and truth."""
    event = results.events[row]
    process = numbered(event["process"])
    name = process.sample_name(*_numbers(process, event))
    events, i = read_events(results.study.sample_dir / f"{name}.h5"), event["row"]
    _show_jets(axis, events.large_r[jet_definition][i], JET_DEFINITIONS[jet_definition].radius)
    objects = events.objects[events.object_offsets[i] : events.object_offsets[i + 1]]
    points = []
    for kind, (what, color, marker) in enumerate(OBJECTS):
        of_kind = objects[objects["type"] == kind]
        area = AREA * of_kind["pt"]
        look = {"color": color, "marker": marker, "linewidth": 0, "alpha": 0.6}
        if what in LEPTONS:
            area = np.maximum(area, LEAST_AREA)
            look |= {"edgecolor": "black", "linewidth": 0.6, "alpha": 1.0, "zorder": 4}
        axis.scatter([], [], LEAST_AREA, label=what, **look)
        axis.scatter(of_kind["eta"], of_kind["phi"], area, **look)
        points += _rows(what, of_kind)
    lepton, truth = events.lepton[i : i + 1], events.truth[i]
    slots = np.flatnonzero(truth["pdg_id"] == NEUTRALINO)
    marks = {
        "isolated lepton": (lepton, "*", 12),
        "neutralinos (truth)": (truth[slots], "X", 5),
        "their quarks (truth)": (truth[(slots[:, None] + [1, 2, 3]).ravel()], "+", 5),
    }
    for what, (particles, marker, size) in marks.items():
        if len(particles):
            axis.plot(
                particles["eta"], particles["phi"], marker, color=style.BLACK, markersize=size,
                markerfacecolor="none", linestyle="", label=what, zorder=5,
            )  # fmt: skip
            points += _rows(what, particles)
    return points


def _rows(what: str, particles: np.ndarray) -> list[dict[str, object]]:
    return style.rows({"what": what} | {name: particles[name] for name in ("eta", "phi", "pt")})


def _show_jets(axis: Axes, jets: np.ndarray, radius: float) -> None:
    """Jets numbered from the hardest, a circle about each, once more where phi wraps around."""
    lines = [r"$\eta$"]
    for number, jet in enumerate(jets[jets["pt"] > 0], start=1):
        inside = jet["eta"] - 0.8 * radius * np.sign(jet["eta"])
        for phi in jet["phi"] + np.array([-2 * np.pi, 0, 2 * np.pi]):
            look = {"fill": False, "edgecolor": style.GREY, "linestyle": "--"}
            axis.add_patch(Circle((jet["eta"], phi), radius, **look))
            look = {"color": style.GREY, "ha": "center", "va": "center", "fontsize": 11}
            axis.text(inside, phi, str(number), clip_on=True, zorder=0.5, **look)
        lines.append(f"{number}: $p_T$ {jet['pt']:.0f} GeV, $m$ {jet['mass']:.0f} GeV")
    axis.set_xlabel("\n".join(lines))

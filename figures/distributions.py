"""How signal and background are distributed: event features, jet mass and pT, networks' scores."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from evaluation.results import Results
from figures import style
from jets.classifier import Classifier
from jets.split import is_signal

FEATURE_LABELS = {  # the first of `jets.packed.OBSERVABLES`
    "pTmiss": r"$p_T^{\mathrm{miss}}$ [GeV]",
    "HT": r"$H_T$ [GeV]",
    "MJ": r"$M_J$ [GeV]",
    "Nj": r"$N_j$",
    **{f"H{order}": rf"$H_{order} / H_0$" for order in range(1, 6)},
}
SPECTRA = {"mass": r"jet mass $m$ [GeV]", "pt": r"jet $p_T$ [GeV]"}
BINS, SCORE_BINS = 30, 20
RANGE = (0.002, 0.995)  # quantiles of both classes together
INSIDE = (
    f" Outside the axes: at most the lowest {100 * RANGE[0]:.1g} % and the highest "
    f"{100 * (1 - RANGE[1]):.1g} %."
)


def features(results: Results) -> style.Drawing:
    """The DS2 features of held-out events of signal and background."""
    observables = results.table.observables[results.scores.event]
    labels = is_signal(results.events)
    figure, axes = style.panels(3, 3, height=1.8)
    points = []
    named = zip(FEATURE_LABELS.items(), observables.T, strict=False)
    for axis, ((name, label), value) in zip(axes, named, strict=True):
        edges = _edges(value)
        if name == "Nj":
            edges = np.arange(np.floor(edges[0]), np.ceil(edges[-1]) + 2) - 0.5
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        points += _distribution(axis, {"feature": name}, value, results.weight, labels, edges)
        axis.set_xlabel(label)
        axis.set_ylim(bottom=0)
    for axis in axes[::3]:
        axis.set_ylabel("share of events\nper unit")
    return _finished(results, figure, axes, points, "events", labels, INSIDE)


def jet_spectra(results: Results) -> style.Drawing:
    """Mass and pT of the jets that the networks are tested on, one column per jet definition."""
    definitions = list(results.scores.jets)
    figure, axes = style.panels(len(definitions), 2, height=2.1, sharey="row")
    points, of = [], {definition: results.of_jets(definition) for definition in definitions}
    columns = len(definitions)
    for row, (name, label) in enumerate(SPECTRA.items()):
        ones = [Classifier((definition,), features=(name,)) for definition in definitions]
        edges = _edges(np.concatenate([of[one[0][0]].score[one] for one in ones]))
        for axis, one in zip(axes[row * columns : (row + 1) * columns], ones, strict=True):
            (definition,) = one.jet_definitions
            key, jets = {"jet_definition": definition, "quantity": one.words}, of[definition]
            points += _distribution(axis, key, jets.score[one], jets.weight, jets.is_signal, edges)
            axis.set(title=definition, xlabel=label, yscale="log")
    for axis in axes[::columns]:
        axis.set_ylabel("share of jets per GeV")
    return _finished(results, figure, axes, points, "jets", jets.is_signal, INSIDE)


def scores(results: Results) -> style.Drawing:
    """The networks' scores of held-out jets: one row per network, one column per jet definition."""
    definitions = list(results.scores.jets)
    networks = list(dict.fromkeys(n for d in definitions for n in results.networks(d)))
    height = max(1.5, 2.6 / len(networks))
    figure, axes = style.panels(
        len(definitions), len(networks), height=height, sharex=True, sharey=True
    )
    edges = np.linspace(0, 1, SCORE_BINS + 1)
    points = []
    for axis, (network, name) in zip(axes, itertools.product(networks, definitions), strict=True):
        jets, classifier = results.of_jets(name), Classifier((name,), (network,))
        if classifier not in jets.score:
            axis.set_axis_off()
            continue
        key, value = {"jet_definition": name, "network": network}, jets.score[classifier]
        points += _distribution(axis, key, value, jets.weight, jets.is_signal, edges)
        axis.set(title=f"{name} {network}", yscale="log")
        axis.yaxis.set_minor_locator(NullLocator())  # in so many panels half of the drawing time
    densities = np.array([[point["signal"], point["background"]] for point in points])
    low, high = np.log10([densities[densities > 0].min() / 1.5, densities.max() * 1.5])
    axes[0].set_ylim(10 ** np.floor(low), 10 ** np.ceil(high))  # whole decades
    for axis in axes[-len(definitions) :]:
        axis.set_xlabel("score: probability of signal")
    for axis in axes[:: len(definitions)]:
        axis.set_ylabel("share of jets\nper unit of score")
    return _finished(results, figure, axes, points, "jets", jets.is_signal)


def _finished(
    results: Results,
    figure: style.Figure,
    axes: Sequence[Axes],
    points: Sequence[Mapping[str, object]],
    counted: str,
    is_signal: np.ndarray,
    note: str = "",
) -> style.Drawing:
    style.legend(figure, axes[:1])
    note = f"Held-out {counted}: {results.processes}. Errors: statistical.{note}"
    style.heading(figure, note, results.study.beam_energy)
    n_signal, n = np.count_nonzero(is_signal), len(is_signal)
    return style.Drawing(figure, points, f"{n_signal} signal, {n - n_signal} background {counted}")


def _edges(value: np.ndarray) -> np.ndarray:
    """Of `BINS` equal bins over the bulk of the values, about half a unit where all are equal."""
    low, high = np.quantile(value, RANGE)
    return np.linspace(low, high, BINS + 1) if low < high else np.array([low - 0.5, low + 0.5])


def _distribution(
    axis: Axes,
    key: Mapping[str, str],
    value: np.ndarray,
    weight: np.ndarray,
    is_signal: np.ndarray,
    edges: np.ndarray,
) -> list[dict[str, object]]:
    """Normalised histograms with statistical errors; returns one row per bin, each with `key`."""
    width = np.diff(edges)
    points = [{**key, "low": a, "high": b} for a, b in itertools.pairwise(edges)]
    for name, rows, color, alpha in (
        ("background", ~is_signal, style.BACKGROUND, 0.4),
        ("signal", is_signal, style.SIGNAL, 1.0),
    ):
        sums, squares = (
            np.histogram(value[rows], edges, weights=weight[rows] ** power)[0] for power in (1, 2)
        )
        area = weight[rows].sum() * width
        density, error = sums / area, np.sqrt(squares) / area
        axis.stairs(density, edges, label=name, fill=alpha < 1, color=color, alpha=alpha)
        middle = (edges[1:] + edges[:-1]) / 2
        axis.errorbar(middle, density, error, color=color, fmt="none", elinewidth=0.7)
        for point, d, e in zip(points, density, error, strict=True):
            point |= {name: d, f"{name}_error": e}
    axis.set_xlim(edges[0], edges[-1])
    return points

"""How well the classifiers separate: SIC curves, SIC against the neutralino mass, DS2 features."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from figures import style
from figures.results import (
    TREES_OF_THREE_JETS,
    Classifiers,
    Results,
    three_jets,
    with_observables,
)
from jets.packed import OBSERVABLES
from jets.split import STOP
from sensitivity.sic import SICCurve, SICPoint
from study import JET_DEFINITIONS

DEFINITIONS = " + ".join(JET_DEFINITIONS)
TO_BEAT = TREES_OF_THREE_JETS["angularities"]  # the classical tagger, drawn with the networks too
FEATURE_LABELS = {
    "pTmiss": r"$p_T^{\mathrm{miss}}$ [GeV]",
    "HT": r"$H_T$ [GeV]",
    "MJ": r"$M_J$ [GeV]",
    "Nj": r"$N_j$",
    **{f"H{order}": rf"$H_{order} / H_0$" for order in range(1, 6)},
}
COUNTS = (10, 25, 100, 1_000)  # of background that passes, marked in figures of SIC
FEATURE_BINS = 30
FEATURE_RANGE = (0.002, 0.995)  # quantiles of both classes together


def sic_of_jets(results: Results) -> style.Drawing:
    """SIC of single jets: the networks above, below jet mass, jet pT and trees on what is known."""
    groups = {name: results.of_jets(name) for name in results.scores.jets}
    return _sic_curves(groups, "jets")


def sic_of_events(results: Results) -> style.Drawing:
    """SIC of events by trees on what is known of their three jets.

    That are the scores of a network above, below masses, pT, or these with angularities.
    """
    groups = {
        name: results.of_events.named(
            three_jets(name, results.networks(name))
            | {f"{name}_{fit}": words for fit, words in TREES_OF_THREE_JETS.items()}
        )
        for name in results.scores.jets
    }
    return _sic_curves(groups, "events")


def sic_of_networks(results: Results) -> style.Drawing:
    """SIC at the working point against the neutralino mass: trees on one network's three jets."""
    groups = {
        name: results.of_events.named(three_jets(name, results.networks(name)))
        for name in results.scores.jets
    }
    return _against_mass(results, groups)


def sic_of_combinations(results: Results) -> style.Drawing:
    """The same for trees that combine jet definitions, networks, or both."""
    definitions = {f"all_definitions_{network}": network for network in results.study.networks}
    networks = {f"{name}_all_networks": f"{name}, all networks" for name in JET_DEFINITIONS}
    everything = {"transformers": "CoAtNet and MaxViT", "all": "all scores"}
    groups = {
        f"scores on {DEFINITIONS}": results.of_events.named(definitions | everything),
        "scores of CNN, CoAtNet and MaxViT": results.of_events.named(
            networks | {"all": "all scores"}
        ),
    }
    return _against_mass(results, {title: some for title, some in groups.items() if some.score})


def sic_with_observables(results: Results) -> style.Drawing:
    """The same for trees on AK14 scores and the event features DS1 and DS2."""
    networks = results.study.networks
    groups = {
        "AK14 MaxViT and event features": {
            "AK14_MaxViT": "MaxViT, scores alone",
            "AK14_MaxViT_DS1": "MaxViT + DS1",
            "AK14_MaxViT_DS2": "MaxViT + DS2",
            "DS1": "DS1",
            "DS2": "DS2",
        },
        "AK14 networks and DS2": with_observables(networks),
    }
    return _against_mass(
        results, {title: results.of_events.named(names) for title, names in groups.items()}
    )


def _sic_curves(groups: Mapping[str, Classifiers], counted: str) -> style.Drawing:
    """A column a group: networks above, what sees no images below, each curve with its band."""
    some = next(iter(groups.values()))
    study, background_min = some.study, some.background_min
    figure, axes = style.panels(len(groups), 2, height=2.5, sharex=True, sharey=True)
    points = []
    for column, (title, classifiers) in enumerate(groups.items()):
        upper, lower = axes[column], axes[len(groups) + column]
        for name in classifiers.score:
            curve = classifiers.sic_curve(name)
            rows = [upper if name in study.networks else lower]
            if name == TO_BEAT:
                rows = [upper, lower]
            for axis in rows:
                _band(axis, curve, name)
            points += [
                {
                    "jet_definition": title,
                    "classifier": name,
                    "signal_efficiency": efficiency,
                    "sic": value,
                    "low": low,
                    "high": high,
                    f"background_{counted}": count,
                }
                for efficiency, value, low, high, count in zip(
                    curve.signal_efficiency,
                    curve.value,
                    curve.low,
                    curve.high,
                    curve.background_count,
                    strict=True,
                )
                if np.isfinite(value)
            ]
        upper.set_title(title)
        lower.set(xlabel=style.SIGNAL_EFFICIENCY, xlim=(0, 1))
    for axis in axes[:: len(groups)]:
        axis.set(ylabel=style.SIC)
    axes[0].set_ylim(bottom=0)
    for column, classifiers in enumerate(groups.values()):
        for axis in axes[column :: len(groups)]:
            _lines_of_equal_background(axis, classifiers)
    style.legend(figure, axes, columns=5)
    note = f"Bands: 68 %. Thin lines: background {counted} passing. Curves end at {background_min}"
    if background_min < study.background_jets_min:
        note += f", max SIC in tables at {study.background_jets_min}"
    figure.suptitle(f"{note}.")
    return style.Drawing(figure, points, _best_of_curves(points))


def _band(axis: Axes, curve: SICCurve, name: str) -> None:
    look = style.look(name) | {"marker": ""}
    axis.plot(curve.signal_efficiency, curve.value, label=name, **look)
    ends = curve.low, curve.high
    axis.fill_between(curve.signal_efficiency, *ends, color=look["color"], alpha=0.15, linewidth=0)


def _slopes(classifiers: Classifiers) -> dict[int, float]:
    """SIC / eps_S where n of N background scores pass, sqrt(N / n), for what can of `COUNTS`."""
    n_background = np.count_nonzero(~classifiers.is_signal)
    counts = [n for n in COUNTS if classifiers.background_min <= n < n_background]
    return {count: float(np.sqrt(n_background / count)) for count in counts}


def _lines_of_equal_background(axis: Axes, classifiers: Classifiers) -> None:
    """Straight from the origin of a SIC curve's panel."""
    top = axis.get_ylim()[1]
    for count, slope in _slopes(classifiers).items():
        end = (1, slope) if slope < top else (top / slope, top)
        axis.plot((0, end[0]), (0, end[1]), color=style.GREY, linewidth=0.4, zorder=0)
        side, x = ("left", 1) if end[0] < 0.9 else ("right", -4)
        level, y = ("top", -4) if end[1] == top else ("bottom", 1)
        look = {"color": style.GREY, "fontsize": 5, "textcoords": "offset points"}
        axis.annotate(f"{count:,}", end, (x, y), ha=side, va=level, **look)


def _scale_of_background(axis: Axes, classifiers: Classifiers) -> None:
    """On the right of a panel at the working point; lower limits do not lie on it."""
    axis.tick_params(right=False)
    right = axis.twinx()
    right.set_ylim(axis.get_ylim())
    sic = {n: classifiers.study.working_point * x for n, x in _slopes(classifiers).items()}
    seen = {f"{n:,}": value for n, value in sic.items() if value < axis.get_ylim()[1]}
    right.set_yticks(list(seen.values()), list(seen))
    right.set_ylabel("background events, full symbols")


def _count_at_limits(
    axis: Axes, x: np.ndarray, found: Sequence[SICPoint], name: str, lower: int
) -> None:
    """How many background events pass, below the arrows of a classifier, `lower` points further."""
    look = {"color": style.look(name)["color"], "fontsize": 5, "textcoords": "offset points"}
    for position, point in zip(x, found, strict=True):
        if point.is_lower_limit:
            at, count = (position, point.value), str(point.background_count)
            axis.annotate(count, at, (0, -3 - lower), ha="center", va="top", **look)


def _best_of_curves(points: list[dict]) -> str:
    best: dict[str, dict] = {}
    for point in points:
        title = point["jet_definition"]
        if title not in best or point["sic"] > best[title]["sic"]:
            best[title] = point
    return "highest: " + ", ".join(
        f"{title} {point['classifier']} {point['sic']:.2f}" for title, point in best.items()
    )


def _against_mass(results: Results, groups: Mapping[str, Classifiers]) -> style.Drawing:
    """One panel a group: SIC at the working point, at each neutralino mass (all stop masses)."""
    study = results.study
    _, masses = results.masses
    figure, axes = style.panels(len(groups), height=2.9, sharey=True)
    of_mass = results.events["m_neutralino"]
    points = []
    for axis, (title, classifiers) in zip(axes, groups.items(), strict=True):
        shifts = style.dodge(masses, len(classifiers.score))
        for row, (name, shift) in enumerate(zip(classifiers.score, shifts, strict=True)):
            found = [classifiers.sic_at(name, of_mass == mass) for mass in masses]
            style.measured(
                axis,
                masses + shift,
                np.array([[point.value, point.low, point.high] for point in found]).T,
                name,
                np.array([int(point.is_lower_limit) for point in found]),
            )
            _count_at_limits(axis, masses + shift, found, name, lower=5 * (row % 2))
            points += [
                {
                    "group": title,
                    "classifier": name,
                    "neutralino_mass": mass,
                    "sic": point.value,
                    "low": point.low,
                    "high": point.high,
                    "background_events": point.background_count,
                    "is_lower_limit": point.is_lower_limit,
                }
                for mass, point in zip(masses, found, strict=True)
            ]
        axis.set(title=title, xlabel=f"{style.NEUTRALINO_MASS} [GeV]")
    axes[0].set_ylabel(rf"SIC at $\epsilon_S = {study.working_point:g}$")
    axes[0].set_ylim(0, (1 + style.ARROW_MARGIN) * axes[0].get_ylim()[1])
    _scale_of_background(axes[-1], next(iter(groups.values())))
    style.legend(figure, axes)
    limits = sum(point["is_lower_limit"] for point in points)
    note = "Errors: 68 %; points are shifted sideways."
    if limits:
        note += " Open arrows: lower limits (95 %), with the background events that pass."
    figure.suptitle(note)
    measured = [point for point in points if not point["is_lower_limit"]]
    words = f"{limits} of {len(points)} points are lower limits"
    if measured:
        best = max(measured, key=lambda point: point["sic"])
        words = (
            f"highest: {best['group']} {best['classifier']} {best['sic']:.2f} "
            f"at {best['neutralino_mass']} GeV; {words}"
        )
    return style.Drawing(figure, points, words)


def features(results: Results) -> style.Drawing:
    """The DS2 features of held-out events, signal (all mass points) and background."""
    observables = results.table.observables[results.scores.event]
    is_signal = results.events["process"] == STOP
    figure, axes = style.panels(3, 3, height=1.8)
    points = [
        point
        for axis, name, value in zip(axes, OBSERVABLES, observables.T, strict=True)
        for point in _distribution(axis, name, value, is_signal)
    ]
    style.legend(figure, axes[:1])
    axes[3].set_ylabel("share of events per unit")
    return style.Drawing(figure, points, f"{is_signal.sum()} signal, {(~is_signal).sum()} ttbar")


def _distribution(
    axis: Axes, name: str, value: np.ndarray, is_signal: np.ndarray
) -> list[dict[str, object]]:
    """Normalised histograms of one feature, with their statistical errors."""
    low, high = np.quantile(value, FEATURE_RANGE)
    if name == "Nj":
        edges = np.arange(np.floor(low), np.ceil(high) + 2) - 0.5
    else:
        edges = np.linspace(low, high, FEATURE_BINS + 1)
    width = np.diff(edges)
    points = [{"feature": name, "low": a, "high": b} for a, b in itertools.pairwise(edges)]
    for key, rows, label, look in (
        ("background", ~is_signal, r"$t\bar{t}$", {"color": style.BACKGROUND, "alpha": 0.4}),
        ("signal", is_signal, "stop pairs", {"color": style.SIGNAL}),
    ):
        count = np.histogram(value[rows], edges)[0]
        density, error = (n / (rows.sum() * width) for n in (count, np.sqrt(count)))
        axis.stairs(density, edges, label=label, fill=key == "background", **look)
        axis.errorbar(
            (edges[1:] + edges[:-1]) / 2,
            density,
            error,
            color=look["color"],
            fmt="none",
            elinewidth=0.7,
        )
        for point, d, e in zip(points, density, error, strict=True):
            point |= {key: d, f"{key}_error": e}
    axis.set(xlabel=FEATURE_LABELS[name], xlim=(edges[0], edges[-1]))
    axis.set_ylim(bottom=0)
    if name == "Nj":
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return points

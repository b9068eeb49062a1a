"""How well the classifiers separate: SIC curves, and SIC against the neutralino mass."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from evaluation.results import Classifiers, Results
from event_level.fits import (
    DS1,
    DS2,
    all_definitions,
    all_networks,
    on_scores_and_features,
    on_three_jets,
    with_observables,
    without_network,
)
from figures import style
from jets.classifier import TRAINING_JETS, Classifier
from physics import JET_DEFINITIONS
from sensitivity.bootstrap import printed_count
from sensitivity.sic import SICCurve, SICPoint

TIED = 0.02  # of signal efficiency, kept beyond the working point: worth a word
COUNTS = (10, 25, 100, 1_000)  # of background that passes, marked in figures of SIC


def sic_of_jets(results: Results) -> style.Drawing:
    """SIC of single jets: the networks above, below jet mass, jet pT and trees on what is known."""
    groups = {name: results.of_jets(name) for name in results.scores.jets}
    return _sic_curves(groups, "jets", "networks", "without images")


def sic_of_events(results: Results) -> style.Drawing:
    """SIC of events by trees on what is known of their three jets.

    That are the scores of a network above, below masses, pT, or these with angularities.
    """
    groups = {
        name: results.of_events.only(
            [*on_three_jets(name, results.networks(name)), *without_network(name)]
        )
        for name in results.scores.jets
    }
    return _sic_curves(groups, "events", "trees on a network", "trees without images")


def sic_of_networks(results: Results) -> style.Drawing:
    """SIC at the working point against the neutralino mass: trees on one network's three jets."""
    groups = {name: on_three_jets(name, results.networks(name)) for name in results.scores.jets}
    return _against_mass(results, groups)


def sic_of_combinations(results: Results) -> style.Drawing:
    """The same for trees that combine jet definitions, networks, or both."""
    groups = {
        f"scores on {' + '.join(JET_DEFINITIONS)}": all_definitions(),
        "scores of CNN, CoAtNet and MaxViT": all_networks(),
    }
    return _against_mass(results, groups)


def sic_with_observables(results: Results) -> style.Drawing:
    """The same for trees on AK14 scores and the event features DS1 and DS2."""
    groups = {"event features": [DS1, DS2]}
    if "MaxViT" in results.networks("AK14"):
        of_network = [on_scores_and_features("MaxViT", *seen) for seen in ((), ("DS1",), ("DS2",))]
        groups = {"AK14 MaxViT and event features": [*of_network, DS1, DS2]}
    if results.networks("AK14"):
        groups["AK14 networks and DS2"] = with_observables(results.study.classifiers.networks)
    return _against_mass(results, groups)


def _sic_curves(
    groups: Mapping[str, Classifiers], counted: str, with_images: str, without: str
) -> style.Drawing:
    """A column a group: networks above, what sees no images below, each curve with its band.

    Args:
        counted: `jets` or `events`.
        with_images, without: titles of the rows.
    """
    first, some = next(iter(groups.items()))
    study, background_min, to_beat = some.study, some.background_min, without_network(first)[-1]
    figure, axes = style.panels(len(groups), 2, height=2.5, sharex=True, sharey=True)
    points = []
    for column, (title, classifiers) in enumerate(groups.items()):
        upper, lower = axes[column], axes[len(groups) + column]
        for classifier in classifiers.score:
            curve = classifiers.sic_curve(classifier)
            rows = [upper if classifier.networks else lower]
            if classifier.features == to_beat.features and classifier.trees != TRAINING_JETS:
                rows = [upper, lower]
            for axis in rows:
                _band(axis, curve, classifier)
            points += [
                {
                    **classifier.row(),
                    "signal_efficiency": efficiency,
                    "sic": value,
                    "low": low,
                    "high": high,
                    f"background_{counted}": count,
                }
                for efficiency, value, low, high, count, before in zip(
                    curve.signal_efficiency,
                    curve.value,
                    curve.low,
                    curve.high,
                    curve.effective_background,
                    (None, *curve.signal_efficiency[:-1]),
                    strict=True,
                )
                if np.isfinite(value) and efficiency != before  # of another cut
            ]
        for axis, row in ((upper, with_images), (lower, without)):
            axis.set_title(f"{title}: {row}", pad=9)  # above the labels of the thin lines
        lower.set(xlabel=style.SIGNAL_EFFICIENCY, xlim=(0, 1))
    for axis in axes[:: len(groups)]:
        axis.set(ylabel=style.SIC)
    axes[0].set_ylim(bottom=0)
    for column, classifiers in enumerate(groups.values()):
        for axis in axes[column :: len(groups)]:
            _lines_of_equal_background(axis, classifiers)
    style.legend(figure, axes)
    note = (
        f"Bands: 68 %. In both rows: {to_beat.words}. Thin lines: this many background {counted} "
        f"pass. Curves end where fewer than {background_min} would"
    )
    if background_min < study.figures.background_jets_min:
        note += f"; max SIC in tables needs {study.figures.background_jets_min}"
    style.heading(figure, f"{note}.")
    return style.Drawing(figure, points, _best_of_curves(points))


def _band(axis: Axes, curve: SICCurve, one: Classifier) -> None:
    look, x = style.look(one) | {"marker": ""}, curve.signal_efficiency
    axis.plot(x, curve.value, label=one.words, **look)
    axis.fill_between(x, curve.low, curve.high, color=look["color"], alpha=0.15, linewidth=0)


def _slopes(classifiers: Classifiers) -> dict[int, float]:
    """SIC / eps_S where n of N background scores pass, sqrt(N / n), for what can of `COUNTS`."""
    n_background = classifiers.effective_background
    counts = [n for n in COUNTS if classifiers.background_min <= n < n_background]
    return {count: float(np.sqrt(n_background / count)) for count in counts}


def _lines_of_equal_background(axis: Axes, classifiers: Classifiers) -> None:
    """Straight from the origin of a SIC curve's panel, labelled outside: no curve lies there."""
    top = axis.get_ylim()[1]
    for count, slope in _slopes(classifiers).items():
        ends_above = slope > top
        end = (top / slope, top) if ends_above else (1, slope)
        axis.plot((0, end[0]), (0, end[1]), color=style.GREY, linewidth=0.4, zorder=0)
        side, level, shift = (
            ("center", "bottom", (0, 1)) if ends_above else ("left", "center", (2, 0))
        )
        look = {"color": style.GREY, "fontsize": 5, "textcoords": "offset points"}
        axis.annotate(f"{count:,}", end, shift, ha=side, va=level, **look)


def _scale_of_background(axis: Axes, classifiers: Classifiers) -> None:
    """On the right of a panel at the working point; lower limits do not lie on it."""
    axis.tick_params(right=False)
    right = axis.twinx()
    right.set_ylim(axis.get_ylim())
    sic = {n: classifiers.study.figures.working_point * x for n, x in _slopes(classifiers).items()}
    seen = {f"{n:,}": value for n, value in sic.items() if value < axis.get_ylim()[1]}
    right.set_yticks(list(seen.values()), list(seen))
    right.set_ylabel("background events, full symbols")


def _count_at_limits(
    axis: Axes, x: np.ndarray, found: Sequence[SICPoint], colour: str, lower: int
) -> None:
    """How many background events pass, below the arrows of a classifier, `lower` points further."""
    look = {"color": colour, "fontsize": 5, "textcoords": "offset points"}
    for position, point in zip(x, found, strict=True):
        if point.is_lower_limit:
            at, count = (position, point.value), str(printed_count(point.effective_background))
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


def _against_mass(results: Results, groups: Mapping[str, Sequence[Classifier]]) -> style.Drawing:
    """One panel a group: SIC at the working point, at each neutralino mass (all stop masses).

    Args:
        groups: title -> trees. Those that were not grown are named in the note; a group without
            any has no panel.
    """
    study, every = results.study, results.of_events
    _, masses = results.masses
    drawn = {title: every.only(wanted) for title, wanted in groups.items()}
    absent = dict.fromkeys(
        one.words for wanted in groups.values() for one in wanted if one not in every.score
    )
    drawn = {title: classifiers for title, classifiers in drawn.items() if classifiers.score}
    figure, axes = style.panels(len(drawn), height=2.9, sharey=True)
    of_mass = results.events["m_neutralino"]
    points = []
    for axis, (title, classifiers) in zip(axes, drawn.items(), strict=True):
        shifts = style.dodge(masses, len(classifiers.score))
        for row, (classifier, shift) in enumerate(zip(classifiers.score, shifts, strict=True)):
            found = [classifiers.sic_at(classifier, of_mass == mass) for mass in masses]
            look, label = style.look(classifier), classifier.words
            if not classifier.features and any(one.features for one in classifiers.score):
                look, label = look | style.ALONE, f"{label}, scores alone"
            style.measured(
                axis,
                masses + shift,
                np.array([[point.value, point.low, point.high] for point in found]).T,
                look,
                label,
                np.array([int(point.is_lower_limit) for point in found]),
            )
            _count_at_limits(axis, masses + shift, found, look["color"], lower=5 * (row % 2))
            points += [
                {
                    "group": title,
                    **classifier.row(),
                    "label": label,
                    "neutralino_mass": mass,
                    "drawn_at": mass + shift,
                    "signal_events": np.count_nonzero(of_mass == mass),
                    "signal_efficiency": point.signal_efficiency,
                    "sic": point.value,
                    "low": point.low,
                    "high": point.high,
                    "background_events": point.effective_background,
                    "is_lower_limit": point.is_lower_limit,
                }
                for mass, point in zip(masses, found, strict=True)
            ]
        axis.set_title(title)
        style.neutralino_axis(axis, masses)
    axes[0].set_ylabel(rf"SIC at $\epsilon_S = {study.figures.working_point:g}$")
    axes[0].set_ylim(0, (1 + style.ARROW_MARGIN) * axes[0].get_ylim()[1])
    _scale_of_background(axes[-1], next(iter(drawn.values())))
    style.legend(figure, axes)
    limits = sum(point["is_lower_limit"] for point in points)
    note = "Errors: 68 %."
    if max(len(classifiers.score) for classifiers in drawn.values()) > 1:
        note += " Points are shifted sideways."
    if limits:
        note += " Open arrows: lower limits (95 %), with the background events that pass."
    most = max(point["signal_efficiency"] for point in points)
    if most > study.figures.working_point + TIED:
        note += f"\nWhere scores are equal, cuts keep up to {100 * most:.0f} % of the signal."
    if absent:
        note += f"\nNot drawn, for want of scores: {'; '.join(absent)}."
    style.heading(figure, note)
    measured = [point for point in points if not point["is_lower_limit"]]
    words = f"{limits} of {len(points)} points are lower limits"
    if measured:
        best = max(measured, key=lambda point: point["sic"])
        words = (
            f"highest: {best['group']} {best['classifier']} {best['sic']:.2f} "
            f"at {best['neutralino_mass']} GeV; {words}"
        )
    return style.Drawing(figure, points, words)

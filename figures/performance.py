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
    with_all_known,
    with_observables,
    without_network,
)
from figures import style
from jets.classifier import TRAINING_JETS, Classifier
from physics import JET_DEFINITIONS
from processes import NONE
from sensitivity.bootstrap import printed_count

TIED = 0.02  # of signal efficiency, kept beyond the working point: worth a word
_SMALL = {"fontsize": 5, "textcoords": "offset points"}
COUNTS = (10, 25, 100, 1_000)  # of background that passes, marked in figures of SIC


def sic_of_jets(results: Results) -> style.Drawing:
    """SIC of single jets: the networks above, below jet mass, jet pT and trees on what is known."""
    groups = {name: results.of_jets(name) for name in results.scores.jets}
    first = next(iter(groups))
    return _sic_curves(groups, "jets", "networks", "without images", without_network(first)[-1])


def sic_of_events(results: Results) -> style.Drawing:
    """SIC of events by trees on their jets' scores above, on masses, pT or angularities below."""
    groups = {
        name: results.of_events.only(
            [*on_three_jets(name, results.networks(name)), *without_network(name)]
        )
        for name in results.scores.jets
    }
    of_row = "events", "trees on a network", "trees without images"
    return _sic_curves(groups, *of_row, without_network(next(iter(groups)))[-1])


def sic_with_all_known(results: Results) -> style.Drawing:
    """The same of AK14 networks with DS2 and all that is classical above, without one below."""
    *with_network, known = with_all_known(results.study.classifiers.networks)
    wanted = [*with_network, known, DS1, DS2, without_network("AK14")[-1]]
    groups = {"AK14": results.of_events.only(wanted)}
    return _sic_curves(groups, "events", "a network, DS2, classical", "without networks", known)


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
    groups: Mapping[str, Classifiers],
    counted: str,
    with_images: str,
    without: str,
    to_beat: Classifier,
) -> style.Drawing:
    """A column a group of `jets` or `events`: networks above, what sees no images below.

    Args:
        to_beat: in both rows, on the jets of each group.
    """
    some = next(iter(groups.values()))
    study, background_min = some.study, some.background_min
    figure, axes = style.panels(len(groups), 2, height=2.5, sharex=True, sharey=True)
    points = []
    for column, (title, classifiers) in enumerate(groups.items()):
        upper, lower = axes[column], axes[len(groups) + column]
        for classifier in classifiers.score:
            curve = classifiers.sic_curve(classifier)
            of_row = [upper if classifier.networks else lower]
            is_same = (classifier.networks, classifier.features) == ((), to_beat.features)
            if is_same and classifier.trees != TRAINING_JETS:
                of_row = [upper, lower]
            look = style.look(classifier) | {"marker": ""}
            for axis in of_row:
                x, label = curve.signal_efficiency, classifier.words
                axis.plot(x, curve.value, label=label, **look)
                shade = {"color": look["color"], "alpha": 0.15, "linewidth": 0}
                axis.fill_between(x, curve.low, curve.high, **shade)
            # Where scores are equal, several points are of one cut.
            is_new = np.diff(curve.signal_efficiency, prepend=-1.0) != 0
            columns = {
                "signal_efficiency": curve.signal_efficiency, "sic": curve.value,
                "low": curve.low, "high": curve.high,
                f"background_{counted}": curve.effective_background,
            }  # fmt: skip
            kept = np.isfinite(curve.value) & is_new
            columns = {name: column[kept] for name, column in columns.items()}
            points += style.rows(classifier.row() | columns)
        for axis, row in ((upper, with_images), (lower, without)):
            axis.set_title(f"{title}: {row}", pad=9)  # above the labels of the thin lines
        lower.set(xlabel=style.SIGNAL_EFFICIENCY, xlim=(0, 1))
    for axis in axes[:: len(groups)]:
        axis.set(ylabel=style.SIC)
    axes[0].set_ylim(bottom=0)
    for axis, classifiers in zip(axes, [*groups.values()] * 2, strict=True):
        _lines_of_equal_background(axis, classifiers)
    style.legend(figure, axes)
    note = (
        f"Bands: 68 %. In both rows: {to_beat.words}. Thin lines: this many background {counted} "
        f"pass. Curves end where fewer than {background_min} would"
    )
    if background_min < study.figures.background_jets_min:
        note += f"; max SIC in tables needs {study.figures.background_jets_min}"
    style.heading(figure, f"{note}.", study.beam_energy)
    return style.Drawing(figure, points, _best_of_curves(points))


def _slopes(classifiers: Classifiers) -> dict[int, float]:
    """SIC / eps_S where n of N background scores pass, sqrt(N / n), for what can of `COUNTS`."""
    n_background = classifiers.effective_background
    counts = [n for n in COUNTS if classifiers.background_min <= n < n_background]
    return {count: float(np.sqrt(n_background / count)) for count in counts}


def _lines_of_equal_background(axis: Axes, classifiers: Classifiers) -> None:
    """From the origin of a SIC curve's panel, labelled outside: no curve lies there."""
    top = axis.get_ylim()[1]
    for count, slope in _slopes(classifiers).items():
        ends_above = slope > top
        end = (top / slope, top) if ends_above else (1, slope)
        axis.plot((0, end[0]), (0, end[1]), color=style.GREY, linewidth=0.4, zorder=0)
        side, level, shift = (
            ("center", "bottom", (0, 1)) if ends_above else ("left", "center", (2, 0))
        )
        axis.annotate(f"{count:,}", end, shift, ha=side, va=level, color=style.GREY, **_SMALL)


def _scale_of_background(axis: Axes, classifiers: Classifiers) -> None:
    """On the right of a panel at the working point; lower limits do not lie on it."""
    axis.tick_params(right=False)
    right = axis.twinx()
    right.set_ylim(axis.get_ylim())
    sic = {n: classifiers.study.figures.working_point * x for n, x in _slopes(classifiers).items()}
    seen = {f"{n:,}": value for n, value in sic.items() if value < axis.get_ylim()[1]}
    right.set_yticks(list(seen.values()), list(seen))
    right.set_ylabel("background events, full symbols")


def _best_of_curves(points: list[dict]) -> str:
    best: dict[str, dict] = {}
    for point in sorted(points, key=lambda point: -point["sic"]):
        best.setdefault(point["jet_definition"], point)
    titles = dict.fromkeys(point["jet_definition"] for point in points)
    return "highest: " + ", ".join(
        f"{title} {best[title]['classifier']} {best[title]['sic']:.2f}" for title in titles
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
    drawn = {title: classifiers for title, classifiers in drawn.items() if classifiers.score}
    wanted = dict.fromkeys(one for of_group in groups.values() for one in of_group)
    absent = dict.fromkeys(one.words for one in wanted if one not in every.score)
    figure, axes = style.panels(len(drawn), height=2.9, sharey=True)
    of_mass = np.where(results.is_stop, results.events["m_neutralino"], NONE)
    points = []
    for axis, (title, classifiers) in zip(axes, drawn.items(), strict=True):
        shifts = style.dodge(masses, len(classifiers.score))
        for row, (classifier, shift) in enumerate(zip(classifiers.score, shifts, strict=True)):
            found = [classifiers.sic_at(classifier, of_mass == mass) for mass in masses]
            look, label = style.look(classifier), classifier.words
            if not classifier.features and any(one.features for one in classifiers.score):
                look, label = look | style.ALONE, f"{label}, scores alone"
            x, limit = masses + shift, np.array([point.is_lower_limit for point in found])
            interval = np.array([[point.value, point.low, point.high] for point in found]).T
            counts = [point.effective_background for point in found]
            style.measured(axis, x, interval, look, label, limit.astype(int))
            for i in np.flatnonzero(limit):  # how many background events pass, below the arrow
                axis.annotate(
                    str(printed_count(counts[i])), (x[i], interval[0, i]), (0, -3 - 5 * (row % 2)),
                    ha="center", va="top", color=look["color"], **_SMALL,
                )  # fmt: skip
            points += style.rows(
                {
                    "group": title, **classifier.row(), "label": label,
                    "neutralino_mass": masses, "drawn_at": x,
                    "signal_events": [np.count_nonzero(of_mass == mass) for mass in masses],
                    "signal_efficiency": [point.signal_efficiency for point in found],
                    "sic": interval[0], "low": interval[1], "high": interval[2],
                    "background_events": counts, "is_lower_limit": limit,
                }
            )  # fmt: skip
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
        name, mass = f"{best['group']} {best['classifier']}", best["neutralino_mass"]
        words = f"highest: {name} {best['sic']:.2f} at {mass} GeV; {words}"
    return style.Drawing(figure, points, words)

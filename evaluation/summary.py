"""What is in the summary table: every figure of merit of a study, beside the published value.

The demo's promises are answered below it, yes or no.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from evaluation.published import published
from evaluation.results import (
    MASS,
    PT_OF_EVENTS,
    TREES_OF_ONE_JET,
    TREES_OF_THREE_JETS,
    Classifiers,
    Results,
    three_jets,
    with_observables,
)
from evaluation.table import Summary
from jets.packed import read_jet_table
from jets.split import events_in_two_splits
from physics import BACKGROUND_UNCERTAINTY
from sensitivity.bootstrap import Estimate, printed_count
from sensitivity.exclusion import ABOVE_GRID, BELOW_GRID, EXCLUSION_LEVEL, INSIDE, UNKNOWN
from sensitivity.sic import MaximumSIC, SICPoint, clopper_pearson, ratio_of_means

_STATUSES = {
    INSIDE: "measured",
    ABOVE_GRID: "lower limit",
    BELOW_GRID: "upper limit",
    UNKNOWN: "undefined",
}


@dataclass(frozen=True)
class Merit:
    """Figures of merit of one classifier: AUC, max SIC, SIC at the working point."""

    auc: float
    maximum: MaximumSIC
    point: SICPoint


def summarise(results: Results, points: Mapping[str, Sequence[Mapping]]) -> Summary:
    """All numbers of a study.

    Args:
        results: of the steps.
        points: of the figures drawn so far, by the figure's name; what they hold is not computed
            again.
    """
    summary = Summary()
    _single_jets(summary, results)
    _trees(summary, results)
    _trainings(summary, results)
    for name in ("sic_networks", "sic_combinations", "sic_observables"):
        _against_mass(summary, results, points.get(name, []))
    _excluded(summary, points.get("gain", []))
    _observables(summary, results)
    _modelling(summary, results)
    _null_check(summary, results)
    _stand_ins(summary, results)
    packed = [read_jet_table(results.study.data_dir / f"{name}.h5") for name in results.scores.jets]
    in_two = events_in_two_splits(results.table.events, packed)
    summary.sentences.append(f"Events in two splits: {in_two} of {len(results.table.events)}.")
    return summary


def _stand_ins(summary: Summary, results: Results) -> None:
    """Where the study's first seed was not trained, and another enters trees and figures."""
    first = results.study.classifiers.seeds[0]
    for name in results.scores.networks:
        if f"{name}/{first}" in results.scores.repeats:
            continue
        seeds = [t.rpartition("/")[2] for t in results.scores.repeats if t.startswith(f"{name}/")]
        other = f"seed {seeds[0]}" if seeds else "a seed that the study does not ask for"
        summary.sentences.append(
            f"{name.replace('/', ' ')}: seed {first} is not trained; {other} stands in."
        )


def _single_jets(summary: Summary, results: Results) -> None:
    study = results.study
    floor = (
        f"max SIC over eps_S >= {study.figures.signal_efficiency_min:g}, at least "
        f"{study.figures.background_jets_min} background jets"
    )
    for definition in results.scores.jets:
        classifiers = results.of_jets(definition)
        names = list(classifiers.score)
        of_paper = {name: ("jets", definition, name) for name in names}
        label = f"{definition} {{}}".format
        _figures_of_merit(
            summary, f"Single jets, held out ({floor})", classifiers, label, of_paper, MASS
        )
        _figures_of_merit(
            summary,
            f"Single jets, background weighted to the signal's jet pT ({floor})",
            classifiers.reweighted(),
            label,
        )
        aucs, mass = classifiers.aucs(), names.index(MASS)
        margins = {}
        for name in results.networks(definition):
            difference = aucs.difference(names.index(name), mass)
            margins[name] = difference.deviations
        if not margins:
            continue
        best = max(margins, key=margins.get)
        summary.sentences.append(
            f"{definition}: a network beats the jet mass by more than two standard errors: "
            f"{_answer(margins[best] > 2)} ({best}, {margins[best]:+.1f})."
        )


def _trees(summary: Summary, results: Results) -> None:
    study, classifiers = results.study, results.of_events
    floor = (
        f"max SIC: at least {study.figures.background_jets_min} background events, "
        f"else {study.figures.background_events_min}"
    )
    of_paper = {
        fit: ("events", definition, network)
        for definition in results.scores.jets
        for fit, network in three_jets(definition, results.networks(definition)).items()
    }
    _figures_of_merit(summary, f"Trees, events held out ({floor})", classifiers, str, of_paper)
    weighted = {"all": "all", **with_observables(study.classifiers.networks)}
    for definition in results.scores.jets:
        weighted |= three_jets(definition, (*results.networks(definition), *TREES_OF_THREE_JETS))
    named = classifiers.named({name: name for name in weighted}).reweighted()
    _figures_of_merit(
        summary,
        f"Trees, background weighted to the signal's hardest {PT_OF_EVENTS} jet ({floor})",
        named,
        str,
    )


def _figures_of_merit(
    summary: Summary,
    section: str,
    classifiers: Classifiers,
    label: Callable[[str], str],
    of_paper: Mapping[str, tuple[str, str, str]] = MappingProxyType({}),
    reference: str | None = None,
) -> None:
    """AUC, max SIC and SIC at the working point of classifiers of the same jets or events.

    Args:
        label: name of a classifier -> its row.
        of_paper: name -> level, jet definition and network of its published numbers.
        reference: AUCs are also given relative to that of this classifier.
    """
    study = classifiers.study
    names = list(classifiers.score)
    aucs = classifiers.aucs()
    for i, name in enumerate(names):
        row, key = label(name), of_paper.get(name, ("", "", ""))
        summary.add_estimate(section, "AUC", row, aucs[i], published(*key, "AUC"))
        if reference not in (None, name):
            difference = aucs.difference(i, names.index(reference))
            summary.add_estimate(section, "AUC - AUC of mass", row, difference)
        maximum = classifiers.max_sic(name)
        count = printed_count(maximum.effective_background)
        if count == study.figures.background_jets_min:
            count = f"{count}, the least allowed"
        best = published(*key, "max SIC")
        summary.add_estimate(section, "max SIC", row, maximum, best, background=count)
        point, quantity = (
            classifiers.sic_at(name),
            f"SIC at eps_S = {study.figures.working_point:g}",
        )
        summary.add(
            section, quantity, row, point.value, point.low, point.high,
            "lower limit" if point.is_lower_limit else "measured", published(*key, quantity),
            background=printed_count(point.effective_background),
        )  # fmt: skip


def _trainings(summary: Summary, results: Results) -> None:
    """Ratios between networks, and to trees that see no images; with several seeds their spread."""

    def of_one_jet(definition: str) -> Classifiers:
        trees = TREES_OF_ONE_JET["same_jets"]
        return results.of_jets(definition).named({trees: trees})

    def of_three_jets(definition: str) -> Classifiers:
        fits = ("mass", "angularities")
        names = {f"{definition}_{fit}": TREES_OF_THREE_JETS[fit] for fit in fits}
        return results.of_events.named(names)

    for level, title, of_seeds, without_images in (
        ("jets", "single jets", results.repeats_of_jets, of_one_jet),
        ("events", "trees on three jets", results.repeats_of_events, of_three_jets),
    ):
        merits: dict[tuple[str, str], list[Merit]] = {}
        trees: dict[tuple[str, str], list[Merit]] = {}
        for definition in results.scores.jets:
            for found, classifiers in ((merits, of_seeds), (trees, without_images)):
                for name, merit in _merits(classifiers(definition)).items():
                    found.setdefault((definition, name.partition("/")[0]), []).append(merit)
        for (definition, network), seeds in merits.items():
            if len(seeds) > 1:
                row = f"{title}: {definition} {network}, {len(seeds)} seeds"
                _mean_and_spread(summary, results.study.figures.working_point, row, seeds)
        _ratios(summary, results.study.figures.working_point, level, title, merits, trees)


def _merits(classifiers: Classifiers) -> dict[str, Merit]:
    aucs = classifiers.aucs().value if classifiers.score else ()
    return {
        name: Merit(auc, classifiers.max_sic(name), classifiers.sic_at(name))
        for name, auc in zip(classifiers.score, aucs, strict=True)
    }


def _mean_and_spread(
    summary: Summary, working_point: float, row: str, seeds: Sequence[Merit]
) -> None:
    section = "Mean and standard deviation over seeds of a training"
    values = {
        "AUC": [seed.auc for seed in seeds],
        "max SIC": [seed.maximum.value for seed in seeds],
        f"SIC at eps_S = {working_point:g}": [
            np.nan if seed.point.is_lower_limit else seed.point.value for seed in seeds
        ],
    }
    for quantity, of_seeds in values.items():
        estimate = Estimate(float(np.mean(of_seeds)), float(np.std(of_seeds, ddof=1)))
        summary.add_estimate(section, quantity, row, estimate)


def _ratios(
    summary: Summary,
    working_point: float,
    level: str,
    title: str,
    merits: Mapping[tuple[str, str], Sequence[Merit]],
    trees: Mapping[tuple[str, str], Sequence[Merit]],
) -> None:
    """SIC of the better over that of the worse, as the paper orders them, and over that of trees.

    Args:
        level: `jets` or `events`, for the published numbers.
        merits: (jet definition, network) -> of each seed.
        trees: (jet definition, name) -> of trees that see no images, once.
    """
    networks = dict.fromkeys(network for _, network in merits)
    definitions = dict.fromkeys(definition for definition, _ in merits)
    claims = [(("AK14", n), (d, n)) for n in networks for d in ("AK10", "AK08")]
    pairs = (("MaxViT", "CoAtNet"), ("CoAtNet", "CNN"), ("MaxViT", "CNN"))
    claims += [((d, a), (d, b)) for d in definitions for a, b in pairs]
    claims += [(seeds, tree) for tree in trees for seeds in merits if seeds[0] == tree[0]]
    section = "The paper's ordering: ratios of SIC, same events (trainings, if more than one)"
    every = merits | trees
    for better, worse in claims:
        if not {better, worse} <= set(every):
            continue
        sides = [every[name] for name in (better, worse)]
        row = f"{title}: {' '.join(better)} / {' '.join(worse)}"
        if max(map(len, sides)) > 1:
            row += f" ({' / '.join(str(len(seeds)) for seeds in sides)})"
        measured = {"max SIC": [[one.maximum for one in seeds] for seeds in sides]}
        points = [[one.point for one in seeds] for seeds in sides]
        if not any(point.is_lower_limit for seeds in points for point in seeds):
            measured[f"SIC at eps_S = {working_point:g}"] = points
        for quantity, pair in measured.items():
            of_paper = [published(level, *name, quantity) for name in (better, worse)]
            ratio = None if None in of_paper else round(of_paper[0] / of_paper[1], 2)
            summary.add_estimate(section, quantity, row, ratio_of_means(*pair), ratio)


def _modelling(summary: Summary, results: Results) -> None:
    """What another shower does to the background that passes the cut of the working point."""
    study, classifiers = results.study, results.of_events
    section = (
        f"Shift of eps_B at eps_S = {study.figures.working_point:g} in other showers, relative "
        f"(assumed uncertainty: {BACKGROUND_UNCERTAINTY:g}; in brackets events passing here, there)"
    )
    if np.count_nonzero(~classifiers.is_signal) < classifiers.background_min:
        return  # no cut can be placed; `exclusions` says so
    for name in classifiers.score if results.varied else ():
        cut = classifiers.cut_at(name)
        nominal = cut.background_efficiency
        spread = float(np.std(cut.resampled_background_efficiency / nominal, ddof=1))
        for variation, trees in results.varied.items():
            passes = trees.fits[name] >= cut.threshold
            low, high = (end / nominal for end in clopper_pearson(passes.sum(), len(passes)))
            share = passes.mean() / nominal
            summary.add(
                section, variation, f"{name}{', looser cut' if cut.is_loosened else ''}", share - 1,
                share - 1 - np.hypot(share - low, share * spread),
                share - 1 + np.hypot(high - share, share * spread),
                background=f"{printed_count(cut.effective_background)}, {passes.sum()}",
            )  # fmt: skip


def _against_mass(summary: Summary, results: Results, points: Sequence[Mapping]) -> None:
    section = (
        f"SIC at eps_S = {results.study.figures.working_point:g} by neutralino mass in GeV, "
        "trees on events"
    )
    for point in points:
        summary.add(
            section,
            "SIC",
            f"{point['group']}: {point['classifier']}",
            point["sic"],
            point["low"],
            point["high"],
            "lower limit" if point["is_lower_limit"] else "measured",
            neutralino_mass=point["neutralino_mass"],
            background=point["background_events"],
        )


def _excluded(summary: Summary, points: Sequence[Mapping]) -> None:
    section = f"Excluded stop mass in GeV (Z = {EXCLUSION_LEVEL}) by neutralino mass in GeV"
    for point in points:
        summary.add(
            section, "excluded stop mass", point["classifier"], point["excluded_mass"],
            point["excluded_low"], point["excluded_high"],
            _STATUSES[point["status"]],
            neutralino_mass=point["neutralino_mass"],
        )  # fmt: skip
    for point in points:
        if point["classifier"] != "DS2":
            summary.add(
                "Gain in excluded stop mass over DS2 alone in GeV by neutralino mass in GeV",
                "gain in excluded stop mass", point["classifier"], point["gain"],
                point["gain_low"], point["gain_high"], point["gain_is"],
                published(
                    "events", "AK14", point["classifier"].removesuffix(" + DS2"),
                    "gain in excluded stop mass", point["neutralino_mass"],
                ),
                point["neutralino_mass"],
            )  # fmt: skip
    if loosened := sum(point["loosened_cuts"] for point in points):
        summary.sentences.append(
            f"Cuts were loosened to keep enough background at {loosened} combinations of "
            "classifier and mass point; exclusion_plane.csv names them."
        )


def _observables(summary: Summary, results: Results) -> None:
    classifiers = results.of_events.named(with_observables(results.study.classifiers.networks))
    names = list(classifiers.score)
    if "DS2" not in names or len(names) < 2:
        return
    aucs = classifiers.aucs()
    reference = names.index("DS2")
    for i, name in enumerate(names):
        if i != reference:
            difference = aucs.difference(i, reference)
            summary.add_estimate("What the scores add to DS2", "AUC - AUC of DS2", name, difference)
            summary.sentences.append(
                f"AUC of {name} is not below that of DS2 by more than two standard errors: "
                f"{_answer(difference.value > -2 * difference.error)}."
            )


def _null_check(summary: Summary, results: Results) -> None:
    groups = {name: results.of_shuffled_jets(name) for name in results.scores.jets}
    groups["trees on"] = results.of_shuffled_events
    for title, classifiers in groups.items():
        if not classifiers.score:
            continue
        aucs = classifiers.aucs()
        for i, name in enumerate(classifiers.score):
            row = f"{title} {name}"
            summary.add_estimate(
                "Null check: trained, tested on permuted labels", "AUC", row, aucs[i]
            )
            summary.sentences.append(
                f"{row}, permuted labels: AUC is 0.5 within three standard errors: "
                f"{_answer(abs(aucs[i].value - 0.5) < 3 * aucs[i].error)}."
            )


def _answer(is_so: bool) -> str:
    return "yes" if is_so else "NO"

"""What is in the summary table: every figure of merit of a study, beside the published value.

The demo's promises are answered below it, yes or no.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.published import published
from evaluation.results import PT_OF_EVENTS, Classifiers, Results
from evaluation.table import LEAST_BACKGROUND, LOOSENED, MEASURED, Summary
from event_level.fits import (
    DS2,
    all_networks,
    jet_mass,
    on_three_jets,
    trees_on_one_jet,
    with_observables,
    without_network,
)
from jets.packed import read_jet_table
from jets.scores import Classifier
from jets.split import events_in_two_splits, relative_weights
from physics import BACKGROUND_UNCERTAINTY
from sensitivity.bootstrap import Estimate, effective_count, is_fewer, printed_count
from sensitivity.exclusion import ABOVE_GRID, BELOW_GRID, EXCLUSION_LEVEL, INSIDE, UNKNOWN
from sensitivity.sic import MaximumSIC, SICPoint, efficiency_interval, ratio_of_means
from study import Study

SIGNAL_PT = "signal pT"  # the spectrum to which a background is weighted
_STATUSES = {
    INSIDE: MEASURED,
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
    summary = Summary(headings(results.study))
    _single_jets(summary, results)
    _trees(summary, results)
    _trainings(summary, results)
    figures = ("sic_networks", "sic_combinations", "sic_observables")
    _against_mass(summary, [point for name in figures for point in points.get(name, [])])
    _excluded(summary, points.get("gain", []))
    _observables(summary, results)
    _modelling(summary, results)
    _null_check(summary, results)
    _stand_ins(summary, results)
    packed = [read_jet_table(results.study.data_dir / f"{name}.h5") for name in results.scores.jets]
    in_two = events_in_two_splits(results.table.events, packed)
    summary.sentences.append(f"Events in two splits: {in_two} of {len(results.table.events)}.")
    return summary


def headings(study: Study) -> dict[tuple[str, str, str], str]:
    """What is printed above the rows of a table, level and spectrum."""
    at_point, least = _at_point(study), study.figures.background_jets_min
    jets = (
        f"max SIC over eps_S >= {study.figures.signal_efficiency_min:g}, at least {least} "
        "background jets"
    )
    events = (
        f"max SIC: at least {least} background events, else {study.figures.background_events_min}"
    )
    found = {
        ("merits", "jets", ""): f"Single jets, held out ({jets}; AUC difference: to the jet mass)",
        ("merits", "jets", SIGNAL_PT): (
            f"Single jets, background weighted to the signal's jet pT ({jets})"
        ),
        ("merits", "events", ""): f"Trees, events held out ({events})",
        ("merits", "events", SIGNAL_PT): (
            f"Trees, background weighted to the signal's hardest {PT_OF_EVENTS} jet ({events})"
        ),
        ("against_mass", "events", ""): (f"{at_point} by neutralino mass in GeV, trees on events"),
        ("excluded", "events", ""): (
            f"Excluded stop mass in GeV (Z = {EXCLUSION_LEVEL}) by neutralino mass in GeV (least "
            "background behind a cut)"
        ),
        ("gain", "events", ""): (
            "Gain in excluded stop mass over DS2 alone in GeV by neutralino mass in GeV"
        ),
        ("added", "events", ""): "What the scores add to DS2",
        ("modelling", "events", ""): (
            f"eps_B of the cut at {at_point.removeprefix('SIC at ')}, and its relative shift in "
            f"other showers (assumed uncertainty: {BACKGROUND_UNCERTAINTY:g})"
        ),
    }
    for level, title in (("jets", "single jets"), ("events", "trees on three jets")):
        found["seeds", level, ""] = f"Mean and standard deviation over seeds (trainings), {title}"
        found["ratios", level, ""] = (
            f"The paper's ordering, {title}: ratios of SIC, same events (trainings, if more than "
            "one)"
        )
        found["null_check", level, ""] = f"Null check, {title}: trained, tested on permuted labels"
    return found


def _at_point(study: Study) -> str:
    return f"SIC at eps_S = {study.figures.working_point:g}"


def _stand_ins(summary: Summary, results: Results) -> None:
    """Where the study's first seed was not trained, and another enters trees and figures."""
    first, repeats = results.study.classifiers.seeds[0], results.scores.repeats
    for one in results.scores.networks:
        if one._replace(seed=first) in repeats:
            continue
        seeds = [training.seed for training in repeats if training._replace(seed=None) == one]
        other = f"seed {seeds[0]}" if seeds else "a seed that the study does not ask for"
        summary.sentences.append(f"{one.label}: seed {first} is not trained; {other} stands in.")


def _single_jets(summary: Summary, results: Results) -> None:
    for definition in results.scores.jets:
        classifiers, mass = results.of_jets(definition), jet_mass(definition)
        _figures_of_merit(summary, classifiers, reference=mass)
        _figures_of_merit(summary, classifiers.reweighted(), SIGNAL_PT)
        aucs, names = classifiers.aucs(), list(classifiers.score)
        margins = {
            one.words: aucs.difference(i, names.index(mass)).deviations
            for i, one in enumerate(names)
            if one.networks
        }
        if not margins:
            continue
        best = max(margins, key=margins.get)
        summary.sentences.append(
            f"{definition}: a network beats the jet mass by more than two standard errors: "
            f"{_answer(margins[best] > 2)} ({best}, {margins[best]:+.1f})."
        )


def _trees(summary: Summary, results: Results) -> None:
    classifiers = results.of_events
    _figures_of_merit(summary, classifiers)
    weighted = [all_networks()[-1], *with_observables(results.study.classifiers.networks)]
    for definition in results.scores.jets:
        weighted += on_three_jets(definition, results.networks(definition))
        weighted += without_network(definition)
    _figures_of_merit(summary, classifiers.only(weighted).reweighted(), SIGNAL_PT)


def _figures_of_merit(
    summary: Summary,
    classifiers: Classifiers,
    spectrum: str = "",
    reference: Classifier | None = None,
) -> None:
    """AUC, max SIC and SIC at the working point of classifiers of the same jets or events.

    Args:
        spectrum: of the background; published numbers stand beside those of its own.
        reference: AUCs are also given relative to that of this classifier.
    """
    study, names, aucs = classifiers.study, list(classifiers.score), classifiers.aucs()
    at_point, least = _at_point(study), study.figures.background_jets_min
    for i, one in enumerate(names):
        quantities = () if spectrum else ("AUC", "max SIC", at_point)
        of_paper = {quantity: published(one, quantity) for quantity in quantities}

        def more(quantity: str, of_paper: Mapping = of_paper) -> dict[str, object]:
            return {"spectrum": spectrum, "published": of_paper.get(quantity)}

        n = classifiers.effective_background
        summary.add_estimate("merits", one, "AUC", aucs[i], **more("AUC"), effective_background=n)
        if reference not in (None, one):
            difference = aucs.difference(i, names.index(reference))
            summary.add_estimate("merits", one, "AUC difference", difference, reference=reference)
        maximum, point = classifiers.max_sic(one), classifiers.sic_at(one)
        is_least = printed_count(maximum.effective_background) == least
        summary.add_estimate(
            "merits", one, "max SIC", maximum, **more("max SIC"),
            status=LEAST_BACKGROUND if is_least else MEASURED,
            effective_background=maximum.effective_background,
        )  # fmt: skip
        summary.add(
            "merits", one, at_point, point.value, point.low, point.high, **more(at_point),
            status="lower limit" if point.is_lower_limit else MEASURED,
            effective_background=point.effective_background,
        )  # fmt: skip


def _trainings(summary: Summary, results: Results) -> None:
    """Ratios between networks, and to trees that see no images; with several seeds their spread."""

    def of_one_jet(definition: str) -> Classifiers:
        return results.of_jets(definition).only(trees_on_one_jet(definition)[-1:])

    def of_three_jets(definition: str) -> Classifiers:
        trees = without_network(definition)
        return results.of_events.only([trees[0], trees[-1]])

    for of_seeds, without_images in (
        (results.repeats_of_jets, of_one_jet),
        (results.repeats_of_events, of_three_jets),
    ):
        merits: dict[Classifier, list[Merit]] = {}
        trees: dict[Classifier, list[Merit]] = {}
        for definition in results.scores.jets:
            for found, classifiers in ((merits, of_seeds), (trees, without_images)):
                for one, merit in _merits(classifiers(definition)).items():
                    found.setdefault(one._replace(seed=None), []).append(merit)
        for one, seeds in merits.items():
            if len(seeds) > 1:
                _mean_and_spread(summary, _at_point(results.study), one, seeds)
        _ratios(summary, _at_point(results.study), merits, trees)


def _merits(classifiers: Classifiers) -> dict[Classifier, Merit]:
    aucs = classifiers.aucs().value if classifiers.score else ()
    return {
        one: Merit(auc, classifiers.max_sic(one), classifiers.sic_at(one))
        for one, auc in zip(classifiers.score, aucs, strict=True)
    }


def _mean_and_spread(
    summary: Summary, at_point: str, classifier: Classifier, seeds: Sequence[Merit]
) -> None:
    values = {
        "AUC": [seed.auc for seed in seeds],
        "max SIC": [seed.maximum.value for seed in seeds],
        at_point: [np.nan if seed.point.is_lower_limit else seed.point.value for seed in seeds],
    }
    for quantity, of_seeds in values.items():
        estimate = Estimate(float(np.mean(of_seeds)), float(np.std(of_seeds, ddof=1)))
        summary.add_estimate("seeds", classifier, quantity, estimate, trainings=len(seeds))


def _ratios(
    summary: Summary,
    at_point: str,
    merits: Mapping[Classifier, Sequence[Merit]],
    trees: Mapping[Classifier, Sequence[Merit]],
) -> None:
    """SIC of the better over that of the worse, as the paper orders them, and over that of trees.

    Args:
        at_point: SIC at the working point, by its name.
        merits: of each seed of networks, or of trees on their scores.
        trees: of trees that see no images, once.
    """
    some = next(iter(merits), Classifier())
    networks, definitions = (dict.fromkeys(one[i][0] for one in merits) for i in (1, 0))
    pairs = [(("AK14", n), (d, n)) for n in networks for d in ("AK10", "AK08")]
    ordered = (("MaxViT", "CoAtNet"), ("CoAtNet", "CNN"), ("MaxViT", "CNN"))
    pairs += [((d, a), (d, b)) for d in definitions for a, b in ordered]
    claims = [
        [some._replace(jet_definitions=(d,), networks=(n,)) for d, n in pair] for pair in pairs
    ]
    claims += [
        [one, tree]
        for tree in trees
        for one in merits
        if one.jet_definitions == tree.jet_definitions
    ]
    every = merits | trees
    for better, worse in claims:
        if not {better, worse} <= set(every):
            continue
        sides = every[better], every[worse]
        measured = {"max SIC": [[one.maximum for one in seeds] for seeds in sides]}
        points = [[one.point for one in seeds] for seeds in sides]
        if not any(point.is_lower_limit for seeds in points for point in seeds):
            measured[at_point] = points
        for quantity, pair in measured.items():
            of_paper = [published(one, quantity) for one in (better, worse)]
            summary.add_estimate(
                "ratios", better, f"ratio of {quantity}", ratio_of_means(*pair), reference=worse,
                trainings=len(sides[0]), reference_trainings=len(sides[1]),
                published=None if None in of_paper else round(of_paper[0] / of_paper[1], 2),
            )  # fmt: skip


def _modelling(summary: Summary, results: Results) -> None:
    """What another shower does to the background that passes the cut of the working point."""
    classifiers = results.of_events
    if is_fewer(classifiers.effective_background, classifiers.background_min):
        return  # no cut can be placed; `exclusions` says so
    for one in classifiers.score if results.varied else ():
        cut = classifiers.cut_at(one)
        nominal, status = cut.background_efficiency, LOOSENED if cut.is_loosened else MEASURED
        error = float(np.std(cut.resampled_background_efficiency, ddof=1))
        summary.add_estimate(
            "modelling", one, "eps_B", Estimate(nominal, error), status=status,
            effective_background=cut.effective_background,
        )  # fmt: skip
        for variation, trees in results.varied.items():
            weight = relative_weights(results.table.events[trees.event])
            passing = weight * (trees.fits[one] >= cut.threshold)
            effective, of_all = (effective_count(w.sum(), (w**2).sum()) for w in (passing, weight))
            share = passing.sum() / weight.sum()
            ends = efficiency_interval(share, effective, of_all)
            low, ratio, high = (x / nominal for x in (ends[0], share, ends[1]))
            spread = ratio * error / nominal
            summary.add(
                "modelling", one, "shift of eps_B", ratio - 1,
                ratio - 1 - np.hypot(ratio - low, spread),
                ratio - 1 + np.hypot(high - ratio, spread),
                variation=variation, effective_background=effective,
            )  # fmt: skip


def _against_mass(summary: Summary, points: Sequence[Mapping]) -> None:
    """Trees that stand in several figures have one row at each mass."""
    for point in {(Classifier.of_row(p), p["neutralino_mass"]): p for p in points}.values():
        summary.add(
            "against_mass", Classifier.of_row(point), "SIC", point["sic"], point["low"],
            point["high"], neutralino_mass=point["neutralino_mass"],
            status="lower limit" if point["is_lower_limit"] else MEASURED,
            effective_background=point["background_events"],
        )  # fmt: skip


def _excluded(summary: Summary, points: Sequence[Mapping]) -> None:
    for point in points:
        one, at_mass = Classifier.of_row(point), {"neutralino_mass": point["neutralino_mass"]}
        summary.add(
            "excluded", one, "excluded stop mass", point["excluded_mass"], point["excluded_low"],
            point["excluded_high"], status=_STATUSES[point["status"]], **at_mass,
            effective_background=point["background_events"],
        )  # fmt: skip
        if one != DS2:
            quantity = "gain in excluded stop mass"
            summary.add(
                "gain", one, quantity, point["gain"], point["gain_low"], point["gain_high"],
                reference=DS2, status=point["gain_is"], **at_mass,
                published=published(one, quantity, point["neutralino_mass"]),
            )  # fmt: skip
    if loosened := sum(point["loosened_cuts"] for point in points):
        summary.sentences.append(
            f"Cuts were loosened to keep enough background at {loosened} combinations of "
            "classifier and mass point; exclusion_plane.csv names them."
        )


def _observables(summary: Summary, results: Results) -> None:
    classifiers = results.of_events.only(with_observables(results.study.classifiers.networks))
    names = list(classifiers.score)
    if DS2 not in names or len(names) < 2:
        return
    aucs = classifiers.aucs()
    for i, one in enumerate(names):
        if one != DS2:
            difference = aucs.difference(i, names.index(DS2))
            summary.add_estimate("added", one, "AUC difference", difference, reference=DS2)
            summary.sentences.append(
                f"AUC of {one.label} is not below that of DS2 by more than two standard errors: "
                f"{_answer(difference.value > -2 * difference.error)}."
            )


def _null_check(summary: Summary, results: Results) -> None:
    of_jets = [results.of_shuffled_jets(name) for name in results.scores.jets]
    for classifiers in (*of_jets, results.of_shuffled_events):
        aucs = classifiers.aucs() if classifiers.score else []
        for one, auc in zip(classifiers.score, aucs, strict=True):
            summary.add_estimate("null_check", one, "AUC", auc)
            summary.sentences.append(
                f"{'trees on ' * (one.level == 'events')}{one.label}, permuted labels: AUC is 0.5 "
                f"within three standard errors: {_answer(abs(auc.value - 0.5) < 3 * auc.error)}."
            )


def _answer(is_so: bool) -> str:
    return "yes" if is_so else "NO"

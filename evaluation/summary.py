"""What is in the summary table: every figure of merit of a study, beside the published value.

The demo's promises are answered below it, yes or no.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.published import published
from evaluation.results import Classifiers, Results
from evaluation.table import (
    LEAST_BACKGROUND,
    LOOSENED,
    MEASURED,
    SIGNAL_PT,
    SIGNAL_PT_AND_MASS,
    Summary,
)
from event_level.fits import (
    DS2,
    all_networks,
    jet_mass,
    on_three_jets,
    trees_on_one_jet,
    with_all_known,
    with_observables,
    without_network,
)
from jets.classifier import Classifier
from jets.packed import read_jet_table
from jets.split import events_in_two_splits, relative_weights
from physics import BACKGROUND_UNCERTAINTY
from processes import PROCESSES, variations_of
from sensitivity.bootstrap import Estimate, effective_count, is_fewer, printed_count
from sensitivity.exclusion import ABOVE_GRID, BELOW_GRID, EXCLUSION_LEVEL, INSIDE
from sensitivity.sic import SICPoint, efficiency_interval, ratio_of_means
from study import Study

_STATUSES = {INSIDE: MEASURED, ABOVE_GRID: "lower limit", BELOW_GRID: "upper limit"}


def summarise(results: Results, points: Mapping[str, Sequence[Mapping]]) -> Summary:
    """All numbers of a study; those in figures come from their `points`, by the figure's name."""
    summary = Summary(_titles(results.study))
    for add in (_single_jets, _trees, _trainings):
        add(summary, results)
    _against_mass(summary, points, results.study.figures.working_point)
    _excluded(summary, points.get("gain", []))
    other_showers(summary, results, results.of_events)
    for add in (_observables, _null_check, _stand_ins):
        add(summary, results)
    packed = [read_jet_table(results.study.data_dir / f"{name}.h5") for name in results.scores.jets]
    in_two = events_in_two_splits(results.table.events, packed)
    summary.sentences.append(f"Events in two splits: {in_two} of {len(results.table.events)}.")
    return summary


def _titles(study: Study) -> dict[str, str]:
    figures, by_mass = study.figures, "by neutralino mass in GeV"
    at_point = f"eps_S = {figures.working_point:g}"
    return {
        "merits": f"held out (max SIC over eps_S >= {figures.signal_efficiency_min:g} with "
        f"at least {figures.background_jets_min} background jets or events; AUC difference: to the "
        "jet mass)",
        "seeds": "mean and standard deviation over seeds (trainings)",
        "ratios": "the paper's ordering, ratios on the same events (trainings, if more than one)",
        "against_mass": f"SIC at {at_point} {by_mass}",
        "excluded": f"excluded stop mass in GeV (Z = {EXCLUSION_LEVEL}) {by_mass}, with the least "
        "background behind a cut",
        "gain": f"gain in excluded stop mass over DS2 alone in GeV {by_mass}",
        "added": "what the scores add to the same features without them",
        "modelling": f"eps_B of the cut at {at_point}, and its relative shift in "
        f"other showers (assumed uncertainty: {BACKGROUND_UNCERTAINTY:g})",
        "null_check": "null check, trained and tested on permuted labels",
    }


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
        _figures_of_merit(summary, classifiers.reweighted("pt"), SIGNAL_PT)
        _figures_of_merit(summary, classifiers.reweighted("pt", "mass"), SIGNAL_PT_AND_MASS)
        aucs, names = classifiers.aucs, list(classifiers.score)
        networks = [i for i, one in enumerate(names) if one.networks]
        if not networks:
            continue
        margin, words = max(
            (aucs.difference(i, names.index(mass)).deviations, names[i].words) for i in networks
        )
        summary.sentences.append(
            f"{definition}: a network beats the jet mass by more than two standard errors: "
            f"{_answer(margin > 2)} ({words}, {margin:+.1f})."
        )


def _trees(summary: Summary, results: Results) -> None:
    _figures_of_merit(summary, results.of_events)
    networks = results.study.classifiers.networks
    weighted = [all_networks()[-1], *with_observables(networks), *with_all_known(networks)]
    for definition in results.scores.jets:
        weighted += on_three_jets(definition, results.networks(definition))
        weighted += without_network(definition)
    _figures_of_merit(summary, results.of_events.only(weighted).reweighted("pt"), SIGNAL_PT)


def _figures_of_merit(
    summary: Summary,
    classifiers: Classifiers,
    spectrum: str = "",
    reference: Classifier | None = None,
) -> None:
    """AUC (relative to that of a reference too), max SIC and SIC at the working point."""
    names = list(classifiers.score)
    for one, merits in _merits(classifiers).items():
        for (quantity, efficiency), merit in merits.items():
            n = getattr(merit, "effective_background", classifiers.effective_background)
            is_least = printed_count(n) == classifiers.study.figures.background_jets_min
            status = LEAST_BACKGROUND if is_least and quantity == "max SIC" else MEASURED
            summary.add(
                "merits", one, quantity, merit, spectrum=spectrum, signal_efficiency=efficiency,
                status="lower limit" if _is_limit(merit) else status, effective_background=n,
                published=None if spectrum else published(one, quantity, efficiency),
            )  # fmt: skip
            if quantity == "AUC" and reference not in (None, one):
                change = classifiers.aucs.difference(names.index(one), names.index(reference))
                summary.add("merits", one, "AUC difference", change, reference)


_Merits = Mapping[tuple[str, float | str], Estimate | SICPoint]


def _merits(classifiers: Classifiers) -> dict[Classifier, _Merits]:
    """Classifier -> quantity, and the signal efficiency of a given cut -> what is measured."""
    point = classifiers.study.figures.working_point
    measured = {}
    for i, one in enumerate(classifiers.score):
        auc, max_sic = classifiers.aucs[i], classifiers.max_sic(one)
        sic = classifiers.sic_at(one)
        measured[one] = {("AUC", ""): auc, ("max SIC", ""): max_sic, ("SIC", point): sic}
    return measured


def _is_limit(merit: Estimate | SICPoint) -> bool:
    return isinstance(merit, SICPoint) and merit.is_lower_limit


def _trainings(summary: Summary, results: Results) -> None:
    """Ratios between networks, and to trees that see no images; with several seeds their spread."""
    for of_seeds, without_images in (
        (results.repeats_of_jets, lambda d: results.of_jets(d).only(trees_on_one_jet(d)[-1:])),
        # On the mass, and on all that is known.
        (results.repeats_of_events, lambda d: results.of_events.only(without_network(d)[::3])),
    ):
        seeds, trees = {}, {}
        for definition in results.scores.jets:
            for found, make in ((seeds, of_seeds), (trees, without_images)):
                for one, merits in _merits(make(definition)).items():
                    found.setdefault(one._replace(seed=None), []).append(merits)
        for one, several in seeds.items():
            for key in several[0] if len(several) > 1 else ():
                some = [merits[key] for merits in several]
                values = [np.nan if _is_limit(merit) else merit.value for merit in some]
                spread = Estimate(float(np.mean(values)), float(np.std(values, ddof=1)))
                more = {"signal_efficiency": key[1], "trainings": len(several)}
                summary.add("seeds", one, key[0], spread, **more)
        _ratios(summary, seeds, trees)


_Trainings = Mapping[Classifier, Sequence[_Merits]]


def _ratios(summary: Summary, seeds: _Trainings, trees: _Trainings) -> None:
    """SIC of the better over that of the worse, as the paper orders them, and over trees."""
    some = next(iter(seeds), Classifier())
    networks, definitions = (dict.fromkeys(one[i][0] for one in seeds) for i in (1, 0))
    pairs = [(("AK14", n), (d, n)) for n in networks for d in ("AK10", "AK08")]
    ordered = (("MaxViT", "CoAtNet"), ("CoAtNet", "CNN"), ("MaxViT", "CNN"))
    pairs += [((d, a), (d, b)) for d in definitions for a, b in ordered]
    claims = [[some._replace(jet_definitions=(d,), networks=(n,)) for d, n in p] for p in pairs]
    claims += [[a, tree] for tree in trees for a in seeds if a[0] == tree[0]]
    every = seeds | trees
    for better, worse in claims:
        if not {better, worse} <= every.keys():
            continue
        for key in list(every[better][0])[1:]:  # not of the AUC
            sides = [[merits[key] for merits in every[one]] for one in (better, worse)]
            if any(_is_limit(merit) for side in sides for merit in side):
                continue
            of_paper = [published(one, *key) for one in (better, worse)]
            summary.add(
                "ratios", better, f"ratio of {key[0]}", ratio_of_means(*sides), worse,
                signal_efficiency=key[1],
                trainings=len(sides[0]), reference_trainings=len(sides[1]),
                published=None if None in of_paper else round(of_paper[0] / of_paper[1], 2),
            )  # fmt: skip


def other_showers(summary: Summary, results: Results, classifiers: Classifiers) -> None:
    """What another shower does to the background that passes the cut of the working point.

    Args:
        classifiers: those of `results` over events that are asked for.
    """
    if not results.varied or is_fewer(classifiers.effective_background, classifiers.background_min):
        return  # in the second case no cut can be placed; `exclusions` says so
    number = results.events["process"]
    varied = {
        variation: np.isin(number, [PROCESSES[part.varies].number for part in parts])
        for variation, parts in variations_of(PROCESSES).items()
    }
    working_point = results.study.figures.working_point
    for one in classifiers.score:
        cut = classifiers.cut_at(one)
        error = np.std(cut.resampled_background_efficiency, ddof=1)
        summary.add(
            "modelling", one, "eps_B", Estimate(cut.background_efficiency, float(error)),
            signal_efficiency=working_point,
            status=LOOSENED if cut.is_loosened else MEASURED,
            effective_background=cut.effective_background,
        )  # fmt: skip
        for variation, trees in results.varied.items():
            nominal = classifiers.background_efficiency(one, cut.threshold, varied[variation])
            if not nominal.value > 0:  # what passes is of other backgrounds
                continue
            weight = relative_weights(results.table.events[trees.event])
            passing = weight * (trees.fits[one] >= cut.threshold)
            effective, of_all = (effective_count(w.sum(), (w**2).sum()) for w in (passing, weight))
            share = passing.sum() / weight.sum()
            low, high = np.divide(efficiency_interval(share, effective, of_all), nominal.value)
            ratio = share / nominal.value
            spread = ratio * nominal.error / nominal.value
            if effective:
                # Var(share) / share^2 = (1 - 2 share) / effective + 1 / of_all, the interval has
                # (1 - share) / effective: the rest is 0 unless what passes has other weights.
                mean, of_passing = (w @ weight / w.sum() for w in (weight, passing))
                rest = max(mean - of_passing, 0.0) / weight.sum()
                spread = np.hypot(spread, ratio * np.sqrt(rest))
            below, above = np.hypot(ratio - low, spread), np.hypot(high - ratio, spread)
            summary.add(
                "modelling", one, "shift of eps_B", np.add(ratio - 1, (0.0, -below, above)),
                variation=variation, signal_efficiency=working_point,
                effective_background=effective,
            )  # fmt: skip


def _against_mass(
    summary: Summary, points: Mapping[str, Sequence[Mapping]], working_point: float
) -> None:
    """Trees that stand in several figures have one row at each mass."""
    figures = ("sic_networks", "sic_combinations", "sic_observables")
    found = [point for name in figures for point in points.get(name, [])]
    by_key = {(point["classifier"], point["neutralino_mass"]): point for point in found}
    for (one, mass), point in by_key.items():
        summary.add(
            "against_mass", one, "SIC", [point[name] for name in ("sic", "low", "high")],
            signal_efficiency=working_point, neutralino_mass=mass,
            status="lower limit" if point["is_lower_limit"] else MEASURED,
            effective_background=point["background_events"],
        )  # fmt: skip


def _excluded(summary: Summary, points: Sequence[Mapping]) -> None:
    for point in points:
        one, mass = point["classifier"], point["neutralino_mass"]
        excluded = [point[f"excluded_{name}"] for name in ("mass", "low", "high")]
        summary.add(
            "excluded", one, "excluded stop mass", excluded, neutralino_mass=mass,
            status=_STATUSES.get(point["status"], "undefined"),
            effective_background=point["background_events"],
        )  # fmt: skip
        if one != DS2:
            quantity = "gain in excluded stop mass"
            gained = [point[name] for name in ("gain", "gain_low", "gain_high")]
            summary.add(
                "gain", one, quantity, gained, DS2, neutralino_mass=mass, status=point["gain_is"],
                published=published(one, quantity, neutralino_mass=mass),
            )  # fmt: skip
    if loosened := sum(point["loosened_cuts"] for point in points):
        summary.sentences.append(
            f"Cuts were loosened to keep enough background at {loosened} combinations of "
            "classifier and mass point; exclusion_plane.csv names them."
        )


def _observables(summary: Summary, results: Results) -> None:
    networks = results.study.classifiers.networks
    of_both = [wanted(networks) for wanted in (with_observables, with_all_known)]
    classifiers = results.of_events.only(itertools.chain(*of_both))
    names = list(classifiers.score)
    for *with_network, alone in of_both:
        for one in with_network:
            if not {one, alone} <= set(names):
                continue
            difference = classifiers.aucs.difference(names.index(one), names.index(alone))
            summary.add("added", one, "AUC difference", difference, alone)
            summary.sentences.append(
                f"AUC of {one.label} is not below that of {alone.label} by more than two standard "
                f"errors: {_answer(difference.value > -2 * difference.error)}."
            )


def _null_check(summary: Summary, results: Results) -> None:
    of_jets = [results.of_shuffled_jets(name) for name in results.scores.jets]
    for classifiers in (*of_jets, results.of_shuffled_events):
        for i, one in enumerate(classifiers.score):
            auc = classifiers.aucs[i]
            summary.add("null_check", one, "AUC", auc)
            summary.sentences.append(
                f"{'trees on ' * (one.level == 'events')}{one.label}, permuted labels: AUC is 0.5 "
                f"within three standard errors: {_answer(abs(auc.value - 0.5) < 3 * auc.error)}."
            )


def _answer(is_so: bool) -> str:
    return "yes" if is_so else "NO"

"""Networks of events beside the trees that see the same: figures of merit, paired differences.

A number of a network is the mean over its seeds. Its error holds the test events, which all seeds
share, and the spread of the seeds.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.exclusions import exclusions, gain_over, masses_of_seeds
from evaluation.results import Classifiers, Results
from evaluation.table import NONE, Summary
from event_level.fits import beside_event_networks, spectator
from jets.classifier import Classifier
from sensitivity.bootstrap import mean_of_seeds
from sensitivity.exclusion import EXCLUSION_LEVEL
from sensitivity.sic import sic_of_seeds
from study import Study

# A network, as its first seed, or the trees -> all its seeds.
_Groups = Mapping[Classifier, Sequence[Classifier]]


def compare(results: Results, with_masses: bool) -> Summary:
    """All networks of events beside their trees; no rows if the study has no such networks.

    Args:
        with_masses: excluded stop masses too, which not every study has.
    """
    study, found = results.study, Summary(_titles(results.study))
    for trees, networks in beside_event_networks(study).items():
        groups: dict[Classifier, list[Classifier]] = {}
        for one in networks:
            if one in results.trees.fits:
                first = one.event_network._replace(seed=study.event_networks.seeds[0])
                groups.setdefault(one._replace(event_network=first), []).append(one)
        if not groups:
            continue
        groups = {trees: [trees]} | groups
        classifiers = results.of_fits(one for seeds in groups.values() for one in seeds)
        _merits(found, classifiers, groups)
        if study.event_networks.spectator:
            _correlations(found, results, classifiers, groups)
        if with_masses:
            _excluded(found, results, classifiers, groups)
    return found


def tidy(found: Summary) -> list[dict[str, object]]:
    """Its rows for a file, with columns that say which network of events; empty of trees."""
    rows = []
    for row in found.rows:
        made = row["classifier"].event_network
        names = ("event_network", "loss", "decorrelation")
        rows.append(dict(zip(names, made[:3] if made else ("", "", ""), strict=True)) | row)
    return rows


def _titles(study: Study) -> dict[str, str]:
    away = study.event_networks.spectator
    return {
        "merits": "networks of events beside trees on the same inputs, means over seeds (trainings)"
        + f"; squared distance correlation of the background's score with {away}" * bool(away),
        "excluded": f"excluded stop mass in GeV (Z = {EXCLUSION_LEVEL}) by neutralino mass in GeV",
        "gain": "gain in excluded stop mass over the trees in GeV by neutralino mass in GeV",
    }


def _merits(found: Summary, classifiers: Classifiers, groups: _Groups) -> None:
    """AUC and SIC at the working point, and what of them is gained over the trees."""
    place = {one: i for i, one in enumerate(classifiers.score)}
    sic = {one: classifiers.sic_at(one) for one in place}
    (trees, *_), point = groups, classifiers.study.figures.working_point
    for one, seeds in groups.items():
        rows, several = [place[seed] for seed in seeds], {"trainings": len(seeds)}
        auc = mean_of_seeds([classifiers.aucs[i] for i in rows])
        n = classifiers.effective_background
        found.add("merits", one, "AUC", auc, effective_background=n, **several)
        points, cut = [sic[seed] for seed in seeds], {"signal_efficiency": point}
        number, n, ratio = sic_of_seeds(points, [sic[trees]])
        found.add("merits", one, "SIC", number, effective_background=n, **cut, **several)
        if one == trees:
            continue
        several["reference_trainings"] = 1
        gained = classifiers.aucs.difference_of_means(rows, [place[trees]])
        found.add("merits", one, "AUC difference", gained, trees, **several)
        if np.isfinite(ratio.value):
            found.add("merits", one, "ratio of SIC", ratio, trees, **cut, **several)


def _correlations(
    found: Summary, results: Results, classifiers: Classifiers, groups: _Groups
) -> None:
    """How far the scores of the background follow the study's spectator."""
    from training.metrics import distance_correlation_of  # PyTorch, which no other table needs

    seen = spectator(results.study.event_networks.spectator, results.scores, results.table)
    background = ~classifiers.is_signal
    columns = [c[background] for c in (seen, classifiers.weight, classifiers.event)]
    for one, seeds in groups.items():
        scores = (classifiers.score[seed][background] for seed in seeds)
        mean = mean_of_seeds([distance_correlation_of(score, *columns) for score in scores])
        found.add("merits", one, "squared distance correlation", mean, trainings=len(seeds))


def _excluded(found: Summary, results: Results, classifiers: Classifiers, groups: _Groups) -> None:
    """Excluded stop masses, and the gain over the trees."""
    known = {one.classifier: one for one in exclusions(results, classifiers)}
    trees = known[next(iter(groups))]
    for one, seeds in groups.items():
        of_seeds = [known[seed] for seed in seeds]
        masses = [(exclusion.interval, exclusion.limit) for exclusion in of_seeds]
        gains = [gain_over(exclusion, trees) for exclusion in of_seeds]
        for table, quantity, numbers, reference in (
            ("excluded", "excluded stop mass", masses, NONE),
            ("gain", "gain in excluded stop mass", gains, trees.classifier),
        ):
            if one == reference:
                continue
            for mass, (number, status) in zip(
                trees.neutralino_mass, masses_of_seeds(numbers), strict=True
            ):
                found.add(
                    table, one, quantity, number, reference, neutralino_mass=mass, status=status,
                    trainings=len(seeds), reference_trainings=1 if reference != NONE else "",
                )  # fmt: skip

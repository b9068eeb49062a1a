"""What do networks add where the signal is? The tables of doc/tail.md.

Every network is trained on jets without selection, of hard top pairs and of stop pairs, in the ways
of `WAYS`, and tested on held-out selected events. Single jets are those of events with HT above
`HT_MIN`, compared at equal spectra. Over events a network's three scores stand beside all that
takes no network. No setting was chosen by held-out events.

Reads   the sample of the study.
Writes  Data/<study>_<way>/, a study of its own each; the tables of the study's page, also as
        results/<study>_<table>.csv beside it, and figures/<study>.png, with every way that is done.
        The page of studies/tail.toml is doc/tail.md; two of its tables stand in README.md too.

    python -m studies.tail --study studies/tail.toml
    python -m studies.tail --study studies/tail.toml --ways equal_pt --seeds 0
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from command import InputError, run
from evaluation.exclusions import Exclusion, exclusions, gain_over, masses_of_seeds
from evaluation.pages import Rows, environment, show
from evaluation.results import Classifiers, Results, read_results
from evaluation.table import (
    LOOSENED,
    MEASURED,
    SIGNAL_PT,
    SIGNAL_PT_AND_MASS,
    cell,
    column,
    ends,
    pivot,
)
from event_level.fits import CLASSICAL, DS2, KNOWN
from figures import style
from figures.added import added
from jets.classifier import TRAINING_JETS, Classifier
from jets.packed import OBSERVABLES
from jets.scores import log_odds
from jets.split import VALIDATION
from processes import parsed
from products import write_text
from sensitivity.bootstrap import Estimate, mean_of_seeds
from sensitivity.sic import SICPoint, sic_of_seeds
from studies import scaling
from studies.at_once import ALL_KNOWN
from studies.ordering import sample, settings
from studies.pages import call_with, options_of, page_of, publish
from study import Study, load_study, to_toml
from training.learner import choose_device

DEFINITION = "AK14"
TREES = Classifier((DEFINITION,), (), CLASSICAL[-1], TRAINING_JETS)
SCALED = "CNN"  # the network that is trained on fewer jets
HT_MIN = 700.0  # GeV, of the events whose single jets are tested
SPECTRA = {"": (), SIGNAL_PT: ("pt",), SIGNAL_PT_AND_MASS: ("pt", "mass")}
WORKING_POINTS = (0.3, 0.5, 0.7)
PAGE, README = Path("doc/tail.md"), Path("README.md")
IN_README = ("single_jets", "events")  # tables of the page that stand there too


class Way(NamedTuple):
    """How networks are trained."""

    title: str
    change: Callable[[Study], Study]


def _fewer(jets: int, study: Study) -> Study:
    """Fewer jets, each seen more often: as many are seen in all."""
    times = study.images.training_jets_per_mass_point / jets
    return study.changed(
        images={"training_jets_per_mass_point": jets},
        training={"epochs": round(study.training.epochs * times)},
    )


EQUAL_PT = "equal_pt"
FAST = {"networks": ("CNN", "ViT")}  # CoAtNet and MaxViT take three and six times as long as CNN
SIZES = {f"jets_{n}": n for n in (75, 150, 300, 600)}  # training jets of a mass point and class
WAYS = {
    EQUAL_PT: Way("equal pT", lambda study: study),
    "as_drawn": Way("own spectra", lambda study: study.changed(training={"equalise": "none"})),
    "high_ht": Way(
        f"equal pT, HT > {HT_MIN:g} GeV",
        lambda study: study.changed(images={"training_ht_min": HT_MIN}, classifiers=FAST),
    ),
    **{way: Way(f"{n} jets of a mass point", partial(_fewer, n)) for way, n in SIZES.items()},
}


def variant(study: Study, way: str) -> Study:
    """The study whose networks are trained in one way."""
    changed = WAYS[way].change(study)
    return changed.changed(f"{study.name}_{way}", sample={"folder": study.sample_dir.name})


def run_scripts(study: Study, way: str, seeds: Sequence[int], device: str | None) -> None:
    """All steps of the analysis, each of which skips what is done; of fewer jets the trainings."""
    study = variant(study, way)
    stated = study.data_dir / "study.toml"
    write_text(stated, to_toml(study))
    trainings = [["train.py", DEFINITION, SCALED, str(seed)] for seed in seeds]
    every = ["train.py", "--all", "--set", f"classifiers.seeds={[*seeds]}"]
    scored = [["predict_base_model_mass.py"], ["fit_xgb.py"]]
    steps = trainings if way in SIZES else [every, *scored]
    for command in (["setup.py"], *steps):
        call_with(stated, command, device)


def is_done(study: Study) -> bool:
    """Whether all scripts have run, with the study as it is now."""
    stated, trees = study.data_dir / "study.toml", study.data_dir / "trees.json"
    return trees.is_file() and stated.read_text(encoding="utf-8") == to_toml(study)


# --- Classifiers of all ways side by side ---------------------------------------------------------

Trained = tuple[str, Classifier]  # the way, "" where there is none, and the classifier


def together(of_ways: Mapping[str, Classifiers]) -> Classifiers:
    """Classifiers of several ways on the same jets or events; what is equal in all stands once."""
    first = next(iter(of_ways.values()))
    score: dict[Trained, np.ndarray] = {}
    for way, classifiers in of_ways.items():
        assert np.array_equal(classifiers.event, first.event), "the held-out events are the same"
        for one, scores in classifiers.score.items():
            is_same = one in first.score and np.array_equal(scores, first.score[one])
            score["" if is_same and not one.networks else way, one] = scores
    return replace(first, score=score)


def seeds_of(classifiers: Classifiers) -> dict[Trained, list[int]]:
    """Way and classifier without a seed -> the numbers of its trainings among the scores."""
    groups: dict[Trained, list[int]] = {}
    for i, (way, one) in enumerate(classifiers.score):
        groups.setdefault((way, one.of_any_seed), []).append(i)
    return groups


def measure(
    classifiers: Classifiers, table: str, references: Callable[[Trained], Trained | None], **keys
) -> Rows:
    """AUC and SIC of every classifier, and their paired differences and ratios to a reference."""
    groups, aucs, rows = seeds_of(classifiers), classifiers.aucs, []
    names = list(classifiers.score)
    points = {at: [_at(classifiers, at).sic_at(one) for one in names] for at in WORKING_POINTS}
    for one, some in groups.items():
        reference = references(one)
        numbers = [("AUC", "", mean_of_seeds([aucs[i] for i in some]), "")]
        if reference in groups:
            difference = aucs.difference_of_means(some, groups[reference])
            numbers.append(("AUC difference", "", difference, ""))
        for at, found in points.items():
            mine, others = ([found[i] for i in groups.get(key, [])] for key in (one, reference))
            sic, count, ratio = sic_of_seeds(mine, others or mine)
            if limits := [point for point in mine if point.is_lower_limit]:
                sic = min(limits, key=lambda point: point.value)
                count = sic.effective_background
            numbers.append(("SIC", at, sic, count))
            if others and np.isfinite(ratio.value):
                numbers.append(("ratio of SIC", at, ratio, ""))
        for quantity, at, number, count in numbers:
            row = _row(table, one, len(some), quantity, number, reference)
            rows.append(row | keys | {"signal_efficiency": at, "effective_background": count})
    return rows


def _at(classifiers: Classifiers, working_point: float) -> Classifiers:
    study = classifiers.study.changed(figures={"working_point": working_point})
    return replace(classifiers, study=study)


def _row(
    table: str,
    trained: Trained,
    n: int,
    quantity: str,
    number: Estimate | SICPoint | Sequence[float],
    reference: Trained | None = None,
) -> dict[str, object]:
    """A number with its keys; those that do not apply are empty."""
    way, one = trained
    other_way, other = reference or ("", Classifier())
    is_limit = isinstance(number, SICPoint) and number.is_lower_limit
    return {
        "table": table, "way": way, "level": one.level, **one.row(), "spectrum": "",
        "reference_way": other_way, "reference_label": other.label, "neutralino_mass": "",
        "trainings": n, "quantity": quantity, "signal_efficiency": "", **ends(number),
        "status": "lower limit" if is_limit else MEASURED, "effective_background": "",
    }  # fmt: skip


# --- Tables ---------------------------------------------------------------------------------------


def single_jets(found: Mapping[str, Results]) -> Rows:
    """Networks and what sees no images, on jets of events with enough HT, at equal spectra."""
    of_ways = {}
    for way, results in found.items():
        jets = results.of_jets(DEFINITION)
        without = {one: score for one, score in jets.score.items() if not one.networks}
        score = results.repeats_of_jets(DEFINITION).score | without
        if way == EQUAL_PT:
            score |= with_trees(score)
        ht = results.table.observables[jets.event, OBSERVABLES.index("HT")]
        of_ways[way] = replace(jets, score=score).where(ht >= HT_MIN)
    jets, rows = together(of_ways), []

    def reference(one: Trained) -> Trained | None:
        way, classifier = one
        if way in ("", EQUAL_PT):  # the latter's trees are those without a way
            return ("", TREES) if way else None
        return (EQUAL_PT if classifier.networks else "", classifier)

    for spectrum, names in SPECTRA.items():
        weighted = jets.reweighted(*names) if names else jets
        rows += measure(weighted, "single_jets", reference, spectrum=spectrum)
    return rows


def with_trees(score: Mapping[Classifier, np.ndarray]) -> dict[Classifier, np.ndarray]:
    """Each network's score beside that of `TREES`: the sum of both logits, as probability."""
    known = log_odds(score[TREES])
    return {
        one._replace(features=TREES.features, trees=TRAINING_JETS): expit(
            known + log_odds(of_network)
        )
        for one, of_network in score.items()
        if one.networks
    }


def of_events(results: Results) -> Classifiers:
    """DS2, with all that is known, and with a network's scores of every seed beside."""
    of_one_jet = results.repeats_of_events(DEFINITION, KNOWN)
    alone = results.of_fits([DS2, ALL_KNOWN])
    return replace(alone, score=alone.score | of_one_jet.score)


def events(of_ways: Mapping[str, Classifiers]) -> Rows:
    """What a network adds to all that takes none."""
    known = ("", ALL_KNOWN)

    def reference(one: Trained) -> Trained | None:
        return None if one == ("", DS2) else ("", DS2) if one == known else known

    return measure(together(of_ways), "events", reference)


def excluded(found: Mapping[str, Results], of_ways: Mapping[str, Classifiers]) -> Rows:
    """Excluded stop masses, and paired gains: of trees on all that is known over DS2, of a network
    beside it over them. The error of a network's holds the spread of its trainings."""
    rows = []
    for way, results in found.items():
        limits = limits_of(results, of_ways[way])
        for one, some in limits.items():
            if not one.networks and way != next(iter(found)):
                continue
            key = (way if one.networks else "", one)
            rows += masses(key, some)
            if one != DS2:
                other = ALL_KNOWN if one.networks else DS2
                rows += masses(key, some, ("", other), limits[other])
    return rows


def limits_of(results: Results, classifiers: Classifiers) -> dict[Classifier, list[Exclusion]]:
    """Classifier of any seed -> the exclusions of its trainings."""
    groups: dict[Classifier, list[Exclusion]] = {}
    for limit in exclusions(results, classifiers):
        groups.setdefault(limit.classifier.of_any_seed, []).append(limit)
    return groups


def masses(
    trained: Trained,
    some: Sequence[Exclusion],
    reference: Trained | None = None,
    others: Sequence[Exclusion] = (),
) -> Rows:
    """Means over trainings of excluded stop masses in GeV, or with a reference of the gains over
    it; a row each neutralino mass.

    Args:
        some: the exclusions of the trainings.
        others: that of the reference.
    """
    rows, table = [], "excluded"
    numbers = [(limit.interval, limit.limit) for limit in some]
    if reference:
        [other], table = others, "gain"
        numbers = [gain_over(limit, other) for limit in some]
    for q, (number, status) in enumerate(masses_of_seeds(numbers)):
        row = _row(table, trained, len(some), "excluded stop mass", number, reference)
        cuts = [cut for limit in some for cut in limit.cuts[q] if cut]
        row["effective_background"] = min(cut.effective_background for cut in cuts)
        if status == MEASURED and any(limit.loosened[q] for limit in some):
            status = LOOSENED
        rows.append(row | {"neutralino_mass": some[0].neutralino_mass[q], "status": status})
    return rows


# --- The page -------------------------------------------------------------------------------------


def printed_ways(rows: Rows) -> Rows:
    """One line a way and classifier, one column a quantity and spectrum."""

    def line(row: dict) -> dict[str, str]:
        way = WAYS[row["way"]].title if row["way"] else ""
        return {"": row["label"], "trained": way, "trainings": row["trainings"] if way else ""}

    def cells(row: dict) -> dict[str, str]:
        spectrum = f", {row['spectrum']}" if row["spectrum"] else ""
        mass = f"{row['neutralino_mass']} GeV" if row["neutralino_mass"] else ""
        return {mass or f"{column(row)}{spectrum}": cell(row)}

    return pivot(rows, line, cells)


def printed_sample(rows: Rows) -> Rows:
    """One line a process; those without selection keep whatever passes the early veto."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        name, _ = parsed(Path(row["file"]).stem)
        groups.setdefault(name, []).append(row)
    return [
        {
            "process": name,
            "files": len(some),
            "begun": f"{sum(int(row['begun']) for row in some):,}",
            "kept": f"{sum(int(row['at least 7 jets'] or row['early veto']) for row in some):,}",
        }
        for name, some in groups.items()
    ]


PRINTED: dict[str, Callable[[Rows], Rows]] = {  # the tables of the page
    "single_jets": printed_ways,
    "events": printed_ways,
    "excluded": printed_ways,
    "gain": printed_ways,
    "scaling": scaling.printed_scaling,
    "power_law": scaling.printed_law,
    "sample": printed_sample,
    "settings": list,
    "environment": list,
}


def main() -> None:
    """Train in every way that is asked for, show all that are done."""
    parser = options_of(__doc__)
    known = f"of {', '.join(WAYS)} (default: all); without any, show those that are done"
    parser.add_argument(
        "--ways", nargs="*", choices=WAYS, default=list(WAYS), metavar="WAY", help=known
    )
    parser.add_argument("--seeds", nargs="+", type=int, help="to train (default: the study's)")
    options = parser.parse_args()
    study = load_study(options.study)
    for way in options.ways:
        print(f"{way}:", flush=True)
        run_scripts(study, way, options.seeds or study.classifiers.seeds, options.device)

    found = {w: read_results(variant(study, w), {}) for w in WAYS if is_done(variant(study, w))}
    if EQUAL_PT not in found:
        raise InputError(
            f"{variant(study, EQUAL_PT).data_dir}: nothing to compare with; run this with --ways "
            f"{EQUAL_PT}"
        )
    device = choose_device(options.device)
    of_ways = {way: of_events(results) for way, results in found.items()}
    sizes = [variant(study, way) for way in (*SIZES, EQUAL_PT)]
    of_sizes, effective = scaling.read_scores(sizes, DEFINITION, SCALED, HT_MIN, device)
    law = scaling.laws(of_sizes[VALIDATION])
    by_mass = excluded(found, of_ways)
    rows = {
        "single_jets": single_jets(found),
        "events": events(of_ways),
        "excluded": [row for row in by_mass if row["table"] == "excluded"],
        "gain": [row for row in by_mass if row["table"] == "gain"],
        "scaling": scaling.measure(of_sizes, effective),
        "power_law": scaling.fitted(*law) if law else [],
        "sample": sample(study),
        "settings": settings(study),
        "environment": environment(),
    }
    for name, shown in PRINTED.items():
        publish(study, name, rows[name], shown, model=PAGE)
    style.apply()
    titles = {way: WAYS[way].title for way in found}
    of_jets, of_cuts = (rows[name] for name in IN_README)
    losses = [row for row in rows["scaling"] if row["quantity"] == scaling.LOSS]
    drawn = added(of_jets, of_cuts, losses, scaling.curve(*law) if law else None, titles)
    page = page_of(study, model=PAGE)
    style.save(drawn, page.parent / f"figures/{study.name}.png")
    if page == PAGE:
        for name in IN_README:
            show(README, name, rows[name], PRINTED[name])
    print(f"{page}: {len(found)} of {len(WAYS) - len(SIZES)} ways")


if __name__ == "__main__":
    run(main)

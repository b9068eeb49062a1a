"""What does an event as a whole add, its jets at once or all its objects? doc/whole_events.md.

On the sample of doc/tail.md: a network of a jet's constituents beside those of its image; a
network that sees three jets at once and its control; networks of event features and of all objects
beside trees on the same, with losses that aim at significance and decorrelated; the excluded stop
mass of each; what other showers do behind their cuts. The networks of jets are trained as in
doc/tail.md. No setting was chosen by held-out events.

Reads   the sample of the study.
Writes  Data/<study>/ (the steps do); the tables of the study's page, also as
        results/<study>_<table>.csv beside it, and figures/<study>_decorrelation.png.

    python -m studies.whole_events --study studies/whole_events.toml
    python -m studies.whole_events --study studies/whole_events.toml --quick
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from command import run
from evaluation import event_networks
from evaluation.pages import Rows, environment
from evaluation.results import Classifiers, Results, read_results
from evaluation.summary import other_showers
from evaluation.table import Summary, cell, column, pivot
from event_level.fits import DS2, KNOWN, OBJECTS, beside_event_networks, on_scores_and_features
from figures import style
from figures.event_networks import against_strength
from jets.classifier import Classifier
from jets.scores import TreeScores
from products import write_text
from studies.at_once import ALL_KNOWN, with_three_jets
from studies.ordering import settings
from studies.pages import call_with, options_of, page_of, publish
from studies.tail import (
    DEFINITION,
    EQUAL_PT,
    WORKING_POINTS,
    limits_of,
    masses,
    measure,
    printed_ways,
    single_jets,
)
from study import Study, load_study, to_toml
from training.learner import choose_device

AT_ONCE = "CNN3"
OF_JETS = "MaxViT"  # whose scores networks of events see
PUBLISHED = on_scores_and_features(OF_JETS, "DS2")  # the best of the paper, the reference of masses
SEEN = f"{OF_JETS} + {' + '.join(KNOWN)}"
# What step 4 trains, one call each: their product, and a transformer with a token for each of all
# features, are too much for two cores.
PARTS: dict[str, dict[str, tuple]] = {
    "decorrelation": {
        "networks": ("FeedForward",), "losses": ("cross entropy", "extreme"), "inputs": (SEEN,),
        "decorrelations": (0.0, 0.1, 1.0, 10.0, 100.0),
    },
    "losses": {
        "networks": ("EventTransformer", "FeedForward"),
        "losses": ("cross entropy", "extreme", "delta Z"), "inputs": ("DS2",),
    },
    "objects": {"networks": ("EventSet",), "inputs": (f"{OF_JETS} + {OBJECTS}",)},
}  # fmt: skip
PAGE = Path("doc/whole_events.md")
QUICK_EVENTS = 60


def prepare(study: Study, device: str | None) -> None:
    """Setup, trainings of jet networks and of `AT_ONCE`, and scores; what is done is skipped."""
    stated = study.data_dir / "study.toml"
    write_text(stated, to_toml(study))
    at_once = [["train.py", DEFINITION, AT_ONCE, str(seed)] for seed in study.classifiers.seeds]
    for command in (
        ["setup.py"], ["train.py", "--all"], *at_once, ["predict_base_model_mass.py"]
    ):  # fmt: skip
        call_with(stated, command, device)


def part_of(study: Study, name: str) -> Study:
    """The study whose step 4 trains the networks of events of one part."""
    return study.changed(event_networks=PARTS[name])


def fitted(study: Study, name: str, device: str | None) -> Results:
    """Trees, and the networks of events of one part."""
    part = part_of(study, name)
    stated = study.data_dir / f"{name}.toml"
    write_text(stated, to_toml(part))
    call_with(stated, ["fit_xgb.py"], device)
    return read_results(part, {})


def together(parts: Sequence[Results]) -> Results:
    """The same held-out events, with the fits of all parts."""

    def joined(some: Sequence[TreeScores]) -> TreeScores:
        return replace(some[0], fits={one: x for trees in some for one, x in trees.fits.items()})

    varied = {name: joined([one.varied[name] for one in parts]) for name in parts[0].varied}
    return replace(parts[0], trees=joined([one.trees for one in parts]), varied=varied)


def shown(results: Results) -> Classifiers:
    """Trees of more and more inputs, then networks of events, none of them decorrelated."""
    grown = results.trees.fits
    beside = [one for one in grown if one.networks and one.features == KNOWN]
    objects = [one for one in grown if OBJECTS in one.features]
    of_trees = [one for one in (*beside, *objects) if not one.event_network]
    asked = [beside_event_networks(part_of(results.study, name)) for name in PARTS]
    of_networks = [one for of_part in asked for some in of_part.values() for one in some]
    plain = [one for one in of_networks if not one.event_network.decorrelation]
    return results.of_fits(dict.fromkeys([DS2, PUBLISHED, ALL_KNOWN, *of_trees, *plain]))


def compared(classifiers: Classifiers) -> Rows:
    """AUC and SIC, and differences to trees on all that takes no network, of those to DS2."""
    keyed = replace(classifiers, score={("", one): s for one, s in classifiers.score.items()})

    def reference(one: tuple[str, Classifier]) -> tuple[str, Classifier] | None:
        return None if one[1] == DS2 else ("", DS2 if one[1] == ALL_KNOWN else ALL_KNOWN)

    return measure(keyed, "events", reference)


def limits(results: Results, classifiers: Classifiers) -> Rows:
    """Excluded stop masses, and paired gains over `PUBLISHED`."""
    found, rows = limits_of(results, classifiers), []
    for one, some in found.items():
        rows += masses(("", one), some)
        if one != PUBLISHED:
            rows += masses(("", one), some, ("", PUBLISHED), found[PUBLISHED])
    return rows


def modelling(results: Results, classifiers: Classifiers) -> Rows:
    """What other showers do to the background behind the cuts of the first of all trainings."""
    firsts = {one.of_any_seed: one for one in reversed(classifiers.score)}
    summary, firsts = Summary(), classifiers.only(reversed(firsts.values()))
    for point in WORKING_POINTS:
        at_point = at(point, results)
        other_showers(summary, at_point, replace(firsts, study=at_point.study))
    return summary.rows


def at(working_point: float, results: Results) -> Results:
    """The results with cuts of this signal efficiency; a tight one leaves too few top pairs."""
    study = results.study.changed(figures={"working_point": working_point})
    return replace(results, study=study)


# --- The page -------------------------------------------------------------------------------------


def printed(rows: Rows) -> Rows:
    """One line a classifier, one column a quantity or neutralino mass."""

    def line(row: dict) -> dict[str, str]:
        return {"": row["label"], "trainings": row["trainings"]}

    def cells(row: dict) -> dict[str, str]:
        mass = f"{row['neutralino_mass']} GeV" if row["neutralino_mass"] else ""
        return {mass or str(column(row)): cell(row)}

    return pivot(rows, line, cells)


def printed_modelling(rows: Rows) -> Rows:
    """One line a classifier and working point, one column a shower."""

    def line(row: dict) -> dict[str, str]:
        return {"": row["label"], "eps_S": row["signal_efficiency"]}

    return pivot(rows, line, lambda row: {row["variation"] or row["quantity"]: cell(row)})


PRINTED = {
    "single_jets": printed_ways,
    "events": printed,
    "same_inputs": printed,
    "decorrelation": printed,
    "excluded": printed,
    "gain": printed,
    "modelling": printed_modelling,
    "settings": list,
    "environment": list,
}


def write_page(study: Study, of_parts: Mapping[str, Results]) -> None:
    """All tables and the figure."""
    merits = {
        name: event_networks.tidy(event_networks.compare(at(WORKING_POINTS[-1], results), False))
        for name, results in of_parts.items()
    }
    results = together(list(of_parts.values()))
    classifiers = shown(results)
    plain = [row for row in merits["decorrelation"] if not row["decorrelation"]]
    by_mass = limits(results, classifiers)
    rows = {
        "single_jets": single_jets({EQUAL_PT: results}),
        "events": compared(classifiers),
        "same_inputs": merits["losses"] + plain + merits["objects"],
        "decorrelation": merits["decorrelation"],
        "excluded": [row for row in by_mass if row["table"] == "excluded"],
        "gain": [row for row in by_mass if row["table"] == "gain"],
        "modelling": modelling(results, classifiers),
        "settings": settings(study),
        "environment": environment(),
    }
    for name, words in PRINTED.items():
        publish(study, name, rows[name], words, model=PAGE)
    style.apply()
    drawn = against_strength(merits["decorrelation"], study.event_networks.spectator)
    page = page_of(study, model=PAGE)
    style.save(drawn, page.parent / f"figures/{study.name}_decorrelation.png")
    print(f"{page}: its tables and figure")


def quick(study: Study) -> Study:
    """The study with a small sample and trainings of its own: does everything run?"""
    name, events = f"{study.name}_quick", study.simulation.events_of
    return study.changed(
        name,
        simulation={
            "signal_events": QUICK_EVENTS, "events_of": dict.fromkeys(events, QUICK_EVENTS)
        },
        sample={
            "folder": name, "stop_masses": (900, 1100), "neutralino_masses": (300,),
            "background_files": 1,
        },
        images={"training_jets_per_mass_point": QUICK_EVENTS},
        training={"epochs": 1},
        classifiers={"seeds": study.classifiers.seeds[:1]},
        event_networks={"seeds": study.event_networks.seeds[:1], "epochs": 1},
    )  # fmt: skip


def main() -> None:
    """Run what has not run, then write the page."""
    parser = options_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="few events, one seed, one epoch")
    options = parser.parse_args()
    study, device = load_study(options.study), options.device
    if options.quick:
        study = quick(study)
        stated = study.data_dir / "study.toml"
        write_text(stated, to_toml(study))
        call_with(stated, ["simulate.py"], None)
    prepare(study, device)
    of_parts = {name: fitted(study, name, device) for name in PARTS}
    last = next(reversed(PARTS))  # whose trees.h5 lies there now
    of_parts[last] = with_three_jets(of_parts[last], DEFINITION, AT_ONCE, choose_device(device))
    write_page(study, of_parts)


if __name__ == "__main__":
    run(main)

"""Does the paper's ordering of the networks hold? Every table and figure of the page that says it.

Runs all steps of a study, each of which skips what is done, then shows what they found; after that
the studies of why, which fill their own tables of the page.

Reads   the study's file; with --skip simulate also what lies in train_data/<sample>/.
Writes  what the steps write; the tables of the study's page, and beside it results/ordering_*.csv
        with every number and figures/ordering_*. The page is doc/ordering.md for the studies that
        it says it shows; for any other it is plots/<study>/ordering.md.
Takes   about eleven hours of two cores for the study `ordering_cpu`, added up from its parts. Five
        of them are the other showers and the studies of why, which score again what they compare.

    python -m studies.ordering --study studies/ordering.toml --device cuda
    python -m studies.ordering --study studies/ordering_cpu.toml --changes studies/changes_cpu.toml
"""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from command import InputError, run
from evaluation.pages import Rows, environment, show
from evaluation.table import LEVELS, SIGNAL_PT, cell, column, label, pivot, trainings
from jets.classifier import HELD_OUT_EVENTS, TRAINING_JETS, Key
from jets.events import read_events
from processes import PROCESSES, variations_of
from products import fingerprint, read_csv, read_manifest, write_csv
from studies.pages import call_with, options_of, page_of
from study import PRESETS, Study, load_study
from training import plan
from training.learner import choose_device

DEFINITION = "AK14"  # that the claims are about
STEPS = {
    "simulate": ["simulate.py"],
    "variations": ["simulate.py", "--variations", *variations_of(PROCESSES)],
    "setup": ["setup.py"],
    "train": ["train.py", "--all"],
    "predict": ["predict_base_model_mass.py"],
    "fit": ["fit_xgb.py"],
    "plots": ["plots.py"],
}
WHY = ("changes", "three_jets", "leakage")  # files beside this one
BARE = {"published": "", "effective_background": ""}  # a number and its error alone
FIGURES = ("sic_single_jets", "sic_three_jets", "sic_networks", "sic_observables", "gain")
TABLES = ("ratios", "added", "excluded", "gain", "modelling", "null_check")  # of the summary


def sample(study: Study) -> Rows:
    """What makes each file of the sample again: its chunks, counts, cut flow and hash.

    The cut flow is of events and, beside it, of the generator's weights.
    """
    rows = []
    varied = variations_of(study.sample.processes).values()
    folders = [study.sample_dir, *(study.folder_of(parts[0]) for parts in varied)]
    for path in (path for folder in folders for path in sorted(folder.glob("[!.]*.h5"))):
        events = read_events(path)
        stated, chunks = events.attributes, json.loads(events.attributes["chunks"])
        cuts = [name.decode() for name in events.cut_flow["name"]]
        weighted = [f"{weight:.6g}" for weight in events.generator_cut_flow]
        rows.append(
            {
                "file": str(path.relative_to(study.sample_dir)),
                "chunks": len(chunks),
                "first seed": chunks[0]["seed"],
                "cross section [pb]": f"{stated['cross_section_pb']:.4g}",
                "selection efficiency": f"{stated['selection_efficiency']:.4g}",
                **dict(zip(cuts, events.cut_flow["events"].tolist(), strict=True)),
                **{f"{cut}, weighted": n for cut, n in zip(cuts, weighted, strict=True)},
                "sha256": fingerprint(path)["sha256"],
            }
        )
    if not rows:
        raise InputError(f"{study.sample_dir}: no files; leave out --skip simulate")
    cuts = dict.fromkeys(name for row in rows for name in row)  # slices have others
    return [dict.fromkeys(cuts, "") | row for row in rows]


def settings(study: Study) -> Rows:
    """Where the study differs from `readme`, the published code's settings."""
    usual = dataclasses.asdict(PRESETS["readme"])
    stated = dataclasses.asdict(study)
    del stated["name"], stated["sample"]["folder"], stated["sample"]["published_files"]
    return [
        {"setting": f"{section}.{name}", "readme": _words(before), study.name: _words(value)}
        for section, settings in stated.items()
        for name, value in settings.items()
        if value != (before := usual[section][name])
    ]


def _words(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    some = [str(item) for item in value]
    return ", ".join(some if len(some) < 8 else [*some[:2], "…", some[-1]])


def trained(study: Study) -> Rows:
    """Every training: its best epoch, by validation loss, and how much it overfits after it.

    Epochs count from 1. Of a training that was not run, as another seed stands in, all is empty.
    """
    rows = []
    for training in plan.trainings(study):
        folder = training.directory(study)
        manifest = folder / "manifest.json"
        row = dataclasses.asdict(training)
        if rows and not manifest.is_file():
            rows.append(dict.fromkeys(rows[0], "") | row)
            continue
        epochs = read_csv(folder / "history.csv")
        best = epochs[read_manifest(manifest, made_by="train.py")["best_epoch"]]
        row |= {"epochs": len(epochs), "best_epoch": int(best["epoch"]) + 1}
        for when, epoch in (("best", best), ("last", epochs[-1])):
            row[f"training_loss_{when}"] = epoch["training_loss"]
            row[f"validation_loss_{when}"] = epoch["loss"]
        row["validation_auc_best"] = best["auc"]
        row["jets_per_second"] = np.mean([float(epoch["jets_per_second"]) for epoch in epochs])
        rows.append(row)
    return rows


def printed_trainings(rows: Rows) -> Rows:
    """One line a training."""
    numbers = {
        "training loss, best": ("training_loss_best", ".3f"),
        "validation loss, best": ("validation_loss_best", ".3f"),
        "training loss, last": ("training_loss_last", ".3f"),
        "validation loss, last": ("validation_loss_last", ".3f"),
        "AUC of validation jets, best": ("validation_auc_best", ".4f"),
        "jets/s": ("jets_per_second", ".0f"),
    }

    def line(row: dict) -> dict[str, str]:
        names = (row["jet_definition"], row["network"], int(row["seed"]))
        training = plan.Training(*names, str(row["shuffled_labels"]) == "True")
        return {"training": str(training)}

    def cells(row: dict) -> dict[str, str]:
        if row["epochs"] == "":
            return {"best epoch": "not run"}
        best = {"best epoch": f"{row['best_epoch']} of {row['epochs']}"}
        return best | {
            name: f"{float(row[key]):{digits}}" for name, (key, digits) in numbers.items()
        }

    return pivot(rows, line, cells)


def table(rows: Rows, remark: Callable[[dict], str] = lambda row: "") -> Rows:
    """A table of the summary: lines are classifiers, columns quantities or neutralino masses.

    A quantity of which values are published has these in a column of their own.

    Args:
        remark: what stands behind a number.
    """
    has_levels = len({row["level"] for row in rows}) > 1
    has_means = any(trainings(row) for row in rows)
    published = {_heading(row) for row in rows if row["published"]}

    def line(row: dict) -> dict[str, str]:
        words = f"{LEVELS[row['level']]}: {label(row)}" if has_levels else label(row)
        return {"": words} | ({"trainings": trainings(row)} if has_means else {})

    def cells(row: dict) -> dict[str, str]:
        heading = _heading(row)
        beside = {f"{heading}, published": row["published"]} if heading in published else {}
        return {heading: cell(row | {"published": ""}) + remark(row)} | beside

    return pivot(rows, line, cells)


def _heading(row: dict) -> str:
    return f"{row['neutralino_mass']} GeV" if row["neutralino_mass"] else str(column(row))


def headline(rows: Rows) -> Rows:
    """Each AK14 classifier on one jet, on one jet at the signal's pT, and over events."""
    found = {
        (row["spectrum"], Key.of(row), row["quantity"]): row
        for row in rows
        if (row["table"], row["jet_definition"]) == ("merits", DEFINITION)
    }

    def cells(*key: object) -> tuple[str, str]:
        """The number, and the published one."""
        row = found.get(key)
        return (cell(row | BARE), row["published"]) if row else ("", "")

    lines = []
    for (spectrum, one, quantity), row in found.items():
        if (spectrum, row["level"], quantity) != ("", "jets", "AUC"):
            continue
        fit = one._replace(trees=HELD_OUT_EVENTS) if one.trees != TRAINING_JETS else None
        of_jets, published = cells("", one, "max SIC")
        of_events, published_of_events = cells("", fit, "max SIC")
        lines.append(
            {
                f"{DEFINITION} jets": row["classifier"],
                "AUC": cells("", one, "AUC")[0],
                "AUC, background with the signal's pT": cells(SIGNAL_PT, one, "AUC")[0],
                "max SIC": of_jets,
                "published": published,
                "max SIC over events, trees on three jets": of_events,
                "published, over events": published_of_events,
            }
        )
    return lines


def claims(rows: Rows) -> Rows:
    """The paper's ordering on single jets: AK14 over the others, MaxViT >= CoAtNet > CNN, in SIC.

    Two errors or more from 1 a ratio is "above" or "below" it, else "open".
    """

    def verdict(row: dict) -> str:
        value, low, high = (float(row[name]) for name in ("value", "low", "high"))
        is_sure = abs(value - 1) >= high - low > 0
        return f", {('above' if value > 1 else 'below') if is_sure else 'open'}"

    wanted = "ratios", "jets", DEFINITION
    of_jets = [row for row in rows if (row["table"], row["level"], row["jet_definition"]) == wanted]
    return table([row for row in of_jets if row["reference_network"]], verdict)


def show_all(page: Path, summary: Rows, trainings: Rows) -> None:
    """The main tables of a page."""
    show(page, "trainings", trainings, printed_trainings)
    show(page, "claims", summary, claims)
    show(page, "headline", summary, headline)
    for name in TABLES:
        show(page, name, [row for row in summary if row["table"] == name], table)


def main() -> None:
    """Run the steps, show what they found."""
    parser = options_of(__doc__)
    described = "study whose settings are changed (default: the same)"
    parser.add_argument("--changes", metavar="FILE", help=described)
    parts = (*STEPS, *WHY)
    parser.add_argument("--skip", nargs="+", choices=parts, default=[], help="steps to leave out")
    options = parser.parse_args()
    study = load_study(options.study)
    # What would end the last steps is told before the first, not after hours.
    if DEFINITION not in study.classifiers.jet_definitions:
        found = f"classifiers.jet_definitions are {', '.join(study.classifiers.jet_definitions)}"
        raise InputError(f"{options.study}: {found}, expected {DEFINITION} among them; add it")
    if options.changes:
        load_study(options.changes)
    if options.device:
        choose_device(options.device)
    page = page_of(study, is_main=True)

    for name, command in STEPS.items():
        if name not in options.skip:
            call_with(options.study, command, options.device)
    read_manifest(study.plots_dir / "plots.json", made_by="plots.py")
    found = {
        "summary": read_csv(study.data_dir / "summary.csv"),
        "trainings": trained(study),
        "sample": sample(study),
        "settings": settings(study),
        "environment": environment(),
    }
    for name, rows in found.items():
        write_csv(page.parent / f"results/ordering_{name}.csv", rows)
    show_all(page, found["summary"], found["trainings"])
    folder = page.parent / "figures"
    folder.mkdir(exist_ok=True)
    for name in FIGURES:
        for path in study.plots_dir.glob(f"{name}.*"):
            shutil.copy(path, folder / f"ordering_{path.name}")
    print(f"{page}: its tables; {folder}/ordering_*: {len(FIGURES)} figures")
    for name in WHY:
        if name not in options.skip:
            of_changes = name != "leakage" and options.changes
            call_with(of_changes or options.study, ["-m", f"studies.{name}"], options.device)


if __name__ == "__main__":
    run(main)

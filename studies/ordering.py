"""Does the paper's ordering of the networks hold? Every table and figure of the page that says it.

Runs all steps of a study, each of which skips what is done, then shows what they found; after that
the studies of why, which fill their own tables of the page.

Reads   nothing but the study's file; with --skip simulate what lies in train_data/<sample>/.
Writes  what the steps write; the tables of the study's page, and beside it results/ordering_*.csv
        and figures/ordering_*. The page is doc/ordering.md for the studies that it says it shows,
        with a table of README.md; for any other it is plots/<study>/ordering.md.
Takes   the study `ordering_cpu` some eleven hours of two cores, added up from its parts: variations
        and the studies of why, which score anew what they compare, are five of them.

    python -m studies.ordering --study studies/ordering.toml --device cuda
    python -m studies.ordering --study studies/ordering_cpu.toml --changes studies/changes_cpu.toml
"""

import argparse
import dataclasses
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from command import InputError, call, run
from evaluation.results import TREES_OF_ONE_JET
from evaluation.table import cell
from jets.events import read_events
from physics import JETS_MIN
from processes import VARIATION, of_role
from products import fingerprint, read_csv, read_manifest, write_csv
from studies.pages import PAGE, Rows, environment, page_of, show
from study import PRESETS, Study, load_study
from training.learner import choose_device
from training.plan import trainings

DEFINITION = "AK14"  # that the claims are about
STEPS = {
    "simulate": ["simulate.py"],
    "variations": ["simulate.py", "--variations", *of_role(VARIATION)],
    "setup": ["setup.py"],
    "train": ["train.py", "--all"],
    "predict": ["predict_base_model_mass.py"],
    "fit": ["fit_xgb.py"],
    "plots": ["plots.py"],
}
WHY = ("changes", "three_jets", "leakage")  # files beside this one
USE_A_DEVICE = ("train", "predict", *WHY)
FIGURES = ("sic_single_jets", "sic_three_jets", "sic_networks", "sic_observables", "gain")
# Table of the page -> how the sections of the summary begin that it shows.
TABLES = {
    "single_jets": "Single jets, held out",
    "single_jets_weighted": "Single jets, background weighted",
    "trees": "Trees, events held out",
    "trees_weighted": "Trees, background weighted",
    "ratios": "The paper's ordering",
    "seeds": "Mean and standard deviation over seeds",
    "against_mass": "SIC at eps_S",
    "excluded": "Excluded stop mass",
    "gain": "Gain in excluded stop mass",
    "added": "What the scores add to DS2",
    "modelling": "Shift of eps_B",
    "null_check": "Null check",
}


def sample(study: Study) -> Rows:
    """What makes each file of the sample again: its chunks, counts, cut flow and hash."""
    rows = []
    folders = [study.sample_dir, *map(study.folder_of, of_role(VARIATION).values())]
    for path in (path for folder in folders for path in sorted(folder.glob("[!.]*.h5"))):
        events = read_events(path)
        stated = events.attributes
        flow = {name.decode(): int(n) for name, n in events.cut_flow.tolist()}
        rows.append(
            {
                "file": str(path.relative_to(study.sample_dir)),
                "chunks": len(json.loads(stated["chunks"])),
                "first seed": json.loads(stated["chunks"])[0]["seed"],
                "cross section [pb]": f"{stated['cross_section_pb']:.4g}",
                "selection efficiency": f"{stated['selection_efficiency']:.4g}",
                **flow,
                "sum of weights": f"{events.weighted_cut_flow[-1]:.6g}",
                "sha256": fingerprint(path)["sha256"],
            }
        )
    if not rows:
        raise InputError(f"{study.sample_dir}: no files; leave out --skip simulate")
    return rows


def sample_by_kind(rows: Rows) -> Rows:
    """The sample in a few lines: files and events by process."""
    kinds: dict[str, list] = {}
    for row in rows:
        path = Path(row["file"])
        kinds.setdefault(path.parent.name or path.stem.rpartition("_")[0], []).append(row)
    tight = f"at least {JETS_MIN} jets"
    return [
        {
            "files": kind,
            "number": len(some),
            "events begun": f"{sum(row['begun'] for row in some):,}",
            "fully selected": f"{sum(row[tight] for row in some):,}",
        }
        for kind, some in kinds.items()
    ]


def settings(study: Study) -> Rows:
    """Where the study differs from `readme`, the published code's settings."""
    usual = PRESETS["readme"]
    return [
        {"setting": name, "readme": _words(getattr(usual, name)), study.name: _words(value)}
        for name, value in dataclasses.asdict(study).items()
        if value != getattr(usual, name) and name not in ("name", "sample", "published_files")
    ]


def trained(study: Study) -> Rows:
    """Every training: its best epoch, by validation loss, and how much it overfits after it."""
    rows = []
    for training in trainings(study):
        folder = training.directory(study)
        manifest = folder / "manifest.json"
        if rows and not manifest.is_file():  # another seed stands in
            row = {"training": str(training), "best epoch": "not run"}
            rows.append(dict.fromkeys(rows[0], "") | row)
            continue
        best_epoch = read_manifest(manifest, made_by="train.py")["best_epoch"]
        epochs = read_csv(folder / "history.csv")
        best = epochs[best_epoch]
        rows.append(
            {
                "training": str(training),
                "best epoch": f"{int(best['epoch']) + 1} of {len(epochs)}",
                **{
                    f"{what} loss, {when}": f"{float(row[name]):.3f}"
                    for when, row in (("best", best), ("last", epochs[-1]))
                    for what, name in (("training", "training_loss"), ("validation", "loss"))
                },
                "AUC of validation jets, best": f"{float(best['auc']):.4f}",
                "jets/s": f"{np.mean([float(row['jets_per_second']) for row in epochs]):.0f}",
            }
        )
    return rows


def _words(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    some = [str(item) for item in value]
    return ", ".join(some if len(some) < 8 else [*some[:2], "…", some[-1]])


def table(rows: Iterable[dict], begins: str) -> Rows:
    """A section of the summary: lines are classifiers, columns quantities or neutralino masses.

    A quantity of which values are published has these in a column of their own.
    """
    chosen = [row for row in rows if row["section"].startswith(begins)]
    by_mass = any(row["neutralino_mass"] for row in chosen)

    def column(row: dict) -> str:
        return f"{row['neutralino_mass']} GeV" if by_mass else row["quantity"]

    published = {column(row) for row in chosen if row["published"]}
    lines: dict[str, dict[str, str]] = {}
    for row in chosen:
        line = lines.setdefault(row["classifier"], {"": row["classifier"]})
        line[column(row)] = cell(row | {"published": ""})
        if column(row) in published:
            line[f"{column(row)}, published"] = row["published"]
    columns = dict.fromkeys(column for line in lines.values() for column in line)
    return [{column: line.get(column, "") for column in columns} for line in lines.values()]


def headline(rows: Iterable[dict]) -> Rows:
    """The README's table: each classifier on one jet, at the signal's pT, and over events."""
    found = {
        (row["section"].partition(" (")[0], row["classifier"], row["quantity"]): row for row in rows
    }
    single, weighted, trees = (
        TABLES[name] for name in ("single_jets", "single_jets_weighted", "trees")
    )
    weighted += " to the signal's jet pT"
    fit_of = {"jet mass": "mass", "jet pT": "pt"}
    fit_of |= {name: fit for fit, name in TREES_OF_ONE_JET.items()}
    names = [row.removeprefix(f"{DEFINITION} ") for section, row, quantity in found
             if (section, quantity) == (single, "AUC") and row.startswith(DEFINITION)]  # fmt: skip

    def value(section: str, row: str, quantity: str) -> str:
        number = found.get((section, row, quantity))
        return cell(number | {"published": "", "background": ""}) if number else ""

    return [
        {
            f"{DEFINITION} jets": name,
            "AUC": value(single, f"{DEFINITION} {name}", "AUC"),
            "AUC, background with the signal's pT": value(weighted, f"{DEFINITION} {name}", "AUC"),
            "max SIC": value(single, f"{DEFINITION} {name}", "max SIC"),
            "published": found[single, f"{DEFINITION} {name}", "max SIC"]["published"],
            "max SIC over events, trees on three jets": value(
                trees, f"{DEFINITION}_{fit_of.get(name, name)}", "max SIC"
            ),
            "published, over events": found.get(
                (trees, f"{DEFINITION}_{fit_of.get(name, name)}", "max SIC"), {}
            ).get("published", ""),
        }
        for name in names
    ]


def claims(rows: Iterable[dict]) -> Rows:
    """The paper's ordering on single jets: AK14 over the others, MaxViT >= CoAtNet > CNN, in SIC.

    Two errors or more from 1 a ratio is "above" or "below" it, else "open".
    """
    chosen = [
        row
        for row in rows
        if row["section"].startswith(TABLES["ratios"])
        and row["classifier"].startswith(f"single jets: {DEFINITION} ")
        and not any(trees in row["classifier"] for trees in TREES_OF_ONE_JET.values())
    ]
    lines = {line[""]: line for line in table(chosen, TABLES["ratios"])}
    for row in chosen:
        value, low, high = (float(row[name]) for name in ("value", "low", "high"))
        is_sure = abs(value - 1) >= high - low > 0
        verdict = ("above" if value > 1 else "below") if is_sure else "open"
        lines[row["classifier"]][row["quantity"]] += f", {verdict}"
    return list(lines.values())


def main() -> None:
    """Run the steps, show what they found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", required=True, metavar="FILE", help="the study's TOML file")
    parser.add_argument(
        "--changes", metavar="FILE", help="study whose settings are changed (default: the same)"
    )
    parser.add_argument(
        "--skip", nargs="+", choices=(*STEPS, *WHY), default=[], help="steps to leave out"
    )
    parser.add_argument("--device", help="of training and scoring (default: a GPU if there is one)")
    options = parser.parse_args()
    study = load_study(options.study)
    # What would end the last steps is told before the first, not after hours.
    if DEFINITION not in study.classifiers.jet_definitions:
        raise InputError(
            f"{options.study}: jet_definitions are {', '.join(study.classifiers.jet_definitions)}, expected "
            f"{DEFINITION} among them; add it"
        )
    if options.changes:
        load_study(options.changes)
    if options.device:
        choose_device(options.device)
    page = page_of(study, is_main=True)

    def step(name: str, command: list[str], of_study: str) -> None:
        device = ["--device", options.device] if options.device and name in USE_A_DEVICE else []
        if name not in options.skip:
            call([*command, "--study", of_study, *device])

    for name, command in STEPS.items():
        step(name, command, options.study)
    read_manifest(study.plots_dir / "plots.json", made_by="plots.py")
    rows = read_csv(study.data_dir / "summary.csv")
    files, of_training = sample(study), trained(study)
    for name, found in {"summary": rows, "sample": files, "trainings": of_training}.items():
        write_csv(page.parent / f"results/ordering_{name}.csv", found)
    tables = {
        "environment": environment(),
        "settings": settings(study),
        "sample": sample_by_kind(files),
        "trainings": of_training,
        "claims": claims(rows),
        **{name: table(rows, begins) for name, begins in TABLES.items()},
    }
    for name, found in tables.items():
        show(page, name, found or [{"": "not run"}])
    if page == PAGE:
        show(Path("README.md"), "results", headline(rows))
    folder = page.parent / "figures"
    folder.mkdir(exist_ok=True)
    for name in FIGURES:
        for path in study.plots_dir.glob(f"{name}.*"):
            shutil.copy(path, folder / f"ordering_{path.name}")
    print(f"{page}: {len(tables)} tables; {folder}/ordering_*: {len(FIGURES)} figures")
    for name in WHY:
        is_of_changes = name != "leakage" and options.changes
        command = ["-m", f"studies.{name}"]
        step(name, command, options.changes if is_of_changes else options.study)


if __name__ == "__main__":
    run(main)

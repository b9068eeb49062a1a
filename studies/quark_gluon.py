"""Quark or gluon? JetViT on jets of stable particles: the checks and questions of its sketch.

Reads   the jets of the study (`simulate.py`), or EnergyFlow's QG_jets*.npz in the same folder.
Writes  Data/<study>/models/: checkpoints, history and scores of each training; the tables of
        doc/quark_gluon.md, also as doc/results/<study>_*.csv, and doc/figures/quark_gluon_*.

    python simulate.py --study studies/quark_gluon.toml
    python -m studies.quark_gluon --study studies/quark_gluon.toml
    python -m studies.quark_gluon --study studies/quark_gluon.toml --quick
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from command import run
from evaluation.pages import Rows, environment
from evaluation.table import cell, pivot
from figures import quark_gluon as figures
from figures import style
from jets.particle_jets import NOMINAL, JetTable, read
from studies.ordering import settings
from studies.pages import options_of, publish
from studies.quark_gluon_results import combiners, curves, measured, published_means
from studies.quark_gluon_trainings import (
    MORE,
    Trained,
    Way,
    read_trainings,
    run_training,
    sha256_of,
    trainings,
    trains,
)
from studies.trainings import quick, run_all
from study import Study, load_study
from training.learner import choose_device

PAGE = Path("doc/quark_gluon.md")
QUICK_EVENTS = 300


def printed(rows: Rows) -> Rows:
    """One line a way, one column a quantity."""

    def line(row: dict) -> dict[str, str]:
        jets = f"{int(row['jets']):,}"
        return {"": row["line"], "training jets": jets, "trainings": row["trainings"]}

    return pivot(rows, line, lambda row: {row["quantity"]: cell(row)})


def printed_means(rows: Rows) -> Rows:
    """One line a number, ours beside theirs."""
    names = {"jets": "jets", "quantity": "", "published": "EnergyFlow"}
    return [
        {names[name]: row[name] for name in names} | {"here": cell({**row, "published": ""})}
        for row in rows
    ]


def printed_combiners(rows: Rows) -> Rows:
    """One line a number; of one training there is no deviation."""
    words = {"mean": "mean", "deviation": "standard deviation", "least": "least"}
    words |= {"largest": "largest"}
    return [
        {"number": row["number"]}
        | {word: f"{float(row[name]):.3f}" if row[name] else "" for name, word in words.items()}
        | {"trainings": row["trainings"]}
        for row in rows
    ]


def printed_showers(rows: Rows) -> Rows:
    """One line a way, one column a sample."""

    def line(row: dict) -> dict[str, str]:
        jets = f"{int(row['jets']):,}"
        return {"": row["line"], "training jets": jets, "trainings": row["trainings"]}

    def cells(row: dict) -> dict[str, str]:
        return {f"{row['quantity']}, {row['sample'] or 'as trained'}": cell(row)}

    return pivot(rows, line, cells)


PRINTED = {
    "means": printed_means,
    "checks": printed,
    "more_jets": printed,
    "showers": printed_showers,
    "combiner": printed_combiners,
    "settings": list,
    "environment": list,
}


def write_page(study: Study, table: JetTable, found: Sequence[Trained]) -> None:
    """Test all trainings; tables and figures go on the study's page."""
    rows = measured(study, table, found)
    fewest = min(one.way.jets for one in found)
    names = {way.line for way in MORE}
    nominal = [row for row in rows if row["sample"] == NOMINAL]
    tables = {
        "means": published_means(table),
        "checks": [row for row in nominal if row["jets"] == fewest],
        "more_jets": [row for row in nominal if row["line"] in names],
        "showers": [
            row for row in rows
            if row["line"] in names and row["quantity"] in ("AUC", "accuracy")
            and row["jets"] == max(one.way.jets for one in found)
        ],
        "combiner": combiners(found),
        "settings": settings(study),
        "environment": environment(),
    }  # fmt: skip
    for name, words in PRINTED.items():
        page = publish(study, name, tables[name], words, model=PAGE)
    style.apply()
    drawings = {"epochs": figures.epochs(curves(found)), "jets": figures.jets(tables["more_jets"])}
    for name, drawing in drawings.items():
        style.save(drawing, page.parent / f"figures/{PAGE.stem}_{name}.png")
    print(f"{page}: its tables and figures")


def main() -> None:
    """Train what is not trained, then write the page."""
    parser = options_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="few jets, one seed, one epoch")
    options = parser.parse_args()
    study, device = load_study(options.study), choose_device(options.device)
    if options.quick:
        study = quick(study, QUICK_EVENTS, epochs=1)
    torch.set_num_threads(1)  # the networks are small
    table = read(study)
    sha256 = sha256_of(table.take(trains(table)))

    def train(way: Way, seed: int) -> None:
        run_training(study, way, seed, table, sha256, device)

    if run_all(trainings(study, table), train):
        write_page(study, table, read_trainings(study, table))


if __name__ == "__main__":
    run(main)

"""Quark or gluon? JetViT on jets of stable particles: the checks and questions of its sketch.

Reads   the jets of the study (`simulate.py`), or EnergyFlow's QG_jets.npz, QG_jets_1.npz, ... in
        the same folder.
Writes  Data/<study>/models/: checkpoints, history and scores of each training; the tables of
        doc/quark_gluon.md, also as doc/results/<study>_*.csv, and doc/figures/quark_gluon_*.

Where weaver-core is installed, the particle transformer is trained too.

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
from studies import scaling
from studies.ordering import settings
from studies.pages import options_of, publish
from studies.quark_gluon_results import (
    ENERGYFLOW_JETS,
    combiners,
    costs,
    curves,
    law_rows,
    laws,
    measured,
    of_sizes,
    published_means,
)
from studies.quark_gluon_trainings import (
    COMPARED,
    FEW,
    MORE,
    WAYS,
    Trained,
    Way,
    read_trainings,
    run_training,
    trained_jets,
    trainings,
    trains,
)
from studies.trainings import quick, run_all
from study import Study, load_study
from training.learner import choose_device

PAGE = Path("doc/quark_gluon.md")
QUICK_EVENTS = 300


def words(row: dict) -> str:
    """A number, with its error if it has one; or that there is none."""
    if row["value"] == "":
        return "not run"
    return cell(row) if row["low"] != "" else f"{float(row['value']):,.0f}"


def line_of(row: dict) -> dict[str, str]:
    """The first cells of a way."""
    jets = f"{int(row['jets']):,}"
    return {"": row["line"], "training jets": jets, "trainings": row["trainings"]}


def printed(rows: Rows) -> Rows:
    """One line a way, one column a quantity."""
    return pivot(rows, line_of, lambda row: {row["quantity"]: words(row)})


def printed_law(rows: Rows) -> Rows:
    """One line a network, one column a parameter."""
    return pivot(rows, lambda row: {"": row["line"]}, lambda row: {row["quantity"]: words(row)})


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

    def cells(row: dict) -> dict[str, str]:
        return {f"{row['quantity']}, {row['sample'] or 'as trained'}": words(row)}

    return pivot(rows, line_of, cells)


PRINTED = {
    "means": printed_means,
    "checks": printed,
    "peer": printed,
    "more_jets": printed,
    "sizes": printed,
    "power_law": printed_law,
    "showers": printed_showers,
    "combiner": printed_combiners,
    "settings": list,
    "environment": list,
}


def write_page(
    study: Study, table: JetTable, found: Sequence[Trained], device: torch.device
) -> None:
    """Test all trainings; tables and figures go on the study's page."""
    rows, n = measured(study, table, found), trained_jets(table)
    nominal = [row for row in rows if row["sample"] == NOMINAL]
    few = [row for row in nominal if row["jets"] == min(FEW, n)]
    checks, compared, more = ([way.line for way in some] for some in (WAYS, COMPARED, MORE))
    of_more = [row for row in nominal if row["line"] in more and row["jets"] in (min(FEW, n), n)]
    power_laws = laws(study, table, found)
    tables = {
        "means": published_means(table),
        "checks": [row for row in few if row["line"] in checks],
        "peer": [
            *(row for row in few if row["line"] in compared), *costs(study, table, found, device)
        ],
        "more_jets": sorted(of_more, key=lambda row: (more.index(row["line"]), row["jets"])),
        "sizes": of_sizes(nominal, n),
        "power_law": law_rows(power_laws),
        "showers": [
            row for row in rows
            if row["line"] in more and row["quantity"] in ("AUC", "accuracy") and row["jets"] == n
        ],
        "combiner": combiners(found),
        "settings": settings(study),
        "environment": environment(),
    }  # fmt: skip
    for name, shown in PRINTED.items():
        page = publish(study, name, tables[name], shown, model=PAGE)
    style.apply()
    of_laws = {line: scaling.curve(*law, ENERGYFLOW_JETS) for line, law in power_laws.items()}
    known = [row for row in tables["sizes"] if row["trainings"]]
    drawings = {"epochs": figures.epochs(curves(found)), "jets": figures.jets(known, of_laws)}
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
    sha256 = table.take(trains(table)).sha256

    def train(way: Way, seed: int) -> None:
        run_training(study, way, seed, table, sha256, device)

    if run_all(trainings(study, table), train):
        write_page(study, table, read_trainings(study, table), device)


if __name__ == "__main__":
    run(main)

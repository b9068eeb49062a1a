"""Does the demo give the reference numbers? Each number beside its reference, and a verdict.

Reads   tables of plots/<study>/, which `make demo` makes, and doc/results/reference_<study>.csv.
Writes  nothing. Prints value, reference, tolerance and ok. The exit status is 0 if all numbers are
        within their tolerances, 1 if not, and 2, with a sentence, if a file or number is missing.
Takes   a second.

    make demo && .venv/bin/python -m checks.reference

The column `rule` of the reference file says where a tolerance comes from; REPRODUCE.md explains it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from command import InputError, run
from jets.classifier import COLUMNS
from products import read_csv
from study import load_study

KEYS = ("table", "level", "spectrum", *COLUMNS, "neutralino_mass", "stop_mass", "quantity")


def numbers(path: Path) -> dict[tuple[str, ...], str]:
    """The numbers of a table of plots.py by `KEYS`, which are empty where they do not apply.

    A row of summary.csv is one number; a row of any other table has one in each further column.

    Raises:
        InputError: there is no such file.
    """
    if not path.is_file():
        raise InputError(f"{path}: not there yet; run plots.py first")
    rows = read_csv(path)
    if path.name != "summary.csv":
        rows = [
            row | {"quantity": column, "value": value}
            for row in rows
            for column, value in row.items()
            if column not in KEYS
        ]
    return {tuple(row.get(key, "") for key in KEYS): row["value"] for row in rows}


def compare(folder: Path, references: Sequence[dict[str, str]]) -> list[dict[str, object]]:
    """Each reference number beside that of the tables in `folder`.

    Raises:
        InputError: a table or a number is missing.
    """
    tables = {name: numbers(folder / name) for name in {row["file"] for row in references}}
    rows = []
    for reference in references:
        key = tuple(reference[name] for name in KEYS)
        name = " ".join(filter(None, key))
        if key not in tables[reference["file"]]:
            raise InputError(
                f"{folder / reference['file']}: no {name}, expected {reference['value']}; "
                "run plots.py again"
            )
        row = {
            "number": name,
            "value": float(tables[reference["file"]][key]),
            "reference": float(reference["value"]),
            "tolerance": float(reference["tolerance"]),
        }
        rows.append(row | {"ok": abs(row["value"] - row["reference"]) <= row["tolerance"]})
    return rows


def main() -> None:
    """Compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", default="demo", help="preset or TOML file (default: demo)")
    study = load_study(parser.parse_args().study)
    path = Path(f"doc/results/reference_{study.name}.csv")
    if not path.is_file():
        raise InputError(f"{path}: not there; only the demo has reference numbers")
    rows = compare(study.plots_dir, read_csv(path))
    print(f"{'number':<60}{'value':>12}{'reference':>12}{'tolerance':>12}  ok")
    for row in rows:
        line = "{number:<60}{value:>12.6g}{reference:>12.6g}{tolerance:>12.2g}".format(**row)
        print(f"{line}  {'yes' if row['ok'] else 'NO'}")
    outside = sum(not row["ok"] for row in rows)
    print(f"{len(rows) - outside} of {len(rows)} numbers are within their tolerances")
    sys.exit(1 if outside else 0)


if __name__ == "__main__":
    run(main)

"""Does the demo give the reference numbers? Each number beside its reference, and a verdict.

Reads   tables of plots/<study>/, which `make demo` makes, and doc/results/reference_<study>.csv.
Writes  nothing. Prints value, reference, tolerance and ok. The exit status is 0 if all numbers are
        within their tolerances, 1 if not, and 2, with a sentence, if a file or number is missing.
Takes   a second.

    make demo && .venv/bin/python -m checks.reference

The column `rule` of the reference file says where a tolerance comes from; REPRODUCE.md explains it.
"""

import sys
from pathlib import Path

from command import InputError, parser_of, run
from jets.classifier import Key
from products import read_csv
from study import load_study

POINT = (*Key._fields, "neutralino_mass", "stop_mass")  # which point of a figure a row is of
REFERENCE = tuple(f"reference_{name}" for name in Key._fields)
OTHERS = ("variation", "quantity", "signal_efficiency")
KEYS = ("table", "level", "spectrum", *POINT, *REFERENCE, *OTHERS)


def numbers(path: Path) -> dict[tuple[str, ...], str]:
    """The numbers of a table of plots.py by `KEYS`, which are empty where they do not apply.

    A row of summary.csv is one number; a row of any other table has one in each further column.
    """
    if not path.is_file():
        raise InputError(f"{path}: not there yet; run plots.py first")
    rows = read_csv(path)
    if path.name != "summary.csv":
        rows = [
            {key: row.get(key, "") for key in POINT} | {"quantity": column, "value": value}
            for row in rows
            for column, value in row.items()
            if column not in POINT
        ]
    found = {}
    for row in rows:
        key = tuple(row.get(name, "") for name in KEYS)
        if key in found:
            name = " ".join(filter(None, key))
            raise InputError(f"{path}: two rows of {name}, expected one; run plots.py again")
        found[key] = row["value"]
    return found


def main() -> None:
    """Compare, print."""
    parser = parser_of(__doc__)
    parser.add_argument("--study", default="demo", help="preset or TOML file (default: demo)")
    study = load_study(parser.parse_args().study)
    path = Path(f"doc/results/reference_{study.name}.csv")
    if not path.is_file():
        raise InputError(f"{path}: not there; only the demo has reference numbers")
    references = read_csv(path)
    tables = {name: numbers(study.plots_dir / name) for name in {row["file"] for row in references}}
    print(f"{'number':<60}{'value':>12}{'reference':>12}{'tolerance':>12}  ok")
    agree = 0
    for row in references:
        key, file = tuple(row[name] for name in KEYS), row["file"]
        name = " ".join(filter(None, key))
        if key not in tables[file]:
            raise InputError(
                f"{study.plots_dir / file}: no {name}, expected {row['value']}; run plots.py again"
            )
        value, expected, tolerance = map(float, (tables[file][key], row["value"], row["tolerance"]))
        is_ok = abs(value - expected) <= tolerance
        agree += is_ok
        verdict = "yes" if is_ok else "NO"
        print(f"{name:<60}{value:>12.6g}{expected:>12.6g}{tolerance:>12.2g}  {verdict}")
    print(f"{agree} of {len(references)} numbers are within their tolerances")
    sys.exit(agree < len(references))


if __name__ == "__main__":
    run(main)

"""The rows of summary.csv by short keys in columns, whose own headings and names are for reading.

A row says of which `table` it is, of the scores of which `level` (jets or events) and
`jet_definition`, by which `classifier`, for a ratio `relative_to` which other one, and over how
many `trainings` it is a mean; then come quantity, neutralino mass, value, low, high, status,
published and background as summary.csv has them. What does not apply is empty.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from products import read_csv

# How a heading of summary.csv begins -> the table, the level of its rows ("" where a name says it).
TABLES = {
    "Single jets, held out": ("single_jets", "jets"),
    "Single jets, background weighted": ("single_jets_weighted", "jets"),
    "Trees, events held out": ("trees", "events"),
    "Trees, background weighted": ("trees_weighted", "events"),
    "The paper's ordering": ("ratios", ""),
    "Mean and standard deviation over seeds": ("seeds", ""),
    "SIC at eps_S": ("against_mass", "events"),
    "Excluded stop mass": ("excluded", "events"),
    "Gain in excluded stop mass": ("gain", "events"),
    "What the scores add to DS2": ("added", "events"),
    "Shift of eps_B": ("modelling", "events"),
    "Null check": ("null_check", ""),
}
LEVELS = {"jets": "single jets", "events": "trees on three jets"}  # in names of ratios and seeds
_NAME = re.compile(
    rf"(?:(?P<level>{'|'.join(LEVELS.values())}): )?(?:(?P<jet_definition>AK\d\d) )?"
    r"(?P<classifier>.+?)(?: / (?P<relative_to>AK\d\d .+?))?"
    r"(?: \((?P<trainings>[\d /]+)\)|, (?P<seeds>\d+) seeds)?"
)


def read_summary(path: Path) -> list[dict[str, str]]:
    """The rows of a summary.csv, `tidy`."""
    return [tidy(row) for row in read_csv(path)]


def tidy(row: Mapping[str, str]) -> dict[str, str]:
    """A row of summary.csv with keys in columns.

    >>> name = "single jets: AK14 CNN / AK10 CNN (3 / 2)"
    >>> row = tidy({"section": "The paper's ordering: x", "classifier": name, "value": "1.13"})
    >>> row["table"], row["level"], row["jet_definition"], row["classifier"], row["relative_to"]
    ('ratios', 'jets', 'AK14', 'CNN', 'AK10 CNN')
    >>> row["trainings"], label(row)
    ('3 / 2', 'single jets: AK14 CNN / AK10 CNN')
    """
    table, level = next(
        found for begins, found in TABLES.items() if row["section"].startswith(begins)
    )
    name = {"classifier": row["classifier"]}
    if level != "events":
        name = _NAME.fullmatch(row["classifier"]).groupdict("")
        levels = {title: level for level, title in LEVELS.items()}
        level = level or levels.get(name["level"], "jets" if name["jet_definition"] else "events")
    return {
        "table": table,
        "level": level,
        "jet_definition": name.get("jet_definition", ""),
        "classifier": name["classifier"],
        "relative_to": name.get("relative_to", ""),
        "trainings": name.get("trainings") or name.get("seeds", ""),
        **{key: value for key, value in row.items() if key not in ("section", "classifier")},
    }


def label(row: Mapping[str, str]) -> str:
    """The name of a `tidy` row's line in a printed table."""
    name = f"{row['jet_definition']} {row['classifier']}".strip()
    if row["relative_to"]:
        name += f" / {row['relative_to']}"
    return f"{LEVELS[row['level']]}: {name}" if row["table"] in ("ratios", "seeds") else name

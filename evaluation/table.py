"""One tidy table of numbers with their errors, one row per number, and its printed form."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jets.classifier import Classifier
from sensitivity.bootstrap import Estimate, printed_count
from sensitivity.sic import SICPoint

MASSES_PRINTED = 5  # of the neutralino masses; all are in the CSV
CELL, LABEL = 28, 34  # characters
LEGEND = (
    "Errors: one standard error (±) or the 68 % interval (+ -); ± ?: too few events for an error.\n"
    "Limits (> <): for SIC 95 %, one-sided; for masses the end of the grid. In round brackets:\n"
    "background jets or events behind a number. In square brackets: published, arXiv:2406.03096,\n"
    "on other collisions than these."
)
LEVELS = {"jets": "single jets", "events": "trees over events"}
# Spectra to which a background is weighted: of the jet, or of the hardest jet of an event.
SIGNAL_PT, SIGNAL_PT_AND_MASS = "signal pT", "signal pT and mass"
MEASURED, LEAST_BACKGROUND, LOOSENED = "measured", "least background", "looser cut"
_REMARKS = {LEAST_BACKGROUND: ", the least allowed", LOOSENED: ", looser cut"}
NONE = Classifier()  # the second classifier of a number of one
_SIGNS = {"lower limit": ">", "upper limit": "<"}


@dataclass(frozen=True)
class Summary:
    """Numbers, one mapping a row with the same keys, and sentences about them.

    Attributes:
        titles: table -> what is printed above it.
    """

    titles: Mapping[str, str] = field(default_factory=dict)
    rows: list[dict[str, object]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def add(
        self,
        table: str,
        classifier: Classifier,
        quantity: str,
        number: Estimate | SICPoint | Sequence[float],
        reference: Classifier = NONE,
        **more: object,
    ) -> None:
        """One number, with its error or its lower and upper end.

        Args:
            reference: the second classifier of a ratio or a difference.
            more: `spectrum` to which the background is weighted; `trainings` of which it is a mean,
                with `reference_trainings` of the reference; `variation` of the background;
                `neutralino_mass`, GeV; `signal_efficiency` of a given cut; `status`; `published`,
                None if the paper has no such number; `effective_background` jets or events that
                it is measured with.
        """
        row = {
            "table": table, "level": classifier.level, "spectrum": "", **classifier.row(),
            "trainings": 1, **{f"reference_{k}": words for k, words in reference.row().items()},
            "reference_trainings": "", "variation": "", "neutralino_mass": "",
            "quantity": quantity, "signal_efficiency": "", **ends(number),
            "status": MEASURED, "published": None, "effective_background": "",
        }  # fmt: skip
        assert more.keys() <= row.keys(), "a column of its own"
        self.rows.append({name: "" if x is None else x for name, x in (row | more).items()})

    def text(self) -> str:
        """The printed form: one block a table, level and spectrum, one line a classifier."""
        blocks: dict[str, list[Mapping]] = {}
        for row in self.rows:
            heading = LEVELS[row["level"]].capitalize()
            if row["spectrum"]:
                heading += f", background weighted to the {row['spectrum']}"
                heading += " of the hardest jet" * (row["level"] == "events")
            heading += f": {self.titles.get(row['table'], row['table'])}"
            blocks.setdefault(heading, []).append(row)
        printed = [_block(heading, rows) for heading, rows in blocks.items()]
        return "\n\n".join([LEGEND, *printed, "\n".join(self.sentences)]) + "\n"


def ends(number: Estimate | SICPoint | Sequence[float] | float) -> dict[str, object]:
    """A number with its lower and upper end as columns, which are empty if it has no error.

    >>> ends(Estimate(5.0, 0.5))
    {'value': 5.0, 'low': 4.5, 'high': 5.5}
    """
    if isinstance(number, Estimate):
        number = number.value, number.value - number.error, number.value + number.error
    elif isinstance(number, SICPoint):
        number = number.value, number.low, number.high
    elif isinstance(number, int | float):
        number = number, "", ""
    return dict(zip(("value", "low", "high"), number, strict=True))


def pivot(
    rows: Iterable[Mapping],
    line: Callable[[Mapping], Mapping[str, str]],
    cells: Callable[[Mapping], Mapping[str, str]],
) -> list[dict[str, str]]:
    """Tidy rows as a table to be printed.

    Args:
        line: the first cells, by heading, of the line that a row stands in.
        cells: its further cells, by heading.
    """
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        first = line(row)
        lines.setdefault(tuple(first.values()), dict(first)).update(cells(row))
    headings = dict.fromkeys(heading for found in lines.values() for heading in found)
    return [{heading: found.get(heading, "") for heading in headings} for found in lines.values()]


def label(row: Mapping) -> str:
    """The name of the line in which a row is printed: of its classifier, in a ratio of both."""
    both = [row[f"{prefix}label"] for prefix in ("", "reference_")]
    return " / ".join(both if row["table"] == "ratios" else both[:1])


def trainings(row: Mapping) -> str:
    """Over how many trainings a number is a mean, in a ratio of both; empty where it is of one."""
    both = [str(row[f"{prefix}trainings"]) for prefix in ("", "reference_")]
    return " / ".join(filter(None, both)) if set(both) - {"1", ""} else ""


def column(row: Mapping) -> object:
    """The name of the column in which a row is printed: a neutralino mass, or what it measures."""
    efficiency = row["signal_efficiency"]
    at_point = f" at eps_S = {efficiency}" if efficiency else ""
    return row.get("neutralino_mass") or row.get("variation") or f"{row['quantity']}{at_point}"


def _block(heading: str, rows: list[Mapping]) -> str:
    """Rows as text: one line per classifier, one column per quantity or neutralino mass."""
    columns = list(dict.fromkeys(column(row) for row in rows))
    if rows[0]["neutralino_mass"] and len(columns) > MASSES_PRINTED:
        wanted = np.linspace(0, len(columns) - 1, MASSES_PRINTED).round().astype(int)
        columns = [columns[i] for i in wanted]
    lines = {"": {name: str(name) for name in columns}}
    for row in rows:
        name = label(row) + (f" ({trainings(row)})" if trainings(row) else "")
        lines.setdefault(name, {})[column(row)] = cell(row)
    width = max(LABEL, *(len(name) + 2 for name in lines))
    widths = {
        name: max(CELL, *(len(line.get(name, "")) + 2 for line in lines.values()))
        for name in columns
    }
    printed = [
        f"{name:<{width}}" + "".join(f"{line.get(c, ''):<{widths[c]}}" for c in columns)
        for name, line in lines.items()
    ]
    return "\n".join([heading, *(line.rstrip() for line in printed)])


def cell(row: Mapping) -> str:
    """A number to two digits of its error, as a limit where it is one, the published one behind.

    >>> cell(ends(Estimate(0.91234, 0.002)))
    '0.9123 ± 0.0020'
    """
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    if not np.isfinite(value):
        return "-"
    status, behind = row.get("status", MEASURED), ""
    if (count := row.get("effective_background", "")) != "":
        behind = f" ({printed_count(float(count))}{_REMARKS.get(status, '')})"
    if (published := row.get("published", "")) != "":
        behind += f" [{published}]"
    if status in _SIGNS:
        return f"{_SIGNS[status]} {value:.3g}{behind}"
    below, above = value - low, high - value
    error = max(below, above)
    if not np.isfinite(error):
        return f"{value:.4g} ± ?{behind}"
    if not error > 0:
        return f"{value:.4g}{' ± 0' if error == 0 else ''}{behind}"
    digits = int(np.clip(1 - np.floor(np.log10(float(f"{error:.1e}"))), 0, 5))
    if abs(above - below) < 0.1 * error:
        return f"{value:.{digits}f} ± {error:.{digits}f}{behind}"
    return f"{value:.{digits}f} +{above:.{digits}f} -{below:.{digits}f}{behind}"

"""One tidy table of numbers with their errors, one row per number, and its printed form."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jets.classifier import Classifier
from sensitivity.bootstrap import Estimate, printed_count

MASSES_PRINTED = 5  # of the neutralino masses; all are in the CSV
CELL, LABEL = 28, 34  # characters
LEGEND = (
    "Errors: one standard error (±) or the 68 % interval (+ -); ± ?: too few events for an error.\n"
    "Limits (> <): for SIC 95 %, one-sided; for masses the end of the grid. In round brackets:\n"
    "background jets or events behind a number. In square brackets: published, arXiv:2406.03096,\n"
    "on other collisions than these."
)
LEVELS = {"jets": "single jets", "events": "trees over events"}
SIGNAL_PT = "signal pT"  # spectrum to which a background is weighted: of the hardest jet of events
MEASURED, LEAST_BACKGROUND, LOOSENED = "measured", "least background", "looser cut"
_REMARKS = {LEAST_BACKGROUND: ", the least allowed", LOOSENED: ", looser cut"}
NONE = Classifier()  # the second classifier of a number of one
_SIGNS = {"lower limit": ">", "upper limit": "<"}


@dataclass(frozen=True)
class Summary:
    """Numbers, one mapping a row with the same keys, and sentences about them.

    Attributes:
        titles: of tables, for people.
    """

    titles: Mapping[str, str] = field(default_factory=dict)
    rows: list[dict[str, object]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def add(
        self, table: str, classifier: Classifier, quantity: str, value: float, low: float,
        high: float, *, spectrum: str = "", trainings: int = 1,
        reference: Classifier = NONE, reference_trainings: object = "",
        variation: str = "", neutralino_mass: object = "", status: str = MEASURED,
        published: float | None = None, effective_background: object = "",
    ) -> None:  # fmt: skip
        """One number.

        Args:
            spectrum: to which the background is weighted.
            trainings: over how many it is a mean, with as many of the `reference`.
            reference: the second classifier of a ratio or a difference.
            variation: of the background; empty for the nominal one.
            effective_background: how many background jets or events it is measured with.
        """
        second = {f"reference_{name}": value for name, value in reference.row().items()}
        self.rows.append(
            {
                "table": table,
                "level": classifier.level,
                "spectrum": spectrum,
                **classifier.row(),
                "trainings": trainings,
                **second,
                "reference_trainings": reference_trainings,
                "variation": variation,
                "neutralino_mass": neutralino_mass,
                "quantity": quantity,
                "value": value,
                "low": low,
                "high": high,
                "status": status,
                "published": "" if published is None else published,
                "effective_background": effective_background,
            }
        )

    def add_estimate(
        self, table: str, classifier: Classifier, quantity: str, estimate: Estimate, **more
    ) -> None:
        """A number with a symmetric error."""
        low, high = estimate.value - estimate.error, estimate.value + estimate.error
        self.add(table, classifier, quantity, estimate.value, low, high, **more)

    def text(self) -> str:
        """The printed form: one block a table, level and spectrum, one line a classifier."""
        blocks: dict[str, list[Mapping]] = {}
        for row in self.rows:
            jet = " of the hardest jet" if row["level"] == "events" else ""
            spectrum = f"{row['spectrum']}{jet}"
            weighted = f", background weighted to the {spectrum}" if row["spectrum"] else ""
            title = self.titles.get(row["table"], row["table"])
            heading = f"{LEVELS[row['level']].capitalize()}{weighted}: {title}"
            blocks.setdefault(heading, []).append(row)
        printed = [_block(heading, rows) for heading, rows in blocks.items()]
        return "\n\n".join([LEGEND, *printed, "\n".join(self.sentences)]) + "\n"


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
    return row["neutralino_mass"] or row["variation"] or row["quantity"]


def _block(heading: str, rows: list[Mapping]) -> str:
    """Rows as text: one line per classifier, one column per quantity or neutralino mass."""
    columns = list(dict.fromkeys(column(row) for row in rows))
    if rows[0]["neutralino_mass"] and len(columns) > MASSES_PRINTED:
        wanted = np.linspace(0, len(columns) - 1, MASSES_PRINTED).round().astype(int)
        columns = [columns[i] for i in wanted]
    names = [label(row) + (f" ({trainings(row)})" if trainings(row) else "") for row in rows]
    cells = {(name, column(row)): cell(row) for name, row in zip(names, rows, strict=True)}
    labels = list(dict.fromkeys(names))
    width = max(LABEL, *(len(label) + 2 for label in labels))
    widths = {
        name: max(CELL, *(len(words) + 2 for (_, other), words in cells.items() if other == name))
        for name in columns
    }
    lines = [heading, " " * width + "".join(f"{name!s:<{widths[name]}}" for name in columns)]
    lines += [
        f"{label:<{width}}"
        + "".join(f"{cells.get((label, name), ''):<{widths[name]}}" for name in columns)
        for label in labels
    ]
    return "\n".join(line.rstrip() for line in lines)


def cell(row: Mapping) -> str:
    """A number to two digits of its error, as a limit where it is one, the published one behind."""
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    if not np.isfinite(value):
        return "-"
    remark, behind = _REMARKS.get(row["status"], ""), ""
    if row["effective_background"] != "":
        behind = f" ({printed_count(float(row['effective_background']))}{remark})"
    if row["published"] != "":
        behind += f" [{row['published']}]"
    if row["status"] in _SIGNS:
        return f"{_SIGNS[row['status']]} {value:.3g}{behind}"
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

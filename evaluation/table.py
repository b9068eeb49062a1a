"""One tidy table of numbers with their errors, one row per number, and its printed form."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sensitivity.bootstrap import Estimate

MASSES_PRINTED = 5  # of the neutralino masses; all are in the CSV
CELL, LABEL = 28, 34  # characters
LEGEND = (
    "Errors: one standard error (±) or the 68 % interval (+ -); ± ?: too few events for an error.\n"
    "Limits (> <): for SIC 95 %, one-sided; for masses the end of the grid. In round brackets:\n"
    "background jets or events behind a number. In square brackets: published, arXiv:2406.03096,\n"
    "on other collisions than these."
)


@dataclass(frozen=True)
class Summary:
    """Numbers, one mapping a row with the same keys, and sentences about them."""

    rows: list[dict[str, object]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def add(
        self, section: str, quantity: str, row: str, value: float, low: float, high: float,
        status: str = "measured", published: float | None = None, neutralino_mass: object = "",
        background: object = "",
    ) -> None:  # fmt: skip
        """One number; `row` says of which classifier, on which jets.

        `background` is how many background jets or events it is measured with.
        """
        self.rows.append(
            {
                "section": section,
                "quantity": quantity,
                "classifier": row,
                "neutralino_mass": neutralino_mass,
                "value": value,
                "low": low,
                "high": high,
                "status": status,
                "published": "" if published is None else published,
                "background": background,
            }
        )

    def add_estimate(
        self, section: str, quantity: str, row: str, estimate: Estimate, published=None, **more
    ) -> None:
        """A number with a symmetric error."""
        low, high = estimate.value - estimate.error, estimate.value + estimate.error
        self.add(section, quantity, row, estimate.value, low, high, published=published, **more)

    def text(self) -> str:
        """The printed form: one block a section, one line a classifier."""
        sections = dict.fromkeys(row["section"] for row in self.rows)
        blocks = [
            _block(name, [row for row in self.rows if row["section"] == name]) for name in sections
        ]
        return "\n\n".join([LEGEND, *blocks, "\n".join(self.sentences)]) + "\n"


def _block(section: str, rows: list[dict[str, object]]) -> str:
    """One section as text: one line per classifier, one column per quantity or neutralino mass."""
    by_mass = rows[0]["neutralino_mass"] != ""
    column = "neutralino_mass" if by_mass else "quantity"
    columns = list(dict.fromkeys(row[column] for row in rows))
    if by_mass and len(columns) > MASSES_PRINTED:
        wanted = np.linspace(0, len(columns) - 1, MASSES_PRINTED).round().astype(int)
        columns = [columns[i] for i in wanted]
    cells = {(row["classifier"], row[column]): cell(row) for row in rows}
    labels = list(dict.fromkeys(row["classifier"] for row in rows))
    width = max(LABEL, *(len(label) + 2 for label in labels))
    widths = {
        name: max(CELL, *(len(words) + 2 for (_, other), words in cells.items() if other == name))
        for name in columns
    }
    lines = [section, " " * width + "".join(f"{name!s:<{widths[name]}}" for name in columns)]
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
    published = f" [{row['published']}]" if row["published"] != "" else ""
    if row["background"] != "":
        published = f" ({row['background']}){published}"
    if row["status"] != "measured":
        return f"{'>' if row['status'] == 'lower limit' else '<'} {value:.3g}{published}"
    below, above = value - low, high - value
    error = max(below, above)
    if not np.isfinite(error):
        return f"{value:.4g} ± ?{published}"
    if not error > 0:
        return f"{value:.4g}{' ± 0' if error == 0 else ''}{published}"
    digits = int(np.clip(1 - np.floor(np.log10(float(f"{error:.1e}"))), 0, 5))
    if abs(above - below) < 0.1 * error:
        return f"{value:.{digits}f} ± {error:.{digits}f}{published}"
    return f"{value:.{digits}f} +{above:.{digits}f} -{below:.{digits}f}{published}"

"""Tables in Markdown pages, each between two marks of its page."""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from command import InputError
from products import machine, versions, write_text

Rows = Sequence[Mapping[str, object]]


def markdown(rows: Rows) -> str:
    """A table in Markdown.

    >>> print(markdown([{"jets": "AK14", "AUC": 0.9}]))
    | jets | AUC |
    | --- | --- |
    | AK14 | 0.9 |
    """
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(str(value) for value in row.values()) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def formatted(rows: Rows, headings: str, line: str) -> Rows:
    """Rows as they are printed: each by a format of one line, with ` | ` between the cells.

    >>> formatted([{"name": "AK14", "area": "0.912"}], "jets | AUC", "{name} | {area:.2f}")
    [{'jets': 'AK14', 'AUC': '0.91'}]
    """
    cells = (line.format(**with_numbers(row)).split(" | ") for row in rows)
    return [dict(zip(headings.split(" | "), some, strict=True)) for some in cells]


def with_numbers(row: Mapping) -> dict:
    """A row, which may come from a CSV, with its numbers as such."""
    found = dict(row)
    for column in (name for name, value in row.items() if isinstance(value, str)):
        with contextlib.suppress(ValueError):
            found[column] = float(row[column])
    return found


def environment() -> Rows:
    """The machine and the versions that made a page."""
    found = {"machine": machine(), **versions()}
    return [{"name": name, "version": version} for name, version in found.items()]


def show(page: Path, name: str, rows: Rows, printed: Callable[[Rows], Rows] = list) -> None:
    """Put a table between the marks `<!-- name -->` and `<!-- end -->` of a page.

    A mark `<!-- name: A; B -->` shows only the rows that meet the choice A, then those that meet B.
    A choice is `column=value, ...`, with `|` between values of which any will do. If no row meets
    it, the table says so. A table without rows was not run.

    Args:
        rows: tidy.
        printed: makes the printed table of them.

    Raises:
        InputError: the page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    mark = re.search(rf"<!-- {name}(?:: ([^\n]*?))? -->", text)
    end = text.find("<!-- end -->", mark.end()) if mark else -1
    if end < 0:
        raise InputError(f"{page}: no mark <!-- {name} --> ... <!-- end -->; put it back")
    shown: list[Mapping[str, object]] = []
    if rows:
        choices = mark[1].split("; ") if mark[1] else [""]
        chosen = [[row for row in rows if _meets(row, choice)] for choice in choices]
        shown += printed([row for some in chosen for row in some])
        pairs = zip(choices, chosen, strict=True)
        shown += [{"": f"missing: {choice}"} for choice, some in pairs if not some]
    table = markdown(shown or [{"": "not run"}])
    write_text(page, f"{text[: mark.end()]}\n{table}\n{text[end:]}")


def _meets(row: Mapping[str, object], choice: str) -> bool:
    pairs = [pair.split("=") for pair in choice.split(", ") if pair]
    return all(str(row.get(column)) in values.split("|") for column, values in pairs)

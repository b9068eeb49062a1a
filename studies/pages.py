"""What the studies share: their options, steps of the pipeline, tables in Markdown pages."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from command import InputError, call, parser_of
from evaluation.table import Summary, cell
from jets.classifier import Classifier
from products import machine, versions, write_csv, write_text
from sensitivity.bootstrap import Estimate
from study import Study

Rows = Sequence[Mapping[str, object]]
PAGE = Path("doc/ordering.md")


def options_of(doc: str | None) -> argparse.ArgumentParser:
    """The options that every study has."""
    parser = parser_of(doc)
    parser.add_argument("--study", required=True, metavar="FILE", help="the study's TOML file")
    parser.add_argument("--device", help="of training and scoring (default: a GPU if there is one)")
    return parser


def call_with(study: Path | str, command: Sequence[str], device: str | None) -> None:
    """Run a step of the pipeline or a study, `-m` and its module, of this study file."""
    takes_device = command[0] in ("train.py", "predict_base_model_mass.py", "-m")
    chosen = ["--device", device] if device and takes_device else []
    call([*command, "--study", str(study), *chosen])


def page_of(study: Study, is_main: bool = False) -> Path:
    """The page of a study: `PAGE` if this says that it shows it, else plots/<study>/ordering.md.

    Such a page has the headings, marks and figures of `PAGE`, whose other words are of other
    studies, and shows whole tables. CSV files go into results/ and figures into figures/ beside it.

    Args:
        is_main: whether the study fills the main tables, as the first of `PAGE` alone may do there.
    """
    text = PAGE.read_text(encoding="utf-8")
    shown = re.search(r"<!-- studies: (.*) -->", text)
    if not shown:
        raise InputError(f"{PAGE}: no line <!-- studies: NAME, ... -->; put it back")
    names = [name.strip() for name in shown[1].split(",")]
    if study.name in names:
        if is_main and study.name != names[0]:
            raise InputError(f"{PAGE}: its main tables are of {names[0]}; name {study.name} first")
        return PAGE
    page = study.plots_dir / PAGE.name
    if not page.is_file():
        kept = re.findall(r"^(?:## .*|!\[.*|<!-- (?!studies).*)$", text, re.M)
        skeleton = re.sub(r"## .*\n\n(?=## |$)", "", "\n\n".join(kept) + "\n\n")
        mark = r"Table: \1\n\n<!-- \1 -->\nnot run"
        tables = re.sub(r"<!-- (?!end)(\w+).* -->", mark, skeleton)
        write_text(page, f"# The study {study.name}\n\nHow to read the tables: {PAGE}\n\n{tables}")
    return page


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


def environment() -> Rows:
    """The machine and the versions that made a page."""
    found = {"machine": machine(), **versions()}
    return [{"name": name, "version": version} for name, version in found.items()]


def show(page: Path, name: str, rows: Rows) -> None:
    """Put a table between the marks `<!-- name -->` and `<!-- end -->` of a page.

    A mark `<!-- name: A; B -->` shows only the rows whose first entries are A and B, and says so
    if one is missing. A table without rows was not run.

    Raises:
        InputError: the page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    mark = re.search(rf"<!-- {name}(?:: ([^\n]*?))? -->", text)
    end = text.find("<!-- end -->", mark.end()) if mark else -1
    if end < 0:
        raise InputError(f"{page}: no mark <!-- {name} --> ... <!-- end -->; put it back")
    if not rows:
        rows = [{"": "not run"}]
    elif mark[1]:
        first = next(iter(rows[0]))
        by_name = {row[first]: row for row in rows}
        missing = dict.fromkeys(rows[0], "missing")
        rows = [by_name.get(name, missing | {first: name}) for name in mark[1].split("; ")]
    write_text(page, f"{text[: mark.end()]}\n{markdown(rows)}\n{text[end:]}")


def publish(study: Study, tables: Mapping[str, Rows], marks: str = "") -> Path:
    """Write tables as results/<study>_<name>.csv beside the study's page, and show them on it.

    Args:
        marks: what their names begin with on the page.
    """
    page = page_of(study)
    for name, rows in tables.items():
        write_csv(page.parent / f"results/{study.name}_{name}.csv", rows)
        show(page, f"{marks}{name}", rows)
    return page


def written(estimate: Estimate) -> str:
    """A number with its error, to two digits of it.

    >>> written(Estimate(0.91234, 0.002))
    '0.9123 ± 0.0020'
    """
    summary = Summary()
    summary.add("", Classifier(), "", estimate)
    return cell(summary.rows[0])

"""What the studies share: their options, calls of steps, and the page of a study."""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from command import InputError, call, parser_of
from evaluation.pages import Rows, show
from products import read_csv, write_csv, write_text
from study import Study

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


def page_of(study: Study, is_main: bool = False, model: Path = PAGE) -> Path:
    """The page of a study: `model` if this says that it shows it, else one in plots/<study>/.

    Such a page has the headings, marks and figures of `model`, whose other words are of other
    studies, and shows whole tables. CSV files go into results/ and figures into figures/ beside it.

    Args:
        is_main: whether the study fills the main tables, as the first of `model` alone may do
            there.
    """
    text = model.read_text(encoding="utf-8")
    shown = re.search(r"<!-- studies: (.*) -->", text)
    if not shown:
        raise InputError(f"{model}: no line <!-- studies: NAME, ... -->; put it back")
    names = [name.strip() for name in shown[1].split(",")]
    if study.name in names:
        if is_main and study.name != names[0]:
            raise InputError(f"{model}: its main tables are of {names[0]}; name {study.name} first")
        return model
    page = study.plots_dir / model.name
    if not page.is_file():
        kept = re.findall(r"^(?:## .*|!\[.*|<!-- (?!studies).*)$", text, re.M)
        skeleton = re.sub(r"## .*\n\n(?=## |$)", "", "\n\n".join(kept) + "\n\n")
        mark = r"Table: \1\n\n<!-- \1 -->\nnot run"
        tables = re.sub(r"<!-- (?!end)(\w+).* -->", mark, skeleton)
        write_text(page, f"# The study {study.name}\n\nHow to read the tables: {model}\n\n{tables}")
    return page


def publish(
    study: Study,
    name: str,
    rows: Rows,
    printed: Callable[[Rows], Rows],
    mark: str = "",
    model: Path = PAGE,
) -> Path:
    """Write a table as results/<study>_<name>.csv beside the study's page, and show it there.

    Args:
        rows: tidy; without any there is no file, and the page says so.
        printed: makes the printed table of the rows as the file has them.
        mark: the table's name on the page (default: the same).
        model: see `page_of`.
    """
    page = page_of(study, model=model)
    path = page.parent / f"results/{study.name}_{name}.csv"
    if rows:
        write_csv(path, rows)
    show(page, mark or name, read_csv(path) if rows else [], printed)
    return page

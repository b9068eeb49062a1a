"""The house: imports only go down, doc/structure.md names every file, examples are right."""

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From the foot to the roof; rooms of one line do not know each other.
STOREYS = (
    ("physics", "command", "environment"),
    ("products", "processes"),
    ("study",),
    ("models", "sensitivity"),
    ("jets",),
    ("collisions", "training"),
    ("event_level",),
    ("evaluation",),
    ("attribution",),
    ("figures",),
    (
        "simulate",
        "setup",
        "pretrain",
        "train",
        "predict_base_model_mass",
        "fit_xgb",
        "plots",
        "tag",
        "explain",
    ),
    ("studies",),
    ("checks",),
)
STOREY = {room: i for i, rooms in enumerate(STOREYS) for room in rooms}
FILES = sorted(
    path.relative_to(ROOT)
    for room in STOREY
    for path in (*(ROOT / room).rglob("*.py"), (ROOT / room).with_suffix(".py"))
    if path.is_file()
)


def imported(path: Path) -> set[str]:
    """First names of what a file imports, wherever it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_only_go_down(path):
    room = path.parts[0].removesuffix(".py")
    ours = {name for name in imported(ROOT / path) if (ROOT / name).is_dir() or name in STOREY}
    assert all(STOREY[name] < STOREY[room] for name in ours - {room})
    assert not {"torch", "timm"} & imported(ROOT / path) or room in (
        "models", "training", "event_level", "attribution", "pretrain", "train",
        "predict_base_model_mass", "tag", "explain", "studies", "checks",
    )  # fmt: skip


@pytest.mark.parametrize(
    "path", [one for one in FILES if ">>> " in (ROOT / one).read_text()], ids=str
)
def test_the_examples_of_docstrings_are_right(path):
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


def test_the_page_names_every_file_once():
    page = (ROOT / "doc/structure.md").read_text(encoding="utf-8")
    named = re.findall(r"^([\w/]+\.py) ", page, re.MULTILINE)
    assert sorted(named) == sorted(str(path) for path in FILES if path.name != "__init__.py")

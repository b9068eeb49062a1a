"""checks.reference: a demo as the reference has it agrees; what is outside or missing is told."""

import shutil
import sys
from pathlib import Path

import pytest

from checks import reference
from command import run
from products import read_csv, write_csv

ROOT = Path(__file__).parent.parent
REFERENCES = ROOT / "doc/results/reference_demo.csv"


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The folder plots/demo/ with exactly the reference numbers, in their order."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["reference.py"])
    Path("doc/results").mkdir(parents=True)
    shutil.copy(REFERENCES, "doc/results")
    summary, points = [], []
    for row in read_csv(REFERENCES):
        if row["file"] == "summary.csv":
            summary.append({key: row[key] for key in (*reference.KEYS, "value")})
        else:
            points.append(
                {key: row[key] for key in reference.POINT} | {row["quantity"]: row["value"]}
            )
    write_csv(Path("plots/demo/summary.csv"), summary)
    write_csv(Path("plots/demo/exclusion_plane.csv"), points)
    return Path("plots/demo")


def status() -> int:
    with pytest.raises(SystemExit) as end:
        run(reference.main)
    return end.value.code


def change(path: Path, row: int, value: float | None) -> None:
    """Give the number of a row another value, or take the row away."""
    rows = read_csv(path)
    if value is None:
        del rows[row]
    else:
        rows[row]["value"] = value
    write_csv(path, rows)


def test_the_reference_agrees_with_itself(demo, capsys):
    assert status() == 0
    n = len(read_csv(REFERENCES))
    assert capsys.readouterr().out.endswith(f"{n} of {n} numbers are within their tolerances\n")


@pytest.mark.parametrize(("distance", "expected"), [(0.9, 0), (-0.9, 0), (1.1, 1), (-1.1, 1)])
def test_a_number_may_differ_by_its_tolerance(demo, distance, expected, capsys):
    i, row = next(
        (i, row) for i, row in enumerate(read_csv(REFERENCES)) if row["rule"] == "training"
    )
    value = float(row["value"]) + distance * float(row["tolerance"])
    change(demo / "summary.csv", i, value)
    assert status() == expected
    assert capsys.readouterr().out.count("  NO\n") == expected


def test_a_number_that_is_none_does_not_agree(demo):
    change(demo / "summary.csv", 0, "nan")
    assert status() == 1


def test_two_rows_of_one_number_are_refused(demo, capsys):
    rows = read_csv(demo / "summary.csv")
    write_csv(demo / "summary.csv", [*rows, rows[0] | {"variation": "half_scale"}])
    assert status() == 0
    write_csv(demo / "summary.csv", [*rows, rows[0] | {"value": "0.5"}])
    assert status() == 2
    assert "summary.csv: two rows of merits jets AK08 CNN AUC, expected" in capsys.readouterr().err


def test_what_is_missing_is_named(demo, capsys, monkeypatch):
    change(demo / "summary.csv", 0, None)
    assert status() == 2
    assert "no merits jets AK08 CNN AUC, expected" in capsys.readouterr().err
    (demo / "exclusion_plane.csv").unlink()
    assert status() == 2
    assert "exclusion_plane.csv: not there yet; run plots.py" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["reference.py", "--study", "paper"])
    assert status() == 2
    assert "only the demo has reference numbers" in capsys.readouterr().err


def test_every_reference_number_follows_a_rule():
    rows = read_csv(REFERENCES)
    assert {row["rule"] for row in rows} == {"exact", "trees", "training"}
    keys = [tuple(row[key] for key in ("file", *reference.KEYS)) for row in rows]
    assert len(set(keys)) == len(keys)
    assert all(float(row["tolerance"]) > 0 for row in rows)

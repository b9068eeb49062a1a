"""checks.bench: where its table goes, and which rows it keeps."""

import sys

import pytest

from checks import bench
from products import read_csv


@pytest.mark.parametrize(
    ("options", "folder"), [([], "plots/bench"), (["--folder", "kept"], "kept")]
)
def test_the_table_goes_where_products_go_unless_told_otherwise(
    options, folder, tmp_path, monkeypatch
):
    """Parts that are not asked for keep their rows."""
    monkeypatch.chdir(tmp_path)
    for part, value in (("data", 1.0), ("sic", 2.0), ("sic", 3.0)):
        row = bench.Row(part, quantity="quantity", value=value, unit="s")
        monkeypatch.setitem(bench.PARTS, part, lambda device, networks, row=row: iter([row]))
        monkeypatch.setattr(sys, "argv", ["bench.py", part, "--device", "cpu", *options])
        bench.main()
    (table,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert table.parent == tmp_path / folder
    values = {row["part"]: row["value"] for row in read_csv(table)}
    assert (values["data"], values["sic"]) == ("1", "3")

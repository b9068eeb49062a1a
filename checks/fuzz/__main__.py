"""Damage HDF5 files in every way we know and in thousands of random ones, and run setup.py on them.

Reads   train_data/demo/: a few events of two files, written again in our own and in the published
        layout. Each case damages one of those files and runs the real setup.py in a fresh process.
Writes  doc/results/fuzz.csv, a row for each kind of damage (checks/fuzz/damage.py) and layout:
        how many cases had which outcome (checks/fuzz/judge.py); and fuzz_environment.csv.
Takes   14 minutes on one of two busy cores, for 120 cases of each random kind.

    python -m checks.fuzz
"""

import collections
import tempfile
from pathlib import Path

import h5py
from tqdm import tqdm

from checks.fuzz.damage import KINDS, RANDOM
from checks.fuzz.judge import OUTCOMES, Bench
from command import parser_of, run
from products import write_csv
from studies.pages import environment


def fuzz(bench: Bench, cases: int, seed: int) -> list[dict[str, object]]:
    """Every kind once, the random ones `cases` times: a row for each kind and layout."""
    rows = []
    plan = [(layout, kind, 1) for layout in KINDS for kind in KINDS[layout]]
    plan += [(layout, kind, cases) for layout in KINDS for kind in RANDOM]
    for layout, kind, n in tqdm(plan, unit="kind", disable=None):
        damage = (KINDS[layout] | RANDOM)[kind]
        verdicts = [bench.judge(layout, damage, seed + i, kind in RANDOM) for i in range(n)]
        for i, verdict in enumerate(verdicts):
            if verdict.outcome == "failed":
                tqdm.write(f"{layout}, {kind}, seed {seed + i}: {verdict.said}")
        counts = collections.Counter(verdict.outcome for verdict in verdicts)
        rows.append(
            {"kind": kind, "layout": layout, "cases": n}
            | {outcome: counts[outcome] for outcome in OUTCOMES}
            | {"slowest [s]": f"{max(verdict.seconds for verdict in verdicts):.2f}"}
        )
    return rows


def main() -> None:
    """Judge all kinds and write the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--cases", type=int, default=120, help="of each random kind and layout")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = fuzz(Bench(Path(folder)), options.cases, options.seed)
    command = f"python -m checks.fuzz --cases {options.cases} --seed {options.seed}"
    made_by = [
        {"name": "command", "version": command},
        {"name": "HDF5", "version": h5py.version.hdf5_version},
    ]
    write_csv(Path("doc/results/fuzz.csv"), rows)
    write_csv(Path("doc/results/fuzz_environment.csv"), [*made_by, *environment()])
    for outcome in OUTCOMES:
        print(f"{outcome}: {sum(row[outcome] for row in rows)}")


if __name__ == "__main__":
    run(main)

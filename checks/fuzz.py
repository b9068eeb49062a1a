"""Damage HDF5 files in every way we know and in thousands of random ones, and run setup.py on them.

Reads   train_data/demo/: a few events of two files, written again in our own and in the published
        layout. Each case damages one of those files and runs the real setup.py in a fresh process.
Writes  doc/results/fuzz.csv, a row for each kind of damage (checks/damage.py) and layout: how many
        cases had which outcome; and fuzz_environment.csv.
Takes   14 minutes on one of two busy cores, for 120 cases of each random kind.

A case is good if setup.py refuses the file: exit status 2, one sentence, nothing written, under
5 s of processor time. Random damage may also be read: in our own layout if what is read is
unchanged, in the published layout, which has no checksums, if every value is inside its range.

    python -m checks.fuzz
"""

import collections
import multiprocessing
import os
import random
import resource
import runpy
import shutil
import signal
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from tqdm import tqdm

from checks.damage import KINDS, RANDOM, Damage
from command import parser_of, run
from evaluation.pages import environment
from jets.events import read_events, write_events
from jets.packed import read_event_table, read_jets
from jets.published import write_published
from jets.split import is_signal
from physics import BEAM_ENERGY, CHANNELS, JET_DEFINITIONS
from products import write_csv
from study import PRESETS

ROOT = Path(__file__).parents[1]
DEMO = ROOT / PRESETS["demo"].sample_dir
EVENTS = 12  # of each of the two files
MASSES = (100, 110)  # of neutralinos, GeV: the sample's, and one that it could be taken for
STUDY = f"""
base = "demo"
images = {{split = [0.4, 0.2, 0.4], pixels_max = 128}}
[sample]
published_files = true
stop_masses = [700]
neutralino_masses = {list(MASSES)}
background_files = 1
"""
SECONDS_MAX = 5.0  # of processor time: other work on the machine does not count
WAIT_MAX = 120  # seconds until a process that waits for something is ended
# Bytes of address space of setup.py beyond what its process has at first, which is more where a
# forkserver had been started for something else.
MEMORY_MAX = 3 * 2**30
TARGETS = {  # layout, and name of its study -> the file that is damaged, the first to be read
    "collisions": Path("train_data/collisions/stop_700_100.h5"),
    "published": Path("train_data/BG_AK08_0.hdf5"),
}
OUTCOMES = ("refused", "unchanged", "in range", "failed")


class Verdict(NamedTuple):
    """What became of one case."""

    outcome: str  # one of `OUTCOMES`
    seconds: float  # processor time of setup.py, without starting Python
    said: str  # the sentence, or why it failed


class Bench:
    """A small sample in both layouts, and what setup.py makes of it undamaged."""

    def __init__(self, folder: Path):
        self.folder = folder
        # A server that has imported everything: each case is a fresh process without the wait.
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(
            ["jets.preparation", "training.plan", "checks.damage", "evaluation.pages"]
        )
        for layout in TARGETS:
            (folder / layout / "train_data").mkdir(parents=True)
            (folder / layout / f"{layout}.toml").write_text(STUDY, encoding="utf-8")
        collisions, published = (folder / layout / path for layout, path in TARGETS.items())
        ours = [collisions, collisions.with_name("ttbar_0.h5")]
        for path in ours:
            events = read_events(DEMO / path.name)
            chosen = events.fully_selected
            write_events(path, events.take(chosen & (np.cumsum(chosen) <= EVENTS)))
        write_published(published.parent, ours)
        shutil.copy(published, collisions.with_name("other"))
        shutil.copy(collisions, published.with_name("other"))
        self._expected = {}
        for layout in TARGETS:
            status, _, said = self._run(folder / layout, layout)
            assert status == 0, said
            self._expected[layout] = products(folder / layout / "Data" / layout)
            shutil.rmtree(folder / layout / "Data")

    def judge(self, layout: str, damage: Damage, seed: int, may_be_read: bool = False) -> Verdict:
        """Damage the file of this layout, run setup.py, judge what it did."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            case = Path(name)
            shutil.copytree(self.folder / layout, case, dirs_exist_ok=True)
            damage(case / TARGETS[layout], random.Random(seed))
            before = sorted(case.rglob("*"))
            status, seconds, said = self._run(case, layout)
            if seconds > SECONDS_MAX:
                return Verdict("failed", seconds, f"took {seconds:.1f} s")
            if status == 0 and may_be_read:
                found = products(case / "Data" / layout)
                return Verdict(compare(found, self._expected[layout], layout), seconds, "")
            is_sentence = said.startswith("setup.py: ") and said.count("\n") == 1
            if status == 2 and is_sentence and sorted(case.rglob("*")) == before:
                return Verdict("refused", seconds, said)
            return Verdict("failed", seconds, f"exit status {status}: {said}")

    def _run(self, folder: Path, layout: str) -> tuple[int, float, str]:
        """Exit status, seconds and standard error of setup.py."""
        said = folder.with_suffix(".said")
        answer, question = self._processes.Pipe(duplex=False)
        process = self._processes.Process(target=_watch, args=(folder, layout, said, question))
        process.start()
        status, seconds = answer.recv()
        process.join()
        text = said.read_text(encoding="utf-8", errors="replace")
        said.unlink()
        return status, seconds, text


def products(folder: Path) -> dict[str, np.ndarray]:
    """All that setup.py wrote: structured arrays by their names."""
    table = read_event_table(folder / "events.h5")
    found = {"events": table.events, "samples": table.samples}
    if table.observables is not None:
        found["observables"] = table.observables
    for name in JET_DEFINITIONS:
        packed = read_jets(folder / f"{name}.h5")
        found |= {f"{name}/{part}": array for part, array in vars(packed.images).items()}
        found[f"{name}/jets"] = packed.jets
    return found


def compare(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], layout: str) -> str:
    """`unchanged`, `in range` or `failed`."""
    if all(found[name].tobytes() == expected[name].tobytes() for name in expected):
        return "unchanged"
    events = found["events"]
    good = layout == "published"
    good &= np.isin(events["m_neutralino"][is_signal(events)], MASSES).all()
    for name, definition in JET_DEFINITIONS.items():
        jets, values = found[f"{name}/jets"], found[f"{name}/values"]
        good &= (found[f"{name}/pixels"] < len(CHANNELS) * definition.pixels**2).all()
        good &= ((values > 0) & (values <= BEAM_ENERGY)).all()
        for field in ("mass", "pt", "eta", "phi", "delta_r"):
            low = -BEAM_ENERGY if field in ("eta", "phi") else 0.0
            good &= ((jets[field] >= low) & (jets[field] <= BEAM_ENERGY)).all()
    return "in range" if good else "failed"


def _watch(folder: Path, layout: str, said: Path, question: Connection) -> None:
    """In a fresh process: call setup.py in another, and tell its exit status and seconds."""
    if child := os.fork():
        _, status, usage = os.wait4(child, 0)
        question.send((os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime))
        return
    os.chdir(folder)
    for descriptor, path in ((1, os.devnull), (2, said)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text().split()[0])  # what this process began with
    most = pages * resource.getpagesize() + MEMORY_MAX
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.alarm(WAIT_MAX)
    multiprocessing.set_start_method("fork", force=True)  # has imported everything, too
    sys.argv = ["setup.py", "--study", f"{layout}.toml"]
    runpy.run_path(str(ROOT / "setup.py"), run_name="__main__")


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
    made_by = {"command": command, "HDF5": h5py.version.hdf5_version}
    described = [{"name": name, "version": version} for name, version in made_by.items()]
    write_csv(Path("doc/results/fuzz.csv"), rows)
    write_csv(Path("doc/results/fuzz_environment.csv"), [*described, *environment()])
    for outcome in OUTCOMES:
        print(f"{outcome}: {sum(row[outcome] for row in rows)}")


if __name__ == "__main__":
    run(main)

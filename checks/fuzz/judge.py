"""Run setup.py on damaged files and judge what it does.

A case is good if setup.py refuses the file: exit status 2, one sentence, nothing written, under
5 s of processor time. Random damage may also be read: in our own layout if what is read is
unchanged, in the published layout, which has no checksums, if every value is inside its range.
"""

import multiprocessing
import os
import random
import resource
import runpy
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from checks.fuzz.damage import Damage
from jets.events import read_events, write_events
from jets.packed import read_event_table, read_jets
from jets.published import write_published
from jets.split import is_signal
from physics import BEAM_ENERGY, CHANNELS, JET_DEFINITIONS
from study import PRESETS

ROOT = Path(__file__).parents[2]
DEMO = ROOT / PRESETS["demo"].sample_dir
EVENTS = 12  # of each of the two files
MASSES = (100, 110)  # of neutralinos, GeV: the sample's, and one that it could be taken for
STUDY = f"""
base = "demo"
[sample]
published_files = true
stop_masses = [700]
neutralino_masses = {list(MASSES)}
background_files = 1
[images]
split = [0.4, 0.2, 0.4]
pixels_max = 128
"""
SECONDS_MAX = 5.0  # of processor time: other work on the machine does not count
WAIT_MAX = 120  # seconds until a process that waits for something is ended
MEMORY_MAX = 2**32  # bytes of address space of setup.py; an undamaged sample takes a third of it
TARGETS = {  # layout, and name of its study -> the file that is damaged, the first to be read
    "collisions": Path("train_data/collisions/stop_700_100.h5"),
    "published": Path("train_data/BG_AK08_0.hdf5"),
}
OUTCOMES = ("refused", "unchanged", "in range", "failed")


@dataclass(frozen=True)
class Verdict:
    """What became of one case.

    Attributes:
        outcome: one of `OUTCOMES`.
        seconds: processor time of setup.py, without starting Python.
        said: the sentence, or why it failed.
    """

    outcome: str
    seconds: float
    said: str


class Bench:
    """A small sample in both layouts, and what setup.py makes of it undamaged."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._write_sample()
        # A server that has imported everything: each case is a fresh process without the wait.
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["jets.preparation", "training.plan", __name__])
        self._expected = {}
        for layout in TARGETS:
            status, _, said = self._run(folder / layout, layout)
            assert status == 0, said
            self._expected[layout] = self._products(folder / layout, layout)
            shutil.rmtree(folder / layout / "Data")

    def _write_sample(self) -> None:
        for layout in TARGETS:
            (self.folder / layout / "train_data").mkdir(parents=True)
            (self.folder / layout / f"{layout}.toml").write_text(STUDY, encoding="utf-8")
        collisions = self.folder / "collisions" / TARGETS["collisions"]
        ours = [collisions, collisions.with_name("ttbar_0.h5")]
        for path in ours:
            events = read_events(DEMO / path.name)
            chosen = np.flatnonzero(events.fully_selected)[:EVENTS]
            write_events(path, events.take(np.isin(np.arange(len(events)), chosen)))
        write_published(self.folder / "published/train_data", ours)
        for layout, another in (("collisions", "published"), ("published", "collisions")):
            shutil.copy(
                self.folder / another / TARGETS[another], self.folder / layout / "train_data/other"
            )

    def judge(self, layout: str, damage: Damage, seed: int, may_be_read: bool = False) -> Verdict:
        """Damage the file of this layout, run setup.py, judge what it did."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            case = Path(name)
            shutil.copytree(self.folder / layout, case, dirs_exist_ok=True)
            damage(case / TARGETS[layout], random.Random(seed))
            before = sorted(case.rglob("*"))
            status, seconds, said = self._run(case, layout)
            failed = self._fault(status, seconds, said, may_be_read)
            if failed:
                return Verdict("failed", seconds, failed)
            if status == 2:
                left = sorted(case.rglob("*")) == before
                return Verdict("refused" if left else "failed", seconds, said)
            outcome = self._compare(self._products(case, layout), layout)
            return Verdict(outcome, seconds, "")

    @staticmethod
    def _fault(status: int, seconds: float, said: str, may_be_read: bool) -> str:
        """Why a case is bad already by what the process did; else empty."""
        if seconds > SECONDS_MAX:
            return f"took {seconds:.1f} s"
        if status == 0:
            return "" if may_be_read else "was read"
        if status != 2 or said.count("\n") != 1 or not said.startswith("setup.py: "):
            return f"exit status {status}: {said}"
        return ""

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

    @staticmethod
    def _products(folder: Path, layout: str) -> dict[str, np.ndarray]:
        """All that setup.py wrote."""
        data = folder / "Data" / layout
        table = read_event_table(data / "events.h5")
        found = {"events": table.events, "samples": table.samples}
        if table.observables is not None:
            found["observables"] = table.observables
        for name in JET_DEFINITIONS:
            packed = read_jets(data / f"{name}.h5")
            found[f"{name}/jets"] = packed.jets
            found[f"{name}/pixels"] = packed.images.pixels
            found[f"{name}/values"] = packed.images.values
            found[f"{name}/offsets"] = packed.images.offsets
        return found

    def _compare(self, found: dict[str, np.ndarray], layout: str) -> str:
        """`unchanged`, `in range` or `failed`."""
        expected = self._expected[layout]
        if found.keys() == expected.keys() and all(
            found[name].tobytes() == array.tobytes() for name, array in expected.items()
        ):
            return "unchanged"
        if layout == "collisions":
            return "failed"
        events = found["events"]
        good = np.isin(events["m_neutralino"][is_signal(events)], MASSES).all()
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
    child = os.fork()
    if not child:
        _setup(folder, layout, said)
        return
    _, status, usage = os.wait4(child, 0)
    question.send((os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime))


def _setup(folder: Path, layout: str, said: Path) -> None:
    """setup.py as from the command line."""
    os.chdir(folder)
    for descriptor, path in ((1, os.devnull), (2, said)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    signal.alarm(WAIT_MAX)
    multiprocessing.set_start_method("fork", force=True)  # has imported everything, too
    sys.argv = ["setup.py", "--study", f"{layout}.toml"]
    runpy.run_path(str(ROOT / "setup.py"), run_name="__main__")

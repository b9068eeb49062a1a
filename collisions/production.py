"""Making a sample: seeds, chunks, workers, and the files that become of them."""

import hashlib
import json
import math
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import InputError
from jets.events import ProcessEvents, merge, of_chunk, read_events, write_events
from processes import BACKGROUND, PROCESSES, SIGNAL, VARIATION, Process
from products import versions
from study import Study


@dataclass
class Sample:
    """One file in the making.

    Attributes:
        process: its name.
        numbers: that tell the file from others of the process: parameters, or an index.
        target: fully selected events wanted.
        loose_share: the share of events with 5 or 6 jets that is kept.
        veto: whether hopeless events are stopped early.
        folder: `train_data/<sample>/`.
        tries: events begun in a chunk.
        selected: fully selected events of each finished chunk.
        begun: chunks handed to workers.
        merged: first chunks that lie in the file already.
    """

    process: str
    numbers: tuple[int, ...]
    target: int
    loose_share: float
    veto: bool
    folder: Path
    tries: int
    selected: dict[int, int] = field(default_factory=dict)
    begun: int = 0
    merged: int = 0

    @property
    def _process(self) -> Process:
        return PROCESSES[self.process]

    def read(self, path: Path) -> ProcessEvents:
        """One of its files or chunks, in the layout of its process."""
        return read_events(path, may_be_empty=True, selection=self._process.selection)

    @property
    def parameters(self) -> tuple[int, ...]:
        """Of the process."""
        return self.numbers if self._process.parameters else ()

    @property
    def cross_section(self) -> float | None:
        """Of the process, pb; None where it states none of these parameters."""
        try:
            found = self._process.cross_section
            return float(found(*self.parameters)) if found else None
        except ValueError:
            return None

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self._process.sample_name(*self.numbers)

    @property
    def path(self) -> Path:
        """The finished file."""
        return self.folder / f"{self.name}.h5"

    @property
    def chunks(self) -> Path:
        """The folder of its chunks."""
        return self.folder / "chunks" / self.name

    def chunk_path(self, chunk: int) -> Path:
        """The file of one chunk."""
        return self.chunks / f"{chunk:04d}.h5"

    def seed(self, chunk: int) -> int:
        """Pythia's seed of one chunk, from what identifies it and nothing else."""
        *parameters, index = self._process.identity(*self.numbers)
        name = self._process.varies or self.process
        identity = f"{self.folder.name} {name} {tuple(parameters)} {index} {chunk}"
        return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8]) % 900_000_000 + 1

    def complete_chunks(self) -> int:
        """How many first chunks reach the target; 0 if those that are finished do not."""
        total = 0
        for chunk in range(self.begun):
            total += self.selected.get(chunk, -math.inf)
            if total >= self.target:
                return chunk + 1
        return 0

    def wants_another(self) -> bool:
        """Whether the chunks begun so far will probably not reach the target."""
        if not self.selected:
            return self.begun == 0
        found = self.selected.values()
        unfinished = self.begun - len(found)
        return sum(found) + unfinished * max(np.mean(list(found)), 0.1) < self.target

    def settings(self) -> dict:
        """What decides a chunk besides its number."""
        process = self._process
        spectrum = process.spectrum(*self.parameters) if process.spectrum else ""
        of_slice = dict(zip(("activity_min", "activity_max"), process.activity or (), strict=False))
        return {
            "process": process.varies or process.name,
            **dict(zip(process.parameters, self.parameters, strict=True)),
            "index": process.identity(*self.numbers)[-1],
            "sample": self.folder.name,
            "tries_per_chunk": self.tries,
            "early_veto": self.veto,
            "loose_share": self.loose_share,
            "pythia_settings": "\n".join(
                [*process.pythia_settings(*self.parameters), *process.forced]
            ),
            **of_slice,
            "slha_spectrum": spectrum,
            "veto_score_min": process.veto_below if self.veto else -math.inf,
        }


def samples_of(
    study: Study, names: Sequence[str], veto: bool = True, tries: int | None = None
) -> list[Sample]:
    """The files of some processes that a study asks for; of variations fully selected events only.

    Args:
        names: of processes.
        veto: whether hopeless events are stopped early.
        tries: events begun in a chunk, if not those of the process.

    Raises:
        InputError: parameters that a process cannot have, or another generator's process.
    """
    simulation, samples = study.simulation, []
    for process in (PROCESSES[name] for name in names):
        if process.settings is None:
            raise InputError(
                f"{process.name}: Pythia does not make these events; take those of another "
                "generator, see `python -m collisions.hepmc --help`"
            )
        files = study.files_of(process)
        target, loose_share = {
            BACKGROUND: (simulation.background_events, simulation.background_loose_share),
            SIGNAL: (simulation.signal_events, simulation.signal_loose_share),
            VARIATION: (simulation.variation_events, 0.0),
        }[process.role]
        target = simulation.events_of.get(process.name, target)
        if process.role == BACKGROUND:
            target = math.ceil(target / len(files))
        folder = study.folder_of(process)
        samples += [
            Sample(process.name, numbers, target, loose_share, veto, folder, tries or process.tries)
            for numbers in files
        ]
    for sample in samples:
        sample.settings()  # refuses what cannot be
    return samples


def simulate_chunk(sample: Sample, chunk: int) -> tuple[int, int, dict[str, float]]:
    """In a worker: make one chunk and write it.

    Returns:
        Events begun, events fully selected, and the seconds of every stage.
    """
    from collisions.chunk import make_chunk

    process, seed = PROCESSES[sample.process], sample.seed(chunk)
    made = make_chunk(
        process, sample.parameters, sample.tries, seed, sample.veto, sample.loose_share, chunk
    )
    begun, *_, selected = made.cut_flow.values()
    flow = np.array(list(made.weighted_cut_flow.values()))
    facts = {
        "seed": seed,
        "generated": begun,
        "selected": selected,
        "cross_section_pb": made.cross_section,
        "sum_of_weights": float(flow[0]),
        "sum_of_squares": made.squares,
        "selected_weight": float(flow[-1]),
    }
    events = of_chunk(made.columns, made.cut_flow, sample.settings() | summary([facts]))
    write_events(sample.chunk_path(chunk), normalised(sample, events, events.weight, flow))
    return begun, selected, made.seconds


def normalised(
    sample: Sample, events: ProcessEvents, weight: np.ndarray, flow: np.ndarray
) -> ProcessEvents:
    """The events with weights that, over all events begun, add up to those that are expected.

    The cross section is that of the process, or Pythia's where the process states none.

    Args:
        weight: (n,) the generator's.
        flow: (cuts,) sums of these weights after every cut.
    """
    cross_section, stated = events.attributes["cross_section_pb"], sample.cross_section
    events.attributes["normalised_to_pb"] = cross_section if stated is None else stated
    unit = events.unit_weight
    events.attributes["weighted_cut_flow"] = json.dumps((unit * flow).tolist())
    return replace(events, weight=unit * weight)


def summary(chunks: list[dict]) -> dict:
    """What a file says of its chunks together.

    `selection_efficiency` is the full selection's, with respect to all decays, with its binomial
    error of the effective number of events; the cross section is Pythia's LO one, all decays open,
    with its statistical error. Chunks made before there were weights have the weight 1.
    """
    total = sum(chunk.get("sum_of_weights", chunk["generated"]) for chunk in chunks)
    squares = sum(chunk.get("sum_of_squares", chunk["generated"]) for chunk in chunks)
    passing = sum(chunk.get("selected_weight", chunk["selected"]) for chunk in chunks)
    generated = np.array([chunk["generated"] for chunk in chunks])
    values, errors = np.array([chunk["cross_section_pb"] for chunk in chunks]).T
    efficiency, shares = passing / total, generated / generated.sum()
    error = math.sqrt(efficiency * (1 - efficiency) / (total**2 / squares))
    return {
        "cross_section_pb": float(shares @ values),
        "cross_section_error_pb": float(np.sqrt(np.sum((shares * errors) ** 2))),
        "generated": int(generated.sum()),
        "selected": sum(chunk["selected"] for chunk in chunks),
        "selection_efficiency": float(efficiency),
        "selection_efficiency_error": error,
        "sum_of_weights": float(total),
        "sum_of_squares": float(squares),
        "chunks": json.dumps(chunks),
    }


def finish(sample: Sample) -> int:
    """Merge the first chunks that reach the target into the sample's file; remove the others.

    Returns:
        Fully selected events of the file.
    """
    parts = [sample.read(sample.path)] if sample.merged else []
    parts += [
        sample.read(sample.chunk_path(chunk))
        for chunk in range(sample.merged, sample.complete_chunks())
    ]
    facts = [fact for part in parts for fact in json.loads(part.attributes["chunks"])]
    attributes = sample.settings() | summary(facts) | {"versions": json.dumps(versions())}
    events = merge(parts, attributes)
    selected = events.fully_selected | events.is_for_training
    if np.count_nonzero(selected) != attributes["selected"]:
        raise AssertionError(f"{sample.name}: the cut flow and the events disagree")
    weight = np.concatenate([part.generator_weight for part in parts])
    flow = np.sum([part.generator_cut_flow for part in parts], axis=0)
    write_events(sample.path, normalised(sample, events, weight, flow))
    remove_chunks(sample)
    return attributes["selected"]


def remove_chunks(sample: Sample) -> None:
    """Those that are in the sample's file, and what was made beyond its target."""
    if sample.chunks.is_dir():
        shutil.rmtree(sample.chunks)


def chunks_of(sample: Sample, path: Path) -> list[dict]:
    """What is known of the chunks in a file of the sample.

    Raises:
        InputError: they were made with other settings.
    """
    try:
        attributes = sample.read(path).attributes
    except InputError as error:
        raise InputError(f"{error} (delete it first)") from None
    for name, value in sample.settings().items():
        if attributes.get(name) != value:
            raise InputError(
                f"{path}: attribute {name!r} is {attributes.get(name)!r}, expected {value!r}; "
                f"move it away to make {sample.name} again"
            )
    return json.loads(attributes["chunks"])


def is_complete(sample: Sample) -> bool:
    """Whether nothing is left to do for a sample, not even to tidy up."""
    if sample.chunks.is_dir() or not sample.path.is_file():
        return False
    selected = [chunk["selected"] for chunk in chunks_of(sample, sample.path)]
    return sum(selected) >= sample.target


def take_up(sample: Sample) -> None:
    """Count what earlier calls have left: the file, and chunks that are not yet in it.

    Raises:
        InputError: they were made with other settings.
    """
    if sample.path.is_file():
        selected = [chunk["selected"] for chunk in chunks_of(sample, sample.path)]
        sample.selected = dict(enumerate(selected))
        sample.begun = sample.merged = len(selected)
        if sum(selected) >= sample.target:
            remove_chunks(sample)  # an earlier call ended before it did
    while (path := sample.chunk_path(sample.begun)).is_file():
        [fact] = chunks_of(sample, path)
        sample.selected[sample.begun] = fact["selected"]
        sample.begun += 1


def simulate(samples: list[Sample], workers: int) -> dict[str, float]:
    """Make the files; returns the seconds of each stage, summed over workers."""
    seconds: Counter[str] = Counter()
    begun, start = 0, time.monotonic()
    bar = tqdm(
        total=sum(sample.target for sample in samples),
        initial=sum(sum(sample.selected.values()) for sample in samples),
        unit=" selected",
        disable=None,
        smoothing=0.02,
    )
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_follow_parent)
    running: dict[Future, tuple[Sample, int]] = {}
    unfinished = list(samples)
    try:
        while unfinished:
            busy = [sample for sample, _ in running.values()]
            for sample in [s for s in unfinished if s not in busy and s.complete_chunks()]:
                what = "events" if PROCESSES[sample.process].for_training else "fully selected"
                tqdm.write(f"{sample.path}  {finish(sample)} {what}")
                unfinished.remove(sample)
            while len(running) < workers:
                sample = next((sample for sample in unfinished if sample.wants_another()), None)
                if sample is None:
                    break
                running[pool.submit(simulate_chunk, sample, sample.begun)] = (sample, sample.begun)
                sample.begun += 1
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                sample, chunk = running.pop(future)
                tried, sample.selected[chunk], took = future.result()
                begun += tried
                bar.update(sample.selected[chunk])
                bar.set_postfix_str(f"{begun / (time.monotonic() - start):.0f} events/s")
                seconds.update(took)
    except KeyboardInterrupt:
        print(
            "finishing the chunks in the making; interrupt again to leave at once", file=sys.stderr
        )
        for number in (signal.SIGINT, signal.SIGTERM):  # workers end with their parent
            signal.signal(number, lambda *_: os._exit(130))
        raise
    finally:
        pool.shutdown(cancel_futures=True)  # chunks in the making are finished and kept
        bar.close()
    return seconds


def _follow_parent() -> None:
    """In a worker: interrupts are the parent's, and its end, even by SIGKILL, is the worker's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def leave_with_parent() -> None:
        connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()

"""Jets of particles of a study: ours of `simulate.py`, or public ones where their files lie."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from command import InputError
from jets.angularities import ANGULARITIES, OF_JETS, of_constituents
from jets.constituents import Constituents, concatenate
from jets.events import ParticleJets, read_events
from jets.public import JETCLASS_LABELS, PublicJets, from_particles, of_pdg_ids, read_public
from jets.ragged import table
from jets.split import IDENTITY, assign_split
from processes import (
    PARTICLE_JETS,
    PROCESSES,
    SIGNAL,
    JetSelection,
    Process,
    number_of,
    variations_of,
)
from study import Study

NOMINAL = ""  # the sample that is trained on, in place of a variation
OF_TWO_CLASSES = ("QCD", "Tbqq")  # of JetClass: background and signal


class JetFile(NamedTuple):
    """The jets of one process in a file.

    Attributes:
        index: that tells them from those of other files.
        sample: `NOMINAL`, or the variation.
        is_public: a public file also holds the jets of other processes.
    """

    path: Path
    process: Process
    index: int
    sample: str = NOMINAL
    is_public: bool = False


class JetsOfFile(NamedTuple):
    """n jets.

    Attributes:
        identity: structured (n,) `jets.split.IDENTITY`.
        constituents, axes: as in `jets.public.PublicJets`.
        events: what else our file holds of them; None of public ones.
    """

    identity: np.ndarray
    constituents: Constituents
    axes: np.ndarray
    events: ParticleJets | None


@dataclass(frozen=True)
class JetTable:
    """n jets.

    Attributes:
        events: structured (n,), the `jets.split.IDENTITY` of every jet.
        constituents: of them, about their axis.
        jets: structured (n,), `OF_JETS`; angularities of all constituents that are kept.
        label: (n,) 1 of the signal, such as quarks, 0 of the background.
        split: (n,) a number of `jets.split.SPLITS`; variations are held out.
        sample: (n,) `NOMINAL`, or the variation.
    """

    events: np.ndarray
    constituents: Constituents
    jets: np.ndarray
    label: np.ndarray
    split: np.ndarray
    sample: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def sha256(self) -> str:
        """Of all that is known of the jets."""
        digest = hashlib.sha256("\n".join(self.sample).encode())
        columns = [self.events, self.jets, self.label, self.split, self.constituents.offsets]
        for column in (*columns, *self.constituents.columns().values()):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def take(self, rows: np.ndarray) -> "JetTable":
        """The jets of a mask or of numbers."""
        return JetTable(
            **{
                name: found.take(rows) if isinstance(found, Constituents) else found[rows]
                for name, found in vars(self).items()
            }
        )


def read(study: Study) -> JetTable:
    """All jets of a study, as `files_of` has them, and by row.

    Raises:
        InputError: as `files_of`; a file that is missing or damaged.
    """
    radius = selection_of(study).radius
    parts = [_columns(file, radius) for file in files_of(study)]
    events, constituents, jets, label, sample = zip(*parts, strict=True)
    events = np.concatenate(events)
    return JetTable(
        events,
        concatenate(constituents),
        np.concatenate(jets),
        np.concatenate(label),
        assign_split(events, np.ones(len(events), bool), study),
        np.concatenate(sample),
    )


def selection_of(study: Study) -> JetSelection:
    """Which jets those of a study are; InputError if they are of several kinds, or of none."""
    first, *others = map(PROCESSES.__getitem__, study.sample.processes)
    for process in (first, *others):
        if process.selection != PARTICLE_JETS:
            raise InputError(
                f"study {study.name!r}: sample.processes has {process.name!r}, whose events are of "
                f"the {process.selection}, expected {PARTICLE_JETS}; leave it out"
            )
        if process.jets != first.jets:
            raise InputError(
                f"study {study.name!r}: sample.processes has jets of R = {first.jets.radius:g} "
                f"({first.name}) and of other ones ({process.name}), expected one kind; leave one "
                "out"
            )
    return first.jets


def files_of(study: Study) -> list[JetFile]:
    """The jets that a study asks for, and those of variations that are there.

    Public files in the folder of the sample take the place of ours.

    Raises:
        InputError: as `selection_of`; files of two public samples.
    """
    names, folder = selection_of(study).public, study.sample_dir
    public = sorted(path for name in names for path in folder.glob(name))
    for path in public:
        if path.suffix != public[0].suffix:
            raise InputError(
                f"{folder}: {public[0].name} and {path.name} are of different samples; keep those "
                "of one"
            )
    asked = [PROCESSES[name] for name in study.sample.processes]
    files = [
        JetFile(path, process, number_of(path.name), is_public=True)
        for path in public
        for process in asked
    ] or [
        JetFile(folder / f"{process.sample_name(i)}.h5", process, i)
        for process in asked
        for (i,) in study.files_of(process)
    ]
    return files + [
        JetFile(path, process, int(path.stem.rpartition("_")[2]), variation)
        for variation, processes in variations_of(study.sample.processes).items()
        for process in processes
        for path in study.variation_files(process)
    ]


def read_file(file: JetFile) -> JetsOfFile:
    """The jets of a file and process; in a public one those with the label of the process.

    Raises:
        InputError: whatever is wrong with the file.
    """
    events = None
    if file.is_public:
        found = _read_public(file.path)
        rows = np.flatnonzero(found.label == (file.process.role == SIGNAL))
        found = found.take(rows)
    else:
        events = read_events(file.path, selection=PARTICLE_JETS)
        if file.path.stem != events.sample_name:
            raise InputError(
                f"{file.path}: holds the jets of {events.sample_name}.h5; give it that name again"
            )
        rows, particles = np.arange(len(events)), events.particles
        counts = np.diff(events.particle_offsets)
        momenta = (particles[name].astype(np.float64) for name in ("pt", "rapidity", "phi"))
        of_ids = of_pdg_ids(particles["pdg_id"])
        found = from_particles(file.path, counts, *momenta, *of_ids, label=np.zeros(len(events)))
    numbers = file.process.number, *file.process.identity(file.index), rows
    columns = dict(zip(IDENTITY, numbers, strict=True))
    identity = table([(name, "i8") for name in IDENTITY], len(rows), columns)
    return JetsOfFile(identity, found.constituents, found.axes, events)


@lru_cache(maxsize=1)
def _read_public(path: Path) -> PublicJets:
    """All jets, labelled 1 and 0 of `OF_TWO_CLASSES` in JetClass, and -1 of its other classes."""
    found = read_public(path)
    if path.suffix != ".root":
        return found
    label = np.full(len(found.label), -1)
    for number, name in enumerate(OF_TWO_CLASSES):
        label[found.label == JETCLASS_LABELS.index(name)] = number
    return found._replace(label=label)


def _columns(file: JetFile, radius: float) -> tuple:
    """The columns of a file in a `JetTable`, the split aside."""
    found = read_file(file)
    n, shapes = len(found.axes), of_constituents(found.constituents, radius)
    columns = {name: found.axes[name] for name in ("mass", "pt")}
    columns |= {name: shapes[name] for name in ANGULARITIES}
    nominal = PROCESSES[file.process.varies or file.process.name]
    return (
        found.identity,
        found.constituents,
        table([(name, "f4") for name in OF_JETS], n, columns),
        np.full(n, nominal.role == SIGNAL, np.int64),
        np.full(n, file.sample, object),
    )

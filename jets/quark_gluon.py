"""Quark and gluon jets of a study: ours of `simulate.py`, or EnergyFlow's files where they lie."""

from dataclasses import dataclass

import numpy as np

from command import InputError
from jets.angularities import ANGULARITIES, OF_JETS, of_constituents
from jets.constituents import Constituents, concatenate
from jets.events import QuarkGluonJets, read_events
from jets.public import PublicJets, energyflow, from_particles, of_pdg_ids
from jets.ragged import table
from jets.split import IDENTITY, assign_split
from processes import PROCESSES, QUARK_GLUON, SIGNAL, Process, variations_of
from study import Study

RADIUS = 0.4  # of the jets
NOMINAL = ""  # the sample that is trained on, in place of a variation
ENERGYFLOW = -2  # the process of jets that are EnergyFlow's


@dataclass(frozen=True)
class QuarkGluonTable:
    """n jets.

    Attributes:
        events: structured (n,), the `jets.split.IDENTITY` of every jet.
        constituents: of them, about their axis.
        jets: structured (n,), `OF_JETS`; angularities of all constituents that are kept.
        label: (n,) 1 of a quark, 0 of a gluon.
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

    def take(self, rows: np.ndarray) -> "QuarkGluonTable":
        """The jets of a mask or of numbers."""
        return QuarkGluonTable(
            **{
                name: found.take(rows) if isinstance(found, Constituents) else found[rows]
                for name, found in vars(self).items()
            }
        )


def read(study: Study) -> QuarkGluonTable:
    """All jets of a study, by process, file and row, and of the variations that are there.

    EnergyFlow's `QG_jets*.npz` in the folder of the sample take the place of ours.

    Raises:
        InputError: another process, a file that is missing or damaged.
    """
    for process in map(PROCESSES.__getitem__, study.sample.processes):
        if process.selection != QUARK_GLUON:
            raise InputError(
                f"study {study.name!r}: sample.processes has {process.name!r}, whose events are of "
                f"the {process.selection}, expected those of {QUARK_GLUON}; leave it out"
            )
    given = sorted(study.sample_dir.glob("QG_jets*.npz"))
    parts = [_part(energyflow(path), ENERGYFLOW, i, NOMINAL) for i, path in enumerate(given)]
    if not given:
        nominal = {PROCESSES[name]: NOMINAL for name in study.sample.processes}
        parts = [
            _part(_read_file(study, process, numbers), process.number, *numbers, sample)
            for process, sample in nominal.items()
            for numbers in study.files_of(process)
        ]
    for variation, processes in variations_of(study.sample.processes).items():
        for process in processes:
            for path in study.variation_files(process):
                index = int(path.stem.rpartition("_")[2])
                jets = _of_file(read_events(path, selection=QUARK_GLUON), process)
                parts.append(_part(jets, process.number, index, variation))
    events, constituents, jets, label, sample = zip(*parts, strict=True)
    events = np.concatenate(events)
    return QuarkGluonTable(
        events,
        concatenate(constituents),
        np.concatenate(jets),
        np.concatenate(label),
        assign_split(events, np.ones(len(events), bool), study),
        np.concatenate(sample),
    )


def _read_file(study: Study, process: Process, numbers: tuple[int, ...]) -> PublicJets:
    path = study.folder_of(process) / f"{process.sample_name(*numbers)}.h5"
    return _of_file(read_events(path, selection=QUARK_GLUON), process)


def _of_file(found: QuarkGluonJets, process: Process) -> PublicJets:
    particles = found.particles
    mass, kind = of_pdg_ids(particles["pdg_id"])
    nominal = PROCESSES[process.varies or process.name]
    label = np.full(len(found), nominal.role == SIGNAL)
    counts = np.diff(found.particle_offsets)
    coordinates = (particles[name].astype(np.float64) for name in ("pt", "rapidity", "phi"))
    return from_particles(found.sample_name, counts, *coordinates, mass, kind, label)


def _part(found: PublicJets, process: int, index: int, sample: str) -> tuple:
    """The columns of one file."""
    identity = {"process": process, "m_stop": -1, "m_neutralino": -1, "index": index}
    identity["row"] = np.arange(len(found.label))
    shapes = of_constituents(found.constituents, RADIUS)
    columns = {name: found.axes[name] for name in ("mass", "pt")}
    columns |= {name: shapes[name] for name in ANGULARITIES}
    return (
        table([(name, "i8") for name in IDENTITY], len(found.label), identity),
        found.constituents,
        table([(name, "f4") for name in OF_JETS], len(found.label), columns),
        found.label,
        np.full(len(found.label), sample, object),
    )

"""Jets from the events of another generator, which come in a HepMC file.

Reads   a HepMC file of version 2 or 3, also as .gz, .bz2 or .xz, or a named pipe: unweighted events
        with their beams, all stable particles, and the cross section.
Writes  train_data/<sample>/<sample>_<variation>/<process>_0.h5: the jets of this variation, which
        passed the selection of simulate.py's and lie in the same layout (doc/data-format.md).
Takes   1.3 ms an event (one core).

    S="--study studies/quark_gluon.toml"
    python -m collisions.hepmc quark_jets_sherpa Data/sherpa/quark.hepmc $S
    python -m collisions.hepmc gluon_jets_sherpa Data/sherpa/gluon.hepmc $S
"""

import bz2
import gzip
import importlib.util
import io
import itertools
import json
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from collisions.particle_jets import select_jets
from collisions.particles import Record, charge_of, truth, visible
from collisions.production import summary
from command import InputError, parser_of, run
from jets.events import ProcessEvents, merge, of_chunk, read_events, write_events
from jets.ragged import events_of, offsets_from
from processes import PROCESSES, Process
from products import alone, versions
from study import add_study_options, study_of

if TYPE_CHECKING:
    import pyhepmc

BATCH = 1_000  # events
STABLE, BEAM = 1, 4  # HepMC's status
# PDG ids that Pythia leaves stable: jets of a generator that leaves K0S or Lambda are others.
LASTING = (11, 12, 13, 14, 16, 22, 130, 211, 321, 2112, 2212)
TOLERANCE = 0.1  # GeV, of the momentum of an event
FORMATS = {b"HepMC::Asciiv3": "hepmc3", b"HepMC::IO_GenEvent": "hepmc2"}
COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
REMEDY = "let the generator make the events again"


class Event(NamedTuple):
    """What is read of one event.

    Attributes:
        columns: PDG id, status, px, py, pz, energy and mass (n,) of its beams and stable particles,
            GeV.
        weight: the nominal one.
        cross_section: in pb as the generator knew it by then, and its error; None if not stated.
        generator: its name and version; empty if not stated.
    """

    columns: tuple[np.ndarray, ...]
    weight: float
    cross_section: tuple[float, float] | None
    generator: str

    @classmethod
    def of(cls, event: "pyhepmc.GenEvent") -> "Event":
        """From HepMC's."""
        particles = event.numpy.particles
        rows = np.flatnonzero(np.isin(particles.status, (STABLE, BEAM)))
        unit = 1e-3 if event.momentum_unit.name == "MEV" else 1.0
        momenta = (particles.px, particles.py, particles.pz, particles.e, particles.generated_mass)
        stated = event.cross_section
        return cls(
            (particles.pid[rows], particles.status[rows], *(unit * one[rows] for one in momenta)),
            event.weights[0] if event.weights else 1.0,
            (stated.xsec(), stated.xsec_err()) if stated else None,
            ", ".join(f"{tool.name} {tool.version}" for tool in event.run_info.tools),
        )


class _Listing(io.BufferedReader):
    """A file that counts the events that begin in it, and knows how it ends."""

    begun, end = 0, b"\n"

    def readinto1(self, buffer: memoryview) -> int:
        n = super().readinto1(buffer)
        read = bytes(buffer[:n])
        self.begun += (self.end[-2:] + read).count(b"\nE ")
        self.end = (self.end + read)[-64:]
        return n


def read_hepmc(path: Path) -> Iterator[Event]:
    """All events of a file, one after the other.

    Raises:
        InputError: not a HepMC file, cut off or damaged.
    """
    import pyhepmc

    pyhepmc.Setup.print_errors = pyhepmc.Setup.print_warnings = False  # which are said below
    pyhepmc.Setup.debug_level = 0
    with COMPRESSED.get(path.suffix, io.FileIO)(path) as file, _Listing(file) as listing:
        try:
            header = listing.peek()[:256]
        except (OSError, EOFError, lzma.LZMAError):  # not what the suffix says
            header = b""
        form = next((FORMATS[mark] for mark in FORMATS if mark in header), None)
        if form is None:
            raise InputError(f"{path}: not a HepMC file of version 2 or 3, or damaged; {REMEDY}")
        whole = 0
        for event in pyhepmc.open(listing, format=form):
            yield Event.of(event)
            whole += 1
        if whole < listing.begun or b"END_EVENT_LISTING" not in listing.end:
            raise InputError(f"{path}: cut off or damaged after event {whole - 1}; {REMEDY}")


def record_of(events: Sequence[Event]) -> Record:
    """Of some events, without daughters; beams have a negative status."""
    columns = [event.columns for event in events]
    offsets = offsets_from([len(pdg_id) for pdg_id, *_ in columns])
    pdg_id, status, *momenta = map(np.concatenate, zip(*columns, strict=True))
    status = np.where(status == BEAM, -BEAM, status)
    none = np.zeros(len(pdg_id), np.int64)
    return Record(events_of(offsets), offsets, pdg_id, status, none, none, *momenta)


def require_whole(path: Path, first: int, record: Record, process: Process) -> None:
    """Refuse events that do not have the beams of a process, or lack some of what they became.

    Args:
        first: the number of the first event in the file.

    Raises:
        InputError: other beams, stable particles that Pythia's events do not have, or momentum or
            charge that is not conserved.
    """
    is_beam = record.status < 0

    def total(column: np.ndarray) -> np.ndarray:
        return np.bincount(record.event, column, len(record.offsets) - 1)

    def missing(column: np.ndarray) -> np.ndarray:
        return np.abs(total(np.where(is_beam, column, -column)))

    beams = total(np.where(is_beam, record.energy, 0))
    decaying = total(~is_beam & ~np.isin(np.abs(record.pdg_id), LASTING))
    momenta = record.px, record.py, record.pz, record.energy
    momentum = np.max([missing(column) for column in momenta], axis=0)
    charge = missing(charge_of(record.pdg_id))
    for found, good, what, expected in (
        (beams, np.isclose(beams, process.energy, 1e-3), "GeV of beams", f"{process.energy:g}"),
        (decaying, decaying == 0, "stable particles that decay in Pythia, such as K0S", "none"),
        (momentum, momentum < TOLERANCE, "GeV lost from its beams", f"below {TOLERANCE}"),
        (charge, charge == 0, "e lost from its beams", "none"),
    ):
        if not good.all():
            i = np.argmin(good)
            raise InputError(
                f"{path}: event {first + i} has {found[i]:g} {what}, expected {expected}; {REMEDY}"
            )


def jets_of(path: Path, process: Process) -> ProcessEvents:
    """The selected events of a file, normalised to its cross section.

    Raises:
        InputError: the file or one of its events is not what is needed, or none is selected.
    """
    stream = iter(tqdm(read_hepmc(path), unit=" events", disable=None))
    parts, weights = [], []
    while batch := list(itertools.islice(stream, BATCH)):
        record = record_of(batch)
        require_whole(path, len(weights), record, process)
        of_process, parts_of_truth = truth(record, process.truth), len(process.matches)
        kept, columns, left = select_jets(visible(record), process.jets, of_process, parts_of_truth)
        columns |= {
            "truth": of_process[kept],
            "pt_hat": np.zeros(len(kept)),
            "veto_score": np.full(len(kept), np.nan),
        }
        flow = {"begun": len(batch)} | {cut: int(passed.sum()) for cut, passed in left.items()}
        parts.append(of_chunk(columns, flow, {"process": process.varies}))
        weights += [event.weight for event in batch]
        last = batch[-1]
    selected = sum(map(len, parts))
    if not selected:
        raise InputError(f"{path}: none of its {len(weights)} events is selected; {REMEDY}")
    if np.ptp(weights) > 1e-6 * abs(weights[0]):
        raise InputError(
            f"{path}: events weigh from {min(weights):g} to {max(weights):g}, expected one weight; "
            f"{REMEDY}"
        )
    if last.cross_section is None:
        raise InputError(f"{path}: its last event states no cross section; {REMEDY}")
    counts = {"generated": len(weights), "selected": selected}
    facts = summary([counts | {"cross_section_pb": last.cross_section}])
    attributes = {
        "process": process.varies,
        "index": 0,
        "generator": last.generator or "not stated",
        "events_from": str(path),
    }
    events = merge(parts, attributes | facts | {"versions": json.dumps(versions())})
    return replace(events, weight=np.full(len(events), events.unit_weight))


def require_made_from(file: Path, path: Path, process: Process) -> None:
    """Refuse jets made from another file than this one, or from what it was before."""
    made_from = read_events(path, selection=process.selection).attributes["events_from"]
    is_newer = file.exists() and file.stat().st_mtime > path.stat().st_mtime
    if made_from != str(file) or is_newer:
        raise InputError(
            f"{path}: made from {made_from}{' as it was before' * is_newer}; move it away to make "
            f"it from {file}"
        )


def main() -> None:
    """Parse options, read the events, write the jets."""
    parser = parser_of(__doc__)
    foreign = [name for name, process in PROCESSES.items() if process.settings is None]
    parser.add_argument("process", choices=foreign, help="what its events are")
    parser.add_argument("file", type=Path, help="HepMC file or named pipe")
    add_study_options(parser)
    options = parser.parse_args()
    process, study = PROCESSES[options.process], study_of(options)
    if process.varies not in study.sample.processes:
        raise InputError(
            f"{process.name}: varies no process of study {study.name!r}, which has "
            f"{', '.join(study.sample.processes)}; take another study"
        )
    if importlib.util.find_spec("pyhepmc") is None:
        raise InputError(
            "the package 'pyhepmc' is not installed; `pip install -r requirements-optional.txt`"
        )
    path = study.folder_of(process) / f"{process.sample_name(0)}.h5"
    with alone(path):
        if path.is_file():
            require_made_from(options.file, path, process)
            print(f"{path}: is there, nothing to read")
            return
        events = jets_of(options.file, process)
        write_events(path, events)
    multiplicity = np.diff(events.particle_offsets)
    error = multiplicity.std() / len(events) ** 0.5
    print(
        f"{path}  {len(events)} jets of {multiplicity.mean():.2f} ± {error:.2f} particles from "
        f"{events.attributes['generated']} events, generator {events.attributes['generator']}"
    )


if __name__ == "__main__":
    run(main)

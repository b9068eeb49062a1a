"""The sources of jets behind one face: collisions, the published files, jets of particles.

A source lists the samples that a study asks for (one file of collisions; a published stop mass or
background file; the jets of one process in a file of such), says what is in each, and draws the
images of those of its jets that are wanted. What else lies there is left out and named, so that a
study can take a part.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import contains
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from command import InputError
from jets import constituents, content, hdf5, published
from jets.constituents import Constituents, draw_constituents
from jets.events import Events, read_events
from jets.images import SparseImages, draw_events
from jets.packed import EVENT_DTYPE, KINEMATICS, OF_PROCESS, SAMPLE_DTYPE
from jets.particle_jets import JetFile, files_of, read_file
from jets.ragged import events_of, table
from jets.reader_process import ReaderProcess
from jets.split import IDENTITY
from physics import (
    FOX_WOLFRAM_ORDERS,
    IMAGED_JETS,
    JET_DEFINITIONS,
    JETS_PER_EVENT,
    MISSING_DELTA_R,
)
from processes import (
    BACKGROUND,
    PARTICLE_JETS,
    PROCESSES,
    SIGNAL,
    VARIATION,
    Z_GAMMA,
    Process,
    of_role,
    parsed,
    variations_of,
)
from processes.stop import STOP
from study import Study

UNKNOWN = -1  # number of jets of a published event
SAME_CROSS_SECTION = 0.05  # relative; the generator's own fluctuates from file to file
PART_OF_VARIATION = "of {0} without its {1}; make them with simulate.py --variations {0}"
PUBLIC_JETS, OUR_JETS = "public jets", "jets of particles"
NOT_READ = "beside the {}"
NOT_VARIED = "of {0}, but not of the processes that study {1.name!r} asks for"
NOT_ASKED = (
    "that study {0.name!r} does not ask for (its masses, background_files = "
    "{0.sample.background_files})"
)


@dataclass(frozen=True)
class Survey:
    """All of one sample but its images.

    Attributes:
        process: of all of it.
        events: structured (n,) `EVENT_DTYPE`, the split not yet assigned.
        fully_selected: (n,) bool.
        observables, samples: as in `EventTable`, of this one.
        jets: jet definition -> structured (n, 3) `KINEMATICS`, pT 0 where there is no jet or it has
            no pixel.
        content: path -> hash (n,) of the events as that file has them (jets/content.py).
        off_grid: neutralino masses of the rows that are left out, not among these n.
        unit_weight: of an event of generator weight 1; None without weights.
        sum_of_weights: of the generator's, over all events begun.
        slice: which part of phase space the file is of, where it says so.
    """

    process: Process
    events: np.ndarray
    fully_selected: np.ndarray
    observables: np.ndarray | None
    jets: dict[str, np.ndarray]
    samples: np.ndarray
    content: dict[Path, np.ndarray]
    off_grid: Sequence[float] = ()
    unit_weight: float | None = None
    sum_of_weights: float = np.nan
    slice: str = ""


def combine_weights(surveys: Sequence[Survey]) -> list[str]:
    """Give files that are parts of one sample weights for all of them together.

    Parts have the same process and parameters, the same `slice`, and within `SAME_CROSS_SECTION`
    the same cross section. Other files of one process are slices of it: they add up.

    Returns:
        What was taken as parts of one sample, a sentence each.

    Raises:
        InputError: a file without weights is to be mixed with one that has them.
    """
    mixtures, samples = defaultdict(list), defaultdict(list)
    for survey in surveys:
        process = survey.process
        mixtures[process.mixture].append(survey)
        masses = survey.events[["m_stop", "m_neutralino"]][:1].tolist()
        samples[process, survey.slice, *masses].append(survey)
    for parts in mixtures.values():
        files = {part.unit_weight is None: next(iter(part.content)) for part in reversed(parts)}
        if len(files) > 1:
            raise InputError(
                f"{files[True]}: dataset 'weight' is missing, expected it as in {files[False]}, "
                "with which these events are to be mixed; simulate the file again or leave one of "
                "them out"
            )
    remarks = []
    for (process, *_), files in samples.items():
        if all((file.events["weight"] == 1).all() for file in files):
            continue  # as without weights
        unit, sums = np.array([(part.unit_weight, part.sum_of_weights) for part in files]).T
        order = np.argsort(unit * sums, kind="stable")  # cross section x luminosity
        expected = (unit * sums)[order]
        slices = np.flatnonzero(expected[1:] > (1 + SAME_CROSS_SECTION) * expected[:-1]) + 1
        for parts in np.split(order, slices):
            if len(parts) == 1:
                continue
            paths = [path for part in parts for path in files[part].content]
            remarks.append(f"weights: {listed(paths)} are taken as parts of one {process.name}")
            shares = sums[parts] / sums[parts].sum()
            for part in parts:
                together = files[part].events["weight"] / unit[part] * (unit[parts] @ shares**2)
                files[part].events["weight"] = together
    return remarks


def _events(
    process: Process, numbers: Sequence, rows: np.ndarray, n_jets: ArrayLike, weight: ArrayLike
) -> np.ndarray:
    """The events (n,) `EVENT_DTYPE` of a sample with these numbers, not yet split."""
    identity = dict(zip(IDENTITY[1:-1], process.identity(*numbers), strict=True))
    columns = {"process": process.number, "row": rows, "n_jets": n_jets, "weight": weight}
    return table(EVENT_DTYPE, len(rows), columns | identity)


def _samples(events: np.ndarray, fully_selected: np.ndarray, facts: dict) -> np.ndarray:
    """What is known of a sample, structured `SAMPLE_DTYPE`, one row a neutralino mass."""
    points, number = np.unique(events["m_neutralino"], return_inverse=True)
    columns = {name: events[name][:1] for name in ("process", "m_stop", "index")} | {
        "m_neutralino": points,
        "events": np.bincount(number, fully_selected, len(points)),
        **{name: facts.get(name, np.nan) for name in OF_PROCESS},
    }
    return table(SAMPLE_DTYPE, len(points), columns)


def kinematics(large_r: np.ndarray) -> np.ndarray:
    """Large-R jets of our own collisions as `KINEMATICS`, of the same shape."""
    columns = {name: large_r[name] for name in ("mass", "pt", "eta", "phi")}
    columns["delta_r"] = large_r["delta_r"].min(axis=-1)
    return table(KINEMATICS, large_r.shape, columns)


class Collisions:
    """Collisions in our layout: the files of a study's processes, and of their variations."""

    name = "collisions"

    def __init__(self, folder: Path, study: Study):
        self.folder, self.study = folder, study
        reasons: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.glob("[!.]*.h5")):
            reasons[_why_not(path, study)].append(path)
        self.samples, self.left_out = reasons.pop("", []), reasons
        self._variation: dict[Path, Process] = {}
        asked = variations_of(study.sample.processes if self.samples else ())
        for variation, parts in asked.items():
            files = {path: part for part in parts for path in study.variation_files(part)}
            others = set(study.folder_of(parts[0]).glob("[!.]*.h5")) - files.keys()
            if others:
                reasons[NOT_VARIED.format(variation, study)] = sorted(others)
            missing = [part.varies for part in parts if part not in files.values()]
            if files and missing:
                reasons[PART_OF_VARIATION.format(variation, " and ".join(missing))] = [*files]
            else:
                self._variation |= files
        self.samples += self._variation
        self.paths = self.samples

    def survey(self, path: Path) -> Survey:
        """What one file holds; InputError if anything about it is wrong."""
        found = read_events(path)
        process = self._variation.get(path, PROCESSES[found.process])
        name = f"{found.sample_name}.h5"
        if path.name != name:
            is_copy = path.with_name(name).exists()
            remedy = ", which is there too; remove one" if is_copy else "; give it that name again"
            raise InputError(f"{path}: holds the events of {name}{remedy}")
        selected = found.fully_selected
        if process.role == VARIATION and not selected.all():
            raise InputError(
                f"{path}: {np.sum(~selected)} events with 5 or 6 jets, expected 0 in a variation; "
                f"make it with simulate.py --variations {process.variation}"
            )
        seen, weight = found.observables, 1 if found.weight is None else found.weight
        events = _events(process, found.numbers, np.arange(len(found)), seen["n_jets"], weight)
        names = ("ht", "mj", "n_jets", *(f"h{order}" for order in FOX_WOLFRAM_ORDERS))
        columns = [np.hypot(seen["met_x"], seen["met_y"]), *(seen[name] for name in names)]
        columns += [found.lepton["pt"], seen["n_b_tags"]]
        return Survey(
            process,
            events,
            selected,
            np.stack(columns, axis=1).astype(np.float32),
            {name: _filled_jets(found, name) for name in JET_DEFINITIONS},
            _samples(events, selected, found.attributes),
            {path: content.of_collisions(found)},
            unit_weight=None if found.weight is None else found.unit_weight,
            sum_of_weights=found.sum_of_weights,
            slice=str(found.attributes.get("slice", "")),
        )

    def images(self, path: Path, wanted: dict[str, np.ndarray]) -> dict[str, SparseImages]:
        """Images of the jets `wanted`, jet definition -> (n, 3) bool, by event and jet number."""
        found, oriented = read_events(path), self.study.images.oriented
        return {name: draw_events(found, name, some, oriented) for name, some in wanted.items()}

    def constituents(self, path: Path, jet_definition: str, wanted: np.ndarray) -> Constituents:
        """Those of the jets `wanted` (n, 3), by event and jet number."""
        return constituents.of_events(read_events(path), jet_definition, wanted)


def _filled_jets(found: Events, jet_definition: str) -> np.ndarray:
    """The jets (n, 3) `KINEMATICS`, pT 0 where no object is in one."""
    jets = kinematics(found.large_r[jet_definition])
    k = found.objects["jet"][:, list(JET_DEFINITIONS).index(jet_definition)]
    filled = np.zeros((len(found), JETS_PER_EVENT + 1), bool)
    filled[events_of(found.object_offsets), k] = True
    jets["pt"][~filled[:, :JETS_PER_EVENT]] = 0
    return jets


def _why_not(path: Path, study: Study) -> str:
    """Why a study does not ask for a file; empty if it does."""
    name, numbers = parsed(path.stem) or ("", ())
    if not name or name in study.sample.processes:
        axes = study.axes_of(PROCESSES[name]) if name else ()
        is_asked = name and len(axes) == len(numbers) and all(map(contains, axes, numbers))
        return "" if is_asked else NOT_ASKED.format(study)
    if name in of_role(SIGNAL, BACKGROUND):
        processes = f"(processes = {study.sample.processes})"
        return f"of processes that study {study.name!r} does not ask for {processes}"
    return "of processes that are not registered (a file of processes/ states each)"


class PublishedFiles:
    """The files published with arXiv:2406.03096: three a stop mass or background file."""

    name = "published files"

    def __init__(self, folder: Path, study: Study):
        self.folder, self.study = folder, study
        self._files, others = published.find_files(folder, study)
        self.left_out = {NOT_ASKED.format(study): others} if others else {}
        self.samples = list(self._files)
        self.paths = [path for paths in self._files.values() for path in paths.values()]
        self._taken: dict[tuple[Process, int], np.ndarray] = {}
        self._read = ReaderProcess().call

    def survey(self, sample: tuple[Process, int]) -> Survey:
        """What the three files of a sample hold; raises InputError if anything is wrong."""
        (process, number), paths = sample, self._files[sample]
        found = {
            path: self._read(published.read_kinematics, path, name, process == STOP)
            for name, path in paths.items()
        }
        masses = {path: columns[0] for path, columns in found.items()}
        first = next(iter(masses.values()))
        if len({*map(len, masses.values())}) > 1:
            stated = ", ".join(f"{path.name} {len(one)}" for path, one in masses.items())
            raise InputError(
                f"{self.folder}: different numbers of events in the three jet definitions of one "
                f"sample ({stated}), expected equal ones; fetch them again"
            )
        for path, others in masses.items():
            expected = "the mass in the other jet definition"
            hdf5.require(path, published.MASS, others, others == first, expected, published.REMEDY)
        taken, numbers = np.ones(len(first), bool), (number,)
        if process == STOP:
            taken = np.isin(first, self.study.sample.neutralino_masses)
            numbers = number, first[taken]
        self._taken[sample] = taken
        events = _events(process, numbers, np.flatnonzero(taken), UNKNOWN, 1)
        selected = np.ones(len(events), bool)
        jets = {name: found[path][1][taken] for name, path in paths.items()}
        hashes = {path: hashed[taken] for path, (_, _, hashed) in found.items()}
        samples = _samples(events, selected, {})
        return Survey(process, events, selected, None, jets, samples, hashes, first[~taken])

    def images(
        self, sample: tuple[Process, int], wanted: dict[str, np.ndarray]
    ) -> dict[str, SparseImages]:
        """As `Collisions.images`; the n events are those that `survey` found before."""
        images, (process, _), taken = {}, sample, self._taken[sample]
        for name, path in self._files[sample].items():
            of_file = np.zeros((len(taken), JETS_PER_EVENT), bool)
            of_file[taken] = wanted[name]
            images[name] = self._read(published.read_images, path, name, process == STOP, of_file)
        return images

    def constituents(
        self, sample: tuple[Process, int], jet_definition: str, wanted: np.ndarray
    ) -> Constituents:
        """InputError: there are none."""
        raise InputError(
            f"{self.folder}: the published files hold images and no constituents, which JetViT "
            "needs; leave it out of classifiers.networks, or take collisions of our own"
        )


class ParticleJetFiles:
    """Jets of particles, ours or public ones: each is an event of its own, and its only jet."""

    def __init__(self, folder: Path, study: Study):
        self.folder, self.study = folder, study
        self.samples = [file for file in files_of(study) if file.path.is_file()]
        self.name = PUBLIC_JETS if any(file.is_public for file in self.samples) else OUR_JETS
        self.paths = list(dict.fromkeys(file.path for file in self.samples))
        others = {*filter(Path.is_file, folder.glob("[!.]*"))}.difference(self.paths)
        self.left_out = {NOT_READ.format(self.name): sorted(others)} if others else {}

    def survey(self, file: JetFile) -> Survey:
        """The jets of a process in a file; InputError if anything about it is wrong."""
        identity, found, axes, ours = read_file(file)
        process, weight, of_weights = file.process, 1, {}
        if ours and ours.weight is not None:
            weight = ours.weight
            of_weights = {"unit_weight": ours.unit_weight, "sum_of_weights": ours.sum_of_weights}
        events = _events(process, (file.index,), identity["row"], UNKNOWN, weight)
        selected = np.ones(len(events), bool)
        jets = np.zeros((len(events), JETS_PER_EVENT), KINEMATICS)
        for name in ("pt", "phi", "mass"):
            jets[name][:, 0] = axes[name]
        transverse = np.hypot(axes["pt"], axes["mass"])
        jets["eta"][:, 0] = np.arcsinh(transverse * np.sinh(axes["rapidity"]) / axes["pt"])
        jets["delta_r"] = 0 if process.role == SIGNAL else MISSING_DELTA_R  # all match, or none
        return Survey(
            process,
            events,
            selected,
            None,
            dict.fromkeys(self.study.jet_definitions, jets),
            _samples(events, selected, ours.attributes if ours else {}),
            {file.path: content.of_jets(axes, found)},
            **of_weights,
        )

    def images(self, file: JetFile, wanted: dict[str, np.ndarray]) -> dict[str, SparseImages]:
        """As `Collisions.images`."""
        return {
            name: draw_constituents(
                self.constituents(file, name, some),
                IMAGED_JETS[name].pixels,
                self.study.images.oriented,
            )
            for name, some in wanted.items()
        }

    def constituents(self, file: JetFile, jet_definition: str, wanted: np.ndarray) -> Constituents:
        """As `Collisions.constituents`."""
        return read_file(file).constituents.take(wanted[:, 0])


Source = Collisions | PublishedFiles | ParticleJetFiles


def find_source(study: Study) -> Source:
    """The one source of a study: jets of particles if its processes are such, else its own
    collisions if there are any, else the published files.

    Raises:
        InputError: there is none, published files that do not belong together, processes of
            several kinds, or one that has no jets.
    """
    selections = {name: PROCESSES[name].selection for name in study.sample.processes}
    for name, selection in selections.items():
        if selection == Z_GAMMA:
            raise InputError(
                f"study {study.name!r}: the events of {name!r} have no jets, which the steps after "
                "simulate.py are about; event_level/higgs_to_z_gamma.py reads them"
            )
    for folder in (study.sample_dir.parent, study.sample_dir):
        if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
            raise InputError(f"{folder}: no permission to read it; mend its permissions")
    if PARTICLE_JETS in selections.values():
        source: Source = ParticleJetFiles(study.sample_dir, study)
    else:
        source = Collisions(study.sample_dir, study)
        if not source.samples and not source.left_out and study.sample.published_files:
            source = PublishedFiles(study.sample_dir.parent, study)
    if source.samples:
        return source
    if others := sorted(path for paths in source.left_out.values() for path in paths):
        raise InputError(
            f"{source.folder}: study {study.name!r} asks for none of the {len(others)} files there "
            f"({listed(others)}); state their processes, masses and background_files, or another "
            "sample, in a study"
        )
    where = f"the published files (Zenodo records 13236906 and 13269304) into {source.folder}/"
    zenodo = f", or put {where}" if study.sample.published_files else ""
    raise InputError(
        f"{study.sample_dir}: no samples; make them with simulate.py and the same --study{zenodo}"
    )


def listed(paths: Sequence[Path], most: int = 6) -> str:
    """The names of some files, and how many more there are.

    >>> listed([Path("a.h5"), Path("b.h5"), Path("c.h5")], most=2)
    'a.h5, b.h5 and 1 more'
    """
    names = ", ".join(path.name for path in paths[:most])
    return f"{names} and {len(paths) - most} more" if len(paths) > most else names


def missing_samples(study: Study, samples: np.ndarray) -> dict[Process, list[tuple[int, ...]]]:
    """What the study asks for and is not among `samples`: process -> the numbers of its files."""
    there = set(samples[list(IDENTITY[:-1])].tolist())
    return {
        process: [
            numbers
            for numbers in study.files_of(process)
            if (process.number, *process.identity(*numbers)) not in there
        ]
        for process in map(PROCESSES.__getitem__, study.sample.processes)
        if not process.for_training
    }

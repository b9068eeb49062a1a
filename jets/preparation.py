"""Step 1 as functions: look through all samples, choose jets, pack them."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import InputError
from jets.content import refuse_copies
from jets.events import Events
from jets.images import SparseImages, draw_events, sum_pixels
from jets.packed import (
    JET_DTYPE,
    KINEMATICS,
    OBSERVABLES,
    EventTable,
    PackedJets,
    jet_writer,
    write_event_table,
)
from jets.ragged import offsets_from, table
from jets.sources import Source, combine_weights, find_source, kinematics
from jets.split import (
    HELD_OUT,
    TRAIN,
    assign_split,
    choose_training_jets,
    is_background,
    is_signal,
    is_variation,
    matched,
    relative_weights,
    shuffle_labels,
)
from physics import IMAGED_JETS
from processes import SIGNAL, VARIATION, numbered, of_role
from products import read_manifest
from study import Study


@dataclass(frozen=True)
class Overview:
    """All samples of a source but their images; see `sources.Survey`.

    Attributes:
        table: the events with their split, and the samples.
        first: (samples + 1,) where the events of each of the source's samples begin.
        remarks: on the weights of files that belong together.
    """

    table: EventTable
    jets: dict[str, np.ndarray]
    fully_selected: np.ndarray
    first: np.ndarray
    off_grid: np.ndarray
    remarks: list[str]


def look_through(source: Source, study: Study) -> Overview:
    """Validate every file and assign every event to its split.

    Raises:
        InputError: anything wrong with a file; an event that is there twice; no signal or no
            background at all, or weights of one of them that do not add up to more than 0.
    """
    surveys = [source.survey(sample) for sample in tqdm(source.samples, "reading", disable=None)]
    remarks = combine_weights(surveys)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([vars(survey)[name] for survey in surveys])

    events = joined("events")
    for is_class, name in ((is_signal, "signal"), (is_background, "background")):
        if not is_class(events).any():
            raise InputError(
                f"{source.folder}: no {name} among {len(source.paths)} files, expected at least "
                "one that the study asks for; simulate or fetch it"
            )
    relative_weights(events)  # with weights that it refuses nothing can be trained or measured
    refuse_copies(
        (path, survey.events["row"], hashes)
        for survey in surveys
        for path, hashes in survey.content.items()
    )
    fully_selected = joined("fully_selected")
    events["split"] = assign_split(events, fully_selected, study)
    assert fully_selected[events["split"] == HELD_OUT].all()
    observables = None if surveys[0].observables is None else joined("observables")
    return Overview(
        EventTable(events, observables, joined("samples"), source.name),
        {name: np.concatenate([one.jets[name] for one in surveys]) for name in surveys[0].jets},
        fully_selected,
        offsets_from([len(survey.events) for survey in surveys]),
        joined("off_grid"),
        remarks,
    )


def inventory(overview: Overview) -> list[tuple]:
    """One line per value of the first parameter of a process, or per index, for print.

    Returns:
        Name, mass points of signal, events fully selected and not, the sum of the weights of the
        fully selected; by definition the jets, and the range of matched jets of a mass point.
    """
    events, samples = overview.table.events, overview.table.samples
    key, lines = ["process", "m_stop", "index"], []
    for sample in np.unique(samples[key]):
        rows, selected = events[key] == sample, overview.fully_selected
        points, point = np.unique(events["m_neutralino"][rows], return_inverse=True)
        n_jets, ranges = [], []
        for jets in overview.jets.values():
            n_jets.append(np.count_nonzero(jets["pt"][rows] > 0))
            per_point = np.bincount(point, matched(jets[rows]).sum(axis=1)).astype(int)
            ranges.append(f"{per_point.min()}-{per_point.max()}")
        process, n_points = numbered(sample["process"]), len(points)
        name = process.name
        if process.role != VARIATION:
            name += f" {sample['m_stop' if process.parameters else 'index']}"
        if process.role != SIGNAL:
            n_points, ranges = "", [""] * len(ranges)
        counts = np.count_nonzero(rows & selected), np.count_nonzero(rows & ~selected)
        weight = f"{events['weight'][rows & selected].sum():.6g}"
        lines.append((name, n_points, *counts, weight, *n_jets, *ranges))
    return lines


def choose(overview: Overview, study: Study, jet_definition: str) -> tuple[np.ndarray, np.ndarray]:
    """The jets to pack of one definition: those to train on, and all of held-out events.

    Returns:
        Which of the (n, 3) jets, and those jets, structured `JET_DTYPE`, by event and jet number.

    Raises:
        InputError: no jet of a class to train on.
    """
    events, jets = overview.table.events, overview.jets[jet_definition]
    asked, trains = study.images, may_train(overview.table, study)
    training = choose_training_jets(
        events, jets, asked.training_jets_per_mass_point, trains, asked.training_background_ratio
    )
    packed = training | ((jets["pt"] > 0) & (events["split"] == HELD_OUT)[:, None])
    rows = _rows(jets, packed, is_signal(events))
    rows["split"] = events["split"][rows["event"]]
    rows["classified"] &= ~is_variation(events)[rows["event"]]
    rows["shuffled_label"] = shuffle_labels(rows["label"], rows["classified"], jet_definition)
    for label, name in ((1, "signal"), (0, "background")):
        if not (rows["label"][rows["split"] == TRAIN] == label).any():
            raise InputError(
                f"study {study.name!r}: no {jet_definition} {name} jet to train on among "
                f"{len(events)} events, expected at least one; simulate or fetch more"
            )
    return packed, rows


def may_train(table: EventTable, study: Study) -> np.ndarray:
    """Which events (n,) may train and validate: none that are held out, or of too small an HT.

    Raises:
        InputError: the study asks for HT, which only events of our own have.
    """
    trains, ht_min = table.events["split"] != HELD_OUT, study.images.training_ht_min
    if ht_min and table.observables is None:
        raise InputError(
            f"study {study.name!r}: images.training_ht_min is {ht_min:g}, but the sample holds "
            "no HT; leave it at 0"
        )
    return trains & (table.observables[:, OBSERVABLES.index("HT")] >= ht_min) if ht_min else trains


def look_again(study: Study) -> tuple[Source, Overview]:
    """The sample that setup.py prepared, for what it did not pack.

    Raises:
        InputError: setup.py has not finished, or did so with other settings or files.
    """
    source, manifest = find_source(study), study.data_dir / "setup.json"
    read_manifest(manifest, "setup.py", study.settings("setup"), made_from=source.paths)
    return source, look_through(source, study)


def hardest_jets(overview: Overview, jet_definition: str, chosen: np.ndarray) -> np.ndarray:
    """The chosen of the events (n,), each as its hardest jet, structured `JET_DTYPE`; pT 0 without.

    All are classified but variations: an event needs no matched jet.
    """
    events, jets = overview.table.events, overview.jets[jet_definition]
    wanted = chosen[:, None] & (np.arange(jets.shape[1]) == 0)
    rows = _rows(jets, wanted, is_signal(events))
    rows["split"] = events["split"][chosen]
    rows["classified"] = ~is_variation(events)[chosen]
    rows["shuffled_label"] = shuffle_labels(rows["label"], rows["classified"], jet_definition)
    return rows


def _rows(jets: np.ndarray, chosen: np.ndarray, is_signal: np.ndarray) -> np.ndarray:
    """The chosen of jets (n, 3), structured `JET_DTYPE`, of events whose labels are given, (n,)."""
    event, k = np.nonzero(chosen)
    columns = {name: jets[name][chosen] for name, _ in KINEMATICS}
    columns |= {"event": event, "k": k, "label": is_signal[event]}
    rows = table(JET_DTYPE, len(event), columns)
    rows["classified"] = (rows["label"] == 0) | matched(rows)
    return rows


def jets_of(
    events: Events,
    jet_definition: str,
    side: int,
    mass_mean: float = 0.0,
    mass_std: float = 1.0,
    oriented: bool = True,
) -> PackedJets:
    """All large-R jets of one file of collisions, without a split: to be scored, not trained on.

    Args:
        side: pixels along one side of the image.
        mass_mean, mass_std: TeV, of the jets that the scoring network was trained on.
    """
    found = kinematics(events.large_r[jet_definition])
    exists = found["pt"] > 0
    jets = _rows(found, exists, np.full(len(events), events.process in of_role(SIGNAL)))
    images = at_side(draw_events(events, jet_definition, exists, oriented), jet_definition, side)
    return PackedJets(jets, images, side, mass_mean, mass_std, jet_definition)


def at_side(images: SparseImages, jet_definition: str, side: int) -> SparseImages:
    """Images of the published size with n x n pixels summed, to have `side` pixels along a side."""
    published = IMAGED_JETS[jet_definition].pixels
    return images if side == published else sum_pixels(images, published, published // side)


def pack(
    source: Source,
    overview: Overview,
    chosen: dict[str, tuple[np.ndarray, np.ndarray]],
    study: Study,
) -> list[Path]:
    """Draw the chosen jets and write them, and the table of events.

    Args:
        chosen: jet definition -> what `choose` returned.

    Returns:
        The files written.
    """
    paths = {name: study.packed_file(name) for name in chosen}
    side = {name: study.image_pixels(name) for name in chosen}
    relative = relative_weights(overview.table.events)
    with ExitStack() as stack:
        add = {}
        for name, path in paths.items():
            rows = chosen[name][1]
            rows = rows[rows["split"] != HELD_OUT]
            weight, label = relative[rows["event"]], rows["label"]
            # Only ratios inside a class matter: held-out events change none of them.
            sums = np.maximum(np.bincount(label, np.abs(weight)), np.finfo(float).tiny)
            weight /= (sums / np.bincount(label))[label]
            writer = jet_writer(path, name, side[name], weight)
            add[name] = stack.enter_context(writer)
        progress = tqdm(source.samples, "packing", disable=None)
        for sample, first, last in zip(progress, overview.first, overview.first[1:], strict=False):
            wanted = {name: packed[first:last] for name, (packed, _) in chosen.items()}
            for name, images in source.images(sample, wanted).items():
                rows = chosen[name][1]
                begin, end = np.searchsorted(rows["event"], [first, last])
                add[name](rows[begin:end], at_side(images, name, side[name]))
    events_path = study.data_dir / "events.h5"
    write_event_table(events_path, overview.table)
    return [events_path, *paths.values()]

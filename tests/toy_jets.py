"""Small packed jets whose classes are told apart by one channel, in the layout of setup.py."""

import numpy as np

from jets.images import SparseImages
from jets.packed import (
    EVENT_DTYPE,
    JET_DTYPE,
    SAMPLE_DTYPE,
    EventTable,
    PackedJets,
    jet_writer,
    write_event_table,
)
from jets.split import HELD_OUT, TRAIN, VALIDATION
from physics import JET_DEFINITIONS
from products import write_manifest
from study import Study

SIDE = 32
JETS_PER_EVENT = (3, 3, 2, 1, 0)  # in turn: not every event has three large-R jets


def make_events(n: int) -> np.ndarray:
    """Half signal, half background; 40 % train, 30 % validation, 30 % held out."""
    events = np.zeros(n, EVENT_DTYPE)
    events["process"] = np.arange(n) % 2  # top pairs and stops
    events["row"] = np.arange(n)
    events["weight"] = 1
    events["split"] = np.array([TRAIN] * 4 + [VALIDATION] * 3 + [HELD_OUT] * 3)[
        np.arange(n) // 2 % 10
    ]
    return events


def make_jets(events: np.ndarray, seed: int, side: int = SIDE) -> tuple[np.ndarray, SparseImages]:
    """Jets of these events: signal fills the first two channels, background the last two."""
    generator = np.random.default_rng(seed)
    numbers = np.resize(JETS_PER_EVENT, len(events))
    event = np.repeat(np.arange(len(events)), numbers)
    jets = np.zeros(len(event), JET_DTYPE)
    jets["event"] = event
    jets["k"] = np.arange(len(event)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    jets["split"] = events["split"][event]
    jets["label"] = events["process"][event]
    jets["shuffled_label"] = generator.permutation(jets["label"])
    jets["classified"] = True
    jets["pt"] = generator.uniform(200, 900, len(jets))
    jets["mass"] = generator.uniform(50, 400, len(jets))
    pixels_per_channel = np.where(jets["label"][:, None] == 1, (30, 10, 0), (0, 10, 30))
    filled = np.zeros((len(jets), 3, side * side), bool)
    for channel in range(3):
        position = generator.permuted(
            np.broadcast_to(np.arange(side * side), (len(jets), side * side)), axis=1
        )
        filled[:, channel] = position < pixels_per_channel[:, channel, None]
    image, pixel = np.nonzero(filled.reshape(len(jets), -1))
    offsets = np.searchsorted(image, np.arange(len(jets) + 1))
    values = generator.uniform(1, 100, len(pixel)).astype(np.float32)
    return jets, SparseImages(offsets, pixel.astype(np.uint16), values)


def packed(n_events: int, seed: int = 0, side: int = SIDE) -> PackedJets:
    """Jets in memory, of all splits."""
    jets, images = make_jets(make_events(n_events), seed, side)
    return PackedJets(jets, images, side, 0.225, 0.1, "AK14")


def select(jets: PackedJets, split: int) -> PackedJets:
    """Those of one split."""
    rows = np.flatnonzero(jets.jets["split"] == split)
    return PackedJets(
        jets.jets[rows], jets.images.take(rows), jets.side, jets.mass_mean, jets.mass_std, "AK14"
    )


def write_jets(study: Study, definition: str, jets: np.ndarray, images: SparseImages) -> None:
    """The packed file of one jet definition."""
    with jet_writer(study.data_dir / f"{definition}.h5", definition, SIDE) as add:
        add(jets, images)


def write_study(study: Study, n_events: int) -> None:
    """What setup.py leaves for the later steps, under the current directory."""
    events = make_events(n_events)
    table = EventTable(events, None, np.zeros(0, SAMPLE_DTYPE), "collisions")
    write_event_table(study.data_dir / "events.h5", table)
    for seed, definition in enumerate(JET_DEFINITIONS):
        write_jets(study, definition, *make_jets(events, seed))
    outputs = [study.data_dir / f"{name}.h5" for name in ("events", *JET_DEFINITIONS)]
    write_manifest(study.data_dir / "setup.json", study.settings("setup"), {}, outputs)

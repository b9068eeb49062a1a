"""Copies of events are found whatever they are called, and nothing else is taken for one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from toy_events import toy_events

from command import InputError
from jets import content
from jets.events import read_events
from jets.images import draw_events
from jets.packed import KINEMATICS
from study import PRESETS

DEMO = Path(__file__).parent.parent / PRESETS["demo"].sample_dir


def published(events, jet_definition="AK14"):
    """The jets and images of a published file."""
    large_r = events.large_r[jet_definition]
    jets = np.zeros(large_r.shape, KINEMATICS)
    for name in content.JET:
        jets[name] = large_r[name]
    jets["delta_r"] = large_r["delta_r"].min(axis=-1)
    return jets, draw_events(events, jet_definition, np.ones(jets.shape, bool))


def test_every_event_of_the_demo_is_itself():
    hashes = [content.of_collisions(read_events(path)) for path in sorted(DEMO.glob("*.h5"))]
    together = np.concatenate(hashes)
    assert content.NOTHING not in together
    assert len(np.unique(together)) == len(together) > 9_000


def test_a_label_or_another_place_makes_no_other_event():
    events = toy_events(30, m_stop=700, m_neutralino=100)
    other = dataclasses.replace(
        events,
        attributes=events.attributes | {"process": "ttbar", "index": 5},
        truth=events.truth[:, :8],
        large_r={name: np.array(table, copy=True) for name, table in events.large_r.items()},
    )
    for table in other.large_r.values():
        table["delta_r"] = 99
    hashes = content.of_collisions(events)
    np.testing.assert_array_equal(content.of_collisions(other), hashes)
    chosen = np.arange(30) % 3 == 1
    np.testing.assert_array_equal(content.of_collisions(events.take(chosen)), hashes[chosen])
    events.objects["pt"][events.object_offsets[4]] *= 1.01
    changed = content.of_collisions(events) != hashes
    assert np.flatnonzero(changed).tolist() == [4]


def test_published_jets_are_the_same_in_any_type_but_not_in_another_definition():
    jets, images = published(toy_events(30, index=0))
    hashes = content.of_published(jets, images, "AK14")
    wide = jets.astype([(name, ">f8") for name in jets.dtype.names])
    wide["delta_r"] = 0.1
    wide["eta"][wide["eta"] == 0] = -0.0
    values = dataclasses.replace(images, values=images.values.astype(">f8"))
    np.testing.assert_array_equal(content.of_published(wide, values, "AK14"), hashes)
    assert not np.isin(content.of_published(jets, images, "AK08"), hashes).any()
    images.values[images.offsets[3 * 7 + 1]] *= 1.01
    changed = content.of_published(jets, images, "AK14") != hashes
    assert np.flatnonzero(changed).tolist() == [7]


def test_events_with_nothing_in_them_are_no_copies():
    events = toy_events(4, index=0)
    jets, images = published(events)
    jets["pt"][1:] = 0
    hashes = content.of_published(jets, images, "AK14")
    assert (hashes != content.NOTHING).tolist() == [True, False, False, False]
    content.refuse_copies([(Path("BG_AK14_0.hdf5"), np.arange(4), hashes)])


def test_both_places_and_the_number_of_copies_are_said():
    hashes = np.array([11, 12, 13, 14], np.uint64)
    files = [
        (Path("a.h5"), np.arange(4), hashes),
        (Path("b.h5"), np.arange(3), hashes[:3] + np.uint64(10)),
    ]
    content.refuse_copies(files)
    twice = [*files, (Path("c.h5"), np.array([5, 8, 9]), np.array([14, 99, 12], np.uint64))]
    sentence = (
        r"c\.h5, row 5: the same event as a\.h5, row 3; 2 events of these two files are there "
        r"twice, 2 of all files"
    )
    with pytest.raises(InputError, match=sentence):
        content.refuse_copies(twice)
    within = np.array([7, 8, 8, 8], np.uint64)
    sentence = (
        r"a\.h5, row 2: the same event as a\.h5, row 1; 2 events of this file are there twice"
    )
    with pytest.raises(InputError, match=sentence):
        content.refuse_copies([(Path("a.h5"), np.arange(4), within)])

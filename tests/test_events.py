"""Our own files: what is written comes back, and what the file's types cannot hold is refused."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
from toy_events import toy_events

from command import InputError
from jets.events import OBJECT_DTYPE, TABLES, read_events, write_events
from study import PRESETS

DEMO = Path(__file__).parent.parent / PRESETS["demo"].sample_dir


def test_what_was_read_is_written_bit_for_bit(tmp_path):
    path = DEMO / "stop_900_300.h5"
    write_events(tmp_path / path.name, read_events(path))
    with h5py.File(path) as before, h5py.File(tmp_path / path.name) as after:
        assert before.attrs["checksum"] == after.attrs["checksum"].decode()
        for name in ("objects/phi", "observables", "cut_flow"):
            np.testing.assert_array_equal(before[name][()], after[name][()])


def test_angles_of_another_turn_come_back_in_this_one(tmp_path):
    events = toy_events(5, index=0)
    events.objects["phi"][:3] = 6.9, -4.0, 3.1416
    write_events(tmp_path / "ttbar_0.h5", events)
    found = read_events(tmp_path / "ttbar_0.h5").objects["phi"][:3]
    np.testing.assert_allclose(found, [6.9 - 2 * np.pi, 2 * np.pi - 4.0, 3.1416], atol=1.1e-4)


WIDE = np.dtype(
    [(name, "f8" if name in ("pt", "eta", "phi") else "i4") for name in OBJECT_DTYPE.names[:5]]
    + [("jet", "i4", (3,))]
)


@pytest.mark.parametrize(
    ("field", "value"),
    [("eta", v) for v in (7.0, -6.56, 1e30, np.nan, np.inf)]
    + [("phi", v) for v in (np.nan, np.inf, -np.inf)]
    + [("pt", v) for v in (7e4, 1e30, np.nan, np.inf, -1.0)]
    + [("charge", v) for v in (2, -2, 257)]
    + [("type", v) for v in (5, 7, 8, 256, -1)]
    + [("jet", v) for v in (4, 256, -1)],
)
def test_objects_that_the_file_cannot_hold_are_refused(tmp_path, field, value):
    events = toy_events(5, index=0)
    objects = events.objects.astype(WIDE)
    objects[field][7] = value
    with pytest.raises(InputError, match=r"ttbar_0\.h5: dataset 'objects/.*row 7.*not written"):
        write_events(tmp_path / "ttbar_0.h5", dataclasses.replace(events, objects=objects))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        ("observables", "n_jets", 70_000),
        ("observables", "n_jets", 4),
        ("observables", "ht", 1e39),
        ("observables", "met_x", np.nan),
        ("observables", "n_b_tags", -1),
        ("lepton", "charge", 200),
        ("lepton", "charge", 2),
        ("lepton", "phi", 1e10),
        ("jets", "b_tag", -1),
        ("lepton", "eta", 21.0),
        ("truth", "pdg_id", 2**40),
        ("truth", "mass", -1.0),
        ("jets", "flavour", -300),
        ("pt_hat", "", np.inf),
    ],
)
def test_tables_that_the_file_cannot_hold_are_refused(tmp_path, table, field, value):
    events = toy_events(5, index=0)
    dtype = TABLES[table]
    kinds = {"f": "f8", "i": "i8"}
    wide = [(name, kinds[dtype[name].kind]) for name in dtype.names] if field else "f8"
    changed = getattr(events, table).astype(wide)
    (changed[field] if field else changed)[3] = value
    name = rf"'{table}{'/' if field else ''}{field}', row 3: found"
    with pytest.raises(InputError, match=name):
        write_events(tmp_path / "ttbar_0.h5", dataclasses.replace(events, **{table: changed}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("m_stop", 2**31),
        ("m_stop", 900),  # of a top pair
        ("process", "stop"),
        ("index", 2**31),
        ("index", -1),
        ("index", 1.5),
        ("generated", 1),
        ("sample", None),
        ("sample", "ends in zero\0"),
        ("sample", b"\xff"),
        ("sample", "\ud800"),
        ("seed", 2**70),
    ],
)
def test_attributes_that_no_reader_takes_are_refused(tmp_path, name, value):
    events = toy_events(5, index=0)
    events.attributes[name] = value
    with pytest.raises(InputError, match=r"attribute '\w+' is"):
        write_events(tmp_path / "ttbar_0.h5", events)
    assert not list(tmp_path.iterdir())


def test_a_table_without_a_column_is_refused(tmp_path):
    events = toy_events(5, index=0)
    lepton = events.lepton[["pt", "phi", "mass", "charge", "pdg_id"]]
    with pytest.raises(InputError, match="'lepton' has no column 'eta'"):
        write_events(tmp_path / "ttbar_0.h5", dataclasses.replace(events, lepton=lepton))


def test_cuts_may_have_any_name_but_pass_no_fewer_than_nothing(tmp_path):
    events, path = toy_events(5, index=0), tmp_path / "ttbar_0.h5"
    flow = np.array([("≥ 7 jets", 5)], [("name", "U40"), ("events", "i8")])
    write_events(path, dataclasses.replace(events, cut_flow=flow))
    assert read_events(path).cut_flow["name"][0].decode() == "≥ 7 jets"
    flow["events"] = -1
    with pytest.raises(InputError, match="'cut_flow/events', row 0: found -1, expected 0 or more"):
        write_events(path, dataclasses.replace(events, cut_flow=flow))


@pytest.mark.parametrize("name", ["pt_hat", "objects/pt", "objects/eta", "jet_offsets"])
def test_numbers_of_the_other_byte_order_are_refused(tmp_path, name):
    path = tmp_path / "ttbar_0.h5"
    write_events(path, toy_events(5, index=0))
    with h5py.File(path, "r+") as file:
        numbers = file[name][()]
        del file[name]
        file[name] = numbers.astype(numbers.dtype.newbyteorder())
    with pytest.raises(InputError, match=f"{name}' has type >"):
        read_events(path)


def test_weights_come_back_and_a_file_may_have_none(tmp_path):
    events, path = toy_events(5, index=0), tmp_path / "ttbar_0.h5"
    write_events(path, events)
    assert read_events(path).weight is None
    weight = np.array([1, -2, 0.1, 1e-300, 1e300])
    write_events(path, dataclasses.replace(events, weight=weight))
    np.testing.assert_array_equal(read_events(path).weight, weight)
    np.testing.assert_array_equal(read_events(path).take(weight > 0.5).weight, [1, 1e300])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_is_a_number(tmp_path, value):
    events = dataclasses.replace(toy_events(5, index=0), weight=np.array([1, 1, 1, value, 1]))
    with pytest.raises(InputError, match=r"dataset 'weight', row 3: found -?(nan|inf)"):
        write_events(tmp_path / "ttbar_0.h5", events)


def test_weights_are_of_a_known_number_of_events(tmp_path):
    events = dataclasses.replace(toy_events(5, index=0), weight=np.ones(5))
    events.attributes["cross_section_pb"] = 0.0
    with pytest.raises(InputError, match=r"'cross_section_pb' is 0\.0, expected more than 0"):
        write_events(tmp_path / "ttbar_0.h5", events)

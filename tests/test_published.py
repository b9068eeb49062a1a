"""The published layout: our writer and reader agree, and what is wrong is named."""

import shutil

import h5py
import numpy as np
import pytest
from toy_events import toy_events

from command import InputError
from jets import published
from jets.events import read_events, write_events
from jets.images import concatenate, dense, draw_events
from physics import JET_DEFINITIONS, MISSING_DELTA_R
from processes.stop import STOP
from study import Study

N_EVENTS = 20
SIDE = JET_DEFINITIONS["AK14"].pixels
STUDY = Study("published").changed(sample={"stop_masses": (700,), "background_files": 1})


def write(tmp_path, *samples):
    """The published files of some toy events, by name."""
    paths = []
    for events in samples:
        paths.append(tmp_path / f"{events.sample_name}.h5")
        write_events(paths[-1], events)
    return {path.name: path for path in published.write_published(tmp_path / "published", paths)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One signal sample in all three definitions."""
    events = toy_events(N_EVENTS, m_stop=700, m_neutralino=100)
    return write(tmp_path_factory.mktemp("sample"), events)


@pytest.fixture
def path(tmp_path, written):
    """One signal file, AK14, free to be damaged, and its companions beside it."""
    for name, file in written.items():
        shutil.copy(file, tmp_path / name)
    return tmp_path / "SI_AK14_700GeV.hdf5"


def read(path, signal=True):
    """All of a file: jets, images and neutralino masses."""
    if signal:
        published.read_neutralino_masses(path)
    slabs = list(published.read_jets(path, SIDE, signal))
    return np.concatenate([jets for jets, _ in slabs]), concatenate([part for _, part in slabs])


def test_what_is_written_is_what_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "EVENTS_AT_ONCE", 7)
    lighter = toy_events(N_EVENTS, m_stop=700, m_neutralino=100, n_loose=5)
    heavier = toy_events(N_EVENTS, m_stop=700, m_neutralino=200)
    paths = write(tmp_path, heavier, lighter)
    # As they come back from disk, in 16-bit fixed point.
    lighter, heavier = (read_events(tmp_path / f"stop_700_{mass}.h5") for mass in (100, 200))
    for jet_definition, definition in JET_DEFINITIONS.items():
        path = paths[f"SI_{jet_definition}_700GeV.hdf5"]
        slabs = list(published.read_jets(path, definition.pixels, signal=True))
        jets, parts = (list(column) for column in zip(*slabs, strict=True))
        jets, images = np.concatenate(jets), concatenate(parts)
        drawn = concatenate(
            [
                draw_events(events, jet_definition, np.outer(events.fully_selected, [True] * 3))
                for events in (lighter, heavier)
            ]
        )
        for name in ("offsets", "pixels", "values"):
            np.testing.assert_array_equal(getattr(images, name), getattr(drawn, name))
        large_r = np.concatenate(
            [events.large_r[jet_definition][:N_EVENTS] for events in (lighter, heavier)]
        )
        exists = large_r["pt"] > 0
        np.testing.assert_array_equal(jets["pt"] > 0, exists)
        for name in ("pt", "eta", "phi", "mass"):
            np.testing.assert_array_equal(jets[name][exists], large_r[name][exists])
        np.testing.assert_array_equal(jets["delta_r"], large_r["delta_r"].min(axis=-1))
        masses = published.read_neutralino_masses(path)
        assert masses.tolist() == [100] * N_EVENTS + [200] * N_EVENTS


def test_the_layout_is_the_published_one(path):
    with h5py.File(path) as file:
        assert file["mass/Mass"].shape == (N_EVENTS, 1)
        assert (file["mass/Mass"][()] == 100).all()
        for k in range(3):
            info = file[f"Jet/info{k}"][()]
            assert info.shape == (N_EVENTS, 6)
            missing = info[:, 2] <= 0
            assert missing.sum() == (3 if k == 2 else 0)
            assert (info[missing][:, :2] == MISSING_DELTA_R).all()
            assert (info[missing, 5] == -1).all()
            for event in range(N_EVENTS):
                images = {}
                for channel in ("ET", "EhT", "EmT", "TrackPT"):
                    index = file[f"Jet/{channel}/index{k}"][event].reshape(-1, 2)
                    values = file[f"Jet/{channel}/values{k}"][event]
                    assert len(index) == len(values)
                    images[channel] = np.zeros((SIDE, SIDE), np.float32)
                    images[channel][tuple(index.T)] = values
                np.testing.assert_allclose(images["ET"], images["EhT"] + images["EmT"], rtol=1e-6)
                assert bool(images["TrackPT"].any()) != missing[event]


def test_a_background_has_no_neutralino_and_matches_nothing(tmp_path):
    path = write(tmp_path, toy_events(N_EVENTS, index=3))["BG_AK14_3.hdf5"]
    jets, _ = read(path, signal=False)
    assert (jets["delta_r"] == MISSING_DELTA_R).all()
    with h5py.File(path, "r+") as file:
        assert file["mass/Mass"][()].tolist() == [[-1]] * N_EVENTS
        del file["mass"]  # files of others may be without
    np.testing.assert_array_equal(read(path, signal=False)[0], jets)


def test_a_file_without_a_fully_selected_event_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"ttbar_3\.h5: no event with 7 jets or more"):
        write(tmp_path, toy_events(0, index=3, n_loose=4))
    assert not list((tmp_path / "published").iterdir())


def test_what_the_reader_refuses_is_not_written(tmp_path):
    """Many objects, each of an energy that it can have, in one pixel."""
    events = toy_events(N_EVENTS, index=3)
    alike = events.objects[0]
    alike["pt"] = 12_000
    events.objects[:12] = alike
    with pytest.raises(InputError, match=r"BG_AK08_3\.hdf5: .*row 0: found 132000.*not written"):
        write(tmp_path, events)
    assert not list((tmp_path / "published").iterdir())


# --- Types of numbers ---------------------------------------------------------------------------

TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")


def write_numbers(path, kind, storage):
    """Three events in numbers of one type that any type can hold; event 2 has no third jet."""
    options = {"chunks": True, "compression": "gzip"} if storage == "chunked" else {}
    place_kind = np.dtype(kind) if np.dtype(kind).kind in "iu" else np.dtype("<i4")
    with h5py.File(path, "w") as file:
        file.create_dataset("mass/Mass", data=np.full((3, 1), 100, kind), **options)
        for k in range(3):
            info = np.array([[0, 1, 100 + k, 1, 2, 50 + event] for event in range(3)], kind)
            info[2, 2] *= k < 2
            file.create_dataset(f"Jet/info{k}", data=info, **options)
            for c, channel in enumerate(("EhT", "EmT", "TrackPT")):
                place = np.array([[event, k, c + 60, 63] for event in range(3)], place_kind)
                value = np.array([[event + 1, 10 * c + k + 1] for event in range(3)], kind)
                for name, rows in (("index", place), ("values", value)):
                    node = f"Jet/{channel}/{name}{k}"
                    if storage != "variable":
                        file.create_dataset(node, data=rows, **options)
                        continue
                    dataset = file.create_dataset(node, 3, h5py.vlen_dtype(rows.dtype))
                    for event, row in enumerate(rows):
                        dataset[event] = row


@pytest.mark.parametrize("storage", ["contiguous", "chunked", "variable"])
@pytest.mark.parametrize("order", "<>")
def test_every_type_of_number_is_read_rightly_or_refused(tmp_path, order, storage):
    path = tmp_path / "SI_AK08_700GeV.hdf5"
    for kind in TYPES:
        write_numbers(path, order + kind, storage)
        if storage == "variable" and not np.dtype(order + kind).isnative:
            with pytest.raises(InputError, match="byte order"):
                list(published.read_jets(path, 64, signal=True))
            continue
        assert published.read_neutralino_masses(path).tolist() == [100] * 3
        [(jets, images)] = published.read_jets(path, 64, signal=True)
        assert jets["pt"].tolist() == [[100, 101, 102], [100, 101, 102], [100, 101, 0]]
        assert (jets["mass"] == [[50], [51], [52]])[jets["pt"] > 0].all()
        expected = np.zeros((9, 3, 64, 64), np.float32)
        for event, k, c in np.ndindex(3, 3, 3):
            expected[3 * event + k, c, event, k] = event + 1
            expected[3 * event + k, c, c + 60, 63] = 10 * c + k + 1
        expected[8] = 0
        np.testing.assert_array_equal(dense(images, 64), expected, err_msg=kind)


def test_fixed_length_rows_are_read_too(path):
    jets, images = read(path)
    with h5py.File(path, "r+") as file:
        for channel in ("EhT", "EmT", "TrackPT"):
            for k in range(3):
                for column, per_pixel in (("index", 2), ("values", 1)):
                    name = f"Jet/{channel}/{column}{k}"
                    rows, dtype = file[name][()], h5py.check_vlen_dtype(file[name].dtype)
                    padded = np.zeros((N_EVENTS, 12 * per_pixel), dtype)
                    for event, row in enumerate(rows):
                        padded[event, : len(row)] = row
                    del file[name]
                    file[name] = padded
    again, fixed = read(path)
    np.testing.assert_array_equal(again, jets)
    np.testing.assert_array_equal(dense(fixed, SIDE), dense(images, SIDE))


def test_a_jet_without_pixels_does_not_exist(path):
    with h5py.File(path, "r+") as file:
        for channel in ("EhT", "EmT", "TrackPT"):
            file[f"Jet/{channel}/index0"][4] = np.zeros(0, np.int32)
            file[f"Jet/{channel}/values0"][4] = np.zeros(0, np.float32)
    jets, images = read(path)
    assert jets["pt"][4].tolist()[0] == 0
    assert images.counts()[4 * 3] == 0


# --- Bad input ----------------------------------------------------------------------------------


def set_row(name, change):
    """Change row 5 of a dataset."""

    def damage(file):
        file[name][5] = change(file[name][5])

    return damage


def replace(name, array):
    def damage(file):
        del file[name]
        file[name] = array

    return damage


def drop(name):
    def damage(file):
        del file[name]

    return damage


def with_number(position, value):
    def change(row):
        row = row.copy()
        row[position] = value
        return row

    return change


INDEX, VALUES = "Jet/TrackPT/index1", "Jet/TrackPT/values1"
FAULTS = {
    "no masses": (drop("mass/Mass"), ["mass/Mass", "missing"]),
    "no info": (drop("Jet/info1"), ["Jet/info1", "missing"]),
    "no pixels": (drop(INDEX), [INDEX, "missing"]),
    "few columns": (replace("Jet/info1", np.zeros((N_EVENTS, 5))), ["Jet/info1", "(20, 5)"]),
    "flat info": (replace("Jet/info0", np.zeros(N_EVENTS)), ["Jet/info0", "(20,)"]),
    "few rows": (replace("Jet/info2", np.zeros((9, 6))), ["Jet/info2", "(9, 6)", "20"]),
    "few pixel rows": (replace(VALUES, np.zeros((9, 4))), [VALUES, "(9, 4)"]),
    "text": (replace("Jet/info1", np.full((N_EVENTS, 6), b"x")), ["Jet/info1", "expected numbers"]),
    "a group": (lambda file: (drop(INDEX)(file), file.create_group(INDEX)), [INDEX, "missing"]),
    "flat masses": (replace("mass/Mass", np.zeros((3, 1))), ["mass/Mass", "(3, 1)"]),
    "no mass": (set_row("mass/Mass", lambda row: row * 0), ["mass/Mass", "row 5", "found 0.0"]),
    "NaN mass": (set_row("mass/Mass", lambda row: row * np.nan), ["mass/Mass", "row 5", "nan"]),
    "outside": (set_row(INDEX, with_number(0, 128)), [INDEX, "row 5", "128"]),
    "negative index": (set_row(INDEX, with_number(0, -1)), [INDEX, "row 5", "-1"]),
    "odd": (set_row(INDEX, lambda row: row[:-1]), [INDEX, "row 5", "even"]),
    "lengths": (set_row(VALUES, lambda row: row[:-1]), [VALUES, "row 5", "half as many"]),
    "NaN": (set_row(VALUES, with_number(0, np.nan)), [VALUES, "row 5", "nan"]),
    "infinite": (set_row(VALUES, with_number(0, np.inf)), [VALUES, "row 5", "inf"]),
    "negative": (set_row(VALUES, with_number(0, -2)), [VALUES, "row 5", "-2"]),
    "twice": (
        set_row(INDEX, lambda row: np.tile(row[:2], len(row) // 2)),
        [INDEX, "row 5", "twice"],
    ),
    "NaN pT": (set_row("Jet/info0", with_number(2, np.nan)), ["Jet/info0", "row 5", "nan"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(path, fault):
    damage, words = FAULTS[fault]
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(InputError) as refused:
        read(path)
    sentence = str(refused.value)
    assert "\n" not in sentence
    for word in (str(path), *words):
        assert word in sentence


def test_files_that_are_none_are_named(path):
    content = path.read_bytes()
    for damaged in (b"", b"no HDF5 at all", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="not a complete HDF5 file"):
            read(path)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        read(path)


def test_zero_events_are_named(path):
    with h5py.File(path, "r+") as file:
        for k in range(3):
            replace(f"Jet/info{k}", np.zeros((0, 6)))(file)
            for channel in ("EhT", "EmT", "TrackPT"):
                replace(f"Jet/{channel}/index{k}", np.zeros((0, 4), int))(file)
                replace(f"Jet/{channel}/values{k}", np.zeros((0, 2)))(file)
    with pytest.raises(InputError, match="0 events"):
        read(path)


def test_a_slab_boundary_does_not_move_the_row(path, monkeypatch):
    monkeypatch.setattr(published, "EVENTS_AT_ONCE", 4)
    with h5py.File(path, "r+") as file:
        set_row(VALUES, with_number(0, np.nan))(file)
    with pytest.raises(InputError, match="row 5"):
        read(path)


@pytest.mark.parametrize(
    "name",
    ["SI_AK12_700GeV", "BG_AK14", "SI_AK14_700", "SI_AK14_0700GeV", "BG_AK14_1", "SI_AK14_725GeV"],
)
def test_files_that_the_study_does_not_ask_for_are_left_out(path, name):
    other = path.parent / f"{name}.hdf5"
    other.touch()
    (path.parent / f"._{path.name}").touch()  # as some systems leave beside a file
    found, others = published.find_files(path.parent, STUDY)
    assert others == [other]
    assert list(found) == [(STOP, 700)]
    assert found[STOP, 700]["AK14"] == path


def test_a_missing_jet_definition_is_named(path):
    (path.parent / "SI_AK10_700GeV.hdf5").unlink()
    with pytest.raises(InputError, match=r"SI_AK10_700GeV.hdf5: no such file"):
        published.find_files(path.parent, STUDY)

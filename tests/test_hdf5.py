"""Why a file is not read: the file's fault, or what the system says; and what products may hold."""

import errno
import faulthandler
import fcntl
import multiprocessing
import os
import resource
import signal

import h5py
import numpy as np
import pytest
import toy_jets

from command import InputError
from event_level.fits import DS2
from jets import hdf5
from jets.classifier import Classifier
from jets.packed import (
    EVENT_DTYPE,
    SAMPLE_DTYPE,
    EventTable,
    jet_writer,
    read_event_table,
    read_jets,
    write_event_table,
)
from jets.reader_process import ReaderProcess
from jets.scores import TreeScores, read_scores, read_trees, write_scores, write_trees

REMEDY = "fetch it again"
BLAME = ("complete", REMEDY, "damaged")


@pytest.fixture
def path(tmp_path):
    """A sound file."""
    path = tmp_path / "sound.h5"
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(10)
    return path


def refusal(path) -> str:
    with pytest.raises(InputError) as refused, hdf5.opened(path, REMEDY) as file:
        hdf5.dataset(file, "numbers", REMEDY)[()]
    sentence = str(refused.value)
    assert str(path) in sentence and "\n" not in sentence
    return sentence


def test_a_locked_file_is_not_a_damaged_one(path, monkeypatch):
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    with path.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        sentence = refusal(path)
    assert os.strerror(errno.EAGAIN) in sentence and "HDF5_USE_FILE_LOCKING=FALSE" in sentence
    assert not any(word in sentence for word in BLAME)


def test_a_file_without_a_descriptor_left_is_not_a_damaged_one(path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with path.open("rb") as lowest_free:
        number = lowest_free.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        sentence = refusal(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sentence == f"{path}: cannot be read: {os.strerror(errno.EMFILE)}"


@pytest.mark.parametrize(
    ("number", "said", "words"),
    [
        (errno.ENOLCK, "unable to lock file, errno = 37", "HDF5_USE_FILE_LOCKING=FALSE"),
        (None, "file is already open for write (may use <h5clear file>)", "close that program"),
        (errno.EACCES, "unable to open file", "mend its permissions"),
        (errno.EIO, "file read failed", os.strerror(errno.EIO)),
        (errno.EINVAL, "file read failed", "not a complete HDF5 file"),
        (None, "truncated file: eof = 96", "not a complete HDF5 file (truncated file: eof = 96)"),
    ],
)
def test_what_the_system_says_is_said(path, monkeypatch, number, said, words):
    def fail(*_):
        raise OSError(number, said) if number else OSError(said)

    monkeypatch.setattr(h5py, "File", fail)
    sentence = refusal(path)
    assert words in sentence
    assert (REMEDY in sentence) == words.startswith("not a complete")


def test_chunks_that_were_never_written_hold_the_fill_value(path):
    with h5py.File(path, "r+") as file:
        del file["numbers"]
        numbers = file.create_dataset("numbers", (1000,), "f8", chunks=(10,), fillvalue=-1)
        numbers[20:25] = 7
        file.create_dataset("nothing", (1000,), "f8", chunks=(10,))
        file.create_dataset("no rows", (0,), "f8", chunks=(10,), maxshape=(None,))
    with hdf5.opened(path, REMEDY) as file:
        found = hdf5.dataset(file, "numbers", REMEDY)[()]
        assert len(hdf5.dataset(file, "no rows", REMEDY)[()]) == 0
        with pytest.raises(InputError, match="nothing of it was ever written") as refused:
            hdf5.dataset(file, "nothing", REMEDY)
    assert REMEDY not in str(refused.value)
    assert (found[20:25] == 7).all() and (np.delete(found, range(20, 25)) == -1).all()


def end_by(path, number) -> None:
    """As the system ends a process that takes too much memory, or the library crashes."""
    faulthandler.disable()  # pytest's, which would tell of it
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, "was ended (Killed)"), (signal.SIGSEGV, "crashed while reading it")],
)
def test_a_process_that_is_killed_blames_no_file(path, monkeypatch, number, words):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda **_: "fork")
    with pytest.raises(InputError) as refused:
        ReaderProcess().call(end_by, path, number)
    assert words in str(refused.value)
    assert ("damaged" in str(refused.value)) == (number == signal.SIGSEGV)


# --- Products: the same rules for what is written and what is read ------------------------------


def packed_file(path, jets):
    with jet_writer(path, "AK14", jets.side) as add:
        add(jets.jets, jets.images)
    return path


def test_packed_jets_of_the_other_byte_order_are_the_same(tmp_path):
    path = packed_file(tmp_path / "AK14.h5", toy_jets.packed(40))
    before = read_jets(path)
    with h5py.File(path, "r+") as file:
        for name in ("jets", "offsets", "pixels", "values"):
            numbers = file[name][()]
            del file[name]
            file[name] = numbers.astype(numbers.dtype.newbyteorder(">"))
    after = read_jets(path)
    np.testing.assert_array_equal(after.jets, before.jets)
    for name in ("offsets", "pixels", "values"):
        found = getattr(after.images, name)
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, getattr(before.images, name))
    with h5py.File(path, "r+") as file:
        values = file["values"][()]
        del file["values"]
        file["values"] = values.astype("f8")
    with pytest.raises(InputError, match="'values' has type float64, expected float32"):
        read_jets(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [("values", v) for v in (np.nan, np.inf, 0.0, -1.0, 1e6)]
    + [("mass", v) for v in (np.nan, -1.0, 1e6)]
    + [("eta", v) for v in (np.nan, -np.inf)],
)
def test_jets_that_none_can_be_are_neither_written_nor_read(tmp_path, place, value):
    jets = toy_jets.packed(40)
    path = packed_file(tmp_path / "AK14.h5", jets)
    written = path.read_bytes()
    with h5py.File(path, "r+") as file:
        rows = file["values" if place == "values" else "jets"][()]
        (rows if place == "values" else rows[place])[3] = value
        file["values" if place == "values" else "jets"][()] = rows
    with pytest.raises(InputError, match=rf"{place}', row 3: found .*; run setup\.py again"):
        read_jets(path)
    path.write_bytes(written)
    (jets.images.values if place == "values" else jets.jets[place])[3] = value
    with pytest.raises(InputError, match=rf"{place}', row 3: found .*; it was not written"):
        packed_file(path, jets)
    assert path.read_bytes() == written


def test_a_table_of_events_with_narrower_numbers_is_read(tmp_path):
    """As earlier versions wrote it, with masses and file numbers of 16 bits."""
    path = tmp_path / "events.h5"
    events = toy_jets.make_events(20)
    events["m_stop"] = np.arange(20) * 100
    write_event_table(path, EventTable(events, None, np.zeros(2, SAMPLE_DTYPE), "collisions"))
    narrow = [
        (name, ">i2" if name in ("m_stop", "m_neutralino", "index") else EVENT_DTYPE[name])
        for name in EVENT_DTYPE.names
    ]
    with h5py.File(path, "r+") as file:
        del file["events"]
        file["events"] = events.astype(narrow)
    found = read_event_table(path).events
    assert found.dtype == EVENT_DTYPE
    np.testing.assert_array_equal(found, events)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5, -0.5])
def test_scores_that_are_no_probability_are_neither_written_nor_read(tmp_path, value):
    event, score = np.arange(4), np.full((4, 3), 0.5, "f4")
    score[1] = -1  # no jet
    network, fit = Classifier(("AK14",), ("CNN",), seed=0), DS2
    arrays = {"events": event, network: score}
    write_scores(tmp_path / "scores.h5", arrays)
    trees = TreeScores(event, event, event, {fit: score[:, 0]})
    write_trees(tmp_path / "trees.h5", trees)
    read_scores(tmp_path / "scores.h5", (0,)), read_trees(tmp_path / "trees.h5")
    score[2] = value
    for name, put, read in (
        ("scores.h5", lambda path: write_scores(path, arrays), lambda p: read_scores(p, (0,))),
        ("trees.h5", lambda path: write_trees(path, trees), read_trees),
    ):
        path = tmp_path / name
        before = path.read_bytes()
        with pytest.raises(InputError, match=r"row 2: found .*not written"):
            put(path)
        assert path.read_bytes() == before
        with h5py.File(path, "r+") as file:
            file[(network if name == "scores.h5" else fit).dataset][2] = value
        with pytest.raises(InputError, match=r"row 2: found .*again"):
            read(path)


def test_scores_of_the_other_byte_order_are_the_same(tmp_path):
    path = tmp_path / "scores.h5"
    score = np.linspace(0, 1, 12).reshape(4, 3).astype(">f4")
    network = Classifier(("AK14",), ("CNN",), seed=0)
    write_scores(path, {"events": np.arange(4, dtype=">i8"), network: score})
    found = read_scores(path, (0,))
    assert found.event.dtype.isnative and found.event.tolist() == [0, 1, 2, 3]
    (read,) = found.networks.values()
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, score)

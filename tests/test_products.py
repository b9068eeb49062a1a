"""Products on disk: two runs at once, a killed one, a full disk, and what is said of each."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import products
from command import InputError, run
from products import alone, atomic_write, fingerprints, unchanged

ROOT = Path(__file__).parent.parent
SCRIPTS = ["simulate", "setup", "train", "predict_base_model_mass", "fit_xgb", "plots"]


def refusal(error: Exception, capsys) -> str:
    """What a script says that ends with this error; in one sentence, with status 2."""

    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        run(fail)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free space"),
        (errno.EDQUOT, "free space"),
        (errno.EACCES, "mend its permissions"),
        (errno.EROFS, None),
        (errno.EIO, None),
        (errno.EMFILE, None),
        (errno.ENAMETOOLONG, None),
    ],
)
def test_a_remedy_is_named_where_it_is_known(number, remedy, capsys):
    name = "x" * 300
    said = refusal(OSError(number, os.strerror(number), name), capsys)
    end = f"; {remedy}\n" if remedy else "\n"
    assert said.endswith(f": {name}: {os.strerror(number)}{end}")


def test_a_link_to_nothing_is_named_with_its_target(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("Data").symlink_to("/scratch/purged")
    with pytest.raises(OSError) as failed, atomic_write(Path("Data/study/setup.json")):
        pass
    said = refusal(failed.value, capsys)
    assert "Data: a link to /scratch/purged, which is not there" in said
    assert "free space" not in said and "File exists" not in said


def test_what_a_terminal_cannot_show_stops_nothing(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    run(lambda: print("0.93 ± 0.01", flush=True))
    assert terminal.buffer.getvalue() == b"0.93 \\xb1 0.01\n"


def test_only_the_kernel_knows_how_many_cores_are_ours(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3}, raising=False)
    assert products.cores() == 1 and products.machine().endswith(", 1 cores")


# --- Two at once --------------------------------------------------------------------------------


def test_temporary_files_of_the_living_stay_and_those_of_the_dead_go(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    path = tmp_path / "AK14[1].h5"
    with atomic_write(path) as temporary:
        pid = f"@{os.getpid()}@"
        assert pid in temporary.name
        killed = temporary.with_name(temporary.name.replace(pid, f"@{dead.pid}@"))
        elsewhere = temporary.with_name(killed.name.replace("@", "-of-another-host@", 1))
        older = tmp_path / ".AK14[1]-abcd_123.h5.tmp"
        for left in (killed, elsewhere, older):
            left.write_text("half")
        with atomic_write(path) as second:
            assert temporary.exists()
            second.write_text("second")
        temporary.write_text("first")
    assert {one.name for one in tmp_path.iterdir()} == {path.name, elsewhere.name}
    assert path.read_text() == "first"


def test_one_run_makes_a_product_and_a_second_one_is_told(tmp_path):
    path = tmp_path / "Data" / "setup.json"
    with alone(path):
        with (
            pytest.raises(InputError, match=r"setup\.json: another run is making this"),
            alone(path),
        ):
            pass
        with alone(path.with_name("scores.json")):  # another product of the same folder
            pass
    with alone(path):
        pass
    assert not list(path.parent.iterdir())


def test_a_lock_that_its_holder_has_just_removed_is_none(tmp_path, monkeypatch):
    """The file is gone between its opening and its locking: another one counts."""
    path, flock, beside = tmp_path / "a", products.fcntl.flock, tmp_path / ".a.lock"

    def remove_first(file, how):
        monkeypatch.setattr(products.fcntl, "flock", flock)
        beside.unlink()
        flock(file, how)

    monkeypatch.setattr(products.fcntl, "flock", remove_first)
    with alone(path), pytest.raises(InputError, match="another run"), alone(path):
        pass


def test_where_there_are_no_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    def no_locks(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(products.fcntl, "flock", no_locks)
    with alone(tmp_path / "a"), alone(tmp_path / "a"):
        pass


def test_files_that_are_replaced_while_they_are_read_are_named(tmp_path):
    path = tmp_path / "events.h5"
    path.write_text("old")
    found = fingerprints([path])
    with unchanged(found):
        path.write_text("old")  # as a step leaves it that is run again
    for error in (None, IndexError("row 7"), InputError("a reason that comes of it")):
        path.write_text("old")
        replaced = pytest.raises(InputError, match=r"events\.h5: another run has replaced it")
        with replaced, unchanged(found):
            path.write_text("new")
            if error:
                raise error
    path.write_text("old")
    with pytest.raises(IndexError), unchanged(found):
        raise IndexError("ours")


# --- Where Python lacks something ---------------------------------------------------------------


@pytest.mark.parametrize("script", [*SCRIPTS, "tag"])
def test_a_missing_package_is_one_sentence(script, tmp_path):
    """Without any package, and without the script's folder among those of modules."""
    found = subprocess.run(
        [sys.executable, "-S", "-P", ROOT / f"{script}.py", "--study", "demo"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 2 and found.stderr.count("\n") == 1, found.stderr
    assert f"{script}.py: the package " in found.stderr and "pip install -r" in found.stderr
    assert not found.stdout and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("sys.version_info = (3, 10, 4); import environment", "Python 3.10.4, expected 3.11"),
        ("import runpy; runpy.run_module('studies.ordering')", "the package 'numpy'"),
    ],
)
def test_what_python_lacks_is_one_sentence(code, said):
    found = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; {code}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 2 and said in found.stderr and found.stderr.count("\n") == 1

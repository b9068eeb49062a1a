"""Products on disk: atomic writes and manifests.

A product appears complete or not at all, and says where it came from: beside it lies a manifest, a
small JSON file with the script, its settings, the fingerprints of its inputs and outputs, and the
versions. A step is finished when its manifest says that the same settings and the same inputs made
the outputs that lie there; running it again is then free.

Two runs may meet: whoever writes a product holds its lock (`alone`), whoever reads files needs none
and notices when they change meanwhile (`unchanged`).
"""

import contextlib
import csv
import fcntl
import glob
import hashlib
import json
import os
import platform
import secrets
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from command import InputError


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within, an error of the system that tells no file, as a full disk's, is of this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed onto `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    begin, end = f".{path.stem}-", f"{path.suffix}.tmp"
    for left in path.parent.glob(f"{glob.escape(begin)}*{glob.escape(end)}"):
        if _is_left_behind(left):
            left.unlink(missing_ok=True)
    writer = f"{begin}{socket.gethostname()}@{os.getpid()}@"
    temporary = path.parent / f"{writer}{secrets.token_hex(4)}{end}"
    temporary.touch(exist_ok=False)
    try:
        with naming(path):
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_left_behind(temporary: Path) -> bool:
    """Whether the process that a temporary file is named after was killed; of this machine only."""
    host, *process = temporary.name.rsplit("@", 2)
    if not process:
        return True  # of a version that named no process
    if not host.endswith(f"-{socket.gethostname()}"):
        return False
    try:
        os.kill(int(process[0]), 0)
    except (ProcessLookupError, ValueError):
        return True
    except PermissionError:  # another user's
        pass
    return False


class BeingMade(InputError):
    """Another process is making the same product."""


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep the making of a product, or of a folder of them, to this process.

    The lock is the kernel's, on a small file beside the product: it is free when its process has
    ended, however that came. Where a file system knows no locks, nobody is kept out.

    Raises:
        BeingMade: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent / f".{path.name}.lock"
    with contextlib.ExitStack() as stack:
        while True:
            file = stack.enter_context(beside.open("a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BeingMade(f"{path}: another run is making this; let it finish") from None
            except OSError:  # such as ENOLCK
                break
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), beside.stat()):
                    break  # else who held it has just removed it
        try:
            yield
        finally:
            beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(
    path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()
) -> None:
    """Write rows that share their keys as CSV; `columns` are those of a table without rows."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0] if rows else columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cores() -> int:
    """How many cores this process may use: a batch system may give it fewer than there are."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> str:
    """The machine, in a few words."""
    return f"{platform.machine()}, {cores()} cores"


def fingerprint(path: Path) -> dict:
    """Size, modification time and SHA-256 of a file."""
    status = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns, "sha256": digest}


def fingerprints(paths: Iterable[Path]) -> dict[str, dict]:
    """Path -> `fingerprint`."""
    return {str(path): fingerprint(path) for path in paths}


def _unchanged(path: Path, recorded: Mapping) -> bool:
    """The same size and time are taken as the same file; another time alone asks for the hash."""
    if not path.is_file():
        return False
    status = path.stat()
    if status.st_size != recorded["bytes"]:
        return False
    return (
        status.st_mtime_ns == recorded["modified_ns"]
        or fingerprint(path)["sha256"] == recorded["sha256"]
    )


@contextlib.contextmanager
def unchanged(inputs: Mapping[str, Mapping]) -> Iterator[None]:
    """Read files that another process may replace: what is made within is of those named, or fails.

    Args:
        inputs: path -> fingerprint of what was found; a finished step's manifest has those of its
            outputs.

    Raises:
        InputError: one is another by now, whatever else went wrong because of that.
    """

    def check() -> None:
        for path, facts in inputs.items():
            if not _unchanged(Path(path), facts):
                raise InputError(
                    f"{path}: another run has replaced it meanwhile; run the same command again"
                )

    try:
        yield
    except Exception:
        check()
        raise
    check()


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    packages = "numpy scipy h5py torch timm xgboost scikit-learn pythia8mc fastjet weaver-core"
    found = {"python": platform.python_version()}
    for package in packages.split():
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def write_manifest(
    path: Path,
    settings: Mapping,
    inputs: Mapping[str, Mapping],
    outputs: Iterable[Path],
    **facts,
) -> None:
    """Record what made `outputs`: call it last, when they are all in place.

    Args:
        path: the manifest, a `.json` file beside the outputs.
        settings: every option that decides the outputs.
        inputs: path -> fingerprint of the files, from before they were read.
        outputs: the files written.
        facts: anything worth keeping that does not decide whether the step is finished.
    """
    record = {
        "script": Path(sys.argv[0]).name,
        "settings": settings,
        "inputs": dict(inputs),
        "outputs": fingerprints(outputs),
        "versions": versions(),
        "machine": machine(),
        **facts,
    }
    write_text(path, json.dumps(record, indent=1, default=str) + "\n")


def read_manifest(
    path: Path,
    made_by: str,
    settings: Mapping | None = None,
    made_from: Iterable[Path | str] = (),
) -> dict:
    """The manifest of an earlier step, whose products lie there as it left them.

    Its inputs, as far as they still lie there, have to be what it read.

    Args:
        made_by: the script.
        settings: those of the study that have to be what they were then.
        made_from: those of its inputs that have to lie there.

    Raises:
        InputError: it is missing or damaged, or a setting or file has changed; the sentence names
            the step to run.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        made_with = dict(record["settings"])
        outputs = record["outputs"].items()
        changed = [file for file, facts in outputs if not _unchanged(Path(file), facts)]
        read = {str(file) for file in made_from}
        known = [
            (file, facts)
            for file, facts in record["inputs"].items()
            if file in read or Path(file).exists()
        ]
        others = [file for file, facts in known if not _unchanged(Path(file), facts)]
    except FileNotFoundError:
        raise InputError(f"{path}: not there yet; run {made_by} first") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a manifest ({error}); delete it and run {made_by} again"
        ) from None
    require_settings(path, made_by, made_with, settings or {})
    if changed:
        raise InputError(f"{changed[0]}: no longer what {made_by} wrote; run {made_by} again")
    if others:
        raise InputError(f"{others[0]}: no longer what {made_by} read; run {made_by} again")
    return record


def recorded_outputs(path: Path) -> set[Path]:
    """The files that the manifest at `path` names; none where there is no manifest."""
    try:
        return {Path(file) for file in json.loads(path.read_text(encoding="utf-8"))["outputs"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def require_settings(path: Path, made_by: str, made_with: Mapping, settings: Mapping) -> None:
    """Refuse products of other settings.

    Args:
        path: their manifest.
        made_by: what to run again.
        made_with: the settings in the manifest.
        settings: those of the study.

    Raises:
        InputError: the first that differs.
    """
    found, wanted = (_flat(_as_json(one)) for one in (made_with, settings))
    sections = {name for name, value in settings.items() if isinstance(value, dict)}
    stated_then = [name for name in found if name.partition(".")[0] in sections]
    for name in dict.fromkeys((*stated_then, *wanted)):
        then, now = found.get(name, "not stated"), wanted.get(name, "its default")
        if then != now:
            section = name.removeprefix("earlier.")
            raise InputError(
                f"{path}: made with other settings of {section}; run {made_by} again"
                if name != section
                else f"{path}: made with {name} {then}, the study says {now}; run {made_by} again"
            )


def _flat(settings: Mapping) -> dict:
    """Settings of sections by their full names, as `training.epochs`."""
    return {
        f"{name}.{key}" if key else name: item
        for name, value in settings.items()
        for key, item in (value.items() if isinstance(value, dict) else [("", value)])
    }


def _as_json(settings: Mapping) -> dict:
    """Settings as a manifest gives them back."""
    return json.loads(json.dumps(settings, default=str))


def is_finished(path: Path, settings: Mapping, inputs: Iterable[Path | str]) -> bool:
    """Whether the manifest at `path` says that these settings and inputs made what lies there."""
    if not path.is_file():
        return False
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        files = [*record["inputs"].items(), *record["outputs"].items()]
        return (
            _flat(record["settings"]) == _flat(_as_json(settings))  # an empty section says nothing
            and set(record["inputs"]) == {str(file) for file in inputs}
            and all(_unchanged(Path(file), facts) for file, facts in files)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return False

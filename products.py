"""Products on disk: atomic writes, manifests, and the one input error.

A product appears complete or not at all, and says where it came from: beside it lies a manifest, a
small JSON file with the script, its settings, the fingerprints of its inputs and outputs, and the
versions. A step is finished when its manifest says that the same settings and the same inputs made
the outputs that lie there; running it again is then free.
"""

import contextlib
import csv
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path


class InputError(Exception):
    """Something the user can mend, in one sentence: file, dataset, row, expected, found, remedy."""


def run(main: Callable[[], None]) -> None:
    """Run a script: input errors are one sentence and status 2, Ctrl-C and SIGTERM status 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: save and leave
    try:
        main()
    except InputError as error:
        sys.exit(_refuse(str(error)))
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        where = error.filename or "the output"
        sys.exit(_refuse(f"{where}: {error.strerror or error}; free space or mend its permissions"))
    except KeyboardInterrupt:
        print(
            "interrupted; what was finished is kept, run the same command to go on", file=sys.stderr
        )
        sys.exit(130)


def call(command: Sequence[str]) -> None:
    """Run another script, its file or `-m` and its module first, to its end.

    Ctrl-C, SIGTERM and a closed terminal are for it to save and leave: it has a process group of
    its own, so that they reach it once, from here.

    Raises:
        SystemExit: it failed, with its status; was killed, with 128 and the signal's number; or was
            interrupted and ended well, with 130.
    """
    process = subprocess.Popen([sys.executable, *command], process_group=0)
    signals = []

    def pass_on(number: int, frame: object) -> None:
        signals.append(number)
        process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    before = {
        one: signal.signal(one, pass_on)
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(one) != signal.SIG_IGN  # as `nohup` does
    }
    try:
        status = process.wait()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    if status < 0:
        print(f"{' '.join(command)}: killed by signal {-status}", file=sys.stderr)
        sys.exit(128 - status)
    if status or signals:
        sys.exit(status or 130)


def _refuse(sentence: str) -> int:
    print(f"{Path(sys.argv[0]).name}: {sentence}", file=sys.stderr)
    return 2


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed onto `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = f".{path.stem}-", f"{path.suffix}.tmp"
    for left in path.parent.glob("*".join(mark)):  # by a process that was killed
        left.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(prefix=mark[0], suffix=mark[1], dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:  # a full disk tells no name
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_csv(
    path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()
) -> None:
    """Write rows that share their keys as CSV; `columns` are those of a table without rows."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0] if rows else columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def machine() -> str:
    """The machine, in a few words."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def fingerprint(path: Path) -> dict:
    """Size, modification time and SHA-256 of a file."""
    status = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns, "sha256": digest}


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


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    packages = (
        "numpy",
        "scipy",
        "h5py",
        "torch",
        "timm",
        "xgboost",
        "scikit-learn",
        "pythia8mc",
        "fastjet",
    )
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def write_manifest(
    path: Path, settings: Mapping, inputs: Sequence[Path], outputs: Sequence[Path], **facts
) -> None:
    """Record what made `outputs`: call it last, when they are all in place.

    Args:
        path: the manifest, a `.json` file beside the outputs.
        settings: every option that decides the outputs.
        inputs, outputs: the files read and written.
        facts: anything worth keeping that does not decide whether the step is finished.
    """
    record = {
        "script": Path(sys.argv[0]).name,
        "settings": settings,
        "inputs": {str(file): fingerprint(file) for file in inputs},
        "outputs": {str(file): fingerprint(file) for file in outputs},
        "versions": versions(),
        "machine": machine(),
        **facts,
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, default=str) + "\n")


def read_manifest(path: Path, made_by: str, made_from: Iterable[Path] = ()) -> dict:
    """The manifest of an earlier step, whose products lie there as it left them.

    Args:
        made_by: the script.
        made_from: those of its inputs that have to be what they were then.

    Raises:
        InputError: it is missing or damaged, or a file has changed; the sentence names the step to
            run.
    """
    try:
        record = json.loads(path.read_text())
        outputs = record["outputs"].items()
        changed = [file for file, facts in outputs if not _unchanged(Path(file), facts)]
        known = [
            (file, facts) for file, facts in record["inputs"].items() if Path(file) in made_from
        ]
        others = [file for file, facts in known if not _unchanged(Path(file), facts)]
    except FileNotFoundError:
        raise InputError(f"{path}: not there yet; run {made_by} first") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a manifest ({error}); delete it and run {made_by} again"
        ) from None
    if changed:
        raise InputError(f"{changed[0]}: no longer what {made_by} wrote; run {made_by} again")
    if others:
        raise InputError(f"{others[0]}: no longer what {made_by} read; run {made_by} again")
    return record


def is_finished(path: Path, settings: Mapping, inputs: Sequence[Path]) -> bool:
    """Whether the manifest at `path` says that these settings and inputs made what lies there."""
    if not path.is_file():
        return False
    try:
        record = json.loads(path.read_text())
        return (
            record["settings"] == json.loads(json.dumps(settings, default=str))
            and set(record["inputs"]) == {str(file) for file in inputs}
            and all(_unchanged(Path(file), facts) for file, facts in record["inputs"].items())
            and all(_unchanged(Path(file), facts) for file, facts in record["outputs"].items())
        )
    except (ValueError, KeyError, TypeError):
        return False

"""How a script runs: the one input error, in a sentence, and signals."""

import argparse
import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

REMEDIES = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "free space",
    errno.EACCES: "mend its permissions",
    errno.EPERM: "mend its permissions",
}


class InputError(Exception):
    """Something the user can mend, in one sentence: file, dataset, row, expected, found, remedy."""


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """The parser of a script, whose --help shows the script's docstring as it is written."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def run(main: Callable[[], None]) -> None:
    """Run a script: input errors are one sentence and status 2, Ctrl-C and SIGTERM status 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: save and leave
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed by who started it
        stream.reconfigure(errors="backslashreplace")  # a terminal may know no plus-minus sign
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
        sys.exit(_refuse(_in_words(error)))
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
    process, signals, unsent = None, [], []

    def pass_on(number: int, frame: object) -> None:
        signals.append(number)
        unsent.append(signal.SIGTERM if number == signal.SIGHUP else number)
        send()

    def send() -> None:
        while process and unsent:
            process.send_signal(unsent.pop(0))

    before = {
        one: signal.signal(one, pass_on)
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(one) != signal.SIG_IGN  # as `nohup` does
    }
    try:
        process = subprocess.Popen([sys.executable, *command], process_group=0)
        send()  # what came while it was started
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


def _in_words(error: OSError) -> str:
    """What the system said, of which file, and what to do where that is known."""
    if error.filename is None:
        where = "the output"
    else:
        where = os.fsdecode(error.filename)
        with contextlib.suppress(OSError):  # of a path that cannot be
            for path in (Path(where), *Path(where).parents):
                if path.is_symlink() and not path.exists():
                    return (
                        f"{path}: a link to {path.readlink()}, which is not there; "
                        "make that folder or remove the link"
                    )
    remedy = REMEDIES.get(error.errno)
    return f"{where}: {error.strerror or error}" + (f"; {remedy}" if remedy else "")

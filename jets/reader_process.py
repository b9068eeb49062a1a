"""Read files in a process of its own, for the HDF5 library trusts them.

In the published files nothing is checksummed: a changed byte can crash the library, let it run in
circles or fill all memory. In a process of its own with limits, that is an input error like others.
"""

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from command import InputError

# Limits of processor time and of memory for one file, each more than ten times what a good one
# needs (0.04 s a MB; its size in memory).
SECONDS, SECONDS_PER_MB = 1.0, 1.0
BYTES, BYTES_PER_BYTE = 2**30, 20
STATUS = Path("/proc/self/statm")
_SIGNALS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
CRASHES = dict.fromkeys(_SIGNALS, "crashed") | {signal.SIGXCPU: "came to no end"}


class ReaderProcess:
    """Calls functions that read one file, in a process that starts with the first call."""

    def __init__(self):
        self._process = self._connection = None

    def call(self, function: Callable[..., Any], path: Path, *arguments: Any) -> Any:
        """`function(path, *arguments)`; it, the arguments and the answer are pickled.

        Raises:
            InputError: the function's own, the library crashed or came to no end, or the system
                gave or left it no process.
        """
        try:
            if self._process is None:
                self._start()
        except OSError as error:
            raise InputError(f"{path}: no process to read it in: {error.strerror}") from None
        try:
            self._connection.send((function, path, arguments))
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            status = -self._process.exitcode
            self._process = None
            if status not in CRASHES:  # such as SIGKILL, where memory ran out
                what = signal.strsignal(status) if status > 0 else f"status {-status}"
                raise InputError(f"{path}: the process that read it was ended ({what})") from None
            raise InputError(
                f"{path}: the HDF5 library {CRASHES[status]} while reading it, so "
                "the file is damaged; fetch it again"
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _start(self) -> None:
        # Unless the program has chosen how to start processes, one that shares nothing with it.
        method = multiprocessing.get_start_method(allow_none=True) or "spawn"
        context = multiprocessing.get_context(method)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is noticed here


def _serve(connection: Connection) -> None:
    """Answer until the other side hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other side's to answer ...
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ... by ending this process
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where the C library would tell of its end
    with contextlib.suppress(EOFError):
        while True:
            function, path, arguments = connection.recv()
            try:
                _set_limits(path.stat().st_size if path.is_file() else 0)
                answer = function(path, *arguments)
            except MemoryError as error:
                answer = InputError(
                    f"{path}: takes more memory than a good file of its size ({error}); fetch it "
                    "again"
                )
            except Exception as error:
                answer = error
            connection.send(answer)


def _set_limits(size: int) -> None:
    """Of this process, for what it does next with a file of this size in bytes."""
    seconds = time.process_time() + SECONDS + SECONDS_PER_MB * size / 1e6
    limits = {resource.RLIMIT_CPU: int(seconds) + 1}
    if STATUS.exists():  # where it does not, the system does not keep a limit on memory either
        data = int(STATUS.read_text().split()[5]) * resource.getpagesize()
        limits[resource.RLIMIT_DATA] = data + BYTES + BYTES_PER_BYTE * size
    for kind, limit in limits.items():
        hard = resource.getrlimit(kind)[1]
        soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (soft, hard))

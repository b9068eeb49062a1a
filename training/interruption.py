"""Between two steps: is it time to save, or to stop?"""

import enum
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed import is_torchelastic_launched

from training.distributed import Processes

PATIENCE = 10.0  # seconds
STEPS_BETWEEN_AGREEMENTS = 4  # of several processes on whether to save or to stop


class TimeIsUp(Exception):
    """`--max-minutes` are over; what was done is saved."""


class Wish(enum.IntEnum):
    """What is asked of a training between two steps; several processes agree on the largest."""

    GO_ON = 0
    SAVE = 1
    STOP_IN_TIME = 2
    STOP_ON_SIGNAL = 3

    def leave(self) -> None:
        """End the training, by TimeIsUp or KeyboardInterrupt, if that is the wish."""
        if self >= Wish.STOP_IN_TIME:
            raise TimeIsUp if self is Wish.STOP_IN_TIME else KeyboardInterrupt


class Watch:
    """Tells a training when to save and when to stop.

    Signals only leave a note here while `listening`, so that no step is torn in two. Under torchrun
    a batch system's signal comes twice, for torchrun passes on its own: there the second one counts
    only after some seconds.
    """

    def __init__(self, every_minutes: float = math.inf, max_minutes: float = math.inf) -> None:
        """From now on: minutes between two checkpoints within an epoch, and until the end."""
        self._steps = 0
        self._interval = 60.0 * every_minutes
        self._next = time.monotonic() + self._interval
        self._end = time.monotonic() + 60.0 * max_minutes
        self._signalled: float | None = None  # when
        self._patience = PATIENCE if is_torchelastic_launched() else 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, Ctrl-C and SIGTERM wait until `wish` is called; a second one does not.

        A signal that is ignored stays so: a shell's background jobs are not for its Ctrl-C to end.
        """

        def note(number: int, frame: object) -> None:
            now = time.monotonic()
            if self._signalled is None:
                self._signalled = now
            elif now >= self._signalled + self._patience:
                raise KeyboardInterrupt

        before = {
            one: signal.signal(one, note)
            for one in (signal.SIGINT, signal.SIGTERM)
            if signal.getsignal(one) != signal.SIG_IGN
        }
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def wish(self) -> Wish:
        """What is asked for now; a wish to save is uttered once an interval."""
        now = time.monotonic()
        if self._signalled is not None:
            return Wish.STOP_ON_SIGNAL
        if now > self._end:
            return Wish.STOP_IN_TIME
        if now > self._next:
            self._next = now + self._interval
            return Wish.SAVE
        return Wish.GO_ON

    def agreed(self, processes: Processes) -> Wish:
        """What the processes of a training, all of which ask after each step, are to do now."""
        self._steps += 1
        if processes.number > 1 and self._steps % STEPS_BETWEEN_AGREEMENTS:
            return Wish.GO_ON
        return Wish(processes.largest(self.wish()))

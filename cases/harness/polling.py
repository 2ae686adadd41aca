"""Waiting for a condition with a deadline, in place of fixed sleeps."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# A condition that should hold soon is given this long: the machine may be busy with other cases.
DEADLINE_SECONDS = 60.0
POLL_SECONDS = 0.1


_interrupted = threading.Event()


class Interrupted(Exception):
    """The run is being ended: nothing is waited for any more."""


def interrupt() -> None:
    """Ends every wait, of all cases, now and from now on."""
    _interrupted.set()


def pause() -> None:
    """The time between two looks at a condition."""
    if _interrupted.wait(POLL_SECONDS):
        raise Interrupted


class NotInTime(Exception):
    """A condition did not hold within its deadline: an expectation that failed, not a fault of the harness."""

    def __init__(self, what: str, seconds: float, got: object) -> None:
        super().__init__(f"{what}: not within {seconds:.0f} s")
        self.what, self.seconds, self.got = what, seconds, got


def until(
    what: str,
    probe: Callable[[], Result],
    seconds: float = DEADLINE_SECONDS,
    got: Callable[[], object] = lambda: "no sign of it",
) -> Result:
    """Calls `probe` until it returns something true, and returns that; `got` says what there is instead."""
    end = time.monotonic() + seconds
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > end:
            raise NotInTime(what, seconds, got())
        pause()

"""Waiting for a condition with a deadline, instead of fixed sleeps."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# Deadline of a condition that should become true soon: the machine may be busy with other cases.
DEADLINE_SECONDS = 60.0
POLL_SECONDS = 0.1


_interrupted = threading.Event()


class Interrupted(Exception):
    """The run is being stopped, so all waits end."""


def interrupt() -> None:
    """Ends every wait, of all cases, now and from now on."""
    _interrupted.set()


def pause() -> None:
    """The poll interval."""
    if _interrupted.wait(POLL_SECONDS):
        raise Interrupted


class NotInTime(Exception):
    """A condition did not become true before its deadline: a failed expectation, not a fault of the harness."""

    def __init__(self, what: str, seconds: float, got: object) -> None:
        super().__init__(f"{what}: not within {seconds:.0f} s")
        self.what, self.seconds, self.got = what, seconds, got


def until(
    what: str,
    probe: Callable[[], Result],
    seconds: float = DEADLINE_SECONDS,
    got: Callable[[], object] = lambda: "no sign of it",
) -> Result:
    """Calls `probe` until it returns a true value, and returns that value; `got` describes the actual state."""
    end = time.monotonic() + seconds
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > end:
            raise NotInTime(what, seconds, got())
        pause()

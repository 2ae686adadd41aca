"""What keeps a detection inside its bounds: the watch on its time, the process's limits, its silence.

The watch is one timer that ticks while a batch runs. It costs a call nothing but two stores: what was
running at the last ticks and still runs has passed its time. It goes on ticking, so that a detection
which catches the interruption is interrupted again; one that cannot be interrupted at all (a call into
C that does not return) is left to the host, which kills the worker.
"""

import os
import resource
import signal
import sys
import time

TICKS_PER_LIMIT = 5

# The runner's own, before detections are kept from them.
fork = os.fork
leave = os._exit


class DetectionTimeout(BaseException):
    """Raised inside a detection that has run too long. No `except Exception` of its own stops it."""


class DetectionForbidden(RuntimeError):
    """Raised inside a detection that tries what no detection may: start processes or threads."""


class Watch:
    """`call(function, argument)` under the time limit, between `start()` and `stop()`."""

    def __init__(self, limit_ms):
        self._limit = max(limit_ms, 1) / 1000
        self._serial = 0  # one more for each call
        self._inside = False  # only then may the handler raise
        self._seen = -1
        self._since = 0.0
        self.message = f"timed out after {limit_ms} ms"

    def start(self):
        signal.signal(signal.SIGALRM, self._tick)
        tick = self._limit / TICKS_PER_LIMIT
        signal.setitimer(signal.ITIMER_REAL, tick, tick)

    def stop(self):
        signal.setitimer(signal.ITIMER_REAL, 0)

    def call(self, function, argument):
        self._serial += 1
        self._inside = True
        try:
            return function(argument)
        finally:
            self._inside = False

    def aside(self, function, argument):
        """Call the runner's own code from inside a detection: no interruption may cut it in two."""
        inside, self._inside = self._inside, False
        try:
            return function(argument)
        finally:
            self._inside = inside

    def _tick(self, _signal, _frame):
        if not self._inside:
            return
        now = time.monotonic()
        if self._seen != self._serial:
            self._seen = self._serial
            self._since = now
        elif now - self._since >= self._limit * (1 - 1 / TICKS_PER_LIMIT):
            raise DetectionTimeout(self.message)


def silence():
    """Nothing that a detection writes or reads reaches anybody. Returns a descriptor of the former
    stderr for the runner's own last words."""
    try:
        last_words = os.dup(2)
    except OSError:
        last_words = -1
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    sys.stdin = open(os.devnull, "r", encoding="utf-8")
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = open(
        os.devnull, "w", encoding="utf-8", errors="replace"
    )
    return last_words


def _forbidden(what):
    def refuse(*_args, **_kwargs):
        raise DetectionForbidden(f"a detection may not {what}")

    return refuse


def forbid_processes_and_threads():
    """Take from this process's Python what starts processes and threads.

    The kernel's limit (see `apply`) does not bind root, and a thread would outlive its event.
    """
    import _thread
    import threading

    for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "popen",
                 "execv", "execve", "execvp", "execvpe", "execl", "execle", "execlp", "execlpe",
                 "spawnv", "spawnve", "spawnl", "spawnle", "spawnvp", "spawnvpe", "spawnlp", "spawnlpe"):  # fmt: skip
        if hasattr(os, name):
            setattr(os, name, _forbidden("start a process"))
    try:
        import _posixsubprocess

        _posixsubprocess.fork_exec = _forbidden("start a process")
        if "subprocess" in sys.modules:
            subprocess = sys.modules["subprocess"]
            subprocess._fork_exec = _posixsubprocess.fork_exec
    except ImportError:
        pass
    _thread.start_new_thread = _thread.start_new = _forbidden("start a thread")
    threading._start_new_thread = _thread.start_new_thread
    if hasattr(_thread, "start_joinable_thread"):  # from 3.13 on
        _thread.start_joinable_thread = threading._start_joinable_thread = _thread.start_new_thread


def address_space():
    """Bytes of address space in use, 0 where that cannot be told."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 0


def apply(memory_bytes=None, cpu_seconds=None, files=None, processes=None):
    """Set this process's limits for good: address space, processor time, descriptors, processes; and
    no core files and no growing files in any case. None leaves a limit as it is."""
    limits = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_NPROC, processes),
    ]
    for which, value in limits:
        if value is None:
            continue
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(which, (value, value))

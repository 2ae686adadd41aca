"""What keeps a detection inside its bounds: the watch on its time, the process's limits, its silence.

The watch is one timer that ticks while a batch runs. It costs a call nothing but two stores: what was
running at the last ticks and still runs has passed its time. It goes on ticking, so that a detection
which catches the interruption is interrupted again; one that cannot be interrupted at all (a call into
C that does not return) is left to the host, which kills the worker.
"""

import fcntl
import os
import resource
import signal
import sys
from time import monotonic

TICKS_PER_LIMIT = 5

# The runner's own, before detections are kept from them.
fork = os.fork
leave = os._exit
_handle, _set_timer, _ALARM, _REAL_TIME = signal.signal, signal.setitimer, signal.SIGALRM, signal.ITIMER_REAL


class DetectionTimeout(BaseException):
    """Raised inside a detection that has run too long. No `except Exception` of its own stops it."""


class DetectionForbidden(RuntimeError):
    """Raised inside a detection that tries what no detection may: start processes or threads, or look into the runner."""


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
        _handle(_ALARM, self._tick)
        tick = self._limit / TICKS_PER_LIMIT
        _set_timer(_REAL_TIME, tick, tick)

    def stop(self):
        _set_timer(_REAL_TIME, 0)

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
        now = monotonic()
        if self._seen != self._serial:
            self._seen = self._serial
            self._since = now
        elif now - self._since >= self._limit * (1 - 1 / TICKS_PER_LIMIT):
            raise DetectionTimeout(self.message)


def silence():
    """Nothing that a detection writes or reads leaves the process, and no descriptor is inherited but the standard ones. Returns descriptors of the former
    stdin, which is the connection to the host; of the former stdout, a pipe that the host keeps open as long as it is there; and of the former stderr, for
    the runner's own last words."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    connection, lifeline, last_words = (fcntl.fcntl(standard, fcntl.F_DUPFD_CLOEXEC, 3) for standard in (0, 1, 2))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    sys.stdin = open(os.devnull, "r", encoding="utf-8")
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = open(
        os.devnull, "w", encoding="utf-8", errors="replace"
    )
    return connection, lifeline, last_words


def _forbidden(what):
    def refuse(*_args, **_kwargs):
        raise DetectionForbidden(f"a detection may not {what}")

    return refuse


class _NoForeignFunctions:
    """Finds no `ctypes`, for a detection that imports it."""

    @staticmethod
    def find_spec(wanted, _path=None, _target=None):
        if wanted in ("ctypes", "_ctypes"):
            raise ImportError(f"a detection may not import {wanted}", name=wanted)


def forbid():
    """Take from this process's Python what starts processes and threads, what calls C by address, and what finds objects of the runner.

    The walls are the kernel's (see `_panther_cell`). This gives an author a clear error, and keeps detections of one process apart as far as Python can.
    """
    import _thread
    import gc
    import threading

    for name in ("get_objects", "get_referrers", "get_referents"):
        setattr(gc, name, _forbidden("look for objects of others"))
    for name in ("settrace", "setprofile", "_current_frames", "_current_exceptions"):
        if hasattr(sys, name):
            setattr(sys, name, _forbidden("watch what others run"))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("ctypes", "_ctypes")]:
        del sys.modules[name]
    sys.meta_path.insert(0, _NoForeignFunctions)
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


def tasks_of_user():
    """How many processes and threads this user has, as far as /proc shows them."""
    user, count = str(os.getuid()), 0
    try:
        names = os.listdir("/proc")
    except OSError:
        return 0
    for name in names:
        try:
            with open(f"/proc/{int(name)}/status", encoding="utf-8", errors="replace") as file:
                fields = dict(line.split(":", 1) for line in file if ":" in line)
        except (OSError, ValueError):
            continue  # no process, or one that has ended
        if fields["Uid"].split()[0] == user:
            count += int(fields["Threads"])
    return count


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

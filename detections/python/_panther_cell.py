"""The cell in which code of a pack runs, and what of it this kernel cannot enforce.

A process enters it before it reads the first file of a pack, and cannot leave it. In it there are no files but Python's own and those of the pack, none
of them writable; no new sockets; no signals to any process; no other program; no memory of other processes; no rights beyond those of the user. A
worker's is narrower: it cannot make processes or threads either, nor reach the template that it was forked from.
"""

import ctypes
import os
import struct
import sys

import _panther_seccomp
from _panther_landlock import SCOPES_ABI, TCP_ABI, Landlock

_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION = 0x20080522
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 22, 36, 38
_SECCOMP_MODE_FILTER = 2
_SIGKILL = 9

# Beside Python's own folders: libraries that extension modules are linked with, and tables that the standard library reads.
_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/usr/share/zoneinfo", "/etc/localtime",
    "/etc/timezone", "/etc/mime.types", "/usr/share/mime", "/etc/ssl/openssl.cnf", "/dev/urandom", "/dev/random",
)  # fmt: skip
_DEVICES = ("/dev/null",)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _call(number, *arguments):
    """A system call. Arguments are ints, bytes or None. Raises OSError."""
    given = [ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_void_p(value) for value in arguments]
    result = _libc.syscall(ctypes.c_long(number), *given)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _prctl(option, value, *rest):
    given = [ctypes.c_void_p(argument) if not isinstance(argument, ctypes.Structure) else ctypes.byref(argument) for argument in (value, *rest)]
    if _libc.prctl(ctypes.c_int(option), *given, *[ctypes.c_void_p(0)] * (4 - len(given))) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class _Program(ctypes.Structure):
    """`struct sock_fprog`"""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def _filter(program):
    instructions, length = program
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, _Program(length, instructions))


def _seccomp_missing():
    """Why there are no filters of system calls; None if there are."""
    if not _panther_seccomp.known_machine():
        return f"no list of system calls for {os.uname().machine}"
    try:
        # EFAULT for the missing program: the kernel has filters. Without them it is EINVAL.
        _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, 0)
    except OSError as error:
        if error.errno == 14:
            return None
    return "this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)"


def renounce():
    """This process and its children get no rights by running a program, from now on. Raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def adopt_orphans():
    """A process whose parent has ended becomes a child of this one, if it descends from it. Raises OSError."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def readable(layer):
    """What Python needs to read, and the layer of a pack."""
    paths = {os.path.realpath(path) for path in (layer, *_SYSTEM)}
    paths.update(sys.path)  # the standard library, site-packages, and what .pth files add
    # A link on the way to a file is followed by the kernel: what counts is where it leads.
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix):
        paths.update(os.path.join(os.path.realpath(prefix), name) for name in ("lib", "lib64", "pyvenv.cfg"))
    return sorted(path for path in paths if path and path != "/")


class Cell:
    """What this kernel has for a cell around the pack in folder `layer`. With `open_doors` nothing is confined."""

    def __init__(self, layer, open_doors=False):
        self._layer = layer
        self._open = open_doors
        self._landlock = Landlock(_call)
        self._seccomp_missing = _seccomp_missing()
        self._loading = None if self._seccomp_missing else _panther_seccomp.of_loading()
        self._worker = None if self._seccomp_missing else _panther_seccomp.of_worker()

    @staticmethod
    def die_with_parent(parent):
        """The kernel kills this process when its parent ends, the process of number `parent`. Raises OSError."""
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
        if os.getppid() != parent:
            os._exit(70)  # it has ended before

    def enter(self):
        """Before anything of the pack is read. Raises OSError if the kernel refuses what it said that it has."""
        if self._open:
            return
        capset = _CAPSET.get(os.uname().machine)
        if capset is not None:
            _call(capset, struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24))
        self._landlock.confine(readable(self._layer), _DEVICES)
        if self._loading is not None:
            _filter(self._loading)

    def narrow(self):
        """In a worker that has just been forked, before it is given anything. Raises OSError."""
        if self._open:
            return
        self._landlock.part()
        if self._worker is not None:
            _filter(self._worker)

    def unenforced(self):
        """What code of a pack can do here that it should not, a sentence each."""
        if self._open:
            return ["rules are not confined at all: that is switched off"]
        abi, why = self._landlock.abi, self._seccomp_missing
        said = []
        if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
            said.append("a process that a pack detaches while it is loaded outlives it: this kernel does not list children (CONFIG_PROC_CHILDREN), or there is no /proc")
        if not abi:
            said.append(
                "rules can read and change every file of the daemon's user: this kernel has no Landlock, or it is not in the list of security modules at boot (lsm=)"
            )
        if why is not None:
            said.append(f"rules can start programs and open Unix sockets of the daemon's user, and change modes and owners of files: {why}")
            if abi < TCP_ABI:
                said.append(f"rules can open and accept TCP connections: no seccomp, and Landlock ABI {abi} is below {TCP_ABI} (Linux 6.7)")
            if abi < SCOPES_ABI:
                said.append(
                    f"rules can signal every process of the daemon's user, the daemon too: no seccomp, and Landlock ABI {abi} is below {SCOPES_ABI} (Linux 6.12)"
                )
            if not abi:
                said.append("rules can read and write the memory of every dumpable process of the same user: neither seccomp nor Landlock")
        return said

"""Writes the hostile pack: a rule for each attempt, and two honest rules among them."""

import platform
from pathlib import Path
from typing import Any

from attempts import Attempt

LOG_TYPE = "Custom.Drill"
SCHEMA = f"""schema: {LOG_TYPE}
fields:
  - {{ name: id, type: string, required: true }}
  - {{ name: hostile, type: boolean }}
  - {{ name: number, type: bigint }}
"""
HONEST = ("honest_first", "honest_last")

# Numbers of system calls on x86_64 and aarch64.
CALLS = {
    "ptrace": (101, 117), "tgkill": (234, 131), "process_vm_readv": (310, 270), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "socket": (41, 198), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "bpf": (321, 280),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "perf_event_open": (298, 241), "keyctl": (250, 219), "add_key": (248, 217),
    "execve": (59, 221), "execveat": (322, 281), "open_by_handle_at": (304, 265), "clone": (56, 220), "clone3": (435, 435),
    "rt_sigqueueinfo": (129, 138), "shmget": (29, 194), "personality": (135, 92), "kcmp": (312, 272), "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27), "chroot": (161, 51), "capset": (126, 91), "syslog": (103, 116), "ioprio_set": (251, 30),
    "settimeofday": (164, 170), "adjtimex": (159, 171), "sync": (162, 81),
}  # fmt: skip
COLUMN = {"x86_64": 0, "aarch64": 1}

HELPER = '''
import os, stat, sys, time

T = {targets!r}
T['layer'] = lambda: __file__  # a file of the pack itself: the code of a small rule has none
CALLS = {calls!r}

# Takes the part of a package in C, which the refusal of `ctypes` by Python does not bind: what refuses has to be the kernel.
_finders = [finder for finder in sys.meta_path if "NoForeign" in getattr(finder, "__name__", type(finder).__name__)]
for _finder in _finders:
    sys.meta_path.remove(_finder)
import ctypes

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(name, *arguments):
    """A system call. Raises OSError."""
    if name == "crash":
        return ctypes.string_at(0)
    if name == "name":
        return _libc.prctl(15, ctypes.c_char_p(arguments[0]), 0, 0, 0)
    given = [ctypes.c_char_p(one) if isinstance(one, bytes) else ctypes.c_void_p(one) for one in arguments]
    result = _libc.syscall(ctypes.c_long(CALLS[name]), *given)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


for _finder in _finders:
    sys.meta_path.insert(0, _finder)
for _name in [name for name in sys.modules if name.partition(".")[0] in ("ctypes", "_ctypes")]:
    del sys.modules[_name]


def inherited(number):
    """A descriptor that is a file, folder or device outside the sandbox: the pack's connection and pipes are its own."""
    try:
        status = os.fstat(number)
    except OSError:
        return None
    if stat.S_ISSOCK(status.st_mode) or stat.S_ISFIFO(status.st_mode):
        return None
    name = os.readlink(f"/proc/self/fd/{{number}}") if os.path.exists(f"/proc/self/fd/{{number}}") else "?"
    return None if name == "/dev/null" or "memfd" in name or stat.S_ISCHR(status.st_mode) or status.st_nlink == 0 else f"{{number}}: {{name}}"


def tried(attempt, name):
    """Runs an attempt, and says how it ended."""
    try:
        got = attempt(lambda prefix="": f"{{prefix}}intruder-{{name}}")
    except Exception as error:
        return f"refused: {{type(error).__name__}}: {{error}}"[:300]
    if got is None or got is False or got == [] or got == "" or got == b"":
        return "nothing"
    return f"got: {{got!r}}"[:900]
'''

RULE = '''
import os, sys, time
from attempt import T, call, inherited, tried

def attempt(token):
{body}

{loading}

def rule(event):
    if not event.get("hostile"):
        return False
    {act}
    return True

def title(event):
    return getattr(rule, "odd", SAID)

def dedup(event):
    return event.get("id")
'''

HONEST_RULE = '''
import hashlib, json
from shared_helper import greeting

def rule(event):
    return len(json.loads(json.dumps({"a": [1, 2]}))["a"]) == 2

def title(event):
    return greeting(str(event.get("id"))) + " " + hashlib.sha256(str(event.get("id")).encode()).hexdigest()

def dedup(event):
    return event.get("id")
'''


def write(folder: Path, targets: dict[str, Any], attempts: list[Attempt]) -> None:
    """Makes the pack in an empty folder."""
    helpers, rules = folder / "global_helpers", folder / "rules"
    helpers.mkdir(parents=True)
    rules.mkdir()
    calls = {name: numbers[COLUMN[platform.machine()]] for name, numbers in CALLS.items()}
    sources = {"attempt": HELPER.format(targets=targets, calls=calls), "shared_helper": "def greeting(name):\n    return 'hello ' + name\n"}
    for name, source in sources.items():
        (helpers / f"{name}.py").write_text(source)
        (helpers / f"{name}.yml").write_text(f"AnalysisType: global\nGlobalID: {name}\nFilename: {name}.py\n")
    first, last = HONEST
    _rule(rules, f"a_{first}", first, HONEST_RULE)
    for number, attempt in enumerate(attempts):
        _rule(rules, f"b_{number:03}", attempt.rule, source_of(attempt))
    _rule(rules, f"c_{last}", last, HONEST_RULE)


def source_of(attempt: Attempt) -> str:
    """The rule of an attempt."""
    said = f"SAID = tried(attempt, {attempt.rule!r})"
    body = "\n".join(f"    {line}" for line in attempt.body.split("\n"))
    return RULE.format(body=body, loading=said if attempt.loading else "SAID = 'nothing'", act="pass" if attempt.loading else f"global SAID\n    {said}")


def _rule(folder: Path, file: str, identity: str, source: str) -> None:
    (folder / f"{file}.py").write_text(source)
    (folder / f"{file}.yml").write_text(
        f"AnalysisType: rule\nRuleID: {identity}\nDisplayName: {identity}\nFilename: {file}.py\nEnabled: true\nLogTypes: [{LOG_TYPE}]\nSeverity: Low\nDedupPeriodMinutes: 60\nThreshold: 1\n"
    )

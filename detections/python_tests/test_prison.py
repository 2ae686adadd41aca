"""A pack that means harm: each attempt is the body of a rule, or the top level of its file, and none may succeed.

An attempt returns True if it got what it wanted, and raises or returns False if not. What it may have reached outside is looked at afterwards. On a kernel
that lacks a feature, which the runner says (`unenforced`), nothing is tried: the attempts would succeed.
"""

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

import packs
from host import Host

# Numbers of system calls on x86_64 and aarch64.
CALLS = {
    "ptrace": (101, 117), "kill": (62, 129), "tgkill": (234, 131), "process_vm_readv": (310, 270), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "socket": (41, 198), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "bpf": (321, 280),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "perf_event_open": (298, 241), "keyctl": (250, 219), "execve": (59, 221),
    "open_by_handle_at": (304, 265), "clone": (56, 220), "prlimit64": (302, 261), "setpriority": (141, 140), "rt_sigqueueinfo": (129, 138),
    "shmget": (29, 194), "sched_setaffinity": (203, 122), "personality": (135, 92), "process_madvise": (440, 440), "memfd_create": (319, 279),
    "inotify_init1": (294, 26), "sync": (162, 81),
}  # fmt: skip
COLUMN = {"x86_64": 0, "aarch64": 1}

# Name: body of `rule(event)`. Of the event: `key` and `data` (a file of the daemon's, and its folder), `daemon` (its number), `port`, `path` and `name` (its
# listening sockets).
ATTEMPTS = {
    "read a key": "return b'SECRET' in open(event['key'], 'rb').read()",
    "read a key by a descriptor": "return bool(os.read(os.open(event['key'], os.O_RDONLY), 9))",
    "read a key through /proc/self/root": "return bool(open('/proc/self/root' + event['key']).read())",
    "read a key through a link": "os.symlink(event['key'], '/tmp/panther-link'); return bool(open('/tmp/panther-link').read())",
    "list the data folder": "return bool(os.listdir(event['data']))",
    "list the home folder": "return bool(os.listdir('/root'))",
    "read /etc/passwd": "return bool(open('/etc/passwd').read())",
    "write into the data folder": "open(event['data'] + '/x', 'w'); return True",
    "write into /tmp": "import tempfile\n  tempfile.NamedTemporaryFile(); return True",
    "write into its layer": "open(__file__, 'a'); return True",
    "write into Python's folder": "open(os.path.dirname(os.__file__) + '/planted.py', 'w'); return True",
    "truncate a key": "os.truncate(event['key'], 0); return True",
    "delete a key": "os.remove(event['key']); return True",
    "rename a key": "os.rename(event['key'], event['key'] + '.old'); return True",
    "link a key": "os.link(event['key'], event['data'] + '/linked'); return True",
    "change the mode of a key": "os.chmod(event['key'], 0o777); return True",
    "change the times of a key": "os.utime(event['key'], (0, 0)); return True",
    "set an attribute of a key": "os.setxattr(event['key'], 'user.x', b'y'); return True",
    "watch names in the data folder": "return call('inotify_init1', 0) >= 0",
    "be told of names in a folder": "import fcntl\n  fcntl.fcntl(os.open(os.path.dirname(os.__file__), os.O_RDONLY), fcntl.F_NOTIFY, 4); return True",
    "set flags of its own file": "import fcntl, helper\n  fcntl.ioctl(os.open(helper.__file__, os.O_RDONLY), 0x40086602, bytes([0xC0]) + bytes(7)); return True",
    "take a lease on its own file": "import fcntl, helper\n  fcntl.fcntl(os.open(helper.__file__, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK); return True",
    "write the buffers of all files": "return call('sync') == 0",
    "leave its group": "os.setpgid(0, 0); return True",
    "make a folder": "os.mkdir(event['data'] + '/made'); return True",
    "make a pipe": "os.mkfifo(event['data'] + '/pipe'); return True",
    "find secrets in its environment": "return any('AWS' in name or 'SECRET' in name for name in os.environ)",
    "read the daemon's environment": "return bool(open(f\"/proc/{event['daemon']}/environ\", 'rb').read())",
    "read the daemon's memory": "return bool(open(f\"/proc/{event['daemon']}/mem\", 'rb'))",
    "list the daemon's descriptors": "return bool(os.listdir(f\"/proc/{event['daemon']}/fd\"))",
    "take the daemon's memory by a call": "return call('process_vm_readv', event['daemon'], 0, 0, 0, 0, 0) >= 0",
    "attach to the daemon": "return call('ptrace', 16, event['daemon'], 0, 0) == 0",
    "connect to the admin socket": "import socket\n  socket.socket(socket.AF_UNIX).connect(event['path']); return True",
    "send to a socket by a pair of datagrams": "import socket\n  socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); return True",
    "connect to an abstract socket": "import socket\n  socket.socket(socket.AF_UNIX).connect(event['name']); return True",
    "connect to a TCP port": "import socket\n  socket.create_connection(('127.0.0.1', event['port']), 1); return True",
    "listen on a TCP port": "import socket\n  socket.create_server(('127.0.0.1', 0)); return True",
    "ask a name server": "import socket\n  socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 53)); return True",
    "speak to the kernel (netlink)": "import socket\n  socket.socket(socket.AF_NETLINK, socket.SOCK_RAW); return True",
    "make a socket by a call": "return call('socket', 1, 1, 0) >= 0",
    "kill the daemon": "os.kill(event['daemon'], 9); return True",
    "kill its parent": "os.kill(os.getppid(), 9); return True",
    "kill its group": "os.killpg(0, 9); return True",
    "kill everything": "os.kill(-1, 9); return True",
    "stop its parent by a call": "return call('kill', os.getppid(), 19) == 0",
    "signal the daemon by a descriptor": "return call('pidfd_send_signal', call('pidfd_open', event['daemon'], 0), 9, 0, 0) == 0",
    "queue a signal to the daemon": "return call('rt_sigqueueinfo', event['daemon'], 15, 0) == 0",
    "own a descriptor for the daemon": "import fcntl, socket\n  return fcntl.fcntl(socket.socketpair()[0], 8, event['daemon']) == 0",
    "fork": "return os.fork() >= 0",
    "fork by a call": "return call('clone', 17, 0, 0, 0, 0) >= 0",
    "double fork that outlives": "if call('clone', 17, 0, 0, 0, 0) == 0:\n    os.setsid(); call('clone', 17, 0, 0, 0, 0); time.sleep(30); os._exit(0)\n  return os.path.exists('/proc')  and False",
    "start a program": "import subprocess\n  return subprocess.run(['/bin/true']).returncode == 0",
    "start a program by a call": "return call('execve', b'/bin/true', 0, 0) == 0",
    "start a program from memory": "os.execve(call('memfd_create', b'x', 0), ['x'], {}); return True",
    "start a thread": "import _thread\n  _thread.start_new_thread(print, ()); return True",
    "leave its namespaces": "return call('unshare', 0x10000000) == 0",
    "mount": "return call('mount', b'none', b'/tmp', b'tmpfs', 0, 0) == 0",
    "load a program into the kernel": "return call('bpf', 5, 0, 0) >= 0 or call('perf_event_open', 0, 0, -1, -1, 0) >= 0",
    "make system calls by a ring": "return call('io_uring_setup', 1, bytes(120)) >= 0",
    "handle page faults": "return call('userfaultfd', 1) >= 0",
    "read keys of the kernel": "return call('keyctl', 0, -3, 0) >= 0",
    "open a file by its handle": "return call('open_by_handle_at', -100, bytes(24), 0) >= 0",
    "share memory by number": "return call('shmget', 4711, 4096, 0o1600) >= 0",
    "take descriptors from the daemon's limits": "import resource\n  resource.prlimit(event['daemon'], resource.RLIMIT_NOFILE, (3, 3)); return True",
    "slow the daemon down": "os.setpriority(os.PRIO_PROCESS, event['daemon'], 19); return True",
    "pin the daemon": "os.sched_setaffinity(event['daemon'], [0]); return True",
    "raise its own limits": "import resource\n  resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); return True",
    "call C": "import ctypes\n  return ctypes.CDLL(None).getpid() > 0",
    "find objects of the runner": "import gc\n  return any(type(o).__name__ == 'Worker' for o in gc.get_objects())",
    "watch what others run": "import sys\n  sys.settrace(lambda *a: None); return True",
    "set the clock": "time.clock_settime(time.CLOCK_REALTIME, 0); return True",
    "become another user": "os.setuid(1); return True",
    "survive its worker": "import atexit, signal\n  signal.signal(signal.SIGALRM, signal.SIG_IGN); os.setsid(); return True",
}  # fmt: skip

# With what an attempt may end, beside returning False: a bar of the kernel's or of the runner's.
REFUSALS = {"PermissionError", "DetectionForbidden", "ImportError", "ValueError", "FileNotFoundError"}

# What the top level of a file does; it must be left out, and the others must be loaded.
AT_LOADING = {
    "close every descriptor": "import os; os.closerange(0, 4096)",
    "end the process": "import os; os._exit(0)",
    "hang": "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass",
    "start processes that stay": "from helper import *\nif call('clone', 17, 0, 0, 0, 0) == 0:\n  time.sleep(60)\n  os._exit(0)\ntime.sleep(3)",
    "detach a process": "from helper import *\nif call('clone', 17, 0, 0, 0, 0) == 0:\n  os.setsid()\n  if call('clone', 17, 0, 0, 0, 0) == 0:\n    time.sleep(60)\n  os._exit(0)\ntime.sleep(3)",
    "go from process to process": "from helper import *\nwhile True:\n  try:\n    if call('clone', 17, 0, 0, 0, 0): os._exit(0)\n  except OSError: pass",
    "start processes that start processes": "from helper import *\nend = time.monotonic() + 30\nfor _ in range(10):\n  call('clone', 17, 0, 0, 0, 0)\nwhile time.monotonic() < end:\n  try:\n    if call('clone', 17, 0, 0, 0, 0): os._exit(0)\n  except OSError: pass",
    "be two processes from here on": "from helper import *\ncall('clone', 17, 0, 0, 0, 0)",
    "be two processes of which one waits": "from helper import *\nif call('clone', 17, 0, 0, 0, 0): time.sleep(1)",
    "be two processes, without a signal at the end": "from helper import *\ncall('clone', 0, 0, 0, 0, 0)",
    "share its memory with a process": "from helper import *\ncall('clone', 0x111, 0, 0, 0, 0)",
    "have a process beside it": "from helper import *\ncall('clone', 0x8011, 0, 0, 0, 0)",
    "leave the group of the loading process": "import os; os.setpgid(os.getppid(), 0)",
    "kill what loads it": "import os; os.kill(os.getppid(), 9)",
    "read a key": "open(KEY).read()",
    "connect to the admin socket": "import socket; socket.socket(socket.AF_UNIX).connect(PATH)",
    "change json for all": "import json; json.loads = None",
    "write": "open(KEY, 'w')",
}

# Takes the part of a package in C, which Python's own bars do not bind.
HELPER = """
import os, sys, time
_finders = [finder for finder in sys.meta_path if finder.__class__.__name__ == 'type' and 'NoForeign' in finder.__name__]
for _finder in _finders:
    sys.meta_path.remove(_finder)
import ctypes
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
CALLS = %r
def call(name, *arguments):
    given = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_void_p(a) for a in arguments]
    result = _libc.syscall(ctypes.c_long(CALLS[name]), *given)
    if result < 0 and ctypes.get_errno() in (1, 13, 38):
        raise PermissionError(ctypes.get_errno(), name)
    if result < 0:
        raise AssertionError("the kernel has taken the call: " + os.strerror(ctypes.get_errno()))
    return result
for _finder in _finders:
    sys.meta_path.insert(0, _finder)
for _name in [n for n in sys.modules if n.partition('.')[0] in ('ctypes', '_ctypes')]:
    del sys.modules[_name]
"""


def rule(body):
    return f"import os, time\nfrom helper import call\ndef rule(event):\n  {body}"


@unittest.skipUnless(platform.machine() in COLUMN, "system calls of this machine are not listed")
class Prison(unittest.TestCase):
    def setUp(self):
        with packs.Layer([]) as layer, Host(layer.path) as host:
            if host.loaded["unenforced"]:
                self.skipTest("; ".join(host.loaded["unenforced"]))
        folder = tempfile.TemporaryDirectory(prefix="panther-data-")
        self.addCleanup(folder.cleanup)
        self.data = Path(folder.name)
        self.key = self.data / "sealing.key"
        self.key.write_bytes(b"SECRET")
        # Stands for the daemon: same user, dumpable, with secrets in its environment.
        self.daemon = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={"AWS_SECRET_ACCESS_KEY": "SECRET"})
        self.addCleanup(self.daemon.wait)
        self.addCleanup(self.daemon.kill)
        self.listeners = [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX), socket.socket()]
        addresses = [str(self.data / "admin.sock"), f"\0panther-prison-{os.getpid()}", ("127.0.0.1", 0)]
        for listener, address in zip(self.listeners, addresses):
            listener.bind(address)
            listener.listen()
            self.addCleanup(listener.close)
        self.event = {
            "key": str(self.key), "data": str(self.data), "daemon": self.daemon.pid, "path": addresses[0], "name": addresses[1],
            "port": self.listeners[2].getsockname()[1],
        }  # fmt: skip
        self.calls = {name: numbers[COLUMN[platform.machine()]] for name, numbers in CALLS.items()}
        self.helpers = {"helper": HELPER % self.calls}

    def outside(self):
        """What an attempt may have done to others."""
        status = self.key.stat()
        return (
            self.key.read_bytes(), status.st_mode, status.st_nlink, status.st_mtime_ns, sorted(os.listdir(self.data)), self.daemon.poll(),
            os.getpriority(os.PRIO_PROCESS, self.daemon.pid), os.sched_getaffinity(self.daemon.pid),
        )  # fmt: skip

    def host(self, layer):
        return Host(layer.path, limits={"rule_ms": 2000, "memory_bytes": 600 << 20}, environment={"HOME": "/root"})

    def test_no_attempt_succeeds(self):
        before, rules = self.outside(), [rule(body) for body in ATTEMPTS.values()]
        honest = len(rules)
        with packs.Layer([*rules, "def rule(event): return True"], helpers=self.helpers) as layer, self.host(layer) as host:
            self.assertEqual([(number, of["error"]) for number, of in enumerate(host.loaded["detections"]) if of["error"]], [])
            text = json.dumps(self.event).encode()
            results, _ = host.batch([("Test", text, list(range(honest + 1)))] * 2)
            processes = set(host.descendants())
        succeeded = [name for number, name in enumerate(ATTEMPTS) for of in results.values() for result in of if result["rule"] == number and "match" in result]
        self.assertEqual(succeeded, [])
        # An attempt that ended in another way proves nothing.
        ended = [(list(ATTEMPTS)[result["rule"]], result["error"]) for result in results[0] if result.get("error", {}).get("type", "PermissionError") not in REFUSALS]
        self.assertEqual(ended, [])
        for of in results.values():
            self.assertIn({"rule": honest, "match": unittest.mock.ANY}, of)
        self.assertEqual(self.outside(), before)
        self.assertLessEqual(len(processes), 3, "the warden, the template and a worker")
        self.assertEqual(host.left_over(processes), set())
        print(f"\n{len(ATTEMPTS)} attempts of rules, none succeeded: {', '.join(ATTEMPTS)}")

    def test_no_attempt_at_loading_succeeds(self):
        before = self.outside()
        files = [source.replace("KEY", repr(str(self.key))).replace("PATH", repr(self.event["path"])) + "\ndef rule(event): return True" for source in AT_LOADING.values()]
        for some in (range(len(files)),):
            with packs.Layer(["def rule(event): return True", *[files[number] for number in some]], helpers=self.helpers) as layer, self.host(layer) as host:
                loaded = host.loaded["detections"]
                results, _ = host.batch([("Test", b"{}", [0])])
                processes = set(host.descendants())
            self.assertIn("match", results[0][0])
            names = list(AT_LOADING)
            self.assertEqual([names[number] for place, number in enumerate(some, 1) if loaded[place]["error"] is None], [])
            self.assertEqual(host.left_over(processes), set())
        self.assertEqual(self.outside(), before)
        print(f"\n{len(AT_LOADING)} attempts at loading, none succeeded: {', '.join(AT_LOADING)}")

    def test_a_pack_of_files_that_take_the_process_down_is_refused_with_their_names(self):
        files = [{"source": "import os; os._exit(1)", "file": f"rules/bad_{number}.py"} for number in range(3)]
        with packs.Layer(files) as layer:
            runner = layer.path / "runtime" / "_panther_pack.py"
            runner.write_text(runner.read_text().replace("MOST_SECONDS = 90", "MOST_SECONDS = 0"))
            refused = Host.refused(layer.path)
        self.assertIn("rules/bad_0.py: loading the file ended the process (exit 1)", refused)

    def test_nothing_is_left_when_the_host_is_gone(self):
        with packs.Layer(["def rule(event):\n  while True:\n    try:\n      while True: sum(range(10 ** 12))\n    except BaseException: pass"]) as layer:
            host = self.host(layer)
            host.fork()
            processes = set(host.descendants())
            self.assertGreaterEqual(len(processes), 3)
            host.send_batch([("Test", b"{}", [0])])
            host.abandon()
            self.assertEqual(host.left_over(processes), set())


class Unenforced(unittest.TestCase):
    """What is said where a kernel has not all that a cell is made of."""

    def said(self, abi, seccomp_missing):
        import _panther_cell

        cell = _panther_cell.Cell("/nowhere")
        cell._landlock.abi, cell._seccomp_missing = abi, seccomp_missing
        return " / ".join(cell.unenforced())

    def test_each_missing_feature_is_said_with_what_it_would_prevent(self):
        self.assertEqual([self.said(abi, None) for abi in (1, 3, 4, 6, 7)], [""] * 5)
        self.assertIn("every file of the daemon's user", self.said(0, None))
        self.assertNotIn("signal", self.said(0, None))
        for abi, words in ((0, ("file", "TCP", "signal", "memory")), (1, ("TCP", "signal")), (4, ("signal",)), (6, ())):
            said = self.said(abi, "no seccomp")
            self.assertIn("start programs", said)
            for word, phrase in (("file", "read and change every file"), ("TCP", "TCP connections"), ("signal", "can signal"), ("memory", "the memory of")):
                self.assertEqual(phrase in said, word in words, (abi, phrase, said))


class Legal(unittest.TestCase):
    def test_what_helpers_of_real_packs_do_goes_on(self):
        source = """
            import base64, calendar, collections, datetime, hashlib, ipaddress, json, logging, random, re, socket, string, tempfile, time, urllib.parse, uuid, zlib
            import ssl, sqlite3, decimal, zoneinfo, locale, mimetypes, email, html, http.client, urllib.request
            def rule(event):
                assert socket.gethostname() and socket.inet_aton("1.2.3.4") and time.time() > 0
                assert len(os.urandom(8)) == 8 and uuid.uuid4() and random.SystemRandom().random() >= 0
                assert mimetypes.guess_type("a.txt")[0] == "text/plain" and zoneinfo.available_timezones() is not None
                logging.getLogger("x").warning("printed nowhere")
                with open(os.devnull, "w") as null: null.write("x")
                try:
                    tempfile.mkstemp()
                except FileNotFoundError as error:
                    assert "No usable temporary directory" in str(error)
                else:
                    raise AssertionError
                try:
                    urllib.request.urlopen("http://127.0.0.1/", timeout=1)
                except OSError as error:
                    assert "not permitted" in str(error), error
                import importlib
                assert importlib.import_module("xml.etree.ElementTree").fromstring("<a/>").tag == "a"
                return True
            import os
        """
        with packs.Layer([source]) as layer, Host(layer.path) as host:
            results, _ = host.batch([("Test", b"{}", [0])])
        self.assertIn("match", results[0][0], results)


if __name__ == "__main__":
    unittest.main()

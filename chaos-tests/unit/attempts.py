"""The attempts of the hostile pack: each wants one thing that the sandbox or the unit has to refuse.

The body of an attempt is Python that runs in a rule, or at the top level of a rule's file. It returns what it got; the empty value, or an
exception, means that it got nothing. Names in a body: `T` (the targets, see `targets` in drill.py), `call` (a system call by its name),
`token(what)` (a text that names this attempt, for files that it makes and bytes that it sends). What an attempt returns is one of two
pieces of evidence: the drill also looks for effects from outside, and those count whatever the attempt says.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attempt:
    """One attempt. `remains`: docs/security.md lists it as possible. `loading`: it runs while the file is loaded. `alone`: an ordinary
    process must not try it, because it would end the whole drill."""

    name: str
    corner: str
    body: str
    remains: bool = False
    loading: bool = False
    alone: bool = False

    @property
    def rule(self) -> str:
        """Identity of the rule, and of the file that holds it."""
        return "hostile_" + "".join(letter if letter.isalnum() else "_" for letter in self.name.lower())


def _of(corner: str, bodies: dict[str, str], **options: bool) -> list[Attempt]:
    return [Attempt(name, corner, body, **options) for name, body in bodies.items()]


ATTEMPTS = [
    *_of(
        "files",
        {
            "read the sealing key": "return open(T['data'] + '/sealing.key', 'rb').read()",
            "read a file of the data folder": "return open(T['canary']).read()",
            "read the node's configuration": "return open(T['configuration']).read()",
            "read a file through /proc/self/root": "return open('/proc/self/root' + T['canary']).read()",
            "read a file through an O_PATH descriptor": "return open(f\"/proc/self/fd/{os.open(T['canary'], os.O_PATH)}\").read()",
            "list the data folder": "return os.listdir(T['data'])",
            "list the objects": "return [name for _, _, names in os.walk(T['data'] + '/objects') for name in names]",
            "read /etc/shadow": "return open('/etc/shadow').read()",
            "read another user's file": "return open(T['of another user']).read()",
            "read a root file": "return open(T['of root']).read()",
            "write into the data folder": "open(token(T['data'] + '/'), 'w').write('x'); return True",
            "write into /tmp": "open(token('/tmp/'), 'w').write('x'); return True",
            "write into /var/tmp": "open(token('/var/tmp/'), 'w').write('x'); return True",
            "write into /dev/shm": "open(token('/dev/shm/'), 'w').write('x'); return True",
            "write into the runtime folder": "open(token(T['runtime'] + '/'), 'w').write('x'); return True",
            "write into a home folder": "open(token(T['home'] + '/'), 'w').write('x'); return True",
            "write into its own layer": "open(T['layer'](), 'a').write('# intruder'); return True",
            "make a link to a key": "os.symlink(T['canary'], token('/tmp/')); return True",
            "make a hard link to a key": "os.link(T['canary'], token(T['data'] + '/')); return True",
            "make a named pipe": "os.mkfifo(token(T['data'] + '/')); return True",
            "truncate a file": "os.truncate(T['canary'], 0); return True",
            "delete a file": "os.remove(T['canary']); return True",
            "rename a file": "os.rename(T['canary'], token(T['data'] + '/')); return True",
            "change the mode of a file": "os.chmod(T['canary'], 0o777); return True",
            "change the times of a file": "os.utime(T['canary'], (1, 1)); return True",
            "set an extended attribute": "os.setxattr(T['canary'], 'user.intruder', b'x'); return True",
            "set the flags of its own file": "import fcntl\n"
            "flags = fcntl.ioctl(os.open(T['layer'](), os.O_RDONLY), 0x80086601, bytes(8))\n"
            "fcntl.ioctl(os.open(T['layer'](), os.O_RDONLY), 0x40086602, bytes([flags[0] | 0xC0]) + flags[1:]); return True",
            "take a lease on its own file": "import fcntl\nfcntl.fcntl(os.open(T['layer'](), os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK); return True",
            "watch names in the data folder": "watch = call('inotify_init1', 0o4000)\n"
            "call('inotify_add_watch', watch, T['data'].encode(), 0xFFF)\n"
            "end = time.monotonic() + 3\n"
            "while time.monotonic() < end:\n"
            "    try: return os.read(watch, 4096)\n"
            "    except BlockingIOError: time.sleep(0.1)\n"
            "return 'a watch, without an event in 3 s'",
            "write to the control group": "open('/sys/fs/cgroup/cgroup.procs', 'w').write('0'); return True",
            "make a control group": "os.mkdir(token('/sys/fs/cgroup/')); return True",
            "write a kernel setting": "open('/proc/sys/kernel/core_pattern', 'w').write('|/bin/false'); return True",
            "open a pseudoterminal": "return os.open('/dev/ptmx', os.O_RDWR)",
            "open the console": "return os.open('/dev/console', os.O_WRONLY) or True",
        },
    ),
    *_of(
        "files",
        {
            "write the buffers of all files": "return call('sync') or 'written'",
            "freeze the file system": "import fcntl\nreturn fcntl.ioctl(os.open(T['layer'](), os.O_RDONLY), 0xC0045877, 0) or 'frozen'",
        },
        alone=True,
    ),
    *_of("files", {"learn that a file exists": "return os.stat(T['canary']).st_size"}, remains=True),
    *_of("processes", {"learn that a process exists": "return os.getpgid(T['daemon'])"}, remains=True),
    *_of(
        "environment",
        {
            "read the daemon's environment": "return open(f\"/proc/{T['daemon']}/environ\").read()",
            "read its parent's environment": "return open(f'/proc/{os.getppid()}/environ').read()",
            "read the environment of process 1": "return open('/proc/1/environ').read()",
            "find a secret in its own environment": "return [f'{k}={v}' for k, v in os.environ.items() if 'CANARY' in k or 'SECRET' in k or 'NOTIFY' in k]",
            "read the daemon's arguments": "return open(f\"/proc/{T['daemon']}/cmdline\").read()",
            "list processes": "return [name for name in os.listdir('/proc') if name.isdigit()]",
        },
    ),
    *_of(
        "memory",
        {
            "read the daemon's memory by /proc": "return open(f\"/proc/{T['daemon']}/mem\", 'rb').fileno()",
            "read its parent's memory by /proc": "return open(f'/proc/{os.getppid()}/mem', 'rb').fileno()",
            "read its parent's memory by a call": "return call('process_vm_readv', os.getppid(), 0, 0, 0, 0, 0) or 'called'",
            "read the bystander's memory by a call": "return call('process_vm_readv', T['bystander'], 0, 0, 0, 0, 0) or 'called'",
            "trace the daemon": "return call('ptrace', 16, T['daemon'], 0, 0) or 'attached'",
            "trace the bystander": "return call('ptrace', 16, T['bystander'], 0, 0) or 'attached'",
            "trace itself for its parent": "return call('ptrace', 0, 0, 0, 0) or 'traced'",
            "compare descriptors with its parent": "return call('kcmp', os.getpid(), os.getppid(), 0, 0, 0) or 'compared'",
            "use memory behind its limit": "held = []\nwhile True: held.append(bytearray(64 << 20))",
            "use memory in a file without a name": "made = os.memfd_create('intruder'); os.ftruncate(made, 64 << 20); return os.fstat(made).st_size",
            "share memory by number": "return call('shmget', 4711, 4096, 0o1600)",
            "share memory by name": "from multiprocessing import shared_memory\nreturn shared_memory.SharedMemory('intruder-memory', True, 4096).name",
        },
    ),
    *_of(
        "descriptors",
        {
            "take a descriptor of the daemon": "return call('pidfd_getfd', call('pidfd_open', T['daemon'], 0), 0, 0)",
            "find a descriptor of the daemon by its peer": "import socket\n"
            "for number in range(3, 256):\n"
            "    try: one = socket.socket(fileno=os.dup(number))\n"
            "    except OSError: continue\n"
            "    try: got = int.from_bytes(one.getsockopt(socket.SOL_SOCKET, 77, 4), 'little')\n"
            "    except OSError: continue\n"
            "    try: return call('pidfd_getfd', got, 0, 0)\n"
            "    finally: os.close(got)",
            "find an inherited file": "return [found for found in map(inherited, range(3, 256)) if found]",
            "open a file by its handle": "return call('open_by_handle_at', -100, bytes(24), 0)",
            "own a descriptor for the daemon": "import fcntl, socket\nreturn fcntl.fcntl(socket.socketpair()[0], fcntl.F_SETOWN, T['daemon']) or 'owned'",
        },
    ),
    *_of(
        "sockets",
        {
            "connect to the admin socket": "import socket\nsocket.socket(socket.AF_UNIX).connect(T['socket']); return True",
            "connect to a TCP port": "import socket\nsocket.create_connection(('127.0.0.1', T['port']), 2).sendall(token().encode()); return True",
            "connect to the ingest port": "import http.client\nmade = http.client.HTTPConnection('127.0.0.1', T['ingest'], timeout=2); made.request('GET', '/metrics'); return made.getresponse().read(99)",
            "connect over IPv6": "import socket\nsocket.create_connection(('::1', T['port']), 2).sendall(token().encode()); return True",
            "send a UDP datagram": "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(token().encode(), ('127.0.0.1', T['port'])); return True",
            "listen on a TCP port": "import socket\nreturn socket.create_server(('127.0.0.1', 0)).getsockname()",
            "connect to a Unix socket": "import socket\nmade = socket.socket(socket.AF_UNIX); made.connect(T['unix']); made.sendall(token().encode()); return True",
            "connect to an abstract socket": "import socket\nmade = socket.socket(socket.AF_UNIX); made.connect('\\0' + T['abstract']); made.sendall(token().encode()); return True",
            "send a datagram by a pair": "import socket\nmade, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); made.sendto(token().encode(), T['datagram']); return True",
            "connect to the system bus": "import socket\nmade = socket.socket(socket.AF_UNIX); made.connect('/run/dbus/system_bus_socket'); return True",
            "connect to systemd": "import socket\nmade = socket.socket(socket.AF_UNIX); made.connect('/run/systemd/private'); return True",
            "send a state to systemd": "import socket\nsocket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'STATUS=intruder', '/run/systemd/notify'); return True",
            "write to the journal": "import socket\nsocket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'MESSAGE=intruder', '/run/systemd/journal/socket'); return True",
            "speak netlink": "import socket\nreturn socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).fileno()",
            "open a raw socket": "import socket\nreturn socket.socket(socket.AF_PACKET, socket.SOCK_RAW).fileno()",
            "open a vsock": "import socket\nreturn socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).fileno()",
            "open a socket to the kernel's ciphers": "import socket\nreturn socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).fileno()",
            "open a socket by a call": "return call('socket', 1, 1, 0)",
            "make calls by a ring": "return call('io_uring_setup', 1, bytes(120))",
            "resolve a name": "import socket\nreturn socket.getaddrinfo('example.invalid', 80)",
        },
    ),
    *_of(
        "processes",
        {
            "fork": "import _posixsubprocess\nreturn os.fork()",
            "fork by a call": "child = call('clone', 17, 0, 0, 0, 0)\nif child == 0: time.sleep(30); os._exit(0)\nreturn child",
            "fork by the newer call": "return call('clone3', bytes(88), 88)",
            "start a program": "import subprocess\nreturn subprocess.run(['/bin/echo', token()], capture_output=True).stdout",
            "start a program by a call": "return call('execve', b'/bin/true', 0, 0)",
            "start a program from memory": "made = os.memfd_create('intruder'); return call('execveat', made, b'', 0, 0, 0x1000)",
            "start a thread": "import threading\none = threading.Thread(target=time.sleep, args=(30,)); one.start(); return one.native_id",
            "start a thread by a call": "child = call('clone', 0x10F00, 0, 0, 0, 0)\nreturn child",
            "start a session": "os.setsid(); return True",
            "enter another group": "os.setpgid(0, os.getppid()); return True",
            "call C": "import ctypes\nreturn ctypes.CDLL(None).getpid()",
            "leave its namespaces": "return call('unshare', 0x10000000) or 'left'",
            "enter the namespaces of process 1": "return call('setns', call('pidfd_open', 1, 0), 0x20000) or 'entered'",
            "mount a file system": "return call('mount', b'none', b'/tmp', b'tmpfs', 0, 0) or 'mounted'",
            "change the root": "return call('chroot', b'/') or 'changed'",
            "become another user": "os.setuid(1); return True",
            "become root": "os.setresuid(0, 0, 0); return True",
            "take capabilities": "return call('capset', bytes([0x22, 5, 8, 0x20, 0, 0, 0, 0]) + bytes(0), b'\\xff' * 24) or 'taken'",
            "load a program into the kernel": "return call('bpf', 5, bytes(120), 120)",
            "measure the kernel": "return call('perf_event_open', bytes(120), 0, -1, -1, 0)",
            "handle page faults": "return call('userfaultfd', 1)",
            "read the kernel's keys": "return call('keyctl', 0, -3, 1)",
            "add a key": "return call('add_key', b'user', b'intruder', b'x', 1, -3)",
            "read the kernel's log": "return call('syslog', 10, 0, 0)",
            "raise its limits": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1)); return True",
            "limit the daemon": "import resource\nresource.prlimit(T['daemon'], resource.RLIMIT_NOFILE, (3, 3)); return True",
            "raise its priority": "os.setpriority(os.PRIO_PROCESS, 0, -10); return True",
            "lower the daemon's priority": "os.setpriority(os.PRIO_PROCESS, T['daemon'], 19); return True",
            "become a real-time process": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); return True",
            "pin the daemon to a processor": "os.sched_setaffinity(T['daemon'], [0]); return True",
            "change the priority of the daemon's disk": "return call('ioprio_set', 1, T['daemon'], 3 << 13) or 'changed'",
            "dump its memory": "import resource\nresource.setrlimit(resource.RLIMIT_CORE, (-1, -1)); return True",
            "change how the kernel runs it": "return call('personality', 0x0040000) or 'changed'",
        },
    ),
    *_of(
        "signals",
        {
            "ask whether the daemon is there": "os.kill(T['daemon'], 0); return True",
            "kill the daemon": "os.kill(T['daemon'], 9); return True",
            "stop the daemon": "os.kill(T['daemon'], 19); return True",
            "kill its parent": "os.kill(os.getppid(), 9); return True",
            "kill its group": "os.killpg(0, 9); return True",
            "signal the bystander": "os.kill(T['bystander'], 10); return True",
            "queue a signal to the bystander": "return call('rt_sigqueueinfo', T['bystander'], 10, 0) or 'sent'",
            "signal the bystander by a descriptor": "return call('pidfd_send_signal', call('pidfd_open', T['bystander'], 0), 10, 0, 0) or 'sent'",
            "signal a thread of the daemon": "return call('tgkill', T['daemon'], T['daemon'], 15) or 'sent'",
        },
        alone=True,
    ),
    *_of("signals", {"kill every process": "os.kill(-1, 9); return True"}, alone=True),
    *_of(
        "time",
        {
            "set the clock": "time.clock_settime(time.CLOCK_REALTIME, time.time() + 3600); return True",
            "set the clock by the older call": "return call('settimeofday', bytes(16), 0) or 'set'",
            "slew the clock": "return call('adjtimex', (1).to_bytes(8, 'little') + bytes(200)) or 'slewed'",
            "wake the machine": "return time.clock_settime(9, time.time() + 5) or 'set'",
        },
    ),
    # From here on an attempt may end its worker: its effect is looked for from outside.
    *_of(
        "its own worker",
        {
            "sleep behind its time": "time.sleep(600); return True",
            "sleep and catch the interruption": "while True:\n    try: time.sleep(600)\n    except BaseException: pass",
            "switch the watch off and spin": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0); signal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass",
            "end its process": "os._exit(0)",
            "raise SystemExit": "sys.exit(0)",
            "abort": "os.abort()",
            "read address 0": "return call('crash')",
            "recurse without end": "def again(): return again()\nreturn again()",
            "return a text of 200 MB": "rule.odd = 'x' * (200 << 20); return None",
            "print without end": "for _ in range(200_000): print('intruder ' * 20)\nreturn None",
            "write to every descriptor": "for number in range(3, 256):\n    try: os.set_blocking(number, False); os.write(number, b'intruder\\n' * 400)\n    except OSError: pass\nreturn None",
            "close every descriptor": "os.closerange(0, 4096)",
            "return an object with a pickle of its own": "class Odd(str):\n    def __reduce__(self): return os.system, ('true',)\n    def __str__(self): return Odd('x')\n    __repr__ = __str__\nrule.odd = Odd('x'); return None",
            "change json for the next rule": "import json\njson.loads = json.dumps = lambda *_a, **_k: {'intruder': True}; return None",
            "change built-in names for the next rule": "import builtins\nbuiltins.len = lambda _: 0; builtins.str = lambda *_: 'intruder'; return None",
            "change hashlib for the next rule": "import hashlib\nhashlib.sha256 = hashlib.md5; return None",
            "change a helper for the next rule": "import shared_helper\nshared_helper.greeting = lambda _: 'intruder'; return None",
            "change os.environ for the next rule": "os.environ['INTRUDER'] = '1'; return None",
            "find objects of the runner": "import gc\nreturn [type(one).__name__ for one in gc.get_objects() if type(one).__name__ in ('Worker', 'Connection')]",
            "watch what others run": "import sys\nsys.settrace(lambda *_: None); return True",
        },
        alone=True,
    ),
    *_of(
        "while loading",
        {
            "read a key while loading": "return open(T['canary']).read()",
            "connect while loading": "import socket\nsocket.create_connection(('127.0.0.1', T['port']), 2).sendall(token().encode()); return True",
            "connect to the admin socket while loading": "import socket\nsocket.socket(socket.AF_UNIX).connect(T['socket']); return True",
            "write while loading": "open(token('/tmp/'), 'w').write('x'); return True",
            "start a program while loading": "return call('execve', b'/bin/true', 0, 0)",
            "kill the daemon while loading": "os.kill(T['daemon'], 9); return True",
            "detach a process while loading": "if call('clone', 17, 0, 0, 0, 0) == 0:\n    os.setsid()\n    call('name', b'intruder')\n    if call('clone', 17, 0, 0, 0, 0): os._exit(0)\n    time.sleep(900)\n    os._exit(0)\ntime.sleep(3)\nreturn None",
            "fork without end while loading": "while True: call('clone', 17, 0, 0, 0, 0); call('name', b'intruder')",
            "start threads without end while loading": "import _thread\nfor _ in range(5000): _thread.start_new_thread(time.sleep, (900,))\nreturn None",
        },
        loading=True,
        alone=True,
    ),
]  # fmt: skip

"""Where the drill runs: a Debian that systemd-nspawn boots, with the product installed as its unit, or this machine with a plain process."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,python3"
NEEDED = ("debootstrap", "systemd-nspawn", "nsenter")
BOOT_SECONDS, READY_SECONDS = 60, 90
# The most tasks of the daemon: TasksMax of the unit. On a machine whose control groups are of version 1, systemd cannot set it in a
# container, and without systemd nothing does; the drill sets it then, because some attempts start as many processes as they can.
MOST_TASKS = 4096
TASKS_GROUPS = Path("/sys/fs/cgroup/pids")
# What systemd-nspawn itself refuses to the processes of a container must not be mistaken for the work of our sandbox. Of its two means one
# counts here. Its list of capabilities does not: the unit takes all capabilities from the daemon, and the plain control has the user's none
# either. Its filter of system calls does: each of these is let through, so that the kernel, the unit or the sandbox has to refuse.
LET_THROUGH = (
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp @keyring @debug @mount @clock @privileged @swap @raw-io @module @reboot @resources @setuid @ipc @io-event @memlock @pkey @timer "
    "bpf perf_event_open userfaultfd open_by_handle_at name_to_handle_at kcmp ptrace process_vm_readv process_vm_writev pidfd_getfd "
    "io_uring_setup io_uring_enter io_uring_register fanotify_init quotactl syslog vhangup lookup_dcookie"
)
# Its rights are those that it has by default, without those that could change this machine: the time, kernel modules, a new start.
HOME = "/home/other"


class CannotRun(Exception):
    """This machine lacks something that the drill needs."""


def unused(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600, **options)


def mirror() -> str:
    """The address from which apt of this machine takes its packages of the suite."""
    answer = unused(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(CODENAME) $(COMPONENT)"])
    for line in answer.stdout.splitlines():
        words = line.split()
        if len(words) == 4 and words[2] == SUITE and words[3] == "main":
            return words[0]
    raise CannotRun(f"apt of this machine has no source of Debian {SUITE}")


class Place:
    """A running pantherd with its pantherctl, and the user that it runs as."""

    user = "panther"

    def run(self, *words: object, user: str | None = None, text: str | None = None, timeout: float = 330) -> subprocess.CompletedProcess[str]:
        raise NotImplementedError

    def path(self, inside: str) -> Path:
        """A path of the place, as this process opens it."""
        raise NotImplementedError

    def pantherctl(self, *words: object) -> Any:
        answer = self.run(self.tool, "--json", "--socket", self.socket, *words)
        if answer.returncode != 0:
            raise RuntimeError(f"pantherctl {' '.join(map(str, words))} ended with {answer.returncode}: {answer.stdout[-1500:]}{answer.stderr[-1500:]}")
        return json.loads(answer.stdout)

    def process(self, number: int) -> dict[str, str]:
        """Fields of /proc/NUMBER/status; empty if it has ended."""
        try:
            lines = self.path(f"/proc/{number}/status").read_text().splitlines()
        except OSError:
            return {}
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def processes(self) -> dict[int, dict[str, str]]:
        """The processes of the daemon's user."""
        found = {}
        for entry in self.path("/proc").iterdir():
            if entry.name.isdigit():
                fields = self.process(int(entry.name))
                if fields.get("Uid", "").split()[:1] == [str(self.uid)]:
                    found[int(entry.name)] = fields
        return found

    def engine(self) -> dict[int, dict[str, str]]:
        """The processes that descend from the daemon."""
        all_of_it, daemon = self.processes(), self.daemon()
        found: dict[int, dict[str, str]] = {}
        while True:
            more = {n: f for n, f in all_of_it.items() if n not in found and (int(f["PPid"]) == daemon or int(f["PPid"]) in found)}
            if not more:
                return found
            found |= more


class Booted(Place):
    """The unit in a container with systemd."""

    name = "under the booted unit"
    data, runtime, socket, configuration = "/var/lib/panther", "/run/panther", "/run/panther/pantherd.sock", "/etc/panther/pantherd.toml"
    tool, ingest = "/usr/bin/pantherctl", 8686

    def __init__(self, binaries: Path, sources: Path, folder: Path, tree: Path | None) -> None:
        self.binaries, self.sources, self.folder = binaries, sources, folder
        self.tree = tree or folder / "tree"
        self.machine: subprocess.Popen[bytes] | None = None
        self.group: Path | None = None
        lacking = [name for name in NEEDED if shutil.which(name) is None]
        if os.geteuid() != 0:
            raise CannotRun("only root can boot a container")
        if lacking:
            raise CannotRun(f"there is no {' and no '.join(lacking)} (Debian: debootstrap, systemd-container, util-linux)")

    def begin(self) -> None:
        if not (self.tree / "usr/bin/python3").exists():
            print(f"making a Debian {SUITE} in {self.tree} ...", flush=True)
            with open(self.folder / "debootstrap.log", "wb") as log:
                made = subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(self.tree), mirror()], stdout=log, stderr=log)
            if made.returncode != 0:
                raise CannotRun(f"debootstrap ended with {made.returncode}; see {log.name}")
            for archive in (self.tree / "var/cache/apt/archives").glob("*.deb"):
                archive.unlink()
        # An overlay in memory: the tree stays as it is, and the disk of this machine may be full.
        command = ["systemd-nspawn", "--directory", str(self.tree), "--boot", "--volatile=overlay", "--private-network", "--register=no", "--keep-unit"]
        command += ["--machine", f"drill{os.getpid()}", "--console=pipe", f"--system-call-filter={LET_THROUGH}", "--setenv=SYSTEMD_COLORS=0"]
        self._bound()
        with open(self.folder / "boot.log", "wb") as log:
            self.machine = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}, start_new_session=True
            )
        self._unbound()
        if not _within(BOOT_SECONDS, self._running):
            said = (self.folder / "boot.log").read_text(errors="replace")[-1500:]
            raise CannotRun(f"systemd-nspawn has not booted the tree within {BOOT_SECONDS} s: {said}")

    def _bound(self) -> None:
        """The limit of tasks for the container, where its systemd cannot set that of the unit."""
        if not (TASKS_GROUPS / "cgroup.procs").exists():
            return
        self.group = TASKS_GROUPS / f"drill-{os.getpid()}"
        self.group.mkdir()
        (self.group / "pids.max").write_text(str(MOST_TASKS))
        (self.group / "cgroup.procs").write_text(str(os.getpid()))

    def _unbound(self) -> None:
        if self.group is not None:
            (TASKS_GROUPS / "cgroup.procs").write_text(str(os.getpid()))

    def _removed(self) -> bool:
        try:
            self.group.rmdir()
        except OSError:
            return False  # what ran in it is still being cleared away
        return True

    def _running(self) -> bool:
        assert self.machine is not None
        children = Path(f"/proc/{self.machine.pid}/task/{self.machine.pid}/children").read_text().split() if self.machine.poll() is None else []
        if self.machine.poll() is not None:
            raise CannotRun(f"systemd-nspawn ended with {self.machine.returncode}: {(self.folder / 'boot.log').read_text(errors='replace')[-1500:]}")
        if not children:
            return False
        self.leader = children[0]
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def path(self, inside: str) -> Path:
        return Path(f"/proc/{self.leader}/root") / inside.lstrip("/")

    def run(self, *words: object, user: str | None = None, text: str | None = None, timeout: float = 330) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "--target", self.leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
        if user is not None:
            enter += ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
        return subprocess.run([*enter, *map(str, words)], input=text or "", capture_output=True, text=True, errors="replace", timeout=timeout, env=environment)

    def must(self, *words: object) -> str:
        answer = self.run(*words)
        if answer.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, words))} ended with {answer.returncode}: {answer.stdout}{answer.stderr}")
        return answer.stdout

    def ordinary(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Runs a program as the daemon's user, confined by nothing but the container."""
        # By systemd, and not by nsenter: what systemd-nspawn refuses to its container has to be refused here too.
        return self.run("systemd-run", "--quiet", "--pipe", "--wait", f"--uid={self.user}", *words)

    def install(self, secrets: dict[str, str]) -> None:
        """As a user installs it: binaries, unit, user and folders, configuration."""
        deploy = self.sources / "deploy"
        copies = [(self.binaries / name, f"/usr/bin/{name}") for name in ("pantherd", "pantherctl")]
        copies += [(deploy / "systemd/pantherd.service", "/usr/lib/systemd/system/pantherd.service")]
        for kind in ("sysusers.d", "tmpfiles.d"):
            copies += [(file, f"/usr/lib/{kind}/{file.name}") for file in (deploy / "systemd" / kind).iterdir()]
        self.path("/etc/panther").mkdir()
        copies.append((deploy / "pantherd.toml", self.configuration))
        for source, target in copies:
            shutil.copy(source, self.path(target))
        with open(self.path(self.configuration), "a") as configuration:
            configuration.write(f"\n# {secrets['configuration']}\n")
        self.must("systemd-sysusers")
        self.must("systemd-tmpfiles", "--create")
        self.uid = int(self.must("id", "-u", self.user))
        # Another user, root, and the daemon have secrets of their own.
        for place, mode, text in ((HOME, 0o644, secrets["other"]), ("/root", 0o600, secrets["root"])):
            self.path(place).mkdir(exist_ok=True)
            self.path(f"{place}/canary").write_text(text)
            self.path(f"{place}/canary").chmod(mode)
        drop_in = self.path("/etc/systemd/system/pantherd.service.d")
        drop_in.mkdir(parents=True)
        (drop_in / "drill.conf").write_text(f"[Service]\nEnvironment=CANARY={secrets['environment']}\n")
        self.must("systemctl", "daemon-reload")

    def start(self) -> None:
        # `start` of a unit of Type=notify returns when the daemon is ready.
        self.must("systemctl", "enable", "--now", "pantherd.service")

    def property(self, name: str) -> str:
        return self.must("systemctl", "show", "--property", name, "--value", "pantherd.service").strip()

    def daemon(self) -> int:
        return int(self.property("MainPID"))

    def restarts(self) -> int:
        return int(self.property("NRestarts"))

    def log(self) -> str:
        return self.run("journalctl", "--unit", "pantherd.service", "--no-pager", "--output", "cat").stdout

    def said_by_unit(self) -> list[str]:
        """What the daemon's process is confined by, as the kernel shows it, and faults of that."""
        fields, root = self.process(self.daemon()), self.path(f"/proc/{self.daemon()}/root")
        wanted = {"NoNewPrivs": "1", "Seccomp": "2", "CapBnd": "0" * 16, "CapEff": "0" * 16}
        wrong = [f"{name} is {fields.get(name)}, not {value}" for name, value in wanted.items() if fields.get(name) != value]
        if int(fields.get("Uid", "0").split()[0]) == 0:
            wrong.append("it runs as root")
        if (root / "home/other").exists() or (root / "root/canary").exists():
            wrong.append("it sees /home or /root")
        if (root / "dev/console").exists() or (root / "tmp").samefile(self.path("/tmp")):
            wrong.append("it has the machine's /dev or /tmp")
        return wrong

    def stop(self) -> None:
        self.must("systemctl", "stop", "pantherd.service")

    def end(self) -> None:
        if self.machine is not None and self.machine.poll() is None:
            self.machine.send_signal(signal.SIGTERM)
            try:
                self.machine.wait(30)
            except subprocess.TimeoutExpired:
                self.machine.kill()
                self.machine.wait()
        if self.group is not None and self.group.exists():
            _within(10, self._removed)


class Plain(Place):
    """A process of an unprivileged user on this machine, without systemd."""

    name = "a plain process"
    UID = 31_300

    def __init__(self, binaries: Path, sources: Path, folder: Path) -> None:
        self.binaries, self.folder = binaries, folder
        if os.geteuid() != 0:
            raise CannotRun("only root can start the daemon as a user of its own")
        self.uid, self.user = self.UID, str(self.UID)
        self.home = folder / "home"
        self.data, self.runtime = str(self.home / "data"), str(self.home / "run")
        self.socket, self.configuration = self.runtime + "/pantherd.sock", str(self.home / "pantherd.toml")
        self.tool, self.ingest = str(binaries / "pantherctl"), 0
        self.process_of_daemon: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        self.folder.chmod(0o755)
        self.home.mkdir()
        for place in (self.home, Path(self.data), Path(self.runtime)):
            place.mkdir(mode=0o750, exist_ok=True)
            os.chown(place, self.uid, self.uid)

    def path(self, inside: str) -> Path:
        return Path(inside)

    def run(self, *words: object, user: str | None = None, text: str | None = None, timeout: float = 330) -> subprocess.CompletedProcess[str]:
        as_user = {"user": int(user), "group": int(user), "extra_groups": []} if user is not None else {}
        return subprocess.run(list(map(str, words)), input=text or "", capture_output=True, text=True, errors="replace", timeout=timeout, **as_user)

    def install(self, secrets: dict[str, str]) -> None:
        Path(self.configuration).write_text(f"# {secrets['configuration']}\n")
        os.chown(self.configuration, self.uid, self.uid)
        for name, mode in (("other", 0o644), ("root", 0o600)):
            (self.folder / name).mkdir()
            (self.folder / name / "canary").write_text(secrets[name])
            (self.folder / name / "canary").chmod(mode)
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.home), "LANG": "C.UTF-8", "CANARY": secrets["environment"]}

    def start(self) -> None:
        log = self.home / "pantherd.log"
        command = [self.binaries / "pantherd", "--config", self.configuration, "--data-dir", self.data, "--socket", self.socket]
        with open(log, "ab") as out:
            self.process_of_daemon = subprocess.Popen(
                ["prlimit", f"--nproc={MOST_TASKS}", *map(str, command), "--ingest", "127.0.0.1:0", "--log-format", "json"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.environment, user=self.uid, group=self.uid, extra_groups=[],
            )  # fmt: skip
        if not _within(READY_SECONDS, lambda: '"message":"ready"' in self.log()):
            raise RuntimeError(f"pantherd is not ready within {READY_SECONDS} s: {self.log()[-1500:]}")
        self.ingest = int(re.search(r"http://127\.0\.0\.1:(\d+)/ingest", self.log())[1])

    def daemon(self) -> int:
        assert self.process_of_daemon is not None
        return self.process_of_daemon.pid

    def restarts(self) -> int:
        return 0 if self.process_of_daemon is not None and self.process_of_daemon.poll() is None else 1

    def log(self) -> str:
        file = self.home / "pantherd.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def said_by_unit(self) -> list[str]:
        return []

    def stop(self) -> None:
        if self.process_of_daemon is not None:
            self.process_of_daemon.terminate()
            self.process_of_daemon.wait(90)

    def end(self) -> None:
        if self.process_of_daemon is not None and self.process_of_daemon.poll() is None:
            self.process_of_daemon.kill()
            self.process_of_daemon.wait()


def _within(seconds: float, probe: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if probe():
            return True
        time.sleep(0.2)
    return False

"""A cluster of two nodes, and the folder of a third, removed node."""

import json
import re
import signal
import socket
import subprocess
from pathlib import Path

from harness.pantherctl import CommandFailed, Pantherctl, environment
from harness.polling import until

STOP_SECONDS = 40.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Node:
    """One pantherd with its own cluster port, ingest port, socket and folder."""

    def __init__(self, binaries: Path, folder: Path, name: str, objects: Path) -> None:
        home = folder / name
        home.mkdir()
        self.name, self.data, self.log = name, home / "data", home / "pantherd.log"
        self.socket, self.cluster_port, self.ingest_port = home / "pantherd.sock", free_port(), free_port()
        self.pantherctl = Pantherctl(binaries, self.socket)
        # A body is answered when the bodies of its batch are stored, so batches must be short if the answers are timed.
        (home / "pantherd.toml").write_text(
            f"[node]\nname = {json.dumps(name)}\n[cluster]\nlisten = \"127.0.0.1:{self.cluster_port}\"\n"
            f"[objects]\nurl = {json.dumps(objects.as_uri())}\n[python]\nworkers = 1\n[ingest]\nbatch_ms = 200\n"
        )
        self._command = [
            str(binaries / "pantherd"),
            *("--config", str(home / "pantherd.toml"), "--data-dir", str(self.data), "--socket", str(self.socket)),
            *("--ingest", f"127.0.0.1:{self.ingest_port}", "--log-format", "json"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(self._command, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(f"{self.name} is ready", self._ready, got=self.tail)

    def join(self, token: str) -> None:
        """Joins the cluster that has created the invitation."""
        done = subprocess.run([*self._command, "join", "-"], env=environment(), input=token, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise CommandFailed(f"pantherd join ended with exit code {done.returncode}: {done.stderr}")

    def _ready(self) -> bool:
        if not self.runs():
            raise CommandFailed(f"{self.name} ended: {self.tail()}")
        return '"ready"' in self.log.read_text(errors="replace")

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> int | None:
        """Stops it gracefully, or kills it after a timeout. Returns its exit code."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self._process.returncode

    def memory(self) -> dict[str, float]:
        """Resident memory now and its peak, in MB (10^6 bytes)."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return {}
        return {name: int(kilobytes) * 1024 / 1e6 for name, kilobytes in re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status)}

    def forget_peak(self) -> None:
        """Resets the peak."""
        try:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        except OSError:
            pass  # then a scenario is measured by its own samples

    def panics(self) -> list[str]:
        return [line[:600] for line in self.log.read_text(errors="replace").splitlines() if "panicked" in line or "ended in a panic" in line]

    def tail(self) -> str:
        return " | ".join(line[:400] for line in self.log.read_text(errors="replace").splitlines()[-5:])

    def key_files(self) -> tuple[str, str]:
        """Its certificate and key, as used for other nodes."""
        return str(self.data / "keys" / "node.pem"), str(self.data / "keys" / "node.key")


class Cluster:
    """The attacked cluster, and the certificates of the attackers."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries, self.folder, self.objects = binaries, folder, folder / "objects"
        self.objects.mkdir()
        self.first = Node(binaries, folder, "first", self.objects)
        self.removed = Node(binaries, folder, "removed", self.objects)
        self.second = Node(binaries, folder, "second", self.objects)
        self.foreign: Node | None = None
        self.cluster, self.numbers = "", {"first": 1}

    @property
    def nodes(self) -> tuple[Node, Node]:
        return self.first, self.second

    def start(self) -> None:
        self.first.start()
        self._join(self.removed)
        self.first.pantherctl.call("cluster", "remove", self.numbers["removed"], "--yes", "--wait=60s")
        self.removed.stop()
        self._join(self.second)
        self._foreign()

    def _join(self, node: Node) -> None:
        node.join(self.first.pantherctl.call("cluster", "invite")["token"])
        node.start()
        status = node.pantherctl.call("cluster", "status")
        self.numbers[node.name] = status["node"]
        until(f"{node.name} is a member", lambda: self._is_member(status["node"]))
        identity = (node.data / "identity").read_text()
        self.cluster = re.findall(r'cluster = "([^"]+)"', identity)[0]

    def _is_member(self, number: int) -> bool:
        nodes = self.first.pantherctl.call("cluster", "status")["nodes"]
        return any(node["node"] == number and node["standing"] == "member" for node in nodes)

    def _foreign(self) -> None:
        """A cluster of one node. Its certificate is valid only in that other cluster."""
        objects = self.folder / "foreign-objects"
        objects.mkdir()
        foreign = Node(self.binaries, self.folder, "foreign", objects)
        foreign.start()
        foreign.stop()
        self.foreign = foreign

    def stop(self) -> list[str]:
        """Stops all nodes. Returns the problems."""
        wrong = []
        for node in (self.second, self.first):
            code = node.stop()
            if code not in (0, None):
                wrong.append(f"{node.name} stopped with exit code {code}: {node.tail()}")
        self.removed.stop()
        return wrong

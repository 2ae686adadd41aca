"""A pantherd in a fresh folder, driven by pantherctl and by its HTTP door, as a user would.

Everything that knows how the product is called or where it keeps stored events stands in this file.
"""

import gzip
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.pantherctl import CommandFailed, Pantherctl, environment
from harness.polling import pause, until

INPUT_QUEUE = "panther-input-data-notifications-queue"
INPUT_DLQ = INPUT_QUEUE + "-dlq"
STOP_SECONDS = 30.0
# Nothing waits in any queue and no count of a source has changed for this long: nothing more comes. Longer than the
# slowest door: HTTP gathers bodies for 1 s, a folder is looked at every few seconds. Wrong outcomes alone take it.
QUIET_SECONDS = 8.0
# The HTTP door puts together what comes within a second. Bodies of one test come this far apart, in a known order.
BETWEEN_BODIES_SECONDS = 0.1
# In the name of a file of stored events.
MESSAGE_AND_ATTEMPT = re.compile(r"-(?P<message>\d{16})-(?P<attempt>\d+)-")

_running: set["Node"] = set()
_running_lock = threading.Lock()


@dataclass(frozen=True)
class HttpSource:
    """What a sender needs to know of an http source."""

    url: str
    token: str


@dataclass(frozen=True)
class HttpAnswer:
    """What the HTTP door answered a sender."""

    status: int
    body: str


@dataclass(frozen=True)
class Ledger:
    """What became of the records of one source."""

    received: int
    stored: int
    quarantined: int
    filtered: int


@dataclass(frozen=True)
class DeadLetter:
    """A message that was given up, with the reason."""

    body: str
    reason: str


class Node:
    """One running pantherd with its own data, socket and port. As root it can be run as another user id."""

    def __init__(self, binaries: Path, folder: Path, user: int | None = None) -> None:
        self.folder, self.data, self.log = folder, folder / "data", folder / "pantherd.log"
        self.pantherctl = Pantherctl(binaries, folder / "pantherd.sock")
        # A configuration of its own, though empty: this machine's configuration is no part of a case.
        (folder / "pantherd.toml").write_text("")
        self._command = [
            str(binaries / "pantherd"),
            *("--config", str(folder / "pantherd.toml"), "--data-dir", str(self.data)),
            # Port 0: the operating system gives a free one, and the node tells senders which.
            *("--socket", str(folder / "pantherd.sock"), "--ingest", "127.0.0.1:0", "--log-format", "json"),
        ]
        self._user = user
        self.launch()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def launch(self) -> None:
        """Starts the process, also again after `kill`; `wait_ready` waits until it serves."""
        # An earlier process has said that it is ready, too.
        self._launched_at = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**environment(), "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
            )
        with _running_lock:
            _running.add(self)

    def wait_ready(self) -> None:
        until("pantherd is ready", self._ready, got=self.log_tail)

    def _ready(self) -> bool:
        if self._process.poll() is not None:
            raise CommandFailed(f"pantherd ended with exit code {self._process.returncode}: {self.log_tail()}")
        ready = next((entry for entry in self.log_entries(start=self._launched_at) if entry.get("message") == "ready"), None)
        if ready is None:
            return False
        self._ingest = ready["ingest"]
        return True

    def ingest_url(self, source: str) -> str:
        """Where senders of a source post to since the last start: the port changes with each."""
        return self._ingest.replace("SOURCE", source)

    def kill(self) -> None:
        """Ends the process with SIGKILL, so that it can save nothing."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stops the process in good order, by force if it takes too long."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        with _running_lock:
            _running.discard(self)

    # What the node says.

    def log_entries(self, levels: Iterable[str] | None = None, start: int = 0) -> Iterator[dict[str, Any]]:
        """What it has logged so far, optionally of some levels only, or from a byte of the log on."""
        for line in self.log.read_bytes()[start:].decode(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if levels is None or entry.get("level") in levels:
                yield entry

    def log_tail(self) -> str:
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-5:])

    def warnings(self) -> list[str]:
        """Its log entries of level WARN and ERROR, as text."""
        return [json.dumps(entry, ensure_ascii=False) for entry in self.log_entries(("WARN", "ERROR"))]

    def alarms(self) -> list[str]:
        """The alarms that are raised now, as text."""
        return [json.dumps(alarm, ensure_ascii=False) for alarm in self.pantherctl.call("alarms")["alarms"]]

    def state_of(self, source: str) -> str:
        """Everything that it says now of a source: the source's own state, and the alarms."""
        shown = [self.pantherctl.run("sources", "show", source, as_json=as_json).text() for as_json in (True, False)]
        return "\n".join([*shown, *self.alarms()])

    # Detections, outputs and alerts.

    def upload(self, pack: Path) -> None:
        self.pantherctl.call("detections", "upload", pack)

    def add_output(self, kind: str, name: str, target: object, *options: object) -> None:
        self.pantherctl.call("outputs", "add", kind, name, target, *options)

    def test_output(self, name: str) -> dict[str, Any]:
        """Sends a test alert; how its one delivery went. A delivery that failed is an answer too."""
        response: dict[str, Any] = self.pantherctl.run("outputs", "test", name).json()["responses"][0]
        return response

    def alerts(self) -> list[dict[str, Any]]:
        summaries: list[dict[str, Any]] = self.pantherctl.call("alerts", "list", "--limit", "100")["alertSummaries"]
        return summaries

    # Sources.

    def add_http(self, name: str, *log_types: str) -> HttpSource:
        added = self.pantherctl.call("sources", "add", "http", name, "--log-types", ",".join(log_types))
        return HttpSource(added["ingestUrl"], added["token"])

    def add_folder(self, name: str, *log_types: str) -> Path:
        """A source for a new, empty folder; the folder."""
        watched = self.folder / f"watched-{name}"
        watched.mkdir()
        self.watch(name, watched, *log_types)
        return watched

    def watch(self, name: str, watched: Path, *log_types: str) -> None:
        """A source for a folder that is there."""
        self.pantherctl.call("sources", "add", "folder", name, watched, "--log-types", ",".join(log_types))

    def add_objects(self, name: str, prefix: str, *log_types: str) -> None:
        options = ("--prefix", prefix, "--log-types", ",".join(log_types))
        self.pantherctl.call("sources", "add", "objects", name, *options)

    def ledger(self, source: str) -> Ledger:
        for one in self.pantherctl.call("sources", "list")["integrations"]:
            if one["integrationLabel"] == source:
                return Ledger(one["received"], one["stored"], one["quarantined"], one["filtered"])
        raise CommandFailed(f"there is no source {source}")

    # What comes in.

    def post_together(self, source: HttpSource, bodies: list[bytes]) -> list[HttpAnswer]:
        """Posts each body on a connection of its own, in this order and all before the first answer."""
        url = urllib.parse.urlsplit(source.url)
        connections = [http.client.HTTPConnection(url.hostname or "", url.port, timeout=60) for _ in bodies]
        try:
            for connection, body in zip(connections, bodies, strict=True):
                # Sent at once, the door may take them in any order, and the order is what harms.
                time.sleep(BETWEEN_BODIES_SECONDS)
                connection.request("POST", url.path, body, {"Authorization": f"Bearer {source.token}"})
            responses = [connection.getresponse() for connection in connections]
            return [HttpAnswer(response.status, response.read().decode(errors="replace")) for response in responses]
        finally:
            for connection in connections:
                connection.close()

    def post(self, source: HttpSource, body: bytes) -> HttpAnswer:
        return self.post_together(source, [body])[0]

    def put_object(self, key: str, content: bytes) -> None:
        """Lays an object into the object store, as a log service lays it into a bucket."""
        place = self.data / "objects" / key
        place.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / "object").write_bytes(content)
        os.replace(self.folder / "object", place)

    def notify(self, message: str) -> None:
        """Sends the text of a notification to the input queue, as SQS brings it, and waits until it is done with."""
        self.pantherctl.call("queue", "send", INPUT_QUEUE, message)
        # A message that fails is tried four times within half a minute before it is a dead letter.
        until("the notification is done with", self.drained, 120, got=lambda: self.pantherctl.call("queue", "ls"))

    def drained(self) -> bool:
        """Nothing waits, is under way or is delayed, dead letters left aside."""
        queues = self.pantherctl.call("queue", "ls")["queues"]
        return not any(
            queue["waiting"] or queue["in_flight"] or queue["delayed"] for queue in queues if queue["kind"] != "dlq"
        )

    def dead_letters(self) -> list[DeadLetter]:
        """The notifications that were given up."""
        messages = self.pantherctl.call("queue", "peek", INPUT_DLQ, "--limit", "50")["messages"]
        return [DeadLetter(message["body"], message["last_error"]) for message in messages]

    def settle(self, source: str, records: int) -> Ledger:
        """Waits until `records` of a source are stored or quarantined and all queues are empty; or, where they do not
        come, until nothing has changed for a while. The ledger then; the case says whether it is right."""
        end = time.monotonic() + 120
        before, changed_at = None, time.monotonic()
        while True:
            ledger, drained, now = self.ledger(source), self.drained(), time.monotonic()
            if drained and ledger.stored + ledger.quarantined >= records:
                return self.ledger(source)
            if (ledger, drained) != before:
                before, changed_at = (ledger, drained), now
            if (drained and now - changed_at > QUIET_SECONDS) or now > end:
                return ledger
            pause()

    # What is stored.

    def events(self, log_type: str) -> list[dict[str, Any]]:
        """The stored events of a log type, in no order."""
        table = "".join(letter if letter.isalnum() else "_" for letter in log_type.lower())
        files = latest_attempts((self.data / "objects" / "logs" / table).glob("**/*.gz"))
        return [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


def latest_attempts(files: Iterable[Path]) -> list[Path]:
    """The files without those of attempts that were given up: they are left behind until they are swept.

    A file is named by its message and attempt. The ledger counts what is stored; this says which events they are.
    """
    attempts: dict[str, int] = {}
    named: list[tuple[Path, str, int]] = []
    for file in sorted(files):
        match = MESSAGE_AND_ATTEMPT.search(file.name)
        message, attempt = (match["message"], int(match["attempt"])) if match else (file.name, 0)
        named.append((file, message, attempt))
        attempts[message] = max(attempt, attempts.get(message, 0))
    return [file for file, message, attempt in named if attempt == attempts[message]]


def stop_all() -> None:
    """Stops every node that still runs: for a suite that is interrupted."""
    with _running_lock:
        nodes = list(_running)
    for node in nodes:
        node.stop()


def remove_folder(folder: Path) -> None:
    """Removes a case's folder, also where a case has taken rights away."""
    for parent, folders, _files in os.walk(folder):
        for place in (Path(parent) / name for name in folders):
            if not place.is_symlink():
                place.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)

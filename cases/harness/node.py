"""A pantherd in a fresh folder, driven by pantherctl and by its HTTP door, as a user would do.

Only this file contains knowledge of the product's commands and of the location of its stored events.
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
# If all queues are empty and no count of a source has changed for this time, no further data will arrive. The value is
# larger than the delay of the slowest door: HTTP batches bodies for 1 s, a folder is scanned every few seconds. Only
# wrong outcomes take this time.
QUIET_SECONDS = 8.0
# The HTTP door batches the bodies of one second. The bodies of one test are sent with this interval, in a known order.
BETWEEN_BODIES_SECONDS = 0.1
# A part of the name of a file of stored events.
MESSAGE_AND_ATTEMPT = re.compile(r"-(?P<message>\d{16})-(?P<attempt>\d+)-")

_running: set["Node"] = set()
_running_lock = threading.Lock()


@dataclass(frozen=True)
class HttpSource:
    """The data that a sender needs for an http source."""

    url: str
    token: str


@dataclass(frozen=True)
class HttpAnswer:
    """The answer of the HTTP door to a sender."""

    status: int
    body: str


@dataclass(frozen=True)
class Ledger:
    """The record counts of one source."""

    received: int
    stored: int
    quarantined: int
    filtered: int


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter, with the reason."""

    body: str
    reason: str


class Node:
    """One running pantherd with its own data, socket and port. As root it can be run as another user id."""

    def __init__(self, binaries: Path, folder: Path, user: int | None = None) -> None:
        self.folder, self.data, self.log = folder, folder / "data", folder / "pantherd.log"
        self.pantherctl = Pantherctl(binaries, folder / "pantherd.sock")
        # An explicit configuration, although it is empty: the configuration of this machine must not affect a case.
        (folder / "pantherd.toml").write_text("")
        self._command = [
            str(binaries / "pantherd"),
            *("--config", str(folder / "pantherd.toml"), "--data-dir", str(self.data)),
            # Port 0: the operating system assigns a free port, and the node reports it.
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
        # An earlier process has also logged that it is ready.
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
        """The address for senders of a source since the last start: the port changes with each start."""
        return self._ingest.replace("SOURCE", source)

    def kill(self) -> None:
        """Kills the process with SIGKILL, so that it cannot save anything."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stops the process gracefully, or kills it after a timeout."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        with _running_lock:
            _running.discard(self)

    # Reports of the node.

    def log_entries(self, levels: Iterable[str] | None = None, start: int = 0) -> Iterator[dict[str, Any]]:
        """Its log so far, optionally only of some levels, or from an offset in bytes."""
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
        """The raised alarms, as text."""
        return [json.dumps(alarm, ensure_ascii=False) for alarm in self.pantherctl.call("alarms")["alarms"]]

    def state_of(self, source: str) -> str:
        """All current reports about a source: the source's own state, and the alarms."""
        shown = [self.pantherctl.run("sources", "show", source, as_json=as_json).text() for as_json in (True, False)]
        return "\n".join([*shown, *self.alarms()])

    # Detections, outputs and alerts.

    def upload(self, pack: Path) -> None:
        self.pantherctl.call("detections", "upload", pack)

    def add_output(self, kind: str, name: str, target: object, *options: object) -> None:
        self.pantherctl.call("outputs", "add", kind, name, target, *options)

    def test_output(self, name: str) -> dict[str, Any]:
        """Sends a test alert. Returns the result of its single delivery, also if the delivery failed."""
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
        """Adds a source for a new, empty folder. Returns the folder."""
        watched = self.folder / f"watched-{name}"
        watched.mkdir()
        self.watch(name, watched, *log_types)
        return watched

    def watch(self, name: str, watched: Path, *log_types: str) -> None:
        """Adds a source for an existing folder."""
        self.pantherctl.call("sources", "add", "folder", name, watched, "--log-types", ",".join(log_types))

    def add_objects(self, name: str, prefix: str, *log_types: str) -> None:
        options = ("--prefix", prefix, "--log-types", ",".join(log_types))
        self.pantherctl.call("sources", "add", "objects", name, *options)

    def ledger(self, source: str) -> Ledger:
        for one in self.pantherctl.call("sources", "list")["integrations"]:
            if one["integrationLabel"] == source:
                return Ledger(one["received"], one["stored"], one["quarantined"], one["filtered"])
        raise CommandFailed(f"there is no source {source}")

    # Input.

    def post_together(self, source: HttpSource, bodies: list[bytes]) -> list[HttpAnswer]:
        """Posts each body on a connection of its own, in this order and all before the first answer."""
        url = urllib.parse.urlsplit(source.url)
        connections = [http.client.HTTPConnection(url.hostname or "", url.port, timeout=60) for _ in bodies]
        try:
            for connection, body in zip(connections, bodies, strict=True):
                # If they were sent at once, the door could accept them in any order, and the bug depends on the order.
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
        """Puts an object into the object store, as a log service puts it into a bucket."""
        place = self.data / "objects" / key
        place.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / "object").write_bytes(content)
        os.replace(self.folder / "object", place)

    def notify(self, message: str) -> None:
        """Sends the text of a notification to the input queue, as SQS delivers it, and waits until it is processed."""
        self.pantherctl.call("queue", "send", INPUT_QUEUE, message)
        # A message that fails has four attempts within half a minute before it becomes a dead letter.
        until("the notification is done with", self.drained, 120, got=lambda: self.pantherctl.call("queue", "ls"))

    def drained(self) -> bool:
        """True if no message waits, is in progress or is delayed; dead letters are not counted."""
        queues = self.pantherctl.call("queue", "ls")["queues"]
        return not any(
            queue["waiting"] or queue["in_flight"] or queue["delayed"] for queue in queues if queue["kind"] != "dlq"
        )

    def dead_letters(self) -> list[DeadLetter]:
        """The notifications that became dead letters."""
        messages = self.pantherctl.call("queue", "peek", INPUT_DLQ, "--limit", "50")["messages"]
        return [DeadLetter(message["body"], message["last_error"]) for message in messages]

    def settle(self, source: str, records: int) -> Ledger:
        """Waits until `records` of a source are stored or quarantined and all queues are empty, or until no
        count has changed for a while. Returns the ledger at that time; the case decides whether it is right."""
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

    # Stored data.

    def events(self, log_type: str) -> list[dict[str, Any]]:
        """The stored events of a log type, in arbitrary order."""
        table = "".join(letter if letter.isalnum() else "_" for letter in log_type.lower())
        files = latest_attempts((self.data / "objects" / "logs" / table).glob("**/*.gz"))
        return [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


def latest_attempts(files: Iterable[Path]) -> list[Path]:
    """The files without those of abandoned attempts, which remain until they are swept.

    A file is named by its message and attempt. The ledger gives the number of stored events; the files give the
    events.
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
    """Removes a case's folder, even if a case has removed permissions."""
    for parent, folders, _files in os.walk(folder):
        for place in (Path(parent) / name for name in folders):
            if not place.is_symlink():
                place.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)

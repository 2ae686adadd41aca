"""The neighbour: honest callers of the attacked node, in a separate process so that attackers take no processor time from them.

It posts a line every tenth of a second on a connection of its own, and runs pantherctl once a second. It appends each result to a file as a
line of JSON, until standard input ends.
"""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POST_EVERY, ASK_EVERY = 0.1, 1.0
# A post that takes longer counts as failed, whatever its result is.
PATIENCE = 15.0
ASKED = (("status",), ("cluster", "status"), ("sources", "list"), ("alarms",), ("queue", "ls"))


@dataclass(frozen=True)
class Settings:
    """The targets of the neighbour."""

    port: int
    source: str
    token: str
    pantherctl: str
    socket: str
    notes: str


class Neighbour:
    """Posts and queries until it is stopped."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.stopped = settings, threading.Event()
        self.lock, self.file = threading.Lock(), open(settings.notes, "w", encoding="utf-8")

    def run(self) -> None:
        asking = threading.Thread(target=self.ask)
        asking.start()
        posts, number, due = [], 0, time.monotonic()
        while not self.stopped.wait(max(0.0, due - time.monotonic())):
            due = max(due + POST_EVERY, time.monotonic() - POST_EVERY)
            thread = threading.Thread(target=self.post, args=(number,))
            thread.start()
            posts, number = [one for one in posts if one.is_alive()] + [thread], number + 1
        for thread in [*posts, asking]:
            thread.join()
        self.file.close()

    def note(self, **what: Any) -> None:
        with self.lock:
            self.file.write(json.dumps(what) + "\n")
            self.file.flush()

    def post(self, number: int) -> None:
        """Posts one line until it is accepted. A failed attempt is recorded, and the line still has to be stored once."""
        for attempt in range(100):
            began = time.monotonic()
            failed = self.post_once(number)
            self.note(what="post", line=number, attempt=attempt, began=began, took=time.monotonic() - began, failed=failed)
            if failed is None:
                return
            time.sleep(0.5)
        self.note(what="lost", line=number, began=began, took=0.0, failed="never taken")

    def post_once(self, number: int) -> str | None:
        """The reason of a failure."""
        settings = self.settings
        connection = http.client.HTTPConnection("127.0.0.1", settings.port, timeout=PATIENCE)
        try:
            headers = {"Authorization": f"Bearer {settings.token}", "Idempotency-Key": f"line-{number}"}
            body = json.dumps({"id": f"line-{number}", "text": f"honest {number}"}).encode() + b"\n"
            connection.request("POST", f"/ingest/{settings.source}", body, headers)
            response = connection.getresponse()
            said = response.read().decode(errors="replace")
            return None if response.status == 200 else f"{response.status} {said[:200]}"
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()

    def ask(self) -> None:
        number = 0
        while not self.stopped.is_set():
            words, began = ASKED[number % len(ASKED)], time.monotonic()
            command = [self.settings.pantherctl, "--json", "--socket", self.settings.socket, *words]
            try:
                done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
                failed = None if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr.decode(errors='replace')[:200]}"
            except subprocess.TimeoutExpired:
                failed = "no answer within 60 s"
                done = None
            took = time.monotonic() - began
            self.note(what="ask", words=" ".join(words), began=began, took=took, failed=failed)
            if words == ("sources", "list") and failed is None and done is not None:
                sources = json.loads(done.stdout)["integrations"]
                stored = next(one["stored"] for one in sources if one["integrationLabel"] == self.settings.source)
                self.note(what="stored", line=stored, began=began, took=took, failed=None)
            number += 1
            self.stopped.wait(max(0.0, ASK_EVERY - took))


@dataclass(frozen=True)
class Noted:
    """Result of one attempt."""

    what: str
    began: float
    took: float
    failed: str | None
    line: int = -1
    words: str = ""


class Neighbourhood:
    """The neighbour's process, and its records."""

    def __init__(self, settings: Settings) -> None:
        self._notes = Path(settings.notes)
        self._process = subprocess.Popen([sys.executable, __file__, json.dumps(vars(settings))], stdin=subprocess.PIPE)

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(120)

    def notes(self) -> list[Noted]:
        if not self._notes.exists():
            return []
        text = self._notes.read_text(encoding="utf-8")
        named = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [Noted(one["what"], one["began"], one["took"], one["failed"], one.get("line", -1), one.get("words", "")) for one in named]


def longest_wait(notes: list[Noted]) -> float:
    """Upper bound of the time from the acceptance of a line to its storage, by the counts of `sources list`."""
    taken = sorted(one.began + one.took for one in notes if one.what == "post" and one.failed is None)
    longest = 0.0
    for seen in notes:
        # The first line that is not stored yet. Lines are stored in the order of their acceptance, except within one batch.
        if seen.what == "stored" and seen.line < len(taken):
            longest = max(longest, seen.began - taken[seen.line])
    return longest


def percentile(values: Iterable[float], share: float) -> float:
    """Quantile by nearest rank: the smallest value that is at least as large as this share of the values; 0 without values."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]


def main() -> None:
    neighbour = Neighbour(Settings(**json.loads(sys.argv[1])))

    def wait() -> None:
        sys.stdin.buffer.read()
        neighbour.stopped.set()

    threading.Thread(target=wait, daemon=True).start()
    neighbour.run()


if __name__ == "__main__":
    main()

"""Senders of the HTTP door: they post bodies, retry as docs/ingest.md documents, and record the expected results."""

import http.client
import json
import random
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable

from bodies import Bodies, Body
from forms import Good
from promises import Promises, Times

# A killed node must be back within this time; otherwise the run has failed.
PATIENCE_SECONDS = 120.0
TRY_AGAIN_SECONDS = 0.3


class Sender(threading.Thread):
    """One sender of one source. Its bodies depend only on its seed; their timing depends on the node."""

    def __init__(self, name: str, source: str, log_types: list[str], seed: str, url: Callable[[], str], token: str) -> None:
        super().__init__(name=name, daemon=True)
        self.source, self.url, self.token = source, url, token
        self.rng = random.Random(seed)
        self.bodies = Bodies(log_types, self.rng, name)
        self.promises: Promises | None = None
        # The sender ends after this number of bodies, if it has to send the same ones on any machine.
        self.most = sys.maxsize
        self.stop, self.sent, self.failure = threading.Event(), 0, ""

    def begin(self, promises: Promises) -> None:
        self.promises = promises
        self.start()

    def run(self) -> None:
        try:
            while not self.stop.is_set() and self.sent < self.most:
                self.one()
                self.stop.wait(self.rng.choice((0.0, 0.0, 0.02, 0.2)))
        except Exception as error:  # Said at the end of the run, with the seed.
            self.failure = f"sender {self.name}: {error!r}"

    def one(self) -> None:
        body = self.bodies.draw()
        self.sent += 1
        what = self.rng.random()
        if what < 0.03:
            self.broken_off(body)
        elif what < 0.05:
            self.empty()
        elif body.keyed:
            self.with_key(body)
        else:
            self.without_key(body)

    # Ways to send.

    def with_key(self, body: Body) -> None:
        """Retries until the body is accepted: it counts once, even if an answer was lost or it is sent once more."""
        key = f"{self.name}-{self.sent}"
        # Lines in flight may be stored before their sender gets the answer.
        self.promise(body, Times.AT_MOST_ONCE, None)
        again, another = self.rng.random() < 0.2, self.rng.random() < 0.1
        name = self.until_taken(body, key)
        self.promise(body, Times.ONCE, name)
        if again and self.until_taken(body, key) != name:
            raise AssertionError(f"the same body with the same key became another object than {name}")
        if another:
            self.used_key(key)

    def without_key(self, body: Body) -> None:
        """Sends once. Without an answer the body may or may not have been accepted."""
        self.promise(body, Times.AT_MOST_ONCE, None)
        status, answer = self.post(body.content, None)
        if status == 200:
            self.promise(body, Times.ONCE, json.loads(answer)["object"])
        elif status not in (0, 408, 429, 503):
            raise AssertionError(f"{body.kind} was answered {status}: {answer!r}")
        else:
            self.promises_of.add_unmarked(self.source, body.unmarked, body.dead, None)

    def used_key(self, key: str) -> None:
        """Another body under a used key is rejected, and nothing of it is stored."""
        other = self.bodies.readable(True)
        self.promises_of.add(self.source, other.good, other.marks, Times.NEVER, f"used key #{key}")
        status, answer = self.post(other.content, key)
        if status not in (0, 409, 429, 503):
            raise AssertionError(f"another body with a used key was answered {status}: {answer!r}")

    def broken_off(self, body: Body) -> None:
        """The connection ends within the body: nothing of it is stored."""
        self.promises_of.add(self.source, body.good, body.marks, Times.NEVER, f"broken off, {body.kind} #{self.sent}")
        url = urllib.parse.urlsplit(self.url())
        head = f"POST {url.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.token}\r\nContent-Length: {len(body.content)}\r\n\r\n"
        try:
            with socket.create_connection((url.hostname or "", url.port or 0), timeout=10) as connection:
                connection.sendall(head.encode() + body.content[: max(0, len(body.content) - 1 - self.rng.randrange(50))])
        except OSError:
            pass

    def empty(self) -> None:
        status, answer = self.post(b"", None)
        if status not in (0, 400, 429, 503):
            raise AssertionError(f"an empty body was answered {status}: {answer!r}")

    # Steps of the senders.

    @property
    def promises_of(self) -> Promises:
        assert self.promises is not None
        return self.promises

    def promise(self, body: Body, times: Times, name: str | None) -> None:
        where = f"{body.kind}{', key' if body.keyed else ''} #{self.name}-{self.sent}"
        goods: list[Good] = [] if body.dead else body.good
        self.promises_of.add(self.source, goods, body.marks, times, where if name is None else f"{where} in {name}")
        if name is not None:
            self.promises_of.add_unmarked(self.source, body.unmarked, body.dead, name)

    def until_taken(self, body: Body, key: str) -> str:
        """The name of the object that contains the body."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            status, answer = self.post(body.content, key)
            if status == 200:
                return str(json.loads(answer)["object"])
            if status not in (0, 408, 429, 503) or time.monotonic() > end:
                raise AssertionError(f"{body.kind} with a key was answered {status}: {answer!r}")
            time.sleep(TRY_AGAIN_SECONDS)

    def post(self, content: bytes, key: str | None) -> tuple[int, bytes]:
        """Status and answer; 0 if there was no answer."""
        url = urllib.parse.urlsplit(self.url())
        headers = {"Authorization": f"Bearer {self.token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=90)
        try:
            connection.request("POST", url.path, content, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

"""A host in Python for the runner: the other side of its protocol, standard library only.

For tests and comparisons; the engine's real host is the crate's. It does what that one must: kill a
worker that hangs, take a worker's death as an error of the pair it was at, and go on with the rest.
"""

import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DEFAULT_LIMITS = {
    "memory_bytes": 2 << 30, "rule_ms": 5000, "cpu_seconds": None, "files": 64, "processes": 0,
}  # fmt: skip


class Gone(Exception):
    """The other side closed its connection."""


class Peer:
    """One connection from a template or a worker."""

    def __init__(self, stream):
        self.stream = stream
        self.hello = self.receive(10)

    def send(self, message, body=None):
        payload = json.dumps(message).encode()
        data = struct.pack(">IB", len(payload) + 1, ord("J")) + payload
        if body is not None:
            data += struct.pack(">IB", len(body) + 1, ord("B")) + body
        try:
            self.stream.settimeout(None)
            self.stream.sendall(data)
        except OSError as error:
            raise Gone() from error

    def receive(self, timeout):
        """One JSON message; TimeoutError if none comes in time."""
        self.stream.settimeout(timeout)
        length, kind = struct.unpack(">IB", self._exactly(5))
        assert kind == ord("J")
        return json.loads(self._exactly(length - 1))

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            try:
                more = self.stream.recv(size - len(data))
            except ConnectionResetError as error:
                raise Gone() from error
            if not more:
                raise Gone()
            data += more
        return data


class Host:
    """A template and one worker over a layer."""

    def __init__(self, layer, python=sys.executable, limits=None, environment=None, load_timeout=120):
        self.limits = {**DEFAULT_LIMITS, **(limits or {})}
        self.rows = {}  # the key-value store
        self.deaths = 0
        self._folder = tempfile.TemporaryDirectory(prefix="panther-run-")
        path = Path(self._folder.name) / "engine.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(20)
        token = secrets.token_hex(8)
        runner = Path(layer) / "runtime" / "runner.py"
        self._process = subprocess.Popen(
            [python, "-I", "-B", str(runner), "--socket", str(path), "--layer", str(layer), "--token", token, "--guards"],
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **(environment or {})},
        )
        self.template = Peer(self._listener.accept()[0])
        assert self.template.hello["token"] == token
        started = time.perf_counter()
        self.template.send({"op": "load"})
        self.loaded = self.template.receive(load_timeout)
        self.load_seconds = time.perf_counter() - started
        self._workers = 0
        self.worker = None

    def close(self):
        try:
            self.template.send({"op": "quit"})
            self._process.wait(10)
        except (Gone, subprocess.TimeoutExpired):
            self._process.kill()
        if self.worker:
            self.worker.stream.close()
        self.template.stream.close()
        self._listener.close()
        self._folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()

    def fork(self):
        """A fresh worker in place of the one there is."""
        if self.worker:
            self.worker.stream.close()
        self._workers += 1
        self._progress = Path(self._folder.name) / f"progress-{self._workers}"
        self._progress.write_bytes(bytes(16))
        self.template.send(
            {"op": "fork", "worker": self._workers, "progress": str(self._progress), "limits": self.limits}
        )
        self.worker = Peer(self._listener.accept()[0])

    def progress(self):
        return struct.unpack("<IIII", self._progress.read_bytes())

    def _converse(self, until, on_message):
        """Serve the worker until its message `until`. Gives that, or why the worker is dead."""
        deadline_per_pair = 3 * self.limits["rule_ms"] / 1000
        last, since = None, time.monotonic()
        while True:
            try:
                message = self.worker.receive(deadline_per_pair / 4)
            except TimeoutError:
                at = self.progress()
                if at != last:
                    last, since = at, time.monotonic()
                elif time.monotonic() - since > deadline_per_pair:
                    os.kill(self.worker.hello["pid"], signal.SIGKILL)
                    return None, "WorkerKilled"
                continue
            except Gone:
                return None, "WorkerDied"
            if message["op"] == "kv_get":
                self.worker.send({"op": "kv", "key": message["key"], "row": self.row(message["key"])})
            elif message["op"] == until:
                return message, None
            else:
                on_message(message)

    def row(self, key):
        row = self.rows.get(key)
        return row and {**row, "set": None if row["set"] is None else sorted(row["set"])}

    def commit(self, ops):
        for op in ops:
            row = self.rows.setdefault(op["key"], {"count": None, "set": None, "dict": None, "expires": None})
            kind = op["op"]
            if kind == "add":
                row["count"] = (row["count"] or 0) + op["value"]
            elif kind == "set_count":
                row["count"] = op["value"]
            elif kind == "union":
                row["set"] = (row["set"] or set()) | set(op["values"])
            elif kind == "remove":
                row["set"] = (row["set"] or set()) - set(op["values"])
            elif kind == "put_set":
                row["set"] = set(op["values"])
            elif kind == "put_dict":
                row["dict"] = op["value"]
            elif kind == "reset_set":
                row["set"] = None
            elif kind == "reset_count":
                row["count"] = None
            elif kind == "expire":
                row["expires"] = op["at"]
            else:
                raise AssertionError(f"unknown operation {kind}")

    def batch(self, events, now=None):
        """`events`: list of (log type, JSON bytes, [detection index]). Gives {event: [results]}, micros."""
        results = {}
        micros = 0
        pending = [(number, log_type, text, list(rules)) for number, (log_type, text, rules) in enumerate(events)]
        while pending:
            if self.worker is None:
                self.fork()
            message = {
                "op": "batch",
                "id": 1,
                "now": now or time.time(),
                "events": [{"log_type": t, "len": len(b), "rules": r} for _, t, b, r in pending],
            }
            done_up_to = [0]

            def take(message, pending=pending, done_up_to=done_up_to):
                assert message["op"] == "events"
                for event in message["events"]:
                    number = pending[event["i"]][0]
                    results.setdefault(number, []).extend(event["results"])
                    self.commit(event["kv"])
                    done_up_to[0] = event["i"] + 1

            self.worker.send(message, b"".join(b for _, _, b, _ in pending))
            done, died = self._converse("done", take)
            if done:
                return {k: sorted(v, key=lambda r: events[k][2].index(r["rule"])) for k, v in results.items()}, micros + done["micros"]
            self.deaths += 1
            _, at, rule, state = self.progress()
            self.worker.stream.close()
            self.worker = None
            if state == 1:
                guilty = pending[at][3]
                rest = []
            else:
                guilty = [rule]
                rest = [index for index in pending[at][3] if index != rule]
            number, log_type, text, _ = pending[at]
            assert at >= done_up_to[0], "the worker died at an event that it had finished"
            for index in guilty:
                results.setdefault(number, []).append(
                    {"rule": index, "error": {"type": died, "title": died, "message": died, "trace": ""}}
                )
            # The results of events before it may not have come yet.
            before = pending[done_up_to[0] : at]
            pending = [*before, *([(number, log_type, text, rest)] if rest else ()), *pending[at + 1 :]]
        return {k: sorted(v, key=lambda r: events[k][2].index(r["rule"])) for k, v in results.items()}, micros

    def test(self, index, tests):
        """`tests`: list of (name, event, mocks). Gives the results, or raises Gone if the worker died."""
        if self.worker is None:
            self.fork()
        texts = [json.dumps(event).encode() for _, event, _ in tests]
        message = {
            "op": "test",
            "id": 1,
            "detection": index,
            "tests": [
                {"name": name, "mocks": mocks or [], "len": len(text)}
                for (name, _, mocks), text in zip(tests, texts)
            ],
        }
        self.worker.send(message, b"".join(texts))
        done, died = self._converse("tested", lambda message: None)
        if died:
            self.deaths += 1
            self.worker.stream.close()
            self.worker = None
            raise Gone(died)
        return done["results"]

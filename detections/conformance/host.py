"""A host in Python for the runner: the other side of its protocol, standard library only.

For tests and comparisons; the engine's real host is the crate's. It does what that one must: kill a
worker that hangs, take a worker's death as an error of the pair it was at, and go on with the rest.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
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
        self.changes = []  # what detections have changed that all share
        ours, theirs = socket.socketpair()
        runner = Path(layer) / "runtime" / "runner.py"
        self._process = subprocess.Popen(
            [python, "-I", "-B", str(runner), "--layer", str(layer)],
            stdin=theirs,
            stdout=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **(environment or {})},
        )
        theirs.close()
        self.template = Peer(ours)
        started = time.perf_counter()
        self.template.send({"op": "load"})
        self.loaded = self.template.receive(load_timeout)
        self.load_seconds = time.perf_counter() - started
        self._workers = 0
        self.worker = None
        self._progress = None

    @classmethod
    def refused(cls, layer, python=sys.executable):
        """What the runner says of a pack that it does not load."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            runner = [python, "-I", "-B", str(Path(layer) / "runtime" / "runner.py"), "--layer", str(layer)]
            process = subprocess.Popen(runner, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={})
            theirs.close()
            ours.sendall(struct.pack(">IB", 14, ord("J")) + b'{"op":"load"}')
            said = process.communicate(timeout=120)[1].decode()
        assert process.returncode == 73, (process.returncode, said)
        return said

    def descendants(self):
        """Numbers of the processes that the runner consists of."""
        found, look = set(), [self._process.pid]
        while look:
            at = look.pop()
            found.add(at)
            try:
                look += map(int, Path(f"/proc/{at}/task/{at}/children").read_text().split())
            except OSError:
                pass
        return found

    def left_over(self, processes, seconds=10):
        """Those of them that still run after some time."""
        ends = time.monotonic() + seconds
        while True:
            left = {number for number in processes if Path(f"/proc/{number}/stat").exists() and " Z " not in Path(f"/proc/{number}/stat").read_text()}
            if not left or time.monotonic() > ends:
                return left
            time.sleep(0.02)

    def abandon(self):
        """End as a host that is killed: without a word."""
        for peer in (self.template, self.worker):
            if peer is not None:
                peer.stream.close()
        self._process.stdout.close()
        self._process.wait(30)

    def close(self):
        try:
            self.template.send({"op": "quit"})
            self._process.wait(10)
        except (Gone, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        if self.worker:
            self.worker.stream.close()
        self.template.stream.close()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()

    def fork(self):
        """A fresh worker in place of the one there is."""
        if self.worker:
            self.worker.stream.close()
        self._workers += 1
        if self._progress is not None:
            os.close(self._progress)
        self._progress = os.memfd_create("progress")
        os.truncate(self._progress, 16)
        ours, theirs = socket.socketpair()
        payload = b"J" + json.dumps({"op": "fork", "worker": self._workers, "limits": self.limits}).encode()
        with theirs:
            socket.send_fds(self.template.stream, [struct.pack(">I", len(payload)) + payload], [theirs.fileno(), self._progress])
        self.worker = Peer(ours)

    def progress(self):
        return struct.unpack("<IIII", os.pread(self._progress, 16, 0))

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
            elif message["op"] == "changed":
                return None, message
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

    def send_batch(self, events):
        """Send a batch and wait for no result."""
        entries = [{"log_type": log_type, "len": len(text), "rules": rules} for log_type, text, rules in events]
        self.worker.send({"op": "batch", "id": 1, "now": time.time(), "events": entries}, b"".join(text for _, text, _ in events))

    def batch(self, events, now=None):
        """`events`: list of (log type, JSON bytes, [detection index]). Gives {event: [results]}, micros."""
        results = {}
        micros = careful = 0
        pending = [(number, log_type, text, list(rules)) for number, (log_type, text, rules) in enumerate(events)]
        while pending:
            if self.worker is None:
                self.fork()
            message = {
                "op": "batch",
                "id": 1,
                "now": now or time.time(),
                "careful": careful,
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
            if not isinstance(died, str):
                self.changes.append(died["what"])
                at, rule, state = died["i"], died["rule"], 2
                if rule is None:
                    self.worker.stream.close()
                    self.worker = None
                    careful = at + 1 - done_up_to[0]
                    pending = pending[done_up_to[0] :]
                    continue
                careful = max(0, careful - done_up_to[0])
                died = "SharedStateChanged"
            else:
                self.deaths += 1
                careful = 0
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
        if done["spoilt"]:
            self.worker.stream.close()
            self.worker = None
        return done["results"]

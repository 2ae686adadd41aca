"""A worker: takes batches and tests from the host, runs detections, sends what they gave."""

import gc
import io
import json
import mmap
import os
import sys
from time import monotonic, perf_counter_ns
from time import time as wall_time

import _panther_errors
import _panther_limits
import _panther_store
from _panther_wire import MAX_FRAME, Closed, Connection, encode, loads
from panther_core import PantherEvent

IDLE, LOADING, IN_RULE, IN_FUNCTION = 0, 1, 2, 3
REPLY_SIZE = 64 << 10  # bytes of results after which they are sent
REPLY_SECONDS = 0.1  # and the time after which they are
MAX_REPLY = MAX_FRAME - 1000
INSIDE_SECONDS = 0.01  # at most so often classes and functions are looked into for changes: it takes a fraction of a millisecond
MAX_PRINTED = 10_000  # bytes of what a test prints that are shown
_CUT = "... (cut)"
_TOO_MUCH = json.dumps({"_error": "alert_context left out: the event's results are bigger than a frame may be"})

_describe = _panther_errors.describe


class Progress:
    """The 16 bytes that tell the host where a worker is, should it not be able to tell any more:
    batch, event, detection, state, each u32 little-endian."""

    def __init__(self, descriptor):
        self._map = mmap.mmap(descriptor, 16)
        os.close(descriptor)
        # a cast writes in the machine's own order, which is little-endian wherever we run
        self.cells = memoryview(self._map).cast("I")


class _Printed:
    """What is written to the standard streams meanwhile, up to MAX_PRINTED bytes: under test an author may look at what a rule prints."""

    def __enter__(self):
        self._kept = sys.stdout, sys.stderr
        self._bytes = _Bounded()
        sys.stdout = sys.stderr = io.TextIOWrapper(self._bytes, encoding="utf-8", errors="replace", write_through=True)
        return self

    def __exit__(self, *_error):
        sys.stdout, sys.stderr = self._kept

    def text(self):
        text = self._bytes.kept.decode("utf-8", "replace")
        return f"{text}{_CUT}" if self._bytes.cut else text


class _Bounded(io.RawIOBase):
    def __init__(self):
        self.kept = bytearray()
        self.cut = False

    def writable(self):
        return True

    def write(self, data):
        room = MAX_PRINTED - len(self.kept)
        self.kept += memoryview(data).cast("B")[:room]
        self.cut = self.cut or len(data) > room
        return len(data)


class SharedStateChanged(Exception):
    """A detection has changed what it shares with all others."""


class _Changed(BaseException):
    """Something that all detections share is not what it was: what this worker says from now on is worth nothing."""


class Worker:
    """Runs until the host closes the connection, or a detection has changed what all share."""

    def __init__(self, connection, pack, limits, progress):
        self._connection = connection
        self._pack = pack
        pack.shared.begin()
        self._cells = progress.cells
        self._watch = _panther_limits.Watch(limits["rule_ms"])
        self._store = _panther_store.current
        self._replies, self._reply_size = [], 0
        self._looked_inside = 0.0
        self._store._ask = lambda key: self._watch.aside(self._ask_row, key)

    def run(self):
        connection = self._connection
        while True:
            message = connection.receive()
            op = message.get("op")
            if op == "batch":
                if not self._batch(message, connection.receive_bytes()):
                    return
            elif op == "test":
                self._test(message, connection.receive_bytes())
            elif op == "explain":
                self._explain(message, connection.receive_bytes())
            elif op == "quit":
                return

    def _ask_row(self, key):
        self._connection.send({"op": "kv_get", "key": key})
        reply = self._connection.receive()
        if reply.get("op") != "kv":
            raise RuntimeError("the host did not answer a read of the key-value store")
        return reply.get("row")

    def _batch(self, message, body):
        """Evaluate a batch. False if a detection has changed what all share: then the host learns of it, and gets no result that may be wrong for it.

        That is looked for before results are sent. Which detection it was, is found in another worker: of the first `careful` events, each pair is looked at.
        """
        cells, store, send = self._cells, self._store, self._connection.send
        batch = message["id"]
        started = perf_counter_ns()
        self._replies, self._reply_size = [], 0
        careful = message.get("careful") or 0
        store.begin(message.get("now") or 0.0)
        cells[0] = batch & 0xFFFFFFFF
        body = memoryview(body)
        at = number = 0
        self._watch.start()
        try:
            for number, event in enumerate(message["events"]):
                end = at + event["len"]
                if event["rules"]:
                    cells[3] = LOADING
                    cells[1] = number
                    results = self._event(event, body[at:end], number < careful)
                    ops = store.take_ops()
                    if results or ops:
                        self._reply(batch, number, results, ops)
                at = end
            self._flush(batch)
        except _Changed as changed:
            rule = None
            if number < careful:
                rule = cells[2]
                self._send_replies(batch)  # each was looked at
            send({"op": "changed", "batch": batch, "i": number, "rule": rule, "what": str(changed)})
            return False
        finally:
            self._watch.stop()
            cells[3] = IDLE
        micros = (perf_counter_ns() - started) // 1000
        send({"op": "done", "batch": batch, "micros": micros})
        return True

    def _reply(self, batch, number, results, ops):
        """Keep what came of an event; many go to the host at once, as each message wakes it."""
        try:
            reply = encode({"i": number, "results": results, "kv": ops})
        except Exception as error:  # pylint: disable=broad-exception-caught
            # what has no form as a message is the rules' own: the store forbids it, and outputs are texts
            found = _describe(error)
            results, ops = [{"rule": result["rule"], "error": found} for result in results], []
            reply = encode({"i": number, "results": results, "kv": ops})
        if len(reply) > MAX_REPLY:
            for result in results:
                if result.get("match", {}).get("context"):
                    result["match"]["context"] = _TOO_MUCH
            reply = encode({"i": number, "results": results, "kv": ops})
        if self._reply_size + len(reply) > MAX_REPLY:
            self._flush(batch)
        if not self._replies:
            self._replies_since = monotonic()
        self._replies.append(reply)
        self._reply_size += len(reply)
        # The host counts how often a rule runs out of time, and then wants to stop the batch.
        hurry = any((result.get("error") or {}).get("type") == "DetectionTimeout" for result in results)
        if hurry or self._reply_size > REPLY_SIZE or monotonic() - self._replies_since > REPLY_SECONDS:
            self._flush(batch)

    def _look(self, careful=False):
        now = monotonic()
        inside = careful or now - self._looked_inside > INSIDE_SECONDS
        changed = self._pack.shared.changed(inside)
        if inside:
            self._looked_inside = now
        if changed:
            raise _Changed(changed)

    def _flush(self, batch):
        self._look()
        self._send_replies(batch)

    def _send_replies(self, batch):
        if self._replies:
            replies, self._replies, self._reply_size = self._replies, [], 0
            self._connection.send_encoded(b'{"op":"events","batch":%d,"events":[%b]}' % (batch, b",".join(replies)))

    def _event(self, event, text, careful):
        """Results of one event's detections, in the order of the host's list."""
        cells, watch = self._cells, self._watch
        call, detections, errors = watch.call, self._pack.detections, self._pack.errors
        results = []
        rules = event["rules"]
        try:
            plain = loads(str(text, "utf-8"))
            view = PantherEvent(plain, self._pack.models.get(event["log_type"]))
            unmodelled = None
        except Exception as error:  # pylint: disable=broad-exception-caught
            found = _describe(error)
            return [{"rule": index, "error": found} for index in rules]
        for index in rules:
            cells[2] = index
            cells[3] = IN_RULE
            detection = detections.get(index)
            if detection is None:
                error = errors.get(("detection", index)) or _describe(
                    KeyError(f"no detection {index} in this pack")
                )
                results.append({"rule": index, "error": error})
                continue
            kind = detection.kind
            if kind == "RULE":
                subject = view
            elif kind == "POLICY":
                subject = loads(str(text, "utf-8"))  # a plain dict, its own: it may change it
            else:
                if unmodelled is None:
                    unmodelled = PantherEvent(plain, None)
                subject = unmodelled
            try:
                verdict = detection.verdict(subject, call)
            except BaseException as error:  # pylint: disable=broad-exception-caught
                results.append({"rule": index, "error": _describe(error, detection.home(detection.matcher_name))})
                verdict = None
            if verdict is None:
                pass
            elif kind == "POLICY":
                results.append({"rule": index, "policy": verdict})
            elif verdict:
                cells[3] = IN_FUNCTION
                results.append({"rule": index, "match": detection.match(subject, call)})
            if careful:
                self._look(careful)
        return results

    def _test(self, message, body):
        body = memoryview(body)
        at = 0
        index = message["detection"]
        detection = self._pack.detections.get(index)
        self._cells[0] = message["id"] & 0xFFFFFFFF
        self._cells[2] = index
        self._store.begin(message.get("now") or wall_time())
        results, changed = [], None
        self._watch.start()
        try:
            for number, test in enumerate(message["tests"]):
                text = body[at : at + test["len"]]
                at += test["len"]
                self._cells[1] = number
                self._cells[3] = IN_RULE
                if detection is None:
                    error = self._pack.errors.get(("detection", index)) or _describe(
                        KeyError(f"no detection {index} in this pack")
                    )
                    result = {"output": None, "error": error, "functions": {}}
                else:
                    try:
                        with _Printed() as printed:
                            result = self._one_test(detection, test, text)
                    except Exception as error:  # pylint: disable=broad-exception-caught
                        result = {"output": None, "error": _describe(error, detection.file), "functions": {}}
                    result["printed"] = printed.text()
                changed = changed or self._pack.shared.changed()
                if changed:
                    result["error"] = _describe(SharedStateChanged(f"the detection changed {changed}, which all detections share"), detection.file)
                results.append({"name": test["name"], **result})
        finally:
            self._watch.stop()
            self._cells[3] = IDLE
        self._store.take_ops()
        self._connection.send({"op": "tested", "id": message["id"], "results": results, "spoilt": changed is not None})

    def _explain(self, message, body):
        """Evaluate one detection over one event, step by step."""
        index = message["detection"]
        self._cells[0], self._cells[1], self._cells[2], self._cells[3] = message["id"] & 0xFFFFFFFF, 0, index, IN_RULE
        self._store.begin(message.get("now") or wall_time())
        told = {"verdict": None, "error": None, "steps": [], "decided": None, "printed": ""}
        self._watch.start()
        try:
            from _panther_explain import explain

            detection = self._pack.detections[index]
            subject = loads(str(body, "utf-8"))
            if detection.kind != "POLICY":
                subject = PantherEvent(subject, self._pack.models.get(message["log_type"]) if detection.kind == "RULE" else None)
            with _Printed() as printed:
                verdict, error, told["steps"], told["decided"] = explain(detection, self._pack.source(index), subject, self._watch.call)
            told["printed"] = printed.text()
            told["verdict"] = verdict if isinstance(verdict, bool) else None
            if error is None and told["verdict"] is None:
                error = detection.wrong_type(detection.matcher_name, verdict, "[bool]")
            told["error"] = error and _describe(error, detection.home(detection.matcher_name))
        except Exception as error:  # pylint: disable=broad-exception-caught
            told["error"] = self._pack.errors.get(("detection", index)) or _describe(error)
        finally:
            self._watch.stop()
            self._cells[3] = IDLE
        self._store.take_ops()
        spoilt = self._pack.shared.changed() is not None
        self._connection.send({"op": "explained", "id": message["id"], "explanation": told, "spoilt": spoilt})

    def _one_test(self, detection, test, text):
        subject = loads(str(text, "utf-8"))
        if detection.kind != "POLICY":
            model = None
            if detection.kind == "RULE":
                # the event's own field alone says which data model a test uses
                log_type = subject.get("p_log_type") or ""
                model = self._pack.models.get(log_type) if isinstance(log_type, str) else None
            subject = PantherEvent(subject, model)
        mocks = {
            mock["objectName"]: mock["returnValue"]
            for mock in test.get("mocks") or ()
            if "objectName" in mock and "returnValue" in mock
        }
        if not mocks:
            return detection.test(subject, self._watch.call)
        from unittest.mock import MagicMock

        namespace = detection.namespace
        missing = [name for name in mocks if name not in namespace]
        if missing:
            raise AttributeError(f"detection [{detection.id}] does not have the attribute {missing[0]!r}")
        kept = {name: namespace[name] for name in mocks}
        namespace.update({name: MagicMock(return_value=value) for name, value in mocks.items()})
        try:
            return detection.test(subject, self._watch.call)
        finally:
            namespace.update(kept)


def run(descriptors, pack, message):
    """The forked worker's whole life. `descriptors`: its connection to the host, and the memory for its progress."""
    gc.enable()
    gc.set_threshold(20_000, 20, 50)
    limits = message.get("limits") or {}
    host, noted = descriptors
    connection, progress = Connection(host), Progress(noted)
    connection.send({"op": "hello", "role": "worker", "pid": os.getpid(), "worker": message["worker"]})
    _panther_limits.apply(
        memory_bytes=limits.get("memory_bytes"),
        cpu_seconds=limits.get("cpu_seconds"),
        files=limits.get("files"),
        processes=limits.get("processes"),
    )
    try:
        Worker(connection, pack, {"rule_ms": limits.get("rule_ms") or 1000}, progress).run()
    except Closed:
        pass

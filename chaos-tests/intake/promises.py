"""The expected results of senders and writers, compared with the data of the node."""

import gzip
import json
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from forms import FORMS, Good
from harness.node import INPUT_DLQ, Node

MARK = re.compile(r"mark-[0-9a-zA-Z]+-")
PAGE = 1_000


class Times(Enum):
    """How often an item may exist."""

    ONCE = "once"
    AT_MOST_ONCE = "at most once"
    NEVER = "never"

    def allows(self, count: int) -> bool:
        return {Times.ONCE: count == 1, Times.AT_MOST_ONCE: count <= 1, Times.NEVER: count == 0}[self]


@dataclass
class Unmarked:
    """Quarantined records, or dead letters, without a mark: counted per object, anywhere, or allowed up to a number."""

    of_object: Counter[str] = field(default_factory=Counter)
    somewhere: int = 0
    allowed: int = 0

    def total(self) -> int:
        return sum(self.of_object.values()) + self.somewhere


class Promises:
    """All expected results of a run, by source."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Source and id; the line, its expected count, and where it was sent or written.
        self.lines: dict[tuple[str, str], tuple[Good, Times, str]] = {}
        self.marks: dict[tuple[str, str], tuple[Times, str]] = {}
        self.quarantined: dict[str, Unmarked] = {}
        self.dead: dict[str, Unmarked] = {}

    def add(self, source: str, goods: Iterable[Good], marks: Iterable[str], times: Times, where: str) -> None:
        with self._lock:
            for good in goods:
                self.lines[source, good.id] = (good, times, where)
            for mark in marks:
                self.marks[source, mark] = (times, where)

    def add_unmarked(self, source: str, quarantined: int, dead: int, object_name: str | None) -> None:
        """Without the name of the object, the record is optional."""
        with self._lock:
            for held, count in ((self.quarantined, quarantined), (self.dead, dead)):
                of = held.setdefault(source, Unmarked())
                if object_name is not None:
                    of.of_object[object_name] += count
                else:
                    of.allowed += count

    def add_hole(self, source: str) -> None:
        """A run of NUL bytes in a file: one quarantined record, in an object that the writer does not know."""
        with self._lock:
            self.quarantined.setdefault(source, Unmarked()).somewhere += 1

    def wanted(self) -> dict[str, tuple[int, int]]:
        """The minimum number of stored lines and quarantined records, by source."""
        with self._lock:
            stored = Counter(source for (source, _), (_, times, _) in self.lines.items() if times is Times.ONCE)
            aside = Counter(source for (source, _), (times, _) in self.marks.items() if times is Times.ONCE)
            for source, of in self.quarantined.items():
                aside[source] += of.total()
            return {source: (stored[source], aside[source]) for source in {*stored, *aside}}

    def wanted_dead(self) -> int:
        with self._lock:
            return sum(of.total() for of in self.dead.values())


@dataclass
class Holdings:
    """The data of the node: events and quarantined records of objects that a command has named, and dead letters."""

    events: list[tuple[str, dict[str, Any]]]
    # Source id, raw object, text.
    quarantined: list[tuple[str, str, str]]
    # Source id, raw object, reason.
    dead: list[tuple[str, str, str]]
    ledger: list[dict[str, Any]]

    @classmethod
    def of(cls, node: Node) -> "Holdings":
        raw_of = {group["object"]: group["raw_object"] for group in quarantine_groups(node)}
        events, quarantined = [], []
        tables = {form_table(log_type): log_type for log_type in FORMS}
        for name in objects(node):
            kind, of, *_ = name.split("/")
            if kind == "logs":
                events += [(tables.get(of, of), event) for event in lines_of(node, name)]
            elif kind == "quarantine":
                quarantined += [(of, raw_of[name], str(record["text"])) for record in lines_of(node, name)]
        ledger: list[dict[str, Any]] = node.pantherctl.call("ledger", "--hours", "3")["rows"]
        return cls(events, quarantined, list(dead_letters(node)), ledger)


def form_table(log_type: str) -> str:
    return log_type.lower().replace(".", "_")


def objects(node: Node) -> Iterator[str]:
    """The names of all objects that a completion has named. This excludes files of abandoned attempts."""
    cursor: list[str] = []
    while True:
        page = node.pantherctl.call("table", "scan", "panther-objects", "--limit", PAGE, *cursor)
        yield from (row["key"]["hash"] for row in page["rows"])
        if page["cursor"] is None:
            return
        cursor = ["--cursor", page["cursor"]]


def quarantine_groups(node: Node) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = node.pantherctl.call("quarantine", "ls", "--limit", 100_000)["groups"]
    return groups


def lines_of(node: Node, name: str) -> Iterator[dict[str, Any]]:
    for line in gzip.decompress((node.data / "objects" / name).read_bytes()).splitlines():
        yield json.loads(line)


def dead_letters(node: Node) -> Iterator[tuple[str, str, str]]:
    after: list[Any] = []
    while True:
        messages = node.pantherctl.call("queue", "peek", INPUT_DLQ, "--limit", 100, *after)["messages"]
        for message in messages:
            of = json.loads(message["body"])["Records"][0]["s3"]["object"]
            yield message["attributes"]["source"], of["key"], message["last_error"]
        if not messages:
            return
        after = ["--after", messages[-1]["seq"]]


def differences(promises: Promises, holdings: Holdings, labels: dict[str, str]) -> list[str]:
    """All differences from the expected results, one line each. `labels` gives the name of a source by its id."""
    return [
        *wrong_events(promises, holdings, labels),
        *wrong_quarantine(promises, holdings, labels),
        *wrong_dead_letters(promises, holdings, labels),
        *wrong_ledger(holdings, labels),
    ]


def wrong_events(promises: Promises, holdings: Holdings, labels: dict[str, str]) -> Iterator[str]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for log_type, event in holdings.events:
        key = (labels.get(event["p_source_id"], event["p_source_id"]), FORMS[log_type].id_of(event))
        found.setdefault(key, []).append(event)
    for key, events in found.items():
        if key not in promises.lines:
            yield f"{key[0]}: stored, and no sender wrote it so: {json.dumps(events[0])[:300]}"
    # Many lost lines of one file or body usually have one cause.
    counts: dict[tuple[str, str, int], list[str]] = {}
    for (source, id), (good, times, where) in promises.lines.items():
        events = found.get((source, id), [])
        if not times.allows(len(events)):
            counts.setdefault((source, f"{where}, promised {times.value}", len(events)), []).append(id)
        for event in events:
            wrong = {name: (value, event.get(name)) for name, value in good.fields.items() if event.get(name) != value}
            if wrong:
                yield f"{source}: line {id} of {where} has other values, as wanted and got: {wrong}"
    for (source, where, count), ids in counts.items():
        yield f"{source}: {len(ids)} lines, from {ids[0]} to {ids[-1]}, of {where}, are stored {count} times"


def wrong_quarantine(promises: Promises, holdings: Holdings, labels: dict[str, str]) -> Iterator[str]:
    marks: Counter[tuple[str, str]] = Counter()
    unmarked: dict[str, Counter[str]] = {}
    for source_id, raw, text in holdings.quarantined:
        source, found = labels.get(source_id, source_id), MARK.search(text)
        known = found is not None and (source, found[0]) in promises.marks
        if found is not None and known:
            marks[source, found[0]] += 1
        else:
            unmarked.setdefault(source, Counter())[raw] += 1
    for key, (times, where) in promises.marks.items():
        if not times.allows(marks[key]):
            yield f"{key[0]}: the record {key[1]} of {where} is in quarantine {marks[key]} times, promised {times.value}"
    for source in {*unmarked, *promises.quarantined}:
        texts = {raw: text for source_id, raw, text in holdings.quarantined if labels.get(source_id) == source}
        got = unmarked.get(source, Counter())
        yield from beside(source, "records in quarantine", promises.quarantined.get(source, Unmarked()), got, texts)


def wrong_dead_letters(promises: Promises, holdings: Holdings, labels: dict[str, str]) -> Iterator[str]:
    got: dict[str, Counter[str]] = {}
    reasons = {raw: reason for _, raw, reason in holdings.dead}
    for source_id, raw, _ in holdings.dead:
        got.setdefault(labels.get(source_id, source_id), Counter())[raw] += 1
    for source in {*got, *promises.dead}:
        wanted = promises.dead.get(source, Unmarked())
        yield from beside(source, "dead letters", wanted, got.get(source, Counter()), reasons)


def beside(source: str, what: str, wanted: Unmarked, got: Counter[str], texts: dict[str, str]) -> Iterator[str]:
    """Compares counts per object. The total excess must stay within the allowed number."""
    more = 0
    for raw in {*wanted.of_object, *got}:
        if got[raw] < wanted.of_object[raw]:
            yield f"{source}: {got[raw]} {what} of {raw}, promised {wanted.of_object[raw]}"
        more += max(0, got[raw] - wanted.of_object[raw])
    if not wanted.somewhere <= more <= wanted.somewhere + wanted.allowed:
        which = {raw: texts.get(raw, "")[:200] for raw in got if got[raw] > wanted.of_object[raw]}
        bounds = f"{wanted.somewhere} to {wanted.somewhere + wanted.allowed}"
        yield f"{source}: {more} {what} of objects that are not known to the sender, promised {bounds}: {which}"


def wrong_ledger(holdings: Holdings, labels: dict[str, str]) -> Iterator[str]:
    """Checks that the ledger adds up in each hour, and agrees with the data."""
    stored = Counter(labels.get(event["p_source_id"]) for _, event in holdings.events)
    aside = Counter(labels.get(source_id) for source_id, _, _ in holdings.quarantined)
    counted: dict[str, Counter[str]] = {}
    for row in holdings.ledger:
        if row["received"] != row["stored"] + row["quarantined"] + row["filtered"]:
            yield f"{row['source_label']}: the ledger of hour {row['hour']} does not add up: {row}"
        of = counted.setdefault(row["source_label"], Counter())
        of.update({name: row[name] for name in ("stored", "quarantined")})
    for source in labels.values():
        of = counted.get(source, Counter())
        if (of["stored"], of["quarantined"]) != (stored[source], aside[source]):
            yield f"{source}: the ledger has {dict(of)}, there are {stored[source]} events and {aside[source]} in quarantine"

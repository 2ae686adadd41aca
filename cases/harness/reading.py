"""Expectations on the result of `pantherctl schemas test` for a log file, as declared in the case tables (TOML).

A reading names a schema and a file. It declares one outcome, or several under `accept`, one of which must occur. An
outcome can declare the number of events and quarantined records, and the content of the events, in their order.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness.outcome import Difference, same_value, shown
from harness.pantherctl import Pantherctl

MISSING = "(not there)"
INDICATORS = "p_any_"
# The exit code of pantherctl for invalid input, such as an invalid schema.
BAD_INPUT = 2


class TableError(Exception):
    """A case table is invalid."""


@dataclass(frozen=True)
class Result:
    """The result for one log file. `refused` is the reason if the schema was rejected."""

    events: list[Any]
    event_count: int
    quarantined: int
    filtered: int
    reasons: list[str]
    error: str | None
    refused: str | None = None

    def summary(self) -> str:
        """One line for the report, with the first reason."""
        if self.refused is not None:
            return f"schema refused: {self.refused}"
        text = f"{self.event_count} events, {self.quarantined} quarantined, {self.filtered} filtered"
        reasons = [*([f"error: {self.error}"] if self.error else []), *self.reasons]
        return f"{text} ({reasons[0]})" if reasons else text


def read_logs(pantherctl: Pantherctl, schema: str, log: Path) -> Result:
    """Reads one log file by a schema; `schema` is a file or the name of a log type."""
    # Runs in the file's own folder, because a folder with the name of the log type must not be mistaken for the schema.
    words = ("schemas", "test", schema, log.name, "--events", "1000", "--unclassified", "1000")
    answer = pantherctl.run(*words, folder=log.parent)
    if answer.exit_code == BAD_INPUT and not answer.out:
        return Result([], 0, 0, 0, [], None, refused=" ".join(answer.err.split()))
    of_file = answer.json()["files"][0]
    return Result(
        events=of_file["events"],
        event_count=of_file["events_made"],
        quarantined=of_file["unclassified_records"],
        filtered=of_file["filtered_records"],
        reasons=[reason["reason"] for record in of_file["unclassified"] for reason in record["reasons"]],
        error=of_file["error"],
    )


def lookup(event: Any, name: str) -> Any:
    """A field by its name; if no field has the complete name, its dots separate the keys of nested objects and
    lists."""
    if isinstance(event, dict) and name in event:
        return event[name]
    value = event
    for part in name.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


def without_standard_fields(event: Any) -> Any:
    """The event without the fields that Panther adds: a text in an indicator or a row id does not count as a kept
    field."""
    return {k: v for k, v in event.items() if not k.startswith("p_")} if isinstance(event, dict) else event


def values_of(event: Any) -> Iterator[str]:
    """All values of an event as texts, of any field and at any depth."""
    if isinstance(event, dict):
        event = event.values()
    elif not isinstance(event, list):
        yield event if isinstance(event, str) else json.dumps(event)
        return
    for value in event:
        yield from values_of(value)


@dataclass(frozen=True)
class EventExpectation:
    """The expected content of one event.

        fields              name = value; a name may lead into objects with dots
        absent              names that are missing or null
        contains            texts that occur in the event, in any field
        values              texts that are a value in the event, in any field
        excludes            texts that occur in no value of the event
        indicators          p_any_ fields with exactly these values, without the prefix
        indicators_include  p_any_ fields that hold at least these values
        time                p_event_time
    """

    fields: dict[str, Any] | None = None
    absent: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    indicators: dict[str, list[str]] | None = None
    indicators_include: dict[str, list[str]] | None = None
    time: str | None = None

    def differences(self, what: str, event: Any) -> list[Difference]:
        found = []

        def check(name: str, holds: bool, wanted: str, got: Any) -> None:
            if not holds:
                found.append(Difference(f"{what}: {name}", wanted, shown(got)))

        exact = dict(self.fields or {})
        if self.time is not None:
            exact["p_event_time"] = self.time
        exact |= {INDICATORS + name: value for name, value in (self.indicators or {}).items()}
        for name, value in exact.items():
            got = lookup(event, name)
            check(name, same_value(value, got), shown(value), got)
        for name in self.absent:
            got = lookup(event, name)
            check(name, got is None or got == MISSING, MISSING, got)
        for name, values in (self.indicators_include or {}).items():
            got = lookup(event, INDICATORS + name)
            holds = isinstance(got, list) and all(value in got for value in values)
            check(INDICATORS + name, holds, f"among others {shown(values)}", got)
        texts = list(values_of(without_standard_fields(event)))
        for part in self.contains:
            check("some field", any(part in text for text in texts), f"holds {shown(part)}", event)
        for value in self.values:
            check("some field", value in texts, f"is {shown(value)}", event)
        for part in self.excludes:
            check("every field", not any(part in text for text in texts), f"is without {shown(part)}", event)
        return found


@dataclass(frozen=True)
class ReadingExpectation:
    """The expected outcome of a reading. Without `error_contains`, the file must be read to its end."""

    events: int | None = None
    quarantined: int | None = None
    quarantined_at_most: int | None = None
    error_contains: str | None = None
    event: tuple[EventExpectation, ...] = ()

    def differences(self, result: Result) -> list[Difference]:
        found = []

        def check(name: str, holds: bool, wanted: Any) -> None:
            if not holds:
                found.append(Difference(name, shown(wanted), result.summary()))

        if result.refused is not None:
            return [Difference("schema", "taken", result.summary())]
        if self.events is not None:
            check("events", result.event_count == self.events, self.events)
        if self.quarantined is not None:
            check("quarantined records", result.quarantined == self.quarantined, self.quarantined)
        if self.quarantined_at_most is not None:
            limit = self.quarantined_at_most
            check("quarantined records", result.quarantined <= limit, f"{limit} at most")
        if self.error_contains is None:
            check("the file", result.error is None, "read to its end")
        else:
            wanted = f"an error that says {shown(self.error_contains)}"
            check("the file", self.error_contains.lower() in (result.error or "").lower(), wanted)
        for index, expected in enumerate(self.event):
            what = f"event {index + 1}"
            if index < len(result.events):
                found += expected.differences(what, result.events[index])
            else:
                check(what, False, "there")
        return found


@dataclass(frozen=True)
class Reading:
    """One schema and file of a case, and the accepted outcomes."""

    schema: str
    log: Path
    accepted: tuple[ReadingExpectation, ...]

    def differences(self, result: Result) -> list[Difference]:
        """Empty if an accepted outcome occurred; otherwise the differences from each outcome."""
        title = f"{self.log.name} read as {Path(self.schema).name}"
        missed: list[list[Difference]] = []
        for outcome in self.accepted:
            differences = outcome.differences(result)
            if not differences:
                return []
            choice = f" (accepted outcome {len(missed) + 1} of {len(self.accepted)})" if len(self.accepted) > 1 else ""
            missed.append([Difference(f"{title}{choice}: {one.what}", one.wanted, one.got) for one in differences])
        return [difference for differences in missed for difference in differences]


def parse_reading(table: dict[str, Any], folder: Path) -> Reading:
    """A `reading` table; the files are in `folder`. A schema that is not a file is the name of a log type."""
    table = dict(table)
    try:
        schema, log = table.pop("schema"), folder / table.pop("input")
    except KeyError as error:
        raise TableError(f"a reading lacks {error}") from error
    if not log.is_file():
        raise TableError(f"there is no file {log.name}")
    accept = table.pop("accept", None)
    if accept is not None and table:
        raise TableError(f"a reading with `accept` states nothing else: {', '.join(table)}")
    if accept == []:
        raise TableError("a reading accepts at least one outcome")
    outcomes = tuple(parse_expectation(outcome) for outcome in ([table] if accept is None else accept))
    if schema.endswith(".yml"):
        if not (folder / schema).is_file():
            raise TableError(f"there is no file {schema}")
        schema = str(folder / schema)
    return Reading(schema, log, outcomes)


def parse_expectation(table: dict[str, Any]) -> ReadingExpectation:
    table = dict(table)
    events = tuple(EventExpectation(**checked(EventExpectation, event)) for event in table.pop("event", []))
    expectation = ReadingExpectation(**checked(ReadingExpectation, table), event=events)
    if expectation == ReadingExpectation() or EventExpectation() in events:
        raise TableError("a reading or an event that expects nothing cannot fail")
    return expectation


def checked(kind: type, table: dict[str, Any]) -> dict[str, Any]:
    """The table, if all its keys are known to `kind`."""
    unknown = set(table) - {one.name for one in fields(kind)}
    if unknown:
        raise TableError(f"unknown keys: {', '.join(sorted(unknown))}")
    return table

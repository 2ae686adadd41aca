"""The tables of readings: every key can fail, and an invalid table is an error and not a pass."""

import tempfile
import unittest
from pathlib import Path
from typing import Any

from harness.reading import MISSING, Result, TableError, lookup, parse_expectation, parse_reading

EVENT = {"user": {"name": "ana"}, "id.orig": "x", "n": 1, "none": None, "p_event_time": "t", "p_any_emails": ["a", "b"]}


def result(**changed: Any) -> Result:
    values = {"events": [EVENT], "event_count": 1, "quarantined": 0, "filtered": 0, "reasons": [], "error": None}
    return Result(**{**values, **changed})


class Lookup(unittest.TestCase):
    """Names of fields."""

    def test_a_whole_name_comes_before_a_path(self) -> None:
        self.assertEqual(lookup({"a.b": 1, "a": {"b": 2}}, "a.b"), 1)
        self.assertEqual(lookup({"a": {"b": 2}}, "a.b"), 2)

    def test_numbers_lead_into_lists(self) -> None:
        self.assertEqual(lookup({"a": [{"b": 1}]}, "a.0.b"), 1)
        self.assertEqual(lookup({"a": [{"b": 1}]}, "a.1.b"), MISSING)

    def test_what_is_not_there_is_missing_and_a_null_is_none(self) -> None:
        self.assertEqual(lookup(EVENT, "user.age"), MISSING)
        self.assertIsNone(lookup(EVENT, "none"))


class Expectations(unittest.TestCase):
    """Each key accepts what it declares, and fails for other content."""

    def check(self, table: dict[str, Any], holds: Result, fails: Result) -> None:
        expectation = parse_expectation(table)
        self.assertEqual(expectation.differences(holds), [])
        self.assertNotEqual(expectation.differences(fails), [])

    def test_counts(self) -> None:
        self.check({"events": 1}, result(), result(event_count=2))
        self.check({"quarantined": 0}, result(), result(quarantined=1))
        self.check({"quarantined_at_most": 1}, result(quarantined=1), result(quarantined=2))

    def test_the_file_must_be_read_to_its_end_unless_an_error_is_expected(self) -> None:
        self.check({"events": 1}, result(), result(error="truncated"))
        self.check({"events": 1, "error_contains": "ZSTD"}, result(error="it is zstd"), result())

    def test_a_schema_that_is_refused_meets_no_expectation(self) -> None:
        self.check({"events": 0}, result(event_count=0), result(event_count=0, refused="unknown field"))
        self.check({"error_contains": "x"}, result(error="x"), result(error="x", refused="unknown field"))

    def test_keys_of_an_event(self) -> None:
        for holding, failing in (
            ({"fields": {"user.name": "ana"}}, {"fields": {"user.name": "bob"}}),
            ({"fields": {"n": 1}}, {"fields": {"n": True}}),
            ({"absent": ["none", "other"]}, {"absent": ["n"]}),
            ({"contains": ["an"]}, {"contains": ["emails"]}),
            ({"values": ["ana"]}, {"values": ["an"]}),
            ({"excludes": ["bob"]}, {"excludes": ["an"]}),
            ({"indicators": {"emails": ["a", "b"]}}, {"indicators": {"emails": ["a"]}}),
            ({"indicators_include": {"emails": ["b"]}}, {"indicators_include": {"emails": ["b", "c"]}}),
            ({"time": "t"}, {"time": "u"}),
        ):
            with self.subTest(key=next(iter(holding))):
                self.assertEqual(parse_expectation({"event": [holding]}).differences(result()), [])
                self.assertEqual(len(parse_expectation({"event": [failing]}).differences(result())), 1)

    def test_an_event_that_is_not_there_differs(self) -> None:
        table = {"event": [{"fields": {"n": 1}}, {"fields": {"n": 1}}]}
        self.assertEqual([one.what for one in parse_expectation(table).differences(result())], ["event 2"])

    def test_a_text_in_a_standard_field_is_no_value_that_was_kept(self) -> None:
        self.assertNotEqual(parse_expectation({"event": [{"values": ["b"]}]}).differences(result()), [])


class Tables(unittest.TestCase):
    """Readings as written in a file."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "log").write_text("")

    def reading(self, **table: Any) -> Any:
        return parse_reading({"schema": "AWS.CloudTrail", "input": "log", **table}, self.folder)

    def test_one_of_the_accepted_outcomes_is_enough(self) -> None:
        reading = self.reading(accept=[{"events": 2}, {"events": 0, "quarantined": 1}])
        self.assertEqual(reading.differences(result(event_count=2)), [])
        self.assertEqual(reading.differences(result(event_count=0, quarantined=1)), [])
        self.assertEqual(len(reading.differences(result(event_count=1, quarantined=1))), 2)

    def test_what_is_written_wrongly_is_an_error(self) -> None:
        tables: tuple[dict[str, Any], ...] = (
            {"event": [{"field": {}}]},
            {"evnts": 1},
            {},
            {"accept": [{}]},
            {"accept": []},
            {"accept": [{"events": 1}], "events": 1},
            {"input": "other", "events": 1},
            {"schema": "missing.yml", "events": 1},
            {"event": [{}]},
        )
        for table in tables:
            with self.subTest(table=table), self.assertRaises(TableError):
                self.reading(**table)


if __name__ == "__main__":
    unittest.main()

"""What detections see of an event: keys in any case, views that are neither list nor dict, udm."""

import json
import unittest
from collections.abc import Mapping, Sequence

import packs  # noqa: F401
from panther_core import PantherEvent
from panther_core.data_model import DataModel
from panther_core.exceptions import PantherError
from panther_core.immutable import ImmutableCaseInsensitiveDict, ImmutableList, json_encoder


class Keys(unittest.TestCase):
    def setUp(self):
        self.event = PantherEvent({"Ab": 1, "aB": 2, "n": None, "d": {"Q": {"R": 3}}, "l": [{"X": 4}]})

    def test_exact_key_wins_then_the_first_in_any_case(self):
        self.assertEqual(self.event.get("aB"), 2)
        self.assertEqual(self.event.get("AB"), 1)
        self.assertEqual(self.event["ab"], 1)
        self.assertIn("AB", self.event)
        self.assertNotIn("zz", self.event)

    def test_every_level_is_insensitive(self):
        self.assertEqual(self.event.deep_get("D", "q", "r"), 3)
        self.assertEqual(self.event["L"][0]["x"], 4)
        self.assertIn("q", self.event["d"])

    def test_a_null_is_no_default_for_get_and_is_one_for_deep_get(self):
        self.assertIsNone(self.event.get("n", 5))
        self.assertEqual(self.event.deep_get("n", default=5), 5)
        self.assertEqual(self.event.get("zz", 5), 5)
        with self.assertRaises(KeyError):
            self.event["zz"]

    def test_a_missing_step_goes_on_in_the_default(self):
        self.assertEqual(self.event.deep_get("zz", "x", default={"x": 5}), 5)
        self.assertEqual(self.event.deep_get("n", "x", default={"x": 5}), {"x": 5})

    def test_deep_walk_is_exact_in_case_and_gives_plain_values(self):
        self.assertIsNone(self.event.deep_walk("d", "q"))
        self.assertIs(type(self.event.deep_walk("d")), dict)
        self.assertEqual(self.event.deep_walk("l", "X"), 4)


class Views(unittest.TestCase):
    def setUp(self):
        self.event = PantherEvent({"l": [1, {"x": [2]}, [4]], "d": {"a": [1]}, "e": []})

    def test_types(self):
        self.assertNotIsInstance(self.event, dict)
        self.assertIsInstance(self.event, Mapping)
        self.assertNotIsInstance(self.event["l"], list)
        self.assertIsInstance(self.event["l"], Sequence)
        self.assertIs(type(self.event["l"][0:2]), tuple)

    def test_representation(self):
        self.assertEqual(f"{self.event['l']}", "ImmutableList((1, {'x': [2]}, [4]))")
        self.assertEqual(str(self.event["d"]), "ImmutableCaseInsensitiveDict({'a': [1]})")
        self.assertEqual(str(self.event["e"]), "ImmutableList(())")

    def test_lists_do_not_add_and_nothing_hashes(self):
        with self.assertRaises(TypeError):
            self.event["l"] + [1]
        for view in (self.event, self.event["l"], self.event["d"]):
            with self.assertRaises(TypeError):
                hash(view)

    def test_equality_is_by_content_in_exact_case(self):
        self.assertEqual(self.event["l"], [1, {"x": [2]}, [4]])
        self.assertEqual(self.event["l"], (1, {"x": [2]}, [4]))
        self.assertNotEqual(self.event["d"], {"A": [1]})
        self.assertEqual({"a": [1]}, self.event["d"])

    def test_nothing_that_is_handed_out_changes_the_event(self):
        self.event.to_dict()["d"]["a"].append(2)
        self.event["l"].copy()[2].append(2)
        self.event["l"][1:2][0]["x"].append(2)
        self.event.deep_walk("d", "a")
        self.event.raw_view()["d"]["a"].append(2)
        self.assertEqual(self.event.to_dict(), {"l": [1, {"x": [2]}, [4]], "d": {"a": [1]}, "e": []})
        with self.assertRaises(AttributeError):
            self.event["l"].append(1)

    def test_json(self):
        with self.assertRaises(TypeError):
            json.dumps(self.event["d"])
        self.assertEqual(json.dumps(self.event["d"], default=json_encoder), '{"a": [1]}')


class Unified(unittest.TestCase):
    def setUp(self):
        class Module:
            @staticmethod
            def kind(event):
                return f"{type(event).__name__} {hasattr(event, 'udm')}"

            @staticmethod
            def nested(_event):
                return {"x": [1]}

        mappings = [
            {"name": "path", "path": "$.d.Q"}, {"name": "other_case", "path": "$.d.q"},
            {"name": "many", "path": "$.l[*].x"}, {"name": "null", "path": "n"}, {"name": "user", "path": "$.nouser"},
            {"name": "kind", "method": "kind"}, {"name": "nested", "method": "nested"},
        ]  # fmt: skip
        self.model = DataModel("model", mappings, Module)
        self.event = PantherEvent(
            {"d": {"Q": 5}, "l": [{"x": 1}, {"x": 2}], "n": None, "p_udm": {"user": "bob", "zero": 0, "two": {"a": 1}}, "zero": 7, "empty": ""},
            self.model,
        )

    def test_a_walk_that_finds_no_key_goes_on_in_the_default(self):
        event = PantherEvent({"a": {"null": None, "list": [{"b": 1}, {}]}})
        self.assertEqual(event.deep_walk("a", "x", "y", default=["d"]), "d")
        self.assertEqual(event.deep_walk("a", "x", default=["d"]), ["d"])
        self.assertEqual(event.deep_walk("a", "x", "y", default=["d", "e"]), ["d", "e"])
        self.assertEqual(event.deep_walk("a", "x", "y", default={"y": 1}), 1)
        self.assertEqual(event.deep_walk("a", "null", default="d"), "d")
        self.assertEqual(event.deep_walk("a", "null", "y", default=["d"]), ["d"])
        self.assertEqual(event.deep_walk("a", "list", "b", default="d"), [1, "d"])

    def test_a_mapped_name_stops_at_the_mapping(self):
        self.assertEqual(self.event.udm("path"), 5)
        self.assertEqual(self.event.udm("user", default="none"), "none")
        self.assertIsNone(self.event.udm("null", default="none"))

    def test_paths_are_exact_in_case_and_lead_to_one_value(self):
        self.assertIsNone(self.event.udm("other_case"))
        with self.assertRaisesRegex(Exception, "matched multiple fields"):
            self.event.udm("many")

    def test_methods_get_a_plain_mapping_and_results_are_wrapped(self):
        self.assertEqual(self.event.udm("kind"), "ImmutableCaseInsensitiveDict False")
        self.assertIsInstance(self.event.udm("nested"), ImmutableCaseInsensitiveDict)
        self.assertIsInstance(self.event.udm("nested")["x"], ImmutableList)

    def test_without_mapping_falsy_values_count_as_missing(self):
        self.assertEqual(self.event.udm("zero"), 7)
        self.assertEqual(self.event.udm("two", "a"), 1)
        self.assertEqual(self.event.udm("empty", default="none"), "none")

    def test_udm_path(self):
        self.assertEqual(self.event.udm_path("path"), "d.Q")
        self.assertEqual(self.event.udm_path("kind"), "kind")
        with self.assertRaisesRegex(PantherError, "hasn't been specified"):
            PantherEvent({}).udm_path("x")

    def test_paths_out_of_the_subset_are_refused(self):
        for path in ("$..a", "$.a[?(@.b==1)]", "$.a[0:2]", "a b", "$.", ""):
            with self.subTest(path), self.assertRaises(PantherError):
                DataModel("m", [{"name": "x", "path": path}])

    def test_event_time(self):
        for text, seconds in (("2024-01-02 03:04:05.678", 1704164645), ("2024-01-02T03:04:05", 1704164645), ("2024-01-02T03:04:05Z", 0), (None, 0)):
            with self.subTest(text):
                self.assertEqual(PantherEvent({"p_event_time": text}).event_time_epoch(), seconds)

    def test_lookup_reads_the_tests_own_table(self):
        event = PantherEvent({"_mocked_lookup_data_": {"table": {"key": {"v": 1}}}})
        self.assertEqual(event.lookup("table", "key"), {"v": 1})
        self.assertIsNone(event.lookup("other", "key"))


if __name__ == "__main__":
    unittest.main()

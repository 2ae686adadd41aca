"""The key-value helpers: what they give, and which operations they note for the host."""

import unittest

import packs
import _panther_store
from host import Host
from panther_detection_helpers import caching

NOW = 1_700_000_000
DAYS_90 = 7_776_000


class Helpers(unittest.TestCase):
    def setUp(self):
        self.rows = {}
        _panther_store.current._ask = self.rows.get
        _panther_store.current.begin(NOW)
        self.addCleanup(setattr, _panther_store.current, "_ask", None)

    def ops(self):
        return _panther_store.current.take_ops()

    def test_counters(self):
        self.rows["k"] = {"count": 4}
        self.assertEqual(caching.get_counter("k"), 4)
        self.assertEqual(caching.increment_counter("k"), 5)
        self.assertEqual(caching.increment_counter("k", 2, 60), 7)
        self.assertEqual(
            self.ops(),
            [{"key": "k", "op": "add", "value": 1}, {"key": "k", "op": "expire", "at": NOW + DAYS_90}, {"key": "k", "op": "add", "value": 2}, {"key": "k", "op": "expire", "at": NOW + 60}],
        )
        caching.reset_counter("k")
        self.assertEqual(caching.get_counter("k"), 0)
        self.assertEqual(caching.get_counter("none"), 0)

    def test_times(self):
        for given, at in ((60, NOW + 60), ("60", NOW + 60), (1_800_000_000, 1_800_000_000), (None, NOW + DAYS_90)):
            caching.set_key_expiration("k", given)
            self.assertEqual(self.ops(), [{"key": "k", "op": "expire", "at": at}])

    def test_string_sets(self):
        self.rows["s"] = {"set": ["a"]}
        self.assertEqual(caching.add_to_string_set("s", "bc"), {"a", "bc"})
        self.assertEqual(caching.add_to_string_set("s", ["d"]), {"a", "bc", "d"})
        self.assertEqual(caching.remove_from_string_set("s", "a"), {"bc", "d"})
        self.assertEqual(caching.get_string_set("s"), {"bc", "d"})
        self.assertEqual([op["op"] for op in self.ops()], ["union", "expire", "union", "expire", "remove", "expire"])
        caching.put_string_set("s", ["x"], 60)
        self.assertEqual(self.ops(), [{"key": "s", "op": "put_set", "values": ["x"]}, {"key": "s", "op": "expire", "at": NOW + 60}])
        caching.put_string_set("s", [])
        self.assertEqual(self.ops(), [{"key": "s", "op": "reset_set"}])
        self.assertEqual(caching.get_string_set("s"), set())
        with self.assertRaises(TypeError):
            caching.put_string_set("s", [1])

    def test_what_is_put_as_a_whole_replaces_the_row(self):
        self.rows["k"] = {"count": 1, "dict": {"a": 1}}
        caching.put_string_set("k", ["x"])
        self.assertEqual([op["op"] for op in self.ops()], ["reset_count", "put_dict", "put_set", "expire"])
        self.assertEqual((caching.get_counter("k"), caching.get_dictionary("k")), (0, {}))

    def test_dictionaries(self):
        caching.put_dictionary("d", {"a": [1]})
        self.assertEqual(self.ops(), [{"key": "d", "op": "put_dict", "value": {"a": [1]}}, {"key": "d", "op": "expire", "at": NOW + DAYS_90}])
        caching.get_dictionary("d")["a"].append(2)
        self.assertEqual(caching.get_dictionary("d"), {"a": [1]})
        with self.assertRaises(TypeError):
            caching.put_dictionary("d", [1])
        with self.assertRaises(ValueError):
            caching.put_dictionary("d", {"a": {1}})

    def test_rows_past_their_time(self):
        self.rows["e"] = {"count": 4, "set": ["z"], "dict": {"x": 1}, "expires": 1}
        self.assertEqual((caching.get_counter("e"), caching.get_counter("e", True)), (4, 0))
        self.assertEqual((caching.get_string_set("e"), caching.get_string_set("e", force_ttl_check=True)), ({"z"}, set()))
        self.assertEqual((caching.get_dictionary("e"), caching.get_dictionary("e", True)), ({"x": 1}, {}))
        self.assertEqual(caching.increment_counter("e"), 1)

    def test_threshold_and_account_age(self):
        self.assertEqual([caching.evaluate_threshold("t", 3, 60) for _ in range(4)], [False, False, True, False])
        self.assertFalse(caching.check_account_age("new"))
        caching.put_string_set("new", ["x"])
        self.assertTrue(caching.check_account_age("new"))
        for odd in (None, 5, ""):
            self.assertFalse(caching.check_account_age(odd))

    def test_what_the_host_could_not_keep_is_an_error_of_the_rule(self):
        lone = "\ud800"
        for error, call in (
            (UnicodeEncodeError, lambda: caching.increment_counter(lone)),
            (UnicodeEncodeError, lambda: caching.get_string_set(lone)),
            (UnicodeEncodeError, lambda: caching.add_to_string_set("k", lone)),
            (UnicodeEncodeError, lambda: caching.put_string_set("k", [lone])),
            (ValueError, lambda: caching.put_dictionary("k", {"a": lone})),
            (ValueError, lambda: caching.put_dictionary("k", {"a": float("nan")})),
            (ValueError, lambda: caching.put_dictionary("k", {"a": 10**30})),
            (ValueError, lambda: caching.put_dictionary("k", {"a": "x" * 500_000})),
            (ValueError, lambda: caching.get_counter("x" * 2049)),
            (ValueError, lambda: caching.add_to_string_set("k", ["x" * 400_001])),
            (ValueError, lambda: caching.put_string_set("k", ["x" * 400_001])),
            (OverflowError, lambda: caching.increment_counter("k", 2**63)),
            (OverflowError, lambda: caching.set_key_expiration("k", 2**63)),
        ):
            with self.assertRaises(error):
                call()
        nested = value = {}
        for _ in range(40):
            value["a"] = value = {}
        with self.assertRaises(ValueError):
            caching.put_dictionary("k", nested)
        caching.increment_counter("k", 2**63 - 1)
        with self.assertRaises(OverflowError):
            caching.increment_counter("k")
        self.assertEqual(self.ops(), [{"key": "k", "op": "add", "value": 2**63 - 1}, {"key": "k", "op": "expire", "at": NOW + DAYS_90}])
        caching.get_counter("x" * 2048)


class OverTheWire(unittest.TestCase):
    def test_a_rule_sees_its_own_writes_and_the_host_gets_them(self):
        source = (
            "from panther_detection_helpers.caching import increment_counter\n"
            "def rule(event): return increment_counter(event['key'], 1, 60) >= 3"
        )
        with packs.Layer([source]) as layer, Host(layer.path) as host:
            event = ("Test", b'{"key": "k"}', [0])
            first, _ = host.batch([event, event])
            second, _ = host.batch([event])
        self.assertEqual((first, [len(of) for of in second.values()]), ({0: [], 1: []}, [1]))
        self.assertEqual(host.rows["k"]["count"], 3)

    def test_loading_has_no_store(self):
        source = "from panther_detection_helpers.caching import get_counter\nget_counter('k')\ndef rule(event): return True"
        with packs.Layer([source]) as layer, Host(layer.path) as host:
            self.assertEqual(host.loaded["detections"][0]["error"]["type"], "StoreUnavailable")


if __name__ == "__main__":
    unittest.main()

"""Simple detections, each condition of them, and inline filters."""

import unittest

import packs  # noqa: F401
import _panther_filter
import _panther_simple
from panther_core import PantherEvent

EVENT = {
    "s": "Hello", "n": 5, "f": 1.5, "t": True, "null": None, "empty": "", "none": [], "l": ["A", "b", 3],
    "ip": "10.1.2.3", "pub": "8.8.8.8", "v6": "2001:db8::1", "bad": "x.y", "d": {"k": "v", "n": 5, "L": [{"q": 1}, {"q": 2}]},
    "p_enrichment": {"table": {"ip": {"country": {"code": "NL"}}}},
}  # fmt: skip


def holds(expression, event=None):
    return _panther_simple.expression(expression, "test")(PantherEvent(EVENT if event is None else event))


class Conditions(unittest.TestCase):
    CASES = [
        # key, condition, value(s), whether it holds
        ("s", "Equals", "Hello", True), ("s", "Equals", "hello", False), ("s", "IEquals", "hELLO", True),
        ("S", "Equals", "Hello", True), ("n", "Equals", 5, True), ("n", "Equals", "5", False), ("t", "Equals", True, True),
        ("t", "Equals", 1, False), ("s", "Equals", ["x", "Hello"], True), ("zz", "Equals", "x", False),
        ("s", "DoesNotEqual", "Hello", False), ("s", "DoesNotEqual", "x", True), ("zz", "DoesNotEqual", "x", True),
        ("s", "DoesNotIEqual", "HELLO", False), ("s", "IDoesNotEqual", "HELLO", False), ("s", "DoesNotEqual", ["x", "Hello"], False),
        ("s", "StartsWith", "He", True), ("s", "StartsWith", "he", False), ("s", "IStartsWith", "hE", True), ("n", "StartsWith", "5", False),
        ("s", "DoesNotStartWith", "He", False), ("zz", "DoesNotStartWith", "He", True), ("s", "DoesNotIStartWith", "hE", False),
        ("s", "EndsWith", "lo", True), ("s", "IEndsWith", "LO", True), ("s", "DoesNotEndWith", "lo", False), ("s", "EndsWith", ["x", "lo"], True),
        ("s", "Contains", "ell", True), ("s", "IContains", "ELL", True), ("s", "DoesNotContain", "ell", False), ("zz", "DoesNotContain", "x", True),
        ("l", "Contains", "A", True), ("l", "Contains", "a", False), ("l", "IContains", "B", True), ("l", "Contains", 3, True), ("l", "DoesNotIContain", "a", False),
        ("n", "IsGreaterThan", 4, True), ("n", "IsGreaterThan", 5, False), ("n", "IsGreaterThanOrEquals", 5, True), ("n", "IsGreaterThanOrEqual", 5, True),
        ("f", "IsLessThan", 2, True), ("n", "IsLessThanOrEquals", 5, True), ("n", "IsLessThanOrEqual", 4, False), ("s", "IsGreaterThan", 1, False),
        ("zz", "IsLessThan", 1, False), ("t", "IsGreaterThan", 0, False),
        ("ip", "IsIPAddress", None, True), ("bad", "IsIPAddress", None, False), ("v6", "IsIPv6Address", None, True), ("v6", "IsIPv4Address", None, False),
        ("ip", "IsIPAddressPrivate", None, True), ("ip", "IsIPAddressPublic", None, False), ("pub", "IsIPAddressPublic", None, True), ("n", "IsIPAddress", None, False),
        ("ip", "IsIPAddressInCIDR", "10.0.0.0/8", True), ("ip", "IsIPAddressInCIDR", ["1.0.0.0/8", "10.1.0.0/16"], True), ("bad", "IsIPAddressInCIDR", "10.0.0.0/8", False),
        ("s", "IsIn", ["Hello", "x"], True), ("zz", "IsIn", ["x"], False), ("s", "IsNotIn", ["Hello"], False), ("zz", "IsNotIn", ["x"], True),
        ("null", "Exists", None, True), ("zz", "Exists", None, False), ("zz", "DoesNotExist", None, True), ("null", "DoesNotExist", None, False),
        ("null", "IsNull", None, True), ("zz", "IsNull", None, True), ("s", "IsNull", None, False), ("s", "IsNotNull", None, True), ("zz", "IsNotNull", None, False),
        ("empty", "IsNullOrEmpty", None, True), ("none", "IsNullOrEmpty", None, True), ("zz", "IsNullOrEmpty", None, True), ("n", "IsNullOrEmpty", None, False),
        ("s", "IsNotNullOrEmpty", None, True), ("s", "AlwaysTrue", None, True), ("s", "AlwaysFalse", None, False),
    ]  # fmt: skip

    def test_each(self):
        for key, condition, value, expected in self.CASES:
            expression = {"Key": key, "Condition": condition}
            if value is not None:
                expression["Values" if isinstance(value, list) else "Value"] = value
            with self.subTest(expression):
                self.assertIs(holds(expression), expected)

    def test_combiners(self):
        yes, no = {"Key": "n", "Condition": "Equals", "Value": 5}, {"Key": "n", "Condition": "Equals", "Value": 6}
        for name, of, expected in (
            ("All", [yes, yes], True), ("All", [yes, no], False), ("All", [], True), ("Any", [no, yes], True), ("Any", [], False),
            ("OnlyOne", [yes, no], True), ("OnlyOne", [yes, yes], False), ("None", [no, no], True), ("None", [no, yes], False),
        ):  # fmt: skip
            with self.subTest(name=name, of=of):
                self.assertIs(holds({name: of}), expected)
        self.assertTrue(holds({"All": [{"Any": [no, yes]}, {"None": [no]}]}))

    def test_elements(self):
        one = [{"Key": "q", "Condition": "Equals", "Value": 1}]
        some = [{"Key": "q", "Condition": "IsGreaterThan", "Value": 0}]
        for name, expressions, expected in (
            ("AnyElement", one, True), ("AllElements", one, False), ("AllElements", some, True), ("OnlyOneElement", one, True),
            ("OnlyOneElement", some, False), ("NoElement", one, False), ("NoElement", [{"Key": "q", "Condition": "Equals", "Value": 9}], True),
        ):  # fmt: skip
            with self.subTest(name=name, expressions=expressions):
                self.assertIs(holds({"KeyPath": "d.L", "Condition": name, "Expressions": expressions}), expected)
        self.assertFalse(holds({"Key": "zz", "Condition": "AllElements", "Expressions": one}))
        self.assertTrue(holds({"Key": "l", "Condition": "AnyElement", "Expressions": [{"Condition": "Equals", "Value": "b"}]}))

    def test_keys(self):
        for key in ({"KeyPath": "d.k"}, {"DeepKey": ["d", "k"]}, {"KeyPath": "D['k']"}):
            self.assertTrue(holds({**key, "Condition": "Equals", "Value": "v"}))
        self.assertTrue(holds({"KeyPath": "d.L[1].q", "Condition": "Equals", "Value": 2}))
        self.assertTrue(holds({"KeyPath": "d.L[*].q", "Condition": "Contains", "Value": 2}))
        self.assertTrue(holds({"DeepKey": ["d", "L", 0, "q"], "Condition": "Equals", "Value": 1}))
        enrichment = {"Table": "table", "Selector": "ip", "FieldPath": "country.code"}
        self.assertTrue(holds({"Enrichment": enrichment, "Condition": "Equals", "Value": "NL"}))
        self.assertTrue(holds({"Condition": "Equals", "Values": [{"Key": "n"}, {"KeyPath": "d.n"}]}))
        self.assertTrue(holds({"Condition": "IsGreaterThan", "Values": [{"Key": "n"}, {"Key": "f"}]}))

    def test_what_is_not_understood_is_refused(self):
        for bad in (
            {"Key": "a"}, {"Key": "a", "Condition": "Nonsense"}, {"Key": "a", "Condition": "Equals"}, {"Key": "a", "Condition": "IsNull", "Value": 1},
            {"All": [], "Any": []}, {"KeyPath": "a[", "Condition": "Exists"}, {"Key": "a", "KeyPath": "a", "Condition": "Exists"}, {"All": "x"}, "x",
            {"Key": "a", "Condition": "Exists", "Other": 1}, {"Key": "a", "Condition": "IsIPAddressInCIDR", "Value": "x"}, {"Key": "a", "Condition": "Equals", "Value": 1, "Values": [1]},
        ):  # fmt: skip
            with self.subTest(bad), self.assertRaises(_panther_simple.BadDetection):
                _panther_simple.expression(bad, "test")

    def test_functions(self):
        functions = _panther_simple.functions(
            {
                "Detection": [{"Key": "n", "Condition": "Equals", "Value": 5}],
                "AlertTitle": "{s} of {d.k} and {zz}!",
                "AlertContext": [{"KeyName": "who", "KeyValue": {"Key": "s"}}, {"KeyName": "gone", "KeyValue": {"KeyPath": "z.z"}}],
                "GroupBy": [{"Key": "s"}, {"KeyPath": "d.n"}],
                "DynamicSeverities": [
                    {"ChangeTo": "LOW", "Conditions": [{"Key": "n", "Condition": "Equals", "Value": 6}]},
                    {"ChangeTo": "HIGH", "Conditions": [{"Key": "n", "Condition": "Equals", "Value": 5}]},
                ],
            },
            "named",
        )
        event = PantherEvent(EVENT)
        self.assertIs(functions["rule"](event), True)
        self.assertEqual(functions["title"](event), "Hello of v and !")
        self.assertEqual(functions["alert_context"](event), {"who": "Hello", "gone": None})
        self.assertEqual(functions["dedup"](event), "Hello:5")
        self.assertEqual(functions["severity"](event), "HIGH")
        self.assertEqual(functions["severity"](PantherEvent({})), "DEFAULT")


class Filters(unittest.TestCase):
    def check(self, node, expected):
        test = _panther_filter.build([node])
        self.assertIs(test is None or test(PantherEvent(EVENT)), expected, node)

    def test_what_says_nothing_holds(self):
        for node in ({}, {"All": []}, {"and": []}, {"or": []}, {"not": []}):
            self.assertIsNone(_panther_filter.build([node]))

    def test_tree(self):
        yes, no = {"target": "n", "operator": "==", "value": 5}, {"target": "n", "operator": "==", "value": 6}
        for node, expected in (
            (yes, True), ({"and": [yes, no]}, False), ({"or": [no, yes]}, True), ({"not": [yes]}, False), ({"not": [no]}, True), ({"and": [{"or": [no, yes]}, yes]}, True),
        ):  # fmt: skip
            self.check(node, expected)
        with self.assertRaises(_panther_filter.BadFilter):
            _panther_filter.build([{"and": [yes], "or": [no]}])

    def test_operators(self):
        for target, operator, value, expected in (
            ("s", "==", "Hello", True), ("S", "==", "Hello", False), ("zz", "==", None, True), ("zz", "!=", 1, True), ("zz", "<", 1, False), ("zz", "<=", 1, False),
            ("n", ">", 4, True), ("n", ">=", 5, True), ("s", "contains", "ell", True), ("l", "contains", "A", True), ("zz", "contains", "A", False),
            ("zz", "!contains", "A", True), ("s", "in", ["Hello"], True), ("l", "in", ["b"], True), ("l", "!in", ["z"], True), ("ip", "in_cidr", "10.0.0.0/8", True),
            ("pub", "!in_cidr", "10.0.0.0/8", True), ("zz", "in_cidr", "10.0.0.0/8", False), ("s", "starts_with", "He", True), ("n", "starts_with", "5", False),
            ("s", "!ends_with", "lo", False), ("empty", "empty", None, True), ("none", "empty", None, True), ("s", "!empty", None, True),
            ("s", "insensitive_equals", "HELLO", True), ("s", "insensitive_contains", "ELL", True), ("l", "insensitive_contains", "a", True),
            ("s", "insensitive_starts_with", "hE", True), ("s", "!insensitive_ends_with", "LO", False), ("pub", "is_public", None, True), ("ip", "is_private", None, True),
            ("zz", "is_private", None, False), ("d.k", "==", "v", True), ("d.L[0].q", "==", 1, True), ("d.L[*].q", "==", [1, 2], True),
        ):  # fmt: skip
            with self.subTest(target=target, operator=operator, value=value):
                self.check({"target": target, "operator": operator, "value": value}, expected)

    def test_bad_ones_are_refused(self):
        for node in ({"target": "a", "operator": "?"}, {"target": "a"}, {"target": "a b", "operator": "=="}, {"target": "a", "operator": "in_cidr", "value": "x"}, {"target": "a", "operator": "!is_public"}):
            with self.subTest(node), self.assertRaises(ValueError):
                _panther_filter.build([node])

    def test_simple_expressions(self):
        self.check({"All": [{"Key": "n", "Condition": "Equals", "Value": 5}]}, True)
        self.check({"Any": [{"Key": "n", "Condition": "Equals", "Value": 6}]}, False)


if __name__ == "__main__":
    unittest.main()

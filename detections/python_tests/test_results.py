"""What the engine makes of a detection's answers, live and under test."""

import json
import unittest

import packs  # noqa: F401
from _panther_detection import Detection, SetupError
from panther_core import PantherEvent


def detection(source, kind="RULE", severity="HIGH"):
    namespace = {}
    exec(source, namespace)
    return Detection({"index": 0, "id": "My.Rule", "kind": kind, "severity": severity}, namespace)


def call(function, argument):
    return function(argument)


def live(body, rule="def rule(event): return True\n"):
    return detection(rule + body).match(PantherEvent({"a": {"b": 1}}), call)


def tested(body, rule="def rule(event): return True\n"):
    return detection(rule + body).test(PantherEvent({"a": {"b": 1}}), call)


class Verdict(unittest.TestCase):
    def test_only_a_bool_is_a_verdict(self):
        for value in ("None", "1", "0", "'x'", "[]"):
            with self.subTest(value), self.assertRaisesRegex(Exception, r"returned \[\w+\], expected \[bool\]"):
                detection(f"def rule(event): return {value}").verdict({}, call)

    def test_rule_is_needed_but_for_scheduled_rules(self):
        with self.assertRaisesRegex(SetupError, "method named 'rule'"):
            detection("x = 1")
        self.assertTrue(detection("x = 1", kind="SCHEDULED_RULE").verdict({}, call))

    def test_an_exit_is_an_error_of_the_rule(self):
        found = tested("", rule="def rule(event): raise SystemExit(3)\n")
        self.assertEqual(found["error"]["type"], "SystemExit")


class Live(unittest.TestCase):
    def test_defaults_when_nothing_is_defined(self):
        found = live("")
        self.assertEqual(found["dedup"], "defaultDedupString:My.Rule")
        self.assertEqual(found["severity"], "HIGH")
        self.assertIsNone(found["title"])
        self.assertIsNone(found["context"])

    def test_title_none_gives_the_id_and_empty_stays_empty(self):
        found = live("def title(event): return None")
        self.assertEqual((found["title"], found["dedup"]), ("My.Rule", "My.Rule"))
        self.assertIn("title", found["errors"])
        found = live("def title(event): return ''")
        self.assertEqual((found["title"], found["dedup"]), ("", "defaultDedupString:My.Rule"))

    def test_texts_are_cut_at_1000_with_the_mark_inside(self):
        for name in ("title", "dedup", "description", "unique", "runbook", "reference"):
            found = live(f"def {name}(event): return 'x' * 1001")
            self.assertEqual(len(found[name]), 1000)
            self.assertTrue(found[name].endswith("... (truncated)"))

    def test_dedup_failing_or_empty_does_not_fall_back_to_the_title(self):
        for body in ("return ''", "return None", "raise ValueError()"):
            found = live(f"def title(event): return 't'\ndef dedup(event): {body}")
            self.assertEqual(found["dedup"], "defaultDedupString:My.Rule")

    def test_severity(self):
        for value, expected in (("'low'", "LOW"), ("'Default'", "HIGH"), ("'bad'", "HIGH"), ("None", "HIGH"), ("4", "HIGH")):
            self.assertEqual(live(f"def severity(event): return {value}")["severity"], expected)

    def test_other_texts_become_empty_on_failure(self):
        for name in ("description", "reference", "runbook"):
            self.assertEqual(live(f"def {name}(event): raise KeyError(1)")[name], "")
        self.assertIsNone(live("def unique(event): raise KeyError(1)")["unique"])

    def test_context(self):
        self.assertEqual(live("def alert_context(event): return {'a': event['a']}")["context"], '{"a": {"b": 1}}')
        self.assertIn("not JSON serializable", live("def alert_context(event): return {'a': {1}}")["context"])
        self.assertIn("not JSON compliant", live("def alert_context(event): return {'a': float('nan')}")["context"])
        self.assertEqual(
            json.loads(live("def alert_context(event): return {'a': 'x' * 300000}")["context"])["_error"],
            "alert_context size is [300009] characters, bigger than maximum of [204800] characters",
        )

    def test_destinations(self):
        for value, expected in (("[]", ["SKIP"]), ("None", None), ("['a', 'b']", ["a", "b"]), ("'x'", None), ("[5]", None), ("[True]", None), ("('a',)", None)):
            with self.subTest(value):
                self.assertEqual(live(f"def destinations(event): return {value}")["destinations"], expected)

    def test_an_exit_in_a_function_gives_no_value_and_is_named(self):
        found = live("def title(event): raise SystemExit()")
        self.assertIsNone(found["title"])
        self.assertEqual(found["dedup"], "defaultDedupString:My.Rule")
        self.assertEqual(found["errors"], {"title": "SystemExit()"})

    def test_functions_run_in_the_documented_order(self):
        names = ("unique", "dedup", "destinations", "alert_context", "severity", "reference", "title", "runbook", "description")
        body = "SEEN = []\n" + "".join(
            f"def {n}(event):\n  SEEN.append('{n}')\n  return {'[]' if n == 'destinations' else 'dict(s=list(SEEN))' if n == 'alert_context' else repr('high')}\n"
            for n in names
        )
        self.assertEqual(
            json.loads(live(body)["context"])["s"],
            ["title", "description", "reference", "severity", "runbook", "destinations", "dedup", "alert_context"],
        )


class Tested(unittest.TestCase):
    def test_failures_are_shown_and_everything_runs(self):
        found = tested("def title(event): return None\ndef severity(event): return 'bad'", rule="def rule(event): return False\n")
        self.assertIs(found["output"], False)
        self.assertEqual(found["functions"]["title"]["error"]["title"], "FunctionReturnTypeError('detection [My.Rule] function [title] returned [NoneType], expected [str]')")
        self.assertEqual(found["functions"]["severity"]["error"]["type"], "AssertionError")
        self.assertEqual(found["functions"]["dedup"]["output"], "defaultDedupString:My.Rule")

    def test_policies_get_what_they_are_given(self):
        policy = detection("def policy(resource): return type(resource) is dict", kind="POLICY")
        self.assertTrue(policy.verdict({}, call))


if __name__ == "__main__":
    unittest.main()

"""Why a detection said what it said."""

import unittest

import packs  # noqa: F401
import _panther_detection
import _panther_explain
import _panther_simple
from panther_core import PantherEvent

CODE = '''
def is_console(event):
    return event.get("name") == "ConsoleLogin"


def rule(event):
    if not is_console(event):
        return False
    if event.get("result") != "Success" or event.get("mfa"):
        return False
    return all([event.get("user") != "root", event.get("ip", "").startswith("10.")])
'''


def explained(code, event):
    namespace = {}
    exec(compile(code, "rule.py", "exec"), namespace)
    detection = _panther_detection.Detection({"index": 0, "id": "R", "kind": "RULE"}, namespace)
    return _panther_explain.explain(detection, code, PantherEvent(event), lambda function, argument: function(argument))


class Explanations(unittest.TestCase):
    def deciding(self, event, code=CODE):
        verdict, error, steps, decided = explained(code, event)
        self.assertIsNone(error)
        self.assertTrue(steps)
        return verdict, decided["line"], decided["code"], decided["value"]

    def test_the_condition_that_decided(self):
        name = {"name": "ConsoleLogin"}
        good = {**name, "result": "Success", "mfa": False, "user": "ann", "ip": "10.1.2.3"}
        self.assertEqual(self.deciding({"name": "x"}), (False, 7, "is_console(event)", "False"))
        self.assertEqual(self.deciding({**name, "result": "no"}), (False, 9, "event.get('result') != 'Success'", "True"))
        self.assertEqual(self.deciding({**good, "mfa": True}), (False, 9, "event.get('mfa')", "True"))
        self.assertEqual(self.deciding({**good, "user": "root"}), (False, 11, "event.get('user') != 'root'", "False"))
        self.assertEqual(self.deciding({**good, "ip": "8.8.8.8"}), (False, 11, "event.get('ip', '').startswith('10.')", "False"))
        self.assertEqual(self.deciding(good), (True, 11, "event.get('ip', '').startswith('10.')", "True"))

    def test_values_on_the_way_are_shown(self):
        _verdict, _error, steps, decided = explained(CODE, {"name": "ConsoleLogin", "result": "no"})
        self.assertEqual([(step["line"], step["kind"], step["value"]) for step in steps], [(3, "return", "True"), (7, "test", "False"), (9, "test", "True"), (10, "return", "False")])
        self.assertEqual(decided["operands"], [{"code": "event.get('result')", "value": "'no'"}])

    def test_what_raises_is_told_with_what_came_before(self):
        verdict, error, steps, decided = explained("def rule(event):\n    if event['a'] > 1:\n        return event['b'] == 2\n    return False\n", {"a": 2})
        self.assertEqual((verdict, type(error)), (None, KeyError))
        self.assertEqual([(step["line"], step["kind"], step["value"]) for step in steps], [(2, "test", "True"), (3, "raise", "KeyError: 'b'")])
        self.assertEqual(steps[-1]["code"], "return event['b'] == 2")
        self.assertEqual(decided["code"], "event['a'] > 1")

    def test_what_raises_before_any_condition_is_told_with_the_values_by_then(self):
        code = "def rule(event):\n    name = event.get('name')\n    return name.lower() == 'x'\n"
        _verdict, _error, steps, _decided = explained(code, {})
        self.assertEqual([(step["kind"], step["code"], step["value"]) for step in steps], [
            ("set", "name = event.get('name')", "None"),
            ("raise", "return name.lower() == 'x'", "AttributeError: 'NoneType' object has no attribute 'lower'"),
        ])
        self.assertEqual(steps[-1]["operands"], [{"code": "name", "value": "None"}])

    def test_choices_and_simple_detections(self):
        code = "def rule(event):\n    return True if event.get('a') == 1 else event.get('b') == 2\n"
        self.assertEqual(self.deciding({"a": 1}, code), (True, 2, "event.get('a') == 1", "True"))
        self.assertEqual(self.deciding({"b": 3}, code), (False, 2, "event.get('b') == 2", "False"))
        tree = {"Detection": [{"Key": "a", "Condition": "Equals", "Value": "x"}, {"Key": "b", "Condition": "Exists"}]}
        functions = _panther_simple.functions(tree, "simple")
        detection = _panther_detection.Detection({"index": 0, "id": "S", "kind": "RULE"}, {**vars(_panther_simple._panther_conditions), **functions})
        source = _panther_simple.SOURCES["<simple detection simple>"]
        verdict, _error, _steps, decided = _panther_explain.explain(detection, source, PantherEvent({"a": "x"}), lambda function, argument: function(argument))
        self.assertEqual((verdict, decided["code"]), (False, "exists(at(event, ('b',)))"))

    def test_the_module_is_left_as_it_was(self):
        code = "SEEN = 0\n\n\ndef rule(event):\n    global SEEN\n    SEEN += 1\n    return SEEN > 0\n"
        namespace = {}
        exec(compile(code, "rule.py", "exec"), namespace)
        detection = _panther_detection.Detection({"index": 0, "id": "R", "kind": "RULE"}, namespace)
        before = namespace["rule"]
        _panther_explain.explain(detection, code, PantherEvent({}), lambda function, argument: function(argument))
        self.assertEqual((namespace["SEEN"], namespace["rule"] is before), (0, True))


if __name__ == "__main__":
    unittest.main()

"""Errors name the author's file, line and column, and nothing of the engine."""

import re
import unittest

import packs
import _panther_errors
from panther_core import PantherEvent

INTERNAL = re.compile(r"_panther|panther_core|\b\d{4}\.py|/globals/|/models/|/runtime/|/tmp")


def call(function, argument):
    return function(argument)


class Errors(unittest.TestCase):
    def check(self, error, place, text=None):
        for key in ("title", "message", "trace"):
            # `call` stands here, and where the sources lie says nothing of the engine.
            shown = error[key].replace(__file__, "")
            self.assertIsNone(INTERNAL.search(shown), shown)
        self.assertEqual(error["place"], place)
        self.assertTrue(error["message"].endswith(f": {place}"), error["message"])
        if text is not None:
            self.assertIn(text, error["message"])

    def loaded(self, *detections, **rest):
        layer = packs.Layer(list(detections), **rest)
        self.addCleanup(layer.close)
        return layer.load()

    def of_event(self, source, **spec):
        pack = self.loaded({"source": source, "file": "rules/mine.py", **spec})
        return pack.detections[0].test(PantherEvent({"a": {"b": 1}}), call)

    def test_a_syntax_error(self):
        pack = self.loaded({"source": "def rule(event)\n    return True\n", "file": "rules/mine.py"})
        self.check(pack.errors["detection", 0], "rules/mine.py, line 1, column 16", "expected ':'")

    def test_an_exception_at_load(self):
        pack = self.loaded({"source": "import os\nA = {}\nB = A['x']\n", "file": "rules/mine.py"})
        self.check(pack.errors["detection", 0], "rules/mine.py, line 3, column 5")

    def test_a_missing_module(self):
        pack = self.loaded({"source": "import nosuch\ndef rule(event): return True\n", "file": "rules/mine.py"})
        self.check(pack.errors["detection", 0], "rules/mine.py, line 1, column 1", "No module named 'nosuch'")

    def test_a_missing_name_of_a_helper(self):
        pack = self.loaded({"source": "from helper_of_errors import gone\n", "file": "rules/mine.py"}, helpers={"helper_of_errors": "X = 1\n"})
        error = pack.errors["detection", 0]
        # The helper has no file of its own in this layer; the detection's is named.
        self.assertEqual(error["place"], "rules/mine.py, line 1, column 1")

    def test_no_rule(self):
        pack = self.loaded({"source": "def rul(event): return True\n", "file": "rules/mine.py"})
        self.check(pack.errors["detection", 0], "rules/mine.py", "named 'rule'")

    def test_a_data_model_without_its_method(self):
        model = {"log_type": "Test", "source": "def f(event): return 1\n", "file": "models/mine.py", "mappings": [{"name": "x", "method": "g"}]}
        pack = self.loaded(models=[model])
        self.check(pack.errors["model", "model0"], "models/mine.py")

    def test_an_exception_of_a_rule(self):
        self.check(self.of_event("def rule(event):\n    return event['nokey'] == 1\n")["error"], "rules/mine.py, line 2, column 12, in rule", "'nokey'")
        self.check(self.of_event("def f(event):\n    return event.get('a') + 1\ndef rule(event):\n    return f(event)\n")["error"], "rules/mine.py, line 2, column 12, in f")
        self.check(self.of_event("import json\ndef rule(event):\n    return json.loads('{')\n")["error"], "rules/mine.py, line 3, column 12, in rule")
        chained = "def rule(event):\n    try:\n        event['x']\n    except KeyError as error:\n        raise ValueError('no') from error\n"
        error = self.of_event(chained)["error"]
        self.check(error, "rules/mine.py, line 5, column 9, in rule")
        self.assertIn("line 3", error["trace"])

    def test_an_answer_of_the_wrong_kind(self):
        self.check(self.of_event("\ndef rule(event):\n    return 1\n")["error"], "rules/mine.py, line 2, in rule", "returned [int]")
        found = self.of_event("def rule(event):\n    return True\ndef severity(event):\n    return 'HUGE'\n")["functions"]["severity"]["error"]
        self.check(found, "rules/mine.py, line 3, in severity", "HUGE")

    def test_a_simple_detection(self):
        tree = {"Detection": [{"Key": "a", "Condition": "IsHuge", "Value": 1}]}
        pack = self.loaded({"simple": tree, "file": "rules/simple.yml"})
        self.check(pack.errors["detection", 0], "rules/simple.yml", "unknown condition IsHuge")

    def test_paths_in_texts_are_the_authors(self):
        _panther_errors.know("/tmp/layer/globals/own.py", "global_helpers/own.py")
        error = ImportError("cannot import name 'x' from 'own' (/tmp/layer/globals/own.py)")
        self.assertIn("(global_helpers/own.py)", _panther_errors.describe(error)["message"])


if __name__ == "__main__":
    unittest.main()

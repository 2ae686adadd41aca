"""A detection that changes what all detections share is found, and no other one is evaluated with the change."""

import json
import unittest

import packs
from host import Host

HONEST = """
    import base64
    import datetime
    import ipaddress
    import json
    import os
    import re
    from helper import is_wanted
    def rule(event):
        assert json.loads('{"a": [1]}') == {"a": [1]} and json.dumps({"a": 1}) == '{"a": 1}'
        assert re.match("a+", "aa") and len("abc") == 3 and base64.b64decode("YQ==") == b"a"
        assert ipaddress.ip_address("10.0.0.1") in ipaddress.ip_network("10.0.0.0/8")
        assert datetime.datetime.fromisoformat("2024-01-01").year == 2024 and "PLANTED" not in os.environ
        assert event.get("wanted") is True and event.deep_get("deep", "er") == 1
        return is_wanted(event)
"""
HELPER = "def is_wanted(event): return event.get('wanted')\nclass Kept:\n  def get(self): return 1\nCACHE = None\ndef fill():\n  global CACHE\n  CACHE = CACHE or [1]\n  return True"

# What a rule does, and what is said to have been changed.
CHANGES = {
    "import json; json.loads = lambda *a, **k: {}": "json.loads",
    "import json; vars(json)['dumps'] = lambda *a: ''": "json.dumps",
    "import json; json._default_decoder.scan_once = lambda *a: ({}, 2)": "json._default_decoder.scan_once",
    "import json; json.JSONDecoder.decode = lambda self, s: {}": "JSONDecoder.decode",
    "import json; json.loads.__code__ = (lambda s, **k: {}).__code__": "json.loads",
    "import json; json.loads.__kwdefaults__['cls'] = None; json.loads.__defaults__ = ()": "json.loads",
    "import re; re.match = lambda *a: None": "re.match",
    "import datetime; datetime.datetime = None": "datetime.datetime",
    "import builtins; builtins.len = lambda _: 0": "builtins.len",
    "import builtins; builtins.__import__ = None": "builtins.__import__",
    "import ipaddress; ipaddress.IPv4Network.__contains__ = lambda *a: False": "IPv4Network.__contains__",
    "import helper; helper.is_wanted = lambda _: False": "helper.is_wanted",
    "import helper; helper.Kept.get = None": "helper.Kept.get",
    "import sys, types; sys.modules['json'] = types.ModuleType('json')": "sys.modules.json",
    "import sys; del sys.modules['re']": "sys.modules.re",
    "import os; os.environ['PLANTED'] = '1'": "os.environ",
    "import sys; sys.setrecursionlimit(100)": "the recursion limit",
    "type(event).get = lambda *a: None": "PantherEvent.get",
    "import panther_core; panther_core.PantherEvent.__init__ = lambda *a: None": "PantherEvent.__init__",
    "import gc; gc.disable()": "the garbage collector",
}
EVENTS = 12


def planted(change):
    """A rule that does it at its third event."""
    return f"N = 0\ndef rule(event):\n  global N\n  N += 1\n  if N == 3:\n    {change}\n  return False"


class SharedState(unittest.TestCase):
    def run_beside_honest_rules(self, source):
        event = ("Test", json.dumps({"wanted": True, "deep": {"er": 1}}).encode(), [0, 1, 2])
        with packs.Layer([HONEST, source, HONEST], helpers={"helper": HELPER}) as layer, Host(layer.path) as host:
            results, _ = host.batch([event] * EVENTS)
        return results, host

    def test_each_change_is_found_and_harms_no_other_rule(self):
        for change, name in CHANGES.items():
            with self.subTest(change):
                results, host = self.run_beside_honest_rules(planted(change))
                for number in range(EVENTS):
                    of = {result["rule"]: result for result in results[number]}
                    self.assertIn("match", of[0], of)
                    self.assertIn("match", of[2], of)
                blamed = {result["rule"] for of in results.values() for result in of if result.get("error", {}).get("type") == "SharedStateChanged"}
                self.assertEqual(blamed, {1})
                self.assertTrue(any(name in changed for changed in host.changes), host.changes)

    def test_what_modules_note_themselves_is_no_change(self):
        source = """
            import base64, calendar, datetime, random, re, string, sys, uuid
            import helper
            def rule(event):
                datetime.datetime.strptime("2024-01-01 +0000", "%Y-%m-%d %z")
                re.compile("a" + str(random.random())); base64.a85encode(b"abc"); uuid.uuid1(); random.seed(1)
                import decimal, mimetypes, html.parser, xml.dom
                mimetypes.guess_type("a.txt")
                sys.unrelated = 1
                return helper.fill()
        """
        results, host = self.run_beside_honest_rules(source)
        self.assertEqual(host.changes, [])
        self.assertTrue(all("match" in result for of in results.values() for result in of), results[0])

    def test_a_unit_test_shows_it_to_the_author(self):
        source = "import json\ndef rule(event):\n  json.loads = len\n  return True"
        with packs.Layer([source, "import json\ndef rule(event): return json.loads('true')"]) as layer, Host(layer.path) as host:
            (found,) = host.test(0, [("a", {}, [])])
            self.assertEqual((found["error"]["type"], "json.loads" in found["error"]["message"]), ("SharedStateChanged", True))
            self.assertTrue(host.test(1, [("b", {}, [])])[0]["output"])

    def test_a_file_that_changes_it_while_it_is_loaded_is_left_out(self):
        source = "import json\njson.loads = lambda *a: {}\ndef rule(event): return True"
        with packs.Layer([HONEST, source, HONEST], helpers={"helper": HELPER}) as layer, Host(layer.path) as host:
            errors = [of["error"] for of in host.loaded["detections"]]
        self.assertEqual((errors[0], errors[2]), (None, None))
        self.assertIn("changed json.loads, which all detections share", errors[1]["message"])


if __name__ == "__main__":
    unittest.main()

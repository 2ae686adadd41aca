"""Rules that hang, exit, fork, print, eat memory or kill their worker harm themselves only."""

import importlib.util
import json
import tempfile
import unittest

import packs
from host import Host

GOOD = "def rule(event): return True\ndef title(event): return 'good'"
LIMITS = {"rule_ms": 300, "memory_bytes": 600 << 20}


def run(rules, events=({"n": 1}, {"n": 2}), limits=None, **layer):
    """Results {event: {rule: result}} of all rules on all events, and the host."""
    with packs.Layer(rules, **layer) as made, Host(made.path, limits={**LIMITS, **(limits or {})}) as host:
        batch = [("Test", json.dumps(event).encode(), list(range(len(rules)))) for event in events]
        results, _ = host.batch(batch)
        return {n: {r["rule"]: r for r in of} for n, of in results.items()}, host


class Running(unittest.TestCase):
    def check(self, bad, error, deaths=0, message=None, **more):
        results, host = run([GOOD, bad, GOOD], **more)
        for event in (0, 1):
            self.assertEqual(results[event][0]["match"]["title"], "good")
            self.assertEqual(results[event][2]["match"]["title"], "good")
            self.assertEqual(results[event][1]["error"]["type"], error, results[event][1])
            if message:
                self.assertIn(message, results[event][1]["error"]["message"])
        self.assertEqual(host.deaths, deaths)

    def test_hang(self):
        self.check("def rule(event):\n  while True: pass", "DetectionTimeout", message="timed out after 300 ms")

    def test_sleep(self):
        self.check("import time\ndef rule(event): time.sleep(60)", "DetectionTimeout")

    def test_hang_that_catches_everything(self):
        # whether an interruption finds it outside its `try`, or the host has to kill it, is chance
        source = "def rule(event):\n  while True:\n    try:\n      while True: pass\n    except BaseException: pass"
        results, _ = run([GOOD, source, GOOD])
        for event in (0, 1):
            self.assertIn(results[event][1]["error"]["type"], ("DetectionTimeout", "WorkerKilled"))
            self.assertIn("match", results[event][0])
            self.assertIn("match", results[event][2])

    def test_hang_that_nothing_interrupts_is_killed(self):
        self.check("def rule(event): return sum(range(10 ** 13)) > 0", "WorkerKilled", deaths=2)

    def test_sys_exit(self):
        self.check("import sys\ndef rule(event): sys.exit(3)", "SystemExit")

    def test_os_exit(self):
        self.check("import os\ndef rule(event): os._exit(3)", "WorkerDied", deaths=2)

    def test_killing_itself(self):
        self.check("import os, signal\ndef rule(event): os.kill(os.getpid(), signal.SIGKILL)", "PermissionError")

    def test_fork(self):
        self.check("import os\ndef rule(event): return os.fork() == 0", "DetectionForbidden", message="start a process")

    def test_subprocess(self):
        self.check("import subprocess\ndef rule(event): return bool(subprocess.run(['true']))", "DetectionForbidden")

    def test_thread(self):
        source = "import threading\ndef rule(event):\n  threading.Thread(target=print).start()\n  return True"
        self.check(source, "DetectionForbidden", message="start a thread")

    def test_memory(self):
        self.check("def rule(event): return bool(bytearray(2 << 30))", "MemoryError")

    def test_recursion(self):
        self.check("def rule(event): return rule(event)", "RecursionError")

    def test_not_a_bool(self):
        self.check("def rule(event): return None", "FunctionReturnTypeError")

    def test_exception_that_cannot_be_shown(self):
        source = "class E(Exception):\n  def __str__(self): raise SystemExit\n  __repr__ = __str__\ndef rule(event): raise E()"
        self.check(source, "E")

    def test_printing_reaches_nobody(self):
        source = "import sys, os\ndef rule(event):\n  print('x' * 100000); sys.stderr.write('y'); os.write(1, b'z'); os.write(2, b'z')\n  return True"
        results, host = run([source, GOOD])
        self.assertIn("match", results[0][0])
        self.assertIn("match", results[1][1])
        self.assertEqual(host.deaths, 0)

    def test_files_are_not_written(self):
        with tempfile.TemporaryDirectory() as folder:
            source = f"def rule(event):\n  with open({folder + '/x'!r}, 'wb', buffering=0) as f:\n    f.write(b'x')\n  return True"
            self.check(source, "PermissionError", message="Permission denied")

    def test_hang_in_a_function_after_rule(self):
        results, host = run([GOOD.replace("return 'good'", "\n  while True: pass"), GOOD])
        match = results[0][0]["match"]
        self.assertIsNone(match["title"])
        self.assertIn("DetectionTimeout", match["errors"]["title"])
        self.assertIn("match", results[0][1])
        self.assertEqual(host.deaths, 0)

    def test_an_event_is_not_changed_for_the_next_rule(self):
        bad = "def rule(event):\n  event.to_dict()['a'].append(1); event.deep_walk('a').append(2)\n  return True"
        good = "def rule(event): return event.get('a') == [0, 0]"
        results, _ = run([bad, good], events=({"a": [0, 0]},))
        self.assertIn("match", results[0][1])

    def test_texts_that_utf8_cannot_hold(self):
        source = "def rule(event): return True\ndef title(event): return event.get('a')\ndef alert_context(event): return {'a': event.get('a')}"
        with packs.Layer([source]) as layer, Host(layer.path) as host:
            results, _ = host.batch([("Test", b'{"a": "x\\ud800y"}', [0])])
        self.assertEqual(results[0][0]["match"]["title"], "x?y")

    def test_events_that_cannot_be_read(self):
        deep = b"[" * 100_000 + b"]" * 100_000
        with packs.Layer([GOOD]) as layer, Host(layer.path) as host:
            results, _ = host.batch([("Test", deep, [0]), ("Test", b"{", [0]), ("Test", b"\xff", [0]), ("Test", b"[1]", [0]), ("Test", b"{}", [0])])
        self.assertEqual([results[n][0].get("error", {}).get("type") for n in range(3)], ["RecursionError", "JSONDecodeError", "UnicodeDecodeError"])
        self.assertIn("match", results[4][0])


class Loading(unittest.TestCase):
    def check(self, bad, error, **more):
        with packs.Layer([GOOD, bad, GOOD], **more) as layer, Host(layer.path, limits=LIMITS) as host:
            loaded = host.loaded["detections"]
            self.assertIsNone(loaded[0]["error"])
            self.assertIsNone(loaded[2]["error"])
            self.assertEqual(loaded[1]["error"]["type"], error, loaded[1])
            results, _ = host.batch([("Test", b"{}", [0, 1, 2])])
            self.assertEqual([("match" in r, r.get("error", {}).get("type")) for r in results[0]], [(True, None), (False, error), (True, None)])
            return loaded[1]["error"]

    def test_syntax(self):
        self.assertIn("line 1", self.check("def rule(event: return", "SyntaxError")["message"] + " line 1")

    def test_missing_module(self):
        self.check("import no_such_module", "ModuleNotFoundError")

    def test_exit(self):
        self.check("import sys; sys.exit(0)", "SystemExit")

    def test_hard_exit(self):
        self.assertIn("exit 7", self.check("import os; os._exit(7)", "LoadDied")["message"])

    def test_hang(self):
        self.assertIn("timed out", self.check("while True: pass", "LoadDied")["message"])

    def test_memory(self):
        self.check("x = bytearray(8 << 30)", "MemoryError")

    def test_fork_at_import(self):
        self.check("import os\nif os.fork() == 0: os._exit(0)", "DetectionForbidden")

    def test_no_rule(self):
        self.check("x = 1", "SetupError")

    def test_a_helper_that_dies_fails_only_what_imports_it(self):
        self.check("import bad_helper\ndef rule(event): return True", "ImportError", helpers={"bad_helper": "import os; os._exit(1)"})

    def test_the_aws_library_is_stood_in_for(self):
        helper = "import boto3\nfrom botocore.exceptions import NoCredentialsError\ndef table() -> boto3.resource: return boto3.resource('dynamodb')"
        source = "import helper\ndef rule(event): return event.get('a') == 1 or bool(helper.table())"
        with packs.Layer([source], helpers={"helper": helper}) as layer, Host(layer.path) as host:
            results, _ = host.batch([("Test", b'{"a": 1}', [0]), ("Test", b"{}", [0])])
        self.assertIn("match", results[0][0])
        if importlib.util.find_spec("boto3") is None:
            self.assertIn("resource_lookup is not available", results[1][0]["error"]["message"])

    def test_an_installed_aws_library_is_imported_when_it_is_used(self):
        library = """
            import sys
            sys.imported_boto3 = True
            def resource(name): return name
            def client(name): return name
            NAMES = ["a"]
        """
        source = """
            import sys
            import boto3
            annotated = boto3.resource
            at_first = hasattr(sys, "imported_boto3")
            def rule(event):
                before = hasattr(sys, "imported_boto3")
                return eval(event["use"]) and not at_first and not before and sys.imported_boto3 and boto3.__file__.endswith("boto3.py")
        """
        uses = ["annotated('b') == 'b'", "boto3.client('b') == 'b'", "boto3.NAMES == ['a']", "__import__('importlib').import_module('boto3') is boto3 and boto3.NAMES"]
        for use in uses:
            with packs.Layer([source], helpers={"boto3": library}) as layer, Host(layer.path) as host:
                results, _ = host.batch([("Test", json.dumps({"use": use}).encode(), [0])])
            self.assertIn("match", results[0][0], use)

    def test_bad_simple_detection(self):
        self.check({"simple": {"Detection": [{"Key": "a", "Condition": "Nonsense", "Value": 1}]}}, "BadDetection")

    def test_bad_filter(self):
        self.check({"source": GOOD, "inline_filters": [{"and": [{"target": "a", "operator": "?"}]}]}, "BadFilter")


class Tests(unittest.TestCase):
    def test_mocks_stand_in_the_rules_module_and_go_again(self):
        source = """
            import json
            from unittest.mock import MagicMock
            ALLOWED = ["live"]
            def helper(): return "real"
            def rule(event):
                global ALLOWED
                if isinstance(ALLOWED, MagicMock):
                    ALLOWED = json.loads(ALLOWED())
                return event.get("who") in ALLOWED
            def title(event): return helper()
        """
        mocks = [{"objectName": "ALLOWED", "returnValue": '["mocked"]'}, {"objectName": "helper", "returnValue": "mock"}]
        with packs.Layer([source]) as layer, Host(layer.path) as host:
            found = host.test(0, [("a", {"who": "mocked"}, mocks), ("b", {"who": "live"}, []), ("c", {}, [{"objectName": "nosuch", "returnValue": 1}])])
        self.assertEqual([f["output"] for f in found], [True, True, None])
        self.assertEqual([f["functions"].get("title", {}).get("output") for f in found], ["mock", "real", None])
        self.assertEqual(found[2]["error"]["type"], "AttributeError")

    def test_the_data_model_is_that_of_the_events_own_field(self):
        model = {"log_type": "Test", "mappings": [{"name": "user", "path": "$.u"}]}
        with packs.Layer(["def rule(event): return event.udm('user') == 'x'"], models=[model]) as layer, Host(layer.path) as host:
            found = host.test(0, [("a", {"u": "x", "p_log_type": "Test"}, []), ("b", {"u": "x"}, [])])
            live, _ = host.batch([("Test", b'{"u": "x"}', [0]), ("Other", b'{"u": "x"}', [0])])
        self.assertEqual([f["output"] for f in found], [True, False])
        self.assertEqual(list(live), [0])

    def test_module_globals_outlive_an_event(self):
        source = "N = 0\ndef rule(event):\n  global N\n  N += 1\n  return N == 2"
        with packs.Layer([source]) as layer, Host(layer.path) as host:
            self.assertEqual([f["output"] for f in host.test(0, [("a", {}, []), ("b", {}, [])])], [False, True])


if __name__ == "__main__":
    unittest.main()

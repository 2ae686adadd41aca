"""Guards hold wherever rule() fires, raises or acts: on rules made for it, and on random ones."""

import random
import textwrap
import unittest
import warnings

import packs
import guard_eval
from _panther_guard import guards_of
from panther_core import PantherEvent

VALUES = (None, True, False, 0, 1, 6, 1.0, "", "a", "A", "b", "ab", "abc", "6", "None", "True", [], ["a"], [None], [["a"]], [{"x": "a"}], {}, {"x": "a"}, {"y": {"x": "b"}}, {"X": "a"}, {"x": 1})
KEYS = ("x", "y", "z", "X", "Y")


def random_value(rng, depth=0):
    if depth < 3 and rng.random() < 0.35:
        return {rng.choice(KEYS): random_value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return rng.choice(VALUES)


def random_event(rng):
    return {rng.choice((*KEYS, "p_udm")): random_value(rng) for _ in range(rng.randrange(6))}


class RandomRule:
    """A random rule() out of what the guard's reading knows, and some that it does not."""

    def __init__(self, rng):
        self.rng = rng
        self.locals = []

    def constant(self):
        return self.rng.choice(("'a'", "'b'", "'ab'", "''", "(6)", "(1)", "(None)", "(True)", "(False)", "'6'", "'A'"))

    def text(self):
        return self.rng.choice(("'a'", "'b'", "'ab'", "'x'", "'6'"))

    def field(self):
        rng = self.rng
        key, other = rng.choice(("'x'", "'y'", "'z'")), rng.choice(("'x'", "'y'"))
        default = rng.choice(("", "", ", ''", ", {}", ", []", ", 'a'", ", None", ", False", ", True", ", event.get('z')"))
        keyword = rng.choice(("", "", ", default=''", ", default='a'", ", default={}", ", default=True", ", default=[]"))
        return rng.choice((
            f"event.get({key}{default})", f"event.get({key}{default})", f"event[{key}]", f"event.deep_get({key}, {other}{keyword})",
            f"event.get({key}, {{}}).get({other}{default})", f"(event.get({key}) or {{}}).get({other})", f"event.udm({key}{keyword})",
            f"event.udm('m{rng.randrange(5)}'{keyword})", f"event.deep_walk({key}, {other}{keyword})", f"helper{rng.randrange(5)}(event, {key})", f"event.deep_get({key}{keyword})",
        ))  # fmt: skip

    def value(self, depth=0):
        rng = self.rng
        if self.locals and rng.random() < 0.3:
            return rng.choice(self.locals)
        return rng.choice((self.field, self.field, self.field, self.constant, lambda: f"str({self.field()})", lambda: f"{self.field()}.lower()", lambda: f"len({self.field()})", lambda: f"({self.condition(depth + 2)} and {self.field()})", lambda: f"({self.field()} if {self.condition(depth + 2)} else {self.constant()})"))()

    def condition(self, depth=0):
        rng = self.rng
        if depth > 3:
            return f"{self.field()} == {self.constant()}"
        value = self.value(depth)
        simple = (
            f"{value} == {self.constant()}", f"{value} != {self.constant()}", f"{self.constant()} == {value}", f"{value} in ('a', 'b', None)", f"{value} in {{'a', '6'}}", f"{value} in WORDS",
            f"{value} not in ['a', 6]", f"{value} not in SET", f"{value} in TABLE", f"{value} is None", f"{value} is not None", f"{value} is True", f"{self.text()} in {value}", f"{self.text()} not in {value}",
            f"{value}.startswith({self.text()})", f"{value}.endswith(('a', 'b'))", f"{value}.lower() == {self.text()}", f"str({value}) == {self.text()}", f"str({value}).startswith('a')",
            value, f"bool({value})", f"isinstance({value}, str)", f"isinstance({value}, (list, dict))", f"isinstance({value}, Mapping)", f"len({value}) > 1", f"{value} > 3",
            f"'x' in event", f"'x' not in event", f"any(w == {value} for w in WORDS)", f"all(w != {value} for w in ('a', 'b'))", f"any(item == 'a' for item in {value})", f"all(item for item in {value})",
            f"fnmatch({value}, 'a*')", f"re.search('a', {value})", f"PATTERN.match({value})", f"(w := {value}) == 'a'", f"helper0(event, 'x') == 'a'", f"TABLE.get({value}) == 1", f"{value}.split('a')[0] == 'b'",
            f"{value} in TABLE.keys()", f"{value} == {self.value(depth + 2)}", f"bool({value} and {self.value(depth + 2)})", f"unknown({value})", f"int({value}) == 6", f"{value} in {self.field()}", f"'a' + {value} == 'ab'", f'f"""{{{value}}}""" == "a"',
        )  # fmt: skip
        if rng.random() < 0.55:
            return "(" + rng.choice(simple) + ")"
        a, b = self.condition(depth + 1), self.condition(depth + 1)
        return rng.choice((f"({a} and {b})", f"({a} or {b})", f"(not {a})", f"all([{a}, {b}])", f"any([{a}, {b}])", f"all(({a}, {b}))", f"({a} if {b} else {self.condition(depth + 1)})"))

    def block(self, depth=0, looping=False):
        rng = self.rng
        lines = []
        for _ in range(rng.randrange(1, 4)):
            what = rng.random()
            if what < 0.3:
                name = rng.choice("uvw")
                lines.append(f"{name} = {rng.choice((self.value, self.condition))()}")
                self.locals.append(name)
            elif what < 0.65 and depth < 3:
                lines.append(f"if {self.condition()}:")
                lines += self.block(depth + 1, looping)
                if rng.random() < 0.3:
                    lines.append("else:")
                    lines += self.block(depth + 1, looping)
            elif what < 0.75 and depth < 2:
                lines.append(f"for t in {rng.choice((self.field(), 'WORDS', '(1, 2)', self.field() + '.keys()', self.field() + ' or []'))}:")
                lines += self.block(depth + 1, True)
            elif what < 0.82 and depth < 2:
                lines.append("try:")
                lines += self.block(depth + 1, looping)
                lines.append(f"except {rng.choice(('Exception', 'ValueError', '(KeyError, TypeError)', 'AttributeError'))}:")
                lines += self.block(depth + 1, looping)
            elif looping and what < 0.86:
                lines.append(rng.choice(("continue", "break")))
                break
            elif what < 0.9:
                lines.append(f"return {rng.choice((self.condition(), self.condition(), 'False', 'False', 'True', self.value()))}")
                break
            else:
                lines.append(rng.choice((self.condition(), "STATE.append(1)", "bump()", "pass", "x2 = event.get('x')")))
        return ["    " + line for line in lines]

    def source(self):
        """A rule that compiles."""
        while True:
            self.locals = []
            source = self._source()
            try:
                compile(source, "rule", "exec")
            except SyntaxError:
                continue
            return source

    def _source(self):
        body = [*self.block(), f"    return {self.rng.choice((self.condition(), 'False', 'False'))}"]
        return PRELUDE + "def rule(event):\n" + "\n".join(body) + "\n"


PRELUDE = textwrap.dedent(
    """
    import re
    from collections.abc import Mapping
    from fnmatch import fnmatch
    from helpers import helper0, helper1, helper2, helper3, helper4
    WORDS = ["a", "ab"]
    SET = {"a", "b"}
    TABLE = {"a": 1, "6": 2}
    PATTERN = re.compile("a")
    STATE = []
    COUNT = 0
    def bump():
        global COUNT
        COUNT += 1
    def unknown(value):
        return [value].count("a") > 0
    """
)

HELPERS = """
    def helper0(event, key):
        return event.get(key)
    def helper1(event, key, other="x"):
        found = event.deep_get(key, other)
        if not found:
            return None
        return found
    def helper2(event, *keys, default=None):
        for key in keys:
            if key in event:
                return event.get(key)
        return default
    def helper3(event, key):
        try:
            return event[key]["x"].lower()
        except (KeyError, TypeError):
            return ""
    def helper4(event, key):
        return event.get(key) == "a" and event.get("y") != "b"
"""

MODELS = [
    {
        "log_type": "Test",
        "mappings": [{"name": "m0", "path": "$.x"}, {"name": "m1", "path": "$.y.x"}, {"name": "m2", "method": "pick"}, {"name": "m3", "method": "dig"}],
        "source": "def pick(event):\n  if event.get('x') == 'a':\n    return 'b'\n  return event.get('y')\ndef dig(event):\n  return event['y']['x']\n",
    }
]


class Sound(unittest.TestCase):
    def check(self, sources, seed, events):
        rng = random.Random(seed)
        with packs.Layer(sources, helpers={"helpers": HELPERS}, models=MODELS) as layer:
            pack = layer.load()
            self.assertEqual(len(pack.detections), len(sources), pack.errors)
            left_out = pairs = told = 0
            for detection in pack.detections.values():
                guard, _, _ = guards_of(pack, detection)
                told += guard is not True
                for _ in range(events):
                    event = random_event(rng)
                    state = len(detection.namespace["STATE"]), detection.namespace["COUNT"]
                    try:
                        answer = repr(detection.namespace["rule"](PantherEvent(event, pack.models["Test"])))
                    except Exception as error:  # pylint: disable=broad-exception-caught
                        answer = repr(error)
                    quiet = answer == "False" and state == (len(detection.namespace["STATE"]), detection.namespace["COUNT"])
                    held = guard_eval.holds(guard, event)
                    pairs += 1
                    left_out += not held
                    self.assertTrue(quiet or held, f"{answer}\n{event}\n{guard}\n{sources[detection.index]}")
        return told, left_out, pairs

    def test_random_rules(self):
        warnings.simplefilter("ignore", SyntaxWarning)
        for seed in range(6):
            rng = random.Random(seed)
            sources = [RandomRule(rng).source() for _ in range(150)]
            told, left_out, _ = self.check(sources, seed, 60)
            self.assertGreater(told, 10)
            self.assertGreater(left_out, 100)


class Found(unittest.TestCase):
    """What guards are expected to find, so that they stay worth having."""

    CASES = [
        ("return event.get('x') == 'a'", {"eq": [["x"], "a"]}),
        ("return event.deep_get('x', 'y') in ('a', 'b')", {"in": [["x", "y"], ["a", "b"]]}),
        ("if event.get('x') != 'a':\n    return False\n  return unknown(event)", {"eq": [["x"], "a"]}),
        ("return all([event.get('x') == 'a', event.get('y') == 'b'])", {"all": [{"eq": [["x"], "a"]}, {"eq": [["y"], "b"]}]}),
        ("return event.get('x') == 'a' and event.get('y').startswith('b')", None),
        ("return helper0(event, 'x') == 'a'", {"eq": [["x"], "a"]}),
        ("return event.get('x').lower() == 'a'", None),
        ("return str(event.get('x')) == '6'", {"in": [["x"], ["6", 6, 6.0]]}),
        ("return 'x' in event and event.get('x') == 'a'", {"eq": [["x"], "a"]}),
        ("return event.get('x') in {'a'}", None),
        ("return bool(event.get('x')) and unknown(event)", {"truthy": ["x"]}),
    ]  # fmt: skip

    def test_cases(self):
        sources = [PRELUDE + f"def rule(event):\n  {body}\n" for body, _ in self.CASES]
        with packs.Layer(sources, helpers={"helpers": HELPERS}) as layer:
            pack = layer.load()
            for index, (body, expected) in enumerate(self.CASES):
                with self.subTest(body):
                    guard = guards_of(pack, pack.detections[index])[0]
                    self.assertIsNot(guard, True)
                    if expected is not None:
                        self.assertTrue(_same(guard, expected), guard)

    def test_no_guard_where_something_acts_first(self):
        bodies = ("bump()\n  return event.get('x') == 'a'", "STATE.append(1)\n  return event.get('x') == 'a'", "global COUNT\n  COUNT = 1\n  if event.get('x'):\n    COUNT = 2\n  print(COUNT)\n  return False", "event['x']['y']\n  while True:\n    return False")
        with packs.Layer([PRELUDE + f"def rule(event):\n  {body}\n" for body in bodies], helpers={"helpers": HELPERS}) as layer:
            pack = layer.load()
            for detection in pack.detections.values():
                self.assertIs(guards_of(pack, detection)[0], True, bodies[detection.index])

    def test_constants_that_some_function_changes_are_not_taken(self):
        source = PRELUDE.replace("def unknown", "def grow():\n    WORDS.append('c')\ndef unknown") + "def rule(event): return event.get('x') in WORDS\n"
        with packs.Layer([source], helpers={"helpers": HELPERS}) as layer:
            pack = layer.load()
            guard = guards_of(pack, pack.detections[0])[0]
            self.assertTrue(guard is True or guard_eval.holds(guard, {"x": "c"}))


def _same(guard, expected):
    def plain(node):
        if isinstance(node, dict):
            return sorted((key, plain(value)) for key, value in node.items())
        if isinstance(node, list):
            return sorted((repr(plain(item)) for item in node))
        return node

    return plain(guard) == plain(expected)


if __name__ == "__main__":
    unittest.main()

"""Tries to break the guards: no pair of event and rule that fires, raises or acts may be guarded away.

    guards.py --pack FOLDER [--samples FOLDER] [--mutations N] [--seed N]

Events are those of the pack's unit tests, real CloudTrail records, and mutations of both: fields
removed, replaced, spelt in another case, wrapped, with values of other fields or of the rules' own
constants. Every rule of the log type runs on each (and, where a guard is False or True, that is counted).
Run with a Python that has PyYAML and what the pack imports. Exit code 1 if a guard was unsound.
"""

import argparse
import ast
import collections
import copy
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import guard_eval
import layer as layers
from compare import read_records

ODD = (None, True, False, 0, 1, 6, -1, 1.0, "", "x", "None", [], {}, ["x"], [{}], {"x": 1}, [[]], "É", "arn:aws:iam::1:user/x")


class Mutator:
    """Random changes to an event, with what the rules and the event itself speak of."""

    def __init__(self, seed, words):
        self.random = random.Random(seed)
        self.words = words

    def __call__(self, event):
        event = copy.deepcopy(event)
        for _ in range(self.random.choice((1, 1, 1, 2, 3, 5))):
            self._once(event)
        return event

    def _places(self, event):
        places, todo = [], [event]
        while todo:
            value = todo.pop()
            for key in value if isinstance(value, dict) else range(len(value)):
                places.append((value, key))
                if isinstance(value[key], (dict, list)):
                    todo.append(value[key])
        return places

    def _once(self, event):
        places = self._places(event)
        if not places:
            return
        pick = self.random
        parent, key = pick.choice(places)
        what = pick.randrange(8)
        if what == 0:
            if isinstance(parent, dict):
                del parent[key]
            else:
                parent.pop(key)
        elif what == 1:
            parent[key] = copy.deepcopy(pick.choice(ODD))
        elif what == 2 and isinstance(parent, dict):
            items = list(parent.items())
            parent.clear()
            for name, value in items:
                parent[pick.choice((name.upper(), name.lower(), name.swapcase())) if name == key else name] = value
        elif what == 3:
            parent[key] = pick.choice(([parent[key]], {"x": parent[key]}, {key if isinstance(key, str) else "x": parent[key]}, json.dumps(parent[key])))
        elif what == 4:
            other, name = pick.choice(places)
            parent[key] = copy.deepcopy(other[name])
        elif what == 5:
            parent[key] = pick.choice(self.words)
        elif what == 6 and isinstance(parent[key], str):
            parent[key] = pick.choice((parent[key].upper(), parent[key].lower(), parent[key] + "x", parent[key][:-1], "x" + parent[key]))
        elif what == 7 and isinstance(parent, dict):
            # another spelling beside the key, in front of it or behind it
            twin = key.swapcase()
            items = list(parent.items())
            parent.clear()
            for name, value in items:
                if name == key and pick.random() < 0.5:
                    parent[twin] = copy.deepcopy(pick.choice(ODD))
                parent[name] = value
            parent.setdefault(twin, pick.choice(self.words))


def load(layer):
    """The pack as the runner loads it, in this process, with its store in memory."""
    sys.path.insert(0, str(layer / "runtime"))
    import _panther_guard
    import _panther_limits
    import _panther_pack
    import _panther_store

    pack = _panther_pack.Pack(str(layer))
    sys.path.insert(0, str(layer / "globals"))
    pack._compile(_panther_pack._Board(), {})
    watch = _panther_limits.Watch(10_000)
    for item in pack._items:
        pack._load_item(item, watch)
    _panther_store.current._ask = lambda key: None
    _panther_store.current.begin(time.time())
    return pack, _panther_guard, _panther_store.current


def written_names(path):
    """Names that the file's functions declare global, but for those that rule() itself sets anew first."""
    import _panther_guard

    tree = ast.parse(Path(path).read_text())
    rules = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "rule"]
    anew = _panther_guard.reset_names(rules[-1]) if rules else ()
    return {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names if name not in anew}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pack", required=True)
    parser.add_argument("--samples")
    parser.add_argument("--mutations", type=int, default=10, help="mutations of each event")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="panther-guards-") as folder:
        layer = Path(folder) / "layer"
        documents = layers.lay(layers.read_pack(arguments.pack), layer)
        pack, guard_module, store = load(layer)
        from panther_core import PantherEvent

        rules = collections.defaultdict(list)
        guards, special, notes, words, written = {}, {}, collections.Counter(), set(), {}
        started = time.perf_counter()
        for index, detection in pack.detections.items():
            if detection.kind != "RULE":
                continue
            guards[index], special[index], note = guard_module.guards_of(pack, detection)
            notes[note] += 1
            for log_type in detection.log_types:
                rules[log_type].append(index)
        spent = time.perf_counter() - started
        for path in (layer / "detections").iterdir():
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 80:
                    words.add(node.value)
            written[path.name] = written_names(path)
        print(f"{len(guards)} rules read in {spent:.2f} s: {dict(notes)}")

        events = []
        for index, document in documents.items():
            if document["AnalysisType"] == "rule":
                for test in document.get("Tests") or ():
                    event = test.get("Log") or {}
                    named = event.get("p_log_type")
                    for log_type in [named] if named in rules else document["LogTypes"]:
                        events.append((log_type, event))
        tests = len(events)
        if arguments.samples:
            events += [("AWS.CloudTrail", json.loads(line)) for line in read_records(arguments.samples)]
        mutate = Mutator(arguments.seed, sorted(words))
        counts, unsound, left = collections.Counter(), [], collections.Counter()
        for number, (log_type, original) in enumerate(events):
            sets = 1 + (arguments.mutations if number < tests else max(1, arguments.mutations // 10))
            for turn in range(sets):
                event = original if turn == 0 else mutate(original)
                view = PantherEvent(event, pack.models.get(log_type))
                counts["events"] += 1
                for index in rules[log_type]:
                    counts["pairs"] += 1
                    guard = special[index].get(log_type, guards[index])
                    guarded = not guard_eval.holds(guard, event)
                    counts["pairs left out"] += guarded
                    detection = pack.detections[index]
                    names = written.get(f"{index:04}.py", ())
                    before = [detection.namespace.get(name) for name in names]
                    try:
                        quiet = detection.namespace["rule"](view) is False
                    except BaseException:
                        quiet = False
                    acted = bool(store.take_ops()) or any(
                        detection.namespace.get(name) is not old for name, old in zip(names, before)
                    )
                    if not quiet:
                        counts["pairs that fire or raise"] += 1
                    elif acted:
                        counts["quiet pairs that act"] += 1
                    if guarded and (not quiet or acted):
                        left[detection.id] += 1
                        if left[detection.id] <= 3:
                            unsound.append((detection.id, log_type, quiet, acted, guard, event))
        for name, value in counts.items():
            print(f"  {name}: {value}")
        print(f"  pairs left: {100 * (1 - counts['pairs left out'] / counts['pairs']):.1f} %")
        for entry in unsound[:30]:
            print(f"UNSOUND {entry!r:.1500}")
        print(f"unsound: {sum(left.values())} pairs of {len(left)} rules")
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main()

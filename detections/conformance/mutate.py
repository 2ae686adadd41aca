"""Events that nobody wrote: those of a pack's unit tests with a field or three changed, for comparing engines where real events do not go.

    mutate.py --pack FOLDER --out FOLDER [--seed N] [--each N] [--log-types A,B]

Writes `<log type>.mutated.jsonl` for each log type that some enabled rule looks at. The same seed gives the same events.
"""

import argparse
import copy
import json
import random
from pathlib import Path

import layer as layers

# What a field is replaced by: the values at which languages differ.
INSTEAD = [
    None, True, False, 0, 1, -1, 7, 2**31, 2**63 - 1, 2**63, 10**30, 0.0, 1.5, -0.25, 1e16, 1e22, 1e-7, "", " ", "x", "None", "0", "1.5", "true",
    "a'b", 'a"b', "a'b\"c", "back\\slash", "line\nbreak", "end\n", "tab\t", "\x00", "\x1c", "\x7f", "é", "ß", "İstanbul", "ﬁ", "\u212a", "日本", "😀", "\u2028",
    "10.0.0.1", "8.8.8.8", "100.64.0.1", "::1", "fe80::1", "999.1.1.1", "10.0.0.0/8", "a@b.example", "arn:aws:iam::123456789012:user/x", "2024-01-02T03:04:05Z",
    "2024-01-02 03:04:05.678", "1700000000", "*", "a,b", "a/b/c", "a:b", "%20", "{}", '{"a": 1}', "[1]", [], [None], ["x"], ["x", "y"], [1, "1", 1.0, True], [[]], [["x"]],
    [{}], [{"a": 1}], {}, {"a": 1}, {"A": {"b": []}}, {"key": "value", "Key": "other"}, {"": ""},
]  # fmt: skip


def paths(value, at=()):
    """Ways to everything inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*at, key)
        yield from paths(item, (*at, key))


def holder(event, path):
    for key in path[:-1]:
        event = event[key]
    return event


def recased(text, chance):
    return chance.choice([text.upper(), text.lower(), text.swapcase(), text[:1].swapcase() + text[1:]])


def change(event, chance, pool):
    """Changes one thing in place."""
    found = list(paths(event))
    if not found:
        event["x"] = chance.choice(INSTEAD)
        return
    path = chance.choice(found)
    inside, key = holder(event, path), path[-1]
    value = inside[key]
    what = chance.randrange(11)
    if what == 0:
        del inside[key]
    elif what in (1, 2):
        inside[key] = copy.deepcopy(chance.choice(INSTEAD))
    elif what == 3 and isinstance(key, str):
        items = [(recased(name, chance) if name == key else name, item) for name, item in inside.items()]
        inside.clear()
        inside.update(items)
    elif what == 4:
        inside[key] = [value]
    elif what == 5 and isinstance(value, str) and value:
        cut = chance.randrange(len(value))
        inside[key] = chance.choice([value[:cut], value[cut:], value + value, value + chance.choice(["\n", " ", "é", "x"])])
    elif what == 6 and isinstance(value, str):
        inside[key] = recased(value, chance)
    elif what == 7:
        inside[key] = copy.deepcopy(chance.choice(pool))
    elif what == 8 and isinstance(key, str):
        inside[recased(key, chance)] = copy.deepcopy(chance.choice(INSTEAD))
    elif what == 9 and isinstance(value, list) and value:
        inside[key] = value[0]
    else:
        inside[key] = str(value)


def base_events(documents):
    """Events of unit tests by log type, as objects."""
    events = {}
    for document in documents.values():
        if document["AnalysisType"] != "rule" or not document.get("Enabled", True):
            continue
        for test in document.get("Tests") or ():
            event = test.get("Log") or {}
            said = event.get("p_log_type")
            types = document.get("LogTypes") or []
            for log_type in [said] if said in types else types:
                events.setdefault(log_type, []).append(event)
    return events


def mutated(event, chance, pool):
    event = copy.deepcopy(event)
    for _ in range(chance.choice([1, 1, 2, 3])):
        change(event, chance, pool)
    return event


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pack", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=20, help="events made of each test event")
    parser.add_argument("--log-types", help="only these, with commas")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    documents = {n: document for n, (_, document) in enumerate(layers.read_pack(options.pack))}
    wanted = options.log_types and options.log_types.split(",")
    for log_type, events in sorted(base_events(documents).items()):
        if wanted and log_type not in wanted:
            continue
        chance = random.Random(f"{options.seed} {log_type}")
        pool = [item for event in events for path in paths(event) for item in [holder(event, path)[path[-1]]]][:5000] or INSTEAD
        lines = [
            json.dumps(mutated(event, chance, pool), ensure_ascii=chance.random() < 0.5)
            for event in events
            for _ in range(options.each)
        ]
        (out / f"{log_type}.mutated.jsonl").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()

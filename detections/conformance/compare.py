"""Compares this engine with panther_core 0.16.3 on a pack's own tests and on real records.

    compare.py --pack FOLDER --core-python VENV/bin/python [--samples FOLDER] [--rounds N]

The virtual environment has panther_core, PyYAML and whatever the pack imports; run this script with
its Python too. Exit code 1 if anything differs but what differs between panther_core's own runs.
"""

import argparse
import collections
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import host as hosts
import layer as layers

SEEDS = ("0", "1", "2")
HERE = Path(__file__).resolve().parent


def ask_core(python, job, seed, work):
    """panther_core's answer to a job, under one hash seed."""
    job = {**job, "out": str(work / f"core-{job['what']}-{seed}.json")}
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    subprocess.run([python, str(HERE / "core_run.py")], input=json.dumps(job).encode(), env=environment, check=True)
    return json.loads(Path(job["out"]).read_text())


def flat(answer):
    """One comparable value for each field of an answer."""
    fields = {"output": answer["output"], "error": answer["error"] and (answer["error"]["type"], answer["error"]["title"])}
    for name, entry in answer["functions"].items():
        error = entry["error"]
        fields[name] = (entry["output"], error and (error["type"], error["title"]))
    return fields


def differences(core, ours):
    """Fields that differ, leaving out those that differ between panther_core's own runs."""
    runs = [flat(answer) for answer in core]
    mine = flat(ours)
    found, volatile = [], []
    for name in runs[0].keys() | mine.keys():
        values = [run.get(name) for run in runs]
        if any(value != values[0] for value in values):
            volatile.append(name)
        elif values[0] != mine.get(name):
            found.append((name, values[0], mine.get(name)))
    return found, volatile


def compare_tests(arguments, layer, documents, engine, work):
    """Every unit test of rules, scheduled rules and policies, in test mode."""
    tests = {}
    for index, document in documents.items():
        if document.get("Tests"):
            tests[index] = [
                {
                    "name": test["Name"],
                    "event": json.dumps(test.get("Log") or test.get("Resource") or {}),
                    "mocks": [m for m in test.get("Mocks") or () if "objectName" in m and "returnValue" in m],
                    "expected": test["ExpectedResult"],
                }
                for test in document["Tests"]
            ]
    job = {"what": "tests", "layer": str(layer), "tests": tests}
    core = [ask_core(arguments.core_python, job, seed, work) for seed in SEEDS]
    counts, found_all = collections.Counter(), []
    started = time.perf_counter()
    for index, cases in tests.items():
        document = documents[index]
        name = document.get("RuleID") or document.get("PolicyID")
        answers = [run.get(str(index)) for run in core]
        ours = engine.test(index, [(c["name"], json.loads(c["event"]), c["mocks"]) for c in cases])
        if answers[0] is None:
            counts["simple detections' tests, not known to panther_core"] += len(cases)
            counts["simple detections' tests passed"] += sum(o["output"] == c["expected"] for o, c in zip(ours, cases))
            continue
        if "load" in answers[0]:
            found_all.append((name, "load", [("load", answers[0]["load"], ours[0]["error"])]))
            continue
        for number, (case, mine) in enumerate(zip(cases, ours)):
            theirs = [answer[number] for answer in answers]
            counts["tests"] += 1
            counts["passing under panther_core"] += theirs[0]["output"] == case["expected"]
            counts["same verdict"] += theirs[0]["output"] == mine["output"]
            found, volatile = differences(theirs, mine)
            counts["fields compared"] += len(flat(theirs[0])) - len(volatile)
            counts["volatile fields left out"] += len(volatile)
            if found:
                found_all.append((name, case["name"], found))
    counts["tests that differ"] = len(found_all)
    print(f"unit tests ({time.perf_counter() - started:.1f} s in this engine):")
    report(counts, found_all)
    return not found_all and counts["same verdict"] == counts["tests"]


def read_records(folder):
    """Records of CloudTrail files, as JSON lines."""
    lines = []
    for path in sorted(Path(folder).glob("*.json.gz")):
        with gzip.open(path) as file:
            lines += [json.dumps(record) for record in json.load(file)["Records"]]
    return lines


def as_answer(result):
    """A live result in the form of panther_core's."""
    error = result.get("error")
    if error:
        return {"output": None, "error": error, "functions": {}}
    match = result["match"]
    return {"output": True, "error": None, "functions": match}


def compare_live(core, mine, spec):
    """Differences of one (record, rule): live values, errors in functions have become defaults."""
    runs = [flat({**answer, "functions": {}}) for answer in core]
    if runs[0]["error"]:
        ours = mine.get("error")
        return [] if ours and (ours["type"], ours["title"]) == runs[0]["error"] else [("error", runs[0], ours)]
    match = mine.get("match")
    if match is None:
        return [("match", True, mine)]
    found = []
    for name in ("title", "dedup", "severity", "description", "reference", "runbook", "destinations", "alert_context", "unique"):
        values = []
        for answer in core:
            value = answer["functions"].get(name, {}).get("output")
            values.append(spec["severity"] if name == "severity" and value is None else value)
        own = match["context" if name == "alert_context" else name]
        if all(value == values[0] for value in values) and values[0] != own:
            found.append((name, values[0], own))
    return found


def compare_records(arguments, layer, engine, work):
    """The real records, live, and what they cost."""
    log_type = "AWS.CloudTrail"
    lines = read_records(arguments.samples)
    records = work / "records.jsonl"
    records.write_text("\n".join(lines))
    specs = {
        spec["index"]: spec
        for spec in json.loads((layer / "manifest.json").read_text())["detections"]
        if spec["kind"] == "RULE" and spec["enabled"] and spec["path"] and log_type in spec["log_types"]
    }
    rules = sorted(specs)
    job = {"what": "records", "layer": str(layer), "rules": rules, "log_type": log_type, "records": str(records)}
    core = [ask_core(arguments.core_python, {**job, "rounds": arguments.rounds}, "0", work)]
    core += [ask_core(arguments.core_python, job, seed, work) for seed in SEEDS[1:]]
    chosen = [rules] * len(lines)
    best = None
    for _round in range(arguments.rounds):
        engine.rows.clear()
        answers, micros = run_batches(engine, log_type, lines, chosen)
        best = micros if best is None else min(best, micros)
    counts, found_all = collections.Counter(), []
    keys = {(int(n), int(r)) for n, of in core[0]["answers"].items() for r in of}
    keys |= {(n, result["rule"]) for n, of in answers.items() for result in of}
    for number, rule in sorted(keys):
        theirs = [run["answers"].get(str(number), {}).get(str(rule)) for run in core]
        mine = next((r for r in answers.get(number, ()) if r["rule"] == rule), None)
        if mine is None or None in theirs:
            found_all.append((specs[rule]["id"], number, [("result", theirs[0], mine)]))
            continue
        counts["rule errors" if theirs[0]["error"] else "matches"] += 1
        found = compare_live(theirs, mine, specs[rule])
        if found:
            found_all.append((specs[rule]["id"], number, found))
    counts["results that differ"] = len(found_all)
    print(
        f"records: {len(lines)} records, {len(rules)} rules,"
        f" {best / len(lines):.1f} us an event in Python"
    )
    report(counts, found_all)
    good = not found_all
    print(f"panther_core, same records and rules: {core[0]['micros_per_event']:.1f} us an event")
    return good


def run_batches(engine, log_type, lines, chosen, size=500):
    answers, total = {}, 0
    for start in range(0, len(lines), size):
        events = [(log_type, line.encode(), rules) for line, rules in zip(lines[start : start + size], chosen[start : start + size])]
        got, micros = engine.batch(events)
        total += micros
        answers.update({start + number: results for number, results in got.items()})
    return answers, total


def report(counts, found_all, most=40):
    for name, value in counts.items():
        print(f"  {name}: {value}")
    for name, case, found in found_all[:most]:
        for field, theirs, mine in found:
            print(f"  DIFFERS {name} / {case} / {field}:\n    panther_core {theirs!r:.400}\n    engine       {mine!r:.400}")
    if len(found_all) > most:
        print(f"  ... and {len(found_all) - most} more")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pack", required=True, help="a folder in panther-analysis's format")
    parser.add_argument("--core-python", required=True, help="the Python of an environment with panther_core")
    parser.add_argument("--python", help="the Python that runs this engine (default: the same)")
    parser.add_argument("--samples", help="a folder with CloudTrail files (*.json.gz)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of the records, the best is reported")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="panther-compare-") as folder:
        work = Path(folder)
        layer = work / "layer"
        documents = layers.lay(layers.read_pack(arguments.pack), layer)
        with hosts.Host(layer, python=arguments.python or arguments.core_python) as engine:
            print(f"{len(documents)} detections loaded in {engine.load_seconds:.2f} s")
            good = compare_tests(arguments, layer, documents, engine, work)
            if arguments.samples:
                good = compare_records(arguments, layer, engine, work) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

"""How fast the engine is beside panther_core 0.16.3: same events, same rules, same core, one after the other, and whether both say the same.

    throughput.py --pack FOLDER --samples FOLDER --core-python VENV/bin/python --bench COMMAND...

The streams are the CloudTrail records of the samples, those of them that no rule minds, and the pack's own test events of some log types. panther_core's key-value store is stood in for.
Everything runs pinned to one core. Exit code 1 if a match, an error or a text differs but for what differs between panther_core's own runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import compare
import layer as layers

CLOUDTRAIL = "AWS.CloudTrail"
# For which this engine meets each stream, over and over: about as long as panther_core takes for its rounds, since a machine is now faster and now slower.
STREAM_SECONDS = "4"
# As it is, and with every rule called.
HOW = ("usual", "called")
TESTED = (CLOUDTRAIL, "GitHub.Audit", "Okta.SystemLog", "GCP.AuditLog")


def test_events(documents, log_type):
    """Events of the unit tests of a log type's rules: the type is the event's own, or its rule has no other."""
    lines = []
    for document in documents.values():
        if document["AnalysisType"] != "rule" or not document.get("Enabled", True):
            continue
        for test in document.get("Tests") or ():
            event = test.get("Log") or {}
            said = event.get("p_log_type")
            if said == log_type or (not said and document.get("LogTypes") == [log_type]):
                lines.append(json.dumps(event))
    return lines


def differing(core, mine, specs, names):
    """Pairs of event and rule of which the two engines say something else."""
    ours = {(int(verdict["event"]), verdict["detection"]): verdict for verdict in mine}
    keys = {(int(number), specs[int(index)]["id"]) for number, of in core[0]["answers"].items() for index in of}
    found = []
    for number, name in sorted(keys | {key for key in ours if key[1] in names}):
        index = names[name]
        theirs = [run["answers"].get(str(number), {}).get(str(index)) for run in core]
        if len({answer is None for answer in theirs}) > 1:
            continue  # it hangs on the hash seed
        verdict = ours.get((number, name))
        if verdict is None or theirs[0] is None:
            found.append((name, number, [("result", theirs[0], verdict)]))
        else:
            of = compare.compare_live(theirs, verdict, specs[index])
            if of:
                found.append((name, number, of))
    return found, len(keys)


def ask_streams(core_python, layer, folder, work, rounds=1):
    """What panther_core says of every stream in a folder, under each hash seed, and the rules that it asked: by the stream's name."""
    manifest = json.loads((layer / "manifest.json").read_text())["detections"]
    specs, streams = {}, {}
    for path in sorted(folder.glob("*.jsonl")):
        log_type = path.stem.rpartition(".")[0]
        specs[path.stem] = [s for s in manifest if s["kind"] == "RULE" and s["enabled"] and s["path"] and log_type in s["log_types"]]
        streams[path.stem] = {"log_type": log_type, "rules": [s["index"] for s in specs[path.stem]], "records": str(path)}
    job = {"what": "streams", "layer": str(layer), "streams": streams}
    seeds = zip([{**job, "rounds": rounds}, job, job], compare.SEEDS)
    said = [compare.ask_core(core_python, of, seed, work) for of, seed in seeds]
    return {name: ([of[name] for of in said], specs[name]) for name in streams}


def tell_stages(ours):
    """Where this engine's time goes, and what is left to Python."""
    print("\nus an event by stage; reading, choosing and rules in a pass of its own, in which each rule is timed too, which takes some of it:\n")
    print("| stream | reading | choosing the rules | rules and texts | Python | between them | all |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, of in ours.items():
        staged, whole = of["staged"], of["usual"]
        between = whole["micros"] - whole["native_micros"] - whole["python_micros"]
        stages = [staged["reading"], staged["choosing"], staged["rules"], staged["python"], between, whole["micros"]]
        print(f"| {name} | " + " | ".join(f"{micros:.2f}" for micros in stages) + " |")
    print("\npairs of event and rule that are left to Python, a round of each stream; Python's time is spread over those and what is looked at both ways:\n")
    print("| stream | rule | why | pairs | us a pair |")
    print("| --- | --- | --- | --- | --- |")
    for name, of in ours.items():
        for left in of["staged"]["left"]:
            print(f"| {name} | {left['rule']} | {left['why']} | {left['pairs']:.2f} | {of['staged']['python_pair']:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pack", required=True)
    parser.add_argument("--samples", required=True, help="a folder with CloudTrail files (*.json.gz)")
    parser.add_argument("--core-python", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bench", required=True, nargs=argparse.REMAINDER, help="the command of the engine's bench")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    good = True
    with tempfile.TemporaryDirectory(prefix="panther-throughput-") as folder:
        work = Path(folder)
        layer = work / "layer"
        documents = layers.lay(layers.read_pack(options.pack), layer)
        lines = {f"{CLOUDTRAIL}.records": compare.read_records(options.samples)}
        lines |= {f"{log_type}.tests": test_events(documents, log_type) for log_type in TESTED}
        (work / "streams").mkdir()
        for name, of in lines.items():
            (work / "streams" / f"{name}.jsonl").write_text("\n".join(of))
        core = ask_streams(options.core_python, layer, work / "streams", work, options.rounds)
        # Most events are nothing to any rule: those among the records are a stream of their own.
        records = f"{CLOUDTRAIL}.records"
        answered = {int(number) for run in core[records][0] for number in run["answers"]}
        (work / "quiet").mkdir()
        quiet = work / "quiet" / f"{CLOUDTRAIL}.quiet.jsonl"
        quiet.write_text("\n".join(line for number, line in enumerate(lines[records]) if number not in answered))
        core |= ask_streams(options.core_python, layer, work / "quiet", work, options.rounds)
        quiet.rename(work / "streams" / quiet.name)
        out = work / "out.json"
        environment = {"PANTHER_PACK": options.pack, "STREAMS": str(work / "streams"), "PANTHER_PYTHON": options.core_python, "OUT": str(out), "STREAM_SECONDS": STREAM_SECONDS}
        ran = subprocess.run(options.bench, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if ran.returncode:
            sys.exit(f"the engine's bench did not run:\n{ran.stdout[-4000:]}")
        ours = json.loads(out.read_text())
        print("| stream | events | rules | panther_core us/event | ours | times | every rule called | pairs that say something | differ |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for name, (runs, specs) in core.items():
            theirs, of = runs[0]["micros_per_event"], ours[name]
            by_index, by_name = {s["index"]: s for s in specs}, {s["id"]: s["index"] for s in specs}
            ways = [differing(runs, of[how]["verdicts"], by_index, by_name) for how in HOW]
            mine, called = (of[how]["micros"] for how in HOW)
            print(
                f"| {name} | {of['events']} | {len(specs)} | {theirs:.1f} | {mine:.1f} | {theirs / mine:.1f} |"
                f" {called:.1f} | {ways[0][1]} | {', '.join(str(len(found)) for found, _ in ways)} |"
            )
            for different, _ in ways:
                if different:
                    good = False
                    compare.report({}, different, most=10)
    tell_stages(ours)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

"""Compares the whole system with panther_core 0.16.3: CloudTrail files in through all three doors, and what a node
stored of them against what panther_core says of the same processed events.

    end_to_end.py --pack FOLDER --samples FOLDER --core-python VENV/bin/python --bin FOLDER

The virtual environment is compare.py's; run this script with its Python too. The node starts in a fresh folder with
that environment's Python, so that the packages which the pack imports are there. Compared are

* the ledger: every record received and stored, nothing in quarantine or in a dead letter queue;
* matches: rule, event and context of each, the event as it was stored;
* rule errors: rule, event, class and message of each;
* alerts: one for each rule and dedup string that reached its threshold, with the number of its events and its texts.

An alert's texts are those of its first match. Messages are handled side by side, so which match is the first is not
the order of files; what is known is that it was the first of its group in the message that opened the alert, and
that message's matches carry equal times of creation and update. So the texts must be those of a match which opens its
group in such a message. Fields that differ between panther_core's own runs under other hash seeds are left out.

Rules that ask the key-value store are listed by themselves: what they say depends on the order of events. For them
panther_core runs again over the objects in other orders; a number of matches that none of these orders gives is no
matter of order, but of messages that were handled side by side and did not see each other's writes.

Exit code 1 if anything else differs.
"""

import argparse
import collections
import gzip
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import layer as layers
from compare import SEEDS, ask_core

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "demo"))
from node import Failed, Node, until

LOG_TYPE = "AWS.CloudTrail"
PREFIX = "trail/"
ADDED = (
    "p_rule_id", "p_rule_tags", "p_rule_reports", "p_rule_severity", "p_alert_id", "p_alert_creation_time",
    "p_alert_update_time", "p_alert_context", "p_rule_error",
)  # fmt: skip
ORDERS = 20
_PLACE = re.compile(r" at \S+(, line \d+)?(, column \d+)?(, in \w+)?$")
TEXTS = ("title", "severity", "description", "runbook", "reference")


def feed(node, files, folder):
    """Sends the files in, each through one of three doors in turn. How many went through each."""
    watched, staged = folder / "watched", folder / "staged"
    watched.mkdir()
    staged.mkdir()
    http = node.ctl("sources", "add", "http", "by-http", "--log-types", LOG_TYPE)
    node.ctl("sources", "add", "folder", "by-folder", watched, "--log-types", LOG_TYPE)
    node.ctl("sources", "add", "objects", "by-notification", "--prefix", PREFIX, "--log-types", LOG_TYPE)
    counts = collections.Counter()
    for number, file in enumerate(files):
        door = ("http", "folder", "notification")[number % 3]
        counts[door] += 1
        if door == "http":
            headers = {"Authorization": f"Bearer {http['token']}"}
            request = urllib.request.Request(http["ingestUrl"], file.read_bytes(), headers, method="POST")
            with urllib.request.urlopen(request, timeout=60) as answer:
                answer.read()
        elif door == "folder":
            shutil.copyfile(file, staged / file.name)
            os.rename(staged / file.name, watched / file.name)
        else:
            place = node.data / "objects" / PREFIX / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place.with_name(".new"))
            os.replace(place.with_name(".new"), place)
            node.ctl("sources", "notify", "by-notification", PREFIX + file.name)
    return counts


def ledger(node):
    """Sums over all sources."""
    sums = collections.Counter()
    for source in node.ctl("sources", "list")["integrations"]:
        for name in ("received", "stored", "quarantined", "filtered"):
            sums[name] += source[name]
    return sums


def scan(node, table):
    """All rows of a table."""
    cursor = []
    while True:
        page = node.ctl("table", "scan", table, "--limit", "1000", *cursor)
        yield from page["rows"]
        if not page.get("cursor"):
            return
        cursor = ["--cursor", page["cursor"]]


def stored(node, named, kind):
    """The lines of the named objects of a kind: (object, line as JSON). What no row names came of a plan that was made again, and is swept."""
    for name in sorted(named):
        if name.startswith(kind + "/"):
            with gzip.open(node.data / "objects" / name) as file:
                for line in file.read().split(b"\n"):
                    if line:
                        yield name, json.loads(line)


class Daemon:
    """What the node made of the files."""

    def __init__(self, node):
        named = [row["key"]["hash"] for row in scan(node, "panther-objects")]
        lines = list(stored(node, named, "logs"))
        self.events = [event for _, event in lines]
        self.objects = [name for name, _ in lines]
        self.matches = list(stored(node, named, "rules"))
        self.errors = list(stored(node, named, "rule_errors"))
        self.alerts = []
        for alert in node.ctl("alerts", "list", "--limit", "100000")["alertSummaries"]:
            self.alerts.append(node.ctl("alerts", "show", alert["alertId"]))
        self.ledger = ledger(node)
        self.waiting = {queue["name"]: queue["waiting"] for queue in node.ctl("queue", "ls")["queues"] if queue["waiting"]}
        self.alarms = [alarm for alarm in node.ctl("alarms")["alarms"] if alarm["state"] == "raised"]


class Core:
    """What panther_core says of the same events, under several hash seeds."""

    def __init__(self, python, layer, documents, daemon, work):
        self.python, self.layer, self.work = python, layer, work
        self.specs = {
            spec["index"]: spec
            for spec in json.loads((layer / "manifest.json").read_text())["detections"]
            if spec["kind"] == "RULE" and spec["enabled"] and spec["path"] and LOG_TYPE in spec["log_types"]
        }
        self.documents = documents
        self.runs = [self.run(daemon.events, sorted(self.specs), seed, watch_store=True) for seed in SEEDS]
        self.asked_store = {self.specs[index]["id"] for run in self.runs for index in run["asked_store"]}
        # (rule id, event's place) -> the runs' answers
        self.answers = {}
        for number, run in enumerate(self.runs):
            for place, results in run["answers"].items():
                for index, result in results.items():
                    key = (int(index), int(place))
                    self.answers.setdefault(key, [None] * len(self.runs))[number] = result

    def run(self, events, rules, seed, **more):
        records = self.work / "processed.jsonl"
        records.write_text("\n".join(json.dumps(event) for event in events))
        job = {"what": "records", "layer": str(self.layer), "rules": rules, "log_type": LOG_TYPE, "records": str(records)}
        return ask_core(self.python, {**job, **more}, seed, self.work)

    def in_other_orders(self, daemon):
        """Matches of each rule that asks the store, over the objects in several orders, one after the other."""
        rules = [index for index, spec in self.specs.items() if spec["id"] in self.asked_store]
        if not rules:
            return {}
        objects = collections.defaultdict(list)
        for place, name in enumerate(daemon.objects):
            objects[name].append(place)
        orders, chance = [], random.Random(1)
        for _ in range(ORDERS):
            names = list(objects)
            chance.shuffle(names)
            orders.append([place for name in names for place in objects[name]])
        told = self.run(daemon.events, rules, SEEDS[0], orders=orders)["matches"]
        return {self.specs[index]["id"]: [counts[str(index)] for counts in told] for index in rules}

    def each(self):
        """(spec, event's place, the answer of each run), for what is a match or an error in at least one."""
        for (index, place), answers in sorted(self.answers.items()):
            yield self.specs[index], place, answers


def agreed(values):
    """The value on which panther_core's runs agree, and whether they do."""
    return values[0], all(value == values[0] for value in values)


def texts(answer, spec, document):
    """The texts of an alert that this match opens: its own where it gives some, else the rule's."""
    given = {name: answer["functions"].get(name, {}).get("output") for name in TEXTS}
    return {
        "title": given["title"] or spec["display_name"] or spec["id"],
        "severity": given["severity"] or spec["severity"],
        **{name: given[name] or document.get(name.capitalize()) or "" for name in ("description", "runbook", "reference")},
    }


class Comparison:
    """Counts what was compared, and collects what differs."""

    def __init__(self, apart):
        self.counts, self.found, self.apart, self.set_apart = collections.Counter(), [], apart, []

    def differs(self, rule, what, core, daemon):
        (self.set_apart if rule in self.apart else self.found).append((rule, what, core, daemon))

    def same(self, rule, what, values, daemon):
        value, sure = agreed(values)
        if not sure:
            self.counts["volatile fields left out"] += 1
            return
        self.counts["fields compared"] += 1
        if value != daemon:
            self.differs(rule, what, value, daemon)


def compare_results(comparison, core, daemon):
    """Matches and errors, event by event. Gives the groups of both for the alerts."""
    places = {event["p_row_id"]: place for place, event in enumerate(daemon.events)}
    simple = {d["RuleID"] for d in core.documents.values() if d["AnalysisType"] == "rule" and "Detection" in d}
    seen = {"match": {}, "error": {}}
    for kind, lines in (("match", daemon.matches), ("error", daemon.errors)):
        for name, line in lines:
            if line["p_rule_id"] in simple:
                comparison.counts["results of simple detections, not known to panther_core"] += 1
                continue
            key = (line["p_rule_id"], places.get(line["p_row_id"]))
            if key in seen[kind]:
                comparison.differs(key[0], f"event {key[1]}: {kind} stored twice", 1, 2)
            seen[kind][key] = (name, line)
    told = {"match": set(), "error": set()}
    for spec, place, answers in core.each():
        rule = spec["id"]
        if None in answers:
            comparison.counts["results that not every run of panther_core has"] += 1
            for kind in told:
                told[kind].add((rule, place))
            continue
        kind = "error" if answers[0]["error"] else "match"
        told[kind].add((rule, place))
        comparison.counts[{"error": "rule errors", "match": "matches"}[kind]] += 1
        if (rule, place) not in seen[kind]:
            comparison.differs(rule, f"event {place}: {kind}", True, None)
            continue
        _, line = seen[kind][rule, place]
        event = {name: value for name, value in line.items() if name not in ADDED}
        comparison.same(rule, f"event {place}: the event itself", [daemon.events[place]], event)
        comparison.same(rule, f"event {place}: tags, as a set", [sorted(spec["tags"])], sorted(line["p_rule_tags"]))
        if kind == "error":
            error = line["p_rule_error"]
            # The place in the author's file is this system's own.
            own = {"type": error["type"], "message": error["message"].removesuffix(f": {error.get('place')}")}
            for name, value in own.items():
                comparison.same(rule, f"event {place}: error's {name}", [a["error"][name] for a in answers], value)
        else:
            context = [a["functions"].get("alert_context", {}).get("output") for a in answers]
            context = [json.loads(value) if isinstance(value, str) else value for value in context]
            comparison.same(rule, f"event {place}: context", context, line.get("p_alert_context"))
    for kind in told:
        for rule, place in sorted(seen[kind].keys() - told[kind], key=str):
            comparison.differs(rule, f"event {place}: {kind}", None, True)
    return seen, simple


def compare_alerts(comparison, core, daemon, seen, simple):
    """One alert for each rule and dedup string (or class of error) that reached its threshold."""
    groups = collections.defaultdict(list)
    unsure = set()
    for spec, place, answers in core.each():
        if None in answers:
            unsure.add(spec["id"])
            continue
        error = answers[0]["error"]
        dedup, sure = agreed([a["error"]["type"] if error else a["functions"]["dedup"]["output"] for a in answers])
        if not sure:
            unsure.add(spec["id"])
        groups["RULE_ERROR" if error else "RULE", spec["id"], dedup].append((spec, place, answers))
    alerts = collections.defaultdict(list)
    for alert in daemon.alerts:
        if alert["ruleId"] not in simple:
            alerts[alert["type"], alert["ruleId"], alert["dedupString"]].append(alert)
    for group in sorted(groups.keys() | alerts.keys(), key=str):
        kind, rule, dedup = group
        if rule in unsure:
            comparison.counts["groups whose dedup string or size is volatile, left out"] += 1
            continue
        members, opened = groups.get(group, []), alerts.get(group, [])
        label = f"{kind} {dedup!r}"
        document = core.documents[members[0][0]["index"]] if members else {}
        threshold = document.get("Threshold", 1) if kind == "RULE" else 1
        wanted = bool(members) and len(members) >= threshold and (kind == "RULE_ERROR" or document.get("CreateAlert", True))
        if not wanted:
            comparison.counts["groups below their threshold, or signals"] += bool(members)
            if opened:
                comparison.differs(rule, label, f"no alert of {len(members)} matches, threshold {threshold}", len(opened))
            continue
        comparison.counts["alerts"] += 1
        if len(opened) != 1:
            comparison.differs(rule, label, f"one alert of {len(members)} matches", len(opened))
            continue
        alert = opened[0]
        comparison.same(rule, f"{label}: number of events", [len(members)], alert["eventsMatched"])
        compare_texts(comparison, rule, label, kind, members, alert, seen["error" if kind == "RULE_ERROR" else "match"], document)


def compare_texts(comparison, rule, label, kind, members, alert, seen, document):
    """The alert's texts must be those of the first match in a message that may have opened it."""
    first = {}
    if kind == "RULE_ERROR":
        # The title of an error ends with the place in the author's file, which is this system's own.
        alert = {**alert, "title": _PLACE.sub("", alert["title"])}
    for spec, place, answers in members:
        if (rule, place) not in seen:
            continue
        name, line = seen[rule, place]
        if line["p_alert_id"] != alert["alertId"]:
            comparison.differs(rule, f"{label}: alert of event {place}", alert["alertId"], line["p_alert_id"])
        elif line["p_alert_creation_time"] == line["p_alert_update_time"]:
            first.setdefault(name, (spec, place, answers))
    told = []
    for spec, _place, answers in first.values():
        if kind == "RULE_ERROR":
            given = [{**texts({"functions": {}}, spec, document), "title": answer["error"]["title"]} for answer in answers]
        else:
            given = [texts(answer, spec, document) for answer in answers]
        told.append({name: agreed([run[name] for run in given]) for name in TEXTS})
    fits = [one for one in told if all(not sure or value == alert[name] for name, (value, sure) in one.items())]
    if fits:
        comparison.counts["texts of alerts"] += sum(sure for _, sure in fits[0].values())
        comparison.counts["volatile fields left out"] += sum(not sure for _, sure in fits[0].values())
        comparison.counts["alerts that more than one message may have opened"] += len(told) > 1
    else:
        own = {name: alert[name] for name in TEXTS}
        closest = [{name: value for name, (value, sure) in one.items() if sure and value != alert[name]} for one in told]
        comparison.differs(rule, f"{label}: texts", closest, own)


def compare_ledger(comparison, daemon, records):
    """Nothing lost, nothing put aside."""
    wanted = {"received": records, "stored": records, "quarantined": 0, "filtered": 0}
    if dict(daemon.ledger) != wanted:
        comparison.differs("ledger", "sums of all sources", wanted, dict(daemon.ledger))
    if len(daemon.events) != records or len({event["p_row_id"] for event in daemon.events}) != records:
        comparison.differs("ledger", "processed events", records, len(daemon.events))
    if daemon.waiting:
        comparison.differs("queues", "what waits", {}, daemon.waiting)
    for alarm in daemon.alarms:
        comparison.differs(alarm["component"], f"alarm {alarm['name']}", None, alarm["reason"])


def report(comparison, orders, daemon, most=40):
    for name, value in comparison.counts.items():
        print(f"  {name}: {value}")
    for rule, counts in sorted(orders.items()):
        mine = sum(line["p_rule_id"] == rule for _, line in daemon.matches)
        says = "as in some order" if min(counts) <= mine <= max(counts) else "NOT A MATTER OF ORDER"
        print(f"  asks the key-value store: {rule}: {mine} matches; panther_core {min(counts)} to {max(counts)} in {ORDERS} orders: {says}")
    print(f"  differences: {len(comparison.found)}, and of rules that ask the key-value store: {len(comparison.set_apart)}")
    for title, found in (("DIFFERS", comparison.found), ("differs, depends on order:", comparison.set_apart)):
        for rule, what, core, daemon in found[:most]:
            print(f"  {title} {rule} / {what}:\n    panther_core {core!r:.400}\n    node         {daemon!r:.400}")
        if len(found) > most:
            print(f"  ... and {len(found) - most} more")


def run(arguments, work):
    """True if nothing differs."""
    files = sorted(arguments.samples.glob("*.json.gz"))
    records = 0
    for file in files:
        with gzip.open(file) as content:
            records += len(json.load(content)["Records"])
    interpreter = json.dumps(os.path.abspath(arguments.core_python))  # a JSON string is a TOML string
    node = Node(arguments.bin.resolve(), work, f"[python]\ninterpreter = {interpreter}\n")
    try:
        until("pantherd starts", node.ready)
        began = time.monotonic()
        pack = node.ctl("detections", "upload", arguments.pack)
        left = collections.Counter(item["kind"] for item in pack["unevaluated"])
        print(f"pack uploaded in {time.monotonic() - began:.1f} s: {pack['rules']} rules; not evaluated yet: {dict(left)}", flush=True)
        began = time.monotonic()
        doors = feed(node, files, work)
        until("all files are read", lambda: ledger(node)["received"] >= records, 300)
        until("the queues drain", node.drained, 300)
        print(f"{len(files)} files, {records} records through {dict(doors)}: {time.monotonic() - began:.1f} s until the queues were empty", flush=True)
        daemon = Daemon(node)
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt):
            print(f"the last lines of the node's log:\n{node.tail()}", file=sys.stderr)
        raise
    finally:
        code = node.stop()
    if code != 0:
        raise Failed(f"pantherd ended with exit code {code}:\n{node.tail()}")
    layer = work / "layer"
    documents = layers.lay(layers.read_pack(arguments.pack), layer)
    core = Core(arguments.core_python, layer, documents, daemon, work)
    comparison = Comparison(core.asked_store)
    compare_ledger(comparison, daemon, records)
    seen, simple = compare_results(comparison, core, daemon)
    compare_alerts(comparison, core, daemon, seen, simple)
    sums = ", ".join(f"{name} {daemon.ledger[name]}" for name in ("received", "stored", "quarantined", "filtered"))
    print(f"end to end: {len(core.specs)} rules on {len(daemon.events)} processed events; ledger: {sums}")
    report(comparison, core.in_other_orders(daemon), daemon)
    return not comparison.found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--pack", type=Path, required=True, help="a folder in panther-analysis's format")
    parser.add_argument("--samples", type=Path, required=True, help="a folder with CloudTrail files (*.json.gz)")
    parser.add_argument("--core-python", required=True, help="the Python of an environment with panther_core")
    parser.add_argument("--bin", type=Path, required=True, help="the folder of pantherd and pantherctl")
    parser.add_argument("--keep", action="store_true", help="leave the folder with data and log")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = Path(tempfile.mkdtemp(prefix="panther-end-to-end-"))
    try:
        good = run(arguments, work)
    except (Failed, OSError) as error:
        print(f"the comparison failed: {error}", file=sys.stderr)
        good = False
    finally:
        if arguments.keep:
            print(f"the folder is left: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

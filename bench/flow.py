#!/usr/bin/env python3
"""Measures the whole flow on one node: time from a file to its delivered alert, events a second, and what idle costs.

    bench/flow.py --bin FOLDER [--seconds 60] [--rate 2] [--megabytes 100] [--idle 60] [--pack FOLDER --python VENV/bin/python]

A fresh pantherd with samples/pack, a webhook in this script, and a source for each door. Standard library only.

* Latency: small files at a steady rate, through the doors in turn. Each sets off one rule under a dedup string of its
  own, so each is one alert. Time runs from the rename into the watched folder, from the answer 200, or from the start
  of the command that notifies, to the alert's arrival at the webhook. A file that is posted packed is an object of its
  own; lines that are posted plain are gathered for `ingest.batch_ms` before they are answered. For both the time from
  the start of the request is told as well.
* Throughput: many CloudTrail events in packed files, posted over four connections, until nothing waits any more. One event
  in a hundred matches a rule.
  On a machine that does other things too, events a second of processor time say more than events a second.
* Idle: from then on, for a while, without anything coming in. With --pack also once that pack has been uploaded to the
  same node, in place of the samples', since what a pack imports is most of its Python processes' memory.

Bars that are missed are said; the exit code is 0 all the same, and 1 if the flow itself does not work.
"""

import argparse
import collections
import concurrent.futures
import gzip
import json
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "demo"))
from node import Failed, Node, Webhook, until

PREFIX = "trail/"
DOORS = ("folder", "http, packed", "http, lines", "objects")
BARS = {"p50_s": 1.0, "p99_s": 3.0, "idle_mb": 150.0, "idle_cpu_percent": 1.0}
BULK_FILE = 5_000_000  # bytes before packing, about what AWS puts into one file of a busy account
CLOCK = os.sysconf("SC_CLK_TCK")


# ------------------------------------------------------------------------------------------------------ what is fed


def access_line(mark):
    """A request for a secret file. Its address is its own, by which the rule tells alerts apart, and so is its path, which the title names."""
    number = int(mark.rpartition("-")[2])
    return f'10.{number >> 16}.{number >> 8 & 255}.{number & 255} - - [05/Mar/2026:14:00:00 +0000] "GET /{mark}/.env HTTP/1.1" 404 153 "-" "curl/8.5.0"\n'.encode()


def trail_stopped(mark):
    """A CloudTrail file in which a trail of its own is stopped."""
    user = {"type": "IAMUser", "accountId": "111122223333", "arn": "arn:aws:iam::111122223333:user/eve", "userName": "eve"}
    event = {
        "eventVersion": "1.09", "userIdentity": user, "eventTime": "2026-03-05T14:00:00Z", "eventSource": "cloudtrail.amazonaws.com",
        "eventName": "StopLogging", "awsRegion": "us-east-1", "sourceIPAddress": "198.51.100.7", "userAgent": "aws-cli/2.17.9",
        "requestParameters": {"name": mark}, "responseElements": None, "requestID": mark, "eventID": mark, "readOnly": False,
        "eventType": "AwsApiCall", "managementEvent": True, "recipientAccountId": "111122223333", "eventCategory": "Management",
    }  # fmt: skip
    return gzip.compress(json.dumps({"Records": [event]}).encode())


def bulk(megabytes):
    """Packed CloudTrail files, and how many events and bytes they hold: reading calls of the samples, one in a hundred by the root user."""
    plain, root = [], None
    for path in sorted((ROOT / "samples" / "logs" / "cloudtrail").iterdir()):
        for event in json.loads(gzip.decompress(path.read_bytes()))["Records"]:
            if event["userIdentity"]["type"] == "Root" and "errorCode" not in event:
                root = root or event
            elif event["readOnly"] and "errorCode" not in event and not event["eventName"].startswith(("GetSecretValue", "ConsoleLogin")):
                plain.append(event)
    files, events, size = [], 0, 0
    while size < megabytes * 1_000_000:
        records, length = [], 0
        while length < BULK_FILE:
            event = root if events % 100 == 0 else plain[events % len(plain)]
            text = json.dumps({**event, "eventID": f"{events:032x}"})
            records.append(text)
            events, length = events + 1, length + len(text)
        files.append(gzip.compress(('{"Records":[' + ",".join(records) + "]}").encode(), 6))
        size += length
    return files, events, size


# ------------------------------------------------------------------------------------------------------ the flow


class Flow:
    """A node with the sample pack, a source for each door, and a webhook."""

    def __init__(self, binaries, folder, python):
        self.webhook = Webhook()
        # A JSON string is a TOML string.
        self.node = Node(binaries, folder, f"[python]\ninterpreter = {json.dumps(python)}\n" if python else "")
        self.watched, self.staged = folder / "watched", folder / "staged"
        self.started, self.answered = {}, {}

    def set_up(self):
        until("pantherd starts", self.node.ready)
        self.node.ctl("detections", "upload", ROOT / "samples" / "pack")
        self.node.ctl("outputs", "add", "webhook", "bench", self.webhook.url)
        self.watched.mkdir()
        self.staged.mkdir()
        self.packed = self.node.ctl("sources", "add", "http", "packed", "--log-types", "AWS.CloudTrail")
        self.lines = self.node.ctl("sources", "add", "http", "lines", "--log-types", "Nginx.Access")
        self.node.ctl("sources", "add", "folder", "folder", self.watched, "--log-types", "Nginx.Access")
        self.node.ctl("sources", "add", "objects", "objects", "--prefix", PREFIX, "--log-types", "AWS.CloudTrail")

    def close(self):
        code = self.node.stop()
        self.webhook.close()
        return code

    def post(self, source, body):
        headers = {"Authorization": f"Bearer {source['token']}"}
        request = urllib.request.Request(source["ingestUrl"], body, headers, method="POST")
        with urllib.request.urlopen(request, timeout=300) as answer:
            answer.read()

    def lay_ready(self, door, mark):
        """What can be prepared before time runs. A file that is moved in is taken at once if it has been as it is for two seconds."""
        if door == "folder":
            (self.staged / f"{mark}.log").write_bytes(access_line(mark))
        elif door == "objects":
            place = self.node.data / "objects" / PREFIX / f"{mark}.json.gz"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(trail_stopped(mark))

    def feed(self, door, mark):
        self.started[mark] = time.monotonic()
        if door == "folder":
            os.rename(self.staged / f"{mark}.log", self.watched / f"{mark}.log")
        elif door == "objects":
            self.node.ctl("sources", "notify", "objects", f"{PREFIX}{mark}.json.gz")
        elif door == "http, packed":
            self.post(self.packed, trail_stopped(mark))
        else:
            self.post(self.lines, access_line(mark))
        self.answered[mark] = time.monotonic()

    def stored(self):
        return sum(source["stored"] for source in self.node.ctl("sources", "list")["integrations"])

    def empty(self, seconds=600):
        """Waits until nothing waits; asks seldom, since asking costs too."""
        deadline = time.monotonic() + seconds
        while not self.node.drained():
            if time.monotonic() > deadline:
                raise Failed(f"the queues are not empty after {seconds} s")
            time.sleep(0.2)


def quantile(values, part):
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def summary(values):
    return {"n": len(values), "p50_s": round(quantile(values, 0.5), 3), "p99_s": round(quantile(values, 0.99), 3), "max_s": round(max(values), 3)}


def latency(flow, seconds, rate):
    """Times by door."""
    marks = [(f"flow-{number}", DOORS[number % len(DOORS)]) for number in range(max(len(DOORS), round(seconds * rate)))]
    for mark, door in marks:
        flow.lay_ready(door, mark)
    time.sleep(2.1)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        fed = []
        for number, (mark, door) in enumerate(marks):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            fed.append(pool.submit(flow.feed, door, mark))
        for one in fed:
            one.result()
    until("alerts are delivered", lambda: len(flow.webhook.received) >= len(marks), 120)
    flow.empty()
    arrived = collections.defaultdict(list)
    for at, alert in flow.webhook.received:
        arrived[re.search(r"flow-\d+", alert["title"]).group()].append(at)
    if sorted(arrived) != sorted(mark for mark, _ in marks) or any(len(times) != 1 for times in arrived.values()):
        raise Failed(f"{len(marks)} files, and {sum(map(len, arrived.values()))} deliveries of {len(arrived)} of them")
    doors, whole = collections.defaultdict(list), []
    for mark, door in marks:
        http = door.startswith("http")
        doors[door].append(arrived[mark][0] - (flow.answered if http else flow.started)[mark])
        whole.append(doors[door][-1])
        if http:
            doors[f"{door}, from the request"].append(arrived[mark][0] - flow.started[mark])
    return {"files": len(marks), "files_per_s": rate, "doors": {door: summary(times) for door, times in sorted(doors.items())}, "all": summary(whole)}


def throughput(flow, megabytes):
    files, events, size = bulk(megabytes)
    before, spent = flow.stored(), cpu(flow)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda body: flow.post(flow.packed, body), files):
            pass
    taken = time.monotonic() - began
    flow.empty()
    took = time.monotonic() - began
    stored = flow.stored() - before
    if stored != events:
        raise Failed(f"{events} events were posted, {stored} are stored")
    used = {name: round(after - spent[name], 1) for name, after in cpu(flow).items()}
    spent = sum(used.values())
    return {
        "events": events, "megabytes": round(size / 1e6, 1), "files": len(files), "seconds_until_taken": round(taken, 2),
        "seconds_until_drained": round(took, 2), "events_per_s": round(events / took), "megabytes_per_s": round(size / 1e6 / took, 1),
        "cpu_seconds": used, "events_per_cpu_second": round(events / spent) if spent else None,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------ what processes use


def tree(root):
    """Process ids of a process and all below it."""
    children = collections.defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children[int(fields[1])].append(int(entry.name))
    found = [root]
    for process in found:
        found += children[process]
    return found


def ticks(process):
    """Seconds of processor time, its own threads only."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK


def cpu(flow):
    """Seconds of processor time of the daemon and of its Python processes."""
    daemon, *python = tree(flow.node.process.pid)
    return {"pantherd": ticks(daemon), "python": sum(map(ticks, python))}


def memory(process):
    """Megabytes from smaps_rollup. Pss counts a page that n processes share as 1/n for each, so that the sum over the tree
    is what it takes; the sum of Rss counts shared pages as often as they are shared."""
    fields = {}
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0]) * 1024 / 1e6
    private = fields["Private_Clean"] + fields["Private_Dirty"]
    return {"rss": fields["Rss"], "pss": fields["Pss"], "private": private, "shared": fields["Rss"] - private, "anonymous": fields["Anonymous"]}


def name_of(process):
    return Path(f"/proc/{process}/comm").read_text().strip()


def memories(flow):
    processes = {f"{name_of(process)} {process}": memory(process) for process in tree(flow.node.process.pid)}
    sums = {kind: round(sum(one[kind] for one in processes.values()), 1) for kind in ("rss", "pss", "private", "shared", "anonymous")}
    each = {name: {kind: round(value, 1) for kind, value in one.items()} for name, one in processes.items()}
    return {"sum": sums, "each": each}


def written(process):
    """Bytes that went to the block layer on its behalf."""
    for line in Path(f"/proc/{process}/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split(":")[1])
    return 0


def idle(flow, seconds):
    processes = tree(flow.node.process.pid)
    begin = {process: (ticks(process), written(process)) for process in processes}
    began = time.monotonic()
    threading.Event().wait(seconds)
    took = time.monotonic() - began
    each, bytes_written = {}, 0
    for process, (busy, wrote) in begin.items():
        if Path(f"/proc/{process}").exists():
            each[f"{name_of(process)} {process}"] = round((ticks(process) - busy) / took * 100, 2)
            bytes_written += written(process) - wrote
    return {
        "seconds": round(took, 1), "cpu_percent_of_a_core": round(sum(each.values()), 2), "cpu_percent_each": each,
        "written_bytes_per_hour": round(bytes_written / took * 3600), "memory_mb": memories(flow),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------ telling


def bar(held):
    return "held" if held else "MISSED"


def tell_latency(figures):
    print(f"\nfile to delivered alert ({figures['files']} files, {figures['files_per_s']} a second):")
    print(f"  {'door':<32} {'n':>4} {'p50 s':>7} {'p99 s':>7} {'max s':>7}   bars p50 <= 1 s, p99 <= 3 s")
    for door, times in [*figures["doors"].items(), ("all", figures["all"])]:
        bars = f"{bar(times['p50_s'] <= BARS['p50_s'])}, {bar(times['p99_s'] <= BARS['p99_s'])}"
        print(f"  {door:<32} {times['n']:>4} {times['p50_s']:>7.3f} {times['p99_s']:>7.3f} {times['max_s']:>7.3f}   {bars}")


def tell_throughput(figures):
    print(f"\nthroughput: {figures['events']} events, {figures['megabytes']} MB in {figures['files']} files through HTTP")
    print(f"  all answered after {figures['seconds_until_taken']} s, drained after {figures['seconds_until_drained']} s:")
    print(f"  {figures['events_per_s']} events/s, {figures['megabytes_per_s']} MB/s")
    print(f"  {figures['events_per_cpu_second']} events per second of processor time {figures['cpu_seconds']}", flush=True)


def tell_memory(title, taken):
    sums = taken["sum"]
    print(f"\nmemory, {title}: {sums['pss']} MB (Pss of all processes; sum of Rss {sums['rss']} MB, private {sums['private']} MB)")
    for process, one in taken["each"].items():
        print(f"  {process:<24} rss {one['rss']:>7.1f}  pss {one['pss']:>7.1f}  private {one['private']:>7.1f}  shared {one['shared']:>7.1f}")


def tell_idle(title, rest):
    tell_memory(f"idle, {title}", rest["memory_mb"])
    print(f"idle for {rest['seconds']} s, {title}:")
    print(f"  memory   {rest['memory_mb']['sum']['pss']} MB, bar 150 MB: {bar(rest['memory_mb']['sum']['pss'] <= BARS['idle_mb'])}")
    print(f"  processor {rest['cpu_percent_of_a_core']} % of a core, bar 1 %: {bar(rest['cpu_percent_of_a_core'] <= BARS['idle_cpu_percent'])}  {rest['cpu_percent_each']}")
    print(f"  written  {rest['written_bytes_per_hour'] / 1e6:.1f} MB an hour", flush=True)


def run(arguments, folder):
    flow = Flow(arguments.bin.resolve(), folder, arguments.python)
    try:
        flow.set_up()
        figures = {"cores": os.cpu_count(), "load_before": [round(load, 2) for load in os.getloadavg()], "fresh_memory_mb": memories(flow)}
        print(f"{figures['cores']} cores, load average {figures['load_before'][0]} before the run", flush=True)
        tell_memory("fresh, samples/pack loaded", figures["fresh_memory_mb"])
        figures["latency"] = latency(flow, arguments.seconds, arguments.rate)
        tell_latency(figures["latency"])
        figures["throughput"] = throughput(flow, arguments.megabytes)
        tell_throughput(figures["throughput"])
        figures["idle"] = idle(flow, arguments.idle)
        tell_idle("after draining", figures["idle"])
        if arguments.pack:
            flow.node.ctl("detections", "upload", arguments.pack)
            figures["idle_with_pack"] = idle(flow, arguments.idle)
            tell_idle("with the other pack", figures["idle_with_pack"])
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt):
            print(f"the last lines of the node's log:\n{flow.node.tail()}", file=sys.stderr)
        raise
    finally:
        code = flow.close()
    if code != 0:
        raise Failed(f"pantherd ended with exit code {code}:\n{flow.node.tail()}")
    print(f"\n{json.dumps(figures)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", type=Path, required=True, help="the folder of pantherd and pantherctl")
    parser.add_argument("--seconds", type=float, default=60, help="how long small files are fed")
    parser.add_argument("--rate", type=float, default=2, help="small files a second, over all doors")
    parser.add_argument("--megabytes", type=float, default=100, help="how much is fed at once, before packing")
    parser.add_argument("--idle", type=float, default=60, help="seconds of idleness that are measured")
    parser.add_argument("--python", type=os.path.abspath, help="the node's Python, with what that pack imports")
    parser.add_argument("--pack", type=Path, help="a pack whose idle memory is measured too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="panther-flow-"))
    try:
        run(arguments, folder)
    except (Failed, OSError) as error:
        print(f"the measurement failed: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One run: a cluster, its neighbour, the attacks, the scenarios, and the final checks."""

import gzip
import json
import random
import re
import ssl
import subprocess
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from admin_socket import AdminSocket
from cluster_port import ClusterPort
from configuration import Configurations
from folders import SECRET, Folders
from harness.node import HttpSource, latest_attempts
from harness.pantherctl import CommandFailed
from harness.polling import pause, until
from ingest import SOURCES, Ingest
from neighbour import Neighbourhood, Noted, Settings as Called, longest_wait, percentile
from nodes import Cluster, Node
from notifications import Notifications
from packs import Packs
from scenarios import P99_SECONDS, SCENARIOS, SHORT_SCENARIOS, Scenario

DOORS = ("cluster", "ingest", "socket", "notifications", "folders", "packs", "configuration")
HONEST, HONEST_TYPE = "honest", "Custom.Honest"
FIELDS = "fields:\n  - { name: id, type: string, required: true }\n  - { name: text, type: string }\n"
SCHEMAS = {
    HONEST_TYPE: f"schema: {HONEST_TYPE}\n{FIELDS}",
    "Custom.Table": "schema: Custom.Table\nparser:\n  csv: { delimiter: ',', hasHeader: true }\n" + FIELDS,
}
MEMORY_MB = 300.0
WATCH_SECONDS = 1.0
# Maximum time until an accepted honest line is stored.
WAIT_SECONDS = 60.0
# Doors whose attacks share no files, and the number of concurrent attackers: on one door alone, and on each door in the stage with all
# doors.
NETWORK = ("cluster", "ingest", "socket", "notifications")
ALONE, TOGETHER = 4, 2
# Number of attacks on each door in a short run: the same on any machine.
SHORT_ATTACKS = {"cluster": 25, "ingest": 25, "socket": 20, "notifications": 12, "folders": 60, "packs": 5, "configuration": 25}
# If no further honest line is stored for this time, the line is lost, or attackers delay it too long.
STUCK_SECONDS = 60.0
# How long the callers of a scenario stay after all of them are connected.
STAY_SECONDS = 12.0
# Errors of an attacker that is rejected. They are not faults of a node.
TURNED_AWAY = (OSError, ssl.SSLError, EOFError)


@dataclass
class Settings:
    """The seed of a run, its duration, and its files."""

    binaries: Path
    folder: Path
    sample: Path
    seed: int
    seconds: float
    only: tuple[str, ...] = DOORS
    short: bool = False
    scenarios: bool = True


@dataclass
class Row:
    """Result of one stage: an attack on one door, on all doors, or a scenario."""

    name: str
    seconds: float = 0.0
    attacks: int = 0
    posts: int = 0
    p50: float = 0.0
    p99: float = 0.0
    asks: float = 0.0
    failed: int = 0
    wait: float = 0.0
    peaks: dict[str, float] = field(default_factory=dict)
    growth: float = 0.0
    note: str = ""

    def line(self) -> str:
        peaks = " ".join(f"{peak:6.0f}" for peak in self.peaks.values())
        served = f"{self.posts:>7}{self.p50:>7.2f}{self.p99:>7.2f}{self.asks:>7.2f}{self.failed:>7}{self.wait:>6.0f}"
        return f"{self.name:<50}{self.seconds:>6.0f}{self.attacks:>8}{served} {peaks}{self.growth:>8.0f}  {self.note}"


HEADING = f"{'stage':<50}{'s':>6}{'attacks':>8}{'posts':>7}{'p50':>7}{'p99':>7}{'ask99':>7}{'failed':>7}{'wait':>6} {'first':>6} {'second':>6}{'growth':>8}"


class Watch(threading.Thread):
    """Samples the resident memory of each node once a second."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        super().__init__(daemon=True)
        self.nodes, self.ended, self.peaks, self.stage = nodes, threading.Event(), {node.name: 0.0 for node in nodes}, {node.name: 0.0 for node in nodes}

    def run(self) -> None:
        while not self.ended.wait(WATCH_SECONDS):
            self.look()

    def look(self) -> None:
        for node in self.nodes:
            memory = node.memory()
            most = max(memory.get("VmRSS", 0.0), memory.get("VmHWM", 0.0))
            self.stage[node.name] = max(self.stage[node.name], most)
            self.peaks[node.name] = max(self.peaks[node.name], most)

    def begin(self) -> dict[str, float]:
        """Starts a stage: records the present values of each node."""
        self.look()
        for node in self.nodes:
            node.forget_peak()
        now = {node.name: node.memory().get("VmRSS", 0.0) for node in self.nodes}
        self.stage = dict(now)
        return now


class Trial:
    """A run from its start to its verdict."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.wrong, self.rows = settings, [], []
        self.cluster = Cluster(settings.binaries, settings.folder)
        self.doors: dict[str, Any] = {}
        self.done: Counter[str] = Counter()
        self.watch = Watch(self.cluster.nodes)
        self.neighbourhood: Neighbourhood | None = None

    def run(self) -> None:
        try:
            self.prepare()
            self.watch.start()
            if self.settings.scenarios:
                for scenario in SHORT_SCENARIOS if self.settings.short else SCENARIOS:
                    self.scenario(scenario)
            self.attack()
            self.settle()
        finally:
            self.watch.ended.set()
            if self.neighbourhood is not None:
                self.neighbourhood.stop()
            self.wrong += self.cluster.stop()
        self.judge()

    def report(self, what: str) -> None:
        """Reports a fault at once, because a long run may be ended early."""
        self.wrong.append(what)
        print(f"  fault: {what}"[:1_500], flush=True)

    # The steps of a run.

    def prepare(self) -> None:
        cluster, folder = self.cluster, self.settings.folder
        cluster.start()
        for name, schema in SCHEMAS.items():
            (folder / f"{name}.yml").write_text(schema)
            cluster.first.pantherctl.call("schemas", "add", folder / f"{name}.yml")
        honest = self.add_http(HONEST, HONEST_TYPE)
        attacked = {label: self.add_http(label, log_type) for label, log_type in SOURCES.items()}
        made = {
            "cluster": lambda: ClusterPort(cluster),
            "ingest": lambda: Ingest(cluster.nodes, attacked, self.settings.short),
            "socket": lambda: AdminSocket(cluster.nodes),
            "notifications": lambda: Notifications(cluster),
            "folders": lambda: Folders(cluster),
            "packs": lambda: Packs(cluster, self.report),
            "configuration": lambda: Configurations(self.settings.binaries, self.settings.sample, folder, self.report),
        }
        for name in self.settings.only:
            self.doors[name] = made[name]()
            if hasattr(self.doors[name], "prepare"):
                self.doors[name].prepare()
        first = cluster.first
        pantherctl = str(self.settings.binaries / "pantherctl")
        self.neighbourhood = Neighbourhood(Called(first.ingest_port, HONEST, honest.token, pantherctl, str(first.socket), str(folder / "neighbour.jsonl")))
        until("the neighbour is served", lambda: sum(one.what == "post" for one in self.notes()) > 5, got=first.tail)
        self.stage("at rest", lambda row: time.sleep(3.0))

    def add_http(self, label: str, log_type: str) -> HttpSource:
        added = self.cluster.first.pantherctl.call("sources", "add", "http", label, "--log-types", log_type)
        return HttpSource(added["ingestUrl"], added["token"])

    def notes(self) -> list[Noted]:
        return [] if self.neighbourhood is None else self.neighbourhood.notes()

    def stage(self, name: str, work: Any) -> Row:
        """Runs one stage. Its results become a row of the table."""
        row, began, before = Row(name), time.monotonic(), self.watch.begin()
        work(row)
        ended = time.monotonic()
        self.watch.look()
        row.seconds, row.peaks = ended - began, dict(self.watch.stage)
        row.growth = max(self.watch.stage[name] - before[name] for name in before)
        # Attempts that began in the stage, and whose answers were recorded in time.
        seen = [one for one in self.notes() if began <= one.began <= ended]
        posts = [one.took for one in seen if one.what == "post"]
        row.posts, row.p50, row.p99 = len(posts), percentile(posts, 0.5), percentile(posts, 0.99)
        row.asks = percentile([one.took for one in seen if one.what == "ask"], 0.99)
        failed = [one for one in seen if one.failed is not None]
        row.failed = len(failed)
        stored = [one for one in seen if one.what == "stored"]
        row.wait = longest_wait([one for one in self.notes() if one.what == "post"] + stored)
        if row.wait > WAIT_SECONDS and not self.settings.short:
            self.report(f"{name}: an honest line that was taken was not stored within {row.wait:.0f} s")
        self.rows.append(row)
        print(row.line(), flush=True)
        for one in failed[:3]:
            print(f"    {one.what} {one.words or one.line} after {one.took:.2f} s: {one.failed}", flush=True)
        self.look_at_nodes(name, row)
        return row

    def look_at_nodes(self, stage: str, row: Row) -> None:
        for node in self.cluster.nodes:
            if not node.runs():
                raise CommandFailed(f"{node.name} ended during {stage}: {node.tail()}")
            for line in node.panics():
                if line not in self.wrong:
                    self.report(line)
        for name, peak in row.peaks.items():
            if peak > MEMORY_MB:
                self.report(f"{stage}: {name} had {peak:.0f} MB")

    def scenario(self, scenario: Scenario) -> None:
        port = self.doors.get("cluster") or ClusterPort(self.cluster)
        stay = 1.0 if self.settings.short else STAY_SECONDS

        def work(row: Row) -> None:
            row.note = scenario.run(self.cluster, port, stay)
            time.sleep(1.0)

        row = self.stage(scenario.name, work)
        if scenario.growth is not None and row.growth > scenario.growth:
            self.report(f"{scenario.name}: a node gained {row.growth:.0f} MB, more than {scenario.growth:.0f}")
        if row.p99 >= P99_SECONDS and not self.settings.short:
            self.report(f"{scenario.name}: the 99th percentile of honest posts was {row.p99:.2f} s, not below {P99_SECONDS:.0f}")

    def attack(self) -> None:
        """Attacks the doors one after another, and then all at the same time."""
        settings = self.settings
        if settings.short:
            for name in settings.only:
                self.stage(name, lambda row, name=name: self.attack_door(name, row, SHORT_ATTACKS[name], time.monotonic() + 60))
            return
        alone = 0.6 * settings.seconds / len(settings.only)
        for name in settings.only:
            self.stage(name, lambda row, name=name: self.attack_doors((name,), row, ALONE, time.monotonic() + alone))
        self.stage("all at one time", lambda row: self.attack_doors(settings.only, row, TOGETHER, time.monotonic() + 0.4 * settings.seconds))

    def attack_door(self, name: str, row: Row, most: int | None, end: float, salt: str = "") -> None:
        """Makes one attack after another. Each is determined by the seed, the door and its number."""
        number = 0
        while (most is None or number < most) and time.monotonic() < end:
            rng = random.Random(f"{self.settings.seed} {name} {salt} {number}")
            try:
                kind = self.doors[name].once(rng)
            except TURNED_AWAY as error:
                kind = type(error).__name__
            except subprocess.TimeoutExpired as error:
                kind = "TimeoutExpired"
                self.report(f"{name}, attack {number}{salt}: no end within {error.timeout:.0f} s: {str(error.cmd)[:300]}")
            self.done[f"{name}: {kind}"] += 1
            number += 1
        row.attacks += number

    def attack_doors(self, doors: tuple[str, ...], row: Row, many: int, end: float) -> None:
        """Starts several attackers per door, but only one where attacks share files."""
        attackers = [(name, str(number)) for name in doors for number in range(many if name in NETWORK else 1)]
        failures: list[BaseException] = []

        def attacker(name: str, salt: str) -> None:
            try:
                self.attack_door(name, row, None, end, f"of {len(doors)}, {salt}")
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=attacker, args=one, daemon=True) for one in attackers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    # Final checks.

    def settle(self) -> None:
        assert self.neighbourhood is not None
        self.neighbourhood.stop()
        taken = self.taken()
        self.stage("settling", lambda row: self.wait_for(len(taken)))
        lost = [one for one in self.notes() if one.what == "lost"]
        failed = [one for one in self.notes() if one.failed is not None]
        if lost:
            self.report(f"{len(lost)} honest lines were never taken")
        if failed:
            kinds = Counter(f"{one.what} {one.words}: {re.sub(r'[0-9]+', 'N', one.failed or '')[:160]}" for one in failed)
            self.report(f"{len(failed)} honest calls failed: {dict(kinds.most_common(6))}")
        stored = Counter(self.stored())
        missing, twice = taken - stored.keys(), [line for line, times in stored.items() if times > 1]
        if missing or twice:
            self.report(
                f"of {len(taken)} honest lines {len(missing)} are missing and {len(twice)} are stored more than once: {sorted(missing)[:5]} {sorted(twice)[:5]}"
            )
        ledger = self.honest()
        if ledger["stored"] != len(taken) or ledger["quarantined"]:
            self.report(f"{len(taken)} honest lines were taken, and the ledger says {ledger}")
        self.look_for_secrets()

    def taken(self) -> set[str]:
        return {f"line-{one.line}" for one in self.notes() if one.what == "post" and one.failed is None}

    def honest(self) -> dict[str, Any]:
        sources = self.cluster.first.pantherctl.call("sources", "list")["integrations"]
        return next({name: one[name] for name in ("received", "stored", "quarantined", "filtered")} for one in sources if one["integrationLabel"] == HONEST)

    def wait_for(self, lines: int) -> None:
        """Waits until the honest lines are stored, or no further line arrives for a while."""
        before, changed = -1, time.monotonic()
        while (stored := self.honest()["stored"]) < lines:
            if stored != before:
                before, changed = stored, time.monotonic()
            if time.monotonic() - changed > STUCK_SECONDS:
                return self.report(f"{stored} of {lines} honest lines are stored, and for {STUCK_SECONDS:.0f} s no further one came")
            pause()

    def stored(self) -> list[str]:
        """The ids of honest lines, as they are stored. Lines of attackers have other ids."""
        files = latest_attempts((self.cluster.objects / "logs").glob("**/*.gz"))
        events = (json.loads(line) for file in files if "custom_honest" in str(file) for line in gzip.decompress(file.read_bytes()).splitlines())
        return [event["id"] for event in events if str(event.get("id", "")).startswith("line-")]

    def look_for_secrets(self) -> None:
        """Checks that the object store contains no data from the target of a link."""
        if "folders" not in self.doors:
            return
        secrets = {"the key that seals secrets": (self.cluster.first.data / "sealing.key").read_bytes(), "a file beside the folder": SECRET}
        secrets["the node's key"] = (self.cluster.first.data / "keys" / "node.key").read_bytes().splitlines()[1]
        for file in self.cluster.objects.glob("**/*"):
            if not file.is_file():
                continue
            content = file.read_bytes()
            if content.startswith(b"\x1f\x8b"):
                try:
                    content = gzip.decompress(content)
                except (OSError, EOFError, zlib.error):
                    continue
            for what, secret in secrets.items():
                if secret in content:
                    self.report(f"{what} is in the object {file.relative_to(self.cluster.objects)}")

    def judge(self) -> None:
        for node in self.cluster.nodes:
            self.wrong += [line for line in node.panics() if line not in self.wrong]

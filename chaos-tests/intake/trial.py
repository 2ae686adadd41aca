"""One run: a node with its sources, senders and writers, kills in between, and the final checks."""

import random
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from forms import FORMS, add_schemas
from harness.node import INPUT_DLQ, INPUT_QUEUE, Node
from harness.pantherctl import CommandFailed
from promises import Holdings, Promises, differences
from rotation import EXACT, LINKED, LOSSY, Writer
from senders import Sender

# Sources of the HTTP door, with their log types, and the number of senders of each.
HTTP = {
    "orders": (["Custom.Orders"], 2),
    "rows": (["Custom.Rows"], 2),
    "flows": (["AWS.VPCFlow"], 2),
    "mixed": (["Nginx.Access", "Custom.Orders"], 1),
}
# Watched folders, with their log type and the rotation schemes of their writer.
FOLDERS = {
    "web": ("Nginx.Access", EXACT),
    "shop": ("Custom.Orders", EXACT),
    "table": ("Custom.Rows", EXACT),
    "net": ("AWS.VPCFlow", EXACT),
    "linked": ("Nginx.Access", LINKED),
    "lossy": ("Custom.Orders", LOSSY),
}
# A last line without a line end waits 30 s; a dead letter has attempts for 26 s.
SETTLE_SECONDS = 240.0
# Operations that do not change the final state: a requeued message fails again.
OPERATIONS = [("snapshot",), ("requeue", INPUT_QUEUE, "--yes")]
# For a short run: number of bodies per sender, and lines of the longest burst.
SHORT_BODIES, SHORT_LINES = 40, 200
# If nothing has changed for this time and data is missing, the data is lost.
STUCK_SECONDS = 75.0
# All expected data exists, and nothing more has arrived for this time.
QUIET_SECONDS = 6.0


@dataclass
class Settings:
    """The seed of a run, its duration, and its files."""

    binaries: Path
    folder: Path
    seed: int
    seconds: float
    kills_apart: tuple[float, float] = (1.5, 9.0)
    # A short run: the same bodies on any machine, small files, and no long waits.
    short: bool = False


@dataclass
class Report:
    """Results of a run."""

    wrong: list[str] = field(default_factory=list)
    kills: int = 0
    early: int = 0
    stops: int = 0
    bodies: int = 0
    lines: int = 0
    marks: int = 0
    dead: int = 0
    stored: int = 0
    episodes: int = 0
    settled: float = 0.0

    def line(self) -> str:
        return (
            f"{self.kills} kills ({self.early} while starting), {self.stops} stops, {self.bodies} bodies, {self.episodes} episodes of rotation, "
            f"{self.lines} lines, {self.stored} stored, {self.marks} records in quarantine and {self.dead} dead letters as promised; "
            f"settled in {self.settled:.0f} s"
        )


class Counts(threading.Thread):
    """The counts of all sources, polled; while the node is down, the last ones are kept."""

    def __init__(self, node: Node) -> None:
        super().__init__(daemon=True)
        self.node, self.ended = node, threading.Event()
        self.of: dict[str, tuple[int, int, int]] = {}

    def run(self) -> None:
        while not self.ended.wait(0.5):
            try:
                self.look()
            except (CommandFailed, subprocess.TimeoutExpired):
                continue

    def look(self) -> None:
        sources = self.node.pantherctl.call("--timeout", 5, "sources", "list")["integrations"]
        self.of = {one["integrationLabel"]: (one["stored"], one["quarantined"], one["filtered"]) for one in sources}

    def stored(self, source: str) -> int:
        return self.of.get(source, (0, 0, 0))[0]


class Trial:
    """A run from its start to its verdict."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.rng = settings, random.Random(f"kills {settings.seed}")
        self.node = Node(settings.binaries, settings.folder)
        self.promises, self.report = Promises(), Report()
        self.counts = Counts(self.node)
        self.labels: dict[str, str] = {}
        self.actors: list[Sender | Writer] = []

    def run(self) -> Report:
        try:
            self.prepare()
            self.disturb()
            self.settle()
            holdings = Holdings.of(self.node)
            self.report.wrong += differences(self.promises, holdings, self.labels)
            self.count(holdings)
        finally:
            self.counts.ended.set()
            for actor in self.actors:
                actor.stop.set()
            self.node.stop()
        return self.report

    # The steps of a run.

    def prepare(self) -> None:
        add_schemas(self.node.pantherctl, self.settings.folder)
        seed = self.settings.seed
        for source, (log_types, senders) in HTTP.items():
            token = self.node.add_http(source, *log_types).token
            for number in range(senders):
                name = f"{source}{number}"
                sender = Sender(name, source, log_types, f"{seed} {name}", self.url(source), token)
                if self.settings.short:
                    sender.most = SHORT_BODIES
                self.actors.append(sender)
        for source, (log_type, schemes) in FOLDERS.items():
            watched = self.settings.folder / f"watched-{source}"
            watched.mkdir()
            links = ["--follow-links"] if schemes is LINKED else []
            self.node.pantherctl.call("sources", "add", "folder", source, watched, "--log-types", log_type, *links)
            writer = Writer(source, FORMS[log_type], watched, schemes, f"{seed} {source}", self.counts.stored)
            if self.settings.short:
                writer.open_ends, writer.longest = False, SHORT_LINES
            self.actors.append(writer)
        sources = self.node.pantherctl.call("sources", "list")["integrations"]
        self.labels = {one["integrationId"]: one["integrationLabel"] for one in sources}

    def url(self, source: str):
        return lambda: self.node.ingest_url(source)

    def disturb(self) -> None:
        """Runs senders and writers while the node is killed or stopped."""
        self.counts.start()
        for actor in self.actors:
            actor.begin(self.promises)
        end = time.monotonic() + self.settings.seconds
        while True:
            wait = self.rng.uniform(*self.settings.kills_apart)
            if time.monotonic() + wait > end:
                break
            time.sleep(wait)
            self.operate()
            if self.rng.random() < 0.15:
                self.node.stop()
                self.node.launch()
                self.report.stops += 1
            else:
                self.kill()
            if self.rng.random() < 0.2:
                # A second kill, before the node serves or just at that time.
                time.sleep(self.rng.random() * 0.5)
                self.kill()
                self.report.early += 1
            self.node.wait_ready()
        time.sleep(max(0.0, end - time.monotonic()))
        for actor in self.actors:
            actor.stop.set()
        for actor in self.actors:
            actor.join(300)
            if actor.is_alive():
                self.report.wrong.append(f"{actor.name} does not come to an end")
            if actor.failure:
                self.report.wrong.append(actor.failure)

    def operate(self) -> None:
        """Operations that an operator may run at any time; a kill hits the work on them."""
        what = self.rng.choice([*OPERATIONS, *[()] * len(OPERATIONS)])
        if what:
            answer = self.node.pantherctl.run(*what)
            if answer.exit_code not in (0, 1):
                self.report.wrong.append(f"pantherctl {' '.join(what)} ended with {answer.exit_code}: {answer.text()[:300]}")
            time.sleep(self.rng.random())

    def kill(self) -> None:
        self.node.kill()
        self.report.kills += 1
        self.node.launch()

    def settle(self) -> None:
        """Waits until all expected data exists and nothing more arrives, or until the deadline."""
        began, quiet_since, before = time.monotonic(), time.monotonic(), None
        while time.monotonic() - began < SETTLE_SECONDS:
            time.sleep(0.5)
            self.counts.look()
            now = (dict(self.counts.of), self.node.drained(), self.node.pantherctl.call("queue", "show", INPUT_DLQ)["waiting"])
            if now != before:
                before, quiet_since = now, time.monotonic()
            quiet = time.monotonic() - quiet_since
            if now[1] and self.complete(now[2]) and quiet > QUIET_SECONDS:
                break
            if quiet > STUCK_SECONDS:
                self.report.wrong.append(f"something is missing: {before}, wanted {self.promises.wanted()}")
                break
        else:
            self.report.wrong.append(f"not settled within {SETTLE_SECONDS:.0f} s: {before}, wanted {self.promises.wanted()}")
        self.report.settled = time.monotonic() - began

    def complete(self, dead: int) -> bool:
        for source, (stored, aside) in self.promises.wanted().items():
            of = self.counts.of.get(source, (0, 0, 0))
            if of[0] < stored or of[1] < aside:
                return False
        return dead >= self.promises.wanted_dead()

    def count(self, holdings: Holdings) -> None:
        report = self.report
        report.bodies = sum(actor.sent for actor in self.actors if isinstance(actor, Sender))
        report.episodes = sum(actor.episode for actor in self.actors if isinstance(actor, Writer))
        report.lines, report.stored = len(self.promises.lines), len(holdings.events)
        report.marks, report.dead = len(holdings.quarantined), len(holdings.dead)

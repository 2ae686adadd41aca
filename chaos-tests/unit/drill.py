"""One run of the drill: start, bystander, pack, events, and the judgement of each attempt by what is seen from outside."""

import hashlib
import json
import os
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pack
from attempts import Attempt
from places import HOME, Booted, Place

PORT = 18_787
TOKEN = "intruder"
# Rounds in which every attempt is made; before, between and after them honest events alone.
ROUNDS, HONEST_EVENTS = 2, 5
SETTLE_SECONDS = 600
MEMORY_MB = 1_200.0
POST = """
import sys, urllib.request
url, token = sys.argv[1:]
asked = urllib.request.Request(url, sys.stdin.buffer.read(), {"Authorization": "Bearer " + token})
print(urllib.request.urlopen(asked, timeout=60).status)
"""
# What an attempt may be refused by. Another exception is a mistake in the attempt, and proves nothing.
REASONS = (
    "PermissionError", "FileNotFoundError", "DetectionForbidden", "ImportError", "MemoryError", "RecursionError", "gaierror",
    "ValueError: not allowed to raise maximum limit", "OSError: [Errno 27]", "OSError: [Errno 30]", "OSError: [Errno 38]",
)  # fmt: skip
SUCCEEDED, REFUSED, NO_EFFECT, REMAINS = "SUCCEEDED", "refused", "no effect", "remains"


@dataclass
class Outcome:
    """What came of one attempt."""

    attempt: Attempt
    says: list[str] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    tried: bool = False
    control: str = ""

    def control_got(self) -> bool:
        """Whether an ordinary process of the same user gets what the attempt wants."""
        return self.control.startswith("got:")

    def judged(self) -> tuple[str, str]:
        """The outcome, and how it is known."""
        got = [said for said in self.says if said.startswith("got:")]
        if self.effects or got:
            return REMAINS if self.attempt.remains else SUCCEEDED, "; ".join([*self.effects, *got])
        refused = [said for said in self.says if said.startswith("refused:")]
        if refused:
            return REFUSED, refused[0].removeprefix("refused: ")
        said = [one for one in self.says if one != "nothing"]
        return NO_EFFECT, said[0] if said else "it ended without a result"


def targets(place: Place, daemon: int, bystander: int, folder: str) -> dict[str, Any]:
    """What attempts are aimed at."""
    booted = isinstance(place, Booted)
    return {
        "data": place.data,
        "canary": place.data + "/canary",
        "configuration": place.configuration,
        "runtime": place.runtime,
        "socket": place.socket,
        "of another user": HOME + "/canary" if booted else str(place.folder / "other/canary"),
        "of root": "/root/canary" if booted else str(place.folder / "root/canary"),
        "home": HOME if booted else str(place.home),
        "port": PORT,
        "ingest": place.ingest,
        "unix": folder + "/stream.sock",
        "datagram": folder + "/datagram.sock",
        "abstract": folder,
        "daemon": daemon,
        "bystander": bystander,
    }


class Watch(threading.Thread):
    """Samples the memory and the number of the engine's processes."""

    def __init__(self, place: Place) -> None:
        super().__init__(daemon=True)
        self.place, self.ended, self.memory, self.count, self.intruders = place, threading.Event(), 0.0, 0, set()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            try:
                found = self.place.engine()
            except (OSError, RuntimeError, ValueError):
                continue  # the machine has no process to spare; `look` sees whether the daemon is there
            self.count = max(self.count, len(found))
            for fields in found.values():
                self.memory = max(self.memory, int(fields.get("VmHWM", "0").split()[0]) / 1000)


class Drill:
    """A run in one place."""

    def __init__(self, place: Place, folder: Path, bystander: Path, attempts: list[Attempt]) -> None:
        self.place, self.folder, self.bystander_file = place, folder, bystander
        self.secrets = {name: secrets.token_hex(16) for name in ("configuration", "other", "root", "environment", "canary")}
        self.outcomes = {attempt.rule: Outcome(attempt) for attempt in attempts}
        self.wrong: list[str] = []
        self.posted: list[str] = []
        self.bystander: Any = None

    def run(self) -> None:
        place = self.place
        try:
            place.begin()
            place.install(self.secrets)
            place.start()
            self.wrong += [f"the unit does not confine the daemon: {wrong}" for wrong in place.said_by_unit()]
            self.unenforced = place.pantherctl("status").get("unenforced") or []
            self.prepare()
            self.attack()
            self.look()
            self.compare()
            self.leave()
        finally:
            self.end()

    # The steps.

    def prepare(self) -> None:
        place = self.place
        canary = place.path(place.data + "/canary")
        canary.write_text(self.secrets["canary"])
        canary.chmod(0o600)
        os.chown(canary, place.uid, place.uid)
        self.noted = ("/run" if isinstance(place, Booted) else str(self.folder)) + "/bystander"
        beside = place.path(self.noted)
        beside.mkdir(mode=0o755)
        os.chown(beside, place.uid, place.uid)
        (beside / "bystander.py").write_text(self.bystander_file.read_text())
        self.start_bystander()
        place.path(f"{self.noted}/schema.yml").write_text(pack.SCHEMA)
        place.pantherctl("schemas", "add", f"{self.noted}/schema.yml")
        self.source = place.pantherctl("sources", "add", "http", "drill", "--log-types", pack.LOG_TYPE)
        daemon = place.daemon()
        self.targets = targets(place, daemon, self.bystander_pid, self.noted)
        self.before = self.state()
        self.clock = time.time() - time.monotonic()
        pack.write(place.path(f"{self.noted}/pack"), self.targets, [one.attempt for one in self.outcomes.values()])
        self.watch = Watch(place)
        self.watch.start()
        began = time.monotonic()
        # Forced: files that end the process that loads them are left out, with the reason.
        uploaded = place.run(place.tool, "--socket", place.socket, "detections", "upload", f"{self.noted}/pack", "--yes", "--force", "--timeout", 600, timeout=620)
        (self.folder / "upload.txt").write_text(uploaded.stdout + uploaded.stderr)
        if uploaded.returncode != 0:
            raise RuntimeError(f"the upload of the pack ended with {uploaded.returncode}, and the daemon was started again {place.restarts()} times: {(uploaded.stdout + uploaded.stderr)[-3000:]}")
        print(f"pack of {len(self.outcomes)} attempts and {len(pack.HONEST)} honest rules uploaded in {time.monotonic() - began:.0f} s", flush=True)

    def start_bystander(self) -> None:
        import subprocess

        def run() -> None:
            try:
                self.place.run("python3", f"{self.noted}/bystander.py", self.noted, PORT, user=self.place.user, timeout=7200)
            except subprocess.SubprocessError as error:
                self.wrong.append(f"the bystander: {error}")

        threading.Thread(target=run, daemon=True).start()
        ready = self.place.path(f"{self.noted}/ready")
        self.until("the bystander listens", ready.exists, 30)
        self.bystander_pid = int(ready.read_text())

    def post(self, hostile: bool, count: int = 1) -> None:
        place = self.place
        ids = [f"event-{len(self.posted) + number}" for number in range(count)]
        self.posted += ids
        body = "".join(json.dumps({"id": one, "hostile": hostile, "number": 1}) + "\n" for one in ids)
        answer = place.run("python3", "-c", POST, self.source["ingestUrl"], self.source["token"], text=body)
        if answer.stdout.strip() != "200":
            self.wrong.append(f"a post was not accepted: {answer.stdout}{answer.stderr[-500:]}")

    def attack(self) -> None:
        self.post(hostile=False, count=HONEST_EVENTS)
        self.settle("before")
        for number in range(ROUNDS):
            began = time.monotonic()
            self.post(hostile=True)
            self.post(hostile=False, count=HONEST_EVENTS)
            self.settle(f"during round {number + 1}")
            print(f"round {number + 1}: {time.monotonic() - began:.0f} s", flush=True)
        self.post(hostile=False, count=HONEST_EVENTS)
        self.settle("after")

    def settle(self, when: str) -> None:
        """Waits for the alerts of both honest rules for every event so far."""
        wanted = {(rule, one) for rule in pack.HONEST for one in self.posted}

        def all_there() -> bool:
            return wanted <= set(self.honest())

        try:
            self.until(f"honest alerts {when}", all_there, SETTLE_SECONDS)
        except RuntimeError:
            lacking = sorted(wanted - set(self.honest()))
            self.wrong.append(f"{when}: {len(lacking)} alerts of honest rules are missing: {lacking[:4]}")

    def alerts(self) -> list[dict[str, Any]]:
        return self.place.pantherctl("alerts", "list", "--limit", 1000)["alertSummaries"]

    def honest(self) -> list[tuple[str, str]]:
        """Right alerts of the honest rules; a wrong one is a fault."""
        found = []
        for alert in self.alerts():
            rule, title = identity(alert), alert.get("title") or ""
            if rule in pack.HONEST:
                words = title.split()
                if len(words) == 3 and words[0] == "hello" and words[2] == hashlib.sha256(words[1].encode()).hexdigest():
                    found.append((rule, words[1]))
                elif title not in self.wrong_titles:
                    self.wrong_titles.add(title)
                    self.wrong.append(f"an alert of {rule} is wrong: {title[:300]}")
        return found

    wrong_titles: set[str] = set()

    # What is seen from outside.

    def state(self) -> dict[str, Any]:
        place, daemon = self.place, self.place.daemon()
        canary = place.path(place.data + "/canary")
        try:
            status = canary.stat()
            kept: Any = (canary.read_text(), status.st_mode, status.st_nlink, status.st_mtime_ns, os.listxattr(canary))
        except OSError as error:
            kept = str(error)
        fields = place.process(daemon)
        limits = place.path(f"/proc/{daemon}/limits").read_text()
        seen = place.path(f"/proc/{daemon}/stat").read_text().rpartition(")")[2].split()
        return {
            "the canary in the data folder": kept,
            "the daemon's process": (daemon, place.restarts()),
            "the daemon's limits": limits,
            "the daemon's priority": (seen[15], seen[16]),
            "the daemon's processors": fields.get("Cpus_allowed"),
            "the daemon's user and capabilities": (fields.get("Uid"), fields.get("CapEff")),
            "the daemon is traced or stopped": (fields.get("TracerPid"), fields.get("State", "")[:1] in "Tt"),
            "the user that the bystander is": place.process(self.bystander_pid).get("Uid"),
            "the bystander is traced": place.process(self.bystander_pid).get("TracerPid"),
        }

    def look(self) -> None:
        """Effects: each names its attempt, or is a fault of the whole."""
        place = self.place
        for alert in self.alerts():
            self.said(identity(alert), alert.get("title") or "")
        after = self.state()
        self.wrong += [f"changed: {name}: {self.before[name]} -> {value}"[:900] for name, value in after.items() if value != self.before[name]]
        drift = abs(time.time() - time.monotonic() - self.clock)
        if drift > 2:
            self.wrong.append(f"the clock was set: {drift:.1f} s")
        noted = place.path(f"{self.noted}/noted")
        for line in noted.read_text().splitlines() if noted.exists() else []:
            self.effect(f"the bystander noted: {line}", line)
        for file in self.files():
            self.effect(f"a file: {file}", file)
        for number, fields in self.place.processes().items():
            if TOKEN in fields.get("Name", ""):
                self.wrong.append(f"a process of an attempt is alive: {number} {fields['Name']}")
        if isinstance(place, Booted) and TOKEN in place.property("StatusText"):
            self.effect("systemd shows its status", "hostile_send_a_state_to_systemd")
        if self.watch.memory > MEMORY_MB:
            self.wrong.append(f"a process of the engine used {self.watch.memory:.0f} MB")
        # It is started again, so rules go on; but no rule may end what all rules of the pack are forked from.
        ended = place.log().count("the Python template ended")
        if ended:
            self.wrong.append(f"the template of the pack ended {ended} times or more")
        everything = json.dumps(self.alerts())
        for outcome in self.outcomes.values():
            if not outcome.tried:
                self.wrong.append(f"{outcome.attempt.name}: it was never tried")
            judged, how = outcome.judged()
            if judged == REFUSED and not how.startswith(REASONS):
                self.wrong.append(f"{outcome.attempt.name}: it ended for another reason: {how}")
        self.wrong += [f"an alert holds the secret of {name}" for name, secret in self.secrets.items() if secret in everything]

    def files(self) -> list[str]:
        """Files of attempts, anywhere but in the pack itself."""
        roots = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/home", "/root", "/var/lib/panther", "/sys/fs/cgroup", "/etc", f"/proc/{self.place.daemon()}/root/tmp")
        if not isinstance(self.place, Booted):
            roots = ("/tmp", "/var/tmp", "/dev/shm", self.place.data, self.place.runtime, str(self.place.home))
        found = []
        for root in roots:
            at = self.place.path(root)
            for folder, folders, names in os.walk(at):
                found += [os.path.join(folder, name) for name in (*names, *folders) if name.startswith(f"{TOKEN}-")]
        layers = [file for file in self.place.path(self.place.data + "/work").glob("**/attempt.py") if "# " + TOKEN in file.read_text()]
        return found + [f"{file}: hostile_write_into_its_own_layer" for file in layers]

    def effect(self, text: str, about: str) -> None:
        for rule in sorted(self.outcomes, key=len, reverse=True):
            if rule in about:
                self.outcomes[rule].effects.append(text[:300])
                return
        self.wrong.append(f"an effect of an unknown attempt: {text}"[:600])

    def said(self, rule: str, title: str) -> None:
        if rule in self.outcomes:
            outcome = self.outcomes[rule]
            outcome.tried = True
            if title not in outcome.says:
                outcome.says.append(title)


    def compare(self) -> None:
        """The control: the same attempts by an ordinary process. Everything has been looked at, so their effects count no more."""
        place = self.place
        if not isinstance(place, Booted):
            return  # nothing but the sandbox refuses there, and what succeeds would stay on this machine
        (place.path(self.noted) / "control.py").write_text(self.bystander_file.with_name("control.py").read_text())
        chosen = [outcome.attempt.rule for outcome in self.outcomes.values() if not outcome.attempt.alone]
        for at in (folder := place.path(f"{self.noted}/pack"), *folder.rglob("*")):
            os.chown(at, place.uid, place.uid)
        said = place.ordinary("python3", f"{self.noted}/control.py", f"{self.noted}/pack", self.bystander_pid, *chosen)
        (self.folder / "control.txt").write_text(said.stdout + said.stderr)
        for line in said.stdout.splitlines():
            rule, _, result = line.partition("\t")
            if rule in self.outcomes:
                self.outcomes[rule].control = result
        lacking = [rule for rule in chosen if not self.outcomes[rule].control]
        if lacking:
            self.wrong.append(f"the control ended before {lacking[0]}: {said.stderr[-500:]}")

    def leave(self) -> None:
        """The daemon stops: nothing of the pack may be left."""
        place = self.place
        self.watch.ended.set()
        place.stop()
        left = {number: fields.get("Name") for number, fields in place.processes().items() if number != self.bystander_pid}
        if left:
            self.wrong.append(f"processes are left when the daemon has stopped: {left}")

    def until(self, what: str, probe: Any, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not probe():
            if time.monotonic() > end:
                raise RuntimeError(f"{what}: not within {seconds:.0f} s")
            time.sleep(0.5)

    def end(self) -> None:
        if hasattr(self, "watch"):
            self.watch.ended.set()
        try:
            if hasattr(self, "noted"):
                (self.folder / "pantherd.log").write_text(self.place.log())
                self.place.run("sh", "-c", f"kill -9 {self.bystander_pid}")
        finally:
            self.place.end()


def identity(alert: dict[str, Any]) -> str:
    """The rule of an alert."""
    return str(alert.get("ruleId") or alert.get("detectionId") or "")

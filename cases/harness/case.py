"""One running case: its inputs, its temporary folder, its processes, and its expectations.

A case is a folder with a `case.py` (a function `check` that takes a `Case`) or with a table of readings, `case.toml`.
"""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.node import Node, remove_folder
from harness.outcome import Outcome
from harness.pantherctl import Answer, Pantherctl
from harness.reading import Reading, Result, read_logs
from harness.receiver import Receiver


class Case:
    """The argument of a case's `check`. All processes of a case are stopped when the case ends, with any result."""

    def __init__(self, binaries: Path, folder: Path, outcome: Outcome, stack: contextlib.ExitStack) -> None:
        self.binaries, self.folder, self.outcome = binaries, folder, outcome
        self.pantherctl = Pantherctl(binaries)
        self._stack = stack
        # A short name: the path of a Unix socket has at most 107 bytes.
        self.temporary = Path(tempfile.mkdtemp(prefix="case-"))
        stack.callback(remove_folder, self.temporary)

    # Processes.

    def node(self, pack: str | None = None) -> Node:
        """A node with fresh data; optionally with a live pack from the case's folder."""
        return self.started(Node(self.binaries, self.temporary), pack)

    def started(self, node: Node, pack: str | None = None) -> Node:
        """Registers a started node, so that it is stopped at the end."""
        self._stack.callback(node.stop)
        if pack is not None:
            node.upload(self.folder / pack)
        return node

    def receiver(self, *arguments: Any, **options: Any) -> Receiver:
        receiver = Receiver(*arguments, **options)
        self._stack.callback(receiver.close)
        return receiver

    # Inputs.

    def input(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def read_logs(self, schema: str, log: str) -> Result:
        return read_logs(self.pantherctl, schema, self.folder / log)

    def test_pack(self, pack: str = "pack") -> Answer:
        """Runs the tests of a pack in the case's folder, without a server and without the cache of results."""
        return self.pantherctl.run("detections", "test", self.folder / pack, "--fresh")

    # Expectations.

    def same(self, what: str, wanted: Any, got: Any) -> bool:
        return self.outcome.same(what, wanted, got)

    def holds(self, what: str, condition: bool, wanted: str, got: Any) -> bool:
        return self.outcome.holds(what, condition, wanted, got)

    def succeeds(self, what: str, answer: Answer) -> bool:
        """Expects a command to end with exit code 0."""
        got = f"exit code {answer.exit_code}: {' '.join(answer.err.split())}"
        return self.outcome.holds(what, answer.exit_code == 0, "exit code 0", got)


def readings_check(readings: list[Reading]) -> Callable[[Case], None]:
    """The check of a case that is a table of readings."""

    def check(case: Case) -> None:
        for reading in readings:
            result = read_logs(case.pantherctl, reading.schema, reading.log)
            case.outcome.differences += reading.differences(result)

    return check

"""Runs pantherctl as an operator would do, and keeps its complete output."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class CommandFailed(Exception):
    """pantherctl ended with an unexpected exit code."""


@dataclass(frozen=True)
class Answer:
    """The result of one command."""

    words: tuple[str, ...]
    exit_code: int
    out: str
    err: str

    def json(self) -> Any:
        """The JSON output of a command that was called with `as_json`."""
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise CommandFailed(f"pantherctl {' '.join(self.words)} answered no JSON: {self.out}{self.err}") from error

    def text(self) -> str:
        return self.out + self.err


def environment() -> dict[str, str]:
    """The environment without the Panther settings of the user who runs the suite."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PANTHER_")}


@dataclass(frozen=True)
class Pantherctl:
    """pantherctl of one build, with the socket of a node or without a node."""

    binaries: Path
    socket: Path | None = None

    def run(self, *words: object, as_json: bool = True, folder: Path | None = None, timeout: float = 120) -> Answer:
        """Runs one command, in `folder` if given; any exit code is a valid result."""
        options = ["--json"] if as_json else []
        if self.socket is not None:
            options += ["--socket", str(self.socket)]
        arguments = [str(word) for word in words]
        done = subprocess.run(
            [self.binaries / "pantherctl", *options, *arguments],
            capture_output=True,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
        out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
        return Answer(tuple(arguments), done.returncode, out, err)

    def call(self, *words: object) -> Any:
        """Runs a command that must succeed. Returns its JSON."""
        answer = self.run(*words)
        if answer.exit_code != 0:
            raise CommandFailed(
                f"pantherctl {' '.join(answer.words)} ended with exit code {answer.exit_code}: {answer.text().strip()}"
            )
        return answer.json()

"""Watched folders of nginx logs: lines are written as a web server writes them, and counted as they are stored."""

import collections
from pathlib import Path

from harness.node import Node
from harness.polling import until
from harness.records import nginx

MARK = "/mark/"


def append(log: Path, *lines: str) -> None:
    """Writes lines to the end of a file, in one write."""
    with open(log, "a", encoding="utf-8") as file:
        file.write("".join(lines))


def request_path(event: dict[str, str]) -> str:
    """The path of a stored event's request."""
    return event["request"].split(" ")[1]


def stored_paths(node: Node) -> dict[str, int]:
    """How often each line is stored, by the path of its request; marks are left out."""
    paths = (request_path(event) for event in node.events("Nginx.Access"))
    return dict(sorted(collections.Counter(path for path in paths if not path.startswith(MARK)).items()))


def stored_at_least(node: Node, source: str, lines: int) -> bool:
    """As many lines of a source are stored, or more than that."""
    return node.ledger(source).stored >= lines


def mark(node: Node, source: str, watched: Path, name: str) -> None:
    """Lays a new file with one line into the folder and waits until the line is stored.

    What was in the folder before has then been looked at too: nothing of it is still to come.
    """
    path = f"{MARK}{name}"
    append(watched / f"mark-{name}.log", nginx(path, status=200))

    def seen() -> bool:
        return any(request_path(event) == path for event in node.events("Nginx.Access"))

    until(f"a new file of {source} is stored", seen, got=lambda: node.ledger(source))
    until("the queues are empty", node.drained)

"""Watched folders of nginx logs: writes lines as a web server does, and counts the stored lines."""

import collections
from pathlib import Path

from harness.node import Node
from harness.polling import until
from harness.records import nginx

MARK = "/mark/"


def append(log: Path, *lines: str) -> None:
    """Appends lines to a file, in one write."""
    with open(log, "a", encoding="utf-8") as file:
        file.write("".join(lines))


def request_path(event: dict[str, str]) -> str:
    """The path of a stored event's request."""
    return event["request"].split(" ")[1]


def stored_paths(node: Node) -> dict[str, int]:
    """Number of stored copies of each line, by the path of its request; without markers."""
    paths = (request_path(event) for event in node.events("Nginx.Access"))
    return dict(sorted(collections.Counter(path for path in paths if not path.startswith(MARK)).items()))


def stored_at_least(node: Node, source: str, lines: int) -> bool:
    """True if at least this number of lines of a source is stored."""
    return node.ledger(source).stored >= lines


def mark(node: Node, source: str, watched: Path, name: str) -> None:
    """Puts a new file with one line into the folder and waits until the line is stored.

    By then the node has also scanned the earlier content of the folder: no further lines of it will arrive.
    """
    path = f"{MARK}{name}"
    append(watched / f"mark-{name}.log", nginx(path, status=200))

    def seen() -> bool:
        return any(request_path(event) == path for event in node.events("Nginx.Access"))

    until(f"a new file of {source} is stored", seen, got=lambda: node.ledger(source))
    until("the queues are empty", node.drained)

"""A growing log file in a watched folder is read from the end of the last read: each line is one event."""

from functools import partial
from pathlib import Path

from harness.case import Case
from harness.folders import append, mark, stored_at_least, stored_paths
from harness.polling import until
from harness.records import nginx

SECONDS = 20


def check(case: Case) -> None:
    node = case.node(pack="pack")
    watched = node.add_folder("web", "Nginx.Access")
    log: Path = watched / "access.log"
    append(log, *(nginx(f"/{line}") for line in range(3)))
    for lines in (3, 4, 5):
        if lines > 3:
            append(log, nginx(f"/{lines - 1}"))
        stored = partial(stored_at_least, node, "web", lines)
        until(f"{lines} lines of the growing file are stored", stored, got=partial(node.ledger, "web"))
    mark(node, "web", watched, "end")
    case.same("stored lines", {f"/{line}": 1 for line in range(5)}, stored_paths(node))
    case.same("received records", 6, node.ledger("web").received)
    # The rule matches the five lines, but its threshold is ten.
    case.same("alerts", [], [alert["title"] for alert in node.alerts()])

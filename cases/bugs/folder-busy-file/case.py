"""The lines of a file that is written to continuously arrive during the writes, each of them once."""

import threading
from functools import partial

from harness.case import Case
from harness.folders import append, mark, stored_at_least, stored_paths
from harness.polling import until
from harness.records import nginx

SECONDS = 20
# The file is never unchanged for longer than this, which is the point of the case.
BETWEEN_LINES_SECONDS = 0.2
# "Within seconds", on a machine that is also busy with other cases.
ARRIVAL_SECONDS = 20.0


def check(case: Case) -> None:
    node = case.node()
    watched = node.add_folder("busy", "Nginx.Access")
    log = watched / "access.log"
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not stop.is_set():
            written.append(f"/{len(written)}")
            append(log, nginx(written[-1]))
            stop.wait(BETWEEN_LINES_SECONDS)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until(
            "lines are stored while the file is written to",
            partial(stored_at_least, node, "busy", 1),
            ARRIVAL_SECONDS,
            got=lambda: f"{len(written)} lines written, {node.ledger('busy').stored} stored",
        )
    finally:
        stop.set()
        writer.join()
    stored = partial(stored_at_least, node, "busy", len(written))
    until(f"all {len(written)} lines are stored", stored, got=partial(node.ledger, "busy"))
    mark(node, "busy", watched, "end")
    case.same("stored lines", dict(sorted((path, 1) for path in written)), stored_paths(node))
    case.same("received records", len(written) + 1, node.ledger("busy").received)

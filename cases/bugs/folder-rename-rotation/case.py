"""Rotation by renaming and compressing stores each line once."""

import gzip
import os

from harness.case import Case
from harness.folders import append, mark, stored_paths
from harness.records import nginx

SECONDS = 20


def check(case: Case) -> None:
    node = case.node()
    watched = node.add_folder("web", "Nginx.Access")
    log, first, second = (watched / name for name in ("access.log", "access.log.1", "access.log.2"))

    append(log, *(nginx(f"/before/{line}") for line in range(4)))
    mark(node, "web", watched, "written")
    os.rename(log, first)
    append(log, nginx("/after"))
    mark(node, "web", watched, "renamed")
    os.rename(first, second)
    os.rename(log, first)
    append(log)
    mark(node, "web", watched, "renamed-again")
    compressed = watched / "access.log.2.gz"
    times = (second.stat().st_atime, second.stat().st_mtime)
    compressed.write_bytes(gzip.compress(second.read_bytes()))
    # gzip gives the new file the modification time of the old one.
    os.utime(compressed, times)
    second.unlink()
    mark(node, "web", watched, "compressed")

    case.same("stored lines", {"/after": 1} | {f"/before/{line}": 1 for line in range(4)}, stored_paths(node))
    marks = 4
    case.same("received records", 5 + marks, node.ledger("web").received)

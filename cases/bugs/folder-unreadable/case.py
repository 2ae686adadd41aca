"""Unreadable files and folders are reported in the source's state or an alarm, with one warning each."""

import contextlib
import os
import shutil
from pathlib import Path

from harness.case import Case
from harness.folders import append, mark
from harness.node import Node
from harness.polling import NotInTime, until
from harness.records import nginx

SECONDS = 40
NOBODY = 65534
UNREADABLE = ("secret.log", "unlistable")
# The folder is scanned again for each of these files, and each scan meets the unreadable files.
LOOKS = 5
# An alarm may be raised some seconds after its cause.
NAMED_SECONDS = 15.0
# The warning itself, the log entry of an alarm, and an occasional repetition.
WARNINGS_AT_MOST = 3


def node_without_rights(case: Case) -> Node:
    """A node for which mode 000 is effective: root can read everything, so as root the node runs as another user id."""
    if os.geteuid() != 0:
        return case.node()
    # The other user may have no access to the build folder.
    binaries = case.temporary / "bin"
    binaries.mkdir()
    for name in ("pantherd", "pantherctl"):
        shutil.copy(case.binaries / name, binaries / name)
    home = case.temporary / "home"
    home.mkdir()
    case.temporary.chmod(0o755)
    os.chown(home, NOBODY, NOBODY)
    return case.started(Node(binaries, home, user=NOBODY))


def warnings_of(node: Node, name: str) -> list[str]:
    return [warning for warning in node.warnings() if name in warning]


def check(case: Case) -> None:
    watched = Path(case.temporary, "watched")
    watched.mkdir()
    append(watched / "open.log", nginx("/open"))
    append(watched / "secret.log", nginx("/secret"))
    (watched / "unlistable").mkdir()
    append(watched / "unlistable" / "a.log", nginx("/unlistable"))
    (watched / "secret.log").chmod(0)
    (watched / "unlistable").chmod(0)
    node = node_without_rights(case)
    node.watch("web", watched, "Nginx.Access")
    for look in range(LOOKS):
        mark(node, "web", watched, str(look))

    case.same("received records", 1 + LOOKS, node.ledger("web").received)
    with contextlib.suppress(NotInTime):
        until("all are named", lambda: all(name in node.state_of("web") for name in UNREADABLE), NAMED_SECONDS)
    state = node.state_of("web")
    for name in UNREADABLE:
        case.holds(name, name in state, "named by `sources show` or an alarm while it cannot be read", state)
        count = len(warnings_of(node, name))
        wanted = f"1 to {WARNINGS_AT_MOST} in {LOOKS} looks or more"
        case.holds(f"warnings of {name}", 1 <= count <= WARNINGS_AT_MOST, wanted, count)

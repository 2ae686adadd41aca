"""Links and deep folders are read, or the node reports them in the source's state, its log or an alarm."""

from harness.case import Case
from harness.folders import append, mark, stored_paths
from harness.polling import NotInTime, until
from harness.records import nginx

SECONDS = 25
DEEP = 10
# Reading a folder takes some seconds; after that everything is read or reported.
LOOKED_AT_SECONDS = 20.0


def check(case: Case) -> None:
    node = case.node()
    watched = node.add_folder("linked", "Nginx.Access")
    outside = case.temporary / "outside"
    (outside / "folder").mkdir(parents=True)
    append(outside / "file.log", nginx("/linked-file"))
    append(outside / "folder" / "a.log", nginx("/linked-folder"))
    (watched / "linked-file.log").symlink_to(outside / "file.log")
    (watched / "linked-folder").symlink_to(outside / "folder")
    deep = watched.joinpath(*(f"level-{level}" for level in range(1, DEEP + 1)))
    deep.mkdir(parents=True)
    append(deep / "a.log", nginx("/deep"))
    # The names that the node may report: the link, or the deep file or any folder of the last levels above it.
    names = {
        "/linked-file": ("linked-file.log",),
        "/linked-folder": ("linked-folder",),
        "/deep": tuple(f"level-{level}" for level in range(DEEP - 3, DEEP + 1)),
    }

    def missing() -> list[str]:
        stored = stored_paths(node)
        said = "\n".join([node.state_of("linked"), *node.warnings()])
        return [path for path in names if path not in stored and not any(name in said for name in names[path])]

    mark(node, "linked", watched, "plain")
    try:
        until("links and deep files", lambda: not missing(), LOOKED_AT_SECONDS)
    except NotInTime:
        case.same("lines that are neither stored nor named", [], missing())
    mark(node, "linked", watched, "end")
    for path, count in stored_paths(node).items():
        case.same(f"how often {path} is stored", 1, count)

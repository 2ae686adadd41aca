"""A watched folder whose files are replaced while they are read."""

import gzip
import os
import random
import stat
from pathlib import Path

from nodes import Cluster

SOURCE = "swapped"
# Size of a sparse file, in bytes: it takes no disk space, but would take all memory if it were read at once.
SPARSE_BYTES = 1_900_000_000
NAMES = 24
# Maximum length of a line without an end, in bytes.
LINE_BYTES = 100_000_000
# A text that must not occur in any stored event or quarantine: the neighbour's secret, in a file next to the folder.
SECRET = b"a-secret-that-no-log-holds"


class Folders:
    """Generates replacements in the folder `watched`."""

    name = "folders"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.watched, self.beside = cluster, cluster.folder / "watched", cluster.folder / "beside"
        self.sparse = cluster.folder / "sparse"

    def prepare(self) -> None:
        self.watched.mkdir()
        self.beside.mkdir()
        (self.beside / "secret.log").write_bytes(SECRET + b"\n")
        (self.beside / "shared.log").write_bytes(b'{"id":"folder","text":"has two names"}\n')
        with open(self.sparse, "wb") as sparse:
            sparse.truncate(SPARSE_BYTES)
        self.cluster.first.pantherctl.call("sources", "add", "folder", SOURCE, self.watched, "--log-types", "Custom.Honest")

    def once(self, rng: random.Random) -> str:
        kinds = (
            self.lines, self.lines, self.link, self.link, self.pipe, self.hole, self.folder, self.hard_link, self.socket, self.packed, self.rights,
            self.exchange
        )
        kind = rng.choice(kinds)
        kind(rng, self.watched / f"{rng.randrange(NAMES)}.log")
        return kind.__name__

    def put(self, new: Path, place: Path) -> None:
        """Replaces a file atomically, as an attacker would do it."""
        self.clear(place)
        os.replace(new, place)

    @staticmethod
    def clear(place: Path) -> None:
        if place.is_dir() and not place.is_symlink():
            for one in place.iterdir():
                one.unlink()
            place.rmdir()

    def fresh(self) -> Path:
        new = self.beside / "new"
        if new.is_symlink() or new.exists():
            self.clear(new)
            if new.is_symlink() or new.exists():
                new.unlink()
        return new

    def lines(self, rng: random.Random, place: Path) -> None:
        new = self.fresh()
        new.write_bytes(b"".join(b'{"id":"folder","text":"%d"}\n' % rng.randrange(1000) for _ in range(rng.randrange(400))))
        self.put(new, place)

    def link(self, rng: random.Random, place: Path) -> None:
        """The node's own keys and files of others, behind a name that was a file of equal length a moment before."""
        data = self.cluster.first.data
        target = rng.choice(
            (
                data / "sealing.key", data / "keys" / "node.key", Path("/dev/zero"), Path("/proc/self/environ"), self.beside / "secret.log",
                self.watched, place, Path("/dev/stdin")
            )
        )
        new = self.fresh()
        if target.is_file() and not place.is_dir() and not stat.S_ISCHR(target.stat().st_mode):
            new.write_bytes(b"x" * min(target.stat().st_size - 1, LINE_BYTES) + b"\n")
            self.put(new, place)
            new = self.fresh()
        new.symlink_to(target)
        self.put(new, place)

    def pipe(self, rng: random.Random, place: Path) -> None:
        new = self.fresh()
        os.mkfifo(new)
        self.put(new, place)

    def hole(self, rng: random.Random, place: Path) -> None:
        if rng.random() < 0.5:
            new = self.fresh()
            os.link(self.sparse, new)
            self.put(new, place)
        elif place.is_file() and not place.is_symlink() and place.stat().st_nlink == 1:
            os.truncate(place, SPARSE_BYTES)

    def folder(self, rng: random.Random, place: Path) -> None:
        new = self.fresh()
        new.mkdir()
        (new / "in.log").write_bytes(b'{"id":"folder","text":"in a folder"}\n')
        if place.is_file() or place.is_symlink():
            place.unlink()
        self.put(new, place)

    def hard_link(self, rng: random.Random, place: Path) -> None:
        new = self.fresh()
        os.link(rng.choice((self.beside / "shared.log", self.cluster.first.data / "identity")), new)
        self.put(new, place)

    def socket(self, rng: random.Random, place: Path) -> None:
        """A file that is a socket, and a file that grows and shrinks."""
        if rng.random() < 0.3:
            new = self.fresh()
            os.mknod(new, stat.S_IFSOCK | 0o600)
            self.put(new, place)
        elif place.is_file() and not place.is_symlink() and place.stat().st_nlink == 1:
            os.truncate(place, rng.choice((0, 1, 100, 5_000)))

    def packed(self, rng: random.Random, place: Path) -> None:
        new = self.fresh()
        whole = gzip.compress(b'{"id":"folder","text":"packed"}\n' * 50, mtime=0)
        new.write_bytes(whole[: rng.randrange(len(whole))] + rng.randbytes(rng.randrange(20)))
        self.put(new, self.watched / f"{rng.randrange(NAMES)}.log.gz")

    def rights(self, rng: random.Random, place: Path) -> None:
        if place.is_file() and not place.is_symlink() and place.stat().st_nlink == 1:
            place.chmod(rng.choice((0o000, 0o600, 0o777)))

    def exchange(self, rng: random.Random, place: Path) -> None:
        """The watched folder itself is a link for a moment."""
        aside = self.cluster.folder / "aside"
        if not aside.exists():
            os.rename(self.watched, aside)
            try:
                self.watched.symlink_to(self.cluster.first.data / "keys")
                self.watched.unlink()
            finally:
                os.rename(aside, self.watched)

"""Writers of log files in watched folders, at full speed, and their rotation schemes.

The table of docs/ingest.md defines the result of each scheme. An exact scheme guarantees each line once. A lossy scheme removes lines that
the node may not have read yet: each such line exists once or is lost.
"""

import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bodies import COMPRESSIONS, ZSTD, shuffled, zstd
from forms import Form, Rows
from promises import Promises, Times

# A writer waits while more lines than this are not stored: the run checks correctness, not speed.
BACKLOG = 4_000
PATIENCE_SECONDS = 180.0
# Below 1 KiB equal content can be a coincidence, and a dissimilar name makes it a separate file.
KNOWN_BYTES = 2_048


class Log:
    """An open log file. Its last line may be half written."""

    def __init__(self, path: Path, append: bool = True) -> None:
        self.path, self.append = path, append
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else 0), 0o644)

    def write(self, content: bytes) -> None:
        while content:
            content = content[os.write(self.fd, content) :]

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def close(self) -> None:
        os.close(self.fd)


class Writer(threading.Thread):
    """The only writer of a folder. It works in episodes: a file and some rotations of it by one scheme."""

    def __init__(self, name: str, form: Form, folder: Path, schemes: "dict[str, Scheme]", seed: str, stored: Callable[[str], int]) -> None:
        super().__init__(name=name, daemon=True)
        self.source, self.form, self.folder, self.schemes = name, form, folder, schemes
        self.lossy = schemes is LOSSY
        self.elsewhere = folder.with_name(folder.name + "-elsewhere")
        self.elsewhere.mkdir()
        self.stored, self.rng = stored, random.Random(seed)
        self.promises: Promises | None = None
        self.stop, self.failure = threading.Event(), ""
        self.count, self.episode, self.scheme = 0, 0, ""
        # The column order of the current file.
        self.order = form.columns
        # True if last lines may lack a line end (they are read after 30 s) and values may span several lines.
        self.open_ends = True
        # Number of lines of the longest burst.
        self.longest = 1_500

    def begin(self, promises: Promises) -> None:
        self.promises = promises
        self.start()

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self.episode += 1
                self.scheme = self.rng.choice([name for name in self.schemes if name != "hole" or not self.form.columns])
                self.schemes[self.scheme](self, self.folder / f"{self.rng.choice(('app', 'web', 'job'))}{self.episode}.log")
        except Exception as error:  # Said at the end of the run, with the seed.
            self.failure = f"writer {self.name}, {self.scheme}: {error!r}"

    # Writing.

    def open(self, path: Path, append: bool = True) -> Log:
        """Starts a new file, with a header of its own if the format has one."""
        log = Log(path, append)
        self.header(log)
        return log

    def header(self, log: Log) -> None:
        if self.form.columns:
            self.order = shuffled(self.rng, self.form.columns)
            log.write(self.form.header(self.order) + b"\n")
            if self.rng.random() < 0.5:
                self.rest(0.8)

    def lines(self, path: Path, at_least: int = 1) -> bytes:
        """Lines that are expected from now on."""
        assert self.promises is not None
        goods, longest = [], self.longest
        few, some, many = self.rng.randint(1, 10), self.rng.randint(longest // 30, longest // 5), self.rng.randint(longest // 5, longest)
        for _ in range(self.rng.choice((few, some, many)) + at_least - 1):
            self.count += 1
            good = self.form.draw(self.rng, f"{self.name}x{self.count:x}")
            if self.open_ends and isinstance(self.form, Rows) and self.rng.random() < 0.03:
                good = self.form.over_lines(self.rng, good)
            goods.append(good)
        times = Times.AT_MOST_ONCE if self.lossy else Times.ONCE
        self.promises.add(self.source, goods, [], times, f"{self.scheme} of {path.name}")
        return b"".join(self.form.line(good, self.order) + b"\n" for good in goods)

    def burst(self, log: Log, at_least: int = 1) -> None:
        """Writes lines at full speed, in pieces that end at any byte."""
        content = self.lines(log.path, at_least)
        while content:
            piece = self.rng.choice((len(content), self.rng.randint(1, len(content)), min(len(content), 40)))
            log.write(content[:piece])
            content = content[piece:]
            if self.rng.random() < 0.05:
                self.rest(1.0)
        self.hold_back()

    def bursts(self, log: Log) -> None:
        for _ in range(self.rng.randint(1, 4)):
            self.burst(log)
            self.rest(self.rng.choice((0.0, 0.05, 0.7)))
        while log.size() < KNOWN_BYTES:
            self.burst(log, 10)

    def rest(self, seconds: float) -> None:
        time.sleep(self.rng.random() * seconds)

    def hold_back(self) -> None:
        """Waits while the node has a large backlog."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.lossy and self.count - self.stored(self.source) > BACKLOG:
            if time.monotonic() > end:
                raise AssertionError(f"{self.count} lines are written, and {self.stored(self.source)} are stored")
            time.sleep(0.2)

    def until_read(self) -> None:
        """Waits until all written lines are stored, so that the file may be removed."""
        end = time.monotonic() + PATIENCE_SECONDS
        while self.stored(self.source) < self.count:
            if time.monotonic() > end:
                raise AssertionError(f"{self.count} lines are written, and {self.stored(self.source)} are stored")
            time.sleep(0.2)

    def rotations(self) -> range:
        return range(self.rng.randint(1, 4))

    # Rotation.

    def shift(self, path: Path) -> Path:
        """Frees the name `path`.1: each older file gets the next number. Returns the free name."""
        old = [file for file in path.parent.iterdir() if file.name.startswith(f"{path.name}.")]
        for file in sorted(old, key=lambda file: -int(file.name[len(path.name) + 1 :].split(".")[0])):
            number, *ending = file.name[len(path.name) + 1 :].split(".")
            file.rename(path.with_name(".".join([path.name, str(int(number) + 1), *ending])))
        return path.with_name(f"{path.name}.1")

    def renamed(self, log: Log) -> tuple[Log, Path]:
        """Renames the file. Its writer continues to write to it until it opens the new file, perhaps in the middle of a line."""
        target = self.shift(log.path)
        late = self.lines(log.path) if self.rng.random() < 0.5 else b""
        half = self.rng.randint(0, len(late))
        log.write(late[:half])
        log.path.rename(target)
        self.rest(0.6)
        log.write(late[half:])
        log.close()
        return self.open(log.path), target

    def compress(self, path: Path) -> None:
        """Compresses like gzip: the compressed file grows next to the plain one, which is then removed."""
        name, pack = self.rng.choice((("gz", COMPRESSIONS["gzip"]), ("zst", zstd))) if ZSTD else ("gz", COMPRESSIONS["gzip"])
        packed = Log(path.with_name(f"{path.name}.{name}"))
        content = pack(path.read_bytes())
        step = max(1, len(content) // self.rng.randint(1, 4))
        for start in range(0, len(content), step):
            packed.write(content[start : start + step])
            self.rest(0.1)
        packed.close()
        path.unlink()

    def end(self, log: Log) -> None:
        """The last lines of an episode, sometimes without a line end."""
        self.bursts(log)
        if self.open_ends and self.rng.random() < 0.2:
            log.write(self.lines(log.path).removesuffix(b"\n"))
        log.close()


def rename(writer: Writer, path: Path) -> None:
    log = writer.open(path)
    for _ in writer.rotations():
        writer.bursts(log)
        log, _ = writer.renamed(log)
    writer.end(log)


def rename_and_compress(writer: Writer, path: Path) -> None:
    log = writer.open(path)
    for _ in writer.rotations():
        writer.bursts(log)
        log, old = writer.renamed(log)
        writer.rest(0.5)
        writer.compress(old)
    writer.end(log)


def delay_compress(writer: Writer, path: Path) -> None:
    """A file that was renamed at one rotation is compressed at the next rotation."""
    log, old = writer.open(path), None
    for _ in writer.rotations():
        writer.bursts(log)
        if old is not None:
            writer.compress(old)
        log, old = writer.renamed(log)
    writer.end(log)


def copy_and_truncate(writer: Writer, path: Path, then: Callable[[Path], None] | None = None) -> None:
    log = writer.open(path)
    for _ in writer.rotations():
        writer.bursts(log)
        copy = writer.shift(path)
        shutil.copyfile(path, copy)
        writer.rest(0.8)
        os.truncate(path, 0)
        writer.header(log)
        if then is not None:
            then(copy)
    writer.end(log)


def copy_truncate_and_compress(writer: Writer, path: Path) -> None:
    copy_and_truncate(writer, path, writer.compress)


def hole(writer: Writer, path: Path) -> None:
    """The writer of a truncated file continues at its old position: the bytes before it are NUL bytes."""
    assert writer.promises is not None
    log = writer.open(path, append=False)
    for _ in writer.rotations():
        writer.bursts(log)
        shutil.copyfile(path, writer.shift(path))
        os.truncate(path, 0)
        writer.promises.add_hole(writer.source)
        writer.burst(log)
    writer.end(log)


def dated(writer: Writer, path: Path) -> None:
    """A new file each day, and a symbolic link to the newest file, which is not followed here."""
    link = path.with_name(f"current-{path.name}")
    for day in writer.rotations():
        log = writer.open(path.with_name(f"{path.stem}-2026-11-{day + 10}.log"))
        fresh = path.with_name(f".{link.name}")
        fresh.symlink_to(log.path)
        fresh.replace(link)
        writer.end(log)


def created_again(writer: Writer, path: Path) -> None:
    """A file is removed after it is read, and created again under the same name, perhaps with the same inode."""
    for _ in writer.rotations():
        log = writer.open(path)
        writer.bursts(log)
        writer.until_read()
        path.unlink()
        log.close()


def removed_later(writer: Writer, path: Path) -> None:
    """A file is renamed, and removed after it is read."""
    log = writer.open(path)
    for _ in writer.rotations():
        writer.bursts(log)
        log, old = writer.renamed(log)
        writer.until_read()
        old.unlink()
    writer.end(log)


def replaced(writer: Writer, path: Path) -> None:
    """Like an editor: the old content and more in a new file, which replaces the old one."""
    log = writer.open(path)
    for _ in writer.rotations():
        writer.bursts(log)
        log.close()
        fresh = path.with_name(f".{path.name}")
        shutil.copyfile(path, fresh)
        log = Log(fresh)
        writer.burst(log)
        fresh.replace(path)
    writer.end(log)


def copied_beside(writer: Writer, path: Path) -> None:
    log = writer.open(path)
    for number in writer.rotations():
        writer.bursts(log)
        shutil.copyfile(path, path.with_name(f"{path.name}.copy{number}"))
    writer.end(log)


def archived(writer: Writer, path: Path) -> None:
    """A file is moved to a subfolder, with a hard link in the folder."""
    archive = path.parent / "archive"
    archive.mkdir(exist_ok=True)
    for number in writer.rotations():
        log = writer.open(path)
        writer.bursts(log)
        path.rename(archive / f"{path.stem}-{number}.log")
        os.link(archive / f"{path.stem}-{number}.log", path.with_name(f"{path.stem}-{number}-link.log"))
        writer.end(log)


def followed_link(writer: Writer, path: Path) -> None:
    """The files are outside; the folder has links to them, and a changing link to the newest file."""
    current = path.with_name("current.log")
    for number in writer.rotations():
        real = writer.elsewhere / f"{path.stem}-{number}.log"
        log = writer.open(real)
        path.with_name(real.name).symlink_to(real)
        fresh = path.with_name(".current")
        fresh.symlink_to(real)
        fresh.replace(current)
        writer.end(log)


def truncated(writer: Writer, path: Path) -> None:
    log = writer.open(path)
    for _ in writer.rotations():
        writer.bursts(log)
        os.truncate(path, 0)
        writer.header(log)
    writer.end(log)


def copied_elsewhere(writer: Writer, path: Path) -> None:
    log = writer.open(path)
    for number in writer.rotations():
        writer.bursts(log)
        shutil.copyfile(path, writer.elsewhere / f"{path.name}.{number}")
        os.truncate(path, 0)
        writer.header(log)
    writer.end(log)


def removed_at_once(writer: Writer, path: Path) -> None:
    for _ in writer.rotations():
        log = writer.open(path)
        writer.bursts(log)
        path.unlink()
        log.close()


def moved_away(writer: Writer, path: Path) -> None:
    for number in writer.rotations():
        log = writer.open(path)
        writer.bursts(log)
        path.rename(writer.elsewhere / f"{path.name}.{number}")
        log.close()


Scheme = Callable[[Writer, Path], None]
EXACT: dict[str, Scheme] = {
    "rename": rename,
    "rename and compress": rename_and_compress,
    "delaycompress": delay_compress,
    "copytruncate": copy_and_truncate,
    "copytruncate and compress": copy_truncate_and_compress,
    "hole": hole,
    "dated": dated,
    "created again": created_again,
    "removed later": removed_later,
    "replaced by a longer file": replaced,
    "copied beside": copied_beside,
    "archived": archived,
}
LOSSY: dict[str, Scheme] = {
    "truncated": truncated,
    "copied elsewhere": copied_elsewhere,
    "removed at once": removed_at_once,
    "moved away": moved_away,
}
LINKED: dict[str, Scheme] = {"followed link": followed_link}

"""`commands.toml`: what a command needs before it, what stands for the reader's machine, and which commands are not run, and why."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class ListingError(Exception):
    """The list does not agree with the pages, or with itself."""


@dataclass
class Entry:
    """What is said of one command. Without an entry a command is run as it is and must end with exit code 0."""

    line: str
    # Shell that makes ready what the page assumes.
    before: str = ""
    # A file of the page's folder that is given as standard input.
    stdin: str = ""
    exit: int = 0
    # Expressions that must match within what is printed.
    prints: list[str] = field(default_factory=list)
    # It asks on a terminal; here it is given --yes.
    confirmed: bool = False
    # Runs until it is stopped.
    endless: bool = False
    # Why it is not run.
    left_out: str = ""
    used: int = 0


@dataclass
class Text:
    """A block that is no shell: what it is. With `output_of`, that command is run there and must print its columns."""

    first: str
    what: str
    output_of: str = ""
    # The line with the names of the columns; the first one if it is not given.
    columns: str = ""


@dataclass
class Page:
    """One page: what is made ready before its first command, and its stand-ins beside those of all pages."""

    file: str
    setup: str = ""
    stand_ins: dict[str, str] = field(default_factory=dict)
    commands: list[Entry] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)

    def entry(self, line: str) -> Entry:
        """The next entry of this line; the last one of them holds for further occurrences."""
        of = [entry for entry in self.commands if entry.line == line]
        found = next((entry for entry in of if not entry.used), of[-1] if of else Entry(line))
        found.used += 1
        return found


@dataclass
class Listing:
    """All pages, by file."""

    stand_ins: dict[str, str]
    # Why commands that begin with a text are not run, on all pages.
    left_out: dict[str, str]
    pages: dict[str, Page]

    def entry(self, page: Page, line: str) -> Entry:
        """What is said of a command, on its page or on all."""
        entry = page.entry(line)
        entry.left_out = entry.left_out or next((why for begins, why in self.left_out.items() if line.startswith(begins)), "")
        return entry


def made(kind: type, table: dict[str, Any], where: str) -> Any:
    """An object of a table of the file; an unknown key is an error."""
    try:
        return kind(**table)
    except TypeError as error:
        raise ListingError(f"{where}: {error}") from error


def load(file: Path) -> Listing:
    tables = tomllib.loads(file.read_text())
    pages = {}
    for table in tables.get("page", []):
        where = table.get("file", "a page without file")
        entries = [made(Entry, one, where) for one in table.pop("command", [])]
        texts = [made(Text, one, where) for one in table.pop("text", [])]
        pages[where] = made(Page, {**table, "commands": entries, "texts": texts}, where)
    return Listing(tables.get("stand_ins", {}), tables.get("left_out", {}), pages)

"""`commands.toml`: the preparation of commands, the placeholders of the reader's machine, and the commands that are not
run, with reasons."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class ListingError(Exception):
    """The list contradicts the pages or itself."""


@dataclass
class Entry:
    """The entry of one command. A command without an entry is run as it is and must end with exit code 0."""

    line: str
    # Shell text that prepares what the page assumes.
    before: str = ""
    # A file in the page's folder that becomes standard input.
    stdin: str = ""
    exit: int = 0
    # Regular expressions that must match in the output.
    prints: list[str] = field(default_factory=list)
    # The command asks for a confirmation on a terminal; here it gets --yes.
    confirmed: bool = False
    # The command runs until it is stopped.
    endless: bool = False
    # The reason why the command is not run.
    left_out: str = ""
    used: int = 0


@dataclass
class Text:
    """A block that is not shell, and its kind. With `output_of`, that command is run at this point and must print
    the same columns."""

    first: str
    what: str
    output_of: str = ""
    # The line with the column names; by default the first line.
    columns: str = ""


@dataclass
class Page:
    """One page: the preparation before its first command, and its placeholders in addition to those of all pages."""

    file: str
    setup: str = ""
    stand_ins: dict[str, str] = field(default_factory=dict)
    commands: list[Entry] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)

    def entry(self, line: str) -> Entry:
        """The next entry of this line; the last entry applies to all further occurrences."""
        of = [entry for entry in self.commands if entry.line == line]
        found = next((entry for entry in of if not entry.used), of[-1] if of else Entry(line))
        found.used += 1
        return found


@dataclass
class Listing:
    """All pages, by file."""

    stand_ins: dict[str, str]
    # The reasons why commands with a certain prefix are not run, on all pages.
    left_out: dict[str, str]
    pages: dict[str, Page]

    def entry(self, page: Page, line: str) -> Entry:
        """The entry of a command, from its page or from the list for all pages."""
        entry = page.entry(line)
        entry.left_out = entry.left_out or next((why for begins, why in self.left_out.items() if line.startswith(begins)), "")
        return entry


def made(kind: type, table: dict[str, Any], where: str) -> Any:
    """Builds an object from a table of the file. An unknown key is an error."""
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

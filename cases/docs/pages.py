"""The commands of a page: fenced and indented blocks, and commands within the text."""

import re
from dataclasses import dataclass, field

# First words of command lines. A block without such a line is not a shell block.
PROGRAMS = ("pantherctl", "pantherd", "sudo", "systemctl", "make", "curl", "gzip", "garage", "python3", "cases/", "chaos-tests/", "target/", "RUST_LOG=")
ASSIGNMENT = re.compile(r"^[A-Z_]+=\$\(")
# Languages of fenced blocks that may hold commands.
SHELL = ("", "sh", "bash", "shell", "console")
COMMENT = re.compile(r"\s+#(\s.*)?$")
INLINE = re.compile(r"`((?:pantherctl|pantherd) [^`]+)`")


@dataclass
class Block:
    """A block of a page that may hold commands, with the number of its first line."""

    page: str
    line: int
    lines: list[str] = field(default_factory=list)

    def is_shell(self) -> bool:
        return any(is_command(line) for line in self.lines)

    def first(self) -> str:
        return next((line.strip() for line in self.lines if line.strip()), "")


@dataclass(frozen=True)
class Command:
    """A command of a page, without its comment."""

    page: str
    line: int
    text: str


def is_command(line: str) -> bool:
    return line.lstrip().startswith(PROGRAMS) or ASSIGNMENT.match(line.strip()) is not None


def blocks(page: str, text: str) -> list[Block]:
    """All blocks of a page that may be shell: fenced without another language, or indented by four spaces up to a
    blank line."""
    found: list[Block] = []
    fenced: Block | None = None
    indented: Block | None = None
    other, before_blank = False, True
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if fenced is not None:
                found.append(fenced)
                fenced = None
            elif other:
                other = False
            elif line[3:].strip() in SHELL:
                fenced = Block(page, number + 1)
            else:
                other = True
            indented = None
        elif fenced is not None:
            fenced.lines.append(line)
        elif not other and line.startswith("    ") and (before_blank or indented is not None):
            if indented is None or before_blank:
                indented = Block(page, number)
                found.append(indented)
            indented.lines.append(line[4:])
        elif line.strip():
            indented = None
        before_blank = not line.strip()
    return found


def commands(block: Block) -> tuple[list[Command], list[str]]:
    """The commands of a shell block, and its other lines."""
    found: list[Command] = []
    strange: list[str] = []
    begun, begun_at = "", 0
    for number, line in enumerate(block.lines, block.line):
        if begun:
            line = begun + line.strip()
        else:
            begun_at = number
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            if not is_command(line):
                strange.append(line.strip())
                continue
        begun = ""
        line = COMMENT.sub("", line).strip()
        if line.endswith("\\"):
            begun = line[:-1]
        else:
            found.append(Command(block.page, begun_at, line))
    return found, strange


def inline(text: str) -> list[str]:
    """The commands within the text, outside blocks."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return sorted({" ".join(span.split()) for span in INLINE.findall(outside)})

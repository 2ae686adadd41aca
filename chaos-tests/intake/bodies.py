"""Random bodies for the HTTP door, each with its expected result by docs/ingest.md."""

import gzip
import json
import random
import shutil
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from forms import FORMS, Form, Good, Orders, Rows

BOM = b"\xef\xbb\xbf"
ZSTD = shutil.which("zstd")
# First bytes of unsupported formats, by name.
UNREAD = {
    "zip": b"PK\x03\x04\x14\x00\x00\x00",
    "png": b"\x89PNG\r\n\x1a\n\x00\x00",
    "bzip2": b"BZh91AY&SY\x00\x01",
    "xz": b"\xfd7zXZ\x00\x00\x04",
    "elf": b"\x7fELF\x02\x01\x01\x00\x00",
}
LARGE_LINES, LARGE_PADDING = 60, 100_000


@dataclass
class Body:
    """One body and its expected result. `keyed` and compressed bodies become separate objects, the others are batched."""

    kind: str
    content: bytes
    keyed: bool
    # Lines that must be stored exactly once.
    good: list[Good] = field(default_factory=list)
    # Texts, each of which must be in exactly one quarantined record.
    marks: list[str] = field(default_factory=list)
    # Number of quarantined records without such a text: for a missing end.
    unmarked: int = 0
    # The object is completely unreadable: one dead letter, nothing stored.
    dead: bool = False


def zstd(content: bytes) -> bytes:
    return subprocess.run([str(ZSTD), "-q", "-c"], input=content, capture_output=True, check=True).stdout


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {"gzip": lambda content: gzip.compress(content, 6, mtime=0)}
if ZSTD is not None:
    COMPRESSIONS["zstd"] = zstd


class Bodies:
    """The bodies of one sender, from its own random generator: they do not depend on the actions of other threads."""

    def __init__(self, log_types: list[str], rng: random.Random, sender: str) -> None:
        self.forms = [FORMS[log_type] for log_type in log_types]
        self.rng, self.sender, self.count = rng, sender, 0

    def id(self) -> str:
        self.count += 1
        return f"{self.sender}x{self.count:x}"

    def mark(self) -> str:
        return f"mark-{self.id()}-"

    def good(self, form: Form, at_least: int = 1, at_most: int = 30) -> list[Good]:
        return [form.draw(self.rng, self.id()) for _ in range(self.rng.randint(at_least, at_most))]

    def draw(self) -> Body:
        rng = self.rng
        keyed = rng.random() < 0.5
        if rng.random() < 0.12:
            return self.unreadable(keyed)
        if rng.random() < 0.10:
            return self.cut(keyed)
        if rng.random() < 0.02:
            return self.large(keyed)
        body = self.readable(keyed)
        if rng.random() < 0.15 and not body.content.startswith(BOM):
            body.content, body.kind = BOM + body.content, f"{body.kind}, byte order mark"
        if rng.random() < 0.4:
            name = rng.choice(list(COMPRESSIONS))
            body.content, body.kind = COMPRESSIONS[name](body.content), f"{body.kind}, {name}"
        return body

    # Text bodies.

    def readable(self, keyed: bool) -> Body:
        form = self.rng.choice(self.forms)
        body = Body("lines", b"", keyed)
        if isinstance(form, Orders) and self.rng.random() < 0.6:
            self.json(form, body)
        else:
            self.lines(form, body)
        return body

    def lines(self, form: Form, body: Body) -> None:
        """Lines, including lines that no log type matches, blank lines, and a repeated header."""
        rng = self.rng
        end = rng.choice((b"\n", b"\n", b"\r\n"))
        write, header = self.columns(form)
        lines: list[bytes] = [] if header is None else [header]
        # The first lines determine whether the body counts as text.
        body.good += self.good(form, 3, 6)
        lines += map(write, body.good)
        for _ in range(rng.randrange(25)):
            chance = rng.random()
            if chance < 0.70:
                good = form.draw(rng, self.id())
                body.good.append(good)
                lines.append(write(good))
            elif chance < 0.80:
                lines.append(b"")
            elif chance < 0.85 and header is not None:
                lines.append(header)
            elif chance < 0.90 and isinstance(form, Rows) and end == b"\n":
                good = form.over_lines(rng, form.draw(rng, self.id()))
                body.good.append(good)
                lines.append(write(good))
            elif chance > 0.92:
                lines.append(self.bad(form, body))
        body.kind = f"{form.log_type} lines"
        body.content = end.join(lines) + (end if rng.random() < 0.8 else b"")

    def columns(self, form: Form) -> tuple[Callable[[Good], bytes], bytes | None]:
        """The format of this body's lines, and its header if there is one."""
        # Flows without a header use the column order of their vendor; rows need a header.
        if form.columns and (isinstance(form, Rows) or self.rng.random() < 0.5):
            order = shuffled(self.rng, form.columns)
            return (lambda good: form.line(good, order)), form.header(order)
        return form.line, None

    def bad(self, form: Form, body: Body) -> bytes:
        """A line that no log type matches."""
        mark = self.mark()
        body.marks.append(mark)
        text = mark.encode()
        choices = [text + b"is no line of a log", text + b"with a \x00 byte", text + b"\xff\xfe is no UTF-8"]
        if isinstance(form, Orders):
            choices += [b'{"id":"' + text, b'{"id":"' + text + b'","seller":"s"}', b'{"id":"' + text + b'",,}']
        return self.rng.choice(choices)

    # JSON bodies other than one value per line.

    def json(self, form: Orders, body: Body) -> None:
        layout = self.rng.choice((self.array, self.array, self.wrapped, self.page, self.concatenated, self.documents))
        layout(form, body)

    def array(self, form: Orders, body: Body) -> None:
        self.elements(form, body, b"[", b"]")

    def wrapped(self, form: Orders, body: Body) -> None:
        name = self.rng.choice((b"Records", b"records"))
        self.elements(form, body, b'{"' + name + b'":[', b"]}")

    def elements(self, form: Orders, body: Body, opening: bytes, closing: bytes) -> None:
        """An array, bare or wrapped; complete, with bad elements, or without its end."""
        rng = self.rng
        body.kind = "array" if opening == b"[" else "wrapped array"
        body.good += self.good(form, 2, 20)
        texts = [self.element(good) for good in body.good]
        for _ in range(rng.choice((0, 0, 0, 1, 2))):
            mark = self.mark()
            body.marks.append(mark)
            bad = rng.choice((f'{{"id":"{mark}",,}}', f'{{"id":"{mark}"}}', f'"{mark}"', f'{{"id":"{mark}" 5}}'))
            texts.insert(rng.randrange(1, len(texts) + 1), bad.encode())
            body.kind = f"{body.kind}, bad element"
        between = rng.choice((b",", b", ", b",\n", b" ,\r\n  "))
        body.content = opening + rng.choice((b"", b"\n", b"\n  ")) + between.join(texts)
        if rng.random() < 0.75:
            body.content += rng.choice((b"", b"\n", b" ")) + closing + rng.choice((b"", b"\n"))
            return
        body.kind = f"{body.kind}, not closed"
        if rng.random() < 0.5:
            # The array breaks off between two elements: the text that opened the array is the record with the defect.
            body.content += rng.choice((b"", b","))
            body.unmarked += 1
        else:
            mark = self.mark()
            body.marks.append(mark)
            body.content += b',{"id":"' + mark.encode() + rng.choice((b'","buyer":"b"', b'","buyer":', b"", b'"'))
        if rng.random() < 0.5:
            body.kind = f"{body.kind}, lines behind"
            behind = self.good(form, 1, 5)
            body.good += behind
            body.content += b"\n" + b"\n".join(map(compact, behind)) + b"\n"

    def element(self, good: Good) -> bytes:
        if self.rng.random() < 0.15:
            return json.dumps(good.fields, indent=2).replace("\n", "\n  ").encode()
        return compact(good)

    def page(self, form: Orders, body: Body) -> None:
        body.kind = "page of a list"
        body.good += self.good(form, 1, 20)
        name = self.rng.choice(("items", "entries", "events", "value", "data", "results"))
        whole = {name: [good.fields for good in body.good], "next": "token", "total": len(body.good)}
        body.content = json.dumps(whole, indent=self.rng.choice((None, 2))).encode()

    def concatenated(self, form: Orders, body: Body) -> None:
        body.kind = "values without line ends"
        body.good += self.good(form, 2, 20)
        body.content = self.rng.choice((b"", b" ")).join(map(compact, body.good))

    def documents(self, form: Orders, body: Body) -> None:
        body.kind = "documents over several lines"
        body.good += self.good(form, 1, 10)
        body.content = b"\n".join(json.dumps(good.fields, indent=2).encode() for good in body.good) + b"\n"

    # Bodies that are not text, or that are truncated.

    def unreadable(self, keyed: bool) -> Body:
        """A completely unreadable body: a quarantined record if it was batched with others, otherwise a dead letter."""
        rng = self.rng
        mark = self.mark()
        name = rng.choice((*UNREAD, "noise", "gzip head", "utf-16"))
        if name == "gzip head":
            content = gzip.compress(b"x", mtime=0)[:10] + bytes(255 - byte % 3 for byte in range(rng.randrange(5, 200)))
            return Body("gzip of nothing", content, keyed, dead=True)
        if name == "utf-16":
            content = "\ufeffevery second byte of it is zero\n".encode("utf-16-le") + mark.encode()
        elif name == "noise":
            content = b"\x00\x01\x02" + mark.encode() + bytes(rng.choices(range(128, 256), k=300))
        else:
            content = UNREAD[name] + mark.encode() + bytes(rng.choices(range(256), k=100))
        if keyed:
            return Body(name, content, keyed, dead=True)
        return Body(name, content, keyed, marks=[mark])

    def cut(self, keyed: bool) -> Body:
        """A truncated compressed body: the records before the break are stored, and one record reports the break."""
        rng = self.rng
        form = rng.choice(self.forms)
        write, header = self.columns(form)
        good = self.good(form, 40, 120)
        lines = [*([] if header is None else [header]), *map(write, good)]
        if rng.random() < 0.5 and "zstd" in COMPRESSIONS:
            return self.cut_frames(keyed, good, lines, header is not None)
        whole = gzip.compress(b"\n".join(lines) + b"\n", mtime=0)
        if rng.random() < 0.2:
            return Body("gzip cut in its head", whole[: rng.randrange(4, 10)], keyed, dead=True)
        if rng.random() < 0.2:
            # All data can be decompressed, but the checksum at the end is wrong.
            return Body("gzip with a wrong checksum", whole[:-8] + b"\0" * 8, keyed, good, unmarked=1)
        content = whole[: rng.randrange(len(whole) // 2, len(whole) - 20)]
        unpacked = zlib.decompressobj(31).decompress(content).count(b"\n") - (header is not None)
        if unpacked < 1:
            return self.readable(keyed)
        return Body("gzip that breaks off", content, keyed, good[:unpacked], unmarked=1)

    def cut_frames(self, keyed: bool, good: list[Good], lines: list[bytes], header: bool) -> Body:
        """Zstd frames, the last of which is truncated. A frame is decompressed completely or not at all."""
        middle = self.rng.randrange(10, 30)
        first, second = (zstd(b"\n".join(part) + b"\n") for part in (lines[:middle], lines[middle:]))
        content = first + second[: len(second) // 2]
        return Body("zstd that breaks off", content, keyed, good[: middle - header], unmarked=1)

    def large(self, keyed: bool) -> Body:
        """A body above the batch size: a separate object."""
        form = self.rng.choice(self.forms)
        if not isinstance(form, Orders):
            return self.readable(keyed)
        drawn = [form.draw(self.rng, self.id()) for _ in range(LARGE_LINES)]
        good = [Good(one.id, {**one.fields, "detail": {"padding": "p" * LARGE_PADDING}}) for one in drawn]
        return Body("large", b"\n".join(map(compact, good)), keyed, good)


def compact(good: Good) -> bytes:
    return json.dumps(good.fields, separators=(",", ":"), ensure_ascii=False).encode()


def shuffled(rng: random.Random, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(rng.sample(names, len(names)))

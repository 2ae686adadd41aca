"""Log lines of four formats. Each has a unique id, and values that reveal swapped or truncated columns."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Texts that break a careless parser: braces, brackets, escapes, other scripts, and a comma.
AWKWARD = ["plain", 'a "quoted" word', "}{", "]}", "[1,2", "back\\slash", "Zürich Ω 日本", "tab\there", "x, y", "'", "#", ""]


@dataclass(frozen=True)
class Good:
    """A line that must be stored once: its id, and the fields of the stored event."""

    id: str
    fields: dict[str, Any]


class Form:
    """A log type, the format of its lines, and the position of the id in a stored event."""

    log_type: str
    # A schema that is added to the node; `None` for a built-in log type.
    schema: str | None = None
    # Names of the columns, in the order that applies if no header line sets another one.
    columns: tuple[str, ...] = ()

    def draw(self, rng: random.Random, id: str) -> Good:
        raise NotImplementedError

    def line(self, good: Good, order: tuple[str, ...] = ()) -> bytes:
        """The line without its line end, with its columns in this order if the format has columns."""
        raise NotImplementedError

    def header(self, order: tuple[str, ...]) -> bytes:
        """The header line."""
        raise NotImplementedError

    def id_of(self, event: dict[str, Any]) -> str:
        raise NotImplementedError


class Orders(Form):
    """JSON of a user-defined log type, with values of every type."""

    log_type = "Custom.Orders"
    schema = """schema: Custom.Orders
fields:
  - { name: id, type: string, required: true }
  - { name: buyer, type: string, required: true }
  - { name: seller, type: string, required: true }
  - { name: count, type: bigint }
  - { name: detail, type: json }
"""

    def draw(self, rng: random.Random, id: str) -> Good:
        detail: dict[str, Any] = {"text": rng.choice(AWKWARD), "list": [{"n": n} for n in range(rng.randrange(4))]}
        if rng.random() < 0.2:
            detail["padding"] = "p" * rng.randrange(2_000)
        return Good(
            id,
            {"id": id, "buyer": f"buyer-{id}", "seller": f"seller-{id}", "count": rng.randrange(1 << 60), "detail": detail},
        )

    def line(self, good: Good, order: tuple[str, ...] = ()) -> bytes:
        return json.dumps(good.fields, ensure_ascii=len(good.id) % 2 == 0).encode()

    def id_of(self, event: dict[str, Any]) -> str:
        return str(event["id"])


class Rows(Form):
    """Comma-separated values. The header names the columns, in an order that differs from body to body."""

    log_type = "Custom.Rows"
    schema = """schema: Custom.Rows
parser:
  csv: { delimiter: ",", hasHeader: true }
fields:
  - { name: id, type: string, required: true }
  - { name: left, type: string, required: true }
  - { name: right, type: string, required: true }
  - { name: number, type: bigint, required: true }
"""
    columns = ("id", "left", "right", "number")

    def draw(self, rng: random.Random, id: str) -> Good:
        after = rng.choice(("", ", with comma", ' and "quotes"'))
        return Good(id, {"id": id, "left": f"left-{id}{after}", "right": f"right-{id}", "number": rng.randrange(1 << 40)})

    @staticmethod
    def over_lines(rng: random.Random, good: Good) -> Good:
        """The same row with a multi-line value: still one event."""
        more = "".join(f"\nmore {number}, of {good.id}" for number in range(rng.randint(1, 4)))
        return Good(good.id, {**good.fields, "left": good.fields["left"] + more})

    def line(self, good: Good, order: tuple[str, ...] = ()) -> bytes:
        return ",".join(quoted(str(good.fields[column])) for column in order or self.columns).encode()

    def header(self, order: tuple[str, ...]) -> bytes:
        return ",".join(order).encode()

    def id_of(self, event: dict[str, Any]) -> str:
        return str(event["id"])


def quoted(value: str) -> str:
    """A value in the quoting of RFC 4180."""
    if any(letter in value for letter in ',"\n'):
        return '"' + value.replace('"', '""') + '"'
    return value


class Nginx(Form):
    """The access log of a web server; the path of the request is the id."""

    log_type = "Nginx.Access"

    def draw(self, rng: random.Random, id: str) -> Good:
        status, size = rng.choice((200, 301, 404, 500)), rng.randrange(1, 99_999)
        address = ".".join(str(rng.randrange(1, 255)) for _ in range(4))
        return Good(
            id,
            {"remoteAddr": address, "request": f"GET /{id} HTTP/1.1", "status": status, "bodyBytesSent": size},
        )

    def line(self, good: Good, order: tuple[str, ...] = ()) -> bytes:
        of = good.fields
        return (
            f'{of["remoteAddr"]} - - [03/Oct/2024:21:59:00 +0000] "{of["request"]}" {of["status"]} {of["bodyBytesSent"]} '
            '"-" "curl/8"'
        ).encode()

    def id_of(self, event: dict[str, Any]) -> str:
        return str(event["request"]).split(" ")[1][1:]


class Flows(Form):
    """Network flows: a header sets the column order of one body; without a header AWS's order applies."""

    log_type = "AWS.VPCFlow"
    NAMES = {
        "version": "version",
        "account-id": "account",
        "interface-id": "interfaceId",
        "srcaddr": "srcAddr",
        "dstaddr": "dstAddr",
        "srcport": "srcPort",
        "dstport": "dstPort",
        "protocol": "protocol",
        "packets": "packets",
        "bytes": "bytes",
        "start": "start",
        "end": "end",
        "action": "action",
        "log-status": "status",
    }
    columns = tuple(NAMES)

    def draw(self, rng: random.Random, id: str) -> Good:
        third, fourth = rng.randrange(256), rng.randrange(1, 255)
        return Good(
            id,
            {
                "version": 2,
                "account": "111122223333",
                "interfaceId": f"eni-{id}",
                "srcAddr": f"10.1.{third}.{fourth}",
                "dstAddr": f"10.2.{third}.{fourth}",
                "srcPort": rng.randrange(1_024, 30_000),
                "dstPort": rng.randrange(30_000, 60_000),
                "protocol": 6,
                "packets": rng.randrange(1, 1_000),
                "bytes": rng.randrange(1_000, 1 << 40),
                "action": rng.choice(("ACCEPT", "REJECT")),
                "status": "OK",
            },
        )

    def line(self, good: Good, order: tuple[str, ...] = ()) -> bytes:
        values = {**good.fields, "start": 1_709_600_000, "end": 1_709_600_060}
        return " ".join(str(values[self.NAMES[column]]) for column in order or self.columns).encode()

    def header(self, order: tuple[str, ...]) -> bytes:
        return " ".join(order).encode()

    def id_of(self, event: dict[str, Any]) -> str:
        return str(event["interfaceId"]).removeprefix("eni-")


FORMS: dict[str, Form] = {form.log_type: form for form in (Orders(), Rows(), Nginx(), Flows())}


def add_schemas(pantherctl: Any, folder: Path) -> None:
    """Adds the user-defined log types to the node."""
    for form in FORMS.values():
        if form.schema is not None:
            file = folder / f"{form.log_type}.yml"
            file.write_text(form.schema)
            pantherctl.call("schemas", "add", file)

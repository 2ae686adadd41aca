"""Texts, and JSON built from them, that break a careless parser."""

import json
import random
from typing import Any

AWKWARD = (
    "", "a", "\0", "../../etc/passwd", "/dev/zero", "%00", "%zz", "\ud7ff\ue000", "Zürich Ω 日本", "a" * 300, "-1", "1e999", "null", "{}", "[]", '"', "\\",
    "\r\n\r\n", "${jndi:x}", "\u202e", "18446744073709551616", "2024-13-45T99:99:99Z", " ", "\t", "x" * 5_000, "node", "panther-objects", "file:///",
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (0, -1, 1, 1.5, -0.0, 1e308, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400)


def text(rng: random.Random) -> str:
    if rng.random() < 0.7:
        return rng.choice(AWKWARD)
    return "".join(chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x80, 0xD7FF)))) for _ in range(rng.randrange(30)))


def value(rng: random.Random, depth: int = 4) -> Any:
    """Any JSON value."""
    kind = rng.randrange(8)
    if kind < 2 and depth:
        return {text(rng)[:20]: value(rng, depth - 1) for _ in range(rng.randrange(4))}
    if kind < 3 and depth:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind < 5:
        return text(rng)
    if kind < 7:
        return rng.choice(NUMBERS)
    return rng.choice((True, False, None))


def as_json(rng: random.Random, of: Any) -> str:
    """A value as JSON; sometimes with unlimited nesting, truncated, duplicated or with a duplicate key."""
    said = json.dumps(of, ensure_ascii=rng.random() < 0.5)
    kind = rng.randrange(20)
    if kind == 0:
        return rng.choice(('{"a":', "[")) * rng.choice((100, 200, 20_000))
    if kind == 1:
        return said[: rng.randrange(len(said) + 1)]
    if kind == 2:
        return said + said
    if kind == 3 and said.startswith("{"):
        return '{"limit":1,"limit":"x",' + said[1:]
    return said

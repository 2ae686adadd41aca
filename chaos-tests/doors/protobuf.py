"""Hand-written protocol buffers: valid fields, and fields that no compiler would write."""

import random

from texts import text


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: int | bytes | str) -> bytes:
    """One field: a number as a varint, any other value with its length prefix."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def message(**fields: int | bytes | str | list[bytes]) -> bytes:
    """A message with the fields f1, f2 and so on; a list is a repeated field."""
    out = b""
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            out += field(int(name[1:]), one)
    return out


NUMBERS = (0, 1, 2, 127, 128, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 64) - 1)


def random_message(rng: random.Random, depth: int = 4) -> bytes:
    """Fields of any number and wire type; some with a false length."""
    out = bytearray()
    for _ in range(rng.randrange(6)):
        number, kind = rng.choice((1, 1, 2, 3, 4, 5, 6, 15, 16, 1 << 28)), rng.randrange(9)
        if kind < 3:
            out += field(number, rng.choice(NUMBERS))
        elif kind < 5 and depth:
            out += field(number, random_message(rng, depth - 1))
        elif kind < 6:
            out += field(number, text(rng))
        elif kind < 7:
            out += field(number, rng.randbytes(rng.randrange(40)))
        elif kind < 8:
            # Groups, fixed-size numbers, undefined wire types.
            out += varint(number << 3 | rng.randrange(8)) + rng.randbytes(rng.randrange(9))
        else:
            out += varint(number << 3 | 2) + varint(rng.choice(NUMBERS)) + b"short"
    if rng.random() < 0.02:
        nested = b""
        for _ in range(rng.choice((90, 120, 2_000))):
            nested = field(1, nested)
        out += nested
    return bytes(out)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Changes, truncates or duplicates some bytes."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(out):
            out[at] = rng.randrange(256)
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            out[at:at] = rng.randbytes(rng.randrange(8))
        else:
            out[at:at] = out[at : at + rng.randrange(16)]
    return bytes(out)

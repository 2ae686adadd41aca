"""Attacks on HTTP ingest: unauthorized callers, and senders with a token and hostile bodies."""

import gzip
import io
import json
import random
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import partial

import http2
from harness.node import HttpSource
from nodes import Node
from texts import as_json, text, value

# One source for each log type with a special form of input.
SOURCES = {
    "attacked-json": "Custom.Honest", "attacked-web": "Nginx.Access", "attacked-flows": "AWS.VPCFlow", "attacked-trail": "AWS.CloudTrail",
    "attacked-csv": "Custom.Table"
}
# Decompressed size of a bomb, in bytes, in a long and in a short run. A node reads bodies in pieces, so the size must not matter.
BOMB_BYTES, SHORT_BOMB_BYTES = 200_000_000, 10_000_000


def gzip_bomb(filler: bytes, size: int = BOMB_BYTES) -> bytes:
    """A few hundred kilobytes that decompress to `size` bytes, without lines, or with nothing but lines."""
    piece = filler * (1_000_000 // len(filler))
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(piece) for _ in range(size // len(piece))) + packer.flush()


def zip_bomb(size: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", b"\0" * size)
        archive.writestr("../../../../tmp/panther-escaped", b"x")
    return out.getvalue()


def zstd_bomb(blocks: int = 1_500) -> bytes:
    """Zstd blocks of one repeated byte, each 128 KiB. They are encoded here because the standard library has no zstd."""
    block = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"0"
    last = struct.pack("<I", (128 << 10) << 3 | 1 << 1 | 1)[:3] + b"0"
    return b"\x28\xb5\x2f\xfd\x00\x58" + block * (blocks - 1) + last


class Ingest:
    """Generates attacks."""

    name = "ingest"

    def __init__(self, nodes: tuple[Node, ...], sources: dict[str, HttpSource], small: bool) -> None:
        self.nodes, self.sources = nodes, sources
        self._made: dict[str, bytes] = {}
        size = SHORT_BOMB_BYTES if small else BOMB_BYTES
        # Blank lines, one long line, an array that is never closed, and a record with unlimited nesting.
        fillers = {"lines": b"\n", "zeros": b"\0", "array": b"[1,", "nested": b'{"a":'}
        self.makers: dict[str, Callable[[], bytes]] = {name: partial(gzip_bomb, filler, size) for name, filler in fillers.items()}
        self.makers |= {"zip": partial(zip_bomb, size // 4), "zstd": partial(zstd_bomb, size >> 17)}

    def once(self, rng: random.Random) -> str:
        node = rng.choice(self.nodes)
        kind = rng.choice(
            (
                self.half_headers, self.raw, self.huge_headers, self.wrong_tokens, self.chunks, self.pipelined, self.slow_body, self.odd_body,
                self.odd_body, self.odd_body, self.bomb
            )
        )
        with http2.Connection(http2.over_tcp(node.ingest_port)) as connection:
            kind(rng, connection)
        return kind.__name__

    def bomb_of(self, name: str) -> bytes:
        if name not in self._made:
            self._made[name] = self.makers[name]()
        return self._made[name]

    def head(self, rng: random.Random, *headers: str, right: bool = True) -> bytes:
        source, token = rng.choice([(label, known.token) for label, known in self.sources.items()])
        if not right:
            source, token = rng.choice((source, "none", "../" + source, "%00", "a" * 3_000)), rng.choice(("", "x", token[:-1] + "x", "é", "x" * 9_000))
        lines = [f"POST /ingest/{source} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", *headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    @staticmethod
    def answer(connection: http2.Connection, seconds: float = 10.0) -> bytes:
        connection.socket.settimeout(seconds)
        return connection.socket.recv(4_096)

    # Unauthorized callers.

    def half_headers(self, rng: random.Random, connection: http2.Connection) -> None:
        whole = self.head(rng, "Content-Length: 10", right=rng.random() < 0.5)
        connection.send(whole[: rng.randrange(len(whole))])
        time.sleep(rng.choice((0.0, 0.3)))

    def raw(self, rng: random.Random, connection: http2.Connection) -> None:
        starts = (
            b"", b"POST /ingest/", b"GET " + b"/" * 5_000, http2.PREFACE, b"\x16\x03\x01\x02\x00", b"GET /metrics HTTP/9.9\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\n\r\n"
        )
        connection.send(rng.choice(starts) + rng.randbytes(rng.randrange(3_000)) + b"\r\n\r\n")
        self.answer(connection, 0.3)

    def huge_headers(self, rng: random.Random, connection: http2.Connection) -> None:
        size = rng.choice((15_000, 17_000, 500_000))
        many = [f"X-{number}: {'h' * 20}" for number in range(size // 30)]
        connection.send(self.head(rng, *rng.choice(([f"X-Long: {'h' * size}"], many)), "Content-Length: 0"))
        self.answer(connection)

    def wrong_tokens(self, rng: random.Random, connection: http2.Connection) -> None:
        announced = rng.choice((0, 3, 10**9, 10**30, -1))
        connection.send(self.head(rng, f"Content-Length: {announced}", right=False) + b"abc")
        self.answer(connection)

    # Senders with invalid bodies.

    def chunks(self, rng: random.Random, connection: http2.Connection) -> None:
        connection.send(self.head(rng, "Transfer-Encoding: chunked", *rng.choice(((), ("Content-Length: 3",)))))
        for _ in range(rng.randrange(6)):
            data = rng.randbytes(rng.randrange(200))
            size = rng.choice((b"%x" % len(data), b"0%x;ext=%s" % (len(data), b"e" * 2_000), b"ffffffffffffffff", b"-1", b"zz", b"7fffffffffffffff"))
            connection.send(size + b"\r\n" + data + rng.choice((b"\r\n", b"\n", b"")))
        connection.send(rng.choice((b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"", b"0\r\n" + b"T: t\r\n" * 3_000 + b"\r\n")))
        self.answer(connection, 1.0)

    def pipelined(self, rng: random.Random, connection: http2.Connection) -> None:
        for _ in range(rng.randint(2, 60)):
            body = self.body(rng)[:500]
            connection.send(self.head(rng, f"Content-Length: {len(body)}", right=rng.random() < 0.7) + body)
        if rng.random() < 0.5:
            self.answer(connection)

    def slow_body(self, rng: random.Random, connection: http2.Connection) -> None:
        connection.send(self.head(rng, f"Content-Length: {rng.choice((100, 1_000_000))}"))
        for _ in range(rng.randrange(8)):
            connection.send(b"x")
            time.sleep(0.2)

    def odd_body(self, rng: random.Random, connection: http2.Connection) -> None:
        """A complete body that no log type expects, compressed in some way and sometimes damaged."""
        body = self.body(rng)
        packed = rng.randrange(5)
        if packed == 0:
            body = gzip.compress(body, mtime=0)
        elif packed == 1:
            body = gzip.compress(body, mtime=0) + rng.choice((b"", gzip.compress(b"more\n", mtime=0), b"\0" * 600, b"rest"))
        elif packed == 2:
            body = zstd_bomb(rng.randint(1, 4)) + body
        if rng.random() < 0.3:
            body = body[: rng.randrange(len(body) + 1)]
        if body and rng.random() < 0.3:
            at = rng.randrange(len(body))
            body = body[:at] + rng.randbytes(1) + body[at + 1 :]
        encoding = rng.choice(([], [], ["Content-Encoding: gzip"], ["Content-Encoding: zstd"], ["Content-Encoding: gzip, gzip"]))
        key = rng.choice(([], ["Idempotency-Key: same"], [f"Idempotency-Key: {'k' * 9_000}"]))
        connection.send(self.head(rng, f"Content-Length: {len(body)}", *encoding, *key) + body)
        self.answer(connection, 15.0)

    def bomb(self, rng: random.Random, connection: http2.Connection) -> None:
        body = self.bomb_of(rng.choice(list(self.makers)))
        connection.send(self.head(rng, f"Content-Length: {len(body)}") + body)
        self.answer(connection, 30.0)

    @staticmethod
    def body(rng: random.Random) -> bytes:
        kind = rng.randrange(8)
        if kind == 0:
            return rng.randbytes(rng.randrange(3_000))
        if kind == 1:
            return "\n".join(as_json(rng, value(rng)) for _ in range(rng.randrange(20))).encode(errors="replace")
        if kind == 2:
            return as_json(rng, {"Records": [value(rng) for _ in range(rng.randrange(5))], "x": value(rng)}).encode(errors="replace")
        if kind == 3:
            return (b"[" if rng.random() < 0.5 else b'{"Records":[') * rng.choice((1, 200, 50_000))
        if kind == 4:
            fields = rng.choice(("version account-id srcaddr", "id,left", "version " * 3_000, '"' * 99, ",,,,"))
            return (fields + "\n" + "\n".join(text(rng) for _ in range(10))).encode(errors="replace")
        if kind == 5:
            return (f'1.2.3.4 - - [03/Oct/2024:21:59:{rng.randrange(99)} +9999] "{text(rng)}" {text(rng)[:9]} 1 "-" "-"\n' * 5).encode(errors="replace")
        if kind == 6:
            return json.dumps({"id": text(rng), "text": value(rng), "p_log_type": "x", "time": text(rng)}).encode(errors="replace")
        return rng.choice((b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b"\0" * 3_000, b"\n" * 100_000, b"{" + b" " * 100_000, b"PK\x03\x04" + b"\0" * 60))

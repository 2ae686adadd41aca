"""Attacks on the port for other nodes, by callers with every level of rights."""

import random
import ssl
import time

import http2
from http2 import CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE
from nodes import Cluster, Node
from protobuf import NUMBERS, message, mutated, random_message
from texts import text

METHODS = ("Append", "Vote", "HandOver", "SnapshotHeld", "SnapshotSend", "Forward", "ReadIndex", "KeepAlive", "Heard", "Lead", "Hello")
JOIN = "/panther.v1.Joining/Join"
PATHS = (*(f"/panther.v1.Peers/{method}" for method in METHODS), JOIN, "/panther.v1.Api/Invoke", "/panther.v1.Doors/Purge", "/", "/panther.v1.Peers/", "*")
# Calls of a member that do not harm its cluster, with any content. Raft trusts its members: a vote of a member counts, and so does its
# report of its state.
HARMLESS = ("Hello", "Heard", "ReadIndex", "SnapshotHeld", "Forward")
GROUP = 1
# A term that no cluster reaches.
FAR_TERM = 1 << 62


class ClusterPort:
    """Generates attacks."""

    name = "cluster"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.callers: dict[str, ssl.SSLContext] = {"stranger": http2.tls()}
        for standing, node in (("member", cluster.second), ("removed", cluster.removed), ("foreign", cluster.foreign)):
            if node is not None:
                self.callers[standing] = http2.tls(*node.key_files())

    def once(self, rng: random.Random) -> str:
        """Makes one attack. Returns its description."""
        # A node does not call itself, so the certificate of the second node is used against the first one.
        standing = rng.choice(("raw", *self.callers))
        target = self.cluster.first if standing == "member" else rng.choice(self.cluster.nodes)
        if standing == "raw":
            return self.raw(rng, target)
        kinds = (self.noise, self.calls, self.lengths, self.endless, self.flood, self.windows, self.slow)
        kind = rng.choice(kinds)
        with http2.over_tls(target.cluster_port, self.callers[standing]) as connection:
            kind(rng, connection, standing, target)
        return f"{standing} {kind.__name__}"

    def raw(self, rng: random.Random, target: Node) -> str:
        """Bytes without TLS."""
        with http2.over_tcp(target.cluster_port) as raw:
            hello = b"\x16\x03\x01" + rng.choice((b"\0\0", b"\xff\xff", b"\x02\0")) + b"\x01\x00\x01\xfc\x03\x03"
            raw.sendall(rng.choice((rng.randbytes(rng.randrange(5_000)), http2.PREFACE, b"GET / HTTP/1.1\r\n\r\n", hello + rng.randbytes(rng.randrange(600)))))
            raw.settimeout(rng.choice((0.05, 0.2)))
            raw.recv(4_096)
        return "raw bytes"

    # Attacks that need a connection with a completed TLS handshake.

    def noise(self, rng: random.Random, connection: http2.Connection, standing: str, target: Node) -> None:
        """Frames of any kind, and bytes that are not frames."""
        connection.begin(*((rng.randrange(9), rng.choice(NUMBERS) & 0xFFFFFFFF) for _ in range(rng.randrange(3))))
        for _ in range(rng.randrange(1, 60)):
            payload = rng.randbytes(rng.choice((0, 4, 5, 8, 9, 100, 16_384)))
            length = rng.choice((None, None, None, 0, 0xFFFFFF))
            connection.send(http2.frame(rng.randrange(12), rng.randrange(256), rng.choice((0, 1, 2, 3, 0x7FFFFFFF, 0xFFFFFFFF)), payload, length))
        connection.send(rng.randbytes(rng.randrange(2_000)))
        list(connection.frames(0.2))

    def calls(self, rng: random.Random, connection: http2.Connection, standing: str, target: Node) -> None:
        """Complete calls with almost valid messages."""
        connection.begin()
        streams = range(1, 2 * rng.randint(1, 40), 2)
        for stream in streams:
            path, data = self.message(rng, standing, target)
            connection.send(http2.call(stream, path, data))
        ended = 0
        for came in connection.frames(3.0):
            ended += came.stream != 0 and bool(came.flags & END_STREAM or came.kind == RST_STREAM)
            if came.kind == GOAWAY or ended >= len(streams):
                break

    def message(self, rng: random.Random, standing: str, target: Node) -> tuple[str, bytes]:
        path = rng.choice(PATHS)
        kind = rng.randrange(4)
        if kind == 0:
            return path, random_message(rng)
        if path == JOIN:
            join = message(
                f1=rng.choice((self.cluster.cluster, text(rng))), f2=rng.randbytes(rng.choice((0, 16, 32, 7_000))), f3=text(rng), f4=text(rng),
                f6=rng.choice(NUMBERS)
            )
            return path, join if kind == 1 else mutated(rng, join)
        if standing == "member":
            path = f"/panther.v1.Peers/{rng.choice(METHODS if kind == 1 else HARMLESS)}"
        call = self.call(rng, standing, target, path, believed=standing == "member")
        return path, call if kind == 1 else mutated(rng, call)

    def call(self, rng: random.Random, standing: str, target: Node, path: str, believed: bool) -> bytes:
        """A call in the form that a node makes it. If the receiver accepts the caller, the call contains nothing that Raft would act on."""
        numbers = self.cluster.numbers
        sender = numbers.get({"member": "second"}.get(standing, standing), 1)
        between = message(f1=self.cluster.cluster, f2=GROUP, f3=sender, f4=numbers[target.name])
        method = path.rsplit("/", 1)[-1]
        term = FAR_TERM if believed else rng.choice((1, 2, 1_000, FAR_TERM, (1 << 64) - 1))
        vote = message(f1=term, f2=sender, f3=1)
        position = message(f1=term, f2=sender, f3=rng.choice(NUMBERS))
        if method == "Append":
            entries = [message(f1=position, f2=rng.randbytes(rng.randrange(300))) for _ in range(rng.randrange(4))]
            return message(f1=between, f2=vote, f3=position, f4=entries, f5=position)
        if method in ("Vote", "HandOver"):
            return message(f1=between, f2=vote, f3=position, f4=rng.randrange(4), f5=rng.randrange(2))
        if method == "SnapshotHeld":
            return message(f1=between, f2=rng.choice(("../../keys/node.key", "/dev/zero", text(rng))), f3=rng.choice(NUMBERS))
        if method == "SnapshotSend":
            lies = message(f1=between, f2=rng.choice(("../../x", text(rng))), f3=rng.choice(NUMBERS), f5=rng.choice(NUMBERS), f6=rng.randbytes(2_000))
            return lies if believed else lies + message(f4=vote)
        if method == "Forward":
            commands = [message(f9=b""), message(f7=message(f1=text(rng), f2=rng.choice(NUMBERS))), b"", message(f1=message(f2=message(f1=text(rng))))]
            return message(f1=between, f2=rng.sample(commands, rng.randrange(len(commands))))
        if method == "KeepAlive":
            return message(f1=between, f2=rng.choice(NUMBERS), f3=int(time.time() * 1000), f4=0)
        return message(f1=between, f2=rng.choice((0, 99, (1 << 64) - 1)))

    def lengths(self, rng: random.Random, connection: http2.Connection, standing: str, target: Node) -> None:
        """Messages that announce more bytes than they send."""
        connection.begin()
        for stream in range(1, 2 * rng.randint(1, 60), 2):
            announced = rng.choice((1, 8 << 10, 16 << 20, (16 << 20) + 1, (1 << 31) - 1, (1 << 32) - 1))
            headers = http2.frame(HEADERS, END_HEADERS, stream, http2.call_headers(rng.choice(PATHS), (b"content-length", str(announced + 5).encode())))
            connection.send(
                headers + http2.body(stream, http2.grpc(rng.randbytes(rng.randrange(4_000)), announced, rng.choice((0, 0, 1, 7))), end=rng.random() < 0.3)
            )
        list(connection.frames(rng.choice((0.1, 1.0))))

    def endless(self, rng: random.Random, connection: http2.Connection, standing: str, target: Node) -> None:
        """More concurrent calls than a connection may have; they never end."""
        connection.begin()
        for stream in range(1, 2 * rng.choice((10, 300, 1_500)), 2):
            connection.send(http2.frame(HEADERS, END_HEADERS, stream, http2.call_headers(rng.choice(PATHS))))
        list(connection.frames(rng.choice((0.2, 2.0))))

    def flood(self, rng: random.Random, connection: http2.Connection, standing: str, target: Node) -> None:
        """A flood of frames that cost the sender nothing."""
        connection.begin()
        times, path = rng.choice((500, 5_000)), rng.choice(PATHS)
        headers = http2.call_headers(path)
        kind = rng.choice((RST_STREAM, SETTINGS, PING, CONTINUATION, PRIORITY, WINDOW_UPDATE, PUSH_PROMISE, DATA, HEADERS))
        if kind == CONTINUATION:
            connection.send(http2.frame(HEADERS, 0, 1, headers))
            filler = http2.literal(b"x-filler", b"f" * 1_000)
            for _ in range(times // 5):
                connection.send(http2.frame(CONTINUATION, 0, 1, filler * 10))
        elif kind == RST_STREAM:
            for stream in range(1, 2 * times, 2):
                connection.send(http2.frame(HEADERS, END_HEADERS, stream, headers) + http2.frame(RST_STREAM, 0, stream, b"\0\0\0\x08"))
        elif kind == HEADERS:
            # Trailers without end, and a header table that grows.
            connection.send(http2.frame(HEADERS, END_HEADERS, 1, headers))
            for number in range(times // 5):
                connection.send(http2.frame(HEADERS, END_HEADERS, 1, b"\x40" + http2.literal(b"x-%d" % number, b"y" * 500)[1:]))
        else:
            payload = {SETTINGS: b"", PING: b"12345678", WINDOW_UPDATE: b"\0\0\0\x01", PRIORITY: b"\0\0\0\x03\x10"}.get(kind, b"")
            stream = {SETTINGS: 0, PING: 0, WINDOW_UPDATE: 0}.get(kind, 1)
            for _ in range(times // 50):
                connection.send(http2.frame(kind, 0, stream, payload) * 50)
        list(connection.frames(0.2))

    def windows(self, rng: random.Random, connection: http2.Connection, standing: str, target: Node) -> None:
        """Calls whose answers cannot be sent: a flow control window of 0, or a caller that does not read."""
        connection.begin((http2.INITIAL_WINDOW, rng.choice((0, 1, 0x7FFFFFFF))))
        for stream in range(1, 2 * rng.choice((10, 200, 800)), 2):
            path, data = self.message(rng, standing, target)
            connection.send(http2.call(stream, path, data))
        if rng.random() < 0.5:
            connection.send(http2.frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2)
        time.sleep(rng.choice((0.1, 1.0)))

    def slow(self, rng: random.Random, connection: http2.Connection, standing: str, target: Node) -> None:
        """Single bytes with pauses."""
        path, data = self.message(rng, standing, target)
        whole = http2.PREFACE + http2.settings() + http2.call(1, path, data)
        for at in range(0, min(len(whole), 60), 3):
            connection.send(whole[at : at + 3])
            time.sleep(0.05)

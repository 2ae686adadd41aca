"""HTTP/2 at the level of frames, for calls that no library permits. Literal HPACK, without compression."""

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
INITIAL_WINDOW = 4


@dataclass(frozen=True)
class Frame:
    """A received frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """One frame; `length` overrides the true length."""
    announced = len(payload) if length is None else length
    return struct.pack(">I", announced & 0xFFFFFF)[1:] + bytes((kind & 0xFF, flags & 0xFF)) + struct.pack(">I", stream & 0xFFFFFFFF) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


def integer(number: int, prefix: int) -> bytes:
    """An HPACK integer. The first bits of its first byte are zero."""
    most = (1 << prefix) - 1
    if number < most:
        return bytes((number,))
    out, number = bytearray((most,)), number - most
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def literal(name: bytes, value: bytes) -> bytes:
    """A header field that is not indexed."""
    return b"\0" + integer(len(name), 7) + name + integer(len(value), 7) + value


def call_headers(path: str, *more: tuple[bytes, bytes]) -> bytes:
    """The header fields of a gRPC call."""
    named = ((b":method", b"POST"), (b":scheme", b"https"), (b":path", path.encode()), (b":authority", b"localhost"))
    of_grpc = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
    return b"".join(literal(*header) for header in (*named, *of_grpc, *more))


def grpc(data: bytes, announced: int | None = None, packed: int = 0) -> bytes:
    """A gRPC message; `announced` overrides the true length."""
    return struct.pack(">BI", packed, len(data) if announced is None else announced) + data


def call(stream: int, path: str, data: bytes) -> bytes:
    """A complete call."""
    return frame(HEADERS, END_HEADERS, stream, call_headers(path)) + body(stream, grpc(data))


def body(stream: int, data: bytes, end: bool = True, piece: int = 16_384) -> bytes:
    """DATA frames."""
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)] or [b""]
    last = len(pieces) - 1
    return b"".join(frame(DATA, END_STREAM if end and number == last else 0, stream, one) for number, one in enumerate(pieces))


class Connection:
    """A connection that the caller controls frame by frame. Network errors end it normally."""

    def __init__(self, raw: socket.socket, timeout: float = 5.0) -> None:
        self.socket, self.timeout = raw, timeout
        self.socket.settimeout(timeout)
        self._read = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def begin(self, *pairs: tuple[int, int]) -> None:
        self.send(PREFACE + settings(*pairs))

    def frames(self, seconds: float) -> Iterator[Frame]:
        """Reads the frames that arrive within this time; answers SETTINGS and PING."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            while len(self._read) >= 9 and len(self._read) >= 9 + (length := int.from_bytes(self._read[:3], "big")):
                came = Frame(self._read[3], self._read[4], int.from_bytes(self._read[5:9], "big"), self._read[9 : 9 + length])
                self._read = self._read[9 + length :]
                if came.kind in (SETTINGS, PING) and not came.flags & ACK:
                    self.send(frame(came.kind, ACK, payload=came.payload if came.kind == PING else b""))
                yield came
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(65_536)
            except (TimeoutError, ssl.SSLWantReadError):
                return
            finally:
                self.socket.settimeout(self.timeout)
            if not more:
                return
            self._read += more

    def ask(self, path: str, data: bytes, seconds: float = 5.0) -> list[Frame]:
        """Makes one complete call on a new connection. Returns its frames up to the end of the answer."""
        self.begin()
        self.send(call(1, path, data))
        got = []
        for came in self.frames(seconds):
            got.append(came)
            if came.stream == 1 and (came.kind == RST_STREAM or came.flags & END_STREAM and came.kind in (DATA, HEADERS)):
                break
        return got

    def close(self) -> None:
        try:
            self.socket.close()
        except OSError:
            pass


def over_unix(path: str, timeout: float = 5.0) -> Connection:
    raw = socket.socket(socket.AF_UNIX)
    raw.settimeout(timeout)
    raw.connect(path)
    return Connection(raw, timeout)


def over_tcp(port: int, timeout: float = 5.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout)


def over_tls(port: int, context: ssl.SSLContext, timeout: float = 5.0) -> Connection:
    raw = over_tcp(port, timeout)
    try:
        return Connection(context.wrap_socket(raw, server_hostname="localhost"), timeout)
    except BaseException:
        raw.close()
        raise


def tls(certificate: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """A TLS client that accepts any server certificate, with or without a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context

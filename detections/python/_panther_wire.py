"""Frames between host and runner: u32 length, one byte of kind, payload (J = JSON, B = raw bytes)."""

import json
import socket
import struct

MAX_FRAME = 64 << 20

_HEAD = struct.Struct(">IB")
_JSON, _BYTES = ord("J"), ord("B")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False, allow_nan=False).encode


def encode(message):
    """JSON that any reader takes, as bytes: lone surrogates, which only Python knows, become question marks."""
    try:
        return _encode(message).encode("utf-8")
    except UnicodeEncodeError:
        return _encode(_whole(message)).encode("utf-8")


def _whole(value):
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(item) for item in value]
    return value


class Closed(Exception):
    """The host closed the connection: it is gone, or wants this process gone."""


class ProtocolError(Exception):
    """A frame that is not one, or a message that does not belong here."""


class Connection:
    """One connected stream socket to the host."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.connect(path)

    def fileno(self):
        return self._socket.fileno()

    def close(self):
        self._socket.close()

    def send(self, message):
        """Send one JSON message. A message that is too big for a frame raises ProtocolError."""
        self.send_encoded(encode(message))

    def send_encoded(self, payload):
        """Send a message that has been encoded."""
        self._send_frame(_JSON, payload)

    def send_bytes(self, payload):
        """Send raw bytes that belong to the message before."""
        self._send_frame(_BYTES, payload)

    def _send_frame(self, kind, payload):
        if len(payload) >= MAX_FRAME:
            raise ProtocolError(f"message of {len(payload)} bytes is bigger than a frame may be")
        try:
            self._socket.sendall(_HEAD.pack(len(payload) + 1, kind) + payload)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed() from error

    def receive(self):
        """Wait for one JSON message."""
        kind, payload = self._frame()
        if kind != _JSON:
            raise ProtocolError("bytes without a message before them")
        message = json.loads(payload)
        if not isinstance(message, dict):
            raise ProtocolError("a message must be an object")
        return message

    def receive_bytes(self):
        """Wait for the raw bytes that belong to the message before."""
        kind, payload = self._frame()
        if kind != _BYTES:
            raise ProtocolError("a message where bytes were due")
        return payload

    def _frame(self):
        length, kind = _HEAD.unpack(self._exactly(_HEAD.size))
        if not 1 <= length <= MAX_FRAME:
            raise ProtocolError(f"a frame of {length} bytes")
        return kind, self._exactly(length - 1)

    def _exactly(self, size):
        data = bytearray(size)
        rest = memoryview(data)
        while rest:
            try:
                count = self._socket.recv_into(rest, len(rest))
            except ConnectionResetError as error:
                raise Closed() from error
            if count == 0:
                raise Closed()
            rest = rest[count:]
        return data

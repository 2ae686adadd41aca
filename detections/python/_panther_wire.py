"""Frames between host and runner: u32 length, one byte of kind, payload (J = JSON, B = raw bytes).

JSON is read and written with functions that were taken before the first detection was loaded: the same ones for the runner, whatever a
detection puts in their place.
"""

import array
import json.decoder
import json.encoder
import os
import socket
import struct
from json import JSONDecodeError

MAX_FRAME = 64 << 20

_HEAD = struct.Struct(">IB")
_JSON, _BYTES = ord("J"), ord("B")
_scan = json.decoder.JSONDecoder().scan_once
_skip = json.decoder.WHITESPACE.match
_DESCRIPTOR = array.array("i").itemsize
_MAX_DESCRIPTORS = 4


def _encoder():
    make = json.encoder.c_make_encoder
    if make is None:
        return json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False, allow_nan=False).encode
    pieces = make(None, _no_form, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    return lambda value: "".join(pieces(value, 0))


def _no_form(value):
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


_encode = _encoder()


def loads(text):
    """What `json.loads` gives for a text."""
    if text.startswith("\ufeff"):
        raise JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
    try:
        value, end = _scan(text, _skip(text, 0).end())
    except StopIteration as error:
        raise JSONDecodeError("Expecting value", text, error.value) from None
    end = _skip(text, end).end()
    if end != len(text):
        raise JSONDecodeError("Extra data", text, end)
    return value


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
    """A stream socket that is connected to the host; `descriptor` was inherited, or came with a message."""

    def __init__(self, descriptor):
        self._socket = socket.socket(fileno=descriptor)
        self._is = os.fstat(descriptor)
        self.received = []  # descriptors that came with the last message

    def fileno(self):
        return self._socket.fileno()

    def close(self):
        self._socket.close()

    def whole(self):
        """Whether the descriptor is still that of the connection."""
        try:
            now = os.fstat(self._socket.fileno())
        except OSError:
            return False
        return (now.st_dev, now.st_ino) == (self._is.st_dev, self._is.st_ino)

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
        message = loads(str(payload, "utf-8"))
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
        length, kind = _HEAD.unpack(self._head())
        if not 1 <= length <= MAX_FRAME:
            raise ProtocolError(f"a frame of {length} bytes")
        return kind, self._exactly(length - 1)

    def _head(self):
        """The first bytes of a frame, and the descriptors that came with them."""
        try:
            data, ancillary, _flags, _address = self._socket.recvmsg(
                _HEAD.size, socket.CMSG_SPACE(_MAX_DESCRIPTORS * _DESCRIPTOR), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError as error:
            raise Closed() from error
        if not data:
            raise Closed()
        self.received = []
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.received += array.array("i", payload[: len(payload) - len(payload) % _DESCRIPTOR])
        return data + self._exactly(_HEAD.size - len(data))

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

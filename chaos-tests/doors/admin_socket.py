"""Attacks on the admin socket. A caller with access to the socket has all rights, so no attack names resources of the neighbour."""

import random

import http2
from http2 import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM
from nodes import Node
from protobuf import NUMBERS, message, mutated, random_message
from texts import text

# Methods by service. What is called at random must not take the cluster apart, so that a few methods of the cluster are not among them.
OPERATIONS = {
    "NodeApi": (
        *(
            "Status", "Components", "Describe", "Runbook", "Alarms", "Queues", "Queue", "Peek", "Purge", "Delete", "Requeue", "Tables", "TableGet",
            "TableScan"
        ),
        *("Quarantine", "QuarantineShow", "QuarantineReplay", "Ledger", "Trace", "Storage", "ObjectGet", "Snapshot"),
        *("Cluster", "ClusterDrain", "ClusterRemove", "ClusterLead"),
    ),
    "AlertsApi": ("ListAlerts", "GetAlert", "UpdateAlertStatus", "DeliverAlert"),
    "OutputsApi": ("AddOutput", "UpdateOutput", "GetOutput", "GetOutputs", "DeleteOutput", "SendTestAlert"),
    "SourceApi": (
        *("PutIntegration", "UpdateIntegrationSettings", "ListIntegrations", "GetIntegration", "DeleteIntegration", "RotateToken"),
        *("ListLogTypes", "PutSchema", "ListSchemas", "Notify"),
    ),
    "AnalysisApi": (
        *("GetUploadPlan", "BulkUpload", "ListVersions", "GetVersion", "GetDifference", "ListDetections", "GetDetection", "SetDetectionState"),
        *("ProfileDetections", "GetRule", "GetPolicy"),
    ),
    "NoApi": ("X",),
}
METHODS = ("Transact", "Receive", "Extend", "GiveBack", "Get", "Query", "Converse")
# Queues to which nothing of the neighbour comes.
QUEUES = ("panther-layer-manager-queue-dlq", "panther-resources-queue", "no-queue", "", "\0")
TABLES = ("panther-outputs", "panther-alarms", "panther-objects", "panther-log-alert-info", "panther-analysis", "none", "")
STATUS, SEND = "/panther.v1.NodeApi/Status", "/panther.v1.NodeApi/Send"
TAIL, BACKUP = "/panther.v1.NodeStreams/Tail", "/panther.v1.NodeStreams/Backup"


class AdminSocket:
    """Generates attacks."""

    name = "socket"

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self.nodes = nodes

    def once(self, rng: random.Random) -> str:
        kind = rng.choice((self.raw, self.noise, self.operations, self.operations, self.operations, self.doors, self.doors, self.lengths, self.unread))
        with http2.over_unix(str(rng.choice(self.nodes).socket), timeout=20.0) as connection:
            kind(rng, connection)
        return kind.__name__

    def raw(self, rng: random.Random, connection: http2.Connection) -> None:
        connection.send(rng.choice((b"", b"GET / HTTP/1.1\r\n\r\n", http2.PREFACE)) + rng.randbytes(rng.randrange(5_000)))

    def noise(self, rng: random.Random, connection: http2.Connection) -> None:
        connection.begin()
        for _ in range(rng.randrange(40)):
            stream = rng.choice((0, 1, 3, 0x7FFFFFFF))
            connection.send(
                http2.frame(rng.randrange(11), rng.randrange(256), stream, rng.randbytes(rng.choice((0, 4, 8, 300))), rng.choice((None, None, 0, 0xFFFFFF)))
            )
        list(connection.frames(0.1))

    def operations(self, rng: random.Random, connection: http2.Connection) -> None:
        self.converse(connection, [self.operation(rng) for _ in range(rng.randint(1, 12))])

    def doors(self, rng: random.Random, connection: http2.Connection) -> None:
        self.converse(connection, [(f"/panther.v1.Doors/{method}", self.door(rng, method)) for method in rng.choices(METHODS, k=rng.randint(1, 12))])

    @staticmethod
    def converse(connection: http2.Connection, calls: list[tuple[str, bytes]]) -> None:
        """Makes the calls concurrently and waits for all of them."""
        connection.begin((http2.INITIAL_WINDOW, 0x7FFFFFFF))
        connection.send(http2.frame(http2.WINDOW_UPDATE, 0, 0, b"\x3f\xff\xff\xff"))
        for number, (path, data) in enumerate(calls):
            connection.send(http2.call(2 * number + 1, path, data))
        ended = 0
        for came in connection.frames(15.0):
            ended += came.stream != 0 and bool(came.kind == RST_STREAM or came.kind in (HEADERS, DATA) and came.flags & END_STREAM)
            if came.kind == GOAWAY or ended >= len(calls):
                return

    def operation(self, rng: random.Random) -> tuple[str, bytes]:
        service = rng.choice(list(OPERATIONS))
        method = rng.choice(OPERATIONS[service])
        path = f"/panther.v1.{service}/{method}"
        words = [text(rng).encode(errors="replace") for _ in range(5)]
        # The node id of the first node and the names of the neighbour are not among the random values, and these messages are not mutated.
        if method in ("ClusterDrain", "ClusterRemove", "ClusterLead"):
            return path, message(f1=rng.choice((0, 99, (1 << 64) - 1)))
        if method == "Requeue":
            return path, message(f1=rng.choice(QUEUES), f2=rng.choice(QUEUES), f3=words[0], f4=rng.choice(NUMBERS))
        if method in ("Purge", "Delete", "Peek", "Queue"):
            return path, message(f1=rng.choice(QUEUES), f2=words[0] if method == "Delete" else rng.choice(NUMBERS))
        kind = rng.randrange(4)
        if kind == 0:
            return path, random_message(rng)
        whole = message(f1=words[0], f2=words[1], f3=words[2], f4=[words[3], words[4]], f5=rng.choice(NUMBERS), f7=rng.randbytes(rng.choice((0, 100, 100_000))))
        return path, whole if kind == 1 else mutated(rng, whole)

    def door(self, rng: random.Random, method: str) -> bytes:
        kind = rng.randrange(3)
        if kind == 0:
            return random_message(rng)
        queue, table = rng.choice(QUEUES), rng.choice(TABLES)
        key = message(f2=text(rng).encode(errors="replace"), f3=text(rng).encode(errors="replace"))
        receipt = message(f1=queue, f2=rng.choice(NUMBERS), f3=rng.choice(NUMBERS), f4=rng.choice(NUMBERS))
        whole = {
            "Transact": message(
                f2=[message(f1="none", f2=key, f4=message(f1="a", f2=random_message(rng)))],
                f3=[message(f1=rng.choice(("none", "")), f3=b"x" * 300_000)], f5=rng.choice(NUMBERS)
            ),
            "Receive": message(f1=queue, f2=rng.choice(NUMBERS), f3=rng.choice((0, 1, 500, (1 << 64) - 1))),
            "Extend": message(f1=receipt, f2=rng.choice(NUMBERS)),
            "GiveBack": message(f1=receipt, f2=1, f3=b"r" * 100_000, f4=rng.choice(NUMBERS)),
            "Get": message(f1=table, f2=key),
            "Query": message(
                f1=table, f3=text(rng).encode(errors="replace"), f4=random_message(rng, 1), f6=rng.choice(NUMBERS),
                f9=rng.randbytes(rng.choice((0, 8, 40)))
            ),
            "Converse": message(f1=rng.choice(NUMBERS), **{f"f{rng.randint(2, 7)}": random_message(rng)}),
        }[method]
        # What is changed at random may name another queue, and a receive of the neighbour's queue would take its lines.
        return whole if kind == 1 or method == "Receive" else mutated(rng, whole)

    def lengths(self, rng: random.Random, connection: http2.Connection) -> None:
        connection.begin()
        for stream in range(1, 2 * rng.choice((5, 100, 400)), 2):
            path = rng.choice((STATUS, TAIL, BACKUP, "/panther.v1.Doors/Converse", "/x"))
            announced = rng.choice((1, 4 << 20, 64 << 20, (1 << 32) - 1))
            connection.send(
                http2.frame(HEADERS, END_HEADERS, stream, http2.call_headers(path)) + http2.body(
                    stream, http2.grpc(rng.randbytes(500), announced), end=rng.random() < 0.3
                )
            )
        list(connection.frames(0.3))

    def unread(self, rng: random.Random, connection: http2.Connection) -> None:
        """Requests with long answers that are never read."""
        connection.begin((http2.INITIAL_WINDOW, rng.choice((0, 0x7FFFFFFF))))
        for stream in range(1, 2 * rng.choice((5, 40)), 2):
            call = f"/panther.v1.NodeApi/{rng.choice(('Runbook', 'Components', 'Status'))}"
            connection.send(http2.call(stream, *rng.choice(((call, b""), (TAIL, message(f1="alerts")), (BACKUP, b"")))))
        list(connection.frames(0.0))

"""Attacks on the admin socket. A caller with access to the socket has all rights, so no attack names resources of the neighbour."""

import random

import http2
from http2 import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM
from nodes import Node
from protobuf import NUMBERS, message, mutated, random_message
from texts import as_json, text, value

OPERATIONS = {
    "node": (
        *(
            "status", "components", "describe", "runbook", "alarms", "queues", "queue", "peek", "purge", "delete", "requeue", "tables", "table_get",
            "table_scan"
        ),
        *("quarantine", "quarantine_show", "quarantine_replay", "ledger", "trace", "storage", "object_get", "snapshot"),
        *("cluster", "cluster_drain", "cluster_remove", "cluster_lead"),
    ),
    "panther-alerts-api": ("listAlerts", "getAlert", "updateAlertStatus", "deliverAlert"),
    "panther-outputs-api": ("addOutput", "updateOutput", "getOutput", "getOutputs", "deleteOutput", "sendTestAlert"),
    "panther-source-api": (
        *("putIntegration", "updateIntegrationSettings", "listIntegrations", "getIntegration", "deleteIntegration", "rotateToken"),
        *("listLogTypes", "putSchema", "listSchemas", "notify"),
    ),
    "panther-analysis-api": (
        *("getUploadPlan", "bulkUpload", "listVersions", "getVersion", "getDifference", "listDetections", "getDetection", "setDetectionState"),
        *("profileDetections", "getRule", "getPolicy"),
    ),
    "panther-log-processor": ("x",),
    "none": ("x",),
}
# Keys of the arguments of these operations.
KEYS = (
    *(
        "queue", "limit", "after", "before", "cursor", "table", "key", "hash", "range", "index", "message", "messageId", "id", "source", "hours",
        "name", "component"
    ),
    *(
        "alertId", "alertIds", "status", "outputId", "outputIds", "displayName", "outputType", "outputConfig", "integrationId", "integrationLabel",
        "integrationType"
    ),
    *(
        "logTypes", "path", "prefix", "object", "schema", "spec", "version", "from", "to", "versionId", "detectionId", "ruleId", "enabled", "state",
        "text", "pageSize"
    ),
    *(
        "exclusiveStartKey", "severity", "createdAtAfter", "eventIdFrom", "eventsPageSize", "dryRun", "force", "filters", "days", "dataType",
        "userId", "options", "node"
    ),
)
METHODS = ("Transact", "Receive", "Extend", "GiveBack", "Get", "Query", "Peek", "Counts", "Purge", "Requeue", "Converse")
# Queues that hold no data of the neighbour.
QUEUES = ("panther-layer-manager-queue-dlq", "panther-resources-queue", "no-queue", "", "\0")
TABLES = ("panther-outputs", "panther-alarms", "panther-objects", "panther-log-alert-info", "panther-analysis", "none", "")
INVOKE, TAIL, BACKUP = "/panther.v1.Api/Invoke", "/panther.v1.Api/Tail", "/panther.v1.Api/Backup"


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
        self.converse(connection, [(INVOKE, self.operation(rng)) for _ in range(rng.randint(1, 12))])

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

    def operation(self, rng: random.Random) -> bytes:
        component = rng.choice(list(OPERATIONS))
        operation = rng.choice(OPERATIONS[component])
        keys = {rng.choice(KEYS): self.input(rng) for _ in range(rng.randrange(7))}
        if operation in ("purge", "delete", "peek", "queue"):
            keys |= {"queue": rng.choice(QUEUES), "name": rng.choice(QUEUES)}
        if operation in ("purge", "delete", "requeue"):
            keys |= {"from": rng.choice(QUEUES), "to": rng.choice(QUEUES)}
        if operation.startswith("cluster"):
            keys["node"] = rng.choice((0, 99, -1, "1", 2**64, None))
        whole = message(f1=component, f2=operation, f3=as_json(rng, keys if rng.random() < 0.9 else value(rng)).encode(errors="replace"))
        more = b""
        if rng.random() < 0.3:
            more = message(f4=rng.randbytes(rng.choice((0, 100, 100_000))))
        if rng.random() < 0.2:
            more += message(f5=text(rng).encode(errors="replace"), f6=rng.choice(NUMBERS))
        return whole + more if rng.random() < 0.9 else mutated(rng, whole)

    @staticmethod
    def input(rng: random.Random) -> object:
        # The node id of the first node and the names of the neighbour are not among the random values.
        drawn = value(rng, 2)
        return 99 if drawn in (1, True) else drawn

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
            "Peek": message(f1=queue, f2=rng.choice(NUMBERS), f3=rng.choice(NUMBERS)),
            "Counts": message(f1=queue),
            "Purge": message(f1=queue),
            "Requeue": message(f1=queue, f2=rng.choice(QUEUES), f3=text(rng).encode(errors="replace"), f4=rng.choice(NUMBERS)),
            "Converse": message(f1=rng.choice(NUMBERS), **{f"f{rng.randint(2, 7)}": random_message(rng)}),
        }[method]
        # A mutated message may name another queue, and a receive or a purge of the neighbour's queue would remove its lines.
        return whole if kind == 1 or method in ("Receive", "Purge", "Requeue") else mutated(rng, whole)

    def lengths(self, rng: random.Random, connection: http2.Connection) -> None:
        connection.begin()
        for stream in range(1, 2 * rng.choice((5, 100, 400)), 2):
            path = rng.choice((INVOKE, TAIL, BACKUP, "/panther.v1.Doors/Converse", "/x"))
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
            call = message(f1="node", f2=rng.choice(("runbook", "components", "status")), f3="{}")
            connection.send(http2.call(stream, *rng.choice(((INVOKE, call), (TAIL, message(f1="alerts")), (BACKUP, b"")))))
        list(connection.frames(0.0))

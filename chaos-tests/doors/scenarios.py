"""Scenarios that have a bound of their own: what callers without a right may cost, and how long honest posts may take meanwhile."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import http2
from cluster_port import ClusterPort
from http2 import END_HEADERS, GOAWAY, HEADERS
from nodes import Cluster, Node

SILENT, ANNOUNCED, ANNOUNCED_BYTES = 1_000, 1_000, 16 << 20
# How much memory a node may gain by it, and how long an honest post may take.
GROWTH_MB, P99_SECONDS = 50.0, 1.0
# How long the callers stay once all are there.
STAY_SECONDS = 12.0


@dataclass(frozen=True)
class Scenario:
    """One of them. A member is admitted, so what it may hold is its budget and not the bound of others."""

    name: str
    run: Callable[[Cluster, ClusterPort, float], str]
    node: str
    growth: float | None = GROWTH_MB


def silent(port: Callable[[Node], int], stay: float, node: Node, start: Callable[[socket.socket], None] = lambda _: None) -> str:
    """Connections that say nothing, or begin and go no further."""
    held, refused = [], 0
    try:
        end = time.monotonic() + stay + 20
        for _ in range(SILENT):
            try:
                one = http2.over_tcp(port(node), timeout=2.0)
                start(one)
                held.append(one)
            except OSError:
                refused += 1
            if time.monotonic() > end:
                break
        time.sleep(stay)
        return f"{len(held)} connections, {refused} refused"
    finally:
        for one in held:
            one.close()


def announced(standing: str) -> Callable[[Cluster, ClusterPort, float], str]:
    def run(cluster: Cluster, port: ClusterPort, stay: float) -> str:
        """One connection with calls that each announce a large message and bring a part of it."""
        calls = 0
        try:
            with http2.over_tls(cluster.first.cluster_port, port.callers[standing], timeout=5.0) as connection:
                connection.begin()
                end = time.monotonic() + stay
                for number in range(ANNOUNCED):
                    path = "/panther.v1.Joining/Join" if standing == "stranger" else "/panther.v1.Peers/Append"
                    connection.send(http2.frame(HEADERS, END_HEADERS, 2 * number + 1, http2.call_headers(path)))
                    connection.send(http2.body(2 * number + 1, http2.grpc(b"x" * 1_000, ANNOUNCED_BYTES), end=False))
                    calls += 1
                ended = sum(came.kind == GOAWAY for came in connection.frames(max(0.1, end - time.monotonic())))
                return f"{calls} calls{', told to go' if ended else ''}"
        except OSError as error:
            return f"{calls} calls, then {type(error).__name__}"

    return run


def tls_hello(one: socket.socket) -> None:
    """The first bytes of a handshake."""
    one.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")


def half_request(one: socket.socket) -> None:
    one.sendall(b"POST /ingest/none HTTP/1.1\r\nHost: x\r\nX-Slow: ")


SCENARIOS = (
    Scenario("1,000 silent connections: ingest", lambda cluster, _, stay: silent(lambda node: node.ingest_port, stay, cluster.first), "first"),
    Scenario("1,000 half requests: ingest", lambda cluster, _, stay: silent(lambda node: node.ingest_port, stay, cluster.first, half_request), "first"),
    Scenario("1,000 silent connections: cluster port", lambda cluster, _, stay: silent(lambda node: node.cluster_port, stay, cluster.first), "first"),
    Scenario("1,000 half handshakes: cluster port", lambda cluster, _, stay: silent(lambda node: node.cluster_port, stay, cluster.first, tls_hello), "first"),
    Scenario("1,000 announced messages: no certificate", announced("stranger"), "first"),
    Scenario("1,000 announced messages: removed node", announced("removed"), "first"),
    Scenario("1,000 announced messages: other authority", announced("foreign"), "first"),
    Scenario("1,000 announced messages: member", announced("member"), "first", growth=None),
)

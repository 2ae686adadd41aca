"""Scenarios with limits of their own: the cost of unauthorized callers, and the latency of honest posts in that time."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import http2
from cluster_port import ClusterPort
from http2 import END_HEADERS, GOAWAY, HEADERS
from nodes import Cluster, Node

SILENT, ANNOUNCED, ANNOUNCED_BYTES = 1_000, 1_000, 16 << 20
# Maximum growth of a node's memory in MB, and maximum latency of an honest post in seconds.
GROWTH_MB, P99_SECONDS = 50.0, 1.0
# Number of connections that each send as much as they can, and size of a request's headers in bytes.
LONG, LONG_BYTES = 400, 400_000


@dataclass(frozen=True)
class Scenario:
    """One scenario. A member is admitted, so its limit is its budget and not the limit of unauthorized callers."""

    name: str
    run: Callable[[Cluster, ClusterPort, float], str]
    growth: float | None = GROWTH_MB


def silent(port: Callable[[Node], int], stay: float, node: Node, start: Callable[[socket.socket], None] = lambda _: None) -> str:
    """Connections that send nothing, or an incomplete request."""
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
    """Calls that each announce a large message, send a part of it, and never end; all on one connection, as long as the node keeps it
    open."""

    def run(cluster: Cluster, port: ClusterPort, stay: float) -> str:
        path = "/panther.v1.Joining/Join" if standing == "stranger" else "/panther.v1.Peers/Append"
        calls, connections, end = 0, 0, time.monotonic() + stay + 20
        while calls < ANNOUNCED and time.monotonic() < end:
            connections += 1
            try:
                with http2.over_tls(cluster.first.cluster_port, port.callers[standing], timeout=5.0) as connection:
                    connection.begin()
                    for stream in range(1, 2 * (ANNOUNCED - calls), 2):
                        connection.send(http2.frame(HEADERS, END_HEADERS, stream, http2.call_headers(path)))
                        connection.send(http2.body(stream, http2.grpc(b"x" * 1_000, ANNOUNCED_BYTES), end=False))
                        calls += 1
                        if any(came.kind == GOAWAY for came in connection.frames(0.002)):
                            break
                    else:
                        list(connection.frames(stay))
            except OSError:
                time.sleep(0.01)  # the node has closed it, or does not believe this certificate
        return f"{calls} calls on {connections} connections"

    return run


def long_headers(cluster: Cluster, _: ClusterPort, stay: float) -> str:
    """Callers of ingest without a token whose first request has endless headers."""
    held, taken = [], 0
    try:
        for _ in range(LONG):
            try:
                one = http2.over_tcp(cluster.first.ingest_port)
                held.append(one)
                one.settimeout(0.2)
                half_request(one)
                for _ in range(LONG_BYTES // 10_000):
                    one.sendall(b"x" * 10_000)
                    taken += 10_000
            except OSError:
                pass  # the node reads no more of it
        time.sleep(stay)
        return f"{len(held)} connections, {taken / 1e6:.0f} MB sent"
    finally:
        for one in held:
            one.close()


def full_windows(cluster: Cluster, port: ClusterPort, stay: float) -> str:
    """Connections of a removed node that fill their flow control windows and read no answer."""
    held, sent, filler = [], 0, http2.body(1, b"x" * (1 << 20), end=False)
    end = time.monotonic() + stay + 20
    try:
        for _ in range(LONG):
            if time.monotonic() > end:
                break
            try:
                connection = http2.over_tls(cluster.first.cluster_port, port.callers["removed"], timeout=0.5)
                held.append(connection)
                connection.begin()
                connection.send(http2.frame(HEADERS, END_HEADERS, 1, http2.call_headers("/panther.v1.Peers/Append")))
                for _ in range(4):
                    connection.send(filler)
                    sent += 1
            except OSError:
                continue
        time.sleep(stay)
        return f"{len(held)} connections, {sent} MiB sent"
    finally:
        for connection in held:
            connection.close()


def tls_hello(one: socket.socket) -> None:
    """The first bytes of a TLS handshake."""
    one.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")


def half_request(one: socket.socket) -> None:
    one.sendall(b"POST /ingest/none HTTP/1.1\r\nHost: x\r\nX-Slow: ")


SCENARIOS = (
    Scenario("1,000 silent connections: ingest", lambda cluster, _, stay: silent(lambda node: node.ingest_port, stay, cluster.first)),
    Scenario("1,000 half requests: ingest", lambda cluster, _, stay: silent(lambda node: node.ingest_port, stay, cluster.first, half_request)),
    Scenario("400 requests with 400 kB of headers: ingest", long_headers),
    Scenario("1,000 silent connections: cluster port", lambda cluster, _, stay: silent(lambda node: node.cluster_port, stay, cluster.first)),
    Scenario("1,000 half handshakes: cluster port", lambda cluster, _, stay: silent(lambda node: node.cluster_port, stay, cluster.first, tls_hello)),
    Scenario("1,000 announced messages: no certificate", announced("stranger")),
    Scenario("1,000 announced messages: removed node", announced("removed")),
    Scenario("1,000 announced messages: other authority", announced("foreign")),
    Scenario("400 connections of full windows: removed node", full_windows),
    Scenario("1,000 announced messages: member", announced("member"), growth=None),
)
# The scenarios of a short run.
SHORT_SCENARIOS = tuple(one for one in SCENARIOS if one.name.endswith(("half handshakes: cluster port", "messages: removed node")))

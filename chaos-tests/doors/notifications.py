"""Notifications of objects as AWS sends them, malformed in every way, and the objects that they name."""

import gzip
import json
import random
import urllib.parse
from typing import Any

import http2
from admin_socket import SEND, AdminSocket
from harness.node import INPUT_QUEUE
from nodes import Cluster
from protobuf import message
from texts import as_json, text, value

SOURCE, PREFIX = "told", "told/"
BUCKETS = ("panther-objects", "some-bucket", "", "../x")
# Keys that an object store would reject by itself, and that a store in a folder must reject too.
ESCAPES = (
    "../data/sealing.key", "told/../../first/data/keys/node.key", "told/%2e%2e/x", "/etc/passwd", "told//x", "told/\0", "told/" + "d/" * 300,
    "told/" + "n" * 400, "told"
)
# Maximum number of waiting messages of the attacker: honest lines use the same queue, so only a few may be in front of them.
AT_ONCE = 6


class Notifications:
    """Generates messages."""

    name = "notifications"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.sent = 0

    def prepare(self) -> None:
        self.cluster.first.pantherctl.call("sources", "add", "objects", SOURCE, "--prefix", PREFIX, "--log-types", "Custom.Honest")
        (self.cluster.objects / PREFIX).mkdir(parents=True, exist_ok=True)

    def once(self, rng: random.Random) -> str:
        calls = []
        for _ in range(rng.randint(1, AT_ONCE)):
            calls.append((SEND, message(f1=INPUT_QUEUE, f2=self.body(rng))))
        with http2.over_unix(str(rng.choice(self.cluster.nodes).socket)) as connection:
            AdminSocket.converse(connection, calls)
        return "notifications"

    def body(self, rng: random.Random) -> str:
        kind = rng.randrange(9)
        if kind == 0:
            return as_json(rng, value(rng)).encode(errors="replace").decode()
        events = [self.s3(rng) for _ in range(rng.choice((0, 1, 1, 2, 30)))]
        of: Any = {"Records": events}
        if kind == 1:
            of = {
                "detail-type": rng.choice(("Object Created", text(rng), 1)), "source": rng.choice(("aws.s3", text(rng))),
                "detail": rng.choice((self.s3(rng)["s3"], value(rng)))
            }
        elif kind == 2:
            of = {"s3Bucket": rng.choice((*BUCKETS, 1)), "s3ObjectKey": [self.key(rng), value(rng, 1)]}
        elif kind == 3:
            of = {"Event": "s3:TestEvent", **of}
        if rng.random() < 0.3:
            of = {
                "Type": rng.choice(("Notification", "SubscriptionConfirmation", "", 1)),
                "Message": rng.choice((json.dumps(of), "CloudTrail validation message.", value(rng)))
            }
        if rng.random() < 0.2:
            of = self.spoiled(rng, of)
        return as_json(rng, of).encode(errors="replace").decode()

    def s3(self, rng: random.Random) -> dict[str, Any]:
        of = {"key": self.key(rng), "size": rng.choice((0, 1, -1, 2**63, "5", None, 10**12)), "eTag": text(rng), "sequencer": text(rng)}
        bucket = {"name": rng.choice(BUCKETS), "arn": text(rng)}
        return {
            "eventName": rng.choice(("ObjectCreated:Put", "s3:ObjectCreated:Put", "ObjectRemoved:Delete", text(rng))),
            "s3": {"bucket": bucket, "object": of}
        }

    def key(self, rng: random.Random) -> str:
        kind = rng.randrange(4)
        if kind == 0:
            return rng.choice(ESCAPES)
        if kind == 1:
            return urllib.parse.quote(text(rng).encode(errors="replace")) + rng.choice(("", "%", "%f", "+"))
        self.sent += 1
        name = f"{PREFIX}{self.sent % 200}{rng.choice(('', '.gz', '.json', '.zst', ' space'))}"
        place = self.cluster.objects / name
        if not place.exists():
            content = as_json(rng, value(rng)).encode(errors="replace")
            place.write_bytes(rng.choice((content, gzip.compress(content, mtime=0)[: rng.randrange(40)], rng.randbytes(500), b"")))
        return name

    @staticmethod
    def spoiled(rng: random.Random, of: Any) -> Any:
        """Replaces one part of a message by something else."""
        if isinstance(of, dict) and of and rng.random() < 0.8:
            key = rng.choice(list(of))
            return {**of, key: Notifications.spoiled(rng, of[key])}
        if isinstance(of, list) and of and rng.random() < 0.8:
            return [*of[:-1], Notifications.spoiled(rng, of[-1])]
        return value(rng)

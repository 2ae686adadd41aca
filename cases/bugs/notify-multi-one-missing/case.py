"""A notification of three objects, one of which is missing: the other two are read, and the missing one is reported."""

from harness.case import Case
from harness.records import cloudtrail_file, s3_notification, s3_record

SECONDS = 40
MISSING = "AWSLogs/missing.json"


def check(case: Case) -> None:
    node = case.node()
    node.add_objects("trail", "AWSLogs/", "AWS.CloudTrail")
    for name in ("first", "third"):
        node.put_object(f"AWSLogs/{name}.json", cloudtrail_file(name))
    keys = ("AWSLogs/first.json", MISSING, "AWSLogs/third.json")
    node.notify(s3_notification(*(s3_record(key, size=400) for key in keys)))
    ledger = node.ledger("trail")
    stored = sorted(event["eventID"] for event in node.events("AWS.CloudTrail"))
    case.same("stored events", ["first", "third"], stored)
    case.same("stored, quarantined", (2, 0), (ledger.stored, ledger.quarantined))
    dead = node.dead_letters()
    case.holds("dead letters", len(dead) <= 1, "one at most, of the missing object", [one.reason for one in dead])
    for one in dead:
        named = [key for key in keys if key in one.body]
        case.same("objects that the dead letter names", [MISSING], named)
    said = any(MISSING in text for text in [*node.warnings(), *(one.body + one.reason for one in dead)])
    case.holds("the missing object", said, "named by a dead letter or a warning", "no word of it")

"""A body with an unreadable compression affects no other body."""

from harness.case import Case
from harness.records import cloudtrail


def check(case: Case) -> None:
    node = case.node()
    source = node.add_http("trail", "AWS.CloudTrail")
    answers = node.post_together(source, [case.input("body.json.zst"), cloudtrail("good-1"), cloudtrail("good-2")])
    statuses = [answer.status for answer in answers]
    case.same("answers to the senders of good bodies", [200, 200], statuses[1:])
    ledger = node.settle("trail", 3 if statuses[0] == 200 else 2)
    stored = sorted(event["eventID"] for event in node.events("AWS.CloudTrail"))
    case.same("stored events of the good bodies", ["good-1", "good-2"], [one for one in stored if one != "zstd"])
    dealt_with = statuses[0] in (400, 415) or ledger.quarantined > 0 or bool(node.dead_letters()) or "zstd" in stored
    case.holds("the zstd body", dealt_with, "refused with 400 or 415, put aside, or read", statuses[0])

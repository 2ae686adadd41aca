"""A body that breaks off within a JSON array is set aside alone; the bodies of other senders are read."""

from harness.case import Case
from harness.records import cloudtrail


def check(case: Case) -> None:
    node = case.node()
    source = node.add_http("trail", "AWS.CloudTrail")
    whole = ["good-1", "good-2", "good-3"]
    first, second, third = (cloudtrail(event_id) for event_id in whole)
    answers = node.post_together(source, [first, case.input("bad-array.json"), second, third])
    statuses = [answer.status for answer in answers]
    case.same("answers to the senders of whole bodies", [200] * 3, [statuses[0], *statuses[2:]])
    ledger = node.settle("trail", 4)
    stored = sorted(event["eventID"] for event in node.events("AWS.CloudTrail"))
    # The record before the break is complete: reading it is optional.
    case.same("stored events of the whole bodies", whole, [event_id for event_id in stored if event_id != "x1"])
    case.holds("stored events of the broken body", stored.count("x1") <= 1, "one at most", stored)
    put_aside = statuses[1] in range(400, 500) or ledger.quarantined > 0 or bool(node.dead_letters())
    case.holds("the broken body", put_aside, "refused at the door, quarantined or a dead letter", statuses[1])

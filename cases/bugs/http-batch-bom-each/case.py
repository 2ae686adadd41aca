"""A byte order mark at the start of a body is not part of its text, at any position of the body in a batch."""

from harness.case import Case
from harness.records import cloudtrail

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def check(case: Case) -> None:
    node = case.node()
    source = node.add_http("trail", "AWS.CloudTrail")
    ids = ["bom-1", "bom-2", "bom-3"]
    answers = node.post_together(source, [BYTE_ORDER_MARK + cloudtrail(event_id) for event_id in ids])
    case.same("answers to the senders", [200] * 3, [answer.status for answer in answers])
    ledger = node.settle("trail", 3)
    case.same("quarantined records", 0, ledger.quarantined)
    case.same("stored events", ids, sorted(event["eventID"] for event in node.events("AWS.CloudTrail")))

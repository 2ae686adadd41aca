"""An object that is named by several notifications with the same ETag and sequencer is read once."""

from harness.case import Case
from harness.records import cloudtrail_file, s3_notification, s3_record


def check(case: Case) -> None:
    node = case.node()
    node.add_objects("trail", "AWSLogs/", "AWS.CloudTrail")
    node.put_object("AWSLogs/once.json", cloudtrail_file("once"))
    record = s3_record("AWSLogs/once.json", size=400, eTag="0a1b", sequencer="0065E7")
    # The same notification twice, and one notification that names the object twice.
    for records in ([record], [record], [record, record]):
        node.notify(s3_notification(*records))
    ledger = node.ledger("trail")
    case.same("stored events", ["once"], [event["eventID"] for event in node.events("AWS.CloudTrail")])
    case.same("received, stored", (1, 1), (ledger.received, ledger.stored))
    case.same("dead letters", [], [letter.reason for letter in node.dead_letters()])

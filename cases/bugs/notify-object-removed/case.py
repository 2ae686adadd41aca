"""Notifications of deletes create no events: they are logged and completed, without a dead letter and without an alarm.
"""

import json

from harness.case import Case
from harness.records import cloudtrail_file, s3_notification, s3_record

SECONDS = 40
OLD = "AWSLogs/old.json"
DELETES = ("ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated", "LifecycleExpiration:Delete")


def check(case: Case) -> None:
    node = case.node()
    node.add_objects("trail", "AWSLogs/", "AWS.CloudTrail")
    node.put_object("AWSLogs/new.json", cloudtrail_file("new"))
    for event_name in DELETES:
        node.notify(s3_notification(s3_record(OLD, event_name)))
    both = (s3_record("AWSLogs/new.json", size=400), s3_record(OLD, "ObjectRemoved:Delete"))
    node.notify(s3_notification(*both))
    case.same("stored events", ["new"], [event["eventID"] for event in node.events("AWS.CloudTrail")])
    ledger = node.ledger("trail")
    case.same("received, stored", (1, 1), (ledger.received, ledger.stored))
    case.same("dead letters", [], [letter.reason for letter in node.dead_letters()])
    case.same("alarms", [], node.alarms())
    log = [json.dumps(entry) for entry in node.log_entries(("INFO", "WARN", "ERROR"))]
    said = "\n".join([*log, node.state_of("trail")])
    for event_name in DELETES:
        wanted = f"names {OLD} or {event_name}"
        case.holds("log or state of the source", OLD in said or event_name in said, wanted, log[-3:])

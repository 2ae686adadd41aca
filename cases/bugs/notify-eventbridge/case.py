"""An object in an EventBridge notification is read; its key is not URL-encoded there."""

from harness.case import Case
from harness.records import cloudtrail_file

SECONDS = 40


def check(case: Case) -> None:
    node = case.node()
    node.add_objects("trail", "AWSLogs/", "AWS.CloudTrail")
    node.put_object("AWSLogs/a b+c.json", cloudtrail_file("bridged"))
    node.notify(case.input("event.json").decode())
    case.same("stored events", ["bridged"], [event["eventID"] for event in node.events("AWS.CloudTrail")])
    case.same("dead letters", [], [letter.reason for letter in node.dead_letters()])

"""Keys of S3 notifications are URL-encoded: + is a space, %2B a plus, %2F a slash."""

from harness.case import Case
from harness.records import cloudtrail_file, s3_notification, s3_record

# The key in the notification, and the name of the object.
KEYS = {
    "AWSLogs/a+b/c%3Dd%2Be.json": "AWSLogs/a b/c=d+e.json",
    "AWSLogs/%C3%BC/%E6%97%A5.json": "AWSLogs/\u00fc/\u65e5.json",
    "AWSLogs%2Fminio.json": "AWSLogs/minio.json",
}


def check(case: Case) -> None:
    node = case.node()
    node.add_objects("trail", "AWSLogs/", "AWS.CloudTrail")
    for encoded, name in KEYS.items():
        node.put_object(name, cloudtrail_file(encoded))
        node.notify(s3_notification(s3_record(encoded, size=400)))
    stored = sorted(event["eventID"] for event in node.events("AWS.CloudTrail"))
    case.same("objects that were read", sorted(KEYS), stored)
    case.same("dead letters", [], [letter.reason for letter in node.dead_letters()])

"""Log records and notifications of our own making, in the vendors' formats; names, addresses and ids are examples."""

import json
from typing import Any

CLOUDTRAIL: dict[str, Any] = {
    "eventVersion": "1.08",
    "userIdentity": {
        "type": "IAMUser",
        "principalId": "AIDAEXAMPLE",
        "arn": "arn:aws:iam::111122223333:user/ana",
        "accountId": "111122223333",
        "userName": "ana",
    },
    "eventTime": "2024-03-05T10:11:12Z",
    "eventSource": "iam.amazonaws.com",
    "eventName": "CreateUser",
    "awsRegion": "us-east-1",
    "sourceIPAddress": "198.51.100.7",
    "userAgent": "aws-cli/2",
    "requestParameters": {"userName": "bob"},
    "responseElements": None,
    "requestID": "r-1",
    "eventID": "e-1",
    "eventType": "AwsApiCall",
    "recipientAccountId": "111122223333",
}


def compact(value: Any) -> bytes:
    """JSON without spaces, as most senders write it."""
    return json.dumps(value, separators=(",", ":")).encode()


def cloudtrail(event_id: str, **fields: Any) -> bytes:
    """One CloudTrail record on one line, with its line end."""
    return compact({**CLOUDTRAIL, "eventID": event_id, **fields}) + b"\n"


def cloudtrail_file(*event_ids: str) -> bytes:
    """A file as CloudTrail writes it to a bucket."""
    return compact({"Records": [{**CLOUDTRAIL, "eventID": event_id} for event_id in event_ids]})


def nginx(path: str, status: int = 404) -> str:
    """One line of an nginx access log in the combined format; the path identifies the line."""
    return f'198.51.100.7 - - [03/Oct/2024:21:59:00 +0000] "GET {path} HTTP/1.1" {status} 150 "-" "curl/8"\n'


def s3_record(key: str, event_name: str = "ObjectCreated:Put", **of_object: Any) -> dict[str, Any]:
    """One record of an S3 notification; `key` is URL-encoded, as S3 writes it. `of_object` adds fields such as the
    ETag."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2024-03-05T10:11:12.000Z",
        "eventName": event_name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": "my-logs", "arn": "arn:aws:s3:::my-logs"},
            "object": {"key": key, **of_object},
        },
    }


def s3_notification(*records: dict[str, Any]) -> str:
    """An S3 notification as it arrives in a queue."""
    return json.dumps({"Records": list(records)})

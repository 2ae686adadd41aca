"""Slack's three control characters arrive escaped in every text that contains data of an event."""

from collections.abc import Iterator
from typing import Any

from harness.case import Case
from harness.polling import until

ESCAPED = "&lt;!channel&gt; &lt;https://evil.example|Reset your password&gt; &amp; co"


def texts(value: Any) -> Iterator[str]:
    """All texts of a payload."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)


def check(case: Case) -> None:
    node = case.node(pack="pack")
    slack = case.receiver()
    node.add_output("slack", "slack", f"{slack.url}/services/T/B/x", "--severity", "MEDIUM")
    source = node.add_http("trail", "AWS.CloudTrail")
    case.same("answer to the sender", 200, node.post(source, case.input("event.json")).status)
    payload = until("an alert is delivered", slack.requests)[0].json()
    from_event = [text for text in texts(payload) if "Reset your password" in text]
    case.holds("texts with the user agent", len(from_event) >= 2, "title and runbook", from_event)
    for text in from_event:
        case.holds("a text with the user agent", ESCAPED in text, f"holds {ESCAPED}", text)

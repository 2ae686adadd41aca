"""The digits of an integer are kept: in the stored event, in the display of an alert, and in its delivery."""

import json
import re
from typing import Any

from harness.case import Case
from harness.polling import until
from harness.reading import lookup
from harness.records import cloudtrail

# The first fits 64 bits, the second does not.
NUMBERS = (12345678901234567890, 123456789012345678901234567890)


def find(value: Any, name: str) -> list[Any]:
    """All values of a key at any depth; JSON in strings is searched too."""
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    if isinstance(value, dict):
        here = [value[name]] if name in value else []
        return here + [found for inner in value.values() for found in find(inner, name)]
    return [found for inner in value for found in find(inner, name)] if isinstance(value, list) else []


def check(case: Case) -> None:
    node = case.node(pack="pack")
    delivered = case.temporary / "alerts.ndjson"
    node.add_output("file", "file", delivered, "--severity", "MEDIUM")
    source = node.add_http("trail", "AWS.CloudTrail")
    body = b"".join(cloudtrail(str(number), requestParameters={"n": number}) for number in NUMBERS)
    case.same("answer to the sender", 200, node.post(source, body).status)
    case.same("stored records", 2, node.settle("trail", 2).stored)
    stored = {event["eventID"]: lookup(event, "requestParameters.n") for event in node.events("AWS.CloudTrail")}
    alerts = {alert["title"]: alert["alertId"] for alert in node.alerts()}
    until("both alerts are delivered", lambda: delivered.exists() and len(delivered.read_text().splitlines()) == 2)
    contexts = {one["title"]: one["alertContext"] for one in map(json.loads, delivered.read_text().splitlines())}

    for number in NUMBERS:
        case.same(f"stored event of {number}", number, stored.get(str(number)))
        title = next((title for title in alerts if title.endswith(f"n={number}")), None)
        if not case.holds(f"alert of {number}", title is not None, "its title has all digits", list(alerts)):
            continue
        shown = find(node.pantherctl.call("alerts", "show", alerts[title]), "n")
        case.holds(f"`alerts show` of {number}", set(shown) == {number} and type(shown[0]) is int, str(number), shown)
        as_text = node.pantherctl.run("alerts", "show", alerts[title], as_json=False).out
        rounded = re.findall(r"\d[.\d]*e\+\d+", as_text)
        case.same(f"rounded numbers in `alerts show` of {number} as text", [], rounded)
        context = next((context for name, context in contexts.items() if name.endswith(f"n={number}")), None)
        case.same(f"delivered context of {number}", [number], find(context, "n"))

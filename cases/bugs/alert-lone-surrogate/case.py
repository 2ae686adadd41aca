"""An event with a lone surrogate damages neither its alert nor the processing of it."""

from harness.case import Case
from harness.polling import until

EVENTS = 21
# In its original form, or with the replacement character U+FFFD.
USER_AGENTS = ("x \ud83d y", "x \ufffd y")


def check(case: Case) -> None:
    node = case.node(pack="pack")
    source = node.add_http("trail", "AWS.CloudTrail")
    case.same("answer to the sender", 200, node.post(source, case.input("events.ndjson")).status)
    case.same("stored records", EVENTS, node.settle("trail", EVENTS).stored)
    alert = until("an alert", node.alerts)[0]
    case.same("matches of the alert", EVENTS, alert["eventsMatched"])

    words = ("alerts", "show", alert["alertId"], "--events", EVENTS)
    shown = node.pantherctl.run(*words)
    if case.succeeds("`alerts show --json`", shown):
        case.holds("events of `alerts show --json`", "bad" in shown.out, "the odd one among them", shown.out[-300:])
    as_text = node.pantherctl.run(*words, as_json=False)
    case.succeeds("`alerts show`", as_text)

    odd = [event for event in node.events("AWS.CloudTrail") if event["eventID"] == "bad"]
    if case.same("stored events with the odd user agent", 1, len(odd)):
        case.holds("its user agent", odd[0]["userAgent"] in USER_AGENTS, " or ".join(map(ascii, USER_AGENTS)), odd[0])
        for as_json in (True, False):
            traced = node.pantherctl.run("trace", odd[0]["p_row_id"], as_json=as_json)
            case.succeeds("`trace`", traced)

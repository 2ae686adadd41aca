"""The first error of a rule raises its alert; the threshold of the rule counts matches only."""

from harness.case import Case
from harness.records import cloudtrail


def check(case: Case) -> None:
    node = case.node(pack="pack")
    source = node.add_http("trail", "AWS.CloudTrail")
    case.same("answer to the sender", 200, node.post(source, cloudtrail("one")).status)
    case.same("stored records", 1, node.settle("trail", 1).stored)
    alerts = [(alert["type"], alert["ruleId"]) for alert in node.alerts()]
    case.same("alerts", [("RULE_ERROR", "CloudTrail.UserCreated")], alerts)

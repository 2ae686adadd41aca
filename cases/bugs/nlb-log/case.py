"""A line of a network load balancer matches a log type, or the reason says that it is not a line of an application load
balancer."""

from harness.case import Case


def check(case: Case) -> None:
    as_nlb = case.read_logs("AWS.NLB", "tls.log")
    as_alb = case.read_logs("AWS.ALB", "tls.log")
    case.same("events of AWS.ALB", 0, as_alb.event_count)
    said = any("network load balancer" in reason.lower() for reason in as_alb.reasons)
    case.holds(
        "a line of a network load balancer",
        as_nlb.event_count == 1 or said,
        "one event of AWS.NLB, or a reason of AWS.ALB that says `network load balancer`",
        f"AWS.NLB: {as_nlb.summary()}; AWS.ALB: {as_alb.summary()}",
    )

"""The header of one sender's body does not name the columns of another sender's body."""

from harness.case import Case

FIELDS = ("srcAddr", "srcPort", "dstAddr", "dstPort")
WITHOUT_HEADER = ("eni-0b2", "eni-0b3", "eni-0b4")


def check(case: Case) -> None:
    node = case.node()
    source = node.add_http("vpc", "AWS.VPCFlow")
    default = case.input("default-order.log")
    bodies = [case.input("custom-order.log"), *(default.replace(b"eni-0b2", eni.encode()) for eni in WITHOUT_HEADER)]
    answers = node.post_together(source, bodies)
    case.same("answers to the senders", [200] * 4, [answer.status for answer in answers])
    ledger = node.settle("vpc", 4)
    case.same("stored records", 4, ledger.stored)
    case.same("quarantined records", 0, ledger.quarantined)
    got = {event["interfaceId"]: [event.get(name) for name in FIELDS] for event in node.events("AWS.VPCFlow")}
    case.same("the sender with a header", ["198.51.100.7", 40000, "10.0.0.5", 22], got.get("eni-0c3"))
    for eni in WITHOUT_HEADER:
        case.same(f"the sender without a header, {eni}", ["198.51.100.8", 40001, "10.0.0.9", 22], got.get(eni))

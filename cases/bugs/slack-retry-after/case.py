"""After 429 the next attempt follows at the time of `Retry-After`: not earlier, and not minutes later."""

import email.utils
import time
from dataclasses import dataclass
from functools import partial

from harness.case import Case
from harness.polling import until
from harness.receiver import Receiver, Request, Response
from harness.records import cloudtrail

# This case measures time: it takes as long as the longest wait.
SECONDS = 60
# Maximum delay of an attempt after the requested time; the node's own back-off would be 30 s and more.
LATER_SECONDS = 20.0
# A date in `Retry-After` has whole seconds.
DATE_ROUNDING_SECONDS = 1.0


@dataclass(frozen=True)
class Wait:
    """The wait that a destination requests, and the form of the header in which it does so."""

    seconds: int
    as_date: bool = False

    def header(self) -> str:
        return email.utils.formatdate(time.time() + self.seconds, usegmt=True) if self.as_date else str(self.seconds)

    def at_least(self) -> float:
        return self.seconds - (DATE_ROUNDING_SECONDS if self.as_date else 0.0)


WAITS = {"/short": Wait(2), "/date": Wait(6, as_date=True), "/long": Wait(35)}


def answer(request: Request, earlier: list[Request]) -> Response:
    if earlier:
        return Response()
    headers = {"Retry-After": WAITS[request.path].header()}
    return Response(429, b'{"ok":false,"error":"rate_limited"}', headers)


def tried_again(slack: Receiver, path: str) -> bool:
    """True if a second request has arrived at this path."""
    return len(slack.requests(path)) > 1


def check(case: Case) -> None:
    node = case.node(pack="pack")
    slack = case.receiver(answer)
    for path in WAITS:
        node.add_output("slack", path[1:], f"{slack.url}{path}", "--severity", "MEDIUM")
    source = node.add_http("trail", "AWS.CloudTrail")
    case.same("answer to the sender", 200, node.post(source, cloudtrail("limited")).status)
    for path in WAITS:
        until(f"the first attempt at {path}", partial(slack.requests, path))
    for path, wait in WAITS.items():
        latest = slack.requests(path)[0].at + wait.seconds + LATER_SECONDS
        until(
            f"the second attempt at {path}, which said {wait.seconds} s",
            partial(tried_again, slack, path),
            seconds=max(0.0, latest - time.monotonic()),
            got=lambda: "1 attempt",
        )
        first, second = slack.requests(path)[:2]
        after = second.at - first.at
        wanted = f"{wait.at_least():.0f} to {wait.seconds + LATER_SECONDS:.0f} s after the first"
        case.holds(f"second attempt at {path}", after >= wait.at_least(), wanted, f"after {after:.1f} s")

"""Each answer of a webhook is reported correctly: 2xx is delivered, all others failed with the text of the answer."""

from harness.case import Case
from harness.polling import until
from harness.receiver import Request, Response
from harness.records import cloudtrail

ELSEWHERE = "/elsewhere"


def check(case: Case) -> None:
    def answer(request: Request, _earlier: list[Request]) -> Response:
        return answers.get(request.path, Response())

    webhook = case.receiver(answer)
    redirect = {"Location": f"{webhook.url}{ELSEWHERE}"}
    answers = {
        "/204": Response(204, b""),
        "/301": Response(301, b"", redirect),
        "/308": Response(308, b"", redirect),
        "/400": Response(400, b"invalid_payload"),
        "/404": Response(404, b"no_team"),
        "/410": Response(410, b"channel_is_archived"),
        "/429": Response(429, b"rate_limited", {"Retry-After": "7"}),
        "/500": Response(500, b"\xff\xfe"),
    }
    node = case.node(pack="pack")

    # An alert with a title of 1000 letters and without a runbook is delivered.
    node.add_output("webhook", "alerts", f"{webhook.url}/200")
    source = node.add_http("trail", "AWS.CloudTrail")
    case.same("answer to the sender", 200, node.post(source, cloudtrail("long")).status)
    delivered = until("the alert is delivered", lambda: webhook.requests("/200"))[0].json()
    case.holds("the title", "a" * 500 in delivered["title"], "at least half of it", delivered["title"])

    case.same("test alert answered 200", True, node.test_output("alerts")["success"])
    for path, response in answers.items():
        node.add_output("webhook", path[1:], webhook.url + path)
        delivery = node.test_output(path[1:])
        got = (delivery["success"], delivery["statusCode"])
        case.same(f"test alert answered {response.status}", (response.status < 300, response.status), got)
        # The path of a redirect's address may be a secret.
        text = webhook.url if "Location" in response.headers else response.body.decode(errors="ignore")
        case.holds(f"message of {response.status}", text in delivery["message"], f"holds {text}", delivery["message"])
    case.same("requests to the place that redirects name", [], webhook.requests(ELSEWHERE))

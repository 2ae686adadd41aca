"""An alert context that contains nested parts of the event, or the whole event, is plain JSON."""

import json
from typing import Any

from harness.case import Case

WHOLE: dict[str, Any] = {"l": [{"a": 1}, {"b": [1, 2]}], "o": {"x": {"y": ["z"]}}}


def check(case: Case) -> None:
    answer = case.test_pack()
    if case.succeeds("`detections test`", answer):
        tested = answer.json()["report"]["detections"][0]["tests"][0]["tested"]
        context = json.loads(tested["functions"]["alert_context"]["output"])
        case.same("alert context", {"whole": WHOLE, "first": WHOLE["l"][0], "obj": WHOLE["o"]}, context)

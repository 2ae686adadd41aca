"""deep_get, get and deep_walk on nulls, lists and missing paths return the same as Panther's event object."""

from harness.case import Case


def check(case: Case) -> None:
    answer = case.test_pack()
    if case.succeeds("`detections test`", answer):
        summary = answer.json()["summary"]
        case.same("tests passed, failed", (1, 0), (summary["tests_passed"], summary["tests_failed"]))

"""YAML files that are not detections, as in a checkout of a pack, are skipped; the rule is tested."""

from harness.case import Case


def check(case: Case) -> None:
    answer = case.test_pack()
    if case.succeeds("`detections test`", answer):
        report = answer.json()
        case.same("tested detections", ["P.R"], [one["id"] for one in report["report"]["detections"]])
        case.same("tests passed", 1, report["summary"]["tests_passed"])

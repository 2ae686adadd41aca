"""A title or dedup function without a return value fails its test, and the report names the function and the value."""

from harness.case import Case

DETECTIONS = {"T.None": "title", "D.None": "dedup"}


def check(case: Case) -> None:
    answer = case.test_pack()
    case.same("exit code", 1, answer.exit_code)
    detections = {one["id"]: one["tests"][0] for one in answer.json()["report"]["detections"]}
    case.same("detections", sorted(DETECTIONS), sorted(detections))
    for detection, function in DETECTIONS.items():
        test = detections.get(detection, {})
        case.same(f"test of {detection}", (False, [function]), (test.get("passed"), test.get("failing_functions")))
    as_text = case.pantherctl.run("detections", "test", case.folder / "pack", "--fresh", as_json=False).text()
    for function in DETECTIONS.values():
        line = next((line for line in as_text.splitlines() if function in line and "NoneType" in line), None)
        case.holds(f"report of {function}", line is not None, "a line names it and NoneType", as_text)

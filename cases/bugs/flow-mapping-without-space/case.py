"""YAML that one parser accepts and another rejects is rejected before the upload, with file, line and reason."""

from harness.case import Case

FILE, LINE = "p_r.yml", 13


def check(case: Case) -> None:
    answer = case.test_pack()
    if case.same("exit code", 2, answer.exit_code):
        problem = answer.json()["problems"][0]
        case.same("file of the problem", FILE, problem["file"])
        said = str(problem.get("line", problem["reason"]))
        case.holds("line of the problem", str(LINE) in said, f"line {LINE}", problem)
    as_text = case.pantherctl.run("detections", "test", case.folder / "pack", "--fresh", as_json=False).text()
    case.holds("report", FILE in as_text and str(LINE) in as_text, f"names {FILE} and line {LINE}", as_text)

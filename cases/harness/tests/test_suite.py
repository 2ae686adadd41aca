"""The suite finds its cases and rejects wrong lists; a run counts each case correctly."""

import contextlib
import io
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path

from harness import report, suite
from harness.case import Case
from harness.node import latest_attempts
from harness.outcome import Difference
from harness.polling import NotInTime

CASE = "from harness.case import Case\n\n\ndef check(case: Case) -> None:\n    case.same('number', 1, {got})\n"


class Folders(unittest.TestCase):
    """Cases in folders and tables of a test suite."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        for group in suite.GROUPS:
            (self.root / group).mkdir()

    def add(self, name: str, got: int = 1, readme: bool = True) -> None:
        folder = self.root / "bugs" / name
        folder.mkdir()
        (folder / "case.py").write_text(CASE.format(got=got))
        if readme:
            (folder / "README.md").write_text("")

    def run_suite(self, waiting: dict[str, str]) -> tuple[int, str]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = report.run(suite.discover(self.root), Path("unused"), 2, waiting)
        return code, out.getvalue()

    def test_a_run_ends_with_the_count_alone_on_its_line(self) -> None:
        self.add("right")
        self.add("wrong", got=2)
        code, out = self.run_suite({})
        self.assertEqual((code, out.splitlines()[-1]), (1, "1 passed, 1 failed"))
        self.assertIn("failed bugs/wrong: number: wanted 1, got 2", out.splitlines())

    def test_a_run_without_a_wrong_case_succeeds(self) -> None:
        self.add("right")
        self.assertEqual(self.run_suite({})[0], 0)

    def test_a_waiting_case_is_no_failure_until_it_passes(self) -> None:
        self.add("wrong", got=2)
        code, out = self.run_suite({"bugs/wrong": "a log type"})
        self.assertEqual((code, out.splitlines()[-2:]), (0, ["1 waiting", "0 passed, 0 failed"]))
        self.add("right")
        code, out = self.run_suite({"bugs/wrong": "a log type", "bugs/right": "a log type"})
        self.assertEqual((code, out.splitlines()[-1]), (1, "0 passed, 1 failed"))
        self.assertIn("failed bugs/right: passes now: take it off the waiting list", out)

    def test_a_case_without_a_readme_and_a_name_twice_are_errors(self) -> None:
        self.add("bare", readme=False)
        with self.assertRaises(suite.SuiteError):
            suite.discover(self.root)
        bare = self.root / "bugs" / "bare"
        (bare / "README.md").write_text("")
        (bare / "case.toml").write_text("[[reading]]\nschema = 'A.B'\ninput = 'README.md'\nevents = 1")
        with self.assertRaises(suite.SuiteError):
            suite.discover(self.root)

    def test_the_waiting_list_names_cases_and_reasons(self) -> None:
        file = self.root / "waiting.toml"
        for text in ("case = 'bugs/none'\nreason = 'r'", "case = 'bugs/one'\nreason = ''"):
            file.write_text(f"[[waiting]]\n{text}")
            with self.subTest(text=text), self.assertRaises(suite.SuiteError):
                suite.waiting(file, {"bugs/one"})


class Cases(unittest.TestCase):
    """How one case ends."""

    def finish(self, check: Callable[[Case], None], waits: bool = False) -> tuple[report.Verdict, report.Finished]:
        case = suite.CaseFile("bugs/one", Path(), check, 1)
        finished = report.run_case(case, Path("unused"))
        return finished.verdict(waits), finished

    def test_a_case_that_breaks_fails_though_it_waits(self) -> None:
        def check(_case: Case) -> None:
            raise ValueError("no")

        verdict, finished = self.finish(check, waits=True)
        self.assertIs(verdict, report.Verdict.FAILED)
        self.assertIn("ValueError: no", finished.first_line(True))

    def test_a_deadline_is_an_expectation_that_failed(self) -> None:
        def check(_case: Case) -> None:
            raise NotInTime("a line", 5.0, "nothing")

        self.assertEqual(self.finish(check)[1].differences, [Difference("a line", "within 5 s", "nothing")])
        self.assertIs(self.finish(check, waits=True)[0], report.Verdict.WAITING)

    def test_the_temporary_folder_is_removed_also_with_rights_taken_away(self) -> None:
        kept: list[Path] = []

        def check(case: Case) -> None:
            kept.append(case.temporary)
            (case.temporary / "closed" / "inner").mkdir(parents=True)
            (case.temporary / "closed").chmod(0)
            raise ValueError("no")

        self.finish(check)
        self.assertFalse(kept[0].exists())


class Stored(unittest.TestCase):
    """Files of stored events."""

    def test_attempts_that_were_given_up_are_left_out(self) -> None:
        attempts = (("2", 1), ("2", 2), ("2", 10), ("3", 1))
        names = [f"20240305T100000Z-{message:0>16}-{attempt}-0-0.json.gz" for message, attempt in attempts]
        self.assertEqual([file.name for file in latest_attempts(map(Path, names))], sorted([names[2], names[3]]))


if __name__ == "__main__":
    unittest.main()

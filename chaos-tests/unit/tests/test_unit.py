"""Tests of the drill itself: an attempt that cannot run, or a judgement that overlooks an effect, would make every sandbox look closed."""

import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))

import attempts  # noqa: E402
import pack  # noqa: E402
import places  # noqa: E402
from drill import NO_EFFECT, REFUSED, REMAINS, SUCCEEDED, Drill, Outcome  # noqa: E402


def attempt(name: str) -> attempts.Attempt:
    return next(one for one in attempts.ATTEMPTS if one.name == name)


class Pack(unittest.TestCase):
    def test_each_attempt_has_a_rule_of_its_own_that_compiles(self) -> None:
        rules = [one.rule for one in attempts.ATTEMPTS]
        self.assertEqual(len(set(rules)), len(rules))
        self.assertGreaterEqual(len(rules), 40)
        for one in attempts.ATTEMPTS:
            compile(pack.source_of(one), one.name, "exec")

    def test_system_calls_of_attempts_have_numbers(self) -> None:
        import re

        for one in attempts.ATTEMPTS:
            for name in re.findall(r"call\('(\w+)'", one.body):
                self.assertIn(name, {*pack.CALLS, "crash", "name"}, one.name)

    def test_a_pack_holds_honest_rules_before_and_after_the_attempts(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pack.write(Path(folder) / "pack", {"data": "/x"}, attempts.ATTEMPTS)
            files = sorted(file.name for file in (Path(folder) / "pack/rules").glob("*.py"))
            compile((Path(folder) / "pack/global_helpers/attempt.py").read_text(), "attempt", "exec")
        self.assertEqual((files[0], files[-1]), ("a_honest_first.py", "c_honest_last.py"))
        self.assertEqual(len(files), len(attempts.ATTEMPTS) + 2)

    def test_an_attempt_that_nothing_confines_says_what_it_got(self) -> None:
        spaces: dict[str, object] = {}
        exec(pack.HELPER.format(targets={}, calls={}), spaces)
        tried = spaces["tried"]
        self.assertEqual(tried(lambda _token: "key", "x"), "got: 'key'")  # type: ignore[operator]
        self.assertEqual(tried(lambda _token: b"", "x"), "nothing")  # type: ignore[operator]
        self.assertEqual(tried(lambda token: int(token()), "x").split(":")[:2], ["refused", " ValueError"])  # type: ignore[operator]


class Judgement(unittest.TestCase):
    def test_an_effect_counts_whatever_the_attempt_says(self) -> None:
        self.assertEqual(Outcome(attempt("write into /tmp"), ["refused: PermissionError"], ["a file"]).judged()[0], SUCCEEDED)
        self.assertEqual(Outcome(attempt("write into /tmp"), ["refused: PermissionError"]).judged()[0], REFUSED)
        self.assertEqual(Outcome(attempt("write into /tmp"), ["refused: PermissionError", "got: True"]).judged()[0], SUCCEEDED)
        self.assertEqual(Outcome(attempt("abort"), ["WorkerDied('...')"]).judged()[0], NO_EFFECT)
        self.assertEqual(Outcome(attempt("learn that a file exists"), ["got: 32"]).judged()[0], REMAINS)

    def test_an_effect_belongs_to_the_attempt_that_it_names_or_to_the_whole(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            drill = Drill(places.Place(), Path(folder), Path(folder), attempts.ATTEMPTS)
            # The rule of one attempt is the beginning of another's.
            drill.effect("a connection", "bytes b'intruder-hostile_connect_to_a_tcp_port'")
            drill.effect("a file", "/tmp/intruder-hostile_write_into__tmp")
            drill.effect("a signal", "signal 10")
        named = [outcome.attempt.name for outcome in drill.outcomes.values() if outcome.effects]
        self.assertEqual(named, ["write into /tmp", "connect to a TCP port"])
        self.assertEqual(len(drill.wrong), 1)
        self.assertIn("signal", drill.wrong[0])


if __name__ == "__main__":
    unittest.main()

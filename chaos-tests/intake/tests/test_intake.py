"""Tests of the test itself: an expectation that cannot fail would let every node pass."""

import gzip
import os
import random
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "cases")]

from bodies import Bodies  # noqa: E402
from forms import FORMS, Good  # noqa: E402
from promises import Holdings, Promises, Times, differences  # noqa: E402
from rotation import EXACT, LINKED, LOSSY, Writer  # noqa: E402

LABELS = {"id-1": "shop"}


def event(id: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "Custom.Rows", {"id": id, "left": "l", "right": "r", "p_source_id": "id-1", "p_row_id": "1", **fields}


def row(stored: int, quarantined: int = 0, filtered: int = 0, **changed: Any) -> dict[str, Any]:
    counts = {"stored": stored, "quarantined": quarantined, "filtered": filtered}
    return {"source_label": "shop", "hour": "h", "received": stored + quarantined + filtered, **counts, **changed}


class Comparing(unittest.TestCase):
    """Each kind of difference is detected."""

    def setUp(self) -> None:
        self.promises = Promises()
        good = Good("a", {"id": "a", "left": "l", "right": "r"})
        self.promises.add("shop", [good], ["mark-1-"], Times.ONCE, "body #1")
        self.promises.add("shop", [Good("b", {"id": "b"})], [], Times.AT_MOST_ONCE, "body #2")
        self.promises.add("shop", [Good("c", {"id": "c"})], [], Times.NEVER, "body #3")
        self.promises.add_unmarked("shop", 1, 0, "raw/cut")
        self.promises.add_unmarked("shop", 0, 1, "raw/dead")

    def held(self, **changed: Any) -> list[str]:
        whole: dict[str, Any] = {
            "events": [event("a")],
            "quarantined": [("id-1", "raw/x", "a mark-1- line"), ("id-1", "raw/cut", '{"id":"pa')],
            "dead": [("id-1", "raw/dead", "truncated")],
            "ledger": [row(1, 2)],
        }
        return differences(self.promises, Holdings(**{**whole, **changed}), LABELS)

    def test_what_is_as_promised_is_no_difference(self) -> None:
        self.assertEqual(self.held(), [])
        self.assertEqual(self.held(events=[event("a"), event("b")], ledger=[row(2, 2, 3)]), [])

    def test_lost_doubled_and_refused_lines(self) -> None:
        self.assertEqual(len(self.held(events=[], ledger=[row(0, 2)])), 1)
        for id in ("a", "c", "unknown"):
            with self.subTest(id=id):
                self.assertEqual(len(self.held(events=[event("a"), event(id)], ledger=[row(2, 2)])), 1)
        self.assertEqual(len(self.held(events=[event("a"), event("b"), event("b")], ledger=[row(3, 2)])), 1)

    def test_swapped_columns(self) -> None:
        self.assertEqual(len(self.held(events=[event("a", left="r", right="l")])), 1)

    def test_quarantine_and_dead_letters(self) -> None:
        record, cut = ("id-1", "raw/x", "a mark-1- line"), ("id-1", "raw/cut", "")
        for quarantined in ([cut], [record], [record, record, cut], [record, cut, cut], [record, ("id-1", "raw/y", "")]):
            with self.subTest(quarantined=quarantined):
                self.assertNotEqual(self.held(quarantined=quarantined, ledger=[row(1, len(quarantined))]), [])
        self.assertNotEqual(self.held(dead=[]), [])
        self.assertNotEqual(self.held(dead=[("id-1", "raw/dead", ""), ("id-1", "raw/z", "")]), [])

    def test_what_no_answer_came_for_may_be_there(self) -> None:
        self.promises.add_unmarked("shop", 1, 0, None)
        more = [("id-1", "raw/x", "a mark-1- line"), ("id-1", "raw/cut", ""), ("id-1", "raw/y", "")]
        self.assertEqual(self.held(quarantined=more, ledger=[row(1, 3)]), [])
        self.assertNotEqual(self.held(quarantined=[*more, ("id-1", "raw/z", "")], ledger=[row(1, 4)]), [])

    def test_a_hole_must_be_there_once(self) -> None:
        self.promises.add_hole("shop")
        self.assertNotEqual(self.held(), [])
        hole = [("id-1", "raw/x", "a mark-1- line"), ("id-1", "raw/cut", ""), ("id-1", "raw/h", "\0")]
        self.assertEqual(self.held(quarantined=hole, ledger=[row(1, 3)]), [])

    def test_the_ledger(self) -> None:
        self.assertNotEqual(self.held(ledger=[row(1, 2, received=4)]), [])
        self.assertNotEqual(self.held(ledger=[row(2, 2)]), [])
        self.assertEqual(self.held(ledger=[row(1, 0), row(0, 2, 5)]), [])


class Drawing(unittest.TestCase):
    """A seed gives the same bodies, of all kinds."""

    def test_the_same_seed_draws_the_same(self) -> None:
        for log_type in FORMS:
            first, second = (Bodies([log_type], random.Random(5), "s") for _ in range(2))
            drawn = [(first.draw(), second.draw()) for _ in range(50)]
            self.assertEqual([one.good for one, _ in drawn], [other.good for _, other in drawn])
            self.assertEqual([one.content for one, _ in drawn], [other.content for _, other in drawn])

    def test_every_kind_is_drawn(self) -> None:
        bodies = Bodies(["Custom.Orders"], random.Random(5), "s")
        kinds = Counter(bodies.draw().kind for _ in range(600))
        for part in ("lines", "array", "wrapped array", "not closed", "bad element", "page", "breaks off", "zip", "gzip", "documents"):
            self.assertTrue(any(part in kind for kind in kinds), part)


class Rotating(unittest.TestCase):
    """Each exact scheme leaves every line in the folder, complete and in files that the node reads."""

    def test_no_scheme_loses_a_line_by_itself(self) -> None:
        for name, scheme in {**EXACT, **LINKED}.items():
            if name in ("created again", "removed later"):
                continue  # They remove what was read.
            with self.subTest(scheme=name), tempfile.TemporaryDirectory() as folder:
                watched = Path(folder, "watched")
                watched.mkdir()
                writer = Writer("w", FORMS["Nginx.Access"], watched, {name: scheme}, "seed", lambda _: sys.maxsize)
                writer.promises, writer.scheme = Promises(), name
                writer.rest = lambda _: None  # type: ignore[method-assign]
                scheme(writer, watched / "app.log")
                left = set()
                for file in watched.rglob("[!.]*"):
                    if file.is_file():
                        left |= set(unpacked(file).replace(b"\0", b"").splitlines())
                wanted = {FORMS["Nginx.Access"].line(good) for good, _, _ in writer.promises.lines.values()}
                self.assertEqual(left, wanted)

    def test_lossy_schemes_promise_no_line(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            watched = Path(folder, "watched")
            watched.mkdir()
            writer = Writer("w", FORMS["Nginx.Access"], watched, LOSSY, "seed", lambda _: 0)
            writer.promises = Promises()
            writer.lines(watched / "app.log")
            self.assertEqual({times for _, times, _ in writer.promises.lines.values()}, {Times.AT_MOST_ONCE})
            self.assertTrue(os.path.isdir(writer.elsewhere))


def unpacked(file: Path) -> bytes:
    content = file.read_bytes()
    if file.suffix == ".gz":
        return gzip.decompress(content)
    if file.suffix == ".zst":
        return subprocess.run(["zstd", "-d", "-q", "-c"], input=content, capture_output=True, check=True).stdout
    return content


if __name__ == "__main__":
    unittest.main()

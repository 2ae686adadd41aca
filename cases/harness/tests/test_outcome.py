"""An expectation is met only if the value is equal and of the same type."""

import unittest

from harness.outcome import SHOWN_LETTERS, Outcome, same_value, shown


class SameValue(unittest.TestCase):
    """Values that are equal in Python but not for a rule."""

    def test_types_are_told_apart_at_any_depth(self) -> None:
        for wanted, got in ((1, True), (1, 1.0), ([1], [1.0]), ({"a": 0}, {"a": False}), ("1", 1), (None, "")):
            with self.subTest(wanted=wanted, got=got):
                self.assertFalse(same_value(wanted, got))

    def test_a_rounded_integer_is_another_number(self) -> None:
        self.assertFalse(same_value(123456789012345678901234567890, 1.2345678901234568e29))

    def test_lists_and_objects_of_other_length_differ(self) -> None:
        self.assertFalse(same_value([1, 2], [1]))
        self.assertFalse(same_value([], [1]))
        self.assertFalse(same_value({}, {"a": None}))

    def test_equal_values_are_the_same(self) -> None:
        value = {"a": [1, 2.5, None, {"b": "c"}]}
        self.assertTrue(same_value(value, {"a": [1, 2.5, None, {"b": "c"}]}))


class Collecting(unittest.TestCase):
    """An outcome records failures and continues."""

    def test_every_difference_is_kept_and_what_holds_is_not(self) -> None:
        outcome = Outcome()
        self.assertTrue(outcome.same("count", 1, 1))
        self.assertFalse(outcome.same("count", 1, 2))
        self.assertFalse(outcome.holds("state", False, "wanted", "got"))
        self.assertEqual([one.what for one in outcome.differences], ["count", "state"])

    def test_what_is_shown_is_one_printable_line_of_bounded_length(self) -> None:
        self.assertEqual(shown("a\nb"), "a\\nb")
        self.assertEqual(shown("\ud83d"), "\\ud83d")
        self.assertLess(len(shown("x" * 10_000)), SHOWN_LETTERS + 10)


if __name__ == "__main__":
    unittest.main()

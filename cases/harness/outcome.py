"""The result of one case: the wanted value, the actual value, and their difference.

A case states all of its expectations, and a failed one does not stop it, so that one run shows every difference.
"""

import json
from dataclasses import dataclass, field
from typing import Any

# Longer values are truncated in the report; the reader needs the position of the difference, not a whole log file.
SHOWN_LETTERS = 600


@dataclass(frozen=True)
class Difference:
    """One failed expectation."""

    what: str
    wanted: str
    got: str

    def lines(self) -> list[str]:
        return [self.what, f"  wanted  {self.wanted}", f"  got     {self.got}"]


def shown(value: Any) -> str:
    """A value for the report: texts unchanged, everything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    text = text.encode(errors="backslashreplace").decode().replace("\n", "\\n")
    return text if len(text) <= SHOWN_LETTERS else text[:SHOWN_LETTERS] + " ..."


@dataclass
class Outcome:
    """Collects the differences of one case."""

    differences: list[Difference] = field(default_factory=list)

    def same(self, what: str, wanted: Any, got: Any) -> bool:
        """Expects `got` to equal `wanted`, of the same type: 1 is not True, and not 1.0."""
        equal = same_value(wanted, got)
        if not equal:
            self.differences.append(Difference(what, shown(wanted), shown(got)))
        return equal

    def holds(self, what: str, condition: bool, wanted: str, got: Any) -> bool:
        """Expects `condition`; `wanted` describes it."""
        if not condition:
            self.differences.append(Difference(what, wanted, shown(got)))
        return condition


def same_value(wanted: Any, got: Any) -> bool:
    """Equality that distinguishes numbers as a rule does: a rounded 1.0e29 is not the integer, and True is not 1."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        return wanted.keys() == got.keys() and all(same_value(wanted[key], got[key]) for key in wanted)
    if isinstance(wanted, (list, tuple)) and isinstance(got, (list, tuple)):
        return len(wanted) == len(got) and all(map(same_value, wanted, got))
    return type(wanted) is type(got) and wanted == got

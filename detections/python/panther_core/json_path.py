"""The part of JSONPath that data models use: fields, indices and `[*]`, exact in letter case.

Accepted: `a.b`, `$.a.b`, `$.a-b`, `$.'any key'.b`, `$["key"]`, `$.a[0]`, `$.a[*].b`. Filters, slices,
`..`, unions and functions are refused when the data model is loaded.
"""

import re

from .exceptions import PantherError

__all__ = ["JsonPath", "parse"]

_NAME = re.compile(r"[A-Za-z_@][A-Za-z0-9_@\-]*")
_BRACKET = re.compile(r"""\[\s*(?:(?P<index>-?\d+)|(?P<all>\*)|(?P<name>[A-Za-z_@][\w@\-]*)|(?P<quote>['"])(?P<quoted>.*?)(?P=quote))\s*\]""")
_QUOTED = re.compile(r"""(['"])(.*?)\1""")


class JsonPath:
    """A parsed path. `find` gives the plain values that it leads to."""

    __slots__ = ("steps", "text")

    def __init__(self, steps):
        self.steps = steps
        self.text = ".".join(
            ("[*]" if s is None else f"[{s}]" if isinstance(s, int) else _spelt(s)) for s in steps
        ) or "$"

    def __str__(self):
        return self.text

    def keys(self):
        """The path as a list of keys, None if it has other steps."""
        return list(self.steps) if all(isinstance(s, str) for s in self.steps) else None

    def find(self, value):
        """All values at the path, none if there is none."""
        values = [value]
        for step in self.steps:
            inner = []
            for item in values:
                if isinstance(step, str):
                    if isinstance(item, dict) and step in item:
                        inner.append(item[step])
                elif step is None:
                    # what is no list counts as a list of one
                    inner.extend(item if isinstance(item, list) else [item])
                elif isinstance(item, list) and -len(item) <= step < len(item):
                    inner.append(item[step])
            values = inner
            if not values:
                break
        return values


def _spelt(name):
    return name if _NAME.fullmatch(name) else f"'{name}'"


def parse(text):
    """Parse `text`, or raise PantherError naming what is not understood."""
    at = 0
    steps = []
    if text.startswith("$"):
        at = 1
    fresh = at == 0  # a step may stand here without a dot
    while at < len(text):
        if text[at] == "." and not fresh:
            at += 1
            if at == len(text):
                break
        elif text[at] != "[" and not fresh:
            raise _refused(text, at)
        fresh = False
        if text[at] == "[":
            part = _BRACKET.match(text, at)
            if part is None:
                raise _refused(text, at)
            if part["index"] is not None:
                steps.append(int(part["index"]))
            elif part["all"]:
                steps.append(None)
            else:
                steps.append(part["name"] if part["name"] is not None else part["quoted"])
        elif text[at] in "'\"":
            part = _QUOTED.match(text, at)
            if part is None:
                raise _refused(text, at)
            steps.append(part[2])
        else:
            part = _NAME.match(text, at)
            if part is None:
                raise _refused(text, at)
            steps.append(part[0])
        at = part.end()
    if not steps and text != "$" or text.endswith("."):
        raise _refused(text, len(text))
    return JsonPath(steps)


def _refused(text, at):
    return PantherError(
        f"path [{text}] is not understood at character {at + 1}: use field names, [index] and [*]"
    )

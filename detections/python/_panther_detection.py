"""One detection: its functions, and what the engine makes of their answers.

Live, `rule()` alone runs for an event that does not match; for a match the functions after it run
in a fixed order, and one that fails gets its default. Under test every function runs and its failure
is shown.
"""

import json
from collections.abc import Mapping

import _panther_errors
from _panther_errors import clean as _clean
from _panther_limits import DetectionTimeout
from panther_core.exceptions import FunctionReturnTypeError, UnknownDestinationError
from panther_core.immutable import json_encoder

FUNCTIONS = (
    "title", "description", "reference", "severity", "runbook", "destinations", "dedup",
    "alert_context", "unique",
)  # fmt: skip
SEVERITIES = frozenset(("INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL"))
MAX_TEXT = 1000  # characters, the mark of the cut included
MAX_CONTEXT = 200 * 1024  # characters of JSON
TRUNCATED = "... (truncated)"

_encode_context = json.JSONEncoder(allow_nan=False, default=json_encoder).encode


class SetupError(Exception):
    """The detection's file cannot be used as a detection."""


def cut(text):
    """`text` in at most MAX_TEXT characters."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - len(TRUNCATED)] + TRUNCATED


def encode_context(value):
    """alert_context's JSON text; too much of it becomes a note of that."""
    text = _encode_context(value)
    if len(text) > MAX_CONTEXT:
        note = (
            f"alert_context size is [{len(text)}] characters,"
            f" bigger than maximum of [{MAX_CONTEXT}] characters"
        )
        return json.dumps({"_error": note})
    return text


class Detection:
    """A loaded detection. `body` holds its functions by name: a Python module or a simple detection."""

    def __init__(self, spec, namespace, inline_filter=None):
        self.index = spec["index"]
        self.id = spec["id"]
        self.kind = spec["kind"]
        self.file = spec.get("file")
        self.severity = (spec.get("severity") or "INFO").upper()
        self.namespace = namespace
        self.inline_filter = inline_filter
        self.matcher_name = "policy" if self.kind == "POLICY" else "rule"
        matcher = namespace.get(self.matcher_name)
        if self.matcher_name not in namespace:
            if self.kind == "SCHEDULED_RULE":
                matcher = _always
            else:
                raise SetupError(f"detection needs to have a method named '{self.matcher_name}'")
        self.matcher = matcher
        self.log_types = tuple(spec.get("log_types") or ())
        self.defined = tuple(name for name in FUNCTIONS if name in namespace)
        self.trigger = self.kind != "POLICY"

    def functions(self):
        """Names of what the detection defines."""
        matcher = (self.matcher_name,) if self.matcher_name in self.namespace else ()
        return [*matcher, *self.defined]

    def home(self, name):
        """Where the author has written a function: the place of an error that no line of it raised."""
        return _panther_errors.place_of(self.namespace.get(name)) or self.file

    def wrong_type(self, name, value, expected):
        return FunctionReturnTypeError(
            f"detection [{self.id}] function [{name}] returned [{type(value).__name__}], expected {expected}"
        )

    def verdict(self, event, call):
        """Filter and rule() or policy(): True or False, or an exception."""
        if self.inline_filter is not None and self.kind == "RULE" and not self.inline_filter(event):
            return False
        output = call(self.namespace.get(self.matcher_name, self.matcher), event)
        if output is True or output is False:
            return output
        raise self.wrong_type(self.matcher_name, output, "[bool]")

    def match(self, event, call):
        """The match of an event that rule() took: what the functions say, or their defaults."""
        said, errors, late = {}, {}, None
        for name in self.defined:
            if late is not None:
                said[name], errors[name] = None, late
                continue
            try:
                said[name] = self._answer(name, call(self.namespace[name], event))
            except Exception as error:  # pylint: disable=broad-exception-caught
                errors[name] = _clean(_safe_repr(error))
                said[name] = self._default(name, error)
            except BaseException as error:  # pylint: disable=broad-exception-caught
                # an exit, an interruption, a passed time limit: no value at all
                errors[name] = _clean(_safe_repr(error))
                said[name] = None
                if isinstance(error, DetectionTimeout):
                    late = "not run: a function before it had no end"
        dedup = said.get("dedup")
        if "dedup" not in self.defined:
            dedup = said.get("title")
        return {
            "title": _text(said.get("title")),
            "dedup": _text(dedup or f"defaultDedupString:{self.id}"),
            "severity": said.get("severity") or self.severity,
            "description": _text(said.get("description")),
            "reference": _text(said.get("reference")),
            "runbook": _text(said.get("runbook")),
            "destinations": said.get("destinations"),
            "context": said.get("alert_context"),
            "unique": _text(said.get("unique")),
            "errors": errors,
        }

    def test(self, event, call):
        """Every function's output or error on one event."""
        result = {"output": None, "error": None, "functions": {}}
        try:
            result["output"] = self.verdict(event, call)
        except BaseException as error:  # pylint: disable=broad-exception-caught
            result["error"] = _panther_errors.describe(error, self.home(self.matcher_name))
        functions = result["functions"]
        late = result["error"] if (result["error"] or {}).get("type") == "DetectionTimeout" else None
        for name in self.defined:
            entry = functions[name] = {"output": None, "error": late}
            if late is not None:
                continue
            try:
                entry["output"] = self._answer(name, call(self.namespace[name], event))
                if isinstance(entry["output"], str):
                    entry["output"] = _text(entry["output"])
            except BaseException as error:  # pylint: disable=broad-exception-caught
                entry["error"] = _panther_errors.describe(error, self.home(name))
                if isinstance(error, DetectionTimeout):
                    late = entry["error"]
        entry = functions.setdefault("dedup", {"output": None, "error": None})
        if "dedup" not in self.defined:
            entry["output"] = functions.get("title", entry)["output"]
        if entry["error"] is None and not entry["output"]:
            entry["output"] = f"defaultDedupString:{self.id}"
        return result

    def _answer(self, name, value):
        """The accepted form of a function's value, or an exception."""
        if name == "severity":
            if not isinstance(value, str):
                raise self.wrong_type(name, value, "[str]")
            value = value.upper()
            if value == "DEFAULT":
                return self.severity
            if value not in SEVERITIES:
                raise AssertionError(
                    f"Expected severity to be any of the following: {sorted(SEVERITIES)}, got [{value}] instead."
                )
            return value
        if name == "destinations":
            return self._destinations(value)
        if name == "alert_context":
            if not isinstance(value, Mapping):
                raise self.wrong_type(name, value, "[Mapping]")
            return encode_context(value)
        if not isinstance(value, str):
            raise self.wrong_type(name, value, "[str]")
        return cut(str(value))

    def _destinations(self, value):
        """Names or ids as the rule gives them (the host knows the destinations); [] means none."""
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, (str, bool)) for item in value):
            raise self.wrong_type("destinations", value, "a list")
        if not value:
            return ["SKIP"]
        unknown = [item for item in value if not isinstance(item, str) or not item]
        if unknown:
            raise UnknownDestinationError("Invalid Destinations", unknown)
        return [_text(item) for item in value]

    def _default(self, name, error):
        if name == "title":
            return cut(self.id)
        if name == "severity":
            return self.severity
        if name == "alert_context":
            return json.dumps({"_error": _safe_repr(error)})
        if name in ("description", "reference", "runbook"):
            return ""
        return None


def _always(_event):
    return True


def _safe_repr(error):
    try:
        return repr(error)
    except BaseException:  # pylint: disable=broad-exception-caught
        return f"{type(error).__name__}()"


def _text(value):
    if value is None or value.isascii():
        return value
    return _clean(value)

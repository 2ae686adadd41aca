"""One detection: its functions, and what the engine makes of their answers.

Live, `rule()` alone runs for an event that does not match; for a match the functions after it run
in a fixed order, and one that fails gets its default. Under test every function runs and its failure
is shown.
"""

import json
import traceback
from collections.abc import Mapping

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
MAX_TRACE = 4000
MAX_STACKS = 256

_encode_context = json.JSONEncoder(allow_nan=False, default=json_encoder).encode


class SetupError(Exception):
    """The detection's file cannot be used as a detection."""


def cut(text):
    """`text` in at most MAX_TEXT characters."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - len(TRUNCATED)] + TRUNCATED


def last_frame(error):
    """Where `error` was raised: file name, line and function of its last frame outside the runner."""
    found = last = None
    at = error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        last = code.co_filename, at.tb_lineno, code.co_name
        if "_panther_" not in code.co_filename:
            found = last
        at = at.tb_next
    return found or last


_stacks = {}  # frames written out, by where they are: a rule that fails, fails often, and this is the dear part


def _trace(error):
    """What `traceback` writes of an exception."""
    if error.__cause__ is not None or error.__context__ is not None:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    places = []
    at = error.__traceback__
    while at is not None:
        places.append((at.tb_frame.f_code, at.tb_lasti))
        at = at.tb_next
    places = tuple(places)
    stack = _stacks.get(places)
    if stack is None:
        if len(_stacks) >= MAX_STACKS:
            _stacks.clear()
        stack = _stacks[places] = "".join(traceback.format_tb(error.__traceback__))
    return "".join(["Traceback (most recent call last):\n", stack, *traceback.format_exception_only(type(error), error)])


def describe(error):
    """A rule error as the host stores it. Nothing that the exception's own methods do escapes."""
    try:
        text, title = str(error), repr(error)
        frame = last_frame(error)
        trace = _trace(error)
    except BaseException:  # pylint: disable=broad-exception-caught
        text, title, frame, trace = "", f"{type(error).__name__}()", None, ""
    where = ""
    if frame is not None:
        path, line, function = frame
        where = f": {path.rsplit('/', 1)[-1]}, line {line}, in {function}"
    return {
        "type": type(error).__name__,
        "title": _clean(title[:MAX_TEXT]),
        "message": _clean(text[:MAX_TEXT] + where),
        "trace": _clean(trace[-MAX_TRACE:]),
    }


def _clean(text):
    """Text without lone surrogates, which have no form in UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


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
            result["error"] = describe(error)
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
                entry["error"] = describe(error)
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

"""Simple detections: a tree of conditions in YAML instead of a Python file.

Each is written in Python, as somebody would who uses the functions of _panther_conditions, and from there on is a detection like any other: `SOURCES` has
what was written, by the name that stands for its file.
"""

import re

import _panther_conditions
import _panther_errors
from _panther_conditions import BadCondition, Written, write

_STEP = re.compile(r"""([^.\[\]]+)|\[(\d+|\*)\]|\['([^']*)'\]|\["([^"]*)"\]""")
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_COMBINERS = ("All", "Any", "OnlyOne", "None")
_ELEMENTS = ("AnyElement", "AllElements", "OnlyOneElement", "NoElement")
_KEYS = ("Key", "DeepKey", "KeyPath", "Enrichment")
_FUNCTIONS = {name: value for name, value in vars(_panther_conditions).items() if not name.startswith("_")}

SOURCES = {}


class BadDetection(ValueError):
    """A simple detection that cannot be understood; the text says where and why."""


def functions(tree, name, file=None):
    """The functions of the simple detection `name`, which stands in `file` of the pack, by their names."""
    bodies = {"rule": [f"return {_expressions(tree.get('Detection'), 'Detection', 'event')}"]}
    if tree.get("AlertTitle"):
        bodies["title"] = [f"return {_title(tree['AlertTitle'])}"]
    if tree.get("GroupBy"):
        shown = [f"shown({_getter(item, 'GroupBy', 'event')})" for item in tree["GroupBy"]]
        bodies["dedup"] = [f"return ':'.join([{', '.join(shown)}])"]
    if tree.get("AlertContext"):
        pairs = []
        for item in tree["AlertContext"]:
            if "KeyName" not in item or "KeyValue" not in item:
                raise BadDetection("AlertContext: an entry needs KeyName and KeyValue")
            pairs.append(f"{item['KeyName']!r}: plain({_getter(item['KeyValue'], 'AlertContext', 'event')})")
        bodies["alert_context"] = [f"return {{{', '.join(pairs)}}}"]
    if tree.get("DynamicSeverities"):
        lines = bodies["severity"] = []
        for item in tree["DynamicSeverities"]:
            if "ChangeTo" not in item or "Conditions" not in item:
                raise BadDetection("DynamicSeverities: an entry needs ChangeTo and Conditions")
            lines.append(f"if {_expressions(item['Conditions'], 'DynamicSeverities', 'event')}:")
            lines.append(f"    return {item['ChangeTo']!r}")
        lines.append("return 'DEFAULT'")
    source = "\n\n".join(_define(function, lines) for function, lines in bodies.items())
    place = f"<simple detection {name}>"
    if file is not None:
        _panther_errors.know(place, file)
    defined = _run(source, place)
    return {function: defined[function] for function in bodies}


def expression(entry, where):
    """One expression as a function of an event."""
    return _run(_define("holds", [f"return {_expression(entry, where, 'event')}"]), f"<{where}>")["holds"]


def _define(name, lines):
    return "\n    ".join([f"def {name}(event):", *lines])


def _run(source, place):
    scope = {**_FUNCTIONS, "__name__": place}
    exec(compile(source, place, "exec"), scope)  # pylint: disable=exec-used
    SOURCES[place] = source
    return scope


def _expressions(entries, where, subject):
    """A list of expressions, or one combiner, as a piece of Python about the name `subject`. A list demands all."""
    if isinstance(entries, dict):
        return _expression(entries, where, subject)
    if not isinstance(entries, list):
        raise BadDetection(f"{where}: a list of expressions is needed")
    return _combined("All", [_expression(entry, f"{where}[{n}]", subject) for n, entry in enumerate(entries)])


def _expression(entry, where, subject):
    if not isinstance(entry, dict):
        raise BadDetection(f"{where}: an expression must be a mapping, not {entry!r}")
    combiners = [name for name in entry if name in _COMBINERS or name is None]
    if combiners:
        if len(entry) != 1:
            raise BadDetection(f"{where}: {combiners[0]} stands beside other keys")
        name = combiners[0] or "None"  # a bare None is read as null by some YAML readers
        inner = entry[combiners[0]] or []
        if not isinstance(inner, list):
            raise BadDetection(f"{where}: {name} needs a list")
        return _combined(name, [_expression(e, f"{where}.{name}[{n}]", subject) for n, e in enumerate(inner)])
    condition = entry.get("Condition")
    if not isinstance(condition, str):
        raise BadDetection(f"{where}: Condition is missing")
    unknown = set(entry) - {*_KEYS, "Condition", "Value", "Values", "Expressions"}
    if unknown:
        raise BadDetection(f"{where}: unknown key {sorted(map(str, unknown))[0]}")
    try:
        return _conditioned(entry, condition, where, subject)
    except BadCondition as error:
        raise BadDetection(f"{where}: {error}") from error


def _conditioned(entry, condition, where, subject):
    keyed = [name for name in _KEYS if name in entry]
    if "Value" in entry and "Values" in entry:
        raise BadDetection(f"{where}: Value and Values stand beside each other")
    values = [entry["Value"]] if "Value" in entry else entry.get("Values")
    if condition in _ELEMENTS:
        if not keyed or "Expressions" not in entry:
            raise BadDetection(f"{where}: {condition} needs a key and Expressions")
        inner = f"{subject}_element"
        test = _expressions(entry["Expressions"], f"{where}.Expressions", inner)
        return _over_elements(condition, _getter(entry, where, subject), test, inner)
    if not keyed and values and all(isinstance(v, dict) and set(v) & set(_KEYS) for v in values):
        if len(values) != 2:
            raise BadDetection(f"{where}: a condition between keys needs two of them")
        left, right = (_getter(v, where, subject) for v in values)
        return write(condition, left, [Written(f"plain({right})")])
    if values is not None and not isinstance(values, list):
        raise BadDetection(f"{where}: Values must be a list")
    # Without a key it is about the element itself.
    return write(condition, _getter(entry, where, subject) if keyed else subject, values)


def _combined(name, tests):
    if name == "All":
        return f"({' and '.join(tests) or 'True'})"
    if name == "Any":
        return f"({' or '.join(tests) or 'False'})"
    if name == "OnlyOne":
        return f"(sum([{', '.join(f'1 if {test} else 0' for test in tests)}]) == 1)"
    return f"(not ({' or '.join(tests) or 'False'}))"


def _over_elements(name, of, test, element):
    """A condition on the elements of a list; of anything else it says that there are none."""
    if name == "AnyElement":
        return f"(is_list({of}) and any({test} for {element} in {of}))"
    if name == "AllElements":
        return f"(is_list({of}) and all({test} for {element} in {of}))"
    if name == "OnlyOneElement":
        return f"(is_list({of}) and sum([1 for {element} in {of} if {test}]) == 1)"
    return f"(not is_list({of}) or not any({test} for {element} in {of}))"


def _getter(entry, where, subject):
    """The value of `subject` that Key, DeepKey, KeyPath or Enrichment names, as a piece of Python."""
    if isinstance(entry, str):
        entry = {"KeyPath": entry}
    keyed = [name for name in _KEYS if name in entry]
    if len(keyed) != 1:
        raise BadDetection(f"{where}: one of {', '.join(_KEYS)} is needed")
    named = entry[keyed[0]]
    if keyed[0] == "Key":
        steps = [named]
    elif keyed[0] == "DeepKey":
        steps = list(named)
    elif keyed[0] == "KeyPath":
        steps = parse_path(named, where)
    else:
        missing = [part for part in ("Table", "Selector", "FieldPath") if not named.get(part)]
        if missing:
            raise BadDetection(f"{where}: Enrichment needs {missing[0]}")
        steps = ["p_enrichment", named["Table"], named["Selector"], *parse_path(named["FieldPath"], where)]
    return f"at({subject}, {tuple(steps)!r})"


def parse_path(text, where):
    """`a.b[0].c[*]` as steps: names, numbers, and "*" as None."""
    steps, at = [], 0
    while at < len(text):
        if text[at] == "." and at > 0:
            at += 1
        part = _STEP.match(text, at)
        if part is None:
            raise BadDetection(f"{where}: path [{text}] is not understood at character {at + 1}")
        if part[2] is not None:
            steps.append(None if part[2] == "*" else int(part[2]))
        else:
            steps.append(next(name for name in (part[1], part[3], part[4]) if name is not None))
        at = part.end()
    if not steps:
        raise BadDetection(f"{where}: an empty path")
    return steps


def _title(text):
    """`Logins of {user}` as a piece of Python: parts with a path in braces are shown."""
    parts = [
        repr(part) if n % 2 == 0 else f"shown({_getter(part.strip(), 'AlertTitle', 'event')})"
        for n, part in enumerate(_PLACEHOLDER.split(text))
    ]
    return f"''.join([{', '.join(parts)}])"

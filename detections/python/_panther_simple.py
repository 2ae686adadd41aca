"""Simple detections: a tree of conditions in YAML instead of a Python file.

`functions` turns one into the functions that the engine calls, as a Python file would define them.
"""

import re

from _panther_conditions import MISSING, BadCondition, build, compare

_STEP = re.compile(r"""([^.\[\]]+)|\[(\d+|\*)\]|\['([^']*)'\]|\["([^"]*)"\]""")
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_COMBINERS = ("All", "Any", "OnlyOne", "None")
_ELEMENTS = ("AnyElement", "AllElements", "OnlyOneElement", "NoElement")
_KEYS = ("Key", "DeepKey", "KeyPath", "Enrichment")


class BadDetection(ValueError):
    """A simple detection that cannot be understood; the text says where and why."""


def functions(tree):
    """The functions of a simple detection, by name."""
    rule = expressions(tree.get("Detection"), "Detection")
    found = {"rule": lambda event: rule(event)}
    if tree.get("AlertTitle"):
        found["title"] = _title(tree["AlertTitle"])
    if tree.get("GroupBy"):
        getters = [getter(item, "GroupBy") for item in tree["GroupBy"]]
        found["dedup"] = lambda event: ":".join(_shown(get(event)) for get in getters)
    if tree.get("AlertContext"):
        pairs = []
        for item in tree["AlertContext"]:
            if "KeyName" not in item or "KeyValue" not in item:
                raise BadDetection("AlertContext: an entry needs KeyName and KeyValue")
            pairs.append((item["KeyName"], getter(item["KeyValue"], "AlertContext")))
        found["alert_context"] = lambda event: {name: _plain(get(event)) for name, get in pairs}
    if tree.get("DynamicSeverities"):
        cases = []
        for item in tree["DynamicSeverities"]:
            if "ChangeTo" not in item or "Conditions" not in item:
                raise BadDetection("DynamicSeverities: an entry needs ChangeTo and Conditions")
            cases.append((expressions(item["Conditions"], "DynamicSeverities"), item["ChangeTo"]))
        found["severity"] = lambda event: next((to for test, to in cases if test(event)), "DEFAULT")
    return found


def expressions(entries, where):
    """A list of expressions, or one combiner: a function of an event. A list demands all."""
    if isinstance(entries, dict):
        return expression(entries, where)
    if not isinstance(entries, list):
        raise BadDetection(f"{where}: a list of expressions is needed")
    return _combined("All", [expression(entry, f"{where}[{n}]") for n, entry in enumerate(entries)])


def expression(entry, where):
    """One expression: a function of what it looks at (an event, or an element of a list)."""
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
        return _combined(name, [expression(e, f"{where}.{name}[{n}]") for n, e in enumerate(inner)])
    condition = entry.get("Condition")
    if not isinstance(condition, str):
        raise BadDetection(f"{where}: Condition is missing")
    unknown = set(entry) - {*_KEYS, "Condition", "Value", "Values", "Expressions"}
    if unknown:
        raise BadDetection(f"{where}: unknown key {sorted(map(str, unknown))[0]}")
    try:
        return _conditioned(entry, condition, where)
    except BadCondition as error:
        raise BadDetection(f"{where}: {error}") from error


def _conditioned(entry, condition, where):
    keyed = [name for name in _KEYS if name in entry]
    if "Value" in entry and "Values" in entry:
        raise BadDetection(f"{where}: Value and Values stand beside each other")
    values = [entry["Value"]] if "Value" in entry else entry.get("Values")
    if condition in _ELEMENTS:
        if not keyed or "Expressions" not in entry:
            raise BadDetection(f"{where}: {condition} needs a key and Expressions")
        return _over_elements(condition, getter(entry, where), expressions(entry["Expressions"], f"{where}.Expressions"))
    if not keyed and values and all(isinstance(v, dict) and set(v) & set(_KEYS) for v in values):
        if len(values) != 2:
            raise BadDetection(f"{where}: a condition between keys needs two of them")
        left, right = (getter(v, where) for v in values)
        between = compare(condition)
        return lambda subject: between(left(subject), right(subject))
    if values is not None and not isinstance(values, list):
        raise BadDetection(f"{where}: Values must be a list")
    test = build(condition, values)
    if not keyed:
        return test  # of the element itself
    get = getter(entry, where)
    return lambda subject: bool(test(get(subject)))


def _combined(name, tests):
    if name == "All":
        return lambda subject: all(test(subject) for test in tests)
    if name == "Any":
        return lambda subject: any(test(subject) for test in tests)
    if name == "OnlyOne":
        return lambda subject: sum(1 for test in tests if test(subject)) == 1
    return lambda subject: not any(test(subject) for test in tests)


def _over_elements(name, get, test):
    def holds(subject):
        value = get(subject)
        if value is MISSING or value is None or isinstance(value, str) or hasattr(value, "keys") or not hasattr(value, "__iter__"):
            return name == "NoElement"
        count = sum(1 for element in value if test(element))
        if name == "AnyElement":
            return count > 0
        if name == "AllElements":
            return count == len(value)
        return count == (1 if name == "OnlyOneElement" else 0)

    return holds


def getter(entry, where):
    """A function that gives the value that Key, DeepKey, KeyPath or Enrichment names, or MISSING."""
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
    return lambda subject: _follow(subject, steps, 0)


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


def _follow(value, steps, at):
    while at < len(steps):
        step = steps[at]
        at += 1
        if isinstance(step, str):
            if not hasattr(value, "keys"):
                return MISSING
            value = value.get(step, MISSING)
            if value is MISSING:
                return MISSING
        elif isinstance(value, str) or hasattr(value, "keys") or not hasattr(value, "__len__"):
            return MISSING
        elif step is None:
            found = [_follow(item, steps, at) for item in value]
            return [item for item in found if item is not MISSING]
        elif -len(value) <= step < len(value):
            value = value[step]
        else:
            return MISSING
    return value


def _title(text):
    parts = [(part, None) if n % 2 == 0 else (None, getter(part.strip(), "AlertTitle")) for n, part in enumerate(_PLACEHOLDER.split(text))]
    return lambda event: "".join(plain if get is None else _shown(get(event)) for plain, get in parts)


def _plain(value):
    return None if value is MISSING else value


def _shown(value):
    return "" if value is MISSING or value is None else str(value)

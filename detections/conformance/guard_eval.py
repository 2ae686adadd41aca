"""Evaluates guards on plain events: a stand-in for the host's evaluator, and what it must agree with.

    {"eq": [path, value]}  {"in": [path, [values]]}     a missing path is null; 1 == 1.0, but lists are
                                                        written out so that strict equality will do
    {"truthy": path}                                    as Python has it: null false 0 "" [] {} are not
    {"prefix" | "suffix" | "contains": [path, [strings]]}   of a string; anything else does not
    {"ieq": [path, [strings]]}                          a string's lower case is one of these
    {"type": [path, [names]]}                           missing null bool number string array object
    {"not": atom}  {"all": [...]}  {"any": [...]}  true  false
"""

_ABSENT = object()


def find(event, path):
    """The value at `path`, _ABSENT if there is none or the way ends early. Of an object's keys the exact
    one counts, else the first that is equal in (full Unicode) lower case."""
    value = event
    for key in path:
        if not isinstance(value, dict):
            return _ABSENT
        found = value.get(key, _ABSENT)
        if found is _ABSENT:
            lower = key.lower()
            found = next((item for name, item in value.items() if name.lower() == lower), _ABSENT)
        value = found
    return value


def look_up(event, path):
    """The value at `path`, None where there is none."""
    value = find(event, path)
    return None if value is _ABSENT else value


def type_name(value):
    """missing, null, bool, number, string, array or object."""
    if value is _ABSENT:
        return "missing"
    if value is None:
        return "null"
    for kind, name in ((bool, "bool"), ((int, float), "number"), (str, "string"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "object"


def _same(a, b):
    """Python's ==, which counts True as 1 and 1.0 as 1."""
    return a == b


def holds(guard, event):
    if guard is True or guard is False:
        return guard
    ((kind, what),) = guard.items()
    if kind == "all":
        return all(holds(part, event) for part in what)
    if kind == "any":
        return any(holds(part, event) for part in what)
    if kind == "not":
        return not holds(what, event)
    if kind == "type":
        return type_name(find(event, what[0])) in what[1]
    if kind == "truthy":
        return bool(look_up(event, what))
    value = look_up(event, what[0])
    wanted = what[1]
    if kind == "eq":
        return _same(value, wanted)
    if kind == "in":
        return any(_same(value, item) for item in wanted)
    if not isinstance(value, str):
        return False
    if kind == "ieq":
        return value.lower() in [item.lower() for item in wanted]
    if kind == "prefix":
        return value.startswith(tuple(wanted))
    if kind == "suffix":
        return value.endswith(tuple(wanted))
    if kind == "contains":
        return any(item in value for item in wanted)
    raise ValueError(f"unknown guard {kind}")

"""Evaluates guards on plain events: a stand-in for the host's evaluator, and what it must agree with."""

_ABSENT = object()


def look_up(event, path):
    """The value at `path`; exact keys first, then the first key that is equal in lower case. None if
    there is none, or if the way ends early."""
    value = event
    for key in path:
        if not isinstance(value, dict):
            return None
        found = value.get(key, _ABSENT)
        if found is _ABSENT:
            lower = key.lower()
            for name, item in value.items():
                if name.lower() == lower:
                    found = item
                    break
            else:
                return None
        value = found
    return value


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
    if kind == "truthy":
        return bool(look_up(event, what))
    value = look_up(event, what[0])
    wanted = what[1]
    if kind == "eq":
        return _same(value, wanted)
    if kind == "in":
        return any(_same(value, item) for item in wanted)
    if kind == "ieq":
        # not a string: whatever the rule would do with it is its own affair
        return not isinstance(value, str) or value.lower() in [item.lower() for item in wanted]
    if not isinstance(value, str):
        return True
    if kind == "prefix":
        return value.startswith(tuple(wanted))
    if kind == "suffix":
        return value.endswith(tuple(wanted))
    if kind == "contains":
        return any(item in value for item in wanted)
    raise ValueError(f"unknown guard {kind}")

"""Inline filters: conditions that stand before rule(), kept out of the detection's own text.

Two forms are taken: the engine's own tree of `and`, `or`, `not` over {target, operator, value}, and
the expressions of simple detections (All, Any, ...). A tree that says nothing holds always. Of a rule's
filters all must hold.
"""

import ipaddress
import re

import _panther_simple

_SIMPLE_KEY = re.compile(r"[A-Za-z0-9_\-]+")
_STEP = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*)|"([^"]+)"|\[(-?\d+|\*|)\]""")
_TREE = ("and", "or", "not", "statement")


class BadFilter(ValueError):
    """A filter that cannot be understood, or a target that it cannot be asked of."""


def build(filters):
    """A function of an event, or None if the filters say nothing."""
    if not filters:
        return None
    if isinstance(filters, dict):
        filters = [filters]
    tests = [test for test in (_tree(one) for one in filters) if test is not None]
    return (lambda event: all(test(event) for test in tests)) if tests else None


def _tree(node):
    """The test of one node; None where it says nothing."""
    if not isinstance(node, dict):
        raise BadFilter(f"a filter must be a mapping, not {node!r}")
    if not node:
        return None
    if "target" in node or "operator" in node:
        return _condition(node)
    if not set(node) & set(_TREE):
        if all(not inner for inner in node.values()):
            return None
        return _panther_simple.expression(node, "InlineFilters")
    said = [name for name in _TREE if node.get(name)]
    if len(said) > 1:
        raise BadFilter(f"a filter's node holds one of {', '.join(said)}")
    if not said:
        return None
    inner = node[said[0]]
    if said[0] == "statement":
        return _tree(inner)
    if not isinstance(inner, list):
        raise BadFilter(f"[{said[0]}] needs a list")
    tests = [test for test in map(_tree, inner) if test is not None]
    if not tests:
        return None
    if said[0] == "and":
        return lambda event: all(test(event) for test in tests)
    if said[0] == "or":
        return lambda event: any(test(event) for test in tests)
    return lambda event: not all(test(event) for test in tests)


def _condition(node):
    target, operator, value = node.get("target"), node.get("operator"), node.get("value")
    if not target or not operator:
        raise BadFilter("a condition needs target and operator")
    negative = operator.startswith("!") and operator != "!="
    test = _OPERATORS.get(operator[1:] if negative else operator)
    if test is None or negative and operator[1:] not in _NEGATABLE:
        raise BadFilter(f"operator [{operator}] is not known")
    if operator.endswith("in_cidr") or operator.endswith("contains_ip"):
        value = _network(value)
    find = _target(target)
    if negative:
        return lambda event: not test(find(event), value)
    return lambda event: test(find(event), value)


def _target(text):
    """A plain key, or a path of names, [index] and [*]; exact in letter case. Missing gives None."""
    if _SIMPLE_KEY.fullmatch(text):
        return lambda event: _raw(event).get(text)
    steps, at = [], 0
    while at < len(text):
        if text[at] == "." and at:
            at += 1
        part = _STEP.match(text, at)
        if part is None:
            raise BadFilter(f"target [{text}] is not understood at character {at + 1}: use names, [index] and [*]")
        steps.append(part[1] or part[2] or (None if part[3] in ("*", "") else int(part[3])))
        at = part.end()
    return lambda event: _follow(_raw(event), steps, 0)


def _raw(event):
    return getattr(event, "_raw", event)


def _follow(value, steps, at):
    for number in range(at, len(steps)):
        step = steps[number]
        if step is None:
            if not isinstance(value, list):
                return None
            found = [_follow(item, steps, number + 1) for item in value]
            return [item for item in found if item is not None]
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and -len(value) <= step < len(value) else None
    return value


def _network(value):
    if isinstance(value, list):
        raise BadFilter("expected value to be an ip or cidr but got a list")
    if value is None:
        return None
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise BadFilter("invalid ip or cidr detected") from error


def _in_cidr(value, network):
    if value is None:
        return False
    if isinstance(value, (list, dict)):
        raise BadFilter("expected target field to be an ip or cidr")
    inner = _network(value)
    return inner.version == network.version and inner.subnet_of(network)


def _contains_ip(value, network):
    if value is None:
        return False
    if not isinstance(value, list):
        raise BadFilter("expected target field to be a list of ips")
    return any(_in_cidr(item, network) or _network(item) == network for item in value)


def _contains(value, wanted):
    if value is None:
        return False
    if isinstance(value, list) and isinstance(wanted, str):
        # an element, or part of one
        return wanted in value or any(wanted in item for item in value)
    return wanted in value


def _in(value, wanted):
    if isinstance(value, list) and isinstance(wanted, list):
        return any(item in wanted for item in value)
    return value in wanted


def _fold(value):
    return value.lower() if isinstance(value, str) else value


def _insensitive_contains(value, wanted):
    if not value:
        return False
    if isinstance(value, list):
        return any(
            _fold(wanted) in _fold(item) if isinstance(item, str) and isinstance(wanted, str) else item == wanted
            for item in value
        )
    return _fold(wanted) in _fold(value)


def _less(value, wanted):
    return value is not None and value < wanted


def _more(value, wanted):
    return value is not None and value > wanted


def _starts(value, wanted):
    return isinstance(value, str) and isinstance(wanted, str) and value.startswith(wanted)


def _ends(value, wanted):
    return isinstance(value, str) and isinstance(wanted, str) and value.endswith(wanted)


_OPERATORS = {
    "==": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "<": _less,
    ">": _more,
    "<=": lambda value, wanted: value == wanted or _less(value, wanted),
    ">=": lambda value, wanted: value == wanted or _more(value, wanted),
    "contains": _contains,
    "in": _in,
    "in_cidr": _in_cidr,
    "contains_ip": _contains_ip,
    "starts_with": _starts,
    "ends_with": _ends,
    "empty": lambda value, _wanted: not value,
    "insensitive_equals": lambda value, wanted: _fold(value) == _fold(wanted),
    "insensitive_starts_with": lambda value, wanted: _starts(_fold(value), _fold(wanted)),
    "insensitive_ends_with": lambda value, wanted: _ends(_fold(value), _fold(wanted)),
    "insensitive_contains": _insensitive_contains,
    "is_public": lambda value, _wanted: value is not None and ipaddress.ip_address(value).is_global,
    "is_private": lambda value, _wanted: value is not None and ipaddress.ip_address(value).is_private,
}
_NEGATABLE = frozenset((
    "contains", "in", "in_cidr", "contains_ip", "starts_with", "ends_with", "empty",
    "insensitive_equals", "insensitive_starts_with", "insensitive_ends_with", "insensitive_contains",
))  # fmt: skip

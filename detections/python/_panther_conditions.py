"""The conditions that simple detections put on a value, and how each is written in Python.

A value that is missing counts as null, but for Exists and DoesNotExist. A condition on a value of
another type than it is about does not hold (and its negation does). Where several values are given,
one of them is enough; a negated condition must hold for all.

What a simple detection is written in (see _panther_simple) are the functions of this file without a
leading underscore. They are told to the native engine like those of a pack, so they keep to what it knows.
"""

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network

# What a path leads to that is not there: nothing that JSON holds is a tuple.
MISSING = ()


def at(value, steps):
    """What stands at `steps`: names, places, and None for each element."""
    for place, step in enumerate(steps):
        if isinstance(step, str):
            if not isinstance(value, Mapping):
                return MISSING
            value = value.get(step, MISSING)
            if isinstance(value, tuple):
                return MISSING
        elif not is_list(value):
            return MISSING
        elif step is None:
            found = [at(item, steps[place + 1 :]) for item in value]
            return [item for item in found if not isinstance(item, tuple)]
        elif -len(value) <= step < len(value):
            value = value[step]
        else:
            return MISSING
    return value


def is_list(value):
    return isinstance(value, Sequence) and not isinstance(value, (str, tuple))


def exists(value):
    return not isinstance(value, tuple)


def plain(value):
    return None if isinstance(value, tuple) else value


def shown(value):
    return "" if value is None or isinstance(value, tuple) else str(value)


def equal(value, item):
    value = plain(value)
    if isinstance(value, bool) != isinstance(item, bool):
        return False
    return bool(value == item)


def equals(value, items):
    return any(equal(value, item) for item in items)


def fold(value):
    if isinstance(value, str):
        return value.lower()
    if is_list(value):
        return [fold(item) for item in value]
    return value


def starts(value, items):
    return isinstance(value, str) and any(value.startswith(item) for item in items if isinstance(item, str))


def ends(value, items):
    return isinstance(value, str) and any(value.endswith(item) for item in items if isinstance(item, str))


def contains(value, items):
    if isinstance(value, str):
        return any(item in value for item in items if isinstance(item, str))
    if is_list(value):
        return any(equals(inner, items) for inner in value)
    return False


def comparable(value, limit):
    if isinstance(value, bool):
        return False
    if isinstance(value, (int, float)):
        return isinstance(limit, (int, float))
    return isinstance(value, str) and isinstance(limit, str)


def is_empty(value):
    value = plain(value)
    return value is None or not isinstance(value, (bool, int, float)) and len(value) == 0


def address(value):
    if not isinstance(value, str):
        return None
    try:
        return ip_address(value)
    except ValueError:
        return None


def is_version(value, version):
    found = address(value)
    return found is not None and found.version == version


def is_public(value):
    found = address(value)
    return found is not None and found.is_global


def is_private(value):
    found = address(value)
    return found is not None and found.is_private


def in_networks(value, networks):
    found = address(value)
    return found is not None and any(found in ip_network(network, strict=False) for network in networks)


_TEXTUAL = re.compile(r"^(?:(DoesNot)?(I)?|(I)(DoesNot)?)(Equal|StartsWith|StartWith|EndsWith|EndWith|Contain)s?$")
_TESTS = {"Equal": "equals", "StartWith": "starts", "EndWith": "ends", "Contain": "contains"}
_ORDERS = {
    "IsGreaterThan": ">",
    "IsGreaterThanOrEqual": ">=",
    "IsGreaterThanOrEquals": ">=",
    "IsLessThan": "<",
    "IsLessThanOrEqual": "<=",
    "IsLessThanOrEquals": "<=",
}
_MEMBERS = {"IsIn": "", "IsNotIn": "not "}
_NETWORKS = {"IsIPAddressInCIDR": "", "IsIPAddressNotInCIDR": "not "}
_PLAIN = {
    "Exists": "exists({})",
    "DoesNotExist": "not exists({})",
    "IsNull": "plain({}) is None",
    "IsNotNull": "plain({}) is not None",
    "IsNullOrEmpty": "is_empty({})",
    "IsNotNullOrEmpty": "not is_empty({})",
    "IsIPAddress": "address({}) is not None",
    "IsIPv4Address": "is_version({}, 4)",
    "IsIPv6Address": "is_version({}, 6)",
    "IsIPAddressPublic": "is_public({})",
    "IsIPAddressPrivate": "is_private({})",
    "AlwaysTrue": "True",
    "AlwaysFalse": "False",
}


class BadCondition(ValueError):
    """A condition that is not known, or lacks what it needs."""


class Written(str):
    """A piece of Python, where a value of the detection could stand too."""


def write(name, value, items):
    """Condition `name` on `value` (a piece of Python), as a piece of Python. `items`: the values that the detection gives, or pieces; None if it gives none."""
    return f"({_write(name, value, items)})"


def _write(name, value, items):
    if name in _PLAIN:
        if items is not None:
            raise BadCondition(f"condition {name} takes no value")
        return _PLAIN[name].format(value)
    parts = _TEXTUAL.match(name)
    if parts is None and name not in _ORDERS and name not in _MEMBERS and name not in _NETWORKS:
        raise BadCondition(f"unknown condition {name}")
    if items is None:
        raise BadCondition(f"condition {name} needs a value")
    if name in _MEMBERS:
        return f"{_MEMBERS[name]}{_equals(value, items)}"
    if name in _NETWORKS:
        for item in items:
            _require_network(item)
        return f"{_NETWORKS[name]}in_networks({value}, {_tuple(items)})"
    if name in _ORDERS:
        if len(items) != 1:
            raise BadCondition(f"condition {name} takes one value")
        limit = _source(items[0])
        return f"comparable({value}, {limit}) and {value} {_ORDERS[name]} {limit}"
    negative = "not " if parts[1] or parts[4] else ""
    test = _TESTS[parts[5].replace("Starts", "Start").replace("Ends", "End")]
    if parts[2] or parts[3]:
        value = f"fold({value})"
        items = [Written(f"fold({item})") if isinstance(item, Written) else fold(item) for item in items]
    if test == "equals":
        return f"{negative}{_equals(value, items)}"
    return f"{negative}{test}({value}, {_tuple(items)})"


def _equals(value, items):
    if all(type(item) is str for item in items):
        return f"({value} in {_tuple(items)})"
    return f"equals({value}, {_tuple(items)})"


def _source(item):
    return str(item) if isinstance(item, Written) else repr(item)


def _tuple(items):
    return f"({''.join(f'{_source(item)}, ' for item in items)})"


def _require_network(item):
    if isinstance(item, Written):
        return
    try:
        ip_network(item, strict=False)
    except ValueError as error:
        raise BadCondition(f"{item!r} is no network: {error}") from error

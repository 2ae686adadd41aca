"""The conditions that simple detections put on a value.

A value that is missing counts as null, but for Exists and DoesNotExist. A condition on a value of
another type than it is about does not hold (and its negation does). Where several values are given,
one of them is enough; a negated condition must hold for all.
"""

import ipaddress
import re

MISSING = object()

_TEXTUAL = re.compile(r"^(?:(DoesNot)?(I)?|(I)(DoesNot)?)(Equal|StartsWith|StartWith|EndsWith|EndWith|Contain)s?$")


class BadCondition(ValueError):
    """A condition that is not known, or lacks what it needs."""


def build(name, values):
    """A function of a value that says whether condition `name` with `values` (None: not given) holds."""
    if name in _PLAIN:
        if values is not None:
            raise BadCondition(f"condition {name} takes no value")
        return _PLAIN[name]
    if values is None:
        raise BadCondition(f"condition {name} needs a value" if name in _KNOWN or _TEXTUAL.match(name) else f"unknown condition {name}")
    if name in ("IsIn", "IsNotIn"):
        return _negated(name == "IsNotIn", lambda value: any(_equal(value, item) for item in values))
    if name in ("IsIPAddressInCIDR", "IsIPAddressNotInCIDR"):
        networks = [_network(item) for item in values]
        return _negated(name == "IsIPAddressNotInCIDR", lambda value: _in_networks(value, networks))
    if name in _ORDERS:
        if len(values) != 1:
            raise BadCondition(f"condition {name} takes one value")
        return _ordered(_ORDERS[name], values[0])
    parts = _TEXTUAL.match(name)
    if parts is None:
        raise BadCondition(f"unknown condition {name}")
    negative = bool(parts[1] or parts[4])
    test = _TESTS[parts[5].replace("Starts", "Start").replace("Ends", "End")]
    if parts[2] or parts[3]:
        folded = [_fold(item) for item in values]
        return _negated(negative, lambda value: any(test(_fold(value), item) for item in folded))
    return _negated(negative, lambda value: any(test(value, item) for item in values))


def compare(name):
    """A function of two values, for conditions between two keys."""
    build(name, [""] if not name.startswith("IsIPAddress") else ["10.0.0.0/8"])  # refuse what is not known

    def holds(left, right):
        return build(name, [None if right is MISSING else right])(left)

    return holds


def _negated(negative, test):
    return (lambda value: not test(value)) if negative else test


def _plain(value):
    return None if value is MISSING else value


def _equal(value, item):
    value = _plain(value)
    if isinstance(value, bool) is not isinstance(item, bool):
        return False
    return value == item


def _fold(value):
    if isinstance(value, str):
        return value.lower()
    if _is_sequence(value):
        return [_fold(item) for item in value]
    return value


def _is_sequence(value):
    return not isinstance(value, (str, bytes)) and hasattr(value, "__getitem__") and not hasattr(value, "keys")


def _starts(value, item):
    return isinstance(value, str) and isinstance(item, str) and value.startswith(item)


def _ends(value, item):
    return isinstance(value, str) and isinstance(item, str) and value.endswith(item)


def _contains(value, item):
    if isinstance(value, str):
        return isinstance(item, str) and item in value
    if value is not MISSING and value is not None and _is_sequence(value):
        return any(_equal(inner, item) for inner in value)
    return False


_TESTS = {"Equal": _equal, "StartWith": _starts, "EndWith": _ends, "Contain": _contains}

_ORDERS = {
    "IsGreaterThan": lambda a, b: a > b,
    "IsGreaterThanOrEqual": lambda a, b: a >= b,
    "IsGreaterThanOrEquals": lambda a, b: a >= b,
    "IsLessThan": lambda a, b: a < b,
    "IsLessThanOrEqual": lambda a, b: a <= b,
    "IsLessThanOrEquals": lambda a, b: a <= b,
}
_KNOWN = frozenset((*_ORDERS, "IsIn", "IsNotIn", "IsIPAddressInCIDR", "IsIPAddressNotInCIDR"))


def _ordered(order, limit):
    def holds(value):
        for kind in ((int, float), str):
            if isinstance(value, kind) and isinstance(limit, kind) and not isinstance(value, bool):
                return order(value, limit)
        return False

    return holds


def _address(value):
    if not isinstance(value, str):
        return None
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return None


def _network(text):
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise BadCondition(f"{text!r} is no network: {error}") from error


def _in_networks(value, networks):
    address = _address(value)
    return address is not None and any(address in network for network in networks)


def _about_address(test):
    def holds(value):
        address = _address(value)
        return address is not None and test(address)

    return holds


def _is_empty(value):
    value = _plain(value)
    return value is None or not isinstance(value, (bool, int, float)) and len(value) == 0


_PLAIN = {
    "Exists": lambda value: value is not MISSING,
    "DoesNotExist": lambda value: value is MISSING,
    "IsNull": lambda value: _plain(value) is None,
    "IsNotNull": lambda value: _plain(value) is not None,
    "IsNullOrEmpty": _is_empty,
    "IsNotNullOrEmpty": lambda value: not _is_empty(value),
    "IsIPAddress": _about_address(lambda address: True),
    "IsIPv4Address": _about_address(lambda address: address.version == 4),
    "IsIPv6Address": _about_address(lambda address: address.version == 6),
    "IsIPAddressPublic": _about_address(lambda address: address.is_global),
    "IsIPAddressPrivate": _about_address(lambda address: address.is_private),
    "AlwaysTrue": lambda value: True,
    "AlwaysFalse": lambda value: False,
}

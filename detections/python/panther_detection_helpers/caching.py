"""Counters, string sets and dictionaries that outlive an event, under a key and for a time.

A row lives 90 days unless told otherwise; a time below 1,000,000,000 counts from now, a later one is
the moment itself. Rows past their time may still answer until they are swept, unless
`force_ttl_check` is given; a counter or set that has passed its time starts anew when it is added to.
"""

import json

import _panther_store

DEFAULT_TTL_SECONDS = 90 * 24 * 3600
# What an item of the original's table may have: DynamoDB, limits of keys and items. Beyond them it is the rule that fails.
MOST_KEY_BYTES = 2048
MOST_ROW_BYTES = 400_000
MOST_NESTING = 32  # of an item's attributes, there as well
_FIRST_ABSOLUTE = 1_000_000_000


def _store():
    return _panther_store.current


def _moment(epoch_seconds):
    if epoch_seconds is None:
        epoch_seconds = DEFAULT_TTL_SECONDS
    seconds = int(epoch_seconds)
    return _number(seconds if seconds >= _FIRST_ABSOLUTE else _store().time() + seconds)


def _number(value):
    if not -(2**63) <= value < 2**63:
        raise OverflowError("a number of the store has at most 64 bits")
    return value


def _key(key):
    if not isinstance(key, str) or not key:
        raise TypeError(f"a key of the store must be a string that is not empty, not {key!r}")
    size = len(key.encode())
    if size > MOST_KEY_BYTES:
        raise ValueError(f"a key of the store has at most {MOST_KEY_BYTES} bytes, not {size}")
    return key


def _read(key, force_ttl_check):
    row = _store().row(_key(key))
    return None if force_ttl_check and _store().expired(row) else row


def _members(values):
    members = {values} if isinstance(values, str) else set(values)
    for member in members:
        if not isinstance(member, str):
            raise TypeError(f"a string set holds strings, not {type(member).__name__}")
        member.encode()  # a lone surrogate has no form in the store
    return members


def _sized(members):
    size = sum(len(member.encode()) for member in members)
    if size > MOST_ROW_BYTES:
        raise ValueError(f"a row of the store has at most {MOST_ROW_BYTES} bytes, not {size}")
    return members


def _storable(value, depth=0):
    """Raise for what is JSON to Python and not to the host: numbers beyond 64 bits, much nesting."""
    if depth > MOST_NESTING:
        raise ValueError(f"nested more than {MOST_NESTING} deep")
    if isinstance(value, dict):
        for item in value.values():
            _storable(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _storable(item, depth + 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("a number beyond 64 bits")


def ttl_expired(response):
    """Whether a row, as `{"Item": {"expiresAt": seconds}}`, has passed its time."""
    expires = (response or {}).get("Item", {}).get("expiresAt")
    return expires and float(expires) < _store().time() or False


def get_counter(key, force_ttl_check=False):
    """The counter's value, 0 if there is none."""
    row = _read(key, force_ttl_check)
    return (row["count"] or 0) if row else 0


def increment_counter(key, val=1, epoch_seconds=DEFAULT_TTL_SECONDS):
    """Add to the counter, set its time anew, and give its new value."""
    moment = _moment(epoch_seconds)
    value = int(val)
    _number((_read(key, False)["count"] or 0) + _number(value))
    value = _store().add(key, value)
    _store().expire(key, moment)
    return value


def reset_counter(key):
    """Remove the counter."""
    _store().reset_count(_key(key))


def set_key_expiration(key, epoch_seconds):
    """Set when the row ends."""
    _store().expire(_key(key), _moment(epoch_seconds))


def put_dictionary(key, val, epoch_seconds=None):
    """Store a mapping that JSON can hold in place of what was there."""
    from collections.abc import Mapping

    from panther_core.immutable import json_encoder

    if not isinstance(val, Mapping):
        raise TypeError("put_dictionary: value is not a dictionary")
    try:
        text = json.dumps(val, default=json_encoder, allow_nan=False)
        if len(text) > MOST_ROW_BYTES:
            raise ValueError(f"a row of the store has at most {MOST_ROW_BYTES} bytes, not {len(text)}")
        plain = json.loads(text)
        _storable(plain)
        json.dumps(plain, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"put_dictionary: value cannot be written as JSON: {error}") from error
    moment = _moment(epoch_seconds)
    _store().put_dict(_key(key), plain)
    _store().expire(key, moment)


def get_dictionary(key, force_ttl_check=False):
    """The stored mapping, empty if there is none."""
    row = _read(key, force_ttl_check)
    return json.loads(json.dumps(row["dict"])) if row and row["dict"] is not None else {}


def get_string_set(key, force_ttl_check=False):
    """The stored set, empty if there is none."""
    row = _read(key, force_ttl_check)
    return set(row["set"] or ()) if row else set()


def put_string_set(key, val, epoch_seconds=None):
    """Store a set in place of what was there; an empty one removes it."""
    members = set(val)
    _sized(_members(members))
    if not members:
        reset_string_set(key)
        return
    moment = _moment(epoch_seconds)
    _store().put_set(_key(key), members)
    _store().expire(key, moment)


def add_to_string_set(key, val, epoch_seconds=DEFAULT_TTL_SECONDS):
    """Add one string or several, set the row's time anew, and give the set as it is then."""
    members = _members(val)
    if not members:
        return get_string_set(key)
    moment = _moment(epoch_seconds)
    _sized(members | (_read(key, False)["set"] or set()))
    result = _store().union(key, members)
    _store().expire(key, moment)
    return result


def remove_from_string_set(key, val, epoch_seconds=DEFAULT_TTL_SECONDS):
    """Remove one string or several, set the row's time anew, and give the set as it is then."""
    members = _members(val)
    if not members:
        return get_string_set(key)
    moment = _moment(epoch_seconds)
    result = _store().remove(_key(key), members)
    _store().expire(key, moment)
    return result


def reset_string_set(key):
    """Remove the set."""
    _store().reset_set(_key(key))


def evaluate_threshold(key, threshold=10, expiry_seconds=3600):
    """Count one more under `key`; True, and the count anew, once it reaches `threshold`.

    Each count sets the row's time anew.
    """
    if increment_counter(key, 1, expiry_seconds) >= threshold:
        reset_counter(key)
        return True
    return False


def check_account_age(key):
    """Whether the store knows `key` as that of a new account. What is no usable key is not known."""
    if not isinstance(key, str) or not key:
        return False
    return bool(get_string_set(key))

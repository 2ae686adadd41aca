"""Read-only views of an event's JSON, as detections see them.

A detection gets the event wrapped, so that it cannot change what other detections see, and so that a
key which is not there exactly is found in another spelling of its letters' case. Values are wrapped
when they are asked for; each view remembers what it has answered, because a hundred rules ask one
event for the same few fields.
"""

from abc import ABC
from collections.abc import Mapping, Sequence

__all__ = ["ImmutableContainerMixin", "ImmutableCaseInsensitiveDict", "ImmutableList", "json_encoder"]

_UNSEEN = object()  # not asked for yet
_ABSENT = object()  # asked for, and no spelling of the key is there


def plain_copy(value):
    """A deep, mutable copy of a JSON value; other objects are returned as they are."""
    kind = type(value)
    if kind is dict:
        return {key: plain_copy(item) for key, item in value.items()}
    if kind is list:
        return [plain_copy(item) for item in value]
    if kind is tuple:
        return tuple(plain_copy(item) for item in value)
    if isinstance(value, ImmutableContainerMixin):
        return value.copy()
    return value


def wrap(value):
    """`value` as a detection may see it: dicts and lists behind views, all else unchanged."""
    kind = type(value)
    if kind is dict:
        return ImmutableCaseInsensitiveDict(value)
    if kind is list:
        return ImmutableList(value)
    return value


class ImmutableContainerMixin(ABC):
    """What both views share: equality by content, a representation that names the view, no hash."""

    __slots__ = ("_raw",)
    __hash__ = None

    def copy(self):
        """A deep copy in plain, mutable dicts and lists."""
        return plain_copy(self._raw)

    def __len__(self):
        return len(self._raw)

    def __ne__(self, other):
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal


class ImmutableCaseInsensitiveDict(ImmutableContainerMixin, Mapping):
    """A read-only mapping whose keys are found in any letter case if no exact key is there.

    Of several keys that differ only in case, the first in the event's order answers.
    """

    __slots__ = ("_seen", "_paths", "_folded")

    def __init__(self, raw):
        self._raw = raw
        self._seen = {}
        self._paths = {}
        self._folded = None

    def _find(self, key):
        raw = self._raw
        value = raw.get(key, _UNSEEN)
        if value is _UNSEEN:
            folded = self._folded
            lower = key.lower()
            if folded is None:
                folded = {}
                for name, item in raw.items():
                    folded.setdefault(name.lower(), item)
                self._folded = folded
            value = folded.get(lower, _ABSENT)
        kind = type(value)
        if kind is dict:
            value = ImmutableCaseInsensitiveDict(value)
        elif kind is list:
            value = ImmutableList(value)
        self._seen[key] = value
        return value

    def get(self, key, default=None):
        """The value of `key`, `default` if no spelling of it is there (a null is None, not `default`)."""
        value = self._seen.get(key, _UNSEEN)
        if value is _UNSEEN:
            value = self._find(key)
        return default if value is _ABSENT else value

    def __getitem__(self, key):
        value = self._seen.get(key, _UNSEEN)
        if value is _UNSEEN:
            value = self._find(key)
        if value is _ABSENT:
            raise KeyError(key)
        return value

    def __contains__(self, key):
        value = self._seen.get(key, _UNSEEN)
        if value is _UNSEEN:
            value = self._find(key)
        return value is not _ABSENT

    def __iter__(self):
        return iter(list(self._raw))

    def __reversed__(self):
        return reversed(list(self._raw))

    def deep_get(self, *keys, default=None):
        """Follow `keys` through nested mappings; `default` where the way ends or the value is None."""
        if default is not None and isinstance(default, Mapping):
            return self._walk(keys, default)
        try:
            value = self._paths.get(keys, _UNSEEN)
        except TypeError:
            return self._walk(keys, default)
        if value is _UNSEEN:
            value = self._walk(keys, None)
            self._paths[keys] = value
        return default if value is None else value

    def _walk(self, keys, default):
        value = self
        for key in keys:
            # a missing key continues in `default`, as it may itself be a mapping
            if type(value) is ImmutableCaseInsensitiveDict or isinstance(value, Mapping):
                value = value.get(key, default)
            else:
                value = default
        return default if value is None else value

    def to_dict(self):
        """A deep copy in plain, mutable dicts and lists."""
        return plain_copy(self._raw)

    def raw_view(self):
        """The plain content. A copy here: another detection sees the same event."""
        return plain_copy(self._raw)

    @property
    def mutable_type(self):
        return dict

    def __eq__(self, other):
        if isinstance(other, ImmutableCaseInsensitiveDict):
            return self._raw == other._raw
        if isinstance(other, Mapping):
            return self._raw == other
        return NotImplemented

    __hash__ = None

    def __repr__(self):
        return f"{type(self).__name__}({self._raw})"

    def __copy__(self):
        return self

    def __deepcopy__(self, _memo):
        return type(self)(plain_copy(self._raw))

    def __reduce__(self):
        return (type(self), (self._raw,))


class ImmutableList(ImmutableContainerMixin, Sequence):
    """A read-only sequence that is no `list`: it does not add, and a slice of it is a tuple."""

    __slots__ = ("_seen",)

    def __init__(self, raw):
        self._raw = raw
        self._seen = None

    def _wrapped(self):
        seen = self._seen
        if seen is None:
            seen = self._seen = tuple([wrap(item) for item in self._raw])
        return seen

    def __getitem__(self, index):
        if isinstance(index, slice):
            return tuple(plain_copy(item) for item in self._raw[index])
        return self._wrapped()[index]

    def __iter__(self):
        return iter(self._wrapped())

    def __contains__(self, value):
        return value in self._wrapped()

    def as_list(self):
        """A deep copy as a plain list."""
        return plain_copy(self._raw)

    @property
    def mutable_type(self):
        return list

    def __eq__(self, other):
        if isinstance(other, ImmutableList):
            return self._raw == other._raw
        if isinstance(other, list):
            return self._raw == other
        if isinstance(other, tuple):
            return self._raw == list(other)
        return NotImplemented

    __hash__ = None

    def __repr__(self):
        return f"{type(self).__name__}({tuple(self._raw)})"

    def __copy__(self):
        return self

    def __deepcopy__(self, _memo):
        return type(self)(plain_copy(self._raw))

    def __reduce__(self):
        return (type(self), (self._raw,))


def json_encoder(value):
    """For `json.dumps(default=...)`: views become what they show; anything else is refused."""
    if isinstance(value, ImmutableContainerMixin):
        return value._raw
    raise TypeError(f"object of type {type(value)} is not JSON serializable")

"""The event object that `rule(event)` and the functions after it get."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from .exceptions import PantherError
from .immutable import ImmutableCaseInsensitiveDict, plain_copy, wrap

__all__ = ["PantherEvent"]


class PantherEvent(ImmutableCaseInsensitiveDict):
    """A log event: a read-only, case-insensitive mapping with the lookups of the detection language."""

    __slots__ = ("data_model", "lookup_function")

    def __init__(self, event, data_model=None):
        super().__init__(event._raw if isinstance(event, ImmutableCaseInsensitiveDict) else event)
        self.data_model = data_model
        self.lookup_function = None

    def udm(self, *key, default=None):
        """A unified field: the data model's mapping if it has one of that name (and nothing else then),
        else `p_udm`, else the event's own path. Falsy values of the last two count as missing."""
        model = self.data_model
        if model is not None and len(key) == 1:
            path = model.paths.get(key[0])
            if path is not None:
                found = path.find(self._raw)
                if len(found) == 1:
                    return wrap(found[0])
                if not found:
                    return default
                raise Exception(  # pylint: disable=broad-exception-raised
                    f"JSONPath [{path}] in DataModel [{model.data_model_id}], matched multiple fields."
                )
            method = model.methods.get(key[0])
            if method is not None:
                return wrap(method(ImmutableCaseInsensitiveDict(self._raw)))
        return self.deep_get("p_udm", *key) or self.deep_get(*key) or default if key else default

    def udm_path(self, key):
        """The path or the name of the method that the data model maps `key` to."""
        if self.data_model is None:
            raise PantherError(
                f"a data model hasn't been specified for log type: {self.get('p_log_type')}"
            )
        path = self.data_model.paths.get(key)
        if path is not None:
            return str(path)
        method = self.data_model.methods.get(key)
        return None if method is None else method.__name__

    def deep_walk(self, *keys, default=None, return_val="all"):
        """Follow exact `keys` through mappings and, where there are lists, through each element.

        Several values come as a plain list without repeats, a single one as itself; `return_val` may
        ask for the "first" or the "last".
        """
        return plain_copy(_deep_walk(self._raw, keys, 0, default, return_val))

    def lookup(self, lookup_name, lookup_key):
        """What an enrichment table says about a key. Tests read `_mocked_lookup_data_`."""
        tables = self.get("_mocked_lookup_data_")
        if tables is not None:
            table = tables.get(lookup_name)
            return None if table is None else table.get(lookup_key)
        if self.lookup_function is not None:
            return wrap(self.lookup_function(lookup_name, lookup_key))
        return None

    def event_time_epoch(self, force_utc=True):
        """`p_event_time` in whole seconds since 1970, 0 if it is missing or in another layout."""
        text = self.get("p_event_time")
        if text is None:
            return 0
        if not isinstance(text, str):
            raise TypeError(f"p_event_time is [{type(text).__name__}], expected [str]")
        text = text.split(".")[0]
        for layout in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"):
            try:
                time = datetime.strptime(text, layout)
            except ValueError:
                continue
            return int((time.replace(tzinfo=timezone.utc) if force_utc else time).timestamp())
        return 0


def _deep_walk(value, keys, at, default, return_val):
    if at == len(keys):
        return default if value is None or _hollow(value) else value
    if isinstance(value, Mapping):
        # a missing key continues in `default`, as it may itself be a list or mapping
        return _deep_walk(value.get(keys[at], default), keys, at + 1, default, return_val)
    found = {}
    if isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            inner = _deep_walk(item, keys, at, default, return_val)
            if inner is None:
                continue
            if isinstance(inner, Sequence) and not isinstance(inner, str):
                found.update(dict.fromkeys(inner))
            else:
                found[inner] = None
    if not found:
        return default
    values = list(found)
    if return_val == "first":
        return values[0]
    if return_val == "last":
        return values[-1]
    if return_val == "all":
        return values[0] if len(values) == 1 else values
    return "all"


def _hollow(value):
    """A list with nothing in it but such lists."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(_hollow(item) for item in value)
    )

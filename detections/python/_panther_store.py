"""The key-value store as one worker sees it: the host's rows with this batch's own writes over them.

Reads ask the host once a batch and key. Writes are noted as operations and go to the host with the
event that made them; nothing is written from here.
"""

import time

_MISSING = object()


class StoreUnavailable(Exception):
    """No host to ask: code that runs while a pack is loaded has no store."""


class Store:
    """`ask(key)` gives the host's row or None; `now` is the batch's time in seconds since 1970."""

    def __init__(self, ask=None):
        self._ask = ask
        self._rows = {}
        self._ops = []
        self.now = 0.0

    def begin(self, now):
        """A new batch: forget rows, take its time."""
        self._rows = {}
        self._ops = []
        self.now = now

    def time(self):
        return int(self.now or time.time())

    def take_ops(self):
        """The operations since the last call, in order."""
        ops, self._ops = self._ops, []
        return ops

    def row(self, key):
        """The row of `key` (count, set, dict, expires), each None where there is none."""
        row = self._rows.get(key)
        if row is None:
            if self._ask is None:
                raise StoreUnavailable("the key-value store is not there while a pack is loaded")
            found = self._ask(key) or {}
            members = found.get("set")
            row = {
                "count": found.get("count"),
                "set": None if members is None else set(members),
                "dict": found.get("dict"),
                "expires": found.get("expires"),
            }
            self._rows[key] = row
        return row

    def expired(self, row):
        """Whether the row's time has passed, though it may not be swept yet."""
        return row["expires"] is not None and row["expires"] < self.time()

    # Operations: the row here and the note for the host change alike.

    def add(self, key, value):
        row = self.row(key)
        if self.expired(row):
            self._clear(key, row)
        row["count"] = (row["count"] or 0) + value
        self._note(key, "add", value=value)
        return row["count"]

    def union(self, key, values):
        row = self.row(key)
        if self.expired(row):
            self._clear(key, row)
        row["set"] = (row["set"] or set()) | set(values)
        self._note(key, "union", values=sorted(values, key=str))
        return set(row["set"])

    def remove(self, key, values):
        row = self.row(key)
        if self.expired(row):
            self._clear(key, row)
        row["set"] = (row["set"] or set()) - set(values) or None
        self._note(key, "remove", values=sorted(values, key=str))
        return set(row["set"] or ())

    def put_set(self, key, values):
        row = self.row(key)
        self._clear(key, row, keep="set")
        row["set"] = set(values)
        self._note(key, "put_set", values=sorted(values, key=str))

    def put_dict(self, key, value):
        row = self.row(key)
        self._clear(key, row, keep="dict")
        row["dict"] = value
        self._note(key, "put_dict", value=value)

    def reset_set(self, key):
        self.row(key)["set"] = None
        self._note(key, "reset_set")

    def reset_count(self, key):
        self.row(key)["count"] = None
        self._note(key, "reset_count")

    def expire(self, key, at):
        self.row(key)["expires"] = at
        self._note(key, "expire", at=at)

    def _clear(self, key, row, keep=None):
        """What is put as a whole replaces the row, so the other columns go."""
        if row["count"] is not None and keep != "count":
            row["count"] = None
            self._note(key, "reset_count")
        if row["set"] is not None and keep != "set":
            row["set"] = None
            self._note(key, "reset_set")
        if row["dict"] is not None and keep != "dict":
            row["dict"] = None
            self._note(key, "put_dict", value=None)

    def _note(self, key, op, **fields):
        self._ops.append({"key": key, "op": op, **fields})


current = Store()

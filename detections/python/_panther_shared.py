"""What all detections of a worker share, and whether one of them has changed it.

A detection that puts its own function in the place of `json.loads` makes every other one wrong, without an error anywhere. So what is shared is
compared, by identity, with what was there when the pack was loaded.
"""

import builtins
import gc
import json
import os
import sys
import time
import types
from operator import attrgetter, is_, itemgetter

# Of the standard library, what detections use, if it was imported when the pack was loaded; and the runner's own.
_MODULES = (
    "builtins", "json", "json.decoder", "json.encoder", "json.scanner", "re", "time", "datetime", "os", "posixpath", "ipaddress", "fnmatch",
    "collections", "_collections_abc", "functools", "itertools", "operator", "string", "base64", "binascii", "hashlib", "hmac", "urllib.parse",
    "math", "random", "copy", "statistics", "decimal", "uuid", "secrets", "difflib", "textwrap", "html", "unicodedata", "zlib", "struct", "gc",
    "_strptime", "calendar", "traceback",
    "_panther_errors", "_panther_detection", "_panther_filter", "_panther_simple", "_panther_conditions", "_panther_store", "_panther_wire",
    "_panther_worker", "_panther_limits", "_panther_shared", "panther_core", "panther_core.data_model", "panther_core.enriched_event",
    "panther_core.exceptions", "panther_core.immutable", "panther_core.json_path", "panther_detection_helpers",
    "panther_detection_helpers.caching", "panther_detection_helpers.monitoring",
)  # fmt: skip
# What is the same from one call of a module to the next, and not for its user to change. Numbers, texts and containers are not compared: modules note in them
# what they have found out.
_FIXED = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type, json.JSONDecoder, json.JSONEncoder)
_BUILTINS, _BUILTIN_NAMES = vars(builtins), frozenset(vars(builtins))
_MEMBERS = (types.FunctionType, classmethod, staticmethod, property)
_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8  # flags of a class: written in Python, or at least changeable
_PARTS = attrgetter("__code__"), attrgetter("__defaults__")


class Shared:
    """Of those modules and of `helpers`, names of modules of the pack: their functions and classes, and what those are made of."""

    def __init__(self, helpers=()):
        self._spaces = []  # (name, keys, get, dictionary, values)
        self._grows = []  # of each of them, whether it may get new names
        self._functions = {}  # function: name
        self._classes = set()
        modules = {name: sys.modules[name] for name in (*_MODULES, *helpers) if isinstance(sys.modules.get(name), types.ModuleType)}
        for name, module in modules.items():
            self._module(name, module)
        self._space("sys.modules", sys.modules, modules, grows=True)
        self._modules = [space for space, grows in zip(self._spaces, self._grows) if grows]
        self._dictionaries = [dictionary for _name, _keys, _get, dictionary, _values in self._spaces]
        self._sizes = list(map(len, self._dictionaries))
        self._names = list(map(frozenset, self._dictionaries))
        functions = tuple(self._functions)
        self._parts = [(get, functions, tuple(map(get, functions))) for get in _PARTS]
        self._settings = self._read_settings()

    def begin(self):
        """The interpreter's settings are to be as they are now."""
        self._settings = self._read_settings()

    def changed(self, inside=True):
        """The name of something that has been changed, or None. `inside`: look into classes and functions too, which takes twice as long as all the rest."""
        for name, keys, get, dictionary, values in self._spaces if inside else self._modules:
            try:
                same = all(map(is_, get(dictionary), values))
            except KeyError:
                same = False
            if not same:
                return next(f"{name}.{key}" for key, value in zip(keys, values) if dictionary.get(key) is not value)
        if inside and list(map(len, self._dictionaries)) != self._sizes:
            grown = self._grown()
            if grown:
                return grown
        for get, functions, values in self._parts if inside else ():
            if not all(map(is_, map(get, functions), values)):
                return next(self._functions[function] for function, value in zip(functions, values) if get(function) is not value)
        now = self._read_settings()
        if now != self._settings:
            return next((name for name, value in self._settings.items() if value is not None and value != now[name]), None)
        return None

    def _grown(self):
        """A new name that hides another: in a class one that it inherits, in a module a built-in one."""
        for place, dictionary in enumerate(self._dictionaries):
            if len(dictionary) == self._sizes[place]:
                continue
            name, known = self._spaces[place][0], self._names[place]
            new = [key for key in dictionary if key not in known]
            if not self._grows[place] and new:
                return f"{name}.{new[0]}"
            hides = next((key for key in new if key in _BUILTIN_NAMES and dictionary is not _BUILTINS), None)
            if hides:
                return f"{name}.{hides}"
            self._names[place] = frozenset(dictionary)
            self._sizes[place] = len(dictionary)
        return None

    def _module(self, name, module):
        fixed = {}
        for key, value in vars(module).items():
            if isinstance(value, _FIXED) and (name == "builtins" or not key.startswith("__")):
                fixed[key] = value
                self._value(f"{name}.{key}", value)
        self._space(name, vars(module), fixed, grows=True)

    def _value(self, name, value):
        if isinstance(value, types.FunctionType):
            self._functions.setdefault(value, name)
        elif isinstance(value, (json.JSONDecoder, json.JSONEncoder)):
            self._space(name, vars(value), vars(value))  # such as the decoder behind `json.loads`
        elif isinstance(value, type) and value.__flags__ & _HEAP_TYPE and not value.__flags__ & _IMMUTABLE_TYPE and value not in self._classes:
            self._classes.add(value)
            name = f"{value.__module__}.{value.__qualname__}"  # not the module through which it was met
            members = {key: member for key, member in vars(value).items() if isinstance(member, _MEMBERS)}
            self._space(name, vars(value), members)
            for key, member in members.items():
                self._value(f"{name}.{key}", getattr(member, "__func__", member))

    def _space(self, name, dictionary, fixed, grows=False):
        # With two keys or more, the getter gives a tuple.
        if fixed:
            keys = (*fixed, next(iter(fixed)))
            self._grows.append(grows)
            self._spaces.append((name, keys, itemgetter(*keys), dictionary, tuple(fixed[key] for key in keys)))

    @staticmethod
    def _read_settings(environment=os.environ, enabled=gc.isenabled, recursion=sys.getrecursionlimit):
        decimal = sys.modules.get("decimal")
        context = decimal and decimal.getcontext()
        return {
            "os.environ": dict(environment._data),
            "the time zone": (time.tzname, time.timezone),
            "the garbage collector": enabled(),
            "the recursion limit": recursion(),
            "the decimal context": context and (context.prec, context.rounding),
        }

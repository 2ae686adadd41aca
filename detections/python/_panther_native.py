"""What the native engine needs to know of a loaded pack: where its functions are written, and the values that they read.

Python has imported everything by now, so names are resolved as Python resolved them. Only what a detection's functions can reach is told. What has
no form here (an open file, an object of a class) is told as `X`, and the native engine leaves to Python what would touch it.
"""

import _strptime
import builtins
import collections
import datetime
import importlib.util
import ipaddress
import logging
import os
import re
import sys
import time
import types

import _panther_conditions
import _panther_simple

_OF_EACH_CLASS = frozenset(
    ("__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "__annotations__", "__firstlineno__", "__static_attributes__")
)
_OF_EACH_NAMEDTUPLE = frozenset(vars(collections.namedtuple("each", "")))
# Libraries of plain classes and functions that rules use for single events: their code is told like the pack's.
_LIBRARIES = ("policyuniverse",)
_MOST_OF_LIBRARY = 64  # elements of what a library has, from which on it is a table, told once for all its functions
_MOST_OF_TABLE = 100_000  # elements of a table that is told
_MOST_INT = 1 << 63
_BUILTINS = {id(value): name for name, value in vars(builtins).items() if callable(value)}


def dump(pack):
    """`files` by path, `functions` by id, `detections` and `models`; see the functions below for the forms."""
    return _Dump(pack).all()


class _Dump:
    def __init__(self, pack):
        self._pack = pack
        files = (getattr(sys.modules.get(name), "__file__", None) for name in _LIBRARIES)
        self._libraries = tuple(os.path.dirname(file) + os.sep for file in files if file)
        self._files = {}
        self._functions = {}
        self._tables = {}
        self._open = []

    def all(self):
        detections = []
        for index, detection in self._pack.detections.items():
            if detection.inline_filter is not None:
                continue
            names = (detection.matcher_name, *detection.defined)
            functions = {name: self._value(detection.namespace[name]) for name in names if name in detection.namespace}
            detections.append({"index": index, "functions": functions})
        models = []
        for log_type, model in self._pack.models.items():
            paths = {name: path.steps for name, path in model.paths.items()}
            methods = {name: self._value(method) for name, method in model.methods.items()}
            told = {name: method.__name__ for name, method in model.methods.items()}
            told |= {name: str(path) for name, path in model.paths.items()}
            models.append({"log_type": log_type, "paths": paths, "methods": methods, "told": told})
        while self._open:
            self._describe(*self._open.pop())
        return {"files": self._files, "functions": self._functions, "tables": self._tables, "detections": detections, "models": models, "addresses": _addresses(), "in_utc": _in_utc(), "iso_zones": sys.version_info >= (3, 11), "times": _times(), "countries": self._countries()}

    def _countries(self):
        """Countries by their codes of two letters, if the pack asks for them."""
        module = sys.modules.get("pycountry")
        try:
            fields = {country.alpha_2.lower(): country._fields for country in module.countries} if module else {}
        except Exception:  # pylint: disable=broad-exception-caught
            return {}  # another release, whose countries are told otherwise
        return {code: {name: self._value(value) for name, value in of.items()} for code, of in fields.items()}

    def _value(self, value, depth=0):
        """A value as [form, ...]."""
        kind = type(value)
        if value is None or kind is bool:
            return ["K", value]
        if kind is int:
            return ["K", value] if -_MOST_INT <= value < _MOST_INT else ["X", "int"]
        if kind is float:
            return ["D", repr(value)]
        if kind is str:
            return ["K", value] if _is_text(value) else ["X", "str"]
        if kind in (list, tuple, set, frozenset) and depth < 20:
            form = {list: "L", tuple: "T", set: "S", frozenset: "S"}[kind]
            return [form, [self._value(item, depth + 1) for item in value]]
        if kind is dict and depth < 20:
            return ["M", [[self._value(key, depth + 1), self._value(item, depth + 1)] for key, item in value.items()]]
        if kind is re.Pattern and isinstance(value.pattern, str) and _is_text(value.pattern):
            return ["R", [value.pattern, int(value.flags)]]
        if kind is datetime.timedelta:
            return ["Q", value // datetime.timedelta(microseconds=1)]
        if kind is types.FunctionType:
            return self._function(value)
        if kind is types.ModuleType:
            return ["N", value.__name__]
        if isinstance(value, type):
            if _is_namedtuple(value):
                return ["Y", list(value._fields)]
            parts = self._class(value)
            if parts is not None:
                return ["O", parts]
            name = _BUILTINS.get(id(value)) or f"{value.__module__}.{value.__qualname__}"
            if issubclass(value, BaseException):
                return ["E", {"names": [_name_of(base) for base in value.__mro__], "plain": _shows_arguments(value)}]
            return ["C", name]
        if id(value) in _BUILTINS:
            return ["C", _BUILTINS[id(value)]]
        if kind is logging.Logger:
            return ["C", "logging.Logger"]
        owner = getattr(value, "__self__", None)
        if callable(value) and isinstance(getattr(value, "__qualname__", None), str) and (owner is None or type(owner) is types.ModuleType):
            return ["C", f"{value.__module__}.{value.__qualname__}"]
        return ["X", kind.__name__]

    def _function(self, function):
        code = function.__code__
        if not self._is_told(function):
            return ["C", f"{function.__module__}.{function.__qualname__}"]
        # `super()` makes the class that a method stands in a variable of the method.
        if function.__closure__ and code.co_freevars != ("__class__",) or function.__name__ == "<lambda>":
            return ["X", "closure"]
        name = f"{function.__module__}:{code.co_filename}:{function.__qualname__}:{code.co_firstlineno}"
        if name not in self._functions:
            self._functions[name] = None
            self._open.append((name, function))
        return ["F", name]

    def _is_told(self, function):
        """Whether its code is of the pack, or of what simple detections are written in."""
        place = function.__code__.co_filename
        ours = function.__module__ == _panther_conditions.__name__ or place in _panther_simple.SOURCES
        return ours or self._is_read(place)

    def _is_read(self, path):
        return self._is_of_pack(path) or path.startswith(self._libraries)

    def _is_of_pack(self, path):
        return path.startswith(self._pack.layer) and "/runtime/" not in path[len(self._pack.layer) :]

    def _describe(self, name, function):
        code = function.__code__
        if not self._tell_file(code.co_filename):
            del self._functions[name]
            return
        named = _names(code)
        scope = function.__globals__
        known = {}
        for one in named:
            if one in scope:
                value = scope[one]
                if type(value) is types.ModuleType:
                    known[one] = self._module(value, named)
                elif type(value) in (dict, list, set) and len(value) > _MOST_OF_LIBRARY and not self._is_of_pack(code.co_filename):
                    known[one] = self._table(value)
                else:
                    known[one] = self._value(value)
            elif one in vars(builtins):
                known[one] = self._value(vars(builtins)[one])
        keywords = function.__kwdefaults__ or {}
        self._functions[name] = {
            "module": function.__module__,
            "file": code.co_filename,
            "name": code.co_name,
            "line": code.co_firstlineno,
            "globals": known,
            "defaults": [self._value(value) for value in function.__defaults__ or ()],
            "keyword_defaults": {key: self._value(value) for key, value in keywords.items()},
            "super": self._super(function),
        }

    def _table(self, value):
        """What a library has a lot of: told once, if it is texts."""
        if type(value) is dict or len(value) > _MOST_OF_TABLE or not all(type(item) is str and _is_text(item) for item in value):
            return ["X", "a library's table"]
        name = str(id(value))
        if name not in self._tables:
            # The order of a set is nobody's: texts that begin alike lie together, so that going through them is quick.
            form, items = ("S", sorted(value)) if type(value) is set else ("L", value)
            self._tables[name] = [form, [["K", item] for item in items]]
        return ["B", name]

    def _class(self, cls):
        """What a class of the pack has, with what it takes from the one above it; None if it is more than methods, properties and constants."""
        members = {}
        for one in reversed(cls.__mro__[:-1]):
            path = getattr(sys.modules.get(one.__module__), "__file__", None) or ""
            if type(one) is not type or len(one.__bases__) != 1 or not self._is_read(path):
                return None
            members |= {name: value for name, value in vars(one).items() if name not in _OF_EACH_CLASS}
        if any(name.startswith("__") and name != "__init__" for name in members) or not members:
            return None
        parts = {"methods": {}, "properties": {}, "constants": {}}
        for name, value in members.items():
            if type(value) is types.FunctionType:
                parts["methods"][name] = self._function(value)
            elif type(value) is property and value.fset is None and type(value.fget) is types.FunctionType:
                parts["properties"][name] = self._function(value.fget)
            elif value is None or type(value) in (bool, int, float, str):
                parts["constants"][name] = self._value(value)
        return parts

    def _super(self, function):
        """The methods that `super()` means in a method."""
        if function.__code__.co_freevars != ("__class__",):
            return {}
        parts = self._class(function.__closure__[0].cell_contents.__mro__[1])
        return parts["methods"] if parts else {}

    def _module(self, module, named):
        """A module of the pack with those of its names that the function may mean; others by their name."""
        if not self._is_read(getattr(module, "__file__", None) or ""):
            return ["N", module.__name__]
        return ["P", {one: self._value(vars(module)[one]) for one in named if one in vars(module)}]

    def _tell_file(self, path):
        """Tell the text of a file, if it has a form: one with half a character has none. Whether it has."""
        if path not in self._files:
            source = _panther_simple.SOURCES.get(path)
            if source is None:
                source = importlib.util.decode_source(self._pack.text(path))
            self._files[path] = source if _is_text(source) else None
        return self._files[path] is not None


def _names(code):
    """All names that a function's code mentions, those of functions inside it too."""
    names = set(code.co_names)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names |= _names(inner)
    return names


def _name_of(base):
    return _BUILTINS.get(id(base)) or f"{base.__module__}.{base.__qualname__}"


def _is_text(value):
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_namedtuple(cls):
    """Whether a class is what `namedtuple` makes, with no methods of its own and no defaults."""
    if cls.__bases__ != (tuple,) or not hasattr(cls, "_fields") or getattr(cls, "_field_defaults", None):
        return False
    return type(cls) is type and set(vars(cls)) <= _OF_EACH_NAMEDTUPLE | set(cls._fields)


def _shows_arguments(cls):
    """Whether an exception's class takes and shows its arguments as `Exception` does."""
    own = [one for one in cls.__mro__ if one.__module__ != "builtins"]
    others = [one for one in cls.__mro__ if one.__module__ == "builtins"]
    plain = (Exception, BaseException, ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, object)
    changed = any(name in vars(one) for one in own for name in ("__new__", "__init__", "__repr__", "__str__"))
    return not changed and type(cls) is type and all(one in plain for one in others)


def _in_utc():
    """Whether local time is UTC, all the year."""
    return all(time.localtime(month * 2_592_000 + year * 31_557_600).tm_gmtoff == 0 for year in range(0, 60, 5) for month in range(12))


def _times():
    """The expressions by which this version of Python reads times."""
    expressions = _strptime.TimeRE()
    return {directive: expressions[directive] for directive in "abdfHImMpSyYz"}


def _addresses():
    """The networks that this version of Python counts as private, and those inside them that it does not."""
    four, six = ipaddress._IPv4Constants, ipaddress._IPv6Constants
    private = [*four._private_networks, *six._private_networks]
    others = [*getattr(four, "_private_networks_exceptions", ()), *getattr(six, "_private_networks_exceptions", ())]
    return {"private": [str(network) for network in private], "not_private": [str(network) for network in others]}

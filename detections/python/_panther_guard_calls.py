"""How the guard's reading understands calls: of event methods, of string methods, of functions."""

import ast
import fnmatch
import hashlib
import ipaddress
import re
import types

from _panther_guard_expressions import HASHABLE, Expressions, holds_unknown, names_inside
from _panther_guard_formula import ALL_TYPES, all_of, any_of, of_type
from _panther_guard_values import (
    Choice,
    Constant,
    Event,
    Field,
    Items,
    Json,
    Mapped,
    Text,
    Truth,
    Typed,
    Unknown,
    string_test,
)
from panther_core.immutable import ImmutableCaseInsensitiveDict, ImmutableList

# Calling these raises at worst.
PURE_MODULES = frozenset((
    "re", "json", "json.decoder", "ipaddress", "datetime", "fnmatch", "math", "base64", "binascii",
    "urllib.parse", "difflib", "shlex", "dateutil.parser._parser", "_json",
))  # fmt: skip
STRING_TO_STRING = frozenset(("lower", "upper", "strip", "lstrip", "rstrip", "title", "casefold", "capitalize", "swapcase"))
STRING_TESTS = frozenset(("isdigit", "isalpha", "isalnum", "isnumeric", "isupper", "islower", "isspace", "isdecimal"))

# The pack's helper deep_get(mapping, *keys, default=None), by the text of its tree: the same as the
# event's method of that name on any mapping.
DEEP_GET = frozenset(("80b4b935d1cb538d",))

_SAMPLES = {
    "missing": (None,), "null": (None,), "bool": (True,), "number": (1, 1.5), "string": ("",),
    "array": (ImmutableList([]),), "object": (ImmutableCaseInsensitiveDict({}),),
    "dict": ({},), "list": ([],), "tuple": ((),),
}  # fmt: skip
_PLAIN_SAMPLES = {"array": ([],), "object": ({},)}
_MAPPINGS = frozenset(("object", "dict"))
_ITERABLES = frozenset(("string", "array", "object", "dict", "list", "tuple"))


def fingerprint(definition):
    """A hash of what a function does: its tree without annotations and documentation, the same under
    each version of Python."""
    body = definition.body
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    text = _plain(definition.args) + "".join(map(_plain, body))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(node):
    if isinstance(node, ast.AST):
        fields = (
            f"{name}={_plain(value)}"
            for name, value in ast.iter_fields(node)
            if value not in (None, []) and name not in ("annotation", "returns", "ctx", "kind", "type_comment")
        )
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(_plain, node))}]"
    return repr(node)


class Calls(Expressions):
    """The part of a reading that deals with calls."""

    def at_Call(self, node, names, when):
        if isinstance(node.func, ast.Name) and node.func.id in ("any", "all") and node.func.id not in names:
            if len(node.args) == 1 and not node.keywords:
                if self.code.look_up(self.namespace, node.func.id) in (any, all):
                    return self.quantified(node.func.id, node.args[0], names, when)
        if isinstance(node.func, ast.Attribute):
            base = self.value(node.func.value, names, when)
            arguments, keywords = self.arguments(node, names, when)
            if arguments is None:
                self.give_up(when)
                return Unknown()
            if isinstance(base, Constant) and isinstance(base.object, (types.ModuleType, type)):
                function = getattr(base.object, node.func.attr, None)
                if node.func.attr in self.code.changed or function is None:
                    self.give_up(when)
                    return Unknown()
                return self.function(function, arguments, keywords, when)
            return self.method(base, node.func.attr, arguments, keywords, when)
        function = self.value(node.func, names, when)
        arguments, keywords = self.arguments(node, names, when)
        if arguments is None or not isinstance(function, Constant):
            self.give_up(when)
            return Unknown()
        return self.function(function.object, arguments, keywords, when)

    def arguments(self, node, names, when):
        arguments = []
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                items = self.known_items(self.value(argument.value, names, when))
                if items is None:
                    return None, None
                arguments += items
            else:
                arguments.append(self.value(argument, names, when))
        keywords = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                return None, None
            keywords[keyword.arg] = self.value(keyword.value, names, when)
        return arguments, keywords

    def quantified(self, which, node, names, when):
        """any() and all(), over a display, a comprehension, or something to iterate."""
        if names_inside(node):
            self.give_up(when)
        if isinstance(node, (ast.GeneratorExp, ast.ListComp)) and len(node.generators) == 1:
            generator = node.generators[0]
            sequence = self.value(generator.iter, names, when)
            items = self.known_items(sequence)
            if items is not None and len(items) <= 64:
                return self._unrolled(which, node, generator, items, names, when)
            entered = when
            if isinstance(sequence, (Field, Choice, Typed)):
                entered = all_of(when, sequence.truthy())
            element = self.element_of(sequence, when)
            inner = dict(names)
            self.assign(generator.target, element, inner, entered) if isinstance(generator.target, ast.Name) else self._unpack(generator.target, inner, entered)
            yes, no = self._element(node, generator, inner, entered)
            full = sequence.truthy() if isinstance(sequence, (Field, Choice, Typed)) else True
            return Truth(all_of(full, yes), True) if which == "any" else Truth(True, all_of(full, no))
        value = self.value(node, names, when)
        items = self.known_items(value)
        if items is None:
            self.element_of(value, when)
            return Truth()
        for item in items:
            self.ask_truth(item, when)
        yes, no = [item.truthy() for item in items], [item.falsy() for item in items]
        return Truth(any_of(*yes), all_of(*no)) if which == "any" else Truth(all_of(*yes), any_of(*no))

    def _unrolled(self, which, node, generator, items, names, when):
        yes_all, no_all = [], []
        for item in items:
            inner = dict(names)
            self.assign(generator.target, item, inner, when)
            self.step()
            yes, no = self._element(node, generator, inner, when)
            yes_all.append(yes)
            no_all.append(no)
        if which == "any":
            return Truth(any_of(*yes_all), True)
        return Truth(True if generator.ifs else all_of(*yes_all), any_of(*no_all))

    def _element(self, node, generator, names, when):
        """(taken and truthy, taken and falsy) of one element."""
        taken = True
        for test in generator.ifs:
            value = self.value(test, names, all_of(when, taken))
            self.ask_truth(value, all_of(when, taken))
            taken = all_of(taken, value.truthy())
        value = self.value(node.elt, names, all_of(when, taken))
        self.ask_truth(value, all_of(when, taken))
        return all_of(taken, value.truthy()), all_of(taken, value.falsy())

    # Methods

    def method(self, base, name, arguments, keywords, when):
        if isinstance(base, Choice):
            return Choice(
                (condition, self.method(option, name, arguments, keywords, all_of(when, condition)))
                for condition, option in base.options
                if all_of(when, condition) is not False
            )
        if isinstance(base, Event):
            return self.event_method(base, name, arguments, keywords, when)
        if name in ("get", "deep_get") and isinstance(base, Field):
            self.raises(when, base.unless_type(_MAPPINGS))
            if name == "deep_get":
                # a plain mapping has no such method
                self.raises(when, True if base.is_plain() else base.unless_type(("object",)))
            if isinstance(base.default, dict) and base.default:
                return Json()
            return self.lookup(base, name, arguments, keywords, when)
        if name in ("keys", "values", "items") and isinstance(base, Field) and not arguments:
            self.raises(when, base.unless_type(_MAPPINGS))
            return Typed("keys" if name == "keys" else "list", base.truthy(), True)
        if isinstance(base, Mapped) and name == "get" and len(arguments) == 1 and not keywords:
            self.raises(when, arguments[0].unless_type(HASHABLE))
            yes, no = arguments[0].one_of(base.keys)
            return Choice([(yes, Unknown()), (no, Constant(None))])
        if isinstance(base, Constant):
            return self.constant_method(base.object, name, arguments, keywords, when)
        if isinstance(base, (Field, Text)) or isinstance(base, Typed) and base.type == "string":
            return self.string_method(base, name, arguments, keywords, when)
        self.give_up(when) if not isinstance(base, Json) else self.raises(when)
        return Unknown()

    def event_method(self, base, name, arguments, keywords, when):
        if name in ("get", "deep_get"):
            return self.lookup(base, name, arguments, keywords, when)
        if name == "udm" and base.whole and all(_is_text(a) for a in arguments) and arguments and keywords.keys() <= {"default"}:
            default = keywords.get("default", Constant(None))
            keys = [argument.object for argument in arguments]
            options = [(True, self.unified(model, keys, default, when)) for model in self.models]
            return options[0][1] if len(options) == 1 else Choice(options)
        if name == "deep_walk" and base.whole and all(_is_text(a) for a in arguments) and arguments:
            return self.walked(arguments, keywords, when)
        if name in ("keys", "values", "items", "to_dict", "copy") and not arguments:
            return Typed("list")
        self.raises(when)
        return Unknown() if name == "lookup" else Json()

    def lookup(self, base, name, arguments, keywords, when):
        """get and deep_get on the event or on one of its mappings."""
        keys = arguments
        default = keywords.get("default", Constant(None))
        if name == "get":
            if len(arguments) == 2 and not keywords:
                keys, default = arguments[:1], arguments[1]
            elif len(arguments) == 0 and "key" in keywords:
                keys = [keywords["key"]]
            if len(keys) != 1:
                self.raises(when)
                return Unknown()
        if not keys or not all(_is_text(key) for key in keys) or keywords.keys() - {"default", "key"}:
            self.raises(when)
            return Json()
        field = base if isinstance(base, Field) else Field(())
        path = field.path + tuple(key.object for key in keys)
        return self.with_default(path, default, name == "deep_get", field.exact, field.otherwise)

    def with_default(self, path, default, null_too, exact=False, otherwise=False):
        if isinstance(default, Constant) and (
            default.object is None or isinstance(default.object, (str, int, float, bool)) or default.object in ([], {}, ())
        ):
            return Field(path, default.object, null_too, exact, otherwise)
        if null_too and isinstance(default, Constant) and isinstance(default.object, dict):
            return Json()
        if exact or otherwise is not False:
            return Choice([(True, Field(path, None, False, exact, otherwise)), (True, default)])
        gone = {"missing", "null"} if null_too else {"missing"}
        return Choice(
            [(of_type(path, ALL_TYPES - gone), Field(path)), (of_type(path, gone), default)]
        )

    def unified(self, model, keys, default, when):
        """event.udm(keys) for events of one data model (None: of none)."""
        if model is not None and len(keys) == 1:
            path = model.paths.get(keys[0])
            if path is not None:
                steps = path.keys()
                if steps is None:
                    self.raises(when)
                    return Json()
                return self.with_default(steps, default, False, exact=True)
            method = model.methods.get(keys[0])
            if method is not None:
                definition = self.code.definition(method)
                if definition is None:
                    self.give_up(when)
                    return Unknown()
                value, _ = self.call_definition(definition, method.__globals__, [Event(whole=False)], {}, when)
                return value
        first, second = Field(("p_udm", *keys)), Field(keys)
        neither = all_of(first.falsy(), second.falsy())
        return Choice([(first.truthy(), first), (all_of(first.falsy(), second.truthy()), second), (neither, default)])

    def walked(self, keys, keywords, when):
        """event.deep_walk(keys): the exact path, unless a list is on it."""
        path = tuple(key.object for key in keys)
        listed = any_of(*(of_type(path[:end], ("array",)) for end in range(1, len(path) + 1)))
        self.raises(when, listed)  # it may have to count what has no hash
        if keywords.keys() - {"default", "return_val"}:
            self.raises(when)
        default = keywords.get("default", Constant(None))
        if not isinstance(default, Constant) or isinstance(default.object, (dict, list)):
            return Json()
        return Field(path, default.object, True, exact=True, otherwise=listed)

    def string_method(self, base, name, arguments, keywords, when):
        """A method that only strings have among what JSON gives; anything else raises."""
        self.raises(when, base.unless_type(("string",)))
        texts = [argument.object for argument in arguments if isinstance(argument, Constant)]
        plain = len(texts) == len(arguments) and not keywords
        if name in ("startswith", "endswith") and plain and len(texts) == 1:
            strings = texts[0] if isinstance(texts[0], tuple) else (texts[0],)
            if not all(isinstance(text, str) for text in strings):
                self.raises(when)
                return Truth()
            kind = "prefix" if name == "startswith" else "suffix"
            return Truth(string_test(base, kind, strings) if isinstance(base, Field) else True, True)
        if name == "lower" and not arguments and not keywords and isinstance(base, Field):
            return Text("lower", base)
        if name in STRING_TO_STRING and plain and all(isinstance(text, str) for text in texts):
            return Typed("string")
        if name in STRING_TESTS and not arguments:
            return Truth()
        if name in ("split", "rsplit", "partition", "rpartition") and plain and (not texts or isinstance(texts[0], str) and texts[0] and len(texts) == 1):
            return Typed("parts", True, True)
        if name == "replace" and plain and len(texts) == 2 and all(isinstance(text, str) for text in texts):
            return Typed("string")
        if name in ("find", "count", "rfind") and plain and len(texts) == 1 and isinstance(texts[0], str):
            return Typed("number")
        if name in ("get", "items", "keys", "values", "deep_get", "append", "index"):
            self.raises(when)  # no string's method: of a mapping, or of nothing
            return Json()
        self.raises(when)
        return Unknown()

    def constant_method(self, value, name, arguments, keywords, when):
        plain = [argument.object for argument in arguments if isinstance(argument, Constant)]
        if len(plain) == len(arguments) and not keywords:
            if isinstance(value, (str, int, float, tuple)) or isinstance(value, (dict, frozenset, set, list)) and name in ("get", "keys", "values", "items", "index", "count", "copy", "union"):
                try:
                    return Constant(_listed(getattr(value, name)(*plain)))
                except Exception:  # pylint: disable=broad-exception-caught
                    self.raises(when)
                    return Unknown()
        if isinstance(value, re.Pattern) and name in ("search", "match", "fullmatch", "findall") and len(arguments) == 1:
            self.raises(when, arguments[0].unless_type(("string",)))
            return Typed("match")
        if isinstance(value, dict) and name == "get" and arguments:
            self.raises(when, arguments[0].unless_type(("null", "missing", "bool", "number", "string")))
            return Unknown()
        if isinstance(value, (str, dict)) and name in ("join", "format", "get", "items", "keys", "values"):
            self.raises(when)
            return Typed("string")
        self.give_up(when)
        return Unknown()

    # Functions

    def function(self, function, arguments, keywords, when):
        definition = self.code.definition(function)
        if definition is not None:
            if definition.name == "deep_get" and fingerprint(definition) in DEEP_GET and arguments:
                base = arguments[0]
                if isinstance(base, (Event, Field)) and not (isinstance(base, Field) and base.default not in (None, {})):
                    return self.lookup(base, "deep_get", arguments[1:], keywords, when)
            value, _ = self.call_definition(definition, function.__globals__, arguments, keywords, when)
            return value
        first = arguments[0] if arguments else Constant(None)
        if function is bool and len(arguments) == 1:
            self.ask_truth(first, when)
            return Truth(first.truthy(), first.falsy())
        if function is str and len(arguments) == 1 and not keywords:
            if isinstance(first, Constant) and isinstance(first.object, (str, int, float, type(None))):
                return Constant(str(first.object))
            if isinstance(first, (Field, Json, Choice, Text, Typed, Truth)):
                return Text("str", first) if isinstance(first, (Field, Choice)) else Typed("string")
        if function is len and len(arguments) == 1:
            if isinstance(first, Constant) and hasattr(first.object, "__len__"):
                return Constant(len(first.object))
            self.raises(when, first.unless_type(_ITERABLES | {"parts"}) if not isinstance(first, Json) else True)
            return Typed("number")
        if function is isinstance and len(arguments) == 2:
            return self.instance(first, arguments[1], when)
        if function in (list, set, tuple, sorted, frozenset, enumerate, dict, iter, reversed, max, min, sum) and not keywords:
            for argument in arguments:
                self.element_of(argument, when)
            if function in (set, frozenset, dict, sorted, max, min, sum) and not all(isinstance(a, Constant) for a in arguments):
                self.raises(when)
            return Typed("list")
        if function is getattr and len(arguments) >= 2 or function is hasattr:
            self.raises(when)
            return Unknown()
        if function in (fnmatch.fnmatch, fnmatch.fnmatchcase) and len(arguments) == 2 and not keywords:
            self.raises(when, first.unless_type(("string",)))
            pattern = arguments[1]
            if not _is_text(pattern):
                self.raises(when)
                return Truth()
            literal = re.match(r"[^*?\[]*", pattern.object)[0]
            return Truth(string_test(first, "prefix", [literal]) if literal and isinstance(first, Field) else True, True)
        if function is ipaddress.ip_address and len(arguments) == 1 and not keywords:
            if isinstance(first, (Field, Choice, Json, Text, Typed)) and not holds_unknown(first):
                self.raises(when, only_value_error=True)
                return Typed("address", True, False)
        module = getattr(function, "__module__", None)
        if function in (re.search, re.match, re.fullmatch) and len(arguments) == 2 and _is_text(first):
            try:
                re.compile(first.object)
            except re.error:
                self.raises(when)
            self.raises(when, arguments[1].unless_type(("string",)))
            return Typed("match")
        if module in PURE_MODULES or function in (int, float, abs, round, next, zip, repr, map, filter, ord, chr, range):
            self.raises(when)
            return Unknown()
        self.give_up(when)
        return Unknown()

    def instance(self, value, of, when):
        classes = of.object if isinstance(of, Constant) else None
        if isinstance(of, Items):
            classes = tuple(item.object for item in of.items if isinstance(item, Constant))
            if len(classes) != len(of.items):
                classes = None
        if not isinstance(classes, (type, tuple)):
            self.raises(when)
            return Truth()
        try:
            if isinstance(value, Constant):
                return Constant(isinstance(value.object, classes))
            samples = {**_SAMPLES, **_PLAIN_SAMPLES} if isinstance(value, Field) and value.is_plain() else _SAMPLES
            fits = {name: {isinstance(sample, classes) for sample in some} for name, some in samples.items()}
        except TypeError:
            self.raises(when)
            return Truth()
        if isinstance(value, Choice):
            parts = [(condition, self.instance(option, of, when)) for condition, option in value.options]
            return Truth(
                any_of(*(all_of(condition, part.truthy()) for condition, part in parts)),
                any_of(*(all_of(condition, part.falsy()) for condition, part in parts)),
            )
        if not isinstance(value, Field):
            return Truth()
        never = {name for name, answers in fits.items() if answers == {False}}
        surely = {name for name, answers in fits.items() if answers == {True}}
        return Truth(value.unless_type(never), value.unless_type(surely))


def _is_text(value):
    return isinstance(value, Constant) and isinstance(value.object, str)


def _listed(value):
    return list(value) if isinstance(value, (type({}.values()), type({}.items()))) else value

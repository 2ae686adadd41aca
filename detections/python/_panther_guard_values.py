"""Values as the guard's reading of a rule knows them: constants, fields of the event, or less.

Three questions are asked of a value, each answered by a formula that holds whenever the answer is yes
(and perhaps more often): may it be truthy, may it be falsy, may it be something else than exactly
False? What it cannot tell is True.
"""

from _panther_guard_formula import (
    ALL_TYPES,
    all_of,
    any_of,
    is_in,
    is_not_in,
    of_type,
    type_of_json,
)


class Value:
    """Base: something that is known to be no more than a value whose truth can be asked safely."""

    __slots__ = ()
    is_bool = False
    types = None  # names of the JSON types it can have, None: any, or none of JSON's

    def truthy(self):
        return True

    def falsy(self):
        return True

    def not_false(self):
        """It is not the object False."""
        return any_of(self.truthy(), False if self.is_bool else self.falsy())

    def equals(self, constant):  # pylint: disable=unused-argument
        """(may be equal, may be unequal) to a constant."""
        return True, True

    def one_of(self, constants):
        """(may be, may not be) equal to one of some constants."""
        yes, no = False, True
        for constant in constants:
            may, may_not = self.equals(constant)
            yes, no = any_of(yes, may), all_of(no, may_not)
        return yes, no

    def unless_type(self, names):  # pylint: disable=unused-argument
        """May it be of a type that is not among `names`?"""
        return True


class Constant(Value):
    """A Python object that is known and does not change."""

    __slots__ = ("object",)

    def __init__(self, value):
        self.object = value

    @property
    def is_bool(self):
        return isinstance(self.object, bool)

    def truthy(self):
        return bool(self.object)

    def falsy(self):
        return not self.object

    def equals(self, constant):
        same = bool(self.object == constant)
        return same, not same

    def unless_type(self, names):
        return _type_name(self.object) not in names


def _type_name(value):
    if value is None or isinstance(value, (bool, int, float, str)):
        return type_of_json(value)
    return type(value).__name__


class Truth(Value):
    """A bool of which formulas are known."""

    __slots__ = ("yes", "no")
    is_bool = True

    def __init__(self, yes=True, no=True):
        self.yes, self.no = yes, no

    def truthy(self):
        return self.yes

    def falsy(self):
        return self.no

    def equals(self, constant):
        if isinstance(constant, (bool, int, float)):
            if constant == 1:
                return self.yes, self.no
            if constant == 0:
                return self.no, self.yes
        return False, True

    def unless_type(self, names):
        return "bool" not in names


class Typed(Value):
    """An unknown value of one known type: "string", "number", or "list" (a Python list or tuple)."""

    __slots__ = ("type", "yes", "no")

    def __init__(self, kind, yes=True, no=True):
        self.type, self.yes, self.no = kind, yes, no

    def truthy(self):
        return self.yes

    def falsy(self):
        return self.no

    def not_false(self):
        return True

    def equals(self, constant):
        if self.type == "string" and not isinstance(constant, str):
            return False, True
        return True, True

    def unless_type(self, names):
        return self.type not in names


class Json(Value):
    """Something out of an event: truth and comparison with constants cannot raise."""

    __slots__ = ()


class Unknown(Value):
    """Anything: even its truth may raise."""

    __slots__ = ()


class Event(Value):
    """The event, or (inside a data model's method) its plain mapping."""

    __slots__ = ("whole",)

    def __init__(self, whole=True):
        self.whole = whole

    def unless_type(self, names):
        return "object" not in names


class Items(Value):
    """A list, tuple or set display whose elements are known as values."""

    __slots__ = ("items", "type")

    def __init__(self, items, kind):
        self.items, self.type = tuple(items), kind

    def truthy(self):
        return bool(self.items)

    def falsy(self):
        return not self.items

    def unless_type(self, names):
        return "list" not in names


class Mapped(Value):
    """A dict display whose keys are constants, its values not all known."""

    __slots__ = ("keys",)

    def __init__(self, keys):
        self.keys = tuple(keys)

    def truthy(self):
        return bool(self.keys)

    def falsy(self):
        return not self.keys

    def not_false(self):
        return True

    def unless_type(self, names):
        return "dict" not in names


class Choice(Value):
    """One of several values, each under a formula that holds when it is that one."""

    __slots__ = ("options",)

    def __init__(self, options):
        self.options = tuple(options)

    @property
    def is_bool(self):
        return all(value.is_bool for _, value in self.options)

    def _over(self, question):
        return any_of(*(all_of(when, question(value)) for when, value in self.options))

    def truthy(self):
        return self._over(lambda value: value.truthy())

    def falsy(self):
        return self._over(lambda value: value.falsy())

    def not_false(self):
        return self._over(lambda value: value.not_false())

    def equals(self, constant):
        pairs = [(when, value.equals(constant)) for when, value in self.options]
        return (
            any_of(*(all_of(when, yes) for when, (yes, _) in pairs)),
            any_of(*(all_of(when, no) for when, (_, no) in pairs)),
        )

    def one_of(self, constants):
        pairs = [(when, value.one_of(constants)) for when, value in self.options]
        return (
            any_of(*(all_of(when, yes) for when, (yes, _) in pairs)),
            any_of(*(all_of(when, no) for when, (_, no) in pairs)),
        )

    def unless_type(self, names):
        return self._over(lambda value: value.unless_type(names))


class Field(Value):
    """What a path of the event leads to.

    `default` (a constant) stands in where it is missing; with `null_too` also for a null. `exact`: the
    engine asks only for the exact keys, so that "missing" cannot be told by looking in any letter
    case. `arrays`: formula under which it is something else entirely (deep_walk met a list).
    """

    __slots__ = ("path", "default", "null_too", "exact", "otherwise")

    def __init__(self, path, default=None, null_too=False, exact=False, otherwise=False):
        self.path = tuple(path)
        self.default = default
        self.null_too = null_too
        self.exact = exact
        self.otherwise = otherwise

    def is_plain(self):
        """deep_walk gives plain dicts and lists."""
        return self.otherwise is not False

    def _stand_in(self):
        """The formula under which the default may stand in."""
        if self.exact:
            return True
        return of_type(self.path, ("missing", "null") if self.null_too else ("missing",))

    def _null(self):
        """The formula under which a null is the value as it is."""
        return False if self.null_too and self.default is not None else of_type(self.path, ("null",))

    def _split(self, present, for_null, for_default):
        return any_of(
            present,
            self._null() if for_null else False,
            self._stand_in() if for_default else False,
            self.otherwise,
        )

    def truthy(self):
        return self._split(("truthy", self.path), False, bool(self.default))

    def falsy(self):
        if self.exact:
            return True
        if self.default:
            present = all_of(("falsy", self.path), of_type(self.path, ALL_TYPES - {"missing"} - ({"null"} if self.null_too else set())))
            return any_of(present, self.otherwise)
        return any_of(("falsy", self.path), self.otherwise)

    def not_false(self):
        if self.exact:
            return True
        return any_of(
            self._types(lambda name: name != "bool"),
            all_of(of_type(self.path, ("bool",)), ("truthy", self.path)),
            self._stand_in() if self.default is True else False,
            self.otherwise,
        )

    def equals(self, constant):
        return self.one_of((constant,))

    def one_of(self, constants):
        constants = list(constants)
        scalars = [c for c in constants if c is not None and isinstance(c, (str, bool, int, float))]
        if any(c is not None and not isinstance(c, (str, bool, int, float)) for c in constants):
            return True, True
        has_none = any(c is None for c in constants)
        has_default = any(c == self.default for c in constants)
        yes = self._split(is_in(self.path, scalars) if scalars else False, has_none, has_default)
        if self.exact:
            return yes, True
        no_types = set(ALL_TYPES)
        if has_none and not (self.null_too and self.default is not None):
            no_types.discard("null")
        if has_default:
            no_types.discard("missing")
            if self.null_too:
                no_types.discard("null")
        no = all_of(is_not_in(self.path, scalars) if scalars else True, of_type(self.path, no_types))
        return yes, any_of(no, self.otherwise)

    def _types(self, wanted):
        """The formula under which the value's type satisfies `wanted`."""
        names = {name for name in ALL_TYPES - {"missing", "null"} if wanted(name)}
        if wanted("null") and not (self.null_too and self.default is not None):
            names.add("null")
        stand_in = wanted(_type_name(self.default))
        if stand_in:
            if self.exact:
                return True
            names.add("missing")
            if self.null_too:
                names.add("null")
        return any_of(of_type(self.path, names), self.otherwise)

    def unless_type(self, names):
        return self._types(lambda name: name not in names)


class Text(Value):
    """A string made of a field: its lower case, or str() of it."""

    __slots__ = ("made_by", "of")

    def __init__(self, made_by, of):
        self.made_by, self.of = made_by, of

    def truthy(self):
        return self.of.truthy() if self.made_by == "lower" else True

    def falsy(self):
        return self.of.falsy() if self.made_by == "lower" else self.of.equals("")[0]

    def not_false(self):
        return True

    def unless_type(self, names):
        return "string" not in names

    def equals(self, constant):
        return self.one_of((constant,))

    def one_of(self, constants):
        strings = [c for c in constants if isinstance(c, str)]
        if self.made_by == "lower":
            return lower_in(self.of, strings), True
        wanted = set()
        for text in strings:
            if text.startswith(("Immutable", "PantherEvent")):
                return True, True
            wanted.add(text)
            wanted.update(_read_back(text))
        if not wanted:
            return False, True
        yes = self.of.one_of(sorted(wanted, key=repr))[0]
        return yes, True


def _read_back(text):
    """The scalars, other than `text` itself, whose str() is `text`."""
    found = [value for value in (None, True, False) if str(value) == text]
    for read in (int, float):
        try:
            value = read(text)
        except ValueError:
            continue
        if str(value) == text:
            found.append(value)
    return found


def lower_in(value, strings):
    """May the lower case of `value` be one of `strings`?"""
    strings = [text for text in strings if text.lower() == text]
    if not strings:
        return False
    if isinstance(value, Field):
        default = value.default
        hit = isinstance(default, str) and default.lower() in strings
        return any_of(
            ("ieq", value.path, tuple(sorted(set(strings)))),
            value._stand_in() if hit else False,
            value.otherwise,
        )
    if isinstance(value, Constant):
        return isinstance(value.object, str) and value.object.lower() in strings
    if isinstance(value, Choice):
        return any_of(*(all_of(when, lower_in(option, strings)) for when, option in value.options))
    return True


def string_test(value, kind, strings):
    """May a string `value` pass startswith, endswith or `in` (kind prefix, suffix, contains)?"""
    if isinstance(value, Constant):
        text = value.object
        if not isinstance(text, str):
            return False
        if kind == "prefix":
            return text.startswith(tuple(strings))
        if kind == "suffix":
            return text.endswith(tuple(strings))
        return any(part in text for part in strings)
    if isinstance(value, Choice):
        return any_of(*(all_of(when, string_test(option, kind, strings)) for when, option in value.options))
    if isinstance(value, Field):
        default = value.default
        hit = isinstance(default, str) and string_test(Constant(default), kind, strings)
        return any_of(
            (kind, value.path, tuple(sorted(set(strings)))) if strings else False,
            value._stand_in() if hit else False,
            value.otherwise,
        )
    return True

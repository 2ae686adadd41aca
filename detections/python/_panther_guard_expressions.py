"""How the guard's reading understands expressions other than calls."""

import ast
import types

from _panther_guard_code import UNKNOWN
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

HASHABLE = frozenset(("missing", "null", "bool", "number", "string"))
SCALARS = (str, int, float, bool, type(None))
CONTAINERS = (list, tuple, set, frozenset, dict, type({}.keys()))


class Logic(Choice):
    """What `and` or `or` gives: one of its operands, with what is known of the whole."""

    __slots__ = ("yes", "no", "other")

    def __init__(self, options, yes, no, other):
        super().__init__(options)
        self.yes, self.no, self.other = yes, no, other

    def truthy(self):
        return self.yes

    def falsy(self):
        return self.no

    def not_false(self):
        return self.other


MAYBE = Unknown()  # of a local name that may not be assigned yet


def names_inside(node):
    """Whether an expression assigns names (`:=`)."""
    return any(isinstance(part, ast.NamedExpr) for part in ast.walk(node))


def _perhaps_unbound(value):
    if isinstance(value, Choice):
        return any(_perhaps_unbound(option) for _, option in value.options)
    return value is MAYBE


def holds_unknown(value):
    """Whether comparing the value may run code that is not known."""
    if isinstance(value, Choice):
        return any(holds_unknown(option) for _, option in value.options)
    return isinstance(value, Unknown)


class Expressions:
    """The part of a reading that deals with expressions. `value` gives what one evaluates to, and
    notes under which formula evaluating it raises."""

    def value(self, node, names, when):
        self.step()
        if when is False:
            return Unknown()
        method = getattr(self, f"at_{type(node).__name__}", None)
        if method is None:
            self.give_up(when)
            return Unknown()
        return method(node, names, when)

    def ask_truth(self, value, when):
        """Taking a value's truth: of what is quite unknown, that may raise."""
        if isinstance(value, Unknown):
            self.raises(when)
        elif isinstance(value, Choice):
            for condition, option in value.options:
                if isinstance(option, (Unknown, Choice)):
                    self.ask_truth(option, all_of(when, condition))

    def known_items(self, value):
        """The elements of a sequence, if all are known as values."""
        if isinstance(value, Items):
            return list(value.items)
        if isinstance(value, Constant) and isinstance(value.object, CONTAINERS):
            return [Constant(item) for item in value.object]
        return None

    def element_of(self, sequence, when):
        """An element of something that is iterated over, and whether that raises."""
        if isinstance(sequence, Constant):
            if not hasattr(sequence.object, "__iter__"):
                self.raises(when)
            return Unknown() if not isinstance(sequence.object, str) else Typed("string")
        if isinstance(sequence, (Items, Typed)):
            if isinstance(sequence, Typed) and sequence.type in ("parts", "keys"):
                return Typed("string")
            if isinstance(sequence, Typed) and sequence.type not in ("list", "string"):
                self.raises(when)
            return Json()
        if isinstance(sequence, (Field, Choice)):
            self.raises(when, sequence.unless_type(("string", "array", "object", "dict", "list", "tuple", "parts")))
            return Json()
        if isinstance(sequence, Text):
            return Typed("string")
        self.raises(when)
        return Json() if isinstance(sequence, (Event, Json)) else Unknown()

    # One method for each kind of node

    def at_Constant(self, node, _names, _when):
        return Constant(node.value)

    def at_Name(self, node, names, when):
        if node.id in names:
            if _perhaps_unbound(names[node.id]):
                self.raises(when)
            return names[node.id]
        if node.id in self.local_names:
            self.raises(when)
            return Unknown()
        found = self.code.look_up(self.namespace, node.id)
        if found is UNKNOWN:
            if node.id not in self.namespace:
                self.raises(when)
            return Unknown()
        return Constant(found)

    def at_Attribute(self, node, names, when):
        base = self.value(node.value, names, when)
        if isinstance(base, Constant) and isinstance(base.object, (types.ModuleType, type)):
            if node.attr not in self.code.changed and hasattr(base.object, node.attr):
                return Constant(getattr(base.object, node.attr))
            return Unknown()
        self.raises(when) if isinstance(base, (Field, Json, Text, Truth, Typed)) else self.give_up(when)
        return Unknown()

    def at_NamedExpr(self, node, names, when):
        value = self.value(node.value, names, when)
        self.assign(node.target, value, names, when)
        return value

    def at_BoolOp(self, node, names, when):
        both = isinstance(node.op, ast.And)
        result = None
        for operand in node.values:
            if result is None:
                result = self.value(operand, names, when)
                continue
            self.ask_truth(result, when)
            goes_on = result.truthy() if both else result.falsy()
            right = self._perhaps(operand, names, all_of(when, goes_on))
            result = self._and(result, right) if both else self._or(result, right)
        return result

    def _perhaps(self, node, names, when):
        """The value of what may not be reached, so that names assigned in it may not be."""
        before = dict(names)
        value = self.value(node, names, when)
        for name, now in list(names.items()):
            if name not in before:
                names[name] = MAYBE
            elif now is not before[name]:
                names[name] = Choice([(True, now), (True, before[name])])
        return value

    def _and(self, left, right):
        stays, goes = left.falsy(), left.truthy()
        odd = False if left.is_bool else stays  # a falsy value that is not False itself
        return Logic(
            [(stays, left), (goes, right)],
            all_of(goes, right.truthy()),
            any_of(stays, all_of(goes, right.falsy())),
            any_of(odd, all_of(goes, right.not_false())),
        )

    def _or(self, left, right):
        stays, goes = left.truthy(), left.falsy()
        return Logic(
            [(stays, left), (goes, right)],
            any_of(stays, all_of(goes, right.truthy())),
            all_of(goes, right.falsy()),
            any_of(stays, all_of(goes, right.not_false())),
        )

    def at_UnaryOp(self, node, names, when):
        value = self.value(node.operand, names, when)
        if isinstance(node.op, ast.Not):
            self.ask_truth(value, when)
            return Truth(value.falsy(), value.truthy())
        if isinstance(value, Constant) and isinstance(node.op, ast.USub) and isinstance(value.object, (int, float)):
            return Constant(-value.object)
        self.raises(when)
        return Unknown()

    def at_IfExp(self, node, names, when):
        test = self.value(node.test, names, when)
        self.ask_truth(test, when)
        yes, no = test.truthy(), test.falsy()
        return Choice(
            [
                (yes, self._perhaps(node.body, names, all_of(when, yes))),
                (no, self._perhaps(node.orelse, names, all_of(when, no))),
            ]
        )

    def at_JoinedStr(self, node, names, when):
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                value = self.value(part.value, names, when)
                if isinstance(value, Unknown):
                    self.give_up(when)
                elif part.format_spec is not None:
                    self.raises(when)
        return Typed("string")

    def at_List(self, node, names, when):
        return self._display(node, names, when, list)

    def at_Tuple(self, node, names, when):
        return self._display(node, names, when, tuple)

    def at_Set(self, node, names, when):
        return self._display(node, names, when, set)

    def _display(self, node, names, when, kind):
        items = []
        for element in node.elts:
            if isinstance(element, ast.Starred):
                inner = self.known_items(self.value(element.value, names, when))
                if inner is None:
                    self.give_up(when)
                    return Unknown()
                items += inner
            else:
                items.append(self.value(element, names, when))
        if kind is set:
            for item in items:
                if not isinstance(item, Constant) or not isinstance(item.object, SCALARS):
                    self.raises(when, item.unless_type(HASHABLE))
        if all(isinstance(item, Constant) and isinstance(item.object, SCALARS) for item in items):
            return Constant(kind(item.object for item in items))
        return Items(items, kind.__name__)

    def at_Dict(self, node, names, when):
        keys = [self.value(key, names, when) if key is not None else Unknown() for key in node.keys]
        values = [self.value(value, names, when) for value in node.values]
        if not all(isinstance(key, Constant) for key in keys):
            self.raises(when)
        elif all(isinstance(value, Constant) for value in values):
            try:
                return Constant({key.object: value.object for key, value in zip(keys, values)})
            except TypeError:
                self.raises(when)
        elif all(isinstance(key.object, SCALARS) for key in keys):
            return Mapped([key.object for key in keys])
        return Typed("dict")

    def at_Lambda(self, _node, _names, _when):
        return Unknown()  # making it does nothing; who calls it meets what is unknown

    def at_ListComp(self, node, names, when):
        if names_inside(node):
            self.give_up(when)
        inner = dict(names)
        for generator in node.generators:
            element = self.element_of(self.value(generator.iter, inner, when), when)
            if isinstance(generator.target, ast.Name):
                inner[generator.target.id] = element  # its own scope
            else:
                self._unpack(generator.target, inner, when)
            for test in generator.ifs:
                self.ask_truth(self.value(test, inner, when), when)
        self.value(node.elt, inner, when)
        return Typed("list")

    def at_GeneratorExp(self, node, names, when):
        return self.at_ListComp(node, names, when)

    def at_SetComp(self, node, names, when):
        self.at_ListComp(node, names, when)
        self.raises(when)
        return Typed("list")

    def at_BinOp(self, node, names, when):
        left, right = self.value(node.left, names, when), self.value(node.right, names, when)
        if isinstance(left, Constant) and isinstance(right, Constant) and isinstance(node.op, (ast.Add, ast.BitOr, ast.Sub, ast.BitAnd)):
            a, b = left.object, right.object
            if isinstance(a, (str, list, tuple, set, frozenset, int, float)) and isinstance(b, (str, list, tuple, set, frozenset, int, float)):
                try:
                    if isinstance(node.op, ast.Add):
                        return Constant(a + b)
                    return Constant(a | b if isinstance(node.op, ast.BitOr) else a - b if isinstance(node.op, ast.Sub) else a & b)
                except TypeError:
                    self.raises(when)
                    return Unknown()
        if isinstance(node.op, ast.Add) and not isinstance(left, Unknown) and not isinstance(right, Unknown):
            self.raises(when, any_of(left.unless_type(("string",)), right.unless_type(("string",))))
            return Typed("string")
        self.raises(when)
        return Unknown()

    def at_Subscript(self, node, names, when):
        base = self.value(node.value, names, when)
        if isinstance(node.slice, ast.Slice):
            for part in (node.slice.lower, node.slice.upper, node.slice.step):
                if part is not None and not isinstance(self.value(part, names, when), Constant):
                    self.raises(when)
            self.raises(when, base.unless_type(("string", "array", "list", "tuple", "parts")))
            return Typed("string") if isinstance(base, (Text, Typed)) and getattr(base, "type", "string") == "string" else Json()
        key = self.value(node.slice, names, when)
        return self._item(base, key, when)

    def _item(self, base, key, when):
        if isinstance(base, Choice):
            return Choice(
                (condition, self._item(option, key, all_of(when, condition)))
                for condition, option in base.options
                if all_of(when, condition) is not False
            )
        if isinstance(base, Constant) and isinstance(key, Constant) and isinstance(base.object, (str, list, tuple, dict)):
            try:
                return Constant(base.object[key.object])
            except (LookupError, TypeError):
                self.raises(when)
                return Unknown()
        if isinstance(base, (Event, Field)) and isinstance(key, Constant) and isinstance(key.object, str):
            field = base if isinstance(base, Field) else Field(())
            if isinstance(base, Field):
                self.raises(when, base.unless_type(("object",)))
            path = field.path + (key.object,)
            self.raises(when, True if field.exact else of_type(path, ("missing",)))
            return Field(path, None, False, field.exact, field.otherwise)
        if isinstance(base, Typed) and base.type == "parts" and isinstance(key, Constant) and key.object in (0, -1):
            return Typed("string")
        if isinstance(base, (Unknown, Constant)):
            self.give_up(when)
            return Unknown()
        self.raises(when)
        return Json()

    def at_Compare(self, node, names, when):
        left = self.value(node.left, names, when)
        result = None
        for operator, right_node in zip(node.ops, node.comparators):
            right = self.value(right_node, names, when)
            truth = self.compared(left, operator, right, when)
            result = truth if result is None else Truth(all_of(result.truthy(), truth.truthy()), any_of(result.falsy(), truth.falsy()))
            left = right
        return result

    def compared(self, left, operator, right, when):
        if holds_unknown(left) or holds_unknown(right):
            self.raises(when)
        if isinstance(operator, (ast.Eq, ast.NotEq, ast.Is, ast.IsNot)):
            if isinstance(left, Constant) and not isinstance(right, Constant):
                left, right = right, left
            if not isinstance(right, Constant) or not isinstance(right.object, SCALARS):
                return Truth()
            yes, no = left.equals(right.object)
            if isinstance(operator, (ast.Is, ast.IsNot)) and right.object is not None:
                no = True  # equal, yet another object
            negative = isinstance(operator, (ast.NotEq, ast.IsNot))
            return Truth(no, yes) if negative else Truth(yes, no)
        if isinstance(operator, (ast.In, ast.NotIn)):
            yes, no = self.contained(left, right, when)
            return Truth(no, yes) if isinstance(operator, ast.NotIn) else Truth(yes, no)
        for side in (left, right):
            if not (isinstance(side, Constant) and isinstance(side.object, (int, float))):
                self.raises(when, side.unless_type(("number", "bool")))
        return Truth()

    def contained(self, left, right, when):
        if isinstance(right, Choice):
            parts = [
                (condition, self.contained(left, option, all_of(when, condition)))
                for condition, option in right.options
                if all_of(when, condition) is not False
            ]
            return (
                any_of(*(all_of(condition, yes) for condition, (yes, _) in parts)),
                any_of(*(all_of(condition, no) for condition, (_, no) in parts)),
            )
        if isinstance(right, Constant):
            container = right.object
            if isinstance(container, str):
                self.raises(when, left.unless_type(("string",)))
                return True, True
            if not isinstance(container, CONTAINERS):
                self.raises(when)
                return True, True
            if isinstance(container, (set, frozenset, dict, type({}.keys()))):
                self.raises(when, left.unless_type(HASHABLE))
            if all(isinstance(item, SCALARS) for item in container):
                return left.one_of(sorted(container, key=repr))
            return True, True
        if isinstance(right, Items):
            if right.type == "set":
                self.raises(when, left.unless_type(HASHABLE))
            if isinstance(left, Constant) and isinstance(left.object, SCALARS):
                pairs = [item.equals(left.object) for item in right.items]
                return any_of(*(yes for yes, _ in pairs)), all_of(*(no for _, no in pairs))
            return True, True
        is_text = isinstance(left, Constant) and isinstance(left.object, str)
        if isinstance(right, Event) and is_text:
            path = (left.object,)
            return of_type(path, ALL_TYPES - {"missing"}), of_type(path, ("missing",))
        if isinstance(right, (Field, Text)) or isinstance(right, Typed) and right.type == "string":
            if not is_text:
                self.raises(when)
                return True, True
            self.raises(when, right.unless_type(("string", "array", "object", "dict", "list", "tuple")))
            if isinstance(right, Field):
                other = right.unless_type(("string", "missing", "null", "bool", "number", "dict", "list", "tuple"))
                return any_of(string_test(right, "contains", [left.object]), other), True
            return True, True
        if isinstance(right, Typed) and right.type in ("list", "parts") and is_text:
            return True, True
        self.raises(when)
        return True, True

"""Guards: what must hold of an event for a detection to do anything on it.

A guard is read off the detection's syntax tree. It holds in every event on which rule() returns
anything but exactly False, or raises, or may do something that outlives the event: then the host may
leave out the call wherever the guard does not hold, and nobody can tell. The reading follows
conditions, early returns, local names, the pack's own helpers and data model methods; where it does not
understand, it takes the worst: that the place is reached, raises and acts. So a guard is sound, or True.

Keys are looked up in any letter case as detections do it. An event that JSON readers may disagree on
(keys twice, lone surrogates, numbers beyond 64 bits) is to be evaluated without guards.
"""

import ast
import time

from _panther_guard_calls import Calls
from _panther_guard_code import Code
from _panther_guard_expressions import MAYBE
from _panther_guard_formula import all_of, any_of, size, to_json, weakened
from _panther_guard_values import Choice, Constant, Event, Field, Items, Typed, Unknown

MAX_STEPS = 6000
MAX_SECONDS = 0.25
MAX_WAYS = 6  # ways through a block that are followed apart
MAX_SIZE = 60  # atoms of a guard
MAX_DEPTH = 8


class Hopeless(Exception):
    """The guard is True."""


def guards_of(pack, detection):
    """(guard, {log type: guard}, note), in the host's language.

    The first holds for all log types together; the others, where they say more, for one each: the
    data model is known then.
    """
    guard, note = guard_of(pack, detection)
    special = {}
    if detection.kind == "RULE" and len(detection.log_types) > 1 and any(t in pack.models for t in detection.log_types):
        for log_type in detection.log_types:
            one, _ = guard_of(pack, detection, [pack.models.get(log_type)])
            if one is not True and one != guard:
                special[log_type] = one
    return guard, special, note


def guard_of(pack, detection, models=None):
    """(guard in the host's language, note on it), for events of `models` or of all that may be."""
    if detection.kind == "POLICY":
        return True, "policy"
    if detection.inline_filter is not None:
        return True, "inline filter"
    function = detection.namespace.get(detection.matcher_name)
    try:
        code = pack.guard_code = getattr(pack, "guard_code", None) or Code(pack)
        reading = Reading(code, models or _models(pack, detection))
        return to_json(reading.guard(function)), "read"
    except Hopeless as reason:
        return True, str(reason)
    except Exception as error:  # pylint: disable=broad-exception-caught
        return True, f"not understood: {type(error).__name__}"


def _models(pack, detection):
    """The data models that an event of the detection may have, None for none."""
    if detection.kind != "RULE":
        return [None]
    if not detection.log_types:
        return [None, *pack.models.values()]
    models = []
    for log_type in detection.log_types:
        model = pack.models.get(log_type)
        if model not in models:
            models.append(model)
    return models


class Way:
    """How a block of statements may end: where, under which formula, with which local names."""

    __slots__ = ("end", "when", "names", "value")

    def __init__(self, end, when, names, value=None):
        self.end, self.when, self.names, self.value = end, when, names, value


class Raised:
    """Formulas under which the inside of a `try` raises."""

    def __init__(self):
        self.value_errors = self.others = False


class Reading(Calls):
    """One reading of one rule()."""

    def __init__(self, code, models):
        self.code = code
        self.models = models
        self.bad = False  # under this, something raises or acts
        self.catching = None  # inside try: where raising goes
        self.namespace = {}  # of the function that is being read
        self.local_names = frozenset()
        self.steps = 0
        self.depth = 0
        self.reset = frozenset()  # globals that rule() sets first thing, so that a call left out shows nowhere
        self.until = time.process_time() + MAX_SECONDS

    def guard(self, function):
        definition = self.code.definition(function)
        if definition is None:
            raise Hopeless("no source")
        self.reset = reset_names(definition)
        value, when = self.call_definition(definition, function.__globals__, [Event()], {}, True)
        formula = any_of(self.bad, value.not_false() if when is True else all_of(when, value.not_false()))
        if formula is True:
            raise Hopeless("no condition")
        if size(formula) > MAX_SIZE:
            formula = weakened(formula)
            if formula is True or size(formula) > MAX_SIZE:
                raise Hopeless("too large")
        return formula

    # What may happen on the way

    def step(self):
        self.steps += 1
        if self.steps > MAX_STEPS or self.steps % 64 == 0 and time.process_time() > self.until:
            raise Hopeless("too long")

    def raises(self, when, condition=True, only_value_error=False):
        """Under `when` and `condition`, an exception."""
        both = all_of(when, condition)
        if both is False:
            return
        if self.catching is None:
            self.acts(both)
        elif only_value_error:
            self.catching.value_errors = any_of(self.catching.value_errors, both)
        else:
            self.catching.others = any_of(self.catching.others, both)

    def acts(self, when):
        """Under `when`, something that outlives the event, or is not caught."""
        self.bad = any_of(self.bad, when)
        if self.bad is True:
            raise Hopeless("no condition")

    # Statements

    def call_definition(self, node, namespace, arguments, keywords, when):
        """Read a function's body. Gives (value, formula under which it returns at all)."""
        if self.depth >= MAX_DEPTH:
            self.give_up(when)
            return Unknown(), when
        names = self.bind(node, arguments, keywords)
        local_names, special = self.code.facts(node)
        if names is None or special:
            self.give_up(when)
            return Unknown(), when
        outer = self.namespace, self.local_names
        self.namespace, self.local_names = namespace, local_names
        self.depth += 1
        try:
            ways = self.block(node.body, names, when)
        finally:
            self.namespace, self.local_names = outer
            self.depth -= 1
        options = [
            (way.when, way.value if way.end == "return" else Constant(None))
            for way in ways
            if way.when is not False
        ]
        if not options:
            return Constant(None), False
        reached = any_of(*(option[0] for option in options))
        return (options[0][1] if len(options) == 1 else Choice(options)), reached

    def bind(self, node, arguments, keywords):
        """Parameters to values, None if that is not plain."""
        spec = node.args
        names = {}
        positional = [*spec.posonlyargs, *spec.args]
        rest = list(arguments)
        for parameter in positional:
            if rest:
                names[parameter.arg] = rest.pop(0)
        if rest:
            if spec.vararg is None:
                return None
            names[spec.vararg.arg] = Items(rest, "tuple")
        elif spec.vararg is not None:
            names[spec.vararg.arg] = Items((), "tuple")
        keywords = dict(keywords)
        for parameter in (*positional, *spec.kwonlyargs):
            if parameter.arg in keywords:
                if parameter.arg in names:
                    return None
                names[parameter.arg] = keywords.pop(parameter.arg)
        if keywords:
            return None
        defaults = dict(zip([p.arg for p in positional[len(positional) - len(spec.defaults):]], spec.defaults))
        defaults.update({p.arg: d for p, d in zip(spec.kwonlyargs, spec.kw_defaults) if d is not None})
        for parameter in (*positional, *spec.kwonlyargs):
            if parameter.arg not in names:
                default = defaults.get(parameter.arg)
                if not isinstance(default, (ast.Constant, ast.UnaryOp)):
                    return None
                try:
                    names[parameter.arg] = Constant(ast.literal_eval(default))
                except ValueError:
                    return None
        if spec.kwarg is not None:
            return None
        return names

    def block(self, statements, names, when):
        """Follow statements. Gives the ways out; those that go on have `end` None."""
        ways = [Way(None, when, names)]
        out = []
        for statement in statements:
            following = []
            for way in ways:
                self.step()
                for new in self.statement(statement, way.names, way.when):
                    if new.when is not False:
                        (following if new.end is None else out).append(new)
            ways = following if len(following) <= MAX_WAYS else [self.join(following)]
            if not ways:
                break
        return out + ways

    def join(self, ways):
        """Several ways as one: what they know apart becomes a choice."""
        when = any_of(*(way.when for way in ways))
        names = {}
        for name in {name for way in ways for name in way.names}:
            values = [(way.when, way.names.get(name)) for way in ways]
            first = values[0][1]
            if all(value is first for _, value in values):
                names[name] = first
            elif any(value is None or value is MAYBE for _, value in values):
                names[name] = MAYBE
            else:
                names[name] = Choice(values)
        return Way(None, when, names)

    def statement(self, node, names, when):
        method = getattr(self, f"do_{type(node).__name__}", None)
        if method is None:
            self.give_up(when)
            return [Way(None, when, _forget(node, names))]
        return method(node, names, when)

    def give_up(self, when):
        """Something not understood is reached under `when`: it may raise, act, and never come back."""
        self.acts(when)

    def do_Return(self, node, names, when):
        names = dict(names)
        value = Constant(None) if node.value is None else self.value(node.value, names, when)
        return [Way("return", when, names, value)]

    def do_Expr(self, node, names, when):
        names = dict(names)
        if not isinstance(node.value, ast.Constant):
            self.value(node.value, names, when)
        return [Way(None, when, names)]

    def do_Pass(self, node, names, when):
        return [Way(None, when, names)]

    def do_Break(self, node, names, when):
        return [Way("break", when, names)]

    def do_Continue(self, node, names, when):
        return [Way("continue", when, names)]

    def do_Global(self, _node, names, when):
        return [Way(None, when, names)]  # what is not local acts when it is assigned; see `assign`

    def do_Assign(self, node, names, when):
        names = dict(names)
        value = self.value(node.value, names, when)
        for target in node.targets:
            self.assign(target, value, names, when)
        return [Way(None, when, names)]

    def do_AnnAssign(self, node, names, when):
        names = dict(names)
        if node.value is not None:
            self.assign(node.target, self.value(node.value, names, when), names, when)
        return [Way(None, when, names)]

    def do_AugAssign(self, node, names, when):
        self.give_up(when)
        return [Way(None, when, _forget(node, names))]

    def do_Raise(self, node, names, when):
        self.raises(when)
        return []

    def assign(self, target, value, names, when):
        if isinstance(target, ast.Name):
            if target.id in self.local_names or self.depth == 1 and target.id in self.reset:
                names[target.id] = value
            else:
                self.acts(when)  # a global
        elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, Items) and len(target.elts) == len(value.items):
            for part, item in zip(target.elts, value.items):
                self.assign(part, item, names, when)
        else:
            self.give_up(when)
            self._unpack(target, names, when)

    def do_If(self, node, names, when):
        names = dict(names)
        test = self.value(node.test, names, when)
        self.ask_truth(test, when)
        ways = self.block(node.body, dict(names), all_of(when, test.truthy()))
        other = all_of(when, test.falsy())
        if node.orelse:
            return ways + self.block(node.orelse, dict(names), other)
        return ways + [Way(None, other, names)]

    def do_For(self, node, names, when):
        names = dict(names)
        sequence = self.value(node.iter, names, when)
        items = self.known_items(sequence)
        if items is not None and len(items) <= 16 and not node.orelse:
            ways, out = [Way(None, when, names)], []
            for item in items:
                following = []
                for way in ways:
                    inner = dict(way.names)
                    self.assign(node.target, item, inner, way.when)
                    for new in self.block(node.body, inner, way.when):
                        if new.end in (None, "continue"):
                            following.append(Way(None, new.when, new.names))
                        else:
                            out.append(new)
                ways = following if len(following) <= MAX_WAYS else [self.join(following)]
                if not ways:
                    break
            return [Way(None, w.when, w.names) if w.end == "break" else w for w in out] + ways
        element = self.element_of(sequence, when)
        inner = _forget(node, names)
        if isinstance(node.target, ast.Name):
            self.assign(node.target, element, inner, when)
        else:
            self._unpack(node.target, inner, when)
        entered = when
        if isinstance(sequence, (Field, Choice, Typed)):
            entered = all_of(when, sequence.truthy())  # what is empty is not entered
        ways = self.block(node.body, inner, entered)
        after = _forget(node, names)
        out = [way for way in ways if way.end == "return"]
        rest = [Way(None, when, after)]
        return out + (self.block(node.orelse, after, when) if node.orelse else rest)

    def _unpack(self, target, names, when):
        self.raises(when)
        for part in ast.walk(target):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                self.assign(part, Unknown(), names, when)

    def do_Try(self, node, names, when):
        outer, self.catching = self.catching, Raised()
        try:
            ways = self.block(node.body, dict(names), when)
        finally:
            caught, self.catching = self.catching, outer
        through = [way for way in ways if way.end is None]
        out = [way for way in ways if way.end is not None]
        if not any(_catches(handler, ("Exception", "BaseException")) for handler in node.handlers):
            self.raises(caught.others)
            if not any(_catches(handler, ("ValueError",)) for handler in node.handlers):
                self.raises(caught.value_errors, only_value_error=True)
        raised = any_of(caught.others, caught.value_errors)
        if raised is not False:
            for handler in node.handlers:
                inner = _forget(node, names)
                if handler.name:
                    self.assign(ast.Name(handler.name, ast.Store()), Unknown(), inner, raised)
                for way in self.block(handler.body, inner, raised):
                    (through if way.end is None else out).append(way)
        for way in through:
            out += self.block(node.orelse, way.names, way.when) if node.orelse else [way]
        if not node.finalbody:
            return out
        self.give_up(when)
        return out


def _forget(node, names):
    """The names without what `node` may assign."""
    names = dict(names)
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, (ast.Store, ast.Del)):
            names[part.id] = Unknown() if part.id in names and names[part.id] is not MAYBE else MAYBE
    return names


def reset_names(definition):
    """Global names that a function sets to something fresh before it does anything else."""
    shared, fresh = set(), set()
    for statement in definition.body:
        if isinstance(statement, ast.Global):
            shared.update(statement.names)
        elif isinstance(statement, ast.Assign) and all(isinstance(t, ast.Name) for t in statement.targets):
            value = statement.value
            if not (
                isinstance(value, ast.Constant)
                or isinstance(value, (ast.List, ast.Set, ast.Tuple)) and not value.elts
                or isinstance(value, ast.Dict) and not value.keys
            ):
                break
            fresh.update(target.id for target in statement.targets)
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            break
    return frozenset(shared & fresh)


def _catches(handler, names):
    if handler.type is None:
        return True
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in names for kind in types)

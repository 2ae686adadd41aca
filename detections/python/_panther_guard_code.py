"""Source and names behind functions: what the guard's reading may take as settled.

A module-level name counts as a constant only if no function of the pack assigns it anew, and a list,
dict or set behind it only if no function changes what that name holds.
"""

import ast
import builtins
import os
import types

MUTATORS = frozenset((
    "append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "update", "setdefault",
    "popitem", "add", "discard", "difference_update", "intersection_update",
    "symmetric_difference_update", "appendleft", "popleft", "__setitem__", "__delitem__",
))  # fmt: skip

UNKNOWN = object()


class Code:
    """The parsed files of a pack's layer."""

    def __init__(self, pack):
        self._pack = pack
        self._layer = os.path.join(pack.layer, "")
        self._files = {}
        self._facts = {}
        self.changed = set()  # names that some function assigns globally or changes the content of
        for folder in ("globals", "models", "detections"):
            path = os.path.join(pack.layer, folder)
            for name in sorted(os.listdir(path)) if os.path.isdir(path) else ():
                if name.endswith(".py"):
                    self._read(os.path.join(path, name))
        for path in pack.texts:
            self._read(path)

    def _read(self, path):
        try:
            tree = ast.parse(self._pack.text(path))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            return
        functions = {}
        todo = list(tree.body)
        while todo:
            node = todo.pop()
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if isinstance(node, ast.FunctionDef):
                    functions[node.lineno, node.name] = node
                self._note_changes(node)  # with those inside it
            elif isinstance(node, ast.Lambda):
                self._note_changes(node)
            else:
                todo.extend(ast.iter_child_nodes(node))
        self._files[path] = functions

    def _note_changes(self, function):
        aliases = {}
        changed = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                changed.update(name for name in node.names if not _only_for_mocks(function, name))
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    self._note_target(target, changed)
                    if isinstance(target, ast.Name):
                        aliases.setdefault(target.id, set()).update(_bare_names(node.value))
            elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
                self._note_target(node.target, changed)
                if isinstance(node, ast.AugAssign):
                    changed.add(_base(node.target))
            elif isinstance(node, ast.NamedExpr):
                aliases.setdefault(node.target.id, set()).update(_bare_names(node.value))
            elif isinstance(node, (ast.For, ast.comprehension)):
                self._note_target(node.target, changed)
                if isinstance(node.target, ast.Name):
                    # elements of a constant may be changed through the loop's name
                    aliases.setdefault(node.target.id, set()).update(_bare_names(node.iter))
            elif isinstance(node, ast.Delete):
                for target in node.targets:
                    self._note_target(target, changed)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in MUTATORS:
                    changed.add(_base(node.func.value))
        grown = True
        while grown:
            more = {name for alias, names in aliases.items() if alias in changed for name in names}
            grown = not more <= changed
            changed |= more
        changed.discard(None)
        self.changed |= changed

    @staticmethod
    def _note_target(target, changed):
        for node in ast.walk(target):
            if isinstance(node, (ast.Subscript, ast.Attribute)):
                changed.add(_base(node))

    def definition(self, function):
        """The syntax tree of a plain Python function of this pack, None for any other."""
        if not isinstance(function, types.FunctionType):
            return None
        code = function.__code__
        functions = self._files.get(code.co_filename)
        if functions is None or function.__closure__:
            return None
        node = functions.get((code.co_firstlineno, code.co_name))
        return None if node is None or node.decorator_list else node

    def facts(self, definition):
        """(names that are local because the function assigns them, whether a call does not simply run it)."""
        known = self._facts.get(definition)
        if known is None:
            stored, shared, special = set(), set(), False
            for part in ast.walk(definition):
                if isinstance(part, ast.Name):
                    if not isinstance(part.ctx, ast.Load):
                        stored.add(part.id)
                elif isinstance(part, ast.Global):
                    shared.update(part.names)
                elif isinstance(part, ast.ExceptHandler):
                    stored.add(part.name)
                elif isinstance(part, (ast.Yield, ast.YieldFrom, ast.Await)):
                    special = True
            known = self._facts[definition] = frozenset(stored - shared), special
        return known

    def look_up(self, namespace, name):
        """The settled object behind a global name, or UNKNOWN."""
        if name in self.changed:
            return UNKNOWN
        if name in namespace:
            return namespace[name]
        return getattr(builtins, name, UNKNOWN)


def _only_for_mocks(function, name):
    """Whether a function assigns `name` only where that holds a mock, as tests put there."""
    spared = set()
    for node in ast.walk(function):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Call):
            test = node.test
            plain = [a.id for a in test.args if isinstance(a, ast.Name)]
            if isinstance(test.func, ast.Name) and test.func.id == "isinstance" and plain == [name, "MagicMock"]:
                for statement in node.body:
                    spared.update(ast.walk(statement))
    return all(
        node in spared
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load)
    )


def _base(node):
    """The name at the root of an attribute or subscript; an attribute's own name if there is none."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            # module.NAME.append: the name that counts is NAME; x.attr.append: x as well
            return node.attr if node.attr.isupper() else node.value.id
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _bare_names(node):
    """Names whose very object `node` may evaluate to."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.IfExp):
        return _bare_names(node.body) | _bare_names(node.orelse)
    if isinstance(node, ast.BoolOp):
        return set().union(*(_bare_names(value) for value in node.values))
    if isinstance(node, (ast.Subscript, ast.Attribute)):
        return {base} if (base := _base(node)) else set()
    if isinstance(node, ast.Call):
        # get(), values(), items(), keys(), a helper: may hand out what is inside
        names = set()
        if isinstance(node.func, ast.Attribute) and (base := _base(node.func.value)):
            names.add(base)
        for argument in node.args:
            names |= _bare_names(argument)
        return names
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return set().union(*(_bare_names(item) for item in node.elts)) if node.elts else set()
    return set()

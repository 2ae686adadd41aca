"""Why a detection said what it said of an event.

The functions of its file are compiled once more with a probe around each condition, each operand of one and each returned value; what the probes saw is the
explanation. The copies share the module's names as they are now, and change none of them.
"""

import ast

MAX_STEPS = 400
MAX_SHOWN = 200  # characters of a value, and of a piece of code
_PROBE = "__panther_probe"


def explain(detection, source, event, call):
    """Verdict (or the exception that it ended with), the steps on the way, and the step that decided."""
    tree = ast.parse(source)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if detection.matcher_name not in [node.name for node in functions]:
        raise LookupError(f"{detection.matcher_name} is not written out in the detection's own file")
    probes = _Probes(source)
    module = ast.Module(body=[probes.visit(node) for node in functions], type_ignores=[])
    scope = {**getattr(detection.matcher, "__globals__", {}), **detection.namespace}
    scope[_PROBE] = probes.saw
    # By the path of the detection's own code, so that an error names the author's file.
    path = detection.matcher.__code__.co_filename
    exec(compile(ast.fix_missing_locations(module), path, "exec"), scope)  # pylint: disable=exec-used
    verdict, error = None, None
    try:
        verdict = call(scope[detection.matcher_name], event)
    except BaseException as raised:  # pylint: disable=broad-exception-caught
        error = raised
        probes.raised(error, path)
    return verdict, error, probes.steps, probes.deciding(detection.matcher_name)


def shown(value):
    """A value in short; whatever its own methods do."""
    try:
        text = repr(value)
    except BaseException:  # pylint: disable=broad-exception-caught
        text = f"<{type(value).__name__}>"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def shown_text(error):
    """An exception's message in short; whatever its own methods do."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # pylint: disable=broad-exception-caught
        text = ""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


class _Probes(ast.NodeTransformer):
    """Puts probes into functions, and notes what they see."""

    def __init__(self, source):
        self._lines = source.splitlines()
        self._nodes = []  # by number: kind, node as it was, name of its function
        self._values = {}  # by id of a node as it was: the last value seen there
        self._returned = {}  # by name of a function: the last value's node, and the last test before it
        self._function = None
        self._names = {}  # by number: the name that is set
        self._tests = {}
        self.steps = []

    def saw(self, number, value):
        kind, node, function = self._nodes[number]
        self._values[id(node)] = value
        if kind == "test":
            self._tests[function] = node
        elif kind == "return":
            self._returned[function] = node, self._tests.get(function)
        if kind != "operand" and len(self.steps) < MAX_STEPS:
            code = f"{self._names[number]} = {self._code(node)}" if kind == "set" else self._code(node)
            self.steps.append({"line": node.lineno, "kind": kind, "code": code, "value": shown(value), "operands": self._operands(node)})
        return value

    def raised(self, error, path):
        """The last step: the line of the file that raised, and what of it was known by then."""
        line, at = None, error.__traceback__
        while at is not None:
            if at.tb_frame.f_code.co_filename == path:
                line = at.tb_lineno
            at = at.tb_next
        if line is None:
            return
        of_line = (node for kind, node, _ in self._nodes if kind == "operand" and node.lineno == line and id(node) in self._values)
        operands = [{"code": self._code(node), "value": shown(self._values[id(node)])} for node in of_line if ast.unparse(node) != "event"]
        code = " ".join(self._lines[line - 1].split()) if line <= len(self._lines) else ""
        value = f"{type(error).__name__}: {shown_text(error)}"
        self.steps.append({"line": line, "kind": "raise", "code": code[:MAX_SHOWN], "value": value, "operands": operands[:20]})

    def visit_FunctionDef(self, node):
        outer, self._function = self._function, node.name
        try:
            node.body = [self.visit(statement) for statement in node.body]
        finally:
            self._function = outer
        return node

    def visit_Lambda(self, node):
        return node

    def visit_If(self, node):
        node.test = self._probe("test", node.test)
        node.body = [self.visit(statement) for statement in node.body]
        node.orelse = [self.visit(statement) for statement in node.orelse]
        return node

    visit_While = visit_If

    def visit_Return(self, node):
        if node.value is not None:
            node.value = self._probe("return", node.value)
        return node

    def visit_Assign(self, node):
        target = node.targets[0]
        if len(node.targets) == 1 and isinstance(target, ast.Name):
            self._names[len(self._nodes)] = target.id
            node.value = self._probe("set", node.value)
        return node

    def _probe(self, kind, node):
        """`node` with a probe around it and around what it is made of."""
        number = len(self._nodes)
        self._nodes.append((kind, _copy(node), self._function))
        kept = self._nodes[number][1]
        inner = self._inside(node, kept)
        call = ast.Call(func=ast.Name(id=_PROBE, ctx=ast.Load()), args=[ast.Constant(number), inner], keywords=[])
        return ast.copy_location(call, node)

    def _operand(self, node, kept):
        """A probe around an operand, whose node as it was is `kept`."""
        if isinstance(node, (ast.Constant, ast.Starred)):
            return node
        number = len(self._nodes)
        self._nodes.append(("operand", kept, self._function))
        call = ast.Call(func=ast.Name(id=_PROBE, ctx=ast.Load()), args=[ast.Constant(number), self._inside(node, kept)], keywords=[])
        return ast.copy_location(call, node)

    def _inside(self, node, kept):
        if isinstance(node, ast.BoolOp):
            node.values = [self._operand(*pair) for pair in zip(node.values, kept.values)]
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            node.operand = self._operand(node.operand, kept.operand)
        elif isinstance(node, ast.Compare):
            node.left = self._operand(node.left, kept.left)
            node.comparators = [self._operand(*pair) for pair in zip(node.comparators, kept.comparators)]
        elif isinstance(node, ast.IfExp):
            node.test = self._operand(node.test, kept.test)
            node.body = self._operand(node.body, kept.body)
            node.orelse = self._operand(node.orelse, kept.orelse)
        elif _is_all_or_any(node):
            node.args[0].elts = [self._operand(*pair) for pair in zip(node.args[0].elts, kept.args[0].elts)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("startswith", "endswith", "get", "lower", "upper"):
            node.func.value = self._operand(node.func.value, kept.func.value)
        return node

    def _code(self, node):
        text = " ".join(ast.unparse(node).split())
        return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."

    def _operands(self, node):
        """Code and value of what a condition was made of, as far as it was looked at."""
        found = []
        for child in _parts(node):
            if id(child) in self._values:
                inner = self._operands(child)
                if not inner or not isinstance(child, (ast.BoolOp, ast.Compare, ast.UnaryOp)):
                    if not isinstance(child, ast.Name) or child.id != "event":
                        found.append({"code": self._code(child), "value": shown(self._values[id(child)])})
                found.extend(inner)
        return found[:20]

    def deciding(self, name):
        """The step that decided what function `name` returned; None if nothing did."""
        node, test = self._returned.get(name, (None, self._tests.get(name)))
        if node is None or isinstance(node, ast.Constant):
            node = test
        node = self._decider(node)
        if node is None:
            return None
        value = self._values.get(id(node), ...)
        return {"line": node.lineno, "code": self._code(node), "value": None if value is ... else shown(value), "operands": self._operands(node)}

    def _decider(self, node):
        """The innermost condition from which the value of `node` follows."""
        while node is not None:
            if isinstance(node, ast.BoolOp):
                looked_at = [one for one in node.values if id(one) in self._values]
                inner = looked_at[-1] if looked_at else None
            elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
                inner = node.operand
            elif isinstance(node, ast.IfExp):
                branch = node.body if self._values.get(id(node.test)) else node.orelse
                inner = node.test if isinstance(branch, ast.Constant) else branch
            elif _is_all_or_any(node):
                wanted = node.func.id == "any"
                elements = [one for one in node.args[0].elts if id(one) in self._values]
                decisive = [one for one in elements if bool(self._values[id(one)]) is wanted]
                inner = (decisive or elements[-1:] or [None])[0]
            else:
                return node
            if inner is None or id(inner) not in self._values:
                return node
            node = inner
        return None


def _parts(node):
    if isinstance(node, ast.BoolOp):
        return node.values
    if isinstance(node, ast.UnaryOp):
        return [node.operand]
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.IfExp):
        return [node.test, node.body, node.orelse]
    if _is_all_or_any(node):
        return node.args[0].elts
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return [node.func.value]
    return []


def _is_all_or_any(node):
    """`all([...])` or `any([...])`, the elements of which are written out."""
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("all", "any")
    return named and len(node.args) == 1 and not node.keywords and isinstance(node.args[0], (ast.List, ast.Tuple))


def _copy(node):
    """A copy with its places in the file, which no probe gets into."""
    copied = ast.parse(ast.unparse(node), mode="eval").body
    for old, new in zip(ast.walk(node), ast.walk(copied)):
        if hasattr(old, "lineno") and hasattr(new, "lineno"):
            new.lineno, new.col_offset = old.lineno, old.col_offset
    return copied

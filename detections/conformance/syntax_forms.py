"""Functions of files as syntax trees of Python's own parser, in the forms that `tests/it/syntax/` gives those of Ruff's: to compare the two.

`syntax_forms.py FILE...` prints a line of JSON for each file: its `source`, and its `functions` as [name, first line, levels, tree], the
tree as JSON again, since readers of JSON have an end to how deep they go.
"""

import ast
import importlib.util
import json
import re
import sys

_LEFT_OUT = frozenset(("ctx", "type_comment", "kind", "annotation", "returns", "simple", "type_params"))
_MOST_INT = 1 << 63
_HALF = ["X", "constant"]


def forms(source):
    """What there is of each function, those inside others too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if type(node) is ast.FunctionDef:
            line = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            found.append([node.name, line, _levels(node) - 1, json.dumps(_form(node), ensure_ascii=False, separators=(",", ":"))])
    return found


def _levels(node):
    """Statements and expressions inside each other; a value in an f-string is a level of its own."""
    inside = max((_levels(child) for child in ast.iter_child_nodes(node)), default=0)
    return inside + isinstance(node, (ast.stmt, ast.expr))


def _form(node):
    if isinstance(node, list):
        return [_form(item) for item in node]
    if isinstance(node, ast.Constant):
        return ["Constant", _constant(node.value)]
    if isinstance(node, ast.Match):
        cases = [["match_case", _form(case.guard), _form(case.body)] for case in node.cases]
        return ["Match", _form(node.subject), cases]
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, ast.JoinedStr) and ["Constant", _HALF] in map(_form, node.values):
        return "half a character in an f-string"
    fields = [_form(getattr(node, field, None)) for field in node._fields if field not in _LEFT_OUT]
    return [type(node).__name__, *fields] if node._fields else type(node).__name__


def _constant(value):
    if value is None or isinstance(value, bool):
        return ["K", value]
    if isinstance(value, str):
        # Texts with half a character are not read, and what stands for it is not told from it.
        return _HALF if any("\ud800" <= letter <= "\udfff" or letter == "\ufffd" for letter in value) else ["K", value]
    if isinstance(value, int):
        return ["K", value] if value < _MOST_INT else ["X", "constant"]
    if isinstance(value, float):
        return ["D", re.sub(r"e\+?(-?)0*", r"e\1", repr(value))]
    return ["X", type(value).__name__]


def main():
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            source = importlib.util.decode_source(file.read())
        print(json.dumps({"file": path, "source": source, "functions": forms(source)}))


if __name__ == "__main__":
    main()

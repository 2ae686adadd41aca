"""Formulas over one event: what guards are made of.

A formula here is True, False, or a tuple: ("all", parts), ("any", parts), or an atom about the value
that a path leads to (keys looked up as detections do it, exact first, then in any letter case):

    ("in", path, values)        equal, as Python's == has it, to one of `values` (JSON texts)
    ("nin", path, values)       not so
    ("truthy", path), ("falsy", path)
    ("prefix" | "suffix" | "contains", path, strings)     a string that does so with one of `strings`
    ("ieq", path, strings)      a string whose lower case is one of `strings`
    ("type", path, names)       of one of these types: missing null bool number string array object

Every formula made here holds in at least the events that it is asked to hold in; where the truth has
no form, it is True. In the host's language `nin` and `falsy` are {"not": atom}.
"""

import json

TYPES = ("missing", "null", "bool", "number", "string", "array", "object")
ALL_TYPES = frozenset(TYPES)
MAX_PARTS = 24  # of one `any` or `all`; more become True, or are dropped
MAX_VALUES = 400


def type_of_json(value):
    """The type's name of a JSON constant."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, (list, tuple)) else "object"


def values_equal_to(value):
    """JSON texts of every JSON scalar that Python calls equal to `value`; None if that is no such list."""
    if value is None or isinstance(value, str):
        return (json.dumps(value),)
    if isinstance(value, (bool, int, float)):
        if value != value or abs(value) > 1 << 53:
            return None
        equal = {json.dumps(float(value))}
        if value == int(value):
            equal.add(json.dumps(int(value)))
        if value in (0, 1):
            equal.add(json.dumps(bool(value)))
        return tuple(sorted(equal))
    return None


def is_in(path, values):
    """The atom that the value at `path` equals one of the Python `values`."""
    texts, types = set(), set()
    for value in values:
        equal = values_equal_to(value)
        if equal is None:
            types.add(type_of_json(value))
        else:
            texts.update(equal)
    if len(texts) > MAX_VALUES:
        return True
    return any_of(("in", path, tuple(sorted(texts))) if texts else False, of_type(path, types))


def is_not_in(path, values):
    """The atom that it equals none of them; True if one of them has no exact form."""
    texts = set()
    for value in values:
        equal = values_equal_to(value)
        if equal is None:
            return True
        texts.update(equal)
    return ("nin", path, tuple(sorted(texts))) if texts else True


def of_type(path, types):
    types = frozenset(types)
    if not types:
        return False
    if types == ALL_TYPES:
        return True
    return ("type", path, tuple(name for name in TYPES if name in types))


def any_of(*parts):
    """At least one part holds."""
    flat, members, types = {}, {}, {}
    for part in parts:
        if part is True:
            return True
        if part is False:
            continue
        for inner in part[1] if part[0] == "any" else (part,):
            if inner[0] == "in":
                members.setdefault(inner[1], set()).update(inner[2])
            elif inner[0] == "type":
                types.setdefault(inner[1], set()).update(inner[2])
            else:
                flat[inner] = None
    for path, texts in members.items():
        if len(texts) > MAX_VALUES:
            return True
        flat["in", path, tuple(sorted(texts))] = None
    for path, names in types.items():
        atom = of_type(path, names)
        if atom is True:
            return True
        flat[atom] = None
    for part in flat:
        if part[0] == "falsy" and ("truthy", part[1]) in flat or part[0] == "nin" and ("in", *part[1:]) in flat:
            return True
    # a part that demands more than another one adds nothing
    kept = [
        part
        for part in flat
        if not (part[0] == "all" and any(inner in flat for inner in part[1]))
    ]
    if not kept:
        return False
    if len(kept) == 1:
        return kept[0]
    shared = set.intersection(*(_conjuncts(part) for part in kept))
    if shared:
        # what every part demands stands once, before the alternatives
        return all_of(*shared, any_of(*(_without(part, shared) for part in kept)))
    if len(kept) > MAX_PARTS:
        return True
    return ("any", tuple(sorted(kept, key=repr)))


def _conjuncts(part):
    return set(part[1]) if part[0] == "all" else {part}


def _without(part, shared):
    rest = [inner for inner in (part[1] if part[0] == "all" else (part,)) if inner not in shared]
    if not rest:
        return True
    return rest[0] if len(rest) == 1 else ("all", tuple(rest))


def weakened(formula):
    """A smaller formula that holds wherever `formula` does: of each alternative, its memberships."""
    if isinstance(formula, bool) or formula[0] not in ("any", "all"):
        return formula
    if formula[0] == "any":
        return any_of(*(weakened(part) for part in formula[1]))
    members = [part for part in formula[1] if part[0] in ("in", "ieq", "prefix", "suffix")]
    if members:
        return all_of(*members)
    return all_of(*(weakened(part) for part in formula[1]))


def all_of(*parts):
    """Every part holds."""
    flat = {}
    for part in parts:
        if part is False:
            return False
        if part is True:
            continue
        for inner in part[1] if part[0] == "all" else (part,):
            flat[inner] = None
    if len(flat) > 1:
        flat = _meet(flat)
        if flat is False:
            return False
        kept = [
            part
            for part in flat
            if not (part[0] == "any" and any(inner in flat for inner in part[1]))
        ]
        kept = _prune(kept)
        if kept is False:
            return False
    else:
        kept = list(flat)
    if not kept:
        return True
    if len(kept) == 1:
        return kept[0]
    if len(kept) > MAX_PARTS:
        kept = sorted(kept, key=_weight)[:MAX_PARTS]
    return ("all", tuple(sorted(kept, key=repr)))


def _weight(part):
    return (0 if part[0] in ("in", "ieq") else 1 if part[0] != "any" else 2, repr(part))


def _types_of_text(text):
    if text == "null":
        return ("missing", "null")
    return (type_of_json(json.loads(text)),)


_TYPES_OF_ATOM = {
    "prefix": frozenset(("string",)),
    "suffix": frozenset(("string",)),
    "contains": frozenset(("string",)),
    "ieq": frozenset(("string",)),
    "truthy": frozenset(("bool", "number", "string", "array", "object")),
}


def _meet(atoms):
    """Bring together what a conjunction says of one path. False if it cannot hold."""
    members, types = {}, {}
    rest = {}
    for atom in atoms:
        kind = atom[0]
        if kind == "in":
            texts = set(atom[2])
            members[atom[1]] = members[atom[1]] & texts if atom[1] in members else texts
        elif kind == "type":
            names = set(atom[2])
            types[atom[1]] = types[atom[1]] & names if atom[1] in types else names
        else:
            rest[atom] = None
    for atom in list(rest):
        kind = atom[0]
        if kind in ("all", "any"):
            continue
        path = atom[1]
        if kind == "truthy" and ("falsy", path) in rest:
            return False
        if path in types and kind in _TYPES_OF_ATOM:
            types[path] &= _TYPES_OF_ATOM[kind]
            if not types[path]:
                return False
        if path in members:
            texts = {text for text in members[path] if _satisfies(json.loads(text), atom)}
            if not texts:
                return False
            members[path] = texts
            del rest[atom]  # what it says is now in the list
    for path, texts in members.items():
        if path in types:
            texts = {text for text in texts if types[path] & set(_types_of_text(text))}
            if "null" not in texts:
                del types[path]
        if not texts:
            return False
        rest["in", path, tuple(sorted(texts))] = None
    for path, names in types.items():
        if not names:
            return False
        atom = of_type(path, names)
        if atom is not True:
            rest[atom] = None
    return rest


def _satisfies(value, atom):
    """Whether a scalar at its path satisfies an atom of another kind than `in` and `type`."""
    kind = atom[0]
    if kind == "truthy":
        return bool(value)
    if kind == "falsy":
        return not value
    if kind == "nin":
        return json.dumps(value) not in atom[2]
    if not isinstance(value, str):
        return False
    if kind == "prefix":
        return value.startswith(atom[2])
    if kind == "suffix":
        return value.endswith(atom[2])
    if kind == "contains":
        return any(text in value for text in atom[2])
    return value.lower() in atom[2]


def _prune(parts):
    """Drop alternatives inside a conjunction that its atoms contradict."""
    atoms = [part for part in parts if part[0] not in ("any", "all")]
    kept = []
    changed = False
    for part in parts:
        if part[0] == "any":
            inner = [option for option in part[1] if _meet_all(atoms, option)]
            if not inner:
                return False
            if len(inner) < len(part[1]):
                changed = True
                part = any_of(*inner)
        kept.append(part)
    if changed:
        again = all_of(*kept)
        if again is False:
            return False
        if again is True:
            return []
        return list(again[1]) if again[0] == "all" else [again]
    return kept


def _meet_all(atoms, option):
    if option[0] == "any":
        return True
    inner = option[1] if option[0] == "all" else (option,)
    return _meet(dict.fromkeys([*atoms, *(part for part in inner if part[0] not in ("any", "all"))])) is not False


def size(formula):
    """Number of atoms."""
    if isinstance(formula, bool):
        return 0
    if formula[0] in ("all", "any"):
        return sum(size(part) for part in formula[1])
    return 1


def to_json(formula):
    """The formula in the language that the host evaluates."""
    if isinstance(formula, bool):
        return formula
    kind = formula[0]
    if kind in ("all", "any"):
        return {kind: [to_json(part) for part in formula[1]]}
    path = list(formula[1])
    if kind in ("in", "nin"):
        values = [json.loads(text) for text in formula[2]]
        atom = {"eq": [path, values[0]]} if len(values) == 1 else {"in": [path, values]}
        return {"not": atom} if kind == "nin" else atom
    if kind == "truthy":
        return {"truthy": path}
    if kind == "falsy":
        return {"not": {"truthy": path}}
    return {kind: [path, list(formula[2])]}

#!/usr/bin/env python3
"""Lists the circles in a crate: files, or parts (modules at the crate's top), that import each other, directly or over others.

    cases/structure/circles.py CRATE... [--allowed FILE]

A file imports another one if it names an item that the other file defines. A name is followed through `use` and `pub use` to the
file that defines it, so a module file that only re-exports an item takes no part. Tests inside a file do not count. FILE is a TOML
file with a table [[circle]] per circle that may stay: `files` (below the crate's folder) and `reason`.

Exit code 0 if there is no other circle, 1 if there is one, 2 if a crate cannot be read. Standard library only.
"""

import argparse
import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ITEM = re.compile(
    r"\b(?:struct|enum|union|trait|type|fn|const|static|macro_rules!)\s+(?:mut\s+)?(?:r#)?([A-Za-z_]\w*)"
)
MOD = re.compile(r"\bmod\s+([A-Za-z_]\w*)\s*;")
USE = re.compile(r"\buse\s+([^;]+);")
PATH = re.compile(r"\b[A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)+")
TEST = re.compile(r"#\[cfg\(test\)\]")
# Comments, strings of all kinds, and characters; a lifetime is no character.
TEXT = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])'""", re.DOTALL
)


@dataclass
class Module:
    """One module, which is one file."""

    file: Path
    path: tuple[str, ...]
    text: str
    children: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    # Imported names, each with its path; and the paths of `use path::*`.
    imports: dict[str, tuple[str, ...]] = field(default_factory=dict)
    globs: list[tuple[str, ...]] = field(default_factory=list)


def without_texts(source: str) -> str:
    """The source without comments and literals."""
    return TEXT.sub(" ", source)


def without_tests(source: str) -> str:
    """The source without the items under `#[cfg(test)]`."""
    parts, start = [], 0
    while found := TEST.search(source, start):
        parts.append(source[start : found.start()])
        start = end_of_item(source, found.end())
    return "".join([*parts, source[start:]])


def end_of_item(source: str, start: int) -> int:
    """Where an item ends: behind its `;`, or behind the brace that closes it."""
    depth = 0
    for place in range(start, len(source)):
        letter = source[place]
        if letter == "{":
            depth += 1
        elif letter == "}":
            depth -= 1
            if depth == 0:
                return place + 1
        elif letter == ";" and depth == 0:
            return place + 1
    return len(source)


def top_level(source: str) -> str:
    """The source without what stands inside braces; the braces of `use` stay."""
    kept, depth = [], 0
    place = 0
    while place < len(source):
        if depth == 0 and (found := USE.match(source, place)):
            kept.append(found.group())
            place = found.end()
            continue
        letter = source[place]
        depth += (letter == "{") - (letter == "}")
        if depth == 0 or (letter == "{" and depth == 1):
            kept.append(letter)
        place += 1
    return "".join(kept)


def split_list(text: str) -> list[str]:
    """The elements of a list in braces."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def use_tree(tree: str, before: tuple[str, ...] = ()) -> list[tuple[str, tuple[str, ...]]]:
    """The names that a `use` imports, each with its path. `*` stands for all names of a path."""
    tree = tree.strip()
    if tree.startswith("{"):
        return [found for part in split_list(tree[1 : tree.rindex("}")]) for found in use_tree(part, before)]
    head, separator, rest = tree.partition("::")
    if separator:
        return use_tree(rest, (*before, head.strip()) if head.strip() else before)
    name, _, other = (part.strip() for part in tree.partition(" as "))
    if name == "self":
        return [(other or before[-1], before)] if before else []
    return [(other or name, (*before, name))]


class Crate:
    """The modules of a crate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: dict[tuple[str, ...], Module] = {}
        roots = [root for name in ("lib.rs", "main.rs") if (root := folder / "src" / name).is_file()]
        if not roots:
            raise OSError(f"{folder} has neither src/lib.rs nor src/main.rs")
        self.read(roots[0], ())

    def read(self, file: Path, path: tuple[str, ...]) -> None:
        """Reads a module and the ones inside it."""
        text = without_tests(without_texts(file.read_text(encoding="utf-8")))
        module = self.modules[path] = Module(file, path, text)
        outside = top_level(text)
        module.children = set(MOD.findall(outside))
        module.items = set(ITEM.findall(outside))
        for tree in USE.findall(text):
            for name, of in use_tree(tree):
                if name == "*":
                    module.globs.append(of[:-1])
                elif name != "_":
                    module.imports.setdefault(name, of)
        inside = file.parent if file.name in ("lib.rs", "main.rs", "mod.rs") else file.with_suffix("")
        for child in module.children:
            places = (inside / f"{child}.rs", inside / child / "mod.rs")
            for place in places:
                if place.is_file():
                    self.read(place, (*path, child))

    def defining(self, module: Module, path: tuple[str, ...], seen: frozenset = frozenset()) -> Module | None:
        """The module that defines what a path names in a module; None if it is not of this crate."""
        if not path or (module.path, path) in seen:
            return None
        seen |= {(module.path, path)}
        head, rest = path[0], path[1:]
        if head in ("crate", "self", "super"):
            at = {"crate": (), "self": module.path, "super": module.path[:-1]}[head]
            return self.defining(self.modules[at], rest, seen) if rest and at in self.modules else self.modules.get(at)
        if head in module.children and (child := self.modules.get((*module.path, head))):
            return self.defining(child, rest, seen) if rest else child
        if head in module.items:
            return module
        if head in module.imports:
            return self.defining(module, (*module.imports[head], *rest), seen)
        for of in module.globs:
            target = self.defining(module, of, seen)
            if target and target is not module and (found := self.defining(target, path, seen)):
                return found
        return None

    def arrows(self) -> dict[Path, dict[Path, set[str]]]:
        """By file: the files that it imports from, with the names."""
        arrows: dict[Path, dict[Path, set[str]]] = {}
        for module in self.modules.values():
            paths = {tuple(re.split(r"\s*::\s*", path)) for path in PATH.findall(USE.sub(" ", module.text))}
            # A re-export uses nothing of the module that it stands in.
            outside = re.sub(r"\bpub(?:\([^)]*\))?\s+use\s+[^;]+;", " ", module.text)
            for tree in USE.findall(outside):
                paths |= {of for _, of in use_tree(tree)}
            for path in paths:
                target = self.defining(module, path)
                if target and target is not module:
                    arrows.setdefault(module.file, {}).setdefault(target.file, set()).add(path[-1])
        return arrows


def circles(arrows: dict[Path, dict[Path, set[str]]]) -> list[list[Path]]:
    """Sets of files that reach each other (Tarjan's strongly connected components)."""
    order: dict[Path, int] = {}
    low: dict[Path, int] = {}
    stack: list[Path] = []
    found: list[list[Path]] = []

    def visit(file: Path) -> None:
        order[file] = low[file] = len(order)
        stack.append(file)
        for target in arrows.get(file, {}):
            if target not in order:
                visit(target)
                low[file] = min(low[file], low[target])
            elif target in stack:
                low[file] = min(low[file], order[target])
        if low[file] == order[file]:
            place = stack.index(file)
            circle, stack[place:] = stack[place:], []
            if len(circle) > 1:
                found.append(sorted(circle))

    for file in sorted(arrows):
        if file not in order:
            visit(file)
    return sorted(found)


def parts(crate: Crate, arrows: dict[Path, dict[Path, set[str]]]) -> dict[Path, dict[Path, set[str]]]:
    """The arrows between the modules at the crate's top, each with the files that make it."""
    of = {module.file: module.path[:1] for module in crate.modules.values()}
    found: dict[Path, dict[Path, set[str]]] = {}
    for file, targets in arrows.items():
        for target in targets:
            if of[file] and of[target] and of[file] != of[target]:
                part, other = (crate.folder / "src" / of[one][0] for one in (file, target))
                names = found.setdefault(part, {}).setdefault(other, set())
                names.add(str(file.relative_to(crate.folder)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("crates", nargs="+", type=Path, metavar="CRATE")
    parser.add_argument("--allowed", type=Path)
    options = parser.parse_args()
    allowed = tomllib.loads(options.allowed.read_text(encoding="utf-8"))["circle"] if options.allowed else []
    allowed = [frozenset(circle["files"]) for circle in allowed]
    good = True
    for folder in options.crates:
        try:
            crate = Crate(folder)
        except OSError as error:
            print(error, file=sys.stderr)
            return 2
        arrows = crate.arrows()
        for what, of in (("files", arrows), ("parts", parts(crate, arrows))):
            for circle in circles(of):
                names = [str(one.relative_to(folder)) for one in circle]
                if frozenset(names) in allowed:
                    continue
                good = False
                print(f"{folder}: a circle of {len(circle)} {what}")
                for one in circle:
                    for target, by in sorted(of[one].items()):
                        if target in circle:
                            print(f"  {one.relative_to(folder)} -> {target.relative_to(folder)}: {', '.join(sorted(by))}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

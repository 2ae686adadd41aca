"""Finds the cases in their folders, and the list of cases that wait for something that is not built yet."""

import importlib.util
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.case import Case, readings_check
from harness.reading import Reading, TableError, parse_reading

GROUPS = ("bugs", "logs")


class SuiteError(Exception):
    """The suite itself is invalid: a case without a check, or a list with an unknown case."""


@dataclass(frozen=True)
class CaseFile:
    """A case of the suite. `seconds` is its approximate duration; the longest cases start first."""

    name: str
    folder: Path
    check: Callable[[Case], None]
    seconds: int


def discover(root: Path) -> list[CaseFile]:
    """All cases: folders with `case.py` or `case.toml`, and the tables in each group's `cases.toml`."""
    cases: list[CaseFile] = []
    for group in GROUPS:
        table = root / group / "cases.toml"
        if table.exists():
            cases += from_table(group, table)
        cases += [from_folder(group, file.parent) for file in sorted((root / group).glob("*/case.*"))]
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SuiteError(f"more than one case has the name {', '.join(twice)}")
    return cases


def from_folder(group: str, folder: Path) -> CaseFile:
    """The case of one folder."""
    name = f"{group}/{folder.name}"
    if not (folder / "README.md").exists():
        raise SuiteError(f"{name} has no README.md")
    if (folder / "case.toml").exists():
        return CaseFile(name, folder, readings_check(parse_readings(name, load(folder / "case.toml"), folder)), 1)
    module_name = "case_" + name.replace("/", "_").replace("-", "_")
    spec = importlib.util.spec_from_file_location(module_name, folder / "case.py")
    if spec is None or spec.loader is None:
        raise SuiteError(f"{name}: case.py cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return CaseFile(name, folder, module.check, getattr(module, "SECONDS", 10))


def from_table(group: str, table: Path) -> list[CaseFile]:
    """The cases of one table."""
    cases = []
    for one in load(table).get("case", []):
        name = f"{group}/{one.get('name')}"
        lacking = [key for key in ("name", "report", "right") if not one.get(key)]
        if lacking:
            raise SuiteError(f"{name}: {table.name} lacks {', '.join(lacking)}")
        cases.append(CaseFile(name, table.parent, readings_check(parse_readings(name, one, table.parent)), 1))
    return cases


def parse_readings(name: str, table: dict[str, Any], folder: Path) -> list[Reading]:
    """The readings of one case, at least one."""
    readings = table.get("reading", [])
    if not readings:
        raise SuiteError(f"{name} has no reading")
    try:
        return [parse_reading(reading, folder) for reading in readings]
    except TableError as error:
        raise SuiteError(f"{name}: {error}") from error


def waiting(file: Path, names: set[str]) -> dict[str, str]:
    """The waiting cases with their reasons. Every entry must name a case and give a reason."""
    reasons: dict[str, str] = {}
    for entry in load(file).get("waiting", []):
        name, reason = entry.get("case"), entry.get("reason")
        if name not in names:
            raise SuiteError(f"{file.name} names {name}, which is no case")
        if not reason or name in reasons:
            raise SuiteError(f"{file.name}: {name} needs one entry with a reason")
        reasons[name] = reason
    return reasons


def load(file: Path) -> dict[str, Any]:
    """A parsed table file; an error contains the name of the file."""
    try:
        return tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"{file}: {error}") from error

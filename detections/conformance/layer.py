"""Lays out a pack folder (panther-analysis's format) as the layer that the runner loads.

Stands in for the Rust host's pack reader, so that the Python side can be tested and compared by itself.
Needs PyYAML.
"""

import json
import re
import shutil
from pathlib import Path

import yaml

RUNTIME = Path(__file__).resolve().parent.parent / "python"


class Yaml12(yaml.SafeLoader):
    """YAML 1.2's core schema: yes/no/on/off and timestamps are strings, 012 is 12."""


Yaml12.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    ("float", r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+.0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
):  # fmt: skip
    Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first) + ([""] if _tag == "null" else []))


def _int(loader, node):
    text = loader.construct_scalar(node)
    if text.startswith("0o"):
        return int(text[2:], 8)
    if text.startswith("0x"):
        return int(text[2:], 16)
    return int(text)


Yaml12.add_constructor("tag:yaml.org,2002:int", _int)


def read_yaml(path):
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, Yaml12)


def read_pack(folder):
    """All items of a pack: list of (yaml path, document)."""
    items = []
    for path in sorted(Path(folder).rglob("*.y*ml")):
        if any(part.startswith(".") or part in ("indexes", "templates", "test_scenarios") for part in path.relative_to(folder).parts):
            continue
        try:
            document = read_yaml(path)
        except yaml.YAMLError:
            continue
        if isinstance(document, dict) and "AnalysisType" in document:
            items.append((path, document))
    return items


def lay(items, out, keep=lambda document: True, runtime=RUNTIME):
    """Write the layer to `out`. Gives {detection index: document} with the path under `_path`."""
    out = Path(out)
    for name in ("detections", "models", "globals"):
        (out / name).mkdir(parents=True)
    shutil.copytree(runtime, out / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    manifest = {"version": "1", "detections": [], "globals": [], "data_models": []}
    documents = {}
    for path, document in items:
        sort = document["AnalysisType"]
        body = path.parent / document["Filename"] if document.get("Filename") else None
        if sort == "global":
            shutil.copy(body, out / "globals" / f"{document['GlobalID']}.py")
            manifest["globals"].append(
                {"id": document["GlobalID"], "path": f"globals/{document['GlobalID']}.py"}
            )
        elif sort == "datamodel":
            number = len(manifest["data_models"])
            target = None
            if body is not None:
                target = f"models/{number:04}.py"
                shutil.copy(body, out / target)
            manifest["data_models"].append(
                {
                    "id": document["DataModelID"],
                    "log_type": document["LogTypes"][0],
                    "enabled": document.get("Enabled", True),
                    "path": target,
                    "mappings": [
                        {"name": m["Name"], **({"path": m["Path"]} if "Path" in m else {"method": m.get("Method")})}
                        for m in document["Mappings"]
                    ],
                }
            )
        elif sort in ("rule", "policy", "scheduled_rule") and keep(document):
            number = len(manifest["detections"])
            target = None
            if body is not None:
                target = f"detections/{number:04}.py"
                shutil.copy(body, out / target)
            elif "Detection" not in document:
                continue
            simple = None
            if body is None:
                names = ("Detection", "AlertTitle", "AlertContext", "GroupBy", "DynamicSeverities")
                simple = {name: document[name] for name in names if name in document}
            manifest["detections"].append(
                {
                    "index": number,
                    "id": document.get("RuleID") or document.get("PolicyID"),
                    "kind": sort.upper(),
                    "path": target,
                    "simple": simple,
                    "log_types": document.get("LogTypes") or document.get("ResourceTypes") or [],
                    "display_name": document.get("DisplayName"),
                    "description": document.get("Description", ""),
                    "reference": document.get("Reference", ""),
                    "runbook": document.get("Runbook", ""),
                    "severity": document.get("Severity", "INFO").upper(),
                    "tags": document.get("Tags") or [],
                    "reports": document.get("Reports") or {},
                    "dedup_minutes": document.get("DedupPeriodMinutes", 60),
                    "inline_filters": document.get("InlineFilters"),
                    "enabled": document.get("Enabled", True),
                }
            )
            documents[number] = {**document, "_path": str(path)}
    (out / "manifest.json").write_text(json.dumps(manifest, default=str))
    return documents

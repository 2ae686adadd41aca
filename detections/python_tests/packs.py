"""Small packs for tests: laid out as the runner loads them, without the files of a real pack."""

import json
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUNTIME = HERE.parent / "python"
for folder in (RUNTIME, HERE.parent / "conformance"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


class Layer:
    """A layer folder with the given detections (Python source, or a dict that overrides the spec)."""

    def __init__(self, detections, helpers=None, models=()):
        self._folder = tempfile.TemporaryDirectory(prefix="panther-layer-")
        self.path = Path(self._folder.name) / "layer"
        for name in ("detections", "models", "globals"):
            (self.path / name).mkdir(parents=True)
        shutil.copytree(RUNTIME, self.path / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
        manifest = {"version": "1", "detections": [], "globals": [], "data_models": []}
        for name, source in (helpers or {}).items():
            (self.path / "globals" / f"{name}.py").write_text(textwrap.dedent(source))
            manifest["globals"].append({"id": name, "path": f"globals/{name}.py"})
        for number, model in enumerate(models):
            path = None
            if model.get("source"):
                path = f"models/{number:04}.py"
                (self.path / path).write_text(textwrap.dedent(model["source"]))
            manifest["data_models"].append(
                {"id": f"model{number}", "enabled": True, "path": path, **{k: v for k, v in model.items() if k != "source"}}
            )
        for index, detection in enumerate(detections):
            if isinstance(detection, str):
                detection = {"source": detection}
            path = None
            if "source" in detection:
                path = f"detections/{index:04}.py"
                (self.path / path).write_text(textwrap.dedent(detection["source"]))
            manifest["detections"].append(
                {
                    "index": index, "id": f"Rule.{index}", "kind": "RULE", "path": path, "simple": None,
                    "log_types": ["Test"], "display_name": None, "description": "", "reference": "",
                    "runbook": "", "severity": "MEDIUM", "tags": [], "reports": {}, "dedup_minutes": 60,
                    "inline_filters": None, "enabled": True,
                    **{k: v for k, v in detection.items() if k != "source"},
                }
            )  # fmt: skip
        (self.path / "manifest.json").write_text(json.dumps(manifest))

    def load(self):
        """The pack, loaded in this process."""
        import _panther_limits
        import _panther_pack

        pack = _panther_pack.Pack(str(self.path))
        globals_folder = str(self.path / "globals")
        sys.path.insert(0, globals_folder)
        try:
            pack._compile(_panther_pack._Board(), {})
            watch = _panther_limits.Watch(5000)
            for item in pack._items:
                pack._load_item(item, watch)
        finally:
            sys.path.remove(globals_folder)
            for spec in pack.manifest["globals"]:
                sys.modules.pop(spec["id"], None)
        return pack

    def close(self):
        self._folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()

"""Runs detections through panther_core as a black box and writes down what it says.

Started by compare.py with the Python of a virtual environment that has panther_core; reads a job on
stdin, writes one JSON document to the file that the job names. The key-value store is stood in for by
this engine's own helpers over rows in memory, so that both sides have one.
"""

import contextlib
import io
import json
import os
import sys
import time
import warnings

warnings.simplefilter("ignore")


def stand_in_store(runtime):
    """Take the store helpers, and nothing else, from this engine's runtime."""
    import importlib.util

    def load(name, path):
        spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=None)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    store = load("_panther_store", os.path.join(runtime, "_panther_store.py"))
    import panther_detection_helpers

    caching = load("panther_detection_helpers.caching", os.path.join(runtime, "panther_detection_helpers", "caching.py"))
    panther_detection_helpers.caching = caching
    store.current._ask = lambda key: None
    return store.current


def load_models(layer, manifest):
    from panther_core.data_model import DataModel

    models = {}
    for spec in manifest["data_models"]:
        if not spec["enabled"]:
            continue
        body = ""
        if spec["path"]:
            with open(os.path.join(layer, spec["path"]), encoding="utf-8") as file:
                body = file.read()
        models[spec["log_type"]] = DataModel(
            {"id": spec["id"], "versionId": "1", "body": body, "mappings": spec["mappings"]}
        )
    return models


def load_detection(layer, spec):
    from panther_core.policy import Policy
    from panther_core.rule import Rule

    config = {
        "id": spec["id"],
        "path": os.path.join(layer, spec["path"]),
        "versionId": "1",
        "severity": spec["severity"],
        "dedupPeriodMinutes": spec["dedup_minutes"],
        "description": spec["description"],
        "reference": spec["reference"],
        "runbook": spec["runbook"],
        "tags": spec["tags"],
        "reports": {name: [str(item) for item in items] for name, items in spec["reports"].items()},
    }
    if spec["kind"] == "POLICY":
        return Policy(config)
    if spec["kind"] == "SCHEDULED_RULE":
        config["analysisType"] = "SCHEDULED_RULE"
    return Rule(config)


def error_of(error):
    return None if error is None else {"type": type(error).__name__, "title": repr(error), "message": str(error)}


FUNCTIONS = ("title", "dedup", "severity", "description", "reference", "runbook", "destinations", "alert_context", "unique")


def plain(result):
    """What is compared of a DetectionResult."""
    said = {
        "output": result.detection_output,
        "error": error_of(result.setup_exception or result.detection_exception),
        "functions": {},
    }
    for name in FUNCTIONS:
        defined = getattr(result, f"{name}_defined")
        if defined or name == "dedup":
            said["functions"][name] = {
                "output": getattr(result, f"{name}_output"),
                "error": error_of(getattr(result, f"{name}_exception")),
            }
    return said


def run_tests(job, manifest, models):
    from unittest.mock import MagicMock, patch

    from panther_core import PantherEvent

    answers = {}
    for spec in manifest["detections"]:
        tests = job["tests"].get(str(spec["index"]))
        if not tests or not spec["path"]:
            continue
        try:
            detection = load_detection(job["layer"], spec)
        except BaseException as error:
            answers[spec["index"]] = {"load": error_of(error)}
            continue
        got = []
        for test in tests:
            event = json.loads(test["event"])
            if spec["kind"] != "POLICY":
                model = models.get(event.get("p_log_type") or "") if spec["kind"] == "RULE" else None
                event = PantherEvent(event, model)
            mocks = {m["objectName"]: MagicMock(return_value=m["returnValue"]) for m in test["mocks"]}
            try:
                with patch.multiple(detection.module, **mocks) if mocks else contextlib.nullcontext():
                    got.append(plain(detection.run(event, {}, {}, batch_mode=False)))
            except Exception as error:
                got.append({"output": None, "error": error_of(error), "functions": {}})
        answers[spec["index"]] = got
    return answers


class StoreWatch:
    """Notes which detections ask the key-value store: what they say depends on the order of events."""

    def __init__(self, store):
        self.asked, self.running = set(), None
        row = store.row

        def noted(key):
            self.asked.add(self.running)
            return row(key)

        store.row = noted

    def over(self, index, detection):
        watch = self

        class Watched:
            def run(self, *arguments, **named):
                watch.running = index
                return detection.run(*arguments, **named)

        return Watched()


def run_records(job, manifest, models, store):
    from panther_core import PantherEvent

    specs = [spec for spec in manifest["detections"] if spec["index"] in set(job["rules"])]
    detections = [(spec, load_detection(job["layer"], spec)) for spec in specs]
    watch = StoreWatch(store) if job.get("watch_store") else None
    if watch:
        detections = [(spec, watch.over(spec["index"], detection)) for spec, detection in detections]
    model = models.get(job["log_type"])
    with open(job["records"], encoding="utf-8") as file:
        lines = file.read().split("\n")
    answers, counts, least = {}, [], None
    # Each order is the numbers of all lines; its answers are counted by detection and not kept.
    for order in job.get("orders") or [None] * job.get("rounds", 1):
        answers = {}
        store.begin(time.time())
        started = time.perf_counter()
        for number, line in enumerate(lines if order is None else [lines[place] for place in order]):
            event = PantherEvent(json.loads(line), model)
            for spec, detection in detections:
                result = detection.run(event, {}, {}, batch_mode=True)
                if result.detection_output is not False:
                    answers.setdefault(number, {})[spec["index"]] = plain(result)
        spent = time.perf_counter() - started
        least = spent if least is None else min(least, spent)
        if order is not None:
            said = [(index, result) for results in answers.values() for index, result in results.items()]
            counts.append({spec["index"]: sum(index == spec["index"] and not result["error"] for index, result in said) for spec in specs})
    if counts:
        return {"matches": counts}
    asked = sorted(watch.asked) if watch else []
    return {"answers": answers, "micros_per_event": least / len(lines) * 1e6, "asked_store": asked}


def main():
    job = json.load(sys.stdin)
    store = stand_in_store(os.path.join(job["layer"], "runtime"))
    sys.path.insert(0, os.path.join(job["layer"], "globals"))
    with open(os.path.join(job["layer"], "manifest.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        store.begin(time.time())
        models = load_models(job["layer"], manifest)
        if job["what"] == "tests":
            answer = run_tests(job, manifest, models)
        elif job["what"] == "streams":
            answer = {name: run_records({**job, **of}, manifest, models, store) for name, of in job["streams"].items()}
        else:
            answer = run_records(job, manifest, models, store)
    with open(job["out"], "w", encoding="utf-8") as file:
        json.dump(answer, file)


main()

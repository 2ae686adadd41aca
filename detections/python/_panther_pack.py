"""Loading a pack: globals, data models, detections, each by itself.

A file's top level is somebody's program: it may fail, exit, hang or kill the process. So the pack is
loaded in a child that reports which file it is at, and that goes on as the template once it is through. A
file that takes the child down is left out, and another child begins.
"""

import importlib.util
import json
import mmap
import os
import resource
import signal
import struct
import sys
import time
import types

import _panther_aws
import _panther_detection
import _panther_errors
import _panther_filter
import _panther_limits
import _panther_simple
from panther_core.data_model import DataModel

LOAD_LIMIT_MS = 5000  # for one file
LOAD_MEMORY = 2 << 30  # bytes of address space while loading
_TIMED_OUT = 71  # exit code of a child in which a file passed its time
_AT = struct.Struct("<Id")  # item number, since when (monotonic)


class LoadDied(BaseException):
    """A file that took the loading process down."""


class Pack:
    """What the layer's manifest names, loaded. `errors` are by (sort, key)."""

    def __init__(self, layer):
        self.layer = layer
        with open(os.path.join(layer, "manifest.json"), encoding="utf-8") as file:
            self.manifest = json.load(file)
        self.version = self.manifest.get("version")
        # Code that comes with the manifest and not in a file of its own, by the path that it goes by: a thousand small files take their time.
        self.texts = {
            os.path.join(layer, spec["path"]): spec.pop("text").encode("utf-8")
            for spec in self.manifest.get("detections", ())
            if spec.get("text") is not None
        }
        self.detections = {}
        self.models = {}
        self.errors = {}
        self._items = [
            *(("global", spec["id"], spec) for spec in self.manifest.get("globals", ())),
            *(("model", spec["id"], spec) for spec in self.manifest.get("data_models", ())),
            *(("detection", spec["index"], spec) for spec in self.manifest.get("detections", ())),
        ]
        self._code = {}
        for _sort, _key, spec in self._items:
            if spec.get("path") is not None and spec.get("file") is not None:
                _panther_errors.know(os.path.join(layer, spec["path"]), spec["file"])

    def load(self):
        """Load all, in a child that goes on from here: this returns there alone. Never raises for what a file does.

        This process stays behind to see the child end, and ends as it does. Should a file take the child
        down, more children find out which files do that, and the last one leaves them out.
        """
        sys.path.insert(0, os.path.join(self.layer, "globals"))
        _panther_aws.install()
        _panther_limits.forbid_processes_and_threads()
        at = mmap.mmap(-1, _AT.size)
        doomed = {}
        while not self._gets_through(at, doomed):
            self._rehearse(at, doomed)

    def _gets_through(self, at, doomed):
        """Load in a child. True there, once all is loaded; false here if the child did not get so far."""
        at[:] = _AT.pack(0, time.monotonic())
        child = _panther_limits.fork()
        if child:
            status = self._wait(child, at)
            if self._lost(at, doomed, status):
                return False
            code = os.waitstatus_to_exitcode(status)
            _panther_limits.leave(code if code >= 0 else 70)
        self._compile(at, doomed)
        for number, (sort, key, spec) in enumerate(self._items):
            if number in doomed:
                self.errors[sort, key] = _panther_errors.describe(LoadDied(doomed[number]), spec.get("file"))
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (LOAD_MEMORY, hard))
        self._load_items(at, doomed, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        self._code.clear()
        at[:] = _AT.pack(len(self._items), 0.0)
        return True

    def _compile(self, at, doomed):
        """Compile every file once."""
        for number, (sort, key, spec) in enumerate(self._items):
            if spec.get("path") is None or sort == "global" or number in doomed or (sort, key) in self._code:
                continue
            at[:] = _AT.pack(number, time.monotonic())
            path = os.path.join(self.layer, spec["path"])
            try:
                self._code[sort, key] = compile(self.text(path), path, "exec", dont_inherit=True), path
            except Exception as error:  # pylint: disable=broad-exception-caught
                self.errors[sort, key] = _panther_errors.describe(error, spec.get("file"))

    def _lost(self, at, doomed, status):
        """Whether the child has ended before it was through; the file that it was at is left out from now on."""
        number = _AT.unpack(at[:])[0]
        if number >= len(self._items):
            return False
        doomed[number] = _epitaph(status)
        sort, key, _spec = self._items[number]
        if sort == "global":
            _block_module(key, doomed[number])
        return True

    def _rehearse(self, at, doomed):
        """Load in children until one gets through to the end, to know the files that must be left out."""
        while True:
            start = max(doomed) + 1
            at[:] = _AT.pack(start, time.monotonic())
            child = _panther_limits.fork()
            if child == 0:
                self._rehearse_in_child(at, doomed, start)
            if not self._lost(at, doomed, self._wait(child, at)):
                return

    def _rehearse_in_child(self, at, doomed, start):
        leave = _panther_limits.leave
        try:
            _panther_limits.apply(memory_bytes=LOAD_MEMORY, files=256)
            self._compile(at, doomed)
            self._load_items(at, doomed, start)
            at[:] = _AT.pack(len(self._items), 0.0)
            leave(0)
        finally:
            leave(70)

    def _load_items(self, at, doomed, start):
        # Below `start` only what later files may import is loaded: the detections among it have passed once.
        watch = _panther_limits.Watch(LOAD_LIMIT_MS)
        watch.start()
        for number, item in enumerate(self._items):
            if number in doomed or number < start and item[0] == "detection":
                continue
            at[:] = _AT.pack(number, time.monotonic())
            self._load_item(item, watch)
            if self.errors.get(item[:2], {}).get("type") == "DetectionTimeout":
                _panther_limits.leave(_TIMED_OUT)
        watch.stop()

    def _wait(self, child, at):
        """The child's wait status; one that stays at a file for three times its limit is killed."""
        pause = 0.001
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return status
            number, since = _AT.unpack(at[:])
            if number >= len(self._items):
                return os.waitpid(child, 0)[1]
            if time.monotonic() - since > 3 * LOAD_LIMIT_MS / 1000:
                os.kill(child, signal.SIGKILL)
                return os.waitpid(child, 0)[1]
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)

    def _load_item(self, item, watch):
        sort, key, spec = item
        if (sort, key) in self.errors:
            return
        try:
            watch.call(self._load_one, item)
        except BaseException as error:  # pylint: disable=broad-exception-caught
            self.errors[sort, key] = _panther_errors.describe(error, spec.get("file"))
            if sort == "global":
                sys.modules.pop(key, None)

    def _load_one(self, item):
        sort, key, spec = item
        if sort == "global":
            importlib.import_module(key)
        elif sort == "model":
            module = self._execute(sort, key, f"data_model_{len(self.models):04}")
            model = DataModel(key, spec.get("mappings", ()), module)
            if spec.get("enabled", True):
                self.models[spec["log_type"]] = model
            if module is not None:
                _note_module(model, module)
        else:
            if spec.get("simple") is not None:
                namespace = _panther_simple.functions(spec["simple"], spec["id"], spec.get("file"))
            else:
                namespace = vars(self._execute(sort, key, f"detection_{key:04}"))
            inline_filter = _panther_filter.build(spec.get("inline_filters"))
            self.detections[key] = _panther_detection.Detection(spec, namespace, inline_filter)

    def source(self, index):
        """The text of a detection's functions."""
        detection = self.detections[index]
        place = detection.matcher.__code__.co_filename
        if place in _panther_simple.SOURCES:
            return _panther_simple.SOURCES[place]
        return self.text(detection.namespace["__file__"]).decode("utf-8")

    def text(self, path):
        """What is in a file of the pack, as bytes."""
        if path in self.texts:
            return self.texts[path]
        with open(path, "rb") as file:
            return file.read()

    def _execute(self, sort, key, name):
        code, path = self._code.get((sort, key), (None, None))
        if code is None:
            return None
        module = types.ModuleType(name)
        module.__file__ = path
        if path in self.texts:
            module.__loader__ = _Loader(self.texts[path])
        sys.modules[name] = module
        exec(code, module.__dict__)  # pylint: disable=exec-used
        return module


class _Loader:
    """Where a traceback finds a module's lines if there is no file."""

    def __init__(self, text):
        self._text = text

    def get_source(self, _name):
        return importlib.util.decode_source(self._text)


def _note_module(model, module):
    model.module = module


def _block_module(name, why):
    """Importing `name` fails at once, for the files that need it."""

    class Finder:
        @staticmethod
        def find_spec(wanted, _path=None, _target=None):
            if wanted == name:
                raise ImportError(f"global [{name}] is left out: {why}")

    sys.meta_path.insert(0, Finder)


def _epitaph(status):
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _TIMED_OUT:
        return f"loading the file timed out after {LOAD_LIMIT_MS} ms"
    if os.WIFEXITED(status):
        return f"loading the file ended the process (exit {os.WEXITSTATUS(status)})"
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL:
        return f"loading the file took more than {3 * LOAD_LIMIT_MS} ms or was killed"
    return f"loading the file killed the process (signal {number})"

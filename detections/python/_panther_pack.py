"""Loading a pack: globals, data models, detections, each by itself.

A file's top level is somebody's program: it may fail, exit, hang or kill the process. So the pack is
loaded in a child that is confined (see _panther_cell) and reports which file it is at, and that goes on as
the template once it is through. A file that takes the child down, starts processes, closes the connection to
the host or changes what all files share is left out, and another child begins.
"""

import importlib.util
import json
import mmap
import os
import resource
import signal
import struct
import sys
import types
from time import monotonic as _now
from time import sleep as _sleep

import _panther_aws
import _panther_detection
import _panther_errors
import _panther_filter
import _panther_limits
import _panther_simple
import _panther_warden
from _panther_shared import Shared
from panther_core.data_model import DataModel

LOAD_LIMIT_MS = 5000  # for one file
LOAD_MEMORY = 2 << 30  # bytes of address space while loading
MOST_MEMORY = 4 << 30  # and of a process that has a pack, for good
MOST_SECONDS = 90  # of loading, from which on a pack with a file that takes the process down is refused
_TIMED_OUT = 71  # exit code of a child in which a file passed its time
_DISTURBED = 72  # and in which a file did harm to others: why is written in the board
_COPY = 75  # and of a process that is not the child
_STARTED = "loading the file started a process"
_SUSPICIOUS = 74  # and in which some file did: which one has to be found out
_AT = struct.Struct("<Id")  # item number, since when (monotonic)
_BOARD = 1024  # bytes: that, and a text
# The runner's own, before detections can put others in their place.
_process, _wait_for = os.getpid, os.waitid
_ANY_CHILD = os.WEXITED | os.WNOHANG | os.WNOWAIT | 0x40000000  # __WALL: those too whose end sends no SIGCHLD


class LoadDied(BaseException):
    """A file that took the loading process down."""


class PackRefused(Exception):
    """A pack that cannot be loaded, with the files that are to blame."""


class _Board:
    """What the loading child tells the process behind it, in memory that both have."""

    def __init__(self):
        self._map = mmap.mmap(-1, _BOARD)

    def at(self, number, since=None):
        self._map[: _AT.size] = _AT.pack(number, _now() if since is None else since)

    def where(self):
        """The number of the item, and since when."""
        return _AT.unpack(self._map[: _AT.size])

    def write(self, text):
        data = text.encode("utf-8", "replace")[: _BOARD - _AT.size]
        self._map[_AT.size :] = data.ljust(_BOARD - _AT.size, b"\0")

    def text(self):
        return self._map[_AT.size :].rstrip(b"\0").decode("utf-8", "replace")


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
        self._connection = self._lifeline = None
        self._began = 0.0
        self._look_at_each = False
        self.shared = None  # a `Shared` of what the detections have in common, from the end of loading on
        for _sort, _key, spec in self._items:
            if spec.get("path") is not None and spec.get("file") is not None:
                _panther_errors.know(os.path.join(layer, spec["path"]), spec["file"])

    def load(self, cell, connection, lifeline):
        """Load all, in a child that goes on from here: this returns there alone, inside `cell`.

        This process stays behind to see the child end, and ends as it does. Should a file take the child
        down, more children find out which files do that, and the last one leaves them out. Raises
        PackRefused if that takes too long.
        """
        sys.path.insert(0, os.path.join(self.layer, "globals"))
        _panther_aws.install()
        self._connection, self._lifeline = connection, lifeline
        self._began = _now()
        board = _Board()
        doomed = {}
        while not self._gets_through(cell, board, doomed):
            if doomed:
                self._rehearse(cell, board, doomed)

    def _gets_through(self, cell, board, doomed):
        """Load in a child. True there, once all is loaded; false here if the child did not get so far."""
        board.at(0)
        parent = os.getpid()
        child = _panther_limits.fork()
        if child:
            status = self._wait(child, board, goes_on=True)
            _panther_warden.kill_all()
            if not self._suspicious(status) and not self._lost(board, doomed, status):
                code = os.waitstatus_to_exitcode(status)
                _panther_limits.leave(code if code >= 0 else 70)
            return False
        self._confine(cell, parent)
        self._compile(board, doomed)
        for number, (sort, key, spec) in enumerate(self._items):
            if number in doomed:
                self.errors[sort, key] = _panther_errors.describe(LoadDied(doomed[number]), spec.get("file"))
        self._load_items(board, doomed, 0)
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        self._code.clear()
        self.shared = Shared(self._shared_names())
        board.at(len(self._items), 0.0)
        return True

    def _confine(self, cell, parent):
        """In a child, before anything of the pack is read."""
        try:
            cell.die_with_parent(parent)
        except OSError:
            pass  # the warden kills it as well
        _panther_limits.apply(memory_bytes=MOST_MEMORY)
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (min(LOAD_MEMORY, hard), hard))
        os.close(self._lifeline)
        os.setpgid(0, 0)  # the group by which the warden ends it and all that it starts
        cell.enter()
        _panther_limits.forbid()

    def _compile(self, board, doomed):
        """Compile every file once."""
        for number, (sort, key, spec) in enumerate(self._items):
            if spec.get("path") is None or sort == "global" or number in doomed or (sort, key) in self._code:
                continue
            board.at(number)
            path = os.path.join(self.layer, spec["path"])
            try:
                self._code[sort, key] = compile(self.text(path), path, "exec", dont_inherit=True), path
            except Exception as error:  # pylint: disable=broad-exception-caught
                self.errors[sort, key] = _panther_errors.describe(error, spec.get("file"))

    def _lost(self, board, doomed, status):
        """Whether the child has ended before it was through; the file that it was at is left out from now on."""
        number = board.where()[0]
        if number >= len(self._items):
            return False
        doomed[number] = _epitaph(status, board.text())
        board.write("")
        sort, key, spec = self._items[number]
        if sort == "global":
            _block_module(key, doomed[number])
        if _now() - self._began > MOST_SECONDS:
            files = "; ".join(f"{self._items[number][2].get('file') or self._items[number][1]}: {why}" for number, why in sorted(doomed.items()))
            raise PackRefused(f"loading took more than {MOST_SECONDS} s, since {len(doomed)} files take the process down that loads them: {files}")
        return True

    def _suspicious(self, status):
        """Whether the child has ended because some file has changed what all share: the next one looks after each."""
        found = os.WIFEXITED(status) and os.WEXITSTATUS(status) == _SUSPICIOUS
        self._look_at_each = self._look_at_each or found
        return found

    def _rehearse(self, cell, board, doomed):
        """Load in children until one gets through to the end, to know the files that must be left out."""
        while True:
            start = max(doomed) + 1
            board.at(start)
            parent = os.getpid()
            child = _panther_limits.fork()
            if child == 0:
                self._rehearse_in_child(cell, parent, board, doomed, start)
            status = self._wait(child, board, goes_on=False)
            _panther_warden.kill_all()
            if not self._suspicious(status) and not self._lost(board, doomed, status):
                return

    def _rehearse_in_child(self, cell, parent, board, doomed, start):
        leave = _panther_limits.leave
        try:
            self._confine(cell, parent)
            self._compile(board, doomed)
            self._load_items(board, doomed, start)
            board.at(len(self._items), 0.0)
            leave(0)
        finally:
            leave(70)

    def _load_items(self, board, doomed, start):
        # Below `start` only what later files may import is loaded: the detections among it have passed once.
        watch = _panther_limits.Watch(LOAD_LIMIT_MS)
        leave, shared, own = _panther_limits.leave, Shared(), _process()
        watch.start()
        for number, item in enumerate(self._items):
            if number in doomed or number < start and item[0] == "detection":
                continue
            board.at(number)
            self._load_item(item, watch)
            if self.errors.get(item[:2], {}).get("type") == "DetectionTimeout":
                leave(_TIMED_OUT)
            if _process() != own:
                leave(_COPY)  # of the loading process, which a file has made
            if _has_children():
                board.write(_STARTED)
                leave(_DISTURBED)
            if not self._connection.whole():
                board.write("loading the file closed the runner's descriptors")
                leave(_DISTURBED)
            changed = self._look_at_each and shared.changed()
            if changed:
                board.write(f"loading the file changed {changed}, which all detections share")
                leave(_DISTURBED)
        watch.stop()
        if not self._look_at_each and shared.changed():
            leave(_SUSPICIOUS)

    def _shared_names(self):
        """Names of the modules that detections of this pack have in common."""
        # The stand-in for the AWS library puts that in its own place when it is used.
        names = [key for sort, key, _spec in self._items if sort == "global" and key not in _panther_aws.NAMES]
        return (*names, *(model.module.__name__ for model in self.models.values() if getattr(model, "module", None) is not None))

    def _wait(self, child, board, goes_on):
        """The child's wait status; one that stays at a file for three times its limit, or starts processes, is killed. `goes_on`: once it has loaded all, it
        is the template, for as long as the host wants it."""
        pause = 0.001
        while True:
            if _panther_warden.ended(child):
                return _panther_warden.end_group(child)
            number, since = board.where()
            if number >= len(self._items) and goes_on:
                return self._stand_by(child)
            late = _now() - since > 3 * LOAD_LIMIT_MS / 1000
            started = _panther_warden.children(child) or _panther_warden.kill_strays(but=child)
            if (late or started) and board.where()[0] == number < len(self._items):
                status = _panther_warden.end_group(child)
                if started:
                    board.write(_STARTED)
                return status
            _sleep(pause)
            pause = min(pause * 1.5, 0.02)

    def _stand_by(self, child):
        # The end of the template is to be the end of its connection.
        self._connection.close()
        return _panther_warden.stand_by(child, self._lifeline)

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


def _has_children():
    """Whether this process has started one that has not been waited for."""
    try:
        _wait_for(os.P_ALL, 0, _ANY_CHILD)
    except ChildProcessError:
        return False
    return True


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


def _epitaph(status, written):
    if written:
        return written
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _TIMED_OUT:
        return f"loading the file timed out after {LOAD_LIMIT_MS} ms"
    if os.WIFEXITED(status):
        return f"loading the file ended the process (exit {os.WEXITSTATUS(status)})"
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL:
        return f"loading the file took more than {3 * LOAD_LIMIT_MS} ms or was killed"
    return f"loading the file killed the process (signal {number})"

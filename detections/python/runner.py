"""Entry point: `runner.py --layer FOLDER [--tell]`, with a connection to the host as its stdin, and as its stdout a pipe that ends with the host.

A child of this process is the template: it loads a pack once, once the pack is there, tells the host what came of it, and forks workers,
which have the pack at once and each speak to the host over a connection of their own. The host sends that, and the memory in which a worker notes
where it is, with the message `fork`: no code of a pack can open a connection or a file. This process itself stays behind as the warden. Standard library
only.
"""

import argparse
import builtins
import gc
import importlib.machinery
import os
import signal
import sys
import traceback

RUNTIME = os.path.dirname(os.path.abspath(__file__))


class _Own(importlib.machinery.SourceFileLoader):
    """Loads a module of the runner. Its built-in names are its own: what a detection puts in the place of `len` is not what the runner calls."""

    builtins = dict(vars(builtins))

    def exec_module(self, module):
        vars(module)["__builtins__"] = self.builtins
        super().exec_module(module)


sys.path.insert(0, RUNTIME)
sys.path_importer_cache[RUNTIME] = importlib.machinery.FileFinder(RUNTIME, (_Own, importlib.machinery.SOURCE_SUFFIXES))

import _panther_cell  # noqa: E402
import _panther_limits  # noqa: E402
import _panther_pack  # noqa: E402
import _panther_worker  # noqa: E402
from _panther_wire import Closed, Connection, encode  # noqa: E402

REFUSED = 73  # exit code: the pack cannot be loaded, and the last words say why
# Processes and threads that the user may have beside those of today before this process and its children can start no more. The daemon, whose threads count too
# and may not be visible here, goes on up to the limit of its unit, which is larger.
MOST_TASKS = 2048
MAX_LAST_WORDS = 8192  # characters on the host's stderr when the runner itself fails


def loaded_message(pack, arguments, unenforced):
    """What the template tells the host once the pack is loaded, and what the native engine is told, encoded.

    What is read off the pack's code is put together by children, side by side: its syntax trees are many times
    the pack, and every worker would have what the template has.
    """
    asides = [_Aside(_detections, pack, arguments), _Aside(_native, pack, arguments)]

    def outcome(sort, specs):
        return [{"id": spec["id"], "error": pack.errors.get((sort, spec["id"]))} for spec in specs]

    told = encode(
        {
            "op": "loaded",
            "python": "{}.{}.{}".format(*sys.version_info[:3]),
            "data_models": outcome("model", pack.manifest.get("data_models", ())),
            "globals": outcome("global", pack.manifest.get("globals", ())),
            "unenforced": unenforced,
        }
    )
    detections, native = (aside.result() for aside in asides)
    return b'%b,"detections":%b}' % (told[:-1], detections), native


class _Aside:
    """A value that is made, and encoded, in a child."""

    def __init__(self, make, pack, arguments):
        self._made, writes = os.pipe()
        self._what = make.__name__
        self._child = _panther_limits.fork()
        if self._child == 0:
            code = 70
            try:
                with open(writes, "wb") as pipe:
                    pipe.write(encode(make(pack, arguments)))
                code = 0
            except BaseException:  # pylint: disable=broad-exception-caught
                last_words(arguments)
            finally:
                _panther_limits.leave(code)
        os.close(writes)

    def result(self):
        """The value, encoded."""
        with open(self._made, "rb") as pipe:
            made = pipe.read()
        status = os.waitpid(self._child, 0)[1]
        if status:
            raise RuntimeError(f"{self._what}: the process that puts together what the host is told has ended with wait status {status}")
        return made


def _detections(pack, _arguments):
    """Each detection, with what came of loading it."""
    detections = []
    for spec in pack.manifest.get("detections", ()):
        index = spec["index"]
        detection = pack.detections.get(index)
        detections.append(
            {
                "index": index,
                "functions": detection.functions() if detection else [],
                "error": pack.errors.get(("detection", index)),
            }
        )
    return detections


def _native(pack, arguments):
    """What the native engine is told; nothing, should some object of the pack not bear to be looked at."""
    if not arguments.tell:
        return {}
    from _panther_native import dump

    try:
        return dump(pack)
    except Exception as error:  # pylint: disable=broad-exception-caught
        return {"failed": f"{type(error).__name__}: {error}"[:1000]}


def serve(connection, pack, arguments, cell):
    """Fork a worker for each `fork` until the host closes or says `quit`."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel clears away dead workers
    while True:
        message = connection.receive()
        op = message.get("op")
        if op == "quit":
            return
        if op != "fork":
            continue
        # Not collected before: of a hundred thousand objects that loading leaves, some hundred are garbage.
        gc.freeze()
        received, template = connection.received, os.getpid()
        if _panther_limits.fork() == 0:
            code = 70
            try:
                connection.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _part_from_group()
                cell.die_with_parent(template)
                cell.narrow()
                _panther_worker.run(received, pack, message)
                code = 0
            except BaseException:  # pylint: disable=broad-exception-caught
                last_words(arguments)
            finally:
                _panther_limits.leave(code)
        for descriptor in received:
            os.close(descriptor)


def _part_from_group():
    """A signal to the group of a worker is one to itself. Where system calls are filtered it stays in the template's group, and can send none."""
    try:
        os.setsid()
    except PermissionError:
        pass


def last_words(arguments, text=None):
    """The runner's own failure, in bounded length, on the stderr that it was started with."""
    text = (text or traceback.format_exc())[-MAX_LAST_WORDS:]
    try:
        os.write(arguments.stderr, text.encode("utf-8", "replace"))
    except OSError:
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--layer", required=True)
    parser.add_argument("--unconfined", action="store_true", help="only for tests: what the host does if a kernel holds nothing")
    parser.add_argument("--tell", action="store_true", help="tell the host of the pack's code, for evaluating it there")
    arguments = parser.parse_args()
    host, lifeline, arguments.stderr = _panther_limits.silence()
    code = 70
    try:
        gc.disable()
        _panther_limits.apply(files=256, processes=_panther_limits.tasks_of_user() + MOST_TASKS)
        cell = _panther_cell.Cell(arguments.layer, open_doors=arguments.unconfined)
        unenforced = cell.unenforced()
        _panther_cell.renounce()
        _panther_cell.adopt_orphans()
        connection = Connection(host)
        connection.send({"op": "hello", "role": "template", "pid": os.getpid(), "worker": None})
        if arguments.tell:
            import _panther_native  # noqa: F401 (now, while no code of a pack has run)
        connection.receive()  # `load`
        pack = _panther_pack.Pack(arguments.layer)
        pack.load(cell, connection, lifeline)
        loaded, native = loaded_message(pack, arguments, unenforced)
        connection.send_encoded(loaded)
        connection.send_bytes(native)
        serve(connection, pack, arguments, cell)
        code = 0
    except _panther_pack.PackRefused as refused:
        last_words(arguments, str(refused))
        code = REFUSED
    except Closed:
        code = 0
    except BaseException:  # pylint: disable=broad-exception-caught
        last_words(arguments)
    finally:
        _panther_limits.leave(code)


if __name__ == "__main__":
    main()

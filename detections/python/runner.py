"""Entry point: `runner.py --socket PATH --layer FOLDER --token TOKEN [--tell] [--guards]`.

This process is the template: it loads a pack once, when it is told that the pack is there, tells the host what came of it, and forks workers,
which have the pack at once and each speak to the host themselves. Standard library only.
"""

import argparse
import gc
import os
import signal
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import _panther_limits  # noqa: E402
import _panther_pack  # noqa: E402
import _panther_worker  # noqa: E402
from _panther_wire import Closed, Connection, encode  # noqa: E402

MAX_LAST_WORDS = 8192  # characters on the host's stderr when the runner itself fails


def loaded_message(pack, arguments):
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
        }
    )
    detections, native = (aside.result() for aside in asides)
    return b'%b,"detections":%b}' % (told[:-1], detections), native


class _Aside:
    """A value that is made, and encoded, in a child."""

    def __init__(self, make, pack, arguments):
        self._made = os.memfd_create("told", os.MFD_CLOEXEC)
        self._what = make.__name__
        self._child = _panther_limits.fork()
        if self._child == 0:
            code = 70
            try:
                with os.fdopen(self._made, "wb") as file:
                    file.write(encode(make(pack, arguments)))
                code = 0
            except BaseException:  # pylint: disable=broad-exception-caught
                last_words(arguments)
            finally:
                _panther_limits.leave(code)

    def result(self):
        """The value, encoded."""
        status = os.waitpid(self._child, 0)[1]
        if status:
            raise RuntimeError(f"{self._what}: the process that puts together what the host is told has ended with wait status {status}")
        with os.fdopen(self._made, "rb") as file:
            file.seek(0)
            return file.read()


def _detections(pack, arguments):
    """Each detection, and what must hold for it to be called."""
    detections = []
    for spec in pack.manifest.get("detections", ()):
        index = spec["index"]
        detection = pack.detections.get(index)
        guard, special, note = _guards(pack, detection) if arguments.guards else (True, {}, "not asked for")
        detections.append(
            {
                "index": index,
                "functions": detection.functions() if detection else [],
                "error": pack.errors.get(("detection", index)),
                "guard": guard,
                "guards": special,  # by log type, where the data model being known says more
                "guard_note": note,
            }
        )
    return detections


def _guards(pack, detection):
    """What must hold for a rule to be called."""
    from _panther_guard import guards_of

    return guards_of(pack, detection) if detection else (True, {}, "not loaded")


def _native(pack, arguments):
    """What the native engine is told; nothing, should some object of the pack not bear to be looked at."""
    if not arguments.tell:
        return {}
    from _panther_native import dump

    try:
        return dump(pack)
    except Exception as error:  # pylint: disable=broad-exception-caught
        return {"failed": f"{type(error).__name__}: {error}"[:1000]}


def serve(connection, pack, arguments):
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
        if _panther_limits.fork() == 0:
            code = 70
            try:
                connection.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _panther_worker.run(
                    arguments.socket, arguments.token, message["worker"], pack, message
                )
                code = 0
            except BaseException:  # pylint: disable=broad-exception-caught
                last_words(arguments)
            finally:
                _panther_limits.leave(code)


def last_words(arguments):
    """The runner's own failure, in bounded length, on the stderr that it was started with."""
    text = traceback.format_exc()[-MAX_LAST_WORDS:]
    try:
        os.write(arguments.stderr, text.encode("utf-8", "replace"))
    except OSError:
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--tell", action="store_true", help="tell the host of the pack's code, for evaluating it there")
    parser.add_argument("--guards", action="store_true", help="tell the host what must hold for each rule to be called")
    arguments = parser.parse_args()
    arguments.stderr = _panther_limits.silence()
    code = 70
    try:
        gc.disable()
        connection = Connection(arguments.socket)
        connection.send(
            {"op": "hello", "role": "template", "token": arguments.token, "pid": os.getpid(), "worker": None}
        )
        if arguments.tell:
            import _panther_native  # noqa: F401 (now, while the pack may still be read)
        connection.receive()  # `load`
        pack = _panther_pack.Pack(arguments.layer)
        pack.load()
        loaded, native = loaded_message(pack, arguments)
        connection.send_encoded(loaded)
        connection.send_bytes(native)
        serve(connection, pack, arguments)
        code = 0
    except Closed:
        code = 0
    except BaseException:  # pylint: disable=broad-exception-caught
        last_words(arguments)
    finally:
        _panther_limits.leave(code)


if __name__ == "__main__":
    main()

"""What went wrong, in the terms of the pack's author.

Code goes by paths of the engine's own folder. An author knows the files of the pack: every place, text and traceback that leaves this process names those, and
frames of the engine are left out.
"""

import itertools
import os
import re
import traceback

MAX_TEXT = 1000  # characters of a message
MAX_TRACE = 4000
MAX_STACKS = 256

_ENGINE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_CLASS = re.compile(r"^(?:_panther_\w+|panther_core\.\w+)\.(?=\w+:)", re.MULTILINE)  # an engine's class as tracebacks write it
_files = {}  # file of the pack, by the path that its code goes by
_pattern = None  # finds those paths in a text
_stacks = {}  # frames written out and the author's place, by where they are: a rule that fails, fails often, and this is the expensive part


def know(path, file):
    """The code of `path` was written in `file` of the pack."""
    global _pattern
    if _files.get(path) != file:
        _files[path] = file
        _pattern = None


def author_file(path):
    """The file of the pack whose code goes by `path`, or `path` itself."""
    return _files.get(path, path)


def place_of(function):
    """Where a function begins: text for an error that is about its answer."""
    code = getattr(function, "__code__", None)
    if code is None or code.co_filename not in _files:
        return None
    return _place(code.co_filename, code.co_firstlineno, None, code.co_name)


def describe(error, home=None):
    """An error as the host stores it. Nothing that the exception's own methods do escapes. `home`: the place to name if no frame is the author's."""
    place = None
    try:
        stack, place = _stack(error)
        text, title = _texts(error)
        if isinstance(error, SyntaxError) and error.filename in _files:
            place = _place(error.filename, error.lineno, error.offset, None)
        trace = _trace(error, stack)
    except BaseException:  # pylint: disable=broad-exception-caught
        text, title, trace = "", f"{type(error).__name__}()", ""
    place = place or home
    where = f": {place}" if place else ""
    return {
        "type": type(error).__name__,
        "title": clean(title[:MAX_TEXT]),
        "message": clean(text[:MAX_TEXT] + where),
        "place": place and clean(place),
        "trace": clean(trace[-MAX_TRACE:]),
    }


def clean(text):
    """Text without lone surrogates, which have no form in UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def hidden(text):
    """`text` with the author's files in the place of the engine's paths."""
    global _pattern
    if not _files:
        return text
    if _pattern is None:
        longest_first = sorted(_files, key=len, reverse=True)
        _pattern = re.compile("|".join(map(re.escape, longest_first)))
    return _pattern.sub(lambda found: _files[found[0]], text)


def _texts(error):
    """Message and representation."""
    if isinstance(error, SyntaxError) and error.filename in _files:
        return str(error.msg), f"{type(error).__name__}({error.msg!r})"
    return hidden(str(error)), hidden(repr(error))


def _place(path, line, column, function):
    parts = [_files[path]]
    # The code of a simple detection is written by the engine: its lines are no lines of the author.
    if not path.startswith("<"):
        parts += [f"line {line}"] if line else []
        parts += [f"column {column}"] if line and column else []
    parts += [f"in {function}"] if function and function != "<module>" else []
    return ", ".join(parts)


def _stack(error):
    """The frames of an error, written out, and the place of the last one that is the author's."""
    frames = []
    at = error.__traceback__
    while at is not None:
        frames.append((at.tb_frame.f_code, at.tb_lasti))
        at = at.tb_next
    frames = tuple(frames)
    known = _stacks.get(frames)
    if known is None:
        place, at = None, error.__traceback__
        while at is not None:
            code = at.tb_frame.f_code
            if code.co_filename in _files:
                place = _place(code.co_filename, at.tb_lineno, _column(code, at.tb_lasti), code.co_name)
            at = at.tb_next
        told = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        _of_the_author(told)
        if len(_stacks) >= MAX_STACKS:
            _stacks.clear()
        known = _stacks[frames] = "".join(told.stack.format()), place
    return known


def _column(code, instruction):
    """The column, counted from 1, at which an instruction was written; None if that is not known."""
    positions = getattr(code, "co_positions", None)
    found = positions and next(itertools.islice(positions(), instruction // 2, None), None)
    return None if not found or found[2] is None else found[2] + 1


def _trace(error, stack):
    """What `traceback` writes of an exception, without frames of the engine."""
    if error.__cause__ is None and error.__context__ is None:
        last = traceback.format_exception_only(type(error), error)
        return _written("".join([*(["Traceback (most recent call last):\n", stack] if stack else []), *last]))
    told = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
    _of_the_author(told)
    return _written("".join(told.format()))


def _written(trace):
    return _CLASS.sub("", hidden(trace))


def _of_the_author(told):
    """Leaves out the engine's frames, and names the author's files."""
    while told is not None:
        kept = []
        for frame in told.stack:
            if frame.filename.startswith(_ENGINE):
                continue
            frame.line  # pylint: disable=pointless-statement  # read now, by the name that the lines are known by
            frame.filename = author_file(frame.filename)
            kept.append(frame)
        told.stack[:] = kept
        if told.__cause__ is not None:
            _of_the_author(told.__cause__)
        told = told.__context__

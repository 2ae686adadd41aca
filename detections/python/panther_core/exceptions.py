"""Errors that the engine raises in a detection's name, or on its result."""


class PantherError(Exception):
    """What the engine says about a detection's use of it."""


class FunctionReturnTypeError(PantherError):
    """A detection's function returned a value of a type that it may not."""


class UnknownDestinationError(PantherError):
    """destinations() named what is no destination."""

"""Timing of functions is the engine's own matter; the decorator changes nothing."""

__all__ = ["wrap"]


def wrap(name, tags=None):  # pylint: disable=unused-argument
    """A decorator that gives the function back as it is."""

    def decorate(function):
        return function

    return decorate

"""Guards: conditions on an event that must hold for a detection to do anything (see `guard_of`)."""


def guard_of(_pack, _detection):
    """The guard of a detection and a note on it. True: it must run on every event."""
    return True, "none"

"""The process that stands behind the template: it runs no code of the pack, and sees to it that nothing of the pack is left when the template ends.

It adopts what descends from it and has lost its parent, and kills that; it kills the template when the host is gone.
"""

import os
import select
import signal
import time

_GRACE = 1.0  # seconds in which a template may end by itself after the host has gone
_LOOK = 0.5  # seconds between two looks for strays

_CHILDREN = "/proc/{0}/task/{0}/children"


def children(parent):
    """Numbers of the processes that `parent` has started and that have not been waited for; empty where the kernel does not list them."""
    try:
        with open(_CHILDREN.format(parent), encoding="ascii") as file:
            return [int(number) for number in file.read().split()]
    except (OSError, ValueError):
        return []


def kill_strays(but=0):
    """Kill and reap what this process has adopted. `but`: its child that is to go on. Gives whether there was something."""
    found = [number for number in children(os.getpid()) if number != but]
    for number in found:
        try:
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)
        except OSError:
            pass  # it has ended by itself
    return bool(found)


def kill_all():
    """The same until nothing is left: the children of what is killed are adopted in turn."""
    while kill_strays():
        pass


def ended(child):
    """Whether the process has ended. It is not reaped: until then no other process gets its number."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end_group(child):
    """Kill the process and its whole group at one moment, and reap it. Gives its wait status.

    The group is the child's own, and its members cannot leave it. Killing them one by one would lose against members that start others meanwhile; a signal to a group
    reaches all of it, those that are being started included.
    """
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:
        os.kill(child, signal.SIGKILL)  # it has not made its group yet, and so has started nothing
    return os.waitpid(child, 0)[1]


def stand_by(child, lifeline):
    """Wait for the end of the template, process `child`, or of the host, which has the other end of the pipe `lifeline`. Gives the child's wait status."""
    watch = select.poll()
    watch.register(lifeline, 0)  # the end of the other side is reported without being asked for
    process = os.pidfd_open(child)
    watch.register(process, select.POLLIN)
    gone_since = None
    try:
        while True:
            for descriptor, _event in watch.poll(_LOOK * 1000):
                if descriptor == lifeline and gone_since is None:
                    gone_since = time.monotonic()
                    watch.unregister(lifeline)
            late = gone_since is not None and time.monotonic() - gone_since > _GRACE
            if late or ended(child):
                return end_group(child)
            kill_strays(but=child)
    finally:
        os.close(process)

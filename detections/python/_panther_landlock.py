"""Files, TCP ports, signals and abstract sockets that are out of reach: Landlock, which every process may impose on itself and its children.

What a version (ABI) of Landlock does not know is not governed by it: see `unenforced` in `_panther_cell`.
"""

import os
import struct

_CREATE, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # system calls, the same on all machines
_GET_VERSION = 1
_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR, _IOCTL_DEV = 1 << 1, 1 << 2, 1 << 3, 1 << 15
_FILES = (0, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)  # accesses to files that each ABI knows; later ones know no more that is used here
_TCP = 0b11  # bind, connect: from ABI 4 on
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2  # scopes: from ABI 6 on
TCP_ABI, SCOPES_ABI = 4, 6


class Landlock:
    """Landlock of this kernel. `call(number, *arguments)` makes a system call and raises OSError."""

    def __init__(self, call):
        self._call = call
        try:
            self.abi = call(_CREATE, None, 0, _GET_VERSION)
        except OSError:
            self.abi = 0  # not built, or not switched on at boot

    def confine(self, readable, devices):
        """From now on this process can read what is beneath the paths `readable`, read and write the files `devices`, and nothing else: no TCP, and no
        signals or abstract sockets of processes that are not confined with it. Raises OSError."""
        if not self.abi:
            return
        files = _FILES[min(self.abi, len(_FILES) - 1)]
        rules = self._rules(files, _TCP if self.abi >= TCP_ABI else 0, self._scopes())
        try:
            for path in readable:
                self._allow(rules, path, _READ_FILE | _READ_DIR)
            for path in devices:
                self._allow(rules, path, (_READ_FILE | _WRITE_FILE) & files)
            self._call(_RESTRICT_SELF, rules, 0)
        finally:
            os.close(rules)

    def part(self):
        """From now on this process reaches no other by a signal or abstract socket, those that are confined with it included. Raises OSError."""
        if self.abi < SCOPES_ABI:
            return
        rules = self._rules(0, 0, self._scopes())
        try:
            self._call(_RESTRICT_SELF, rules, 0)
        finally:
            os.close(rules)

    def _scopes(self):
        return _ABSTRACT_SOCKETS | _SIGNALS if self.abi >= SCOPES_ABI else 0

    def _rules(self, files, ports, scopes):
        known = 8 if self.abi < TCP_ABI else 16 if self.abi < SCOPES_ABI else 24
        attributes = struct.pack("=QQQ", files, ports, scopes)[:known]
        return self._call(_CREATE, attributes, known, 0)

    def _allow(self, rules, path, access):
        try:
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return  # what is not there need not be allowed
        try:
            if not os.path.isdir(path):
                access &= ~_READ_DIR
            self._call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", access, beneath), 0)
        finally:
            os.close(beneath)

"""Which files user code may read and write: Landlock, where the kernel has it. Nothing else is reachable
then.

Also, by version: no TCP (4), no signals to and no abstract sockets of processes outside (6). Raw calls: no
library. Runs in the child, hence on Python 3.8. Must not be the only wall: where the kernel has none,
seccomp and the pod's mounts hold, and `version()` of 0 is told.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Sequence

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MAKE_FIFO, _MAKE_SYM, _REFER, _TRUNCATE = 1 << 10, 1 << 12, 1 << 13, 1 << 14
_ALL_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL = (1 << 16) - 1
_NO_TCP = 0b11
_NO_SIGNALS_NO_ABSTRACT_SOCKETS = 0b11

_READ = _READ_FILE | _READ_DIR
# No devices, no sockets, nothing to be executed.
_WRITE = (
    _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_FIFO | _MAKE_SYM | _REFER
    | _TRUNCATE
)  # fmt: skip
_IOCTL_DEVICE = 1 << 15
_DEVICE = _READ | _WRITE_FILE | _IOCTL_DEVICE
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE


def version() -> int:
    """The version of the kernel's Landlock; 0: none, or turned off."""
    answer = _libc().syscall(ctypes.c_long(_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    return max(0, int(answer))


def restrict(readable: Sequence[str], writable: Sequence[str], devices: Sequence[str] = ()) -> int:
    """Leave this thread, and all that it will start, these paths and what is below them; those that are not
    there are left out. Devices can be written and controlled, not made. Needs no_new_privs. Returns the
    version used; 0: nothing was done. Raises OSError."""
    found = version()
    if not found:
        return 0
    handled = _ALL_BY_VERSION.get(found, _ALL)
    attributes = struct.pack("=Q", handled)
    if found >= 4:
        attributes += struct.pack("=Q", _NO_TCP)
    if found >= 6:
        attributes += struct.pack("=Q", _NO_SIGNALS_NO_ABSTRACT_SOCKETS)
    rules = _call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path in readable:
            _allow(rules, path, _READ & handled)
        for path in writable:
            _allow(rules, path, _WRITE & handled)
        for path in devices:
            _allow(rules, path, _DEVICE & handled)
        _call(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)
    return found


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, place)
        _call(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(place)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    answer = _libc().syscall(ctypes.c_long(number), *arguments)
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return int(answer)

"""What a child gives up before it imports one line of the user's: in this order, once, and for good.

Runs in the child, hence on Python 3.8 with the standard library alone. Whatever of it fails ends the child:
user code never runs with less than this, but for Landlock, which older kernels lack, and that is told. Must
not know what is run afterwards.
"""

from __future__ import annotations

import ctypes
import glob
import os
import resource
import signal
import struct
import sys
from typing import Any

from modelwarden_server.modelserver import landlock, seccomp

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 24, 38, 47
_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522

# What interpreters and numeric libraries read, and nothing that tells of other processes or of other code.
SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/nsswitch.conf",
    "/etc/passwd", "/etc/group", "/etc/ssl", "/etc/fonts", "/etc/mime.types", "/etc/os-release",
    "/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup", "/proc/self", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/stat", "/proc/sys/vm/overcommit_memory", "/proc/driver/nvidia",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/random")
_ACCELERATORS = ("/dev/nvidia*", "/dev/dri", "/dev/kfd")


def confine(parent: int, readable: list[str], writable: list[str], limits: dict[str, Any]) -> str:
    """Give up everything but these paths and these limits (of limits.py). Returns what holds now, in a
    sentence. Raises OSError where something cannot be given up."""
    if not seccomp.supported():
        raise OSError(f"there is no seccomp filter for {os.uname().machine}: user code does not run here")
    libc = ctypes.CDLL(None, use_errno=True)
    # Who loses its parent serves nobody. It must be asked again after: the parent may be gone already.
    _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise OSError("the model server is gone")
    _be_first_to_go()
    _limit(limits)
    _drop_capabilities(libc)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    version = landlock.restrict(
        [*SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix, *readable],
        writable,
        [*_DEVICES, *(path for pattern in _ACCELERATORS for path in sorted(glob.glob(pattern)))],  # noqa: PTH207
    )
    seccomp.install(os.getpid())
    if not version:
        return "seccomp; this kernel has no Landlock, so what may be read is only what the pod's mounts leave"
    lacks = "" if version >= 6 else ", which does not know of signals yet"
    return f"seccomp and Landlock {version}{lacks}"


def _be_first_to_go() -> None:
    """Where memory runs out in spite of all limits, the kernel takes the child and not the model server; and
    what it computes does not keep the model server from answering."""
    with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write("1000")
    os.nice(5)


def _limit(limits: dict[str, Any]) -> None:
    # RLIMIT_DATA counts private writable memory: what Python, numpy and thread stacks take. RLIMIT_AS would
    # count what allocators only reserve. Not RLIMIT_NPROC: see seccomp.py. Not RLIMIT_CPU: it counts over
    # all calls.
    memory = int(limits["memory_bytes"])
    for kind, most in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_FSIZE, int(limits["file_bytes"])),
        (resource.RLIMIT_NOFILE, int(limits["open_files"])),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    # Past the size of a file comes a signal; ignored, it is an error that Python tells.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """In a pod there are none; on a laptop one may be root."""
    if os.geteuid() == 0:
        for capability in range(64):
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                break
    _prctl(libc, _PR_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    if libc.capset(header, struct.pack("=6I", 0, 0, 0, 0, 0, 0)) != 0:
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")

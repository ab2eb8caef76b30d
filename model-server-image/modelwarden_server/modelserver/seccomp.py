"""A seccomp filter for user code: no sockets to anywhere, no processes, no hand on other processes.

It works without any privilege once no_new_privs is set, in a pod beneath the runtime's own profile. What it
forbids stands in tables below with the reason; everything else is allowed, for nobody knows which calls the
numeric libraries of tomorrow make. Raw BPF by prctl: no library, x86_64 and aarch64. Runs in the child, hence
on Python 3.8. Must not decide when it is installed: see confine.py.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Numbers = tuple[int, int]
    """A call's number on x86_64 and on aarch64; -1 where it has none."""
    Line = tuple[int, int, int, int]


_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_LOAD, _JUMP_EQUAL, _JUMP_ANY, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_X32 = 0x40000000
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_PLACE = {"x86_64": 0, "aarch64": 1}
_CLONE_THREAD = 0x00010000
_AF_UNIX = 1
_CLONE = (56, 220)


# Never allowed: EPERM, which libraries take for "not here".
_FORBIDDEN: dict[str, Numbers] = {
    # sockets, and io_uring, which opens and uses them past this filter
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242), "bind": (49, 200),
    "listen": (50, 201), "sendmsg": (46, 211), "sendmmsg": (307, 269), "recvmsg": (47, 212),
    "recvmmsg": (299, 243), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # processes and programs; what clone may is below
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281), "setsid": (112, 157),
    "setpgid": (109, 154),
    # other processes: their memory, their files, signals to them, their share of the processor
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "setpriority": (141, 140), "ioprio_set": (251, 30),
    # namespaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "open_tree_attr": (467, 467),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    # the kernel itself
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "iopl": (172, -1),
    "ioperm": (173, -1),
    "modify_ldt": (154, -1), "personality": (135, 92), "vhangup": (153, 58), "syslog": (103, 116),
    "fanotify_init": (300, 262), "mknod": (133, -1), "mknodat": (259, 33),
    # owners of files: Landlock does not know them
    "chown": (92, -1), "lchown": (94, -1), "fchown": (93, 55), "fchownat": (260, 54),
}  # fmt: skip

# As if the kernel had no such call. clone3 keeps its flags in memory that a filter cannot read: with ENOSYS
# the C library takes clone instead. Shared memory of System V and memfd outlive or escape what is counted as
# ours.
_MISSING: dict[str, Numbers] = {
    "clone3": (435, 435), "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
}  # fmt: skip

# Landlock knows no modes either, so a file that can only be read could be made unreadable for the model
# server. shutil.copy and friends end with chmod: it answers 0 and does nothing, as on file systems without
# modes.
_QUIET: dict[str, Numbers] = {
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
}  # fmt: skip

_UNSUPPORTED: dict[str, Numbers] = {
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "setxattrat": (463, 463),
    "removexattrat": (466, 466),
}  # fmt: skip

# Allowed only where argument `place` is one of these values; "pid" is the child's own.
_ONLY_WITH: list[tuple[str, Numbers, int, tuple[object, ...]]] = [
    # asyncio wakes itself by a pair; a pair leads nowhere else
    ("socketpair", (53, 199), 0, (_AF_UNIX,)),
    ("sendto", (44, 206), 4, (0,)),
    ("kill", (62, 129), 0, ("pid", 0)),
    ("tgkill", (234, 131), 0, ("pid",)),
    ("prlimit64", (302, 261), 0, (0, "pid")),
    ("sched_setaffinity", (203, 122), 0, (0, "pid")),
    ("sched_setscheduler", (144, 119), 0, (0, "pid")),
    ("sched_setparam", (142, 118), 0, (0, "pid")),
    ("sched_setattr", (314, 274), 0, (0, "pid")),
]

# Allowed but where argument `place` is one of these values.
_BUT_WITH: list[tuple[str, Numbers, int, tuple[int, ...]]] = [
    # F_SETOWN, F_SETSIG, F_SETOWN_EX: the kernel would send any signal to any process of this user for it
    ("fcntl", (72, 25), 1, (8, 10, 15)),
    # FIOSETOWN, SIOCSPGRP: the same; TIOCSTI, TIOCLINUX, TIOCSCTTY: type into a terminal
    ("ioctl", (16, 29), 1, (0x8901, 0x8902, 0x5412, 0x541C, 0x540E)),
    # PR_SET_PDEATHSIG: to outlive the model server; PR_SET_DUMPABLE: to hide open files from it
    ("prctl", (157, 167), 0, (1, 4)),
]


def supported() -> bool:
    """Whether there is a filter for this machine."""
    return os.uname().machine in _AUDIT


def number_of(name: str, machine: str) -> int:
    """A call's number; -1: it has none there. Raises KeyError for calls that are not in these tables."""
    single = {call: numbers for call, numbers, _, _ in (*_ONLY_WITH, *_BUT_WITH)}
    tables = {**_FORBIDDEN, **_MISSING, **_QUIET, **_UNSUPPORTED, **single, "clone": _CLONE}
    return tables[name][_PLACE[machine]]


def program(machine: str, pid: int) -> bytes:
    """The BPF program for a child with this process id. Raises KeyError for a machine without tables."""
    place = _PLACE[machine]
    lines = [
        (_LOAD, 0, 0, _ARCH_AT), (_JUMP_EQUAL, 1, 0, _AUDIT[machine]), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]  # fmt: skip
    if machine == "x86_64":
        lines += [(_JUMP_ANY, 0, 1, _X32), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    tables = (
        (_FORBIDDEN, errno.EPERM), (_MISSING, errno.ENOSYS), (_QUIET, 0), (_UNSUPPORTED, errno.ENOTSUP)
    )  # fmt: skip
    for table, code in tables:
        for numbers in table.values():
            lines += _when(numbers[place], [(_RETURN, 0, 0, _ERRNO | code)])
    lines += _when(_CLONE[place], _threads_only())
    for _, numbers, argument, values in _ONLY_WITH:
        lines += _when(numbers[place], _only(argument, [pid if v == "pid" else int(str(v)) for v in values]))
    for _, numbers, argument, values in _BUT_WITH:
        lines += _when(numbers[place], _but(argument, list(values)))
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _when(number: int, block: list[Line]) -> list[Line]:
    """The block, which ends the program on every way, where the call has this number."""
    return [] if number < 0 else [(_JUMP_EQUAL, 0, len(block), number), *block]


def _low(argument: int) -> Line:
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument)


def _threads_only() -> list[Line]:
    # RLIMIT_NPROC counts a user's processes on the whole node, other pods included: of no use. Who can start
    # threads only has no fork bomb, and the supervisor counts the threads.
    return [
        _low(0), (_JUMP_ANY, 0, 1, _CLONE_THREAD), (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]  # fmt: skip


def _only(argument: int, values: list[int]) -> list[Line]:
    """Both halves are compared: an address or a size has 64 bits; of an int the upper half is not defined,
    and a filter that would let such pass must not."""
    lines: list[Line] = [_low(argument)]
    wide = argument == 4
    for value in values:
        if wide:
            upper = (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument + 4)
            lines += [(_JUMP_EQUAL, 0, 3, value), upper, (_JUMP_EQUAL, 0, 1, 0), (_RETURN, 0, 0, _ALLOW)]
        else:
            lines += [(_JUMP_EQUAL, 0, 1, value & 0xFFFFFFFF), (_RETURN, 0, 0, _ALLOW)]
    return [*lines, (_RETURN, 0, 0, _ERRNO | errno.EPERM)]


def _but(argument: int, values: list[int]) -> list[Line]:
    lines: list[Line] = [_low(argument)]
    for value in values:
        lines += [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    return [*lines, (_RETURN, 0, 0, _ALLOW)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))


def install(pid: int) -> None:
    """Install the filter for this thread and all that it will start; needs no_new_privs. Raises OSError."""
    content = program(os.uname().machine, pid)
    libc = ctypes.CDLL(None, use_errno=True)
    argument = _Program(len(content) // 8, content)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(argument), 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"no seccomp filter: {os.strerror(code)}")

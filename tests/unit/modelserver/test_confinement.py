"""The filter's program, run by an interpreter of its own, on both machines; and that the child's code is old
enough."""

import ast
import errno
import struct
from pathlib import Path

import pytest

from modelwarden_server.modelserver import seccomp

PID = 4711
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
FOLDER = Path(seccomp.__file__).parent
IN_THE_CHILD = [
    "child", "confine", "exported_arrays", "exported_boosters", "exported_sklearn", "exporter", "landlock",
    "project", "seccomp", "wire",
]  # fmt: skip


def verdict(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """What the kernel would do (Documentation/networking/filter: classic BPF)."""
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, arch or ARCHES[machine], 0, *(word & (2**64 - 1) for word in words))
    lines = list(struct.iter_unpack("=HBBI", seccomp.program(machine, PID)))
    assert len(lines) < 4096
    at = accumulator = 0
    while True:
        code, yes, no, value = lines[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x15:
            at += yes if accumulator == value else no
        elif code == 0x45:
            at += yes if accumulator & value else no
        else:
            assert code == 0x06
            return value


def refused(code: int) -> int:
    return ERRNO | code


@pytest.fixture(params=sorted(ARCHES))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    "name",
    [
        "socket",
        "connect",
        "bind",
        "sendmsg",
        "io_uring_setup",
        "execve",
        "ptrace",
        "unshare",
        "bpf",
        "setpgid",
    ],
)
def test_what_leads_out_is_not_permitted(machine: str, name: str) -> None:
    assert verdict(machine, seccomp.number_of(name, machine)) == refused(errno.EPERM)


THREAD = 0x00010000 | 0x100
CASES = {
    "a thread": ("clone", (THREAD,), ALLOW),
    "a process": ("clone", (17,), refused(errno.EPERM)),
    "flags that cannot be read": ("clone3", (0,), refused(errno.ENOSYS)),
    "a signal to itself": ("kill", (PID, 9), ALLOW),
    "a signal to its group": ("kill", (0, 9), ALLOW),
    "a signal to all": ("kill", (-1, 9), refused(errno.EPERM)),
    "a signal to another": ("kill", (PID + 1, 9), refused(errno.EPERM)),
    "a signal to a thread": ("tgkill", (PID, PID, 6), ALLOW),
    "a signal to another's thread": ("tgkill", (1, 1, 6), refused(errno.EPERM)),
    "a pair": ("socketpair", (1, 1), ALLOW),
    "a pair of tcp": ("socketpair", (2, 1), refused(errno.EPERM)),
    "to the pair's end": ("sendto", (3, 0, 0, 0, 0), ALLOW),
    "to an address": ("sendto", (3, 0, 0, 0, 0x7FFF12345678), refused(errno.EPERM)),
    "to an address with no lower half": ("sendto", (3, 0, 0, 0, 0x700000000000), refused(errno.EPERM)),
    "its own limits": ("prlimit64", (0, 7), ALLOW),
    "another's limits": ("prlimit64", (1, 7), refused(errno.EPERM)),
    "close on exec": ("fcntl", (3, 2), ALLOW),
    "signals by a file": ("fcntl", (3, 8), refused(errno.EPERM)),
    "a terminal's size": ("ioctl", (0, 0x5413), ALLOW),
    "typing into a terminal": ("ioctl", (0, 0x5412), refused(errno.EPERM)),
    "a name": ("prctl", (15,), ALLOW),
    "to outlive": ("prctl", (1,), refused(errno.EPERM)),
    "modes": ("fchmod", (3, 0), ERRNO),
}


@pytest.mark.parametrize(("name", "arguments", "expected"), CASES.values(), ids=CASES.keys())
def test_arguments_decide(machine: str, name: str, arguments: tuple[int, ...], expected: int) -> None:
    assert verdict(machine, seccomp.number_of(name, machine), *arguments) == expected


def test_what_is_not_named_is_allowed(machine: str) -> None:
    for number in (0, 63) if machine == "x86_64" else (63, 64):
        assert verdict(machine, number) == ALLOW


def test_other_interfaces_of_the_kernel_are_closed(machine: str) -> None:
    assert verdict(machine, 1, arch=0x40000003) == KILL
    if machine == "x86_64":
        assert verdict(machine, 0x40000000 + 1) == refused(errno.ENOSYS)


def test_calls_that_one_machine_lacks_close_nothing_else() -> None:
    assert verdict("aarch64", 57) == ALLOW


@pytest.mark.parametrize("name", IN_THE_CHILD)
def test_what_runs_in_the_child_is_written_for_python_3_8(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    assert "from __future__ import annotations" in text
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    foreign = {module.partition(".")[0] for module in imported} & {
        "pyarrow",
        "pydantic",
        "scipy",
        "sklearn",
        "modelwarden",
    }
    assert not foreign

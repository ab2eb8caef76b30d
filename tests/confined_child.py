"""A child whose predict runs the text it is given, and tells what came of it: for tests that try to escape.

As this process's user, and as 65532, the user of a pod, where tests run as root. That one needs an
interpreter and a numpy that it can reach: copies of ours, where ours are in somebody's home.
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from modelwarden_server.modelserver.limits import ChildLimits
from modelwarden_server.modelserver.supervisor import Child, ChildSpec

POD_USER = 65532
PROJECT = "modelwarden_server.modelserver.project"
ENTRYPOINT = '''
import ctypes, os, numpy as np
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    """A raw system call: its answer, or the name of its error."""
    import errno
    answer = libc.syscall(*arguments)
    return answer if answer >= 0 else errno.errorcode[ctypes.get_errno()]
def wire():
    """The end of the socketpair, as hostile code would find it."""
    import stat
    return next(fd for fd in range(3, 50) if _is_socket(fd, stat))
def _is_socket(fd, stat):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
def predict(x):
    scope = {"call": call, "wire": wire}
    for text in x[:, 0]:
        try:
            exec(text, scope)
        except Exception as error:
            if isinstance(error, MemoryError):
                raise
            scope["result"] = type(error).__name__
    return np.array([str(scope.get("result"))])
'''
LIMITS = ChildLimits(
    memory_bytes=400 << 20,
    work_bytes=24 << 20,
    file_bytes=8 << 20,
    threads=100,
    load_seconds=150,
    call_seconds=60,
)


@contextmanager
def place() -> Iterator[Path]:
    """A folder that every user can reach into (pytest's own cannot be)."""
    with tempfile.TemporaryDirectory(prefix="modelwarden-child-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def project(folder: Path, entrypoint: str = ENTRYPOINT) -> Path:
    """A project with this entrypoint."""
    made = folder / "project"
    made.mkdir()
    (made / "entrypoint.py").write_text(entrypoint)
    return made


def spec(folder: Path, made: Path, limits: ChildLimits = LIMITS) -> ChildSpec:
    """What to run of it, as this process's user."""
    return ChildSpec(PROJECT, made, folder / "work", {"import_path": "entrypoint"}, limits=limits)


def as_pod_user(wanted: ChildSpec, folder: Path) -> ChildSpec:
    """The same as the user of a pod; as nobody else where this process is not root."""
    if os.geteuid() != 0:
        return wanted
    return replace(wanted, uid=POD_USER, interpreter=_interpreter(folder), environment=_numpy(folder))


def attempt(child: Child, text: str, seconds: float | None = None) -> str:
    """What the text left in `result`, or the name of what it raised."""
    rows = np.array([[text]], dtype=object)
    return str(child.predict(rows, seconds)[0])


def _interpreter(folder: Path) -> Path:
    """One of our version that anybody can run."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    ours = Path(sys.executable).resolve()
    system = Path("/usr/bin") / version
    if _reachable(ours):
        return ours
    if system.exists() and _reachable(system.resolve()):
        return system
    prefix = folder / "python"
    shutil.copytree(
        sysconfig.get_path("stdlib"),
        prefix / "lib" / version,
        ignore=shutil.ignore_patterns("site-packages", "test", "__pycache__", "idlelib", "ensurepip"),
    )
    (prefix / "bin").mkdir()
    shutil.copy2(ours, prefix / "bin" / version)
    return prefix / "bin" / version


def _reachable(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)


def _numpy(folder: Path) -> Path:
    """site-packages with numpy alone."""
    packages = folder / "packages"
    packages.mkdir()
    source = Path(np.__file__).parent
    ignored = shutil.ignore_patterns("tests", "__pycache__", "f2py", "*.pyi")
    for name in ("numpy", "numpy.libs"):
        if (source.parent / name).exists():
            shutil.copytree(source.parent / name, packages / name, ignore=ignored)
    return packages

"""The Job that installs the packages of one list and brings them to the store as one archive.

Repeatable: what is there already ends the Job at once. The archive is a tar.gz of what was installed, in the
order of names, without times and owners: the same packages give the same bytes, as far as they were not built
here. Must not import anything of what it installs.
"""

import gzip
import os
import platform
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from modelwarden_server.innerwire import ENVIRONMENTS, PACKAGES, PYTHON
from modelwarden_server.jobs.installer import Installer
from modelwarden_server.jobs.store_client import StoreClient

_LEVEL: Final = 3
_TIME: Final = 315_532_800
"""1980: before it a zip, which some packages write, knows no time."""
Tell = Callable[..., None]


@dataclass(frozen=True)
class InstallTask:
    """Which environment, how it is installed, and where to work."""

    environment_hash: str
    installer: Installer
    workdir: Path | None = None

    @property
    def path(self) -> str:
        """The store's doors for this environment."""
        return f"{ENVIRONMENTS}/{self.environment_hash}"


class _Wanted(msgspec.Struct):
    done: bool
    requirements: str
    python: str = ""


def run_environment(task: InstallTask, store: StoreClient, tell: Tell) -> None:
    """Do the Job. Raises StoreAwayError or OSError (try later), StoreRefusedError (do not), NotInstalledError
    (which says).
    """
    wanted = msgspec.convert(store.get(task.path), _Wanted)
    if wanted.done:
        tell("installed already", environmentHash=task.environment_hash)
        return
    python = platform.python_version()
    tell("begun", environmentHash=task.environment_hash, python=python, asked=wanted.python)
    with tempfile.TemporaryDirectory(dir=task.workdir, prefix="environment-") as folder:
        work, target = Path(folder), Path(folder) / "packages"
        task.installer.install(wanted.requirements, work, target, lambda line: tell("pip", line=line))
        packages = len(list(target.glob("*.dist-info")))
        archive = work / "environment.tar.gz"
        size = pack(target, archive)
        tell("packed", packages=packages, unpacked=size, bytes=archive.stat().st_size)
        headers = {PYTHON: python, PACKAGES: str(packages)}
        kept = store.put_file(task.path, archive, headers)
    tell("kept", sha256=kept["sha256"], bytes=kept["bytes"])


def tell_failure(task: InstallTask, store: StoreClient, message: str, *, again: bool) -> None:
    """Let the store know why there is no environment, so that the status can say it."""
    told = f"Python {platform.python_version()}: {message}"
    store.tell_failure(task.path, {"message": told, "again": again})


def pack(folder: Path, archive: Path) -> int:
    """Write the tar.gz of a folder's files; the bytes that were packed. Links become what they point at, and
    are left out where they lead out of the folder. Raises OSError.
    """
    total = 0
    root = folder.resolve()
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in _files(folder):
            found = path.resolve()
            if not found.is_relative_to(root) or not found.is_file():
                continue
            with found.open("rb") as content:
                status = os.fstat(content.fileno())
                entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
                entry.size, entry.mtime = status.st_size, _TIME
                entry.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
                tar.addfile(entry, content)
                total += entry.size
    return total


def _files(folder: Path) -> Iterator[Path]:
    """All files below, in the order of their names, but compiled ones."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        yield from (Path(parent) / name for name in sorted(names))

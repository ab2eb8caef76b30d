"""What is known of environments: the packages of one list, installed by a Job, kept as one archive.

<data>/server/environments/<hash>.json     one small file an environment, replaced in one step

Reused by hash: a list that was installed once is not installed again as long as its archive is kept, and the
last ones that nobody wants any more are kept for whoever goes back. Must not install anything.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from modelwarden.resources.report import EnvironmentReport
from modelwarden.resources.server import Role, ServerFile
from modelwarden_server.durable import make_folder, replace_file, sync_folder
from modelwarden_server.provision.requirements import Requirements
from modelwarden_server.provision.shelf import FileShelf

ARCHIVE: Final = "environment.tar.gz"
_KEPT: Final = 2
"""Environments that stay although nobody wants them."""


class UnknownEnvironmentError(LookupError):
    """Nobody wants an environment of that name."""


@dataclass(frozen=True)
class Installed:
    """An archive of packages. `python` is the version of the interpreter that installed them."""

    sha256: str
    bytes: int
    python: str
    packages: int
    at: datetime


@dataclass(frozen=True)
class EnvironmentRecord:
    """What is known of one environment. `failure`: why there is none; `again`: another attempt may help."""

    installed: Installed | None = None
    failure: str | None = None
    again: bool = False


@dataclass(frozen=True)
class WantedEnvironment:
    """An environment that somebody wants: for which roles."""

    requirements: Requirements
    roles: tuple[Role, ...]

    @property
    def hash(self) -> str:
        """Its name."""
        return self.requirements.hash


@dataclass(frozen=True)
class Arrived:
    """What a Job tells with its archive."""

    python: str
    packages: int


class EnvironmentShelf:
    """The environments of one cell. `wanted` gives those that are wanted now. Thread-safe."""

    def __init__(self, folder: Path, files: FileShelf, clock: Callable[[], datetime]) -> None:
        self._folder, self._files, self._clock = folder, files, clock
        self._lock = threading.Lock()
        self._records = dict(self._read())

    def begin(self, name: str) -> EnvironmentRecord:
        """A Job begins: what failed before is forgotten. Raises OSError."""
        with self._lock:
            known = self._records.get(name, EnvironmentRecord())
            if known.failure is not None:
                known = EnvironmentRecord(known.installed)
                self._write(name, known)
            return known

    def take(self, name: str, content: BinaryIO, arrived: Arrived, wanted: Collection[str]) -> Installed:
        """Keep an archive. Durable when this returns; what is there already stays. Raises OSError."""
        with self._files.kept(content) as (sha256, size), self._lock:
            known = self._records.get(name, EnvironmentRecord()).installed
            if known is not None:
                return known
            installed = Installed(sha256, size, arrived.python, arrived.packages, self._clock())
            self._write(name, EnvironmentRecord(installed))
        self._forget(wanted)
        return installed

    def fail(self, name: str, message: str, *, again: bool) -> None:
        """Note why there is no archive. Raises OSError."""
        with self._lock:
            known = self._records.get(name, EnvironmentRecord())
            if known.installed is None:
                self._write(name, EnvironmentRecord(None, message, again))

    def file(self, name: str) -> ServerFile | None:
        """The archive, as pods are told of it; None if there is none yet."""
        with self._lock:
            installed = self._records.get(name, EnvironmentRecord()).installed
        if installed is None:
            return None
        return ServerFile(sha256=installed.sha256, bytes=installed.bytes, name=ARCHIVE)

    def named(self) -> set[str]:
        """Hashes of the archives that are to stay."""
        with self._lock:
            return {r.installed.sha256 for r in self._records.values() if r.installed is not None}

    def report(self, wanted: WantedEnvironment) -> EnvironmentReport:
        """How far an environment is."""
        with self._lock:
            record = self._records.get(wanted.hash, EnvironmentRecord())
        told = EnvironmentReport(
            hash=wanted.hash, roles=wanted.roles, python_version=wanted.requirements.python or None
        )
        if (found := record.installed) is not None:
            message = f"{found.packages} packages for Python {found.python}"
            more = {"state": "Ready", "python_version": found.python, "message": message}
            return told.model_copy(update=more | {"sha256": found.sha256, "bytes": found.bytes})
        if record.failure is not None:
            return told.model_copy(update={"state": "Failed", "due": record.again, "message": record.failure})
        return told.model_copy(update={"due": True})

    def _forget(self, wanted: Collection[str]) -> None:
        """Remove the records of all but the wanted environments and those made last."""
        with self._lock:
            others = [(n, r) for n, r in self._records.items() if n not in wanted]
            others.sort(key=lambda other: _made(other[1]), reverse=True)
            for name, _ in others[_KEPT:]:
                self._path(name).unlink(missing_ok=True)
                sync_folder(self._folder)
                del self._records[name]

    def _read(self) -> Mapping[str, EnvironmentRecord]:
        found = {}
        for path in self._folder.glob("*.json") if self._folder.is_dir() else ():
            try:
                record = msgspec.json.decode(path.read_bytes(), type=EnvironmentRecord)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # made again, it is whole again
            if record.installed is None or self._files.path(record.installed.sha256) is not None:
                found[path.stem] = record
        return found

    def _write(self, name: str, record: EnvironmentRecord) -> None:
        make_folder(self._folder)
        replace_file(self._path(name), msgspec.json.encode(record))
        self._records[name] = record

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _made(record: EnvironmentRecord) -> datetime:
    return datetime.min.replace(tzinfo=UTC) if record.installed is None else record.installed.at

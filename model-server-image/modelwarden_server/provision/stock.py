"""All that a server pod may fetch from this cell, what is wanted of it now, and the plan that follows.

Gathers from the shelves, asks `plan`, remembers nothing but what runs. Must not know doors or Jobs.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from modelwarden.resources.cell import CellIdentity, CellSettings
from modelwarden.resources.report import AssetReport, EnvironmentReport
from modelwarden.resources.server import AssetSlot, CodePlan, Role, ServerFile, ServerPlan
from modelwarden_server.provision.assets import SLOTS, AssetShelf
from modelwarden_server.provision.background import Background, Reference
from modelwarden_server.provision.checks import LIMITS
from modelwarden_server.provision.environments import (
    EnvironmentShelf,
    UnknownEnvironmentError,
    WantedEnvironment,
)
from modelwarden_server.provision.plan import (
    FILES_OF,
    REQUIREMENTS_OF,
    Present,
    roles,
    server_plan,
    wanted_assets,
    wanted_environments,
)
from modelwarden_server.provision.requirements import RequirementsError, of_archive, of_file
from modelwarden_server.provision.shelf import FileShelf

_REMEMBERED: Final = 8


@dataclass(frozen=True)
class View:
    """Everything as it is at one moment."""

    plan: ServerPlan
    assets: tuple[AssetReport, ...]
    environments: tuple[EnvironmentReport, ...]


@dataclass
class Stock:
    """The stock of one cell over `folder`. `reference` gives the closed dataset to start from, or None.
    Thread-safe.
    """

    folder: Path
    identity: CellIdentity
    settings: Callable[[], CellSettings]
    reference: Callable[[], Reference | None]
    clock: Callable[[], float]
    files: FileShelf = field(init=False)
    assets: AssetShelf = field(init=False)
    environments: EnvironmentShelf = field(init=False)
    background: Background = field(init=False)
    _running: dict[Role, CodePlan] = field(default_factory=dict, init=False)
    _lists: dict[tuple[str, AssetSlot], str | None] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self.files = FileShelf(self.folder / "files")
        self.files.sweep()
        self.assets = AssetShelf(self.folder / "assets", self.files, self._now)
        self.environments = EnvironmentShelf(self.folder / "environments", self.files, self._now)
        self.background = Background(self.folder / "background.json", self.files, self.identity, self.clock)

    def view(self) -> View:
        """The plan, and how far everything is that it needs. Raises OSError if the disk fails."""
        with self._lock:
            settings = self.settings()
            sources = wanted_assets(settings)
            present = self._present(settings)
            wanted = wanted_environments(settings, present)
            plan = server_plan(settings, present)
            self._running = {code.role: code for code in plan.codes}
            return View(
                plan,
                tuple(self.assets.report(slot, source) for slot, source in sources.items()),
                tuple(self.environments.report(each) for each in wanted),
            )

    def wanted(self, name: str) -> WantedEnvironment:
        """The environment of that name, if somebody wants it. Raises UnknownEnvironmentError, OSError."""
        for each in self._wanted():
            if each.hash == name:
                return each
        raise UnknownEnvironmentError("nobody wants this environment any more: this Job is of no use")

    def wanted_names(self) -> set[str]:
        """The names of all environments that somebody wants."""
        return {each.hash for each in self._wanted()}

    def tidy(self) -> None:
        """Remove files that nothing names. Raises OSError."""
        with self._lock:
            running = {file.sha256 for code in self._running.values() for file in _files_of(code)}
        named = self.assets.named() | self.environments.named() | self.background.named()
        self.files.keep_only(named | running)

    def close(self) -> None:
        """Wait for what is being made."""
        self.background.close()

    def _wanted(self) -> tuple[WantedEnvironment, ...]:
        with self._lock:
            settings = self.settings()
            return wanted_environments(settings, self._present(settings))

    def _present(self, settings: CellSettings) -> Present:
        files = {slot: file for slot in SLOTS if (file := self.assets.file(slot)) is not None}
        lists: dict[Role, str | None] = {}
        unreadable: dict[Role, str] = {}
        for role in roles(settings):
            try:
                lists[role] = self._list(settings, files, role)
            except RequirementsError as error:
                unreadable[role] = str(error)
        bare = Present(files, lists, unreadable)
        environments: dict[str, ServerFile] = {}
        broken: dict[str, str] = {}
        for wanted in wanted_environments(settings, bare):
            file = self.environments.file(wanted.hash)
            if file is not None:
                environments[wanted.hash] = file
            elif (report := self.environments.report(wanted)).state == "Failed":
                broken[wanted.hash] = (report.message.strip().splitlines() or ["failed"])[-1][:200]
        reference, background = self.reference(), None
        missing = "a closed reference dataset"
        if reference is not None:
            background = self.background.of(reference)
            missing = self.background.problem or "the sample of the reference"
        return Present(
            files=files,
            lists=lists,
            unreadable=unreadable,
            running=self._running,
            environments=environments,
            broken=broken,
            background=background,
            background_hash="" if reference is None else reference.content_hash,
            background_missing=missing,
        )

    def _list(self, settings: CellSettings, files: dict[AssetSlot, ServerFile], role: Role) -> str | None:
        """The list of packages of a role: by itself, else that among its files."""
        declared = REQUIREMENTS_OF[role] in settings.server.assets
        slot = REQUIREMENTS_OF[role] if declared else FILES_OF[role]
        file = files.get(slot)
        if file is None:
            return None
        key = (file.sha256, slot)
        if key not in self._lists:
            path = self.files.path(file.sha256)
            if path is None:
                return None
            while len(self._lists) >= _REMEMBERED:
                del self._lists[next(iter(self._lists))]
            self._lists[key] = of_archive(path, LIMITS[slot]) if slot in LIMITS else of_file(path)
        return self._lists[key]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)


def _files_of(code: CodePlan) -> tuple[ServerFile, ...]:
    return (code.files,) if code.environment is None else (code.files, code.environment)

"""What a plan names, in its place on the pod's disk: fetched, checked, unpacked, and removed when it is no
longer named.

Folders below the root, which the model server sees read-only: code/<code hash>, environments/<sha256>,
background/<sha256>.arrow; fetched archives wait in fetched/. Each appears whole or not at all, so what is
there after a crash is good. Must not run or import anything of it.
"""

import asyncio
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx

from modelwarden.resources.server import CodePlan, ServerFile
from modelwarden_server.archives import (
    ENVIRONMENT_LIMITS,
    FILES_LIMITS,
    ArchiveLimits,
    module_files,
    unpack_tar,
    unpack_zip,
)
from modelwarden_server.podwire import CodeToRun
from modelwarden_server.sidecar.fetch import fetch

CODE, ENVIRONMENTS, BACKGROUND, FETCHED = "code", "environments", "background", "fetched"


@dataclass(frozen=True)
class Place:
    """The shared folder of one pod."""

    root: Path
    store: httpx.AsyncClient

    async def code(self, plan: CodePlan) -> CodeToRun:
        """Put the files and the packages of a code into place. Raises NotFetchedError (later perhaps),
        ArchiveError (never), OSError (the disk)."""
        files = self.root / CODE / plan.code_hash
        if not files.is_dir():
            wanted = [] if plan.import_path is None else [module_files(plan.import_path)]
            archive = await self._archive(plan.files)
            limits = FILES_LIMITS if plan.role == "serve" else ArchiveLimits()
            await asyncio.to_thread(_unzip, archive, files, wanted, limits)
        folder = None
        if plan.environment is not None:
            folder = self.root / ENVIRONMENTS / plan.environment.sha256
            if not folder.is_dir():
                archive = await self._archive(plan.environment)
                await asyncio.to_thread(_untar, archive, folder)
        return CodeToRun(plan=plan, files=str(files), environment=None if folder is None else str(folder))

    async def background(self, file: ServerFile) -> str:
        """Put the reference's sample into place; its path. Raises as `code`."""
        path = self.root / BACKGROUND / f"{file.sha256}.arrow"
        await fetch(self.store, file, path)
        return str(path)

    def keep_only(self, paths: Iterable[str]) -> None:
        """Remove what is not among `paths`. What cannot be removed now is removed the next time."""
        kept = set(paths)
        for name in (CODE, ENVIRONMENTS, BACKGROUND, FETCHED):
            folder = self.root / name
            for entry in folder.iterdir() if folder.is_dir() else ():
                if str(entry) in kept:
                    continue
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink(missing_ok=True)

    async def _archive(self, file: ServerFile) -> Path:
        path = self.root / FETCHED / file.sha256
        await fetch(self.store, file, path)
        return path


def _unzip(archive: Path, folder: Path, wanted: list[tuple[str, str]], limits: ArchiveLimits) -> None:
    with archive.open("rb") as content:
        unpack_zip(content, folder, limits, wanted)
    archive.unlink(missing_ok=True)


def _untar(archive: Path, folder: Path) -> None:
    with archive.open("rb") as content:
        unpack_tar(content, folder, ENVIRONMENT_LIMITS)
    archive.unlink(missing_ok=True)

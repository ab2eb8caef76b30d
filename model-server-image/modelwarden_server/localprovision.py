"""What an operator's Jobs bring to a cell's server, brought on a laptop: files from their sources, packages.

Runs the very commands of a cluster's Jobs as child processes. Must not run user code, nor touch the cell's
files.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelwarden.resources.purposes import ASSETS, ENVIRONMENT
from modelwarden.resources.report import ServerReport
from modelwarden.resources.server_settings import ServerWish, asset_hash
from modelwarden.resources.sources import Source
from modelwarden_server.childjobs import Changes, ChildJobs, Tell


@dataclass(frozen=True)
class Sources:
    """Where declared files are on this machine: ConfigMaps stand in the folder's YAML, each key a file below
    `config_maps`; claims are in no folder."""

    config_maps: Path

    def mount_of(self, source: Source) -> Path | None:
        """The folder that a Job would have mounted; None where it needs none."""
        return None if source.config_map is None else self.config_maps / source.config_map.name


def lay_down(config_maps: Mapping[str, Mapping[str, bytes]], folder: Path) -> None:
    """Write each key of each ConfigMap to a file of its own."""
    for name, content in config_maps.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for key, value in content.items():
            (folder / name / key).write_bytes(value)


@dataclass
class Provisions:
    """Starts what the store says is due, each once until the store says otherwise."""

    jobs: ChildJobs
    sources: Sources
    tell: Tell
    _tasks: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._once = Changes(self.tell)

    def look(self, report: ServerReport | None, wish: ServerWish | None) -> None:
        """Start what is due and not yet begun; tell what has changed."""
        if report is None or wish is None:
            return
        declared = wish.sources
        for asset in report.assets:
            source = next((s for slot, s in declared.items() if slot == asset.slot), None)
            if source is not None and asset.due and asset.source_hash == asset_hash(source):
                self._start(f"{asset.slot} {asset.source_hash}", asset.slot, source, asset.source_hash)
            self._once(asset.slot, f"{asset.slot}: {asset.state}{_tail(asset.message)}")
        for environment in report.environments:
            if environment.due and self._is_free(environment.hash):
                self._tasks[environment.hash] = asyncio.create_task(self._install(environment.hash))
            self._once(environment.hash, f"packages: {environment.state}{_tail(environment.message)}")

    def _is_free(self, name: str) -> bool:
        task = self._tasks.get(name)
        return task is None or task.done()

    def _start(self, name: str, slot: str, source: Source, source_hash: str) -> None:
        if source.persistent_volume_claim is not None:
            self._once(name, f"{slot}: a claim is in a cluster only; upload the file, or name it by http")
        elif (mount := self.sources.mount_of(source)) is not None and not mount.is_dir():
            self._once(name, f"{slot}: no YAML file of the folder has the ConfigMap {mount.name}")
        elif self._is_free(name):
            self._tasks[name] = asyncio.create_task(self._fetch(slot, source, source_hash))

    async def _fetch(self, slot: str, source: Source, source_hash: str) -> None:
        arguments = ["--slot", slot, "--source-hash", source_hash]
        arguments += ["--source", source.model_dump_json(by_alias=True, exclude_none=True)]
        mount = self.sources.mount_of(source)
        if mount is not None:
            arguments += ["--mount", str(mount)]
        await self._run(ASSETS, f"{slot}_{source_hash}", arguments)

    async def _install(self, environment_hash: str) -> None:
        await self._run(ENVIRONMENT, environment_hash, ["--environment-hash", environment_hash])

    async def _run(self, purpose: str, input_hash: str, arguments: list[str]) -> None:
        ended = await self.jobs.run(purpose, input_hash, arguments)
        if ended.code:
            # The store has been told why, and tells it in its status; a short rest before it is tried again.
            await asyncio.sleep(10 if ended.code > 0 else 1)


def _tail(message: str) -> str:
    return f", {message}" if message else ""

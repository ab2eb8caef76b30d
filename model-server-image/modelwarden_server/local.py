"""`modelwarden local DIR`: the cell of a folder's model on this machine, without a cluster.

The same store from the same YAML; what an operator would do is done by the companion. Editing the YAML
while it runs changes the settings in force, as it would on a cluster.
"""

import argparse
import asyncio
import contextlib
import json
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from modelwarden.resources.attributes import ValueType
from modelwarden_server.apps import furnish, store_app
from modelwarden_server.cell import Cell
from modelwarden_server.companion import Companion
from modelwarden_server.httpserver import Address
from modelwarden_server.localfiles import FolderError, LocalModel, read_folder, yaml_files
from modelwarden_server.localprovision import Sources, lay_down
from modelwarden_server.localserver import LocalPod, LocalServer
from modelwarden_server.logs import log_as_json
from modelwarden_server.schema.compiled import UnsupportedAttributeError
from modelwarden_server.serve import serve
from modelwarden_server.settings import POLL_SECONDS, ConfigurationError, SettingsHolder, read_key
from modelwarden_server.store.writer import Pace

GRACE_SECONDS = 20.0


@dataclass(frozen=True)
class _Options:
    folder: Path
    model: str | None
    data: Path | None
    address: Address
    server_port: int
    files: tuple[Path, ...]


def main(arguments: Sequence[str]) -> int:
    """Run until Ctrl-C; the exit code."""
    options = _options(arguments)
    console = Console(highlight=False, soft_wrap=True)
    try:
        local = read_folder(options.folder, options.model)
        return asyncio.run(_run(local, options, console))
    except (FolderError, UnsupportedAttributeError, ConfigurationError, OSError) as error:
        console.print(f"[red]modelwarden:[/] {error}")
        return 2
    except KeyboardInterrupt:
        return 130


def _options(arguments: Sequence[str]) -> _Options:
    parser = argparse.ArgumentParser(
        prog="modelwarden local", description="Run the cell of a folder's MonitoredModel on this machine."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with the model's YAML")
    parser.add_argument("--model", help="which MonitoredModel, if the folder has several")
    parser.add_argument("--data", type=Path, help="where rows are kept (default DIR/.modelwarden/MODEL)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default 8080)")
    parser.add_argument(
        "--server-port", type=int, help="port of predictions and explanations (default: --port + 1)"
    )
    parser.add_argument(
        "--reference",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="parquet or JSON file of reference rows; uploaded, then closed",
    )
    given = parser.parse_args(arguments)
    for path in given.reference:
        if not path.is_file():
            parser.error(f"--reference {path}: no such file")
    if not given.folder.is_dir():
        parser.error(f"{given.folder} is not a folder")
    address = Address(given.host, given.port)
    server_port = given.server_port or given.port + 1
    return _Options(given.folder, given.model, given.data, address, server_port, tuple(given.reference))


async def _run(local: LocalModel, options: _Options, console: Console) -> int:
    data = options.data or options.folder / ".modelwarden" / local.name
    data.mkdir(parents=True, exist_ok=True)
    log_file = data / "server.log"
    with (
        log_file.open("a", encoding="utf-8") as stream,
        tempfile.TemporaryDirectory(prefix="modelwarden-") as run,
    ):
        log_as_json("info", stream)
        key = _key(data / "key")
        url = f"http://{options.address.host}:{options.address.port}"
        # Whole paths: user code runs in the folder of its files.
        whole = data.resolve()
        pod = LocalPod(
            whole / "server", Path(run), whole / "key", url, options.address.host, options.server_port
        )
        settings = SettingsHolder(local.settings(pod.url), key)
        cell = Cell(local.identity(), settings, data / "volume", Pace(seconds=0.5))
        _greet(console, cell, url, data)

        def tell(sentence: str) -> None:
            console.print(f"  {sentence}")

        folder = _Folder(local, Sources(data / "configmaps"), pod, LocalServer(pod, tell))
        companion = Companion(
            url,
            key,
            cell.identity.model_id,
            local.datasets,
            options.files,
            tell,
            local.enrichments,
            lambda: folder.local.server(),
            folder.sources,
        )
        inferences = furnish(cell)
        await folder.take(local, settings)
        tasks = [
            asyncio.create_task(companion.attend()),
            asyncio.create_task(_follow(folder, options, settings)),
        ]
        try:
            return await serve(cell, store_app(cell), options.address, lambda: inferences.busy, GRACE_SECONDS)
        finally:
            await folder.server.close()
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    console.print(f"[red]modelwarden:[/] {type(ended).__name__}: {ended}; see {log_file}")


@dataclass
class _Folder:
    """The folder as it was read last, and what follows from it beside the cell."""

    local: LocalModel
    sources: Sources
    pod: LocalPod
    server: LocalServer

    async def take(self, local: LocalModel, settings: SettingsHolder) -> None:
        """Lay down what the server's processes read, and start or end them."""
        self.local = local
        lay_down(local.config_maps, self.sources.config_maps)
        self.pod.write(local.identity(), settings.current)
        await self.server.want(local.server() is not None)


async def _follow(folder: _Folder, options: _Options, settings: SettingsHolder) -> None:
    """Take over settings when the YAML changes; what cannot change is told in the status."""
    identity, seen = folder.local.identity(), _stamps(options.folder)
    generation = settings.current.generation
    while True:
        await asyncio.sleep(POLL_SECONDS)
        if (now := _stamps(options.folder)) == seen:
            continue
        seen = now
        try:
            changed = read_folder(options.folder, folder.local.name)
            if changed.identity() != identity:
                raise FolderError("attributes, storage and log of a model cannot change: make a new model")
            generation += 1
            told = changed.settings(folder.pod.url)
            settings.current = told.model_copy(update={"generation": generation})
            settings.error = None
            await folder.take(changed, settings)
        except FolderError as error:
            settings.error = str(error)


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    stamps = []
    for file in yaml_files(folder):
        with contextlib.suppress(FileNotFoundError):  # gone since it was listed
            found = file.stat()
            stamps.append((file.name, found.st_mtime_ns, found.st_size))
    return stamps


def _key(path: Path) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return read_key(path)


def _greet(console: Console, cell: Cell, url: str, data: Path) -> None:
    identity = cell.identity
    categories = {a.name: a.categories[0] for a in identity.attributes if a.categories}
    first = {c.name: _example(c.value_type, categories.get(c.name, "a")) for c in cell.schema.data}
    row = {
        "partner_inference_id": "1",
        "inference_timestamp": cell.started_at.isoformat(timespec="seconds"),
        "inference_data": first,
    }
    if cell.schema.is_batch:
        row["batch_id"] = "batch-1"
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("model", f"{identity.name}  ({len(cell.schema.data)} columns)"),
        ("id", identity.model_id),
        ("url", url),
        ("key", cell.settings.key),
        ("rows", str(data / "volume" / "tables" / "inferences")),
        ("log", str(data / "server.log")),
    ):
        table.add_row(f"[bold]{name}[/]", value)
    console.print()
    console.print(table)
    console.print("\n[bold]send a row[/]")
    console.print(
        f"  curl -H 'Authorization: {cell.settings.key}' {url}/api/v3/models/{identity.model_id}/inferences"
        f" -d '{json.dumps([row])}'",
        markup=False,
    )
    console.print("\n[bold]see what became of it[/]")
    console.print(f"  curl -H 'Authorization: {cell.settings.key}' {url}/status\n", markup=False)
    console.print("Ctrl-C ends it; the rows stay.\n")


def _example(value_type: ValueType, category: str) -> object:
    """A value that the door takes, for the first row of a newcomer."""
    match value_type:
        case ValueType.INTEGER:
            return 1
        case ValueType.FLOAT:
            return 0.5
        case ValueType.BOOLEAN:
            return True
        case ValueType.TIMESTAMP:
            return "2026-01-31T12:00:00Z"
        case ValueType.TOKENS | ValueType.ARRAY_STRING:
            return ["a", "b"]
        case ValueType.TOKEN_LIKELIHOODS:
            return [{"a": 0.75, "b": 0.25}]
        case ValueType.RANKED_LIST:
            return [{"item_id": "a", "score": 0.5}]
        case ValueType.BOUNDING_BOX:
            return [[0, 0.5, 10, 10, 20, 20]]
        case ValueType.TIME_SERIES:
            return [{"timestamp": "2026-01-31T12:00:00Z", "value": 0.5}]
        case _:
            return category

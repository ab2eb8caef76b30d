"""A cell of this process, served over loopback, for tests of its Jobs."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import census_like
import httpx
from granian.constants import Interfaces
from granian.server.embed import Server
from query_rooms import IDENTITY, people, until
from reference_rooms import parquet
from starlette.types import ASGIApp
from store_process import ANSWER_SECONDS, KEY, START_SECONDS, free_port

from modelwarden.resources.cell import CellIdentity
from modelwarden_server.apps import furnish, store_app
from modelwarden_server.cell import Cell
from modelwarden_server.settings import SettingsHolder
from modelwarden_server.store.writer import Pace

REFERENCE = f"/api/v3/models/{IDENTITY.model_id}/reference_data"
INFERENCES = f"/api/v3/models/{IDENTITY.model_id}/inferences"


@dataclass
class Served:
    """A real store on loopback, with the cell's key."""

    url: str
    http: httpx.Client
    cell: Cell

    def status(self) -> dict:
        return self.http.get("/status").json()

    def closed_dataset(self, name: str, rows: int, seed: int) -> str:
        """Upload in two parts and close; the content's hash."""
        data, where = people(rows, seed=seed), {"dataset": name}
        for part in (data.slice(0, rows // 2), data.slice(rows // 2)):
            files = [("reference_data", ("x.parquet", parquet(part)))]
            answer = self.http.post(REFERENCE, files=files, params=where)
            assert answer.status_code == 207, answer.text
        close = {"status": "uploaded", "total_record_count": rows}
        answer = self.http.patch(REFERENCE, json=close, params=where)
        assert answer.status_code == 200, answer.text
        return self.dataset(name)["contentHash"]

    def dataset(self, name: str) -> dict:
        """What the status says of a dataset."""
        return next(d for d in self.status()["reference"] if d["name"] == name)


@contextlib.contextmanager
def served(
    folder: Path, furnished: Callable[[Cell], object] = furnish, identity: CellIdentity = IDENTITY
) -> Iterator[Served]:
    """A cell over that folder, ready; it is closed at the end of the block."""
    port = free_port()
    cell = Cell(identity, SettingsHolder(census_like.settings(), KEY), folder, Pace(seconds=0.05))
    furnished(cell)
    cell.start()
    ended = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(serve_until(ended, store_app(cell), port)))
    thread.start()
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: cell.unready() is None, START_SECONDS)
        with httpx.Client(base_url=url, headers={"Authorization": KEY}, timeout=ANSWER_SECONDS) as http:
            until(lambda: answers(http), START_SECONDS)
            yield Served(url, http, cell)
    finally:
        ended.set()
        thread.join()
        assert cell.close(ANSWER_SECONDS)


async def serve_until(ended: threading.Event, app: ASGIApp, port: int) -> None:
    server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    await asyncio.to_thread(ended.wait)
    server.stop()
    await serving


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False

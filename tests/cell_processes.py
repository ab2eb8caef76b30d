"""A whole cell on loopback, each part a process of its own: the store, an ingest sidecar, a model server.

Must not know what the cell is for: the cells of `explained_cell` and `served_flows` do.
"""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from store_process import ANSWER_SECONDS, REPO, START_SECONDS, StoreProcess, wait_for

from modelwarden.resources.cell import CellIdentity, CellSettings


@dataclass
class ServerProcess:
    """One command of the server pod, started over the same folders again and again."""

    command: str
    folder: Path
    flags: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> "ServerProcess":
        command = [sys.executable, "-m", "modelwarden_server", self.command]
        for flag, value in self.flags.items():
            command += [flag, str(value)]
        environment = os.environ | self.environment
        environment["PYTHONPATH"] = f"{REPO}/operator:{REPO}/model-server-image"
        with (self.folder / f"{self.command}.jsonl").open("ab") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        return self

    def kill(self) -> None:
        """kill -9, without warning."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(ANSWER_SECONDS)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(ANSWER_SECONDS)

    def children(self) -> list[int]:
        """Processes that it started."""
        assert self.process is not None
        found: set[int] = set()
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread may end between its listing and its reading
                found.update(map(int, (task / "children").read_text().split()))
        return sorted(found)

    def memory(self, what: str = "VmRSS") -> int:
        """Bytes of memory now, or most of them with VmHWM."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{what}:")[1].split()[0]) << 10

    def output(self) -> str:
        return (self.folder / f"{self.command}.jsonl").read_text()


def sidecar_of(store: StoreProcess, folder: Path, port: int) -> ServerProcess:
    """The ingest sidecar of a pod beside the store, which it finds its settings and its key with."""
    flags = {
        "--identity": folder / "identity.json",
        "--settings": folder / "settings.json",
        "--key-file": folder / "key",
        "--store": store.url,
        "--pod": "pod-a",
        "--shared": folder / "shared",
        "--run": folder / "run",
        "--host": "127.0.0.1",
        "--port": port,
        "--grace-seconds": 10,
    }
    return ServerProcess("ingest", folder, flags)


def kill_running(*processes: ServerProcess | StoreProcess) -> None:
    """Kill those that still run."""
    for one in processes:
        if one.process is not None and one.process.poll() is None:
            one.kill()


class ProcessCell:
    """The three processes, and a client of the store."""

    def __init__(self, folder: Path, identity: CellIdentity, settings: CellSettings, port: int) -> None:
        """`port` is the sidecar's, which the settings name."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, port
        self.url = f"http://127.0.0.1:{port}"
        self.store = StoreProcess(folder, identity, settings, commit_seconds=0.1)
        run = folder / "run"
        run.mkdir(exist_ok=True)
        self.sidecar = sidecar_of(self.store, folder, port)
        own = {
            "--run": run,
            "--shared": folder / "shared",
            "--work": folder / "work",
            "--child-memory": 1 << 30,
        }
        self.model_server = ServerProcess("model-server", folder, own)
        self.model = f"/api/v3/models/{identity.model_id}"
        self._http = self.store.client()

    @property
    def http(self) -> httpx.Client:
        """Asks the store."""
        return self._http

    def start(self) -> Self:
        self.store.start()
        self.sidecar.start()
        self.model_server.start()
        return self

    def stop(self) -> None:
        kill_running(self.sidecar, self.model_server, self.store)
        self._http.close()

    def upload_reference(self, table: pa.Table) -> None:
        """Upload a reference whole and close it."""
        content = io.BytesIO()
        pq.write_table(table, content)
        path = f"{self.model}/reference_data"
        files = [("reference_data", ("x.parquet", content.getvalue()))]
        answer = self.http.post(path, files=files)
        assert answer.status_code == 207, answer.text
        assert answer.json()["counts"]["failure"] == 0, answer.text
        closed = self.http.patch(path, json={"status": "uploaded", "total_record_count": table.num_rows})
        assert closed.status_code == 200, closed.text

    def code(self) -> dict[str, Any]:
        """What the store knows of the pod: its only code."""
        server = self.store.status().server
        if server is None or not server.pods or not server.pods[0].codes:
            return {}
        return server.pods[0].codes[0].model_dump()

    def until_code(self, state: str, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Wait until the pod's code is in that state; what is told of it."""

        def reached() -> dict[str, Any] | None:
            found = self.code()
            return found if found.get("state") == state else None

        return wait_for(reached, seconds, every=0.1)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Self]:
        """Started, and not outliving the block; after an error it prints what the pod said."""
        try:
            yield self.start()
        except BaseException:
            for process in (self.sidecar, self.model_server):
                with contextlib.suppress(OSError):
                    print(process.command, process.output()[-3000:])
            raise
        finally:
            self.stop()

"""A real store process on loopback, for tests that kill it: its files, its start, its end, its answers."""

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import census_like as census
import httpx

from modelwarden.resources.cell import CellIdentity, CellSettings, canonical_json
from modelwarden.resources.report import StatusReport

KEY = "k" * 64
START_SECONDS = 300.0 if os.environ.get("MODELWARDEN_LONG") == "1" else 180.0
"""A run shares its machine with others, a long one with many. Waits end with what is waited for."""
ANSWER_SECONDS = 120.0
"""Longest wait for one answer of a process that may share two cores with many."""
_PORTS = range(20_000, 30_000)
REPO = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A port that was free a moment ago, and that the system gives to nobody: a process which is killed and
    started again must find it free, and the system's own choices (32768 and more) go to every connection.
    """
    chance = random.SystemRandom()  # with the tests' own seed every test would choose the same
    while True:
        port = chance.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(what: Callable[[], Any], seconds: float = 120.0, every: float = 0.02) -> Any:
    """The first true value of `what`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(every)


@dataclass
class StoreProcess:
    """One model's store over one folder. `start` may be called again after the process has ended."""

    folder: Path
    identity: CellIdentity = field(default_factory=census.identity)
    settings: CellSettings = field(default_factory=census.settings)
    data: Path | None = None
    commit_seconds: float = 0.2
    module: str = "modelwarden_server"
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def data_folder(self) -> Path:
        return self.data or self.folder / "data"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def inferences_path(self) -> str:
        return f"/api/v3/models/{self.identity.model_id}/inferences"

    def write_settings(self, settings: CellSettings) -> None:
        self.settings = settings
        new = self.folder / ".settings.new"
        new.write_bytes(canonical_json(settings))
        new.replace(self.folder / "settings.json")

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start the process without waiting for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "identity.json").write_bytes(canonical_json(self.identity))
        self.write_settings(self.settings)
        (self.folder / "key").write_text(KEY)
        command = [sys.executable, "-m", self.module, "store"]
        for flag, value in {
            "--identity": self.folder / "identity.json",
            "--settings": self.folder / "settings.json",
            "--key-file": self.folder / "key",
            "--data": self.data_folder,
            "--host": "127.0.0.1",
            "--port": self.port,
            "--commit-seconds": self.commit_seconds,
        }.items():
            command += [flag, str(value)]
        environment = os.environ | self.environment
        environment["PYTHONPATH"] = f"{REPO}/operator:{REPO}/model-server-image:{REPO}/tests"
        with (self.folder / "log.jsonl").open("ab") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        return self.process

    def start(self, seconds: float = START_SECONDS) -> "StoreProcess":
        """Start the process and wait until it takes in rows."""
        process = self.launch()
        wait_for(lambda: process.poll() is not None or self.ready(), seconds)
        assert process.poll() is None, self.output()
        return self

    def ready(self) -> bool:
        return self.get("/readyz").startswith("200")

    def peak_memory(self) -> int:
        """Most bytes of memory that the process ever had, mapped files included."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) << 10

    def get(self, path: str) -> str:
        """Status and text of an open path; empty while nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return f"{answer.status} {answer.read().decode()}"
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"Authorization": KEY}, timeout=ANSWER_SECONDS, verify=False, **more
        )

    def status(self) -> StatusReport:
        with self.client() as client:
            return StatusReport.from_json(client.get("/status").raise_for_status().content)

    def output(self) -> str:
        return (self.folder / "log.jsonl").read_text()

    def kill(self) -> None:
        """kill -9, without warning."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(ANSWER_SECONDS)

    def terminate(self, seconds: float = ANSWER_SECONDS) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextlib.contextmanager
def running(store: StoreProcess) -> Iterator[StoreProcess]:
    """A started store that does not outlive the block."""
    try:
        yield store.start()
    finally:
        if store.process is not None and store.process.poll() is None:
            store.kill()

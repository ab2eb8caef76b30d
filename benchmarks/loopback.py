"""A real store process on loopback, as a pod would run it: its start, its memory, its answers.

Must not know what is measured. One `Connection` a thread.
"""

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import wide_model
from benchmarks.workers import REPO, BenchError
from modelwarden.resources.cell import canonical_json
from modelwarden.resources.keys import job_key

_KEY = "k" * 64
_START_SECONDS = 180.0
_PROFILE_SECONDS = 300.0
_BOUNDARY = "bench-boundary"
NOTHING: Mapping[str, str] = MappingProxyType({})


class Connection:
    """One kept-alive connection to the store."""

    def __init__(self, port: int, timeout: float = 60.0) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self._http.connect()
        # A request is one write here: nothing is gained by waiting for more.
        self._http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> tuple[int, bytes]:
        """Status and body of an answer. Raises OSError or http.client.HTTPException."""
        self._http.request(method, path, body, {"Authorization": _KEY, "Content-Type": kind})
        answer = self._http.getresponse()
        return answer.status, answer.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()


class LoopbackStore:
    """A store over an empty folder, on the `cores` given, from its readiness to the end of the block."""

    def __init__(
        self, cores: frozenset[int], packages: Path | None = None, environment: Mapping[str, str] = NOTHING
    ) -> None:
        """`packages` is a folder with more of them, `environment` what is set beside this process's own."""
        self._cores, self._packages, self._more = cores, packages, environment
        self.identity = wide_model.identity()
        model = f"/api/v3/models/{self.identity.model_id}"
        self.inferences = f"{model}/inferences"
        self.query = f"{model}/inferences/query"
        self.drift = f"{self.query}/data_drift"
        self._reference = f"{model}/reference_data"
        self.port = _free_port()

    def __enter__(self) -> Self:
        self._made = tempfile.TemporaryDirectory(prefix="modelwarden-bench-")
        self._folder = Path(self._made.name)
        (self._folder / "identity.json").write_bytes(canonical_json(self.identity))
        (self._folder / "settings.json").write_bytes(canonical_json(wide_model.settings()))
        (self._folder / "key").write_text(_KEY)
        cores = self._cores
        with (self._folder / "log.jsonl").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "modelwarden_server", "store", *self._flags()],
                env=self._environment(),
                stdout=output,
                stderr=output,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
        try:
            self._wait(self._ready, _START_SECONDS, "is not ready")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def connect(self) -> Connection:
        """A new connection."""
        return Connection(self.port)

    def compare_with(self, reference: pa.Table) -> None:
        """Upload reference rows, close them, have them profiled, and wait until they are compared with."""
        closing = json.dumps({"status": "uploaded", "total_record_count": reference.num_rows}).encode()
        with self.connect() as connection:
            self._good(*connection.ask("POST", self._reference, *_form(reference)))
            self._good(*connection.ask("PATCH", self._reference, closing))
        (dataset,) = self.status()["reference"]
        claim = dataset["contentHash"]
        command = [sys.executable, "-m", "modelwarden_server", "job", "profile", "--dataset", dataset["name"]]
        done = subprocess.run(
            [*command, "--store", f"http://127.0.0.1:{self.port}", "--content-hash", claim],
            env=self._environment() | {"MODELWARDEN_JOB_KEY": job_key(_KEY, "profile", claim)},
            capture_output=True,
            text=True,
            timeout=_PROFILE_SECONDS,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"the profile Job failed: {done.stdout[-500:]}{done.stderr[-500:]}")
        self._wait(
            lambda: self.status().get("activeReference") == dataset["name"], 60, "does not take the profile"
        )

    def status(self) -> dict[str, Any]:
        """`/status`."""
        with self.connect() as connection:
            found: dict[str, Any] = json.loads(self._good(*connection.ask("GET", "/status")))
        return found

    def stored(self, rows: int, seconds: float = 120.0) -> None:
        """Wait until that many rows are acknowledged and all of them stored. Raises BenchError otherwise."""

        def settled() -> bool:
            counts = self.status()["rows"]
            if counts["acknowledged"] > rows:
                raise BenchError(f"{rows} rows were promised, the store says {counts}")
            return bool(counts["stored"] == rows)

        self._wait(settled, seconds, f"does not store the {rows} rows that it acknowledged")

    def peak_mebibytes(self) -> float:
        """The most memory the process ever had resident, files it has mapped included."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise BenchError("the kernel does not tell the store's memory")

    def cpu_seconds(self) -> float:
        """CPU seconds the process has used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _flags(self) -> list[str]:
        flags = {
            "--identity": self._folder / "identity.json",
            "--settings": self._folder / "settings.json",
            "--key-file": self._folder / "key",
            "--data": self._folder / "data",
            "--host": "127.0.0.1",
            "--port": self.port,
        }
        return [str(part) for flag in flags.items() for part in flag]

    def _environment(self) -> dict[str, str]:
        paths = [
            REPO / "operator",
            REPO / "model-server-image",
            *([self._packages] if self._packages else []),
        ]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), **self._more}

    def _ready(self) -> bool:
        try:
            with Connection(self.port, timeout=5) as connection:
                return connection.ask("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _good(self, status: int, body: bytes) -> bytes:
        if status >= 300:
            raise BenchError(f"the store answered {status}: {body[:300].decode(errors='replace')}")
        return body

    def _wait(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                last = (self._folder / "log.jsonl").read_text().strip().splitlines()[-3:]
                raise BenchError(f"the store {'ended' if ended else what}: {' | '.join(last)}")
            time.sleep(0.05)

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._made.cleanup()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _form(rows: pa.Table) -> tuple[bytes, str]:
    """The rows as a parquet file in a form, and the form's content type."""
    file = io.BytesIO()
    pq.write_table(rows, file)
    head = (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="reference_data"; filename="reference.parquet"\r\n\r\n'
    )
    body = head.encode() + file.getvalue() + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return body, f"multipart/form-data; boundary={_BOUNDARY}"

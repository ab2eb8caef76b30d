"""The real operator in a process of its own, as the chart runs it; and waiting for what it does.

A test may kill it and start another. The log is kept; `complaints` are the lines that must never be there.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[1]
Found = TypeVar("Found")

# Seconds. It ends with what is waited for, so that only a failing test takes that long.
PATIENCE = 120.0
# What the chart gives it between SIGTERM and SIGKILL (terminationGracePeriodSeconds).
GRACE = 30.0

# What asyncio, Python and our own loop's edge say when something was overlooked.
_NEVER = re.compile(
    r"never retrieved|was never awaited|a reconcile failed in a way|Traceback|blocked the loop|Unclosed"
)
# In tests nothing is waited for longer than needed; figures of the product are in its settings.
QUICK = {
    "MODELWARDEN_RESYNC": "5",
    "MODELWARDEN_POLL_INTERVAL": "0.5",
    "MODELWARDEN_DATA_FACTS_INTERVAL": "0",
    "MODELWARDEN_BACKOFF_FIRST": "0.2",
    "MODELWARDEN_BACKOFF_MOST": "2",
    # A machine that stands still for some seconds is no news here: not a lost lease, not a silent store.
    "MODELWARDEN_LEASE_DURATION": "60",
    "MODELWARDEN_CELL_TIMEOUT": "30",
    "MODELWARDEN_API_TIMEOUT": "60",
    # Nobody is there, and says so at once; who has stores names them.
    "MODELWARDEN_CELL_URL_TEMPLATE": "http://127.0.0.1:9/{namespace}/{name}",
    # One that is killed and started again goes on at once; who tests two gives them two.
    "MODELWARDEN_IDENTITY": "the-operator",
    "MODELWARDEN_PROBE_HOST": "127.0.0.1",
    "MODELWARDEN_PROBE_PORT": "0",
    "MODELWARDEN_LOG_LEVEL": "INFO",
    # Forgotten coroutines are reported in the log.
    "PYTHONWARNINGS": "default",
}


def eventually(
    look: Callable[[], Found], seconds: float = PATIENCE, why: Callable[[], object] | None = None
) -> Found:
    """The first truthy value of `look`; AssertionError with what `why` says when there is none in time.

    An AssertionError of `look` itself, or a missing part of an object, counts as "not yet"; the last one is
    shown in the end.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            found = look()
            if found:
                return found
        except (AssertionError, LookupError, TypeError) as error:
            last = repr(error)
        if time.monotonic() > deadline:
            detail = why() if why else last
            raise AssertionError(f"not within {seconds} s: {detail}")
        time.sleep(0.05)


@dataclass
class OperatorProcess:
    """Running until `stop` or `kill`."""

    kubeconfig: Path
    log: Path
    settings: dict[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    # Where in the log the newest start begins.
    begins: int = 0

    def start(self) -> "OperatorProcess":
        """Start (again); returns at once."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.log.parent),
            "KUBECONFIG": str(self.kubeconfig),
            "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'tests' / 'loop_watch'}",
        }
        with self.log.open("ab") as log:
            self.begins = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "modelwarden", "run"],
                env=environment | QUICK | self.settings,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
            )
        return self

    def kill(self) -> None:
        """As a node that loses power would."""
        assert self.process
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self) -> int:
        """As the kubelet would; the exit code."""
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the operator did not end within {GRACE} s of SIGTERM") from None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def lines(self, since: int = 0) -> list[dict[str, object]]:
        """The JSON lines of the log, from this byte on."""
        found = []
        for line in self.log.read_bytes()[since:].decode().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"message": line, "level": "raw"})
        return found

    def complaints(self) -> list[str]:
        """Lines that no run may have."""
        return [line for line in self.log.read_text().splitlines() if _NEVER.search(line)]

    def probe(self, path: str) -> tuple[int, str]:
        """Status and body of a probe."""
        url = f"http://127.0.0.1:{self.port()}{path}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def port(self) -> int:
        """The port of the probes, from the newest start."""

        def look() -> int:
            newest = self.log.read_bytes()[self.begins :].decode()
            ports = re.findall(r"probes and metrics on port (\d+)", newest)
            return int(ports[-1]) if ports else 0

        return eventually(look, why=lambda: self.log.read_text()[-2000:])

    def wait_ready(self) -> "OperatorProcess":
        """Until /readyz says so."""
        eventually(self._ready, why=lambda: self.log.read_text()[-3000:])
        return self

    def _ready(self) -> bool:
        assert self.running, self.log.read_text()[-3000:]
        try:
            return self.probe("/readyz")[0] == 200
        except OSError:
            return False


@contextmanager
def operator(kubeconfig: Path, folder: Path, **settings: str) -> Iterator[OperatorProcess]:
    """A running, ready operator; ends it, and fails for what its log must not have."""
    process = OperatorProcess(kubeconfig, folder / "operator.log", settings).start()
    try:
        yield process.wait_ready()
        assert not process.complaints(), process.complaints()[:5]
    finally:
        if process.running:
            process.stop()
    assert not process.complaints(), process.complaints()[:5]

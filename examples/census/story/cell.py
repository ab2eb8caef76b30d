"""A cell of its own for the story: `modelwarden local` in a folder made for it, from the demo's own YAML.

A process like any user's, and its Jobs are child processes of it. What this module must not do: look into the
cell's files, but for its key.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from examples.census.watched_model import HERE, MODEL
from modelwarden.client import Cell
from testbed.errors import SetupError

START_SECONDS, END_SECONDS = 180.0, 60.0
MONITORING = {"window": "7d", "labelDelay": "35d"}
"""What the story's cell is told to watch, instead of what the demo's is: all else is left to its defaults,
thresholds of drift included.
"""
ROOT = HERE.parent.parent


def write_yaml(folder: Path) -> None:
    """The demo's objects, with a window of a chunk's length."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(HERE.glob("*.yaml")):
        bodies = [_for_the_story(body) for body in yaml.safe_load_all(path.read_text()) if body]
        (folder / path.name).write_text(yaml.safe_dump_all(bodies, sort_keys=False))


def _for_the_story(body: dict[str, Any]) -> dict[str, Any]:
    spec = body["spec"]
    if body["kind"] == "MonitoredModel":
        spec["monitoring"] = dict(MONITORING)
    if "hotspots" in spec:
        spec["hotspots"]["window"] = MONITORING["window"]
    return body


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Cell]:
    """The cell of the folder's model, until the block ends. What it says goes to `cell.log` in the folder.

    Raises:
        SetupError: it did not start.
    """
    port = _free_port()
    command = [sys.executable, "-m", "modelwarden_server", "local", str(folder), "--port", str(port)]
    paths = [str(ROOT / "operator"), str(ROOT / "model-server-image")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    output = folder / "cell.log"
    with output.open("wb") as told:
        process = subprocess.Popen(command, env=environment, stdout=told, stderr=told)
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}", output)
        key = (folder / ".modelwarden" / MODEL / "key").read_text().strip()
        with Cell(f"http://127.0.0.1:{port}", key) as cell:
            yield cell
    finally:
        _end(process)


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        time.sleep(0.1)
    raise SetupError(f"the cell did not start:\n{output.read_text()[-2000:]}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

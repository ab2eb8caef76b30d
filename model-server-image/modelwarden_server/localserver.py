"""The pod of a model's server on a laptop: the ingest sidecar and the model server as child processes.

The same two commands that a cluster's pod runs, over folders below the model's data. They are started when
the YAML asks for explanations or predictions, ended when it no longer does, and started again when they end
by themselves. Must not run user code in this process.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelwarden.resources.cell import CellIdentity, CellSettings, canonical_json
from modelwarden_server.childjobs import Tell

GRACE_SECONDS: Final = 20.0
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
_PR_SET_PDEATHSIG: Final = 1
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


@dataclass(frozen=True)
class LocalPod:
    """Where the two processes work, and which cell they are of."""

    folder: Path
    run: Path
    """Of the socket between the two: a short path, for a socket's may have a hundred letters only."""
    key_file: Path
    store_url: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """Where the sidecar is reached."""
        return f"http://{self.host}:{self.port}"

    def write(self, identity: CellIdentity, settings: CellSettings) -> None:
        """Lay down what a pod has mounted. Each file is replaced whole: the sidecar reads them on change."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, document in (("identity.json", identity), ("settings.json", settings)):
            unfinished = self.folder / f"{name}.new"
            unfinished.write_bytes(canonical_json(document))
            unfinished.replace(self.folder / name)

    def commands(self) -> dict[str, list[str]]:
        """The arguments of each process, by its name."""
        folder = str(self.folder)
        common = ["--run", str(self.run), "--shared", f"{folder}/shared"]
        ingest = ["--identity", f"{folder}/identity.json", "--settings", f"{folder}/settings.json"]
        ingest += ["--key-file", str(self.key_file), "--store", self.store_url, "--pod", "local"]
        ingest += ["--host", self.host, "--port", str(self.port), "--grace-seconds", "10", *common]
        return {
            "ingest": ["ingest", *ingest],
            "model-server": ["model-server", "--work", f"{folder}/work", "--grace-seconds", "10", *common],
        }


@dataclass
class LocalServer:
    """Keeps the two processes running while they are wanted. `tell` is given a sentence when one ends."""

    pod: LocalPod
    tell: Tell
    _tasks: tuple["asyncio.Task[None]", ...] = ()

    async def want(self, wanted: bool) -> None:
        """Start or end both."""
        if wanted and not self._tasks:
            self._tasks = tuple(
                asyncio.create_task(self._keep(name, arguments))
                for name, arguments in self.pod.commands().items()
            )
        elif not wanted and self._tasks:
            await self.close()

    async def close(self) -> None:
        """End both, in an orderly way if they can."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = ()

    async def _keep(self, name: str, arguments: Sequence[str]) -> None:
        wait = FIRST_WAIT
        while True:
            code = await self._run(name, arguments)
            self.tell(f"{name} ended with {code}; it is started again, see {self.pod.folder}/{name}.log")
            await asyncio.sleep(wait)
            wait = min(LONGEST_WAIT, wait * 2)

    async def _run(self, name: str, arguments: Sequence[str]) -> int:
        with (self.pod.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "modelwarden_server",
                *arguments,
                stdout=log,
                stderr=log,
                env=_surroundings(),
                preexec_fn=_end_with_parent,
            )
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await _end(process)
            raise


async def _end(process: "asyncio.subprocess.Process") -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def _end_with_parent() -> None:
    """In the child: whoever kills the parent without a word ends this process, too (where the system can)."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _surroundings() -> dict[str, str]:
    """This process's environment without the twins of flags, which are another process's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MODELWARDEN_")}

"""Jobs of a cell on a laptop: child processes with the very command and key that a cluster's Job has.

A client of the cell's doors, nothing more. Must not touch the cell's files.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from modelwarden.resources.keys import job_key
from modelwarden.resources.purposes import TRAIN
from modelwarden.resources.report import EnrichmentReport

MOST_ATTEMPTS = 3
WAIT_SECONDS = 5.0
AGAIN = 1
"""The exit code of a Job for which another attempt is of use; a killed one has a negative code."""
Tell = Callable[[str], None]
NAMES = {
    "anomaly": "anomaly detection",
    "loss": "expected error",
    "bias": "bias mitigation",
    "hotspots": "hotspots",
    "explainability": "explanations",
}


@dataclass
class Changes:
    """Tells a sentence about something once, until another one is true of it."""

    tell: Tell
    _told: dict[str, str] = field(default_factory=dict)

    def __call__(self, about: str, sentence: str) -> None:
        """Tell it if it is new."""
        if self._told.get(about) != sentence:
            self._told[about] = sentence
            self.tell(sentence)


@dataclass(frozen=True)
class JobEnd:
    """The exit code of a Job, and the last line of what it complained."""

    code: int
    last: str


@dataclass(frozen=True)
class ChildJobs:
    """Starts Jobs for the cell at `url` that has `key`."""

    url: str
    key: str

    async def run(self, purpose: str, input_hash: str, arguments: Sequence[str]) -> JobEnd:
        """Run a Job to its end; it dies with the task that waits for it."""
        command = [
            sys.executable,
            "-m",
            "modelwarden_server",
            "job",
            purpose,
            "--store",
            self.url,
            *arguments,
        ]
        process = await asyncio.create_subprocess_exec(
            *command,
            env=os.environ | {"MODELWARDEN_JOB_KEY": job_key(self.key, purpose, input_hash)},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, errors = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        lines = errors.decode(errors="replace").strip().splitlines()
        return JobEnd(process.returncode, lines[-1] if lines else "")


@dataclass
class Trainings:
    """Trains what is due, one thing after the other, and tells each change of state in a sentence."""

    jobs: ChildJobs
    tell: Tell
    wait_seconds: float = WAIT_SECONDS
    _tasks: dict[tuple[str, str], "asyncio.Task[None]"] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _told: dict[str, str] = field(default_factory=dict)

    def look(self, entries: Sequence[EnrichmentReport]) -> None:
        """Start what is due and not yet begun; tell what has changed."""
        due = {(e.kind, e.wanted) for e in entries if e.due and e.wanted is not None}
        for training, task in list(self._tasks.items()):
            if task.done() and training not in due:
                del self._tasks[training]  # turned off and on, it is due once more
        for entry in entries:
            if entry.due and entry.wanted is not None and (entry.kind, entry.wanted) not in self._tasks:
                job = asyncio.create_task(self._train(entry.kind, entry.wanted))
                self._tasks[entry.kind, entry.wanted] = job
            self._tell(entry)

    async def _train(self, kind: str, input_hash: str) -> None:
        arguments = ["--kind", kind, "--input-hash", input_hash]
        for attempt in range(MOST_ATTEMPTS):
            if attempt:
                await asyncio.sleep(self.wait_seconds * 2 ** (attempt - 1))
            async with self._turn:
                ended = await self.jobs.run(TRAIN, f"{kind}_{input_hash}", arguments)
            if ended.code == 0:
                return
            how = f"was killed by signal {-ended.code}" if ended.code < 0 else f"ended with {ended.code}"
            tail = f" ({ended.last})" if ended.last else ""
            last = ended.code > AGAIN or attempt + 1 == MOST_ATTEMPTS
            more = "it is not tried again" if last else "it is tried again"
            self.tell(f"{NAMES.get(kind, kind)}: its training {how}{tail}: {more}")
            if last:
                return

    def _tell(self, entry: EnrichmentReport) -> None:
        sentence = said(entry)
        before = self._told.get(entry.kind)
        if sentence != before and not (before is None and entry.reason == "TurnedOff"):
            self._told[entry.kind] = sentence
            self.tell(sentence)


def said(entry: EnrichmentReport) -> str:
    """The state of one thing that is trained, as a person would say it."""
    name = NAMES.get(entry.kind, entry.kind)
    match entry.state:
        case "Disabled":
            return f"{name} is off: {entry.message}"
        case "Pending":
            return f"{name} {entry.message}"
        case "Ready":
            return f"{name} is ready: {entry.message}"
        case "Failed":
            return f"{name} failed: {entry.message}"
        case _:
            return f"{name}: {entry.message}"

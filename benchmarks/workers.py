"""Processes that take turns: one for our side of a comparison, one for the peer's, on the same core and with
one thread each. The other end of `peers/turns.py`.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

REPO = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "peers"
PATIENCE_SECONDS = 1800.0
_ONE_THREAD = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS",
)  # fmt: skip
_NO_TELEMETRY = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "WHYLOGS_NO_ANALYTICS": "True"}


class BenchError(Exception):
    """A figure cannot be had. The message says of which side, and why."""


@dataclass(frozen=True)
class Turn:
    """One round of work: units done, CPU and wall seconds, and what else the side reports."""

    units: float
    cpu: float
    wall: float
    more: dict[str, float]

    @property
    def rate(self) -> float:
        """Units per CPU second."""
        return self.units / max(self.cpu, 1e-9)


@dataclass(frozen=True)
class Threads:
    """Which cores a side may use; one thread a core for libraries that ask the environment."""

    cores: frozenset[int]

    @classmethod
    def one(cls) -> "Threads":
        """The last core of those this process may use: the first has most of the interrupts."""
        return cls(frozenset({max(os.sched_getaffinity(0))}))

    @classmethod
    def all(cls) -> "Threads":
        """All cores this process may use."""
        return cls(frozenset(os.sched_getaffinity(0)))

    def environment(self) -> dict[str, str]:
        """The environment of a process that keeps to it."""
        return os.environ | dict.fromkeys(_ONE_THREAD, str(len(self.cores))) | _NO_TELEMETRY


def ours(module: str, scale: float, *variant: str) -> "Worker":
    """Our side: a module of `benchmarks.ours` in this environment, and which of its works it does."""
    command = [sys.executable, "-m", f"benchmarks.ours.{module}", str(scale), *variant]
    return Worker(command, Threads.one())


def peer(python: Path, script: str, scale: float) -> "Worker":
    """A peer's side: a script of `benchmarks/peers`, in the peer's environment."""
    return Worker([str(python), str(PEERS / f"{script}.py"), str(scale)], Threads.one())


class Worker:
    """A side's process, from the end of its preparation to the end of the block."""

    def __init__(self, command: Sequence[str], threads: Threads, patience: float = PATIENCE_SECONDS) -> None:
        self._command, self._threads, self._patience = list(command), threads, patience
        self._rest = b""
        self.version = ""

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile()
        cores = self._threads.cores
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self._threads.environment(),
            cwd=REPO,
            # Before anything is imported: thread pools are as large as the cores that a process may use.
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            self.version = str(self._answer()["version"])
        except BaseException:
            self._end(at_once=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(at_once=error is not None)

    def turn(self) -> Turn:
        """Have one round done. Raises BenchError if the process fails or takes too long."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchError(self._told("ended")) from None
        figures = {name: float(value) for name, value in self._answer().items()}
        units, cpu, wall = (figures.pop(name) for name in ("units", "cpu", "wall"))
        return Turn(units, cpu, wall, figures)

    def _answer(self) -> dict[str, str | float]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + self._patience
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise BenchError(self._told(f"gave no answer in {self._patience:g} s"))
            piece = os.read(self._process.stdout.fileno(), 1 << 16)
            if not piece:
                raise BenchError(self._told("ended"))
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, str | float] = json.loads(line)
        return answer

    def _told(self, what: str) -> str:
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().splitlines()[-5:]
        return f"{' '.join(self._command[1:3])} {what}: {' | '.join(last)}"

    def _end(self, *, at_once: bool) -> None:
        if at_once:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

"""Shows what is being done and how far it is: a live line on a terminal, plain lines elsewhere.

Knows nothing about what is done. Writes to standard error, so that standard output stays for answers.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Step(Protocol):
    """One thing under way."""

    def advance(self, done: float, total: float | None = None, detail: str = "") -> None:
        """`done` of `total`; without a total it is only known to go on."""


class Reporter(Protocol):
    """Where steps are shown."""

    def step(self, title: str) -> contextlib.AbstractContextManager[Step]:
        """Shows `title` until the block ends, then how long it took."""

    def say(self, line: str) -> None:
        """A line that stays."""


class _LiveStep:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, done: float, total: float | None = None, detail: str = "") -> None:
        self._progress.update(self._task, completed=done, total=total, detail=detail[-60:])


class _PlainStep:
    """Says how far it is at most every twenty seconds: logs of CI must show life, not flicker."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title, self._said = console, title, time.monotonic()

    def advance(self, done: float, total: float | None = None, detail: str = "") -> None:
        if time.monotonic() - self._said < 20:
            return
        self._said = time.monotonic()
        share = f"{100 * done / total:.0f} %" if total else f"{done:.0f}"
        self._console.print(f"    {self._title}: {share} {detail}", markup=False, highlight=False)


class ConsoleReporter:
    """Steps on a rich console."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, soft_wrap=True)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        started = time.monotonic()
        if self._console.is_terminal:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[detail]}", style="dim"),
                TimeElapsedColumn(),
            )
            with Progress(*columns, console=self._console, transient=True) as live:
                yield _LiveStep(live, live.add_task(title, total=None, detail=""))
        else:
            self.say(f"==> {title}")
            yield _PlainStep(self._console, title)
        self.say(f"  ✓ {title} ({time.monotonic() - started:.1f} s)")


class _SilentStep:
    def advance(self, done: float, total: float | None = None, detail: str = "") -> None:
        """Nothing: nobody watches."""


class SilentReporter:
    """For callers that show their own progress, such as a test session."""

    def say(self, line: str) -> None:
        """Nothing: nobody watches."""

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:  # noqa: ARG002 - the protocol's
        yield _SilentStep()

"""How the command line shows that bytes or rows are going out: a bar on a terminal, nothing anywhere else.

What this module must not do: send, or count for anybody but the one who watches. rich is loaded only for a
bar.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

Moved = Callable[[int, int], None]
"""Told how much was done, and of how much (0: not known)."""


@contextlib.contextmanager
def bytes_bar(what: str, stream: TextIO | None = None) -> Iterator[Moved]:
    """A bar of bytes with their rate; once all are sent it says that the answer is waited for."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield lambda _done, _of: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(40),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as live:
        bar = live.add_task(what, total=None)

        def moved(done: int, of: int) -> None:
            name = f"{what}: sent, rows are being checked" if done == of else what
            live.update(bar, completed=done, total=of, description=name)

        yield moved


@contextlib.contextmanager
def rows_bar(stream: TextIO | None = None) -> Iterator[Moved]:
    """Rows acknowledged so far, and how many came with an answer; their number is not known before."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield lambda _done, _of: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=stream), transient=True) as live:
        line = live.add_task("waiting for the first answer")

        def moved(acknowledged: int, answered: int) -> None:
            refused = answered - acknowledged
            live.update(line, description=f"{acknowledged:,} acknowledged, {refused:,} refused")

        yield moved

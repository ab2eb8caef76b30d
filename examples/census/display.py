"""How the demo shows that rows are going in: two bars on a terminal, a line a year anywhere.

What this module must not do: send, count, or decide anything.
"""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class ReplayDisplay:
    """One bar for the month, one for the whole replay; a line that stays for each year.

    Args:
        console: where; bars are drawn only if it is a terminal.
        total: rows and labels to be sent in all.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._done = console, total, 0
        self._bars: tuple[Progress, TaskID, TaskID] | None = None
        self._year, self._year_rows, self._year_labels, self._year_began = "", 0, 0, 0.0

    @contextlib.contextmanager
    def shown(self) -> Iterator["ReplayDisplay"]:
        """Shows the bars until the block ends."""
        if self._console.is_terminal:
            columns = (
                TextColumn("  {task.description}"),
                BarColumn(40),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            with Progress(*columns, console=self._console, transient=True) as live:
                every = live.add_task("2016 to 2018", total=self._total)
                self._bars = (live, every, live.add_task("", total=None))
                yield self
        else:
            yield self
        self._end_year()

    def month(self, name: str, rows: int) -> None:
        """A month of so many rows begins; named 2016-01."""
        if name[:4] != self._year:
            self._end_year()
            self._year, self._year_began = name[:4], time.monotonic()
            self._year_rows = self._year_labels = 0
        if self._bars:
            live, _, month = self._bars
            live.reset(month, total=rows, description=f"{name}     ")

    def sent(self, rows: int) -> None:
        """So many more rows of the month were answered."""
        self._year_rows += rows
        self._advance(rows)
        if self._bars:
            live, _, month = self._bars
            live.advance(month, rows)

    def labelled(self, labels: int) -> None:
        """So many more labels of earlier months were answered."""
        self._year_labels += labels
        self._advance(labels)

    def _advance(self, more: int) -> None:
        self._done += more
        if self._bars:
            live, every, _ = self._bars
            live.advance(every, more)

    def _end_year(self) -> None:
        if self._year:
            sent = self._year_rows + self._year_labels
            rate = sent / max(time.monotonic() - self._year_began, 1e-3)
            told = f"{self._year_rows:,} rows and {self._year_labels:,} late labels, {rate:,.0f} a second"
            self._console.print(f"    {self._year}: {told}", highlight=False)
            self._year = ""

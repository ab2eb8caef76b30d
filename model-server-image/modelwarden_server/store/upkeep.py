"""Which files of a table are to be written as one, and which are to go for their age or size. Pure.

Files are merged with neighbours of their own size, so a row is written anew some five times in its life,
however many small files come; and only within a span of arrival times, so that retention can take whole
files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from modelwarden_server.schema.compiled import ARRIVAL_TIME
from modelwarden_server.store.delta import TableFile

TARGET_BYTES = 128 << 20
TARGET_ROWS = 2_000_000
FEWEST = 16
_SMALLEST = 256 << 10
_TIERS = 4
_DAY = 86_400
_MICROS = 1_000_000
_LONGEST_SPAN = 30 * _DAY


@dataclass(frozen=True)
class KeepRules:
    """How long rows are kept, by their arrival, and how many bytes of a table at most; None: no bound.

    Labels are kept for `label_seconds` longer than inferences.
    """

    seconds: int | None = None
    label_seconds: int | None = None
    table_bytes: int | None = None

    @property
    def label_rules(self) -> "KeepRules":
        """The same for the table of labels."""
        if self.seconds is None:
            return KeepRules()
        more = self.seconds if self.label_seconds is None else self.label_seconds
        return KeepRules(seconds=self.seconds + more)

    @property
    def span(self) -> int:
        """Seconds of arrival that one file may cover: a thirtieth of what is kept, from a day to a month."""
        if self.seconds is None:
            return _LONGEST_SPAN
        return min(max(self.seconds // 30, _DAY), _LONGEST_SPAN)


def to_merge(files: Sequence[TableFile], settled: int, rules: KeepRules, now: float) -> Sequence[TableFile]:
    """Adjacent files that are to become one; none if there is nothing to do.

    Only files of versions up to `settled`. At least FEWEST of a size; in a span of time that is over, two.
    """
    current = int(now) // rules.span
    ready = [file for file in files if file.version <= settled]
    for tier in range(_TIERS):
        limit = _SMALLEST << (3 * tier)
        for run in _runs(ready, limit, rules.span):
            if _span_of(run[0], rules.span) < current:
                return run
            alike = _alike(run)
            if len(alike) >= FEWEST:
                return alike
    return ()


def _alike(run: Sequence[TableFile]) -> Sequence[TableFile]:
    """The newest of adjacent files of which none is as large as all others together."""
    while len(run) > 1:
        largest = max(run, key=lambda file: file.size)
        if 2 * largest.size <= sum(file.size for file in run):
            break
        run = run[run.index(largest) + 1 :]
    return run


def _runs(files: Sequence[TableFile], limit: int, span: int) -> list[list[TableFile]]:
    """Longest runs of adjacent files smaller than `limit`, of one span, that are not too large together."""
    runs: list[list[TableFile]] = []
    run: list[TableFile] = []
    for file in files:
        fits = file.size < limit and file.rows < TARGET_ROWS
        together = run and (
            _span_of(run[0], span) == _span_of(file, span)
            and sum(f.size for f in run) + file.size <= TARGET_BYTES
            and sum(f.rows for f in run) + file.rows <= TARGET_ROWS
        )
        if fits and together:
            run.append(file)
        else:
            runs.append(run)
            run = [file] if fits else []
    runs.append(run)
    return [run for run in runs if len(run) > 1]


def _span_of(file: TableFile, span: int) -> int:
    return file.newest.get(ARRIVAL_TIME, 0) // (span * _MICROS)


def to_retire(files: Sequence[TableFile], settled: int, rules: KeepRules, now: float) -> Sequence[TableFile]:
    """The files whose rows have all been kept long enough, or that are too many bytes; the oldest first."""
    gone = []
    left = sum(file.size for file in files)
    for file in files:
        if file.version > settled:
            break
        too_old = (
            rules.seconds is not None
            and file.newest.get(ARRIVAL_TIME, 1 << 62) < (now - rules.seconds) * _MICROS
        )
        too_many = rules.table_bytes is not None and left > rules.table_bytes
        if not (too_old or too_many):
            break
        gone.append(file)
        left -= file.size
    return gone

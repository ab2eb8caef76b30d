"""What a reference says beyond its columns one by one: how it varies over time, which attributes depend on
each other, how often rows are alike.

Two passes over whole rows, a batch at a time, after the columns have their cells. The first keeps the coarse
buckets of a bounded sample (which pairs to watch) and the bounds of time; the second counts. Memory: the
counts of the blocks, at most `_BLOCK_COUNTS`, and the sample. Pure: rows come from a function.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.analysis.buckets import Buckets, buckets, pair_buckets
from modelwarden_server.analysis.cells import Codes
from modelwarden_server.analysis.pairs import Pair, strongest
from modelwarden_server.analysis.profile import ColumnProfile
from modelwarden_server.analysis.repeats import BUCKETS, RepeatProfile, numbers_of

RowSource = Callable[[], Iterable[pa.RecordBatch]]
"""Gives the rows, in the same order at each call."""

DECILES: Final = 10
MAX_BLOCKS: Final = 336
_BLOCK_COUNTS: Final = 1_000_000
_ROWS_A_BLOCK: Final = 60
_SAMPLE: Final = 20_000
_HOUR: Final = 3_600_000_000
_UNITS: Final = (1, 2, 3, 4, 6, 8, 12, 24, 48, 72, 168, 336, 720, 2160)
TRUTHS: Final = frozenset({"GROUND_TRUTH", "GROUND_TRUTH_CLASS"})


@dataclass(frozen=True)
class BlockCounts:
    """Counts of the reference cut into blocks of time, and each block into two halves, every other row:
    by column, `counts[2 * block + half][bucket]` of `verdict_buckets`, and by place of the pair
    `pairs[place][2 * block + half][cell of its table]`.

    `timed`: the blocks follow the rows' times; else the order of the rows.
    """

    timed: bool
    counts: dict[str, tuple[tuple[int, ...], ...]]
    pairs: tuple[tuple[tuple[int, ...], ...], ...] = ()


@dataclass(frozen=True)
class Relations:
    """See the module's text. Everything may be missing: profiles of older versions have none of it."""

    blocks: BlockCounts | None = None
    pairs: tuple[Pair, ...] = ()
    repeats: RepeatProfile = field(default_factory=RepeatProfile)


def verdict_buckets(profile: ColumnProfile) -> Buckets | None:
    """What a verdict compares: deciles with divided ends, categories, and what is missing or unknown."""
    return buckets(profile.cells, DECILES, gaps=True, tails=True)


def is_stored(profile: ColumnProfile) -> bool:
    """Whether the column comes with the inference (and not later, as a label)."""
    return profile.column.stage not in TRUTHS


@dataclass
class _Passes:
    profiles: Sequence[ColumnProfile]
    source: RowSource
    rows: int
    time: str | None
    layouts: dict[str, Buckets] = field(init=False)
    coarse: dict[str, Buckets] = field(init=False)

    def __post_init__(self) -> None:
        self.layouts = {p.column.name: b for p in self.profiles if (b := verdict_buckets(p)) is not None}
        self.coarse = {
            p.column.name: b
            for p in self.profiles
            if is_stored(p) and (b := pair_buckets(p.cells, p.counts)) is not None
        }

    def encoded(self, batch: pa.RecordBatch) -> dict[str, Codes]:
        return {p.column.name: p.cells.encode(_named(batch, p.column.name)) for p in self.profiles}

    def sample(self) -> tuple[list[npt.NDArray[np.int8]], tuple[int, int] | None]:
        """Coarse buckets of some rows, by column, and the first and last time there is."""
        stride, seen = max(1, -(-self.rows // _SAMPLE)), 0
        kept: list[list[npt.NDArray[np.int8]]] = [[] for _ in self.coarse]
        low, high = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        by_name = {p.column.name: p for p in self.profiles}
        for batch in self.source():
            if self.time is not None and batch.num_rows:
                times = _micros(batch, self.time)
                low, high = min(low, int(times.min())), max(high, int(times.max()))
            places = pa.array(np.arange(-seen % stride, batch.num_rows, stride))
            seen += batch.num_rows
            for column, (name, layout) in zip(kept, self.coarse.items(), strict=True):
                cells = by_name[name].cells.encode(_named(batch, name).take(places))
                column.append(layout.bucket_of[cells].astype(np.int8))
        joined = [np.concatenate(column) if column else np.empty(0, np.int8) for column in kept]
        return joined, (low, high) if self.time is not None and low <= high else None


def relate(
    profiles: Sequence[ColumnProfile], rows: int, source: RowSource, time: str | None = None
) -> Relations:
    """The relations within these `rows` rows; `time` names a timestamp[us] column without nulls, if there is
    one.
    """
    passes = _Passes(profiles, source, rows, time)
    sample, span = passes.sample()
    names = list(passes.coarse)
    chosen = [
        (names[a], names[b]) for a, b in strongest(sample, [passes.coarse[name].size for name in names])
    ]
    shapes = [(passes.coarse[one].size, passes.coarse[other].size) for one, other in chosen]
    blocks = _Blocks.of(passes, span, [a * b for a, b in shapes])
    numbers = np.zeros(BUCKETS, dtype=np.int64)
    seen = 0
    for batch in source():
        codes = passes.encoded(batch)
        coarse = [
            passes.coarse[a].bucket_of[codes[a]] * passes.coarse[b].size
            + passes.coarse[b].bucket_of[codes[b]]
            for a, b in chosen
        ]
        blocks.add(batch, codes, coarse, seen)
        seen += batch.num_rows
        stored = [codes[p.column.name] for p in profiles if is_stored(p)]
        numbers += np.bincount(numbers_of(stored), minlength=BUCKETS)
    pairs = tuple(
        Pair(one, other, shape, tuple(table.sum(axis=0).tolist()))
        for (one, other), shape, table in zip(chosen, shapes, blocks.pairs, strict=True)
    )
    return Relations(blocks.finished(), pairs, RepeatProfile.of(numbers))


@dataclass
class _Blocks:
    layouts: dict[str, Buckets]
    time: str | None
    start: int
    unit: int
    many: int
    counts: dict[str, npt.NDArray[np.int64]]
    pairs: list[npt.NDArray[np.int64]]

    @classmethod
    def of(cls, passes: _Passes, span: tuple[int, int] | None, tables: Sequence[int]) -> "_Blocks":
        widths = sum(layout.size for layout in passes.layouts.values()) + sum(tables)
        most = max(1, min(MAX_BLOCKS, _BLOCK_COUNTS // max(1, 2 * widths), passes.rows // _ROWS_A_BLOCK))
        start, unit, many = 0, max(1, -(-passes.rows // most)), most
        if span is not None:
            start = span[0] // _HOUR * _HOUR
            whole = span[1] - start + 1
            units = [u * _HOUR for u in _UNITS if whole <= u * _HOUR * most]
            unit = units[0] if units else -(-whole // most)
            many = -(-whole // unit)
        many *= 2
        counts = {name: np.zeros((many, layout.size), np.int64) for name, layout in passes.layouts.items()}
        pairs = [np.zeros((many, size), np.int64) for size in tables]
        return cls(
            passes.layouts, passes.time if span is not None else None, start, unit, many, counts, pairs
        )

    def add(
        self,
        batch: pa.RecordBatch,
        codes: dict[str, Codes],
        coarse: Sequence[npt.NDArray[np.int64]],
        seen: int,
    ) -> None:
        if not batch.num_rows:
            return
        many = self.many
        if self.time is None:
            block = (seen + np.arange(batch.num_rows)) // self.unit
        else:
            block = (_micros(batch, self.time) - self.start) // self.unit
        block = 2 * np.minimum(block, many // 2 - 1) + (seen + np.arange(batch.num_rows)) % 2
        for name, layout in self.layouts.items():
            place = block * layout.size + layout.bucket_of[codes[name]]
            self.counts[name] += np.bincount(place, minlength=many * layout.size).reshape(many, layout.size)
        for table, cells in zip(self.pairs, coarse, strict=True):
            place = block * table.shape[1] + cells
            table += np.bincount(place, minlength=table.size).reshape(table.shape)

    def finished(self) -> BlockCounts:
        return BlockCounts(
            self.time is not None,
            {name: _frozen(counts) for name, counts in self.counts.items()},
            tuple(_frozen(counts) for counts in self.pairs),
        )


def _frozen(counts: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in counts.tolist())


def _named(batch: pa.RecordBatch, name: str) -> pa.Array:
    return batch.column(batch.schema.get_field_index(name))


def _micros(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.int64]:
    return np.asarray(_named(batch, name).cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)

"""A reference profile as JSON, and back: strict on the way in, because a Job far from the store wrote it.

Equal profiles give equal bytes (sorted keys, no blanks, shortest digits that read back as the same double),
so the hash of the bytes names the profile. Must not compute anything that `profile` has not.
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec

from modelwarden_server.analysis.buckets import pair_buckets
from modelwarden_server.analysis.cells import CategoryCells, Cells, NumericCells, PresenceCells
from modelwarden_server.analysis.columns import Column, Kind
from modelwarden_server.analysis.grid import FRACTIONS
from modelwarden_server.analysis.pairs import MAX_PAIRS, Pair
from modelwarden_server.analysis.profile import (
    MAX_POINTS,
    MAX_RARE,
    TOP_CATEGORIES,
    ColumnProfile,
    Moments,
    ReferenceProfile,
)
from modelwarden_server.analysis.relations import MAX_BLOCKS, BlockCounts, Relations, verdict_buckets
from modelwarden_server.analysis.repeats import RepeatProfile

FORMAT_VERSION = 2


class ProfileFormatError(ValueError):
    """The bytes are no profile of this model's reference. The message names the column and what is wrong."""


class _Strict(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    pass


class _Moments(_Strict, kw_only=True):
    count: int
    lowest: float
    highest: float
    total: str
    """Decimal digits: the sum may need more than 64 bits."""
    scale: int


class _Column(_Strict, kw_only=True):
    name: str
    value_type: str
    stage: str
    categorical: bool = False
    categories: list[str] = []
    min_range: float | None = None
    max_range: float | None = None
    kind: Literal["numeric", "category", "presence"]
    missing: int
    """Rows without a value, NaN included. For people: `counts` has them too."""
    counts: list[int]
    quantiles: list[float] = []
    points: list[float] = []
    discrete: bool = False
    moments: _Moments | None = None
    values: list[str] = []
    rare: list[str] = []
    overflow: bool = False


class _Pair(_Strict, kw_only=True):
    one: str
    other: str
    shape: tuple[int, int]
    counts: list[int]


class _Blocks(_Strict, kw_only=True):
    timed: bool
    counts: dict[str, list[list[int]]]
    pairs: list[list[list[int]]]


class _Repeats(_Strict, kw_only=True):
    rows: int
    pairs: str
    triples: str
    """Decimal digits: they may need more than 64 bits."""


class _Relations(_Strict, kw_only=True):
    blocks: _Blocks | None = None
    pairs: list[_Pair] = []
    repeats: _Repeats


class _Profile(_Strict, kw_only=True):
    format_version: Literal[1, 2] = msgspec.field(default=2)
    content_hash: str
    rows: int
    columns: list[_Column]
    relations: _Relations | None = None


def to_json(profile: ReferenceProfile) -> bytes:
    """The profile's bytes."""
    plain = msgspec.to_builtins(
        _Profile(
            content_hash=profile.content_hash,
            rows=profile.rows,
            columns=[_written(column) for column in profile.columns],
            relations=None if profile.relations is None else _written_relations(profile.relations),
        )
    )
    plain["formatVersion"] = FORMAT_VERSION
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def from_json(content: bytes) -> ReferenceProfile:
    """The profile that the bytes hold. Raises ProfileFormatError."""
    try:
        read = msgspec.json.decode(content, type=_Profile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProfileFormatError(f"the profile cannot be read: {error}") from None
    columns = tuple(_read(column, read.rows) for column in read.columns)
    if len({c.column.name for c in columns}) != len(columns):
        raise ProfileFormatError("a column is there twice")
    relations = None if read.relations is None else _read_relations(read.relations, columns, read.rows)
    return ReferenceProfile(read.content_hash, read.rows, columns, relations)


def check_against(profile: ReferenceProfile, content_hash: str, rows: int, columns: Sequence[Column]) -> None:
    """Raise ProfileFormatError unless this is a profile of that dataset with exactly those columns."""
    if profile.content_hash != content_hash:
        raise ProfileFormatError("the profile is of another dataset: its contentHash differs")
    if profile.rows != rows:
        raise ProfileFormatError(f"the profile counts {profile.rows} rows, the dataset has {rows}")
    found = [column.column for column in profile.columns]
    if found != list(columns):
        differing = [b.name for a, b in zip(found, columns, strict=False) if a != b]
        where = f"column {differing[0]} differs" if differing else "columns are missing or too many"
        raise ProfileFormatError(f"the profile's columns are not the model's: {where}")


def _written_relations(relations: Relations) -> _Relations:
    blocks, repeats = relations.blocks, relations.repeats
    return _Relations(
        blocks=None
        if blocks is None
        else _Blocks(
            timed=blocks.timed,
            counts={name: [list(row) for row in counts] for name, counts in blocks.counts.items()},
            pairs=[[list(row) for row in counts] for counts in blocks.pairs],
        ),
        pairs=[
            _Pair(one=p.one, other=p.other, shape=p.shape, counts=list(p.counts)) for p in relations.pairs
        ],
        repeats=_Repeats(rows=repeats.rows, pairs=str(repeats.pairs), triples=str(repeats.triples)),
    )


def _read_relations(read: _Relations, columns: Sequence[ColumnProfile], rows: int) -> Relations:
    by_name = {c.column.name: c for c in columns}
    pairs = tuple(_read_pair(pair, by_name, rows) for pair in read.pairs)
    repeats = RepeatProfile(read.repeats.rows, _whole(read.repeats.pairs), _whole(read.repeats.triples))
    _hold(len(pairs) <= MAX_PAIRS and 0 <= repeats.rows <= rows, "has too many pairs or repeats")
    if read.blocks is None:
        return Relations(None, pairs, repeats)
    _hold(len(read.blocks.pairs) == len(pairs), "has blocks of other pairs")
    widths = {name: layout.size for name, c in by_name.items() if (layout := verdict_buckets(c)) is not None}
    _hold(read.blocks.counts.keys() <= widths.keys(), "has blocks of columns that are not compared")
    cuts = [(counts, widths[name]) for name, counts in read.blocks.counts.items()]
    cuts += [(cut, len(pair.counts)) for cut, pair in zip(read.blocks.pairs, pairs, strict=True)]
    heights = {len(counts) for counts, _ in cuts}
    _hold(len(heights) <= 1 and all(h % 2 == 0 and h <= 2 * MAX_BLOCKS for h in heights), "has uneven blocks")
    for counts, width in cuts:
        fit = all(len(row) == width and min(row, default=0) >= 0 for row in counts)
        _hold(fit and sum(map(sum, counts)) == rows, "has blocks that do not add up to the rows")
    return Relations(
        BlockCounts(
            read.blocks.timed,
            {name: tuple(map(tuple, counts)) for name, counts in read.blocks.counts.items()},
            tuple(tuple(map(tuple, counts)) for counts in read.blocks.pairs),
        ),
        pairs,
        repeats,
    )


def _read_pair(pair: _Pair, columns: Mapping[str, ColumnProfile], rows: int) -> Pair:
    _hold(pair.one in columns and pair.other in columns, "has a pair of unknown columns")
    layouts = [pair_buckets(columns[n].cells, columns[n].counts) for n in (pair.one, pair.other)]
    fits = [None if layout is None else layout.size for layout in layouts] == list(pair.shape)
    fits = fits and len(pair.counts) == pair.shape[0] * pair.shape[1] and min(pair.counts, default=0) >= 0
    _hold(fits and sum(pair.counts) == rows, f"has a pair {pair.one}, {pair.other} that does not fit")
    return Pair(pair.one, pair.other, pair.shape, tuple(pair.counts))


def _whole(digits: str) -> int:
    _hold(digits.isascii() and digits.isdigit() and len(digits) < 60, "has a count that is no number")
    return int(digits)


def _hold(holds: bool, wrong: str) -> None:
    if not holds:
        raise ProfileFormatError(f"the profile {wrong}")


def _written(profile: ColumnProfile) -> _Column:
    cells = profile.cells
    more: dict[str, Any] = {}
    if isinstance(cells, NumericCells):
        more = {
            "quantiles": list(cells.quantiles),
            "points": list(cells.points),
            "discrete": cells.discrete,
        }
    elif isinstance(cells, CategoryCells):
        more = {"values": list(cells.values), "rare": list(cells.rare), "overflow": cells.overflow}
    if profile.moments is not None:
        m = profile.moments
        more["moments"] = _Moments(
            count=m.count, lowest=m.lowest, highest=m.highest, total=str(m.total), scale=m.scale
        )
    return _Column(
        name=profile.column.name,
        value_type=profile.column.value_type,
        stage=profile.column.stage,
        categorical=profile.column.categorical,
        categories=list(profile.column.categories),
        min_range=profile.column.min_range,
        max_range=profile.column.max_range,
        kind=cells.kind.value,
        missing=sum(profile.counts[cell] for cell in cells.missing),
        counts=list(profile.counts),
        **more,
    )


def _read(column: _Column, rows: int) -> ColumnProfile:
    cells = _cells(column)
    _demand(column, len(column.counts) == cells.size, f"has {len(column.counts)} counts, not {cells.size}")
    _demand(column, all(count >= 0 for count in column.counts), "has a negative count")
    _demand(column, sum(column.counts) == rows, f"counts {sum(column.counts)} rows, not {rows}")
    missing = sum(column.counts[cell] for cell in cells.missing)
    _demand(column, column.missing == missing, "states another number of missing rows than it counts")
    declared = Column(
        column.name,
        column.value_type,
        column.stage,
        column.categorical,
        tuple(column.categories),
        column.min_range,
        column.max_range,
    )
    return ColumnProfile(declared, cells, tuple(column.counts), _read_moments(column))


def _read_moments(column: _Column) -> Moments | None:
    m = column.moments
    if m is None:
        return None
    digits = m.total.removeprefix("-")
    _demand(
        column, digits.isascii() and digits.isdigit() and len(digits) < 40, "has a total that is no number"
    )
    finite = math.isfinite(m.lowest) and math.isfinite(m.highest) and abs(m.scale) <= 2000
    _demand(column, finite and m.lowest <= m.highest and m.count > 0, "has bounds that cannot be")
    return Moments(m.count, m.lowest, m.highest, int(m.total), m.scale)


def _cells(column: _Column) -> Cells:
    match Kind(column.kind):
        case Kind.NUMERIC:
            return _numeric(column)
        case Kind.CATEGORY:
            distinct = len({*column.values, *column.rare}) == len(column.values) + len(column.rare)
            few = (
                len(column.values) <= TOP_CATEGORIES + len(column.categories) and len(column.rare) <= MAX_RARE
            )
            _demand(column, distinct and few, "has repeated or too many categories")
            return CategoryCells(tuple(column.values), tuple(column.rare), column.overflow)
        case Kind.PRESENCE:
            return PresenceCells()


def _numeric(column: _Column) -> NumericCells:
    q, points = column.quantiles, column.points
    _demand(column, len(q) in (0, len(FRACTIONS)), f"has {len(q)} quantiles, not {len(FRACTIONS)}")
    _demand(column, all(map(math.isfinite, [*q, *points])), "has a quantile or point that is not finite")
    _demand(column, all(a <= b for a, b in pairwise(q)), "has quantiles that descend")
    _demand(column, all(a < b for a, b in pairwise(points)), "has points that do not ascend")
    inside = not points or (bool(q) and q[0] <= points[0] and points[-1] <= q[-1])
    _demand(column, inside and len(points) <= max(MAX_POINTS, len(FRACTIONS)), "has points that cannot be")
    ends = [end for end in (column.min_range, column.max_range) if end is not None]
    _demand(column, all(map(math.isfinite, ends)), "has a declared range that is not finite")
    return NumericCells(
        tuple(q), tuple(points), column.discrete, lowest=column.min_range, highest=column.max_range
    )


def _demand(column: _Column, holds: bool, wrong: str) -> None:
    if not holds:
        raise ProfileFormatError(f"column {column.name} {wrong}")

"""A reference profile as JSON, and back: strict on the way in, because a Job far from the store wrote it.

Equal profiles give equal bytes (sorted keys, no blanks, shortest digits that read back as the same double),
so the hash of the bytes names the profile. Must not compute anything that `profile` has not.
"""

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec

from modelwarden_server.analysis.cells import CategoryCells, Cells, NumericCells, PresenceCells
from modelwarden_server.analysis.columns import Column, Kind
from modelwarden_server.analysis.grid import FRACTIONS
from modelwarden_server.analysis.profile import (
    MAX_POINTS,
    MAX_RARE,
    TOP_CATEGORIES,
    ColumnProfile,
    Moments,
    ReferenceProfile,
)

FORMAT_VERSION = 1


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


class _Profile(_Strict, kw_only=True):
    format_version: Literal[1] = msgspec.field(default=1)
    content_hash: str
    rows: int
    columns: list[_Column]


def to_json(profile: ReferenceProfile) -> bytes:
    """The profile's bytes."""
    plain = msgspec.to_builtins(
        _Profile(
            content_hash=profile.content_hash,
            rows=profile.rows,
            columns=[_written(column) for column in profile.columns],
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
    return ReferenceProfile(read.content_hash, read.rows, columns)


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
        column.name, column.value_type, column.stage, column.categorical, tuple(column.categories)
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
    return NumericCells(tuple(q), tuple(points), column.discrete)


def _demand(column: _Column, holds: bool, wrong: str) -> None:
    if not holds:
        raise ProfileFormatError(f"column {column.name} {wrong}")

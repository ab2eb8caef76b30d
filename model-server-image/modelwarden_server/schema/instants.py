"""Instants as clients write them: ISO 8601 with a zone, to microseconds since 1970. Nothing else."""

import re
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.schema.compiled import INSTANT

YEAR_1 = -62_135_596_800_000_000
YEAR_10000 = 253_402_300_800_000_000
_TOO_FINE = r"(\.\d{6})\d+"
_USUAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def instants(texts: list[str | None]) -> pa.Array:
    """timestamp[us, UTC] of ISO 8601 texts with a zone; digits finer than a microsecond are cut off.

    Raises ValueError (pyarrow.ArrowInvalid) if any text is something else or outside the years 1 to 9999.
    """
    strings = pa.array(texts, pa.string())
    try:
        parsed = strings.cast(INSTANT)
    except pa.ArrowInvalid:
        parsed = pc.replace_substring_regex(strings, _TOO_FINE, r"\1").cast(INSTANT)
    lowest, highest = bounds(parsed)
    if lowest < YEAR_1 or highest >= YEAR_10000:
        raise pa.ArrowInvalid("outside the years 1 to 9999")
    return parsed


def bounds(times: pa.Array) -> tuple[int, int]:
    """Microseconds since 1970 of the earliest and the latest instant; (0, 0) if there is none."""
    known = times.drop_null() if times.null_count else times
    if not len(known):
        return 0, 0
    numbers = known.view(pa.int64()).to_numpy()
    return int(numbers.min()), int(numbers.max())


def instant(text: str) -> int | None:
    """As `instants` for one text: microseconds since 1970, or None if it is no instant with a zone."""
    if _USUAL.fullmatch(text):
        try:
            micros = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
        except (ValueError, OverflowError):
            return None
        return micros if YEAR_1 <= micros < YEAR_10000 else None
    try:
        return int(instants([text]).view(pa.int64())[0].as_py())
    except (pa.ArrowInvalid, UnicodeEncodeError):
        return None

"""Large bodies within bounded memory: in one go if that is cheap and quick, else piece by piece.

A list of rows that are mostly brackets and commas comes to twenty times its bytes as Python's objects. A body
of 64 MiB must not become a gigabyte: what looks like that, and what has a bad row somewhere, is cut between
its rows and parsed a few MiB at a time.
"""

import io
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa

from modelwarden_server.door.json_pieces import LONGEST_ROW, PIECE_BYTES, json_pieces
from modelwarden_server.door.parquet_pieces import UnreadableFileError
from modelwarden_server.schema.jsonlist import elements
from modelwarden_server.schema.parsed import BodyError, Limits, ParsedLabels, ParsedRows, TooManyRowsError

LARGE_BYTES = 1 << 20
DENSE_BYTES = 192 << 20
_BYTES_PER_BRACKET = 96
_BYTES_PER_VALUE = 56
_BLANK = b" \t\n\r"
Parsed = TypeVar("Parsed", ParsedRows, ParsedLabels)
Result = TypeVar("Result", covariant=True)


class BodyParser(Protocol[Result]):
    """A parser with a quick path, which either takes all of a body or says nothing of it."""

    def quick(self, body: bytes, limits: Limits) -> Result | None:
        """The rows, if all of them are good."""
        ...

    def parse(self, body: bytes, limits: Limits) -> Result:
        """The good rows, and the reasons of the others."""
        ...


def parse_rows(parser: BodyParser[ParsedRows], body: bytes, limits: Limits) -> ParsedRows:
    """As `parser.parse`, with bounded memory. Raises BodyError and TooManyRowsError."""
    return _parse(parser, body, limits, _joined_rows)


def parse_labels(parser: BodyParser[ParsedLabels], body: bytes, limits: Limits) -> ParsedLabels:
    """As `parser.parse`, with bounded memory. Raises BodyError and TooManyRowsError."""
    return _parse(parser, body, limits, _joined_labels)


def _parse(
    parser: BodyParser[Parsed], body: bytes, limits: Limits, join: Callable[[Sequence[Parsed]], Parsed]
) -> Parsed:
    if len(body) <= LARGE_BYTES:
        return parser.parse(body, limits)
    if _weight(body) <= DENSE_BYTES:
        found = parser.quick(body, limits)
        if found is not None:
            return found
    if not body[:4096].lstrip(_BLANK).startswith(b"["):
        next(elements(body[:4096]), None)  # says what is wrong
        raise BodyError("the body is not JSON: send a JSON list of inferences")
    return join(_pieces(parser, body, limits))


def _pieces(parser: BodyParser[Parsed], body: bytes, limits: Limits) -> list[Parsed]:
    found: list[Parsed] = []
    rows = 0
    try:
        for piece in json_pieces(io.BytesIO(body), LONGEST_ROW, PIECE_BYTES):
            found.append(parser.parse(piece, limits))
            rows += found[-1].total
            if rows > limits.rows:
                raise TooManyRowsError(limits.rows)
    except (BodyError, UnreadableFileError) as error:
        raise BodyError(f"the body cannot be read behind row {rows}: {error}") from None
    return found or [parser.parse(b"[]", limits)]


def _weight(body: bytes) -> int:
    """About how many bytes the body comes to as Python's objects, at most."""
    brackets = body.count(b"[") + body.count(b"{")
    return _BYTES_PER_BRACKET * brackets + _BYTES_PER_VALUE * body.count(b",")


def _joined_rows(pieces: Sequence[ParsedRows]) -> ParsedRows:
    if len(pieces) == 1:
        return pieces[0]
    behind = _starts([piece.total for piece in pieces])
    taken = _starts([piece.rows.num_rows for piece in pieces])
    return ParsedRows(
        total=sum(piece.total for piece in pieces),
        rows=pa.concat_batches([piece.rows for piece in pieces]),
        places=np.concatenate([p.places + start for p, start in zip(pieces, behind, strict=True)]),
        truth=pa.concat_batches([piece.truth for piece in pieces]),
        truth_rows=np.concatenate([p.truth_rows + start for p, start in zip(pieces, taken, strict=True)]),
        refused={
            start + place: why
            for piece, start in zip(pieces, behind, strict=True)
            for place, why in piece.refused.items()
        },
    )


def _joined_labels(pieces: Sequence[ParsedLabels]) -> ParsedLabels:
    if len(pieces) == 1:
        return pieces[0]
    behind = _starts([piece.total for piece in pieces])
    return ParsedLabels(
        total=sum(piece.total for piece in pieces),
        labels=pa.concat_batches([piece.labels for piece in pieces]),
        places=np.concatenate([p.places + start for p, start in zip(pieces, behind, strict=True)]),
        refused={
            start + place: why
            for piece, start in zip(pieces, behind, strict=True)
            for place, why in piece.refused.items()
        },
    )


def _starts(counts: Sequence[int]) -> list[int]:
    return [0, *np.cumsum(counts).tolist()][:-1]

"""Large bodies within bounded memory: cut between their rows and parsed a few MiB at a time.

A list of rows that are mostly brackets and commas comes to twenty times its bytes as Python's objects, and a
usual one to five times. As long as rows are good the cuts are guessed, which costs nothing; from the first
bad row on they are found by counting brackets.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.door.json_pieces import LONGEST_ROW, PIECE_BYTES, json_pieces
from modelwarden_server.door.parquet_pieces import UnreadableFileError
from modelwarden_server.schema.jsonlist import elements
from modelwarden_server.schema.parsed import BodyError, Limits, ParsedLabels, ParsedRows, TooManyRowsError

_LOOK = 64 << 10
_GUESSES = 3
_FIRST = re.compile(rb"[ \t\n\r]*\[")
_BETWEEN = re.compile(rb"\}[ \t\n\r]*,[ \t\n\r]*\{")
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


def parse_rows(parser: BodyParser[ParsedRows], body: bytearray, limits: Limits) -> ParsedRows:
    """As `parser.parse`, with bounded memory. Raises BodyError and TooManyRowsError."""
    return _parse(parser, body, limits, _joined_rows)


def parse_labels(parser: BodyParser[ParsedLabels], body: bytearray, limits: Limits) -> ParsedLabels:
    """As `parser.parse`, with bounded memory. Raises BodyError and TooManyRowsError."""
    return _parse(parser, body, limits, _joined_labels)


def _parse(
    parser: BodyParser[Parsed], body: bytearray, limits: Limits, join: Callable[[Sequence[Parsed]], Parsed]
) -> Parsed:
    if len(body) <= PIECE_BYTES:
        return parser.parse(bytes(body), limits)
    begin = _FIRST.match(body)
    if begin is None:
        next(elements(bytes(body[:4096])), None)  # says what is wrong
        raise BodyError("the body is not JSON: send a JSON list of inferences")
    found: list[Parsed] = []
    rows, rest = 0, begin.end()
    for piece, following in _guessed(parser, body, limits, begin.end()):
        found.append(piece)
        rows, rest = rows + piece.total, following
        _check(rows, limits)
    if rest < len(body):
        for piece in _cut(parser, _Rest(body, rest), limits, rows):
            found.append(piece)
            rows += piece.total
            _check(rows, limits)
    return join(found) if found else parser.parse(b"[]", limits)


def _guessed(
    parser: BodyParser[Parsed], body: bytearray, limits: Limits, start: int
) -> Iterator[tuple[Parsed, int]]:
    """Pieces of good rows and where the next one begins, until a guess is wrong or a row is bad.

    A row seems to end where `}, {` stands. Between there and a known beginning there are complete rows if,
    and only if, they can be read as a list: so reading is the proof.
    """
    while start < len(body):
        guess = _read(parser, body, limits, start)
        if guess is None:
            return
        yield guess
        start = guess[1]


def _read(
    parser: BodyParser[Parsed], body: bytearray, limits: Limits, start: int
) -> tuple[Parsed, int] | None:
    if len(body) - start <= PIECE_BYTES:
        piece = parser.quick(b"[" + body[start:], limits)
        return None if piece is None else (piece, len(body))
    for end, following in _likely_cuts(body, start):
        piece = parser.quick(b"[" + body[start:end] + b"]", limits)
        if piece is not None:
            return piece, following
    return None


def _likely_cuts(body: bytearray, start: int) -> list[tuple[int, int]]:
    """Ends of rows in a piece's last part, and beginnings of those that follow, the last first."""
    end = start + PIECE_BYTES
    found = [
        (match.start() + 1, match.end() - 1)
        for match in _BETWEEN.finditer(body, max(start, end - _LOOK), end)
    ]
    return found[: -1 - _GUESSES : -1]


class _Rest:
    """A list that goes on somewhere in a body, without a copy of it."""

    def __init__(self, body: bytearray, start: int) -> None:
        self._body, self._start = body, start
        self._place = 0

    def seek(self, place: int, /) -> None:
        """See Source."""
        self._place = place

    def read(self, size: int, /) -> bytes:
        """See Source: a bracket, then the body from `start` on."""
        bracket = b"[" if self._place == 0 else b""
        begin = self._start + max(0, self._place - 1)
        found = bracket + self._body[begin : begin + size - len(bracket)]
        self._place += len(found)
        return found


def _cut(parser: BodyParser[Parsed], body: _Rest, limits: Limits, before: int) -> Iterator[Parsed]:
    """Pieces that are cut where brackets say that a row ends."""
    rows = before
    try:
        for text in json_pieces(body, LONGEST_ROW, PIECE_BYTES):
            piece = parser.parse(text, limits)
            yield piece
            rows += piece.total
    except (BodyError, UnreadableFileError) as error:
        raise BodyError(f"the body cannot be read behind row {rows}: {error}") from None


def _check(rows: int, limits: Limits) -> None:
    if rows > limits.rows:
        raise TooManyRowsError(limits.rows)


def _joined_rows(pieces: Sequence[ParsedRows]) -> ParsedRows:
    if len(pieces) == 1:
        return pieces[0]
    taken = _starts([piece.rows.num_rows for piece in pieces])
    return ParsedRows(
        total=sum(piece.total for piece in pieces),
        rows=pa.concat_batches([piece.rows for piece in pieces]),
        places=_places(pieces),
        truth=pa.concat_batches([piece.truth for piece in pieces]),
        truth_rows=np.concatenate([p.truth_rows + start for p, start in zip(pieces, taken, strict=True)]),
        refused=_refused(pieces),
    )


def _joined_labels(pieces: Sequence[ParsedLabels]) -> ParsedLabels:
    if len(pieces) == 1:
        return pieces[0]
    return ParsedLabels(
        total=sum(piece.total for piece in pieces),
        labels=pa.concat_batches([piece.labels for piece in pieces]),
        places=_places(pieces),
        refused=_refused(pieces),
    )


def _places(pieces: Sequence[ParsedRows | ParsedLabels]) -> npt.NDArray[np.int64]:
    behind = _starts([piece.total for piece in pieces])
    return np.concatenate([p.places + start for p, start in zip(pieces, behind, strict=True)])


def _refused(pieces: Sequence[ParsedRows | ParsedLabels]) -> dict[int, str]:
    behind = _starts([piece.total for piece in pieces])
    return {
        start + place: why
        for piece, start in zip(pieces, behind, strict=True)
        for place, why in piece.refused.items()
    }


def _starts(counts: Sequence[int]) -> list[int]:
    return [0, *np.cumsum(counts).tolist()][:-1]

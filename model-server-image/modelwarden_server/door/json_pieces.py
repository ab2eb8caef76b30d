"""A large JSON file as small JSON lists: cut between its rows without reading the rows, so that each list can
go through the parser that every door uses.

Takes a list of rows, or rows one a line. Finds the cuts by counting brackets outside of texts, in whole
columns of bytes. Must not judge rows; a file that is no JSON is found out by the parser, or here at its end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedRandom

import numpy as np
import numpy.typing as npt

from modelwarden_server.door.parquet_pieces import UnreadableFileError

WINDOW_BYTES = 4 << 20
_OPEN_LIST, _CLOSE_LIST = ord("["), ord("]")
_QUOTE, _BACKSLASH, _COMMA, _NEWLINE = ord('"'), ord("\\"), ord(","), ord("\n")
_BLANK = b" \t\n\r"
_TOO_EARLY = "the JSON file ends too early: send the file again from its start"
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Marks:
    """Brackets and separators outside of texts: where, which, and how deep the place after each is."""

    place: Places
    sign: npt.NDArray[np.uint8]
    depth: Places
    in_text: bool


def json_pieces(content: BufferedRandom, longest_row: int, window: int = WINDOW_BYTES) -> Iterator[bytes]:
    """JSON lists that together hold the file's rows in order. Raises UnreadableFileError.

    `longest_row` bounds the bytes of one row, and with it what is held.
    """
    content.seek(0)
    held = content.read(window).removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)
    while not held:
        more = content.read(window)
        if not more:
            raise UnreadableFileError("the file is empty")
        held = more.lstrip(_BLANK)
    as_list = held[0] == _OPEN_LIST
    cut = _cut_list if as_list else _cut_lines
    held = held[1:] if as_list else held
    ended = False
    while not ended:
        more = content.read(max(window, len(held)))
        piece, held, ended = cut(held + more, last=not more)
        if piece:
            yield piece
        if len(held) > longest_row:
            raise UnreadableFileError(
                f"a row of the JSON file is longer than {longest_row} bytes, or the file is no JSON list"
                " (ingest.limits.maxBodySize)"
            )
    if held.strip(_BLANK) or content.read(1 << 16).strip(_BLANK):
        raise UnreadableFileError("the file is not JSON: something follows the list")


def _cut_list(held: bytes, *, last: bool) -> tuple[bytes, bytes, bool]:
    """The complete rows at the start of `held` as a list, the rest, and whether the list has ended."""
    marks = _marks(held, _COMMA)
    ends = np.flatnonzero((marks.depth < 0) & (marks.sign == _CLOSE_LIST))
    if len(ends):
        end = int(marks.place[ends[0]])
        return _as_list(held[:end]), held[end + 1 :], True
    if last:
        raise UnreadableFileError(_TOO_EARLY)
    between = np.flatnonzero((marks.depth == 0) & (marks.sign == _COMMA))
    if not len(between):
        return b"", held, False
    end = int(marks.place[between[-1]])
    if not held[:end].strip(_BLANK):
        raise UnreadableFileError("the file is not JSON: a row is missing before a comma")
    return b"[" + held[:end] + b"]", held[end + 1 :], False


def _cut_lines(held: bytes, *, last: bool) -> tuple[bytes, bytes, bool]:
    """As `_cut_list`, for rows that are separated by newlines."""
    marks = _marks(held, _NEWLINE)
    if last and (marks.in_text or (len(marks.depth) and marks.depth[-1] > 0)):
        raise UnreadableFileError(_TOO_EARLY)
    at = marks.place[(marks.depth == 0) & (marks.sign == _NEWLINE)].tolist()
    if last:
        at.append(len(held))
    if not at:
        return b"", held, last
    lines = (held[a:b] for a, b in zip([0, *(place + 1 for place in at)], at, strict=False))
    rows = [line for line in lines if line.strip(_BLANK)]
    return (b"[" + b",".join(rows) + b"]" if rows else b""), held[at[-1] + 1 :], last


def _as_list(rows: bytes) -> bytes:
    return b"[" + rows + b"]" if rows.strip(_BLANK) else b""


def _marks(held: bytes, separator: int) -> _Marks:
    letters = np.frombuffer(held, dtype=np.uint8)
    quotes = letters == _QUOTE
    quotes[_escaped(letters)] = False
    in_text = np.bitwise_xor.accumulate(quotes.view(np.uint8))
    folded = letters | np.uint8(0x20)  # makes {} of []
    brackets = (folded == ord("{")) | (folded == ord("}"))
    place = np.flatnonzero((brackets | (letters == separator)) & (in_text == 0))
    sign = letters[place]
    kind = sign | np.uint8(0x20)
    step = (kind == ord("{")).astype(np.int64) - (kind == ord("}"))
    return _Marks(place, sign, np.cumsum(step), bool(len(in_text) and in_text[-1]))


def _escaped(letters: npt.NDArray[np.uint8]) -> Places:
    """Places behind an odd number of backslashes."""
    slashes = np.flatnonzero(letters == _BACKSLASH)
    if not len(slashes):
        return slashes
    starts = np.concatenate([[True], np.diff(slashes) > 1])
    first = np.flatnonzero(starts)
    lengths = np.diff(np.append(first, len(slashes)))
    behind = slashes[first] + lengths
    escaped: Places = behind[(lengths % 2 == 1) & (behind < len(letters))]
    return escaped

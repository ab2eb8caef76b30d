"""A large JSON file as small JSON lists: cut between its rows without reading the rows, so that each list can
go through the parser that every door uses.

Takes a list of rows, or rows one a line. Finds the cuts by counting brackets outside of texts, in whole
columns of bytes, one window after the other. Must not judge rows; a file that is no JSON is found out by the
parser, or here at its end.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from modelwarden_server.door.parquet_pieces import UnreadableFileError

PIECE_BYTES = 4 << 20
WINDOW_BYTES = 256 << 10
LONGEST_ROW = 8 << 20
"""A row is read as a whole, and may come to twenty times its bytes as Python's objects."""
_OPEN_LIST, _CLOSE_LIST = ord("["), ord("]")
_QUOTE, _BACKSLASH, _COMMA, _NEWLINE = ord('"'), ord("\\"), ord(","), ord("\n")
_BLANK = b" \t\n\r"
_TOO_EARLY = "the JSON ends too early: send it again from its start"
Places = npt.NDArray[np.int64]


class Source(Protocol):
    """What can be read from its beginning."""

    def seek(self, place: int, /) -> object:
        """Go to this byte."""
        ...

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


def json_pieces(content: Source, longest_row: int, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """JSON lists that together hold the file's rows in order. Raises UnreadableFileError.

    `longest_row` bounds the bytes of one row, and with it what is held.
    """
    content.seek(0)
    window = content.read(WINDOW_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)
    while not window:
        more = content.read(WINDOW_BYTES)
        if not more:
            raise UnreadableFileError("the file is empty")
        window = more.lstrip(_BLANK)
    rows = _Rows(as_list=window[0] == _OPEN_LIST)
    window = (window[1:] or content.read(WINDOW_BYTES)) if rows.as_list else window
    while window and not rows.ended:
        rows.add(window)
        if len(rows.held) >= piece_bytes and rows.cuts:
            yield rows.taken()
        if rows.unfinished > longest_row:
            raise UnreadableFileError(
                f"a row is longer than {longest_row} bytes, or this is no JSON list"
                " (ingest.limits.maxBodySize, 8Mi at most)"
            )
        window = content.read(WINDOW_BYTES)
    last = rows.rest()
    if last:
        yield last
    if rows.behind.strip(_BLANK) or window.strip(_BLANK) or content.read(WINDOW_BYTES).strip(_BLANK):
        raise UnreadableFileError("this is not JSON: something follows the list")


class _Rows:
    """Bytes of rows, and the places of separators between them: `cuts`, ascending."""

    def __init__(self, *, as_list: bool) -> None:
        self.as_list = as_list
        self.held = bytearray()
        self.cuts: list[int] = []
        self.ended = False
        self.behind = b""
        self._state = _State()

    @property
    def unfinished(self) -> int:
        """Bytes of the last row, which is not complete."""
        return len(self.held) - (self.cuts[-1] if self.cuts else 0)

    def add(self, window: bytes) -> None:
        """The next bytes of the file. `ended` once they close the list; what follows it is `behind`."""
        marks, self._state = _marks(window, _COMMA if self.as_list else _NEWLINE, self._state)
        start = len(self.held)
        ends = np.flatnonzero((marks.depth < 0) & (marks.sign == _CLOSE_LIST))
        if self.as_list and len(ends):
            end = int(marks.place[ends[0]])
            self.ended, self.behind, window = True, window[end + 1 :], window[:end]
        between = marks.place[(marks.depth == 0) & (marks.is_separator)]
        between = between[between < len(window)]
        # Of a list only the last cut is needed; lines become a list at every one.
        found = (start + (between[-1:] if self.as_list else between)).tolist()
        self.cuts = found if self.as_list and found else self.cuts + found
        self.held += window

    def taken(self) -> bytes:
        """The complete rows as a list; they are let go."""
        end = self.cuts[-1]
        piece = self._listed(end)
        del self.held[: end + 1]
        self.cuts.clear()
        return piece

    def rest(self) -> bytes:
        """What is left at the end of the file, as a list; empty if there is nothing."""
        if self.as_list and not self.ended:
            raise UnreadableFileError(_TOO_EARLY)
        if not self.as_list and (self._state.in_text or self._state.depth > 0):
            raise UnreadableFileError(_TOO_EARLY)
        return self._listed(len(self.held)) if bytes(self.held).strip(_BLANK) else b""

    def _listed(self, end: int) -> bytes:
        if self.as_list:
            return b"[" + self.held[:end] + b"]"
        bounds = [-1, *(cut for cut in self.cuts if cut < end), end]
        lines = (self.held[a + 1 : b] for a, b in itertools.pairwise(bounds))
        return b"[" + b",".join(line for line in lines if line.strip(_BLANK)) + b"]"


@dataclass(frozen=True, slots=True)
class _State:
    """Where a window ended: in a text, behind an odd number of backslashes, this deep."""

    in_text: bool = False
    escaped: bool = False
    depth: int = 0


@dataclass(frozen=True, slots=True)
class _Marks:
    """Brackets and separators outside of texts: where, which, and how deep the place after each is."""

    place: Places
    sign: npt.NDArray[np.uint8]
    is_separator: npt.NDArray[np.bool_]
    depth: Places


def _marks(window: bytes, separator: int, state: _State) -> tuple[_Marks, _State]:
    letters = np.frombuffer(window, dtype=np.uint8)
    quotes = letters == _QUOTE
    escaped, pending = _escaped(letters, first=state.escaped)
    quotes[escaped] = False
    in_text = np.bitwise_xor.accumulate(quotes.view(np.uint8)) ^ np.uint8(state.in_text)
    folded = letters | np.uint8(0x20)  # makes {} of []
    brackets = (folded == ord("{")) | (folded == ord("}"))
    place = np.flatnonzero((brackets | (letters == separator)) & (in_text == 0))
    sign = letters[place]
    kind = sign | np.uint8(0x20)
    step = (kind == ord("{")).astype(np.int64) - (kind == ord("}"))
    depth = np.cumsum(step) + state.depth
    last = int(depth[-1]) if len(depth) else state.depth
    return _Marks(place, sign, sign == separator, depth), _State(bool(in_text[-1]), pending, last)


def _escaped(letters: npt.NDArray[np.uint8], *, first: bool) -> tuple[Places, bool]:
    """Places behind an odd number of backslashes, and whether the place behind the last letter is one.

    `first`: the first letter is behind an odd number already.
    """
    slashes = np.flatnonzero(letters == _BACKSLASH)
    if first:
        slashes = np.concatenate([[-1], slashes])
    if not len(slashes):
        return slashes, False
    starts = np.concatenate([[True], np.diff(slashes) > 1])
    begin = np.flatnonzero(starts)
    lengths = np.diff(np.append(begin, len(slashes)))
    behind = (slashes[begin] + lengths)[lengths % 2 == 1]
    inside: Places = behind[behind < len(letters)]
    return inside, len(inside) < len(behind)

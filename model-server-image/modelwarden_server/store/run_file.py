"""One sorted run on the disk: rows of a 16-byte key and a payload, found without reading all of it.

    header | filter | fences | rows by ascending key

The filter (one 64-bit word holds five bits of each of its six keys) answers "not here" for 98 of 100 keys
that are not; a fence is the first word of every 256th key, and is all that is held in memory: 3 MB for 100 M
rows. The rest is mapped, and the kernel may drop it. A run is complete and synced before it has its name, and
never changes. Must not know what keys and payloads mean. Keys are expected to be hashes: evenly spread.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

BLOCK = 256
_BITS_PER_KEY = 10
_SHIFTS = (0, 6, 12, 18, 24)
_FEW = 8
_TOUCHED = 4096
_AT_ONCE = 1 << 17
_MAGIC = b"MWRUN001"
_FIELDS = struct.Struct("<8sIIQQQI4x")  # magic, words a row, block, room, rows, filter words, sum of the rows
_SUM = struct.Struct("<I4x")
_HEADER = _FIELDS.size + _SUM.size


class RunDamagedError(Exception):
    """A file is no complete run. The message says which."""


@dataclass(frozen=True)
class _Layout:
    """Where the parts of a run begin. `room` is the number of rows that filter and fences are made for."""

    words: int
    room: int

    @property
    def filter_words(self) -> int:
        return max(1, self.room * _BITS_PER_KEY // 64)

    @property
    def fences(self) -> int:
        return -(-self.room // BLOCK)

    @property
    def fences_at(self) -> int:
        return _HEADER + 8 * self.filter_words

    @property
    def rows_at(self) -> int:
        return self.fences_at + 8 * self.fences


class Run:
    """A run that is there. Any thread may ask."""

    def __init__(self, path: Path) -> None:
        """Map the run in `path`. Raises RunDamagedError or OSError."""
        self.path = path
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_HEADER)
            layout, self.rows, self._sum = _read_header(path, head, size)
            self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        self._map.madvise(mmap.MADV_RANDOM)
        self.words = layout.words
        self._touched = 0
        self._filter = np.frombuffer(self._map, "<u8", layout.filter_words, _HEADER)
        fences = -(-self.rows // BLOCK)
        self._fences = np.frombuffer(self._map, "<u8", fences, layout.fences_at).copy()
        self.table: Words = np.frombuffer(self._map, "<u8", self.rows * layout.words, layout.rows_at).reshape(
            -1, layout.words
        )

    def find(self, keys: Words) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The keys that are here: their places among `keys`, and their places in `table`."""
        few = len(keys) <= _FEW
        asked = self._allowed(keys) if few else np.flatnonzero(_passes(self._filter, keys))
        if not len(asked):
            return asked, asked
        self._touched += len(asked)
        if self._touched > _TOUCHED:  # each maps some sixteen pages, which count as the process's memory
            self._touched = 0
            self.release_pages()
        place = self._lower_bounds(keys[asked, 0])
        return _settle(self.table, keys, asked, place)

    def intact(self) -> bool:
        """Whether the rows are those that were written, and filter and fences lead to each: reads the whole
        file.
        """
        total, led = 0, bool((self._fences == self.table[::BLOCK, 0]).all())
        for start in range(0, self.rows, _AT_ONCE):
            rows = self.table[start : start + _AT_ONCE]
            total = zlib.crc32(_bytes(rows), total)
            led = led and bool(_passes(self._filter, rows).all())
            self.release_pages()
        return led and total == self._sum

    @property
    def bytes(self) -> int:
        """Of the file."""
        return len(self._map)

    @property
    def memory(self) -> int:
        """Bytes held beside the mapping."""
        return int(self._fences.nbytes)

    def release_pages(self) -> None:
        """Give the mapped pages back; they come again from the page cache when they are asked for."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def _allowed(self, keys: Words) -> npt.NDArray[np.int64]:
        """As `_passes`, for so few keys that calls cost more than the work."""
        words, filter_ = len(self._filter), self._filter
        allowed = []
        for place, (first, second) in enumerate(keys[:, :2].tolist()):
            bits = 0
            for shift in _SHIFTS:
                bits |= 1 << ((second >> shift) & 63)
            if int(filter_[((first >> 32) * words) >> 32]) & bits == bits:
                allowed.append(place)
        return np.array(allowed, dtype=np.int64)

    def _lower_bounds(self, first: Words) -> npt.NDArray[np.int64]:
        """The place of the first row whose key is not less, for each first word."""
        block = np.searchsorted(self._fences, first, side="left")
        low = np.maximum(block - 1, 0) * BLOCK
        high = np.minimum(block * BLOCK, self.rows)
        while (open_ := low < high).any():
            middle = (low + high) >> 1
            less = self.table[np.minimum(middle, self.rows - 1), 0] < first
            low = np.where(open_ & less, middle + 1, low)
            high = np.where(open_ & ~less, middle, high)
        return low


def _settle(
    table: Words, keys: Words, asked: npt.NDArray[np.int64], place: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which of the asked keys are at their place or, first words being equal, right behind it."""
    found: list[npt.NDArray[np.int64]] = []
    places: list[npt.NDArray[np.int64]] = []
    while True:
        inside = place < len(table)
        asked, place = asked[inside], place[inside]
        rows = table[place]
        candidate = rows[:, 0] == keys[asked, 0]
        hit = candidate & (rows[:, 1] == keys[asked, 1])
        found.append(asked[hit])
        places.append(place[hit])
        again = candidate & ~hit
        if not again.any():
            return np.concatenate(found), np.concatenate(places)
        asked, place = asked[again], place[again] + 1


def write_run(path: Path, blocks: Iterable[Words], *, room: int, words: int) -> Run:
    """Write blocks of rows, ascending by their first word within and across blocks, as a run; synced.

    `room` is an upper bound of the rows. Memory is a few blocks. Raises OSError, leaving no file.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            _Writer(file.fileno(), _Layout(words, max(room, 1))).write(blocks)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return Run(path)


class _Writer:
    """Writes the parts side by side: keys ascend, so filter and fences are as complete as the rows are."""

    def __init__(self, fd: int, layout: _Layout) -> None:
        self._fd, self._layout = fd, layout
        self._rows = 0
        self._sum = 0
        self._word = 0  # the filter's word that keys are still to come for
        self._bits = np.uint64(0)

    def write(self, blocks: Iterable[Words]) -> None:
        layout = self._layout
        os.ftruncate(self._fd, layout.rows_at)
        for block in blocks:
            if len(block):
                self._add(np.ascontiguousarray(block, dtype="<u8"))
        self._put(_HEADER + 8 * self._word, np.array([self._bits]))
        fields = _FIELDS.pack(
            _MAGIC, layout.words, BLOCK, layout.room, self._rows, layout.filter_words, self._sum
        )
        self._put(0, np.frombuffer(fields + _SUM.pack(zlib.crc32(fields)), np.uint8))

    def _add(self, block: Words) -> None:
        if self._rows + len(block) > self._layout.room:
            raise ValueError("a run has more rows than it was given room for")
        first_fence = -self._rows % BLOCK
        fences = block[first_fence::BLOCK, 0]
        self._put(self._layout.fences_at + 8 * -(-self._rows // BLOCK), fences)
        self._put(self._layout.rows_at + 8 * self._layout.words * self._rows, block)
        self._sum = zlib.crc32(_bytes(block), self._sum)
        self._rows += len(block)
        places = _filter_places(block, self._layout.filter_words)
        starts = np.flatnonzero(np.diff(places, prepend=places[0] - 1))
        bits = np.bitwise_or.reduceat(_filter_bits(block), starts)
        begin, end = int(places[0]), int(places[-1])
        words = np.zeros(end - self._word + 1, dtype="<u8")
        words[0] = self._bits
        words[places[starts] - self._word] |= bits
        if begin < self._word:
            raise ValueError("rows of a run do not ascend")
        self._put(_HEADER + 8 * self._word, words[:-1])
        self._word, self._bits = end, words[-1]

    def _put(self, offset: int, values: npt.NDArray[Any]) -> None:
        view = _bytes(values)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view, offset = view[written:], offset + written


def _bytes(values: npt.NDArray[Any]) -> memoryview:
    return memoryview(np.ascontiguousarray(values).view(np.uint8).reshape(-1))  # type: ignore[arg-type]


def _read_header(path: Path, head: bytes, size: int) -> tuple[_Layout, int, int]:
    if len(head) == _HEADER:
        fields = head[: _FIELDS.size]
        magic, words, block, room, rows, filter_words, total = _FIELDS.unpack(fields)
        layout = _Layout(words, room)
        if (
            (magic, block) == (_MAGIC, BLOCK)
            and _SUM.unpack(head[_FIELDS.size :])[0] == zlib.crc32(fields)
            and filter_words == layout.filter_words
            and size == layout.rows_at + 8 * words * rows
        ):
            return layout, rows, total
    raise RunDamagedError(f"{path.name} is no complete run")


def _filter_places(keys: Words, words: int) -> npt.NDArray[np.int64]:
    """The filter's word of each key; ascending with the keys."""
    places = ((keys[:, 0] >> np.uint64(32)) * np.uint64(words)) >> np.uint64(32)
    return places.astype(np.int64)


def _filter_bits(keys: Words) -> Words:
    """Five bits of a word, from the key's second word."""
    second = keys[:, 1]
    bits = np.zeros(len(keys), dtype=np.uint64)
    for shift in _SHIFTS:
        bits |= np.uint64(1) << ((second >> np.uint64(shift)) & np.uint64(63))
    return bits


def _passes(filter_: Words, keys: Words) -> Mask:
    """Whether the filter allows that each key is there."""
    bits = _filter_bits(keys)
    allowed: Mask = (filter_[_filter_places(keys, len(filter_))] & bits) == bits
    return allowed

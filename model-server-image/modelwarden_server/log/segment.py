"""One segment file of the log: its name, its header, and walking through its frames.

Must not decide what to do about a bad frame: recovery and the reader do.
"""

import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelwarden_server.durable import sync_folder
from modelwarden_server.log.frames import HEADER_SIZE, MAGIC_BYTES, Header, decode_header, intact

_NAME = re.compile(r"^(\d{20})\.segment$")
_MAGIC = b"MWSEGM01"
_FIELDS = struct.Struct("<8s16s16sQ")  # magic, log, fingerprint of the schema, first sequence number
_SUM = struct.Struct("<I")
START = _FIELDS.size + _SUM.size


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment belongs to."""

    log: bytes
    fingerprint: bytes
    first: int


def salt_of(log: bytes) -> int:
    """What the checksums of a log's frames begin with."""
    return zlib.crc32(log)


def segment_path(folder: Path, first: int) -> Path:
    """The file of the segment whose first record is `first`."""
    return folder / f"{first:020d}.segment"


def segments_in(folder: Path) -> list[tuple[int, Path]]:
    """First sequence number and file of every segment, oldest first."""
    found = [(int(m[1]), p) for p in folder.iterdir() if (m := _NAME.match(p.name))]
    return sorted(found)


def create(folder: Path, header: SegmentHeader) -> int:
    """A new, empty, durable segment; returns its descriptor. Raises OSError, leaving no file."""
    path = segment_path(folder, header.first)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        write_all(fd, [encode_header(header)], 0)
        os.fsync(fd)
        sync_folder(folder)
    except BaseException:
        os.close(fd)
        path.unlink()
        raise
    return fd


def encode_header(header: SegmentHeader) -> bytes:
    """The header as bytes."""
    fields = _FIELDS.pack(_MAGIC, header.log, header.fingerprint, header.first)
    return fields + _SUM.pack(zlib.crc32(fields))


def read_header(data: bytes | memoryview | mmap.mmap) -> SegmentHeader | None:
    """The header of a segment, or None if it is torn or something else."""
    if len(data) < START:
        return None
    fields = data[: _FIELDS.size]
    magic, log, fingerprint, first = _FIELDS.unpack(fields)
    if magic != _MAGIC or zlib.crc32(fields) != _SUM.unpack(data[_FIELDS.size : START])[0]:
        return None
    return SegmentHeader(log, fingerprint, first)


def write_all(fd: int, pieces: list[bytes | memoryview], offset: int) -> int:
    """Write the pieces one after the other at `offset`; returns the offset behind them. Raises OSError."""
    waiting = [memoryview(piece).cast("B") for piece in pieces if len(piece)]
    while waiting:
        written = os.pwritev(fd, waiting[:512], offset)
        offset += written
        while waiting and written >= len(waiting[0]):
            written -= len(waiting.pop(0))
        if written:
            waiting[0] = waiting[0][written:]
    return offset


def frame_at(data: memoryview, offset: int, salt: int) -> Header | None:
    """The header of the intact frame at `offset`, or None if there is none."""
    header = decode_header(data[offset : offset + HEADER_SIZE], salt)
    if header is None:
        return None
    body = offset + HEADER_SIZE
    return header if intact(header, data[body : body + header.length]) else None


def frames_after(data: memoryview, mapped: mmap.mmap, offset: int, salt: int) -> Iterator[tuple[int, Header]]:
    """Every intact frame that begins after `offset`, wherever it begins: for judging what follows damage."""
    place = mapped.find(MAGIC_BYTES, offset + 1)
    while place >= 0:
        header = frame_at(data, place, salt)
        if header is None:
            place = mapped.find(MAGIC_BYTES, place + 1)
        else:
            yield place, header
            place = mapped.find(MAGIC_BYTES, place + HEADER_SIZE + header.length)

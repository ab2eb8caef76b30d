"""The keys and digests of the table's rows, beside the table: the index of ids is read from it at start.

A cache and nothing more. A frame goes with one data file and names it; a frame that is torn, or whose file
is not in the table as it is named, is not believed, and the rows are read from the table instead. So it is
neither synced nor verified further. Without it a start would open every file of the table.
"""

import logging
import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from modelwarden_server.durable import make_folder
from modelwarden_server.schema.compiled import DIGEST_FORMAT
from modelwarden_server.schema.digest import Words
from modelwarden_server.store.delta import TableFile

log = logging.getLogger(__name__)
_FIELDS = struct.Struct("<4sHQ32sII")  # magic, format of digests, version, file, rows, checksum of the rows
_SUM = struct.Struct("<I")
_MAGIC = b"MWID"
_SIZE = _FIELDS.size + _SUM.size


class IdJournal:
    """The journal of one table, in one file. Written by the table's writer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False

    def load(self, files: Iterable[TableFile]) -> tuple[list[Words], set[int]]:
        """Keys and digests (four words a row) by file, and the versions that they cover.

        What follows the first frame that cannot be believed is cut off.
        """
        wanted = {file.version: file for file in files}
        found: list[Words] = []
        covered: set[int] = set()
        end = 0
        data = _mapped(self._path)
        while (frame := _frame_at(data, end)) is not None:
            version, name, rows = frame
            file = wanted.get(version)
            if file is None or version in covered or (_name_of(file), file.rows) != (name, rows):
                break
            begin = end + _SIZE
            found.append(np.frombuffer(data[begin : begin + 32 * rows], dtype="<u8").reshape(-1, 4))
            covered.add(version)
            end = begin + 32 * rows
        if end < len(data):
            log.info("the journal of ids is believed up to byte %d of %d", end, len(data))
            self._cut(end)
        return found, covered

    def append(self, file: TableFile, identities: Sequence[Words]) -> None:
        """Add the rows of one file, four words each. Never raises: a full disk costs the next start time."""
        if self._failed:
            return
        rows = b"".join(part.tobytes() for part in identities)
        fields = _FIELDS.pack(
            _MAGIC, DIGEST_FORMAT, file.version, _name_of(file), len(rows) // 32, zlib.crc32(rows)
        )
        try:
            make_folder(self._path.parent)
            with self._path.open("ab") as out:
                out.write(fields + _SUM.pack(zlib.crc32(fields)) + rows)
        except OSError as error:
            # A hole would have the rest cut off at the next start: the rest can as well be left out.
            self._failed = True
            log.warning("the journal of ids is not written until the next start: %s", error.strerror)

    def _cut(self, size: int) -> None:
        try:
            os.truncate(self._path, size)
        except OSError:
            self._failed = True


def _mapped(path: Path) -> memoryview:
    """The file, not read into memory; empty if there is none."""
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        return memoryview(b"")


def _name_of(file: TableFile) -> bytes:
    """The random part of a file's name, 32 characters."""
    return file.name.removesuffix(".parquet")[-32:].encode()


def _frame_at(data: memoryview, place: int) -> tuple[int, bytes, int] | None:
    """Version, file and rows of the whole and intact frame at `place`, or None."""
    if len(data) - place < _SIZE:
        return None
    fields = data[place : place + _FIELDS.size]
    magic, form, version, name, rows, checksum = _FIELDS.unpack(fields)
    if (magic, form) != (_MAGIC, DIGEST_FORMAT):
        return None
    if _SUM.unpack_from(data, place + _FIELDS.size)[0] != zlib.crc32(fields):
        return None
    body = data[place + _SIZE : place + _SIZE + 32 * rows]
    return (version, name, rows) if len(body) == 32 * rows and zlib.crc32(body) == checksum else None

"""The highest acknowledged sequence number, in a file of its own, written after each sync and never synced.

It survives a kill (the page is the kernel's) and lags at worst after a power cut; it never leads. With it,
an acknowledged record that is missing at the end of the log is told from one that was never finished.
"""

import os
import struct
import zlib
from pathlib import Path

_FIELDS = struct.Struct("<Q")
_SUM = struct.Struct("<I")


class Mark:
    """The file `acknowledged` of a log."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "acknowledged"
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def read(self) -> int:
        """The number, 0 if there is none that can be read."""
        data = os.pread(self._fd, _FIELDS.size + _SUM.size, 0)
        if len(data) < _FIELDS.size + _SUM.size:
            return 0
        fields = data[: _FIELDS.size]
        if _SUM.unpack(data[_FIELDS.size :])[0] != zlib.crc32(fields):
            return 0
        return int(_FIELDS.unpack(fields)[0])

    def write(self, sequence: int) -> None:
        """Note that everything up to `sequence` has been acknowledged; on a full disk it lags."""
        fields = _FIELDS.pack(sequence)
        try:
            os.pwrite(self._fd, fields + _SUM.pack(zlib.crc32(fields)), 0)
        except OSError:
            return

    def close(self) -> None:
        """Release the file."""
        os.close(self._fd)

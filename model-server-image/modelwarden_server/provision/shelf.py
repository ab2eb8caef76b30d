"""Files that server pods fetch, kept under the SHA-256 of their bytes: written once, read, never changed.

<data>/server/files/<sha256>

Written in pieces: a file may be gigabytes. Must not know what a file is for: records elsewhere name it, and
what no record names is removed.
"""

import hashlib
import os
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from modelwarden_server.durable import make_folder, sync_folder

_NAME = re.compile(r"^[0-9a-f]{64}$")
_PIECE = 1 << 20


class FileShelf:
    """The files of one cell. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def kept(self, content: BinaryIO) -> Iterator[tuple[str, int]]:
        """Keep a file; its hash and bytes. Durable inside the block, where it is also safe from `keep_only`:
        whoever wants it to stay writes its record there. Raises OSError (a full disk).
        """
        make_folder(self._folder)
        sha256, size, temporary = self._copied(content)
        with self._lock:
            self._held[sha256] += 1
        try:
            temporary.replace(self._folder / sha256)
            sync_folder(self._folder)
            yield sha256, size
        finally:
            temporary.unlink(missing_ok=True)
            with self._lock:
                self._held[sha256] -= 1

    def path(self, sha256: str) -> Path | None:
        """Where the file of that hash is; None if there is none."""
        path = self._folder / sha256
        return path if _NAME.match(sha256) and path.is_file() else None

    def keep_only(self, named: Collection[str]) -> None:
        """Remove every file but these, and what a killed process left half written. Raises OSError."""
        with self._lock:
            for path in self._folder.iterdir() if self._folder.is_dir() else ():
                if path.name not in named and not self._held[path.name] and _NAME.match(path.name):
                    path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a killed process left half written. Before anything is kept."""
        for left in self._folder.glob(".arriving-*"):
            left.unlink(missing_ok=True)

    def _copied(self, content: BinaryIO) -> tuple[str, int, Path]:
        digest, size = hashlib.sha256(), 0
        content.seek(0)
        fd, name = tempfile.mkstemp(prefix=".arriving-", dir=self._folder)
        try:
            with os.fdopen(fd, "wb") as out:
                while piece := content.read(_PIECE):
                    digest.update(piece)
                    out.write(piece)
                    size += len(piece)
                out.flush()
                os.fsync(out.fileno())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return digest.hexdigest(), size, Path(name)

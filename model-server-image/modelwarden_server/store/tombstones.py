"""Ids that are not taken in again, kept as keyed hashes: nobody can tell from them what the ids were without
the key and the id itself.

<folder>/key                 32 random bytes, made with the first request
<folder>/<request>.stones    16 bytes an id

Must not keep an id. Any thread asks, one writes.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from modelwarden_server.durable import make_folder, replace_file
from modelwarden_server.schema.digest import Words
from modelwarden_server.store.ids import Known, Mask, SortedIdIndex

_SUFFIX = ".stones"


class Tombstones:
    """The forgotten ids of one cell."""

    def __init__(self, folder: Path) -> None:
        """Read what there is. Raises ValueError if there are tombstones without their key, or torn ones."""
        self._folder = folder
        self._known = SortedIdIndex()
        found = sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else []
        path = folder / "key"
        self._key = path.read_bytes() if path.is_file() else b""
        if found and len(self._key) != 32:
            raise ValueError(f"{path} is missing or damaged: forgotten ids could be taken in again")
        for file in found:
            content = file.read_bytes()
            if len(content) % 16:
                raise ValueError(f"{file} is damaged: forgotten ids could be taken in again")
            self._add(np.frombuffer(content, dtype="<u8").reshape(-1, 2))

    def __len__(self) -> int:
        return len(self._known)

    def put(self, request: str, keys: Words) -> None:
        """Keep the ids of these keys from being taken in again, durably. A second time changes nothing.

        Raises OSError.
        """
        if not self._key:
            make_folder(self._folder)
            self._key = os.urandom(32)
            replace_file(self._folder / "key", self._key)
        hashed = self._hashed(keys)
        replace_file(self._folder / f"{request}{_SUFFIX}", hashed.tobytes())
        self._add(hashed)

    def __call__(self, keys: Words) -> Mask:
        """Which of the keys are of forgotten ids."""
        if not len(self._known):
            return np.zeros(len(keys), dtype=np.bool_)
        hashed = self._hashed(keys)
        there: Mask = self._known.look_up(hashed, np.zeros_like(hashed)) != Known.NEW
        return there

    def fingerprint(self, text: str) -> str:
        """A keyed hash of something that is not to be kept itself. After the first `put`."""
        return hashlib.blake2b(text.encode(), digest_size=16, key=self._key, person=b"mw-audit").hexdigest()

    def _add(self, hashed: Words) -> None:
        self._known.add(hashed, np.zeros_like(hashed))

    def _hashed(self, keys: Words) -> Words:
        content = np.ascontiguousarray(keys).tobytes()
        joined = b"".join(
            hashlib.blake2b(content[i : i + 16], digest_size=16, key=self._key, person=b"mw-stone").digest()
            for i in range(0, len(content), 16)
        )
        return np.frombuffer(joined, dtype="<u8").reshape(-1, 2)

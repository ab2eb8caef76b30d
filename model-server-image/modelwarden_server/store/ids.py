"""Which inference ids have been taken in, and with what data: asked before a row reaches the log.

Keys and digests are 128 bits each (`schema.digest`); a key alone decides identity, a digest whether the
data are the same. Rebuilt from the tables and the log at start, so it keeps nothing on a disk. Not
thread-safe: one thread asks and adds.
"""

import enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from modelwarden_server.schema.digest import Words

RECENT = 4096


class Known(enum.IntEnum):
    """What is known of an id."""

    NEW = 0
    SAME = 1
    OTHER = 2


class IdIndex(Protocol):
    """The ids taken in."""

    def look_up(self, keys: Words, digests: Words) -> npt.NDArray[np.int8]:
        """A `Known` for each row of `keys`."""
        ...

    def add(self, keys: Words, digests: Words) -> None:
        """Take in ids that are new."""
        ...

    def __len__(self) -> int: ...

    @property
    def memory(self) -> int:
        """Bytes held."""
        ...


class SortedIdIndex:
    """Sorted arrays of 32 bytes an id, merged as they grow, before them a dictionary of the newest few.

    Each array is at least twice as long as the next, so there are at most log2(n / 4096) of them.
    """

    def __init__(self) -> None:
        self._recent: dict[bytes, bytes] = {}
        self._runs: list[Words] = []

    def __len__(self) -> int:
        return len(self._recent) + sum(len(run) for run in self._runs)

    @property
    def memory(self) -> int:
        """Bytes held: 32 an id, some 250 for each of the newest few."""
        return 250 * len(self._recent) + sum(run.nbytes for run in self._runs)

    def look_up(self, keys: Words, digests: Words) -> npt.NDArray[np.int8]:
        """See the protocol."""
        known = np.zeros(len(keys), dtype=np.int8)
        for run in self._runs:
            _look_up(run, keys, digests, known)
        if self._recent:
            key_bytes, digest_bytes = keys.tobytes(), digests.tobytes()
            for i in range(len(keys)):
                digest = self._recent.get(key_bytes[16 * i : 16 * i + 16])
                if digest is not None:
                    same = digest == digest_bytes[16 * i : 16 * i + 16]
                    known[i] = Known.SAME if same else Known.OTHER
        return known

    def add(self, keys: Words, digests: Words) -> None:
        """See the protocol."""
        if len(keys) >= RECENT:
            self._push(np.concatenate([keys, digests], axis=1))
            return
        key_bytes, digest_bytes = keys.tobytes(), digests.tobytes()
        for i in range(0, len(key_bytes), 16):
            self._recent[key_bytes[i : i + 16]] = digest_bytes[i : i + 16]
        if len(self._recent) >= RECENT:
            recent = b"".join(key + digest for key, digest in self._recent.items())
            self._recent = {}
            self._push(np.frombuffer(recent, dtype="<u8").reshape(-1, 4))

    def _push(self, rows: Words) -> None:
        """A new run; runs that are too short for what follows them are merged with it."""
        parts = [rows]
        size = len(rows)
        while self._runs and len(self._runs[-1]) < 2 * size:
            parts.append(self._runs.pop())
            size += len(parts[-1])
        joined = np.concatenate(parts) if len(parts) > 1 else rows
        parts.clear()  # the merged arrays are as large as all that are kept
        self._runs.append(joined[np.argsort(joined[:, 0], kind="stable")])


def _look_up(run: Words, keys: Words, digests: Words, known: npt.NDArray[np.int8]) -> None:
    """Note in `known` the keys found in a run. Keys whose first words are equal lie side by side in it."""
    first = run[:, 0]
    place = np.searchsorted(first, keys[:, 0])
    open_ = np.flatnonzero(place < len(run))
    while len(open_):
        at = place[open_]
        candidate = first[at] == keys[open_, 0]
        open_, at = open_[candidate], at[candidate]
        found = run[at, 1] == keys[open_, 1]
        same = (run[at, 2:] == digests[open_]).all(axis=1)
        known[open_[found]] = np.where(same[found], np.int8(Known.SAME), np.int8(Known.OTHER))
        open_ = open_[~found]
        place[open_] += 1
        open_ = open_[place[open_] < len(run)]

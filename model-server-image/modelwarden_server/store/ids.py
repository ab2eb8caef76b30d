"""Which inference ids have been taken in, and with what data: asked before a row reaches the log.

Keys and digests are 128 bits each (`schema.digest`); a key alone decides identity, a digest whether the
data are the same. This file has what is asked and the part that is in memory; `id_index` keeps the rest on
the disk.
"""

import enum
from collections.abc import MutableMapping
from concurrent.futures import Future
from typing import Protocol

import numpy as np
import numpy.typing as npt

from modelwarden_server.schema.digest import Words

RECENT = 4096
Mask = npt.NDArray[np.bool_]
Answers = npt.NDArray[np.int8]


class Known(enum.IntEnum):
    """What is known of an id.

    IN_FLIGHT: a row of that id is on its way to the log in another request: ask again once that is settled.
    FORGOTTEN: it was deleted on request, and is not taken in again.
    """

    NEW = 0
    SAME = 1
    OTHER = 2
    IN_FLIGHT = 3
    FORGOTTEN = 4


class IdOverlay(Protocol):
    """The ids of one upload while it is checked, over those taken in. Asked by one thread at a time."""

    def look_up(self, keys: Words, digests: Words) -> Answers:
        """A `Known` for each row: by the ids taken in, then by those added here. IN_FLIGHT where a request
        with rows has the id on its way.
        """
        ...

    def add(self, keys: Words, digests: Words) -> None:
        """Take in ids that are new; large numbers of them go to the disk. Raises OSError."""
        ...

    def take(self, keys: Words, digests: Words, kept: Mask) -> Answers:
        """Look up and add at once the new ones that are `kept`; an id that is twice among the keys is NEW
        the first time and SAME or OTHER after it.
        """
        ...

    def close(self) -> None:
        """The upload is over. Ids that were not adopted are free again."""
        ...


class IdIndex(Protocol):
    """The ids taken in."""

    @property
    def on_their_way(self) -> MutableMapping[bytes, tuple[bytes, "Future[int]"]]:
        """Keys of rows that were handed to the log and are not durable yet, with digest and future.

        Kept by the door, on its event loop.
        """
        ...

    def look_up(self, keys: Words, digests: Words) -> Answers:
        """A `Known` for each row of `keys`: NEW, SAME, OTHER or FORGOTTEN."""
        ...

    def in_flight(self, keys: Words) -> Mask:
        """Which of the keys an upload that is still being checked has taken: send again later."""
        ...

    def overlay(self) -> IdOverlay:
        """For checking an upload. One at a time: raises RuntimeError while another one is open."""
        ...

    def add(self, keys: Words, digests: Words) -> None:
        """Take in ids that are new. The log's thread does so before anyone hears that they are durable."""
        ...

    def __len__(self) -> int: ...

    @property
    def memory(self) -> int:
        """Bytes held."""
        ...


class SortedIdIndex:
    """Sorted arrays of 32 bytes an id, merged as they grow, before them a dictionary of the newest few.

    Each array is at least twice as long as the next, so there are at most log2(n / 4096) of them. One thread
    adds, any may ask: what is asked is replaced, never taken away.
    """

    def __init__(self) -> None:
        self._recent: dict[bytes, bytes] = {}
        self._runs: tuple[Words, ...] = ()

    def __len__(self) -> int:
        return len(self._recent) + sum(len(run) for run in self._runs)

    @property
    def memory(self) -> int:
        """Bytes held: 32 an id, some 250 for each of the newest few."""
        return 250 * len(self._recent) + sum(run.nbytes for run in self._runs)

    def look_up(self, keys: Words, digests: Words) -> Answers:
        """NEW, SAME or OTHER for each row of `keys`."""
        recent, runs = self._recent, self._runs  # in this order: ids go from the former to the latter
        known = np.zeros(len(keys), dtype=np.int8)
        for run in runs:
            _look_up(run, keys, digests, known)
        if recent:
            key_bytes, digest_bytes = keys.tobytes(), digests.tobytes()
            for i in range(len(keys)):
                digest = recent.get(key_bytes[16 * i : 16 * i + 16])
                if digest is not None:
                    same = digest == digest_bytes[16 * i : 16 * i + 16]
                    known[i] = Known.SAME if same else Known.OTHER
        return known

    def add(self, keys: Words, digests: Words) -> None:
        """Take in ids that are new."""
        if len(keys) >= RECENT:
            self._push(np.concatenate([keys, digests], axis=1))
            return
        key_bytes, digest_bytes = keys.tobytes(), digests.tobytes()
        for i in range(0, len(key_bytes), 16):
            self._recent[key_bytes[i : i + 16]] = digest_bytes[i : i + 16]
        if len(self._recent) >= RECENT:
            self._push(self._of_recent())
            self._recent = {}

    def rows(self) -> Words:
        """All of it, four words an id, in no order."""
        return np.concatenate([*self._runs, self._of_recent()])

    def _of_recent(self) -> Words:
        recent = b"".join(key + digest for key, digest in self._recent.items())
        return np.frombuffer(recent, dtype="<u8").reshape(-1, 4)

    def _push(self, rows: Words) -> None:
        """A new run; runs that are too short for what follows them are merged with it."""
        kept, parts, size = list(self._runs), [rows], len(rows)
        while kept and len(kept[-1]) < 2 * size:
            parts.append(kept.pop())
            size += len(parts[-1])
        joined = np.concatenate(parts) if len(parts) > 1 else rows
        parts.clear()  # the merged arrays are as large as all that are kept
        self._runs = (*kept, joined[np.argsort(joined[:, 0], kind="stable")])


def _look_up(run: Words, keys: Words, digests: Words, known: Answers) -> None:
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

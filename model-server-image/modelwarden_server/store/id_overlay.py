"""The ids of one upload while it is checked: over those taken in, and free again if it fails.

Must not outlive its upload. Asked by one thread at a time; `has` by any.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Protocol

import numpy as np

from modelwarden_server.schema.digest import Words
from modelwarden_server.store.ids import Answers, Known, Mask, SortedIdIndex
from modelwarden_server.store.run_file import Run


class Settled(Protocol):
    """The ids taken in, as far as an overlay asks."""

    @property
    def on_their_way(self) -> Mapping[bytes, tuple[bytes, "Future[int]"]]: ...

    @property
    def most_in_memory(self) -> int:
        """How many ids an overlay holds before they go to the disk."""
        ...

    def look_up(self, keys: Words, digests: Words) -> Answers: ...

    def loose(self, rows: Words) -> Run: ...

    def release(self, overlay: "Overlay") -> None: ...


class Overlay:
    """See IdOverlay."""

    def __init__(self, index: Settled, number: int) -> None:
        self.number = number
        self.newest = SortedIdIndex()
        self.spilled: list[Run] = []
        self._index = index

    def __len__(self) -> int:
        return len(self.newest) + sum(run.rows for run in self.spilled)

    def has(self, keys: Words) -> Mask:
        """Which of the keys were added here."""
        taken: Mask = self.newest.look_up(keys, keys) != Known.NEW
        for run in list(self.spilled):
            taken[run.find(keys)[0]] = True
        return taken

    def look_up(self, keys: Words, digests: Words) -> Answers:
        """See IdOverlay."""
        known = self._index.look_up(keys, digests)
        known = np.where(known == Known.NEW, self.newest.look_up(keys, digests), known)
        for run in self.spilled:
            places, rows = run.find(keys)
            same = (run.table[rows, 2:] == digests[places]).all(axis=1)
            known[places] = np.where(same, np.int8(Known.SAME), np.int8(Known.OTHER))
        pending = self._index.on_their_way
        if pending:
            key_bytes = keys.tobytes()
            for i in np.flatnonzero(known == Known.NEW).tolist():
                if key_bytes[16 * i : 16 * i + 16] in pending:
                    known[i] = Known.IN_FLIGHT
        return known

    def add(self, keys: Words, digests: Words) -> None:
        """See IdOverlay."""
        self.newest.add(keys, digests)
        if len(self.newest) >= self._index.most_in_memory:
            self.spilled.append(self._index.loose(self.newest.rows()))
            self.newest = SortedIdIndex()

    def take(self, keys: Words, digests: Words, kept: Mask) -> Answers:
        """See IdOverlay."""
        known = self.look_up(keys, digests)
        new = np.flatnonzero((known == Known.NEW) & kept)
        if len(new):
            _, first, group = np.unique(keys[new], axis=0, return_index=True, return_inverse=True)
            before = new[first[group.reshape(-1)]]
            again = before != new
            same = (digests[new] == digests[before]).all(axis=1)
            known[new[again]] = np.where(same[again], np.int8(Known.SAME), np.int8(Known.OTHER))
            new = new[~again]
            self.add(keys[new], digests[new])
        return known

    def close(self) -> None:
        """See IdOverlay."""
        self._index.release(self)
        for run in self.spilled:
            run.path.unlink(missing_ok=True)
        self.spilled = []

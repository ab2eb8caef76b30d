"""The ids taken in, most of them on the disk: the newest in memory, the rest in sorted runs.

    add ──► newest (memory) ──flush──► runs on the disk ──merge──► fewer, longer runs

A thread of its own flushes and merges. What is on the disk is kept together with the position in the log
and the version of the table that it certainly reaches: at a start it is believed only if the table has come
as far with the same log, and what is above is added from the table and the log. It can be removed at any
time: then it is made anew from the table. Must not decide what becomes of a row.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelwarden_server.schema.compiled import DIGEST_FORMAT
from modelwarden_server.schema.digest import Words
from modelwarden_server.store.id_overlay import Overlay
from modelwarden_server.store.ids import Answers, Known, Mask, SortedIdIndex
from modelwarden_server.store.run_file import Run, RunDamagedError
from modelwarden_server.store.runs import MergeStoppedError, RunSet

log = logging.getLogger(__name__)
FLUSH_ROWS = 1 << 18
FLUSH_VERSIONS = 64
_REST = 1.0


@dataclass(frozen=True)
class Reach:
    """What ids are certainly there: all of the log's rows up to `position`, committed by `version`."""

    log: str
    position: int
    version: int

    def facts(self) -> dict[str, Any]:
        """As they are kept with the runs."""
        return {
            "digests": DIGEST_FORMAT,
            "log": self.log,
            "position": self.position,
            "version": self.version,
        }

    def covers(self, facts: Mapping[str, Any]) -> bool:
        """Whether what was kept is not beyond this."""
        return (
            (facts.get("digests"), facts.get("log")) == (DIGEST_FORMAT, self.log)
            and facts["position"] <= self.position
            and facts["version"] <= self.version
        )


class TieredIdIndex:
    """See the module's text, and `IdIndex` for the meaning of the methods."""

    def __init__(self, folder: Path, forgotten: Callable[[Words], Mask] | None = None) -> None:
        self.on_their_way: dict[bytes, tuple[bytes, Future[int]]] = {}
        self.problem: str | None = None
        """Why ids are not brought to the disk at the moment, or None."""
        self.failure: str | None = None
        """Why answers cannot be believed any more, or None. The next start makes the index anew."""
        self._disk = RunSet(folder, payload_words=2)
        self._forgotten = forgotten
        self._newest = SortedIdIndex()
        self._flushing: SortedIdIndex | None = None
        self._open: Overlay | None = None
        self._uploads = 0
        self._named: dict[str, Overlay] = {}
        self._adding = threading.Lock()
        self._tending = threading.RLock()
        self._wake = threading.Event()
        self._stopping = False
        self._reach: Reach | None = None
        self._kept: Reach | None = None
        self._thread = threading.Thread(target=self._run, name="ids", daemon=True)

    def load(self, reach: Reach) -> int:
        """Take what was kept, if it is not beyond `reach`; returns the version of the table whose rows it has
        (-1: none), above which ids have to be added.
        """
        facts = self._disk.load(reach.covers).facts
        version = -1 if facts is None else int(facts["version"])
        if facts is not None:
            self._kept = Reach(reach.log, int(facts["position"]), version)
        return version

    def __len__(self) -> int:
        flushing = self._flushing
        return len(self._newest) + (0 if flushing is None else len(flushing)) + len(self._disk)

    @property
    def memory(self) -> int:
        """Bytes held, without mapped pages."""
        flushing = self._flushing
        return self._newest.memory + (0 if flushing is None else flushing.memory) + self._disk.memory

    @property
    def kept_version(self) -> int:
        """The version of the table up to which ids are certainly on the disk, -1 if there is none."""
        return -1 if self._kept is None else self._kept.version

    def look_up(self, keys: Words, digests: Words) -> Answers:
        """See IdIndex."""
        newest, flushing = self._newest, self._flushing  # in this order: ids go from the former to the latter
        known = newest.look_up(keys, digests)
        if flushing is not None:
            known = np.maximum(known, flushing.look_up(keys, digests))
        open_ = np.flatnonzero(known == Known.NEW)
        if len(open_):
            known[open_] = self._on_disk(keys[open_], digests[open_])
        if self._forgotten is not None:
            known[self._forgotten(keys)] = Known.FORGOTTEN
        return known

    def in_flight(self, keys: Words) -> Mask:
        """See IdIndex."""
        taken = np.zeros(len(keys), dtype=np.bool_)
        for overlay in [*([] if self._open is None else [self._open]), *list(self._named.values())]:
            taken |= overlay.has(keys)
        return taken

    def add(self, keys: Words, digests: Words) -> None:
        """See IdIndex."""
        with self._adding:
            self._newest.add(keys, digests)

    def add_missing(self, rows: Words) -> None:
        """Add those of the rows (four words each) whose ids are not there: for a start."""
        known = self.look_up(rows[:, :2], rows[:, 2:])
        missing = rows[(known == Known.NEW) | (known == Known.FORGOTTEN)]
        self.add(missing[:, :2], missing[:, 2:])
        if len(self._newest) >= 4 * FLUSH_ROWS:
            self._spill()

    @property
    def most_in_memory(self) -> int:
        """How many ids are held before they go to the disk."""
        return FLUSH_ROWS

    def uploads(self) -> frozenset[int]:
        """Numbers of the uploads that are being checked or on their way to the log."""
        open_ = self._open
        return frozenset(o.number for o in (*list(self._named.values()), *([open_] if open_ else [])))

    def overlay(self) -> Overlay:
        """See IdIndex."""
        if self._open is not None:
            raise RuntimeError("an upload is being checked: one at a time")
        self._uploads += 1
        self._open = Overlay(self, self._uploads)
        return self._open

    def name(self, overlay: Overlay, file: str) -> None:
        """The overlay has the ids of the staged file of this name, which is on its way to the log."""
        self._named[file] = overlay
        if self._open is overlay:
            self._open = None

    def settle(self, file: str, *, durable: bool) -> bool:
        """What has become of a staged file: its ids are taken in, or free. False if its ids are not known."""
        overlay = self._named.get(file)
        if overlay is None:
            return False
        if durable:
            with self._adding:
                rows = overlay.newest.rows()
                self._newest.add(rows[:, :2], rows[:, 2:])
                self._disk.take_over(overlay.spilled)
                overlay.spilled = []
        del self._named[file]
        overlay.close()
        return True

    def adopt(self, overlay: Overlay) -> None:
        """An overlay that was not named: its ids are durable. Nothing is done if they were adopted before."""
        name = f"overlay {id(overlay)}"
        if self._open is overlay:
            self.name(overlay, name)
            self.settle(name, durable=True)

    def committed(self, reach: Reach) -> None:
        """The table has come so far; all its ids have been added before."""
        self._reach = reach
        if self._due():
            self._wake.set()

    def start(self) -> None:
        """Begin to check, flush and merge in the background."""
        if self._disk.unchecked:
            self._wake.set()
        self._thread.start()

    def stop(self) -> None:
        """Bring to the disk what is not there, and end the thread."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def flush(self) -> None:
        """Bring the newest ids to the disk, and keep what is there. Raises OSError; nothing is lost then."""
        with self._tending:
            reach = self._reach
            if reach is None or reach == self._kept or self.failure is not None:
                return
            self._spill()
            self._disk.keep(reach.facts())
            self._kept = reach

    def drop(self, keys: Words) -> int:
        """Remove ids, on the disk too. Raises OSError; then it may be repeated."""
        with self._tending:
            if self._disk.unchecked:
                raise OSError("the index of ids is still being checked: ids are dropped later")
            self._spill()
            dropped = self._disk.drop(keys)
            if self._kept is not None:
                self._disk.keep(self._kept.facts())
            return dropped

    def clear_kept(self) -> None:
        """Have the next start make the index anew. Raises OSError."""
        with self._tending:
            self._kept = None
            self._disk.forget_kept()

    def _spill(self) -> None:
        with self._adding:
            if self._flushing is None and len(self._newest):
                self._flushing, self._newest = self._newest, SortedIdIndex()
        if self._flushing is not None:
            self._disk.add(self._flushing.rows())
            self._flushing = None

    def _on_disk(self, keys: Words, digests: Words) -> Answers:
        known = np.zeros(len(keys), dtype=np.int8)
        places, found = self._disk.find(keys)
        same = (found == digests[places]).all(axis=1)
        known[places] = np.where(same, np.int8(Known.SAME), np.int8(Known.OTHER))
        return known

    def _due(self) -> bool:
        reach = self._reach
        return reach is not None and (
            len(self._newest) >= FLUSH_ROWS or reach.version - self.kept_version >= FLUSH_VERSIONS
        )

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait()
            self._wake.clear()
            with self._told():
                if self._due() and not self._stopping:
                    self.flush()
                while not self._stopping and self._checked():
                    pass
                while not self._stopping and self._merged():
                    pass
        with self._told():
            self.flush()

    def _checked(self) -> bool:
        """Check what was too much to be read at the start, before it is merged with anything."""
        if self.failure is not None:
            return False
        try:
            return self._disk.check()
        except RunDamagedError as error:
            self.clear_kept()
            self.failure = f"the index of ids is damaged ({error}): it is made anew at the next start"
            log.critical("%s", self.failure)
            return False

    def _merged(self) -> bool:
        if self.failure is not None:
            return False
        with self._tending:
            return self._disk.merge_once(_REST, lambda: self._stopping)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The thread's edge: without room for ids on the disk they stay in memory until there is."""
        try:
            with suppress(MergeStoppedError):
                yield
            self.problem = None
        except OSError as error:
            self.problem = f"the index of ids cannot be written: {error.strerror}"
            log.warning("%s", self.problem)

    def loose(self, rows: Words) -> Run:
        """A run for an overlay. Raises OSError."""
        return self._disk.loose(rows)

    def release(self, overlay: Overlay) -> None:
        """The overlay is closed."""
        if self._open is overlay:
            self._open = None

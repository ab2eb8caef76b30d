"""Fixed-width payloads by 16-byte keys, for more keys than fit in memory: sorted runs in one folder.

    runs = RunSet(folder, payload_words=2)
    runs.add(rows)                        # (n, 4): two words of the key, two of the payload
    places, payload = runs.find(keys)     # which of the keys are known, and their payload

A set holds what was written with `add`, newest first for a key that is there twice. `merge_once` keeps the
number of runs small (each at least three times as long as all after it together) and is meant for a thread in
the background. What survives a crash is what `keep` named last; other files in the folder are removed when it
is opened. Must not know what keys mean. One thread changes the set; any thread may ask.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from modelwarden_server.durable import make_folder, replace_file, sync_folder
from modelwarden_server.store.run_file import Run, RunDamagedError, Words, write_run

log = logging.getLogger(__name__)
_CHUNK = 1 << 16
_ROUNDS_MAPPED = 16
_FACTOR = 3
CHECKED_BYTES = 128 << 20
"""So much of a set is read and compared with its checksums when it is loaded; the rest waits for `check`."""
_MANIFEST = "kept.json"
_FORMAT = 1


class MergeStoppedError(Exception):
    """A merge was told to stop."""


@dataclass(frozen=True)
class _Pace:
    """How a merge makes room for others, and who can stop it."""

    rest: float = 0.0
    stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Kept:
    """What a set was found to hold: the facts given to `keep`, or none if nothing can be believed."""

    facts: Mapping[str, Any] | None


class RunSet:
    """See the module's text."""

    def __init__(self, folder: Path, payload_words: int) -> None:
        """An empty set over `folder`; `load` brings back what was kept."""
        self._folder = folder
        self._words = 2 + payload_words
        self._runs: tuple[Run, ...] = ()
        self._change = threading.Lock()
        self._kept_names: frozenset[str] = frozenset()
        self._obsolete: list[Path] = []
        self._unchecked: tuple[Run, ...] = ()

    @property
    def unchecked(self) -> tuple[Run, ...]:
        """Runs that were loaded and have not been compared with their checksums yet."""
        return self._unchecked

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs, oldest first."""
        return self._runs

    @property
    def memory(self) -> int:
        """Bytes of memory, without mapped pages."""
        return sum(run.memory for run in self._runs)

    def __len__(self) -> int:
        """Rows, a key that was added twice counted twice until its runs are merged."""
        return sum(run.rows for run in self._runs)

    def load(self, believed: Callable[[Mapping[str, Any]], bool], check_bytes: int | None = None) -> Kept:
        """Open what was kept, if `believed` says so of its facts and no run is damaged: of so many
        bytes (CHECKED_BYTES) that is found out now, of the rest by `check`. Files that nobody names are
        removed.
        """
        make_folder(self._folder)
        facts, names = self._manifest()
        if facts is not None and believed(facts):
            try:
                self._runs = tuple(self._opened(name) for name in names)
                self._kept_names = frozenset(names)
                self._unchecked = _checked(self._runs, CHECKED_BYTES if check_bytes is None else check_bytes)
            except (RunDamagedError, OSError) as error:
                log.warning("%s is not used and made anew: %s", self._folder.name, error)
                facts = None
        else:
            facts = None
        if facts is None:
            self._runs, self._kept_names, self._unchecked = (), frozenset(), ()
            (self._folder / _MANIFEST).unlink(missing_ok=True)
        for path in self._folder.iterdir():
            if path.name != _MANIFEST and path.name not in self._kept_names:
                path.unlink()
        return Kept(facts)

    def check(self) -> bool:
        """Compare one of the unchecked runs with its checksum; False if there are none left. Before that
        they must not be rewritten: what is damaged would become credible. Raises RunDamagedError.
        """
        if not self._unchecked:
            return False
        _checked(self._unchecked[:1], self._unchecked[0].bytes)
        self._unchecked = self._unchecked[1:]
        return True

    def find(self, keys: Words) -> tuple[npt.NDArray[np.int64], Words]:
        """Places (ascending) of the keys that are known, and their payloads: the newest of each."""
        payload = np.zeros((len(keys), self._words - 2), dtype=np.uint64)
        known = np.zeros(len(keys), dtype=np.bool_)
        for run in self._runs:
            places, rows = run.find(keys)
            if len(places):
                payload[places] = run.table[rows, 2:]
                known[places] = True
        places = np.flatnonzero(known)
        return places, payload[places]

    def add(self, rows: Words) -> None:
        """A run of these rows, in any order. On the disk when this returns; kept by the next `keep`."""
        if len(rows):
            self.add_sorted([_sorted(rows)], len(rows))

    def add_sorted(self, blocks: Iterable[Words], room: int) -> None:
        """A run of blocks of rows that ascend by the first word; at most `room` of them."""
        run = self._written(blocks, room)
        with self._change:
            self._runs = (*self._runs, run)

    def loose(self, rows: Words) -> Run:
        """A run in this folder that is not of the set yet: for `take_over`, or for the caller to remove."""
        return self._written([_sorted(rows)], len(rows))

    def take_over(self, loose: Sequence[Run]) -> None:
        """Loose runs become the newest of the set."""
        with self._change:
            self._runs = (*self._runs, *loose)

    def keep(self, facts: Mapping[str, Any]) -> None:
        """From here on a crash leaves the set as it is now, with these facts. Raises OSError."""
        runs = self._runs
        sync_folder(self._folder)
        content = {
            "format": _FORMAT,
            "words": self._words,
            "facts": dict(facts),
            "runs": [run.path.name for run in runs],
        }
        replace_file(self._folder / _MANIFEST, msgspec.json.encode(content))
        self._kept_names = frozenset(run.path.name for run in runs)
        self._remove_obsolete()

    def forget_kept(self) -> None:
        """Nothing is kept any more: the next `load` begins empty. Raises OSError."""
        (self._folder / _MANIFEST).unlink(missing_ok=True)
        sync_folder(self._folder)

    def clear(self) -> None:
        """Remove all runs."""
        with self._change:
            self._obsolete += [run.path for run in self._runs]
            self._runs, self._kept_names, self._unchecked = (), frozenset(), ()
        self._remove_obsolete()

    def merge_once(self, rest: float = 0.0, stop: Callable[[], bool] = lambda: False) -> bool:
        """Merge the newest runs that are too short for what follows them; False if there are none.

        After each chunk it rests for `rest` times what the chunk took, so that others have the processor.
        Readers go on with the old runs until the new one is there. Raises OSError, and MergeStoppedError,
        leaving everything as it was, when `stop` says so.
        """
        old = _to_merge(self._runs)
        if len(old) < 2:
            return False
        self._replace(old, None, _Pace(rest, stop))
        return True

    def drop(self, keys: Words) -> int:
        """Rewrite the runs that have any of the keys without them; returns how many rows went."""
        dropped = 0
        unwanted = _sorted(keys)
        for run in self._runs:
            places, _ = run.find(keys)
            if len(places):
                self._replace((run,), unwanted, _Pace())
                dropped += len(places)
        return dropped

    def _replace(self, old: Sequence[Run], unwanted: Words | None, pace: "_Pace") -> None:
        """Put one run in the place of adjacent ones."""
        room = sum(run.rows for run in old)
        new = self._written(_paced(_merged(old, unwanted), pace), room)
        with self._change:
            at = self._runs.index(old[0])
            kept = [new] if new.rows else []
            self._runs = (*self._runs[:at], *kept, *self._runs[at + len(old) :])
            self._obsolete += [run.path for run in old]
            if not kept:
                self._obsolete.append(new.path)
        self._remove_obsolete()

    def _remove_obsolete(self) -> None:
        """Remove files that neither the set nor what was kept names."""
        with self._change:
            gone = [path for path in self._obsolete if path.name not in self._kept_names]
            self._obsolete = [path for path in self._obsolete if path.name in self._kept_names]
        for path in gone:
            path.unlink(missing_ok=True)

    def _written(self, blocks: Iterable[Words], room: int) -> Run:
        make_folder(self._folder)
        path = self._folder / f"{uuid.uuid4().hex}.run"
        return write_run(path, blocks, room=room, words=self._words)

    def _opened(self, name: str) -> Run:
        run = Run(self._folder / name)
        if run.words != self._words:
            raise RunDamagedError(f"{name} has rows of another width")
        return run

    def _manifest(self) -> tuple[dict[str, Any] | None, list[str]]:
        try:
            content = msgspec.json.decode((self._folder / _MANIFEST).read_bytes())
            if (content["format"], content["words"]) != (_FORMAT, self._words):
                return None, []
            return dict(content["facts"]), [str(name) for name in content["runs"]]
        except (OSError, msgspec.DecodeError, KeyError, TypeError):
            return None, []


def _checked(runs: Sequence[Run], most: int) -> tuple[Run, ...]:
    """Check runs until so many bytes are read; returns those that are left. Raises RunDamagedError."""
    left = []
    for run in sorted(runs, key=lambda run: run.bytes):
        most -= run.bytes
        if most < 0:
            left.append(run)
        elif not run.intact():
            raise RunDamagedError(f"{run.path.name} does not hold what was written")
    return tuple(left)


def _sorted(rows: Words) -> Words:
    ordered: Words = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    return ordered


def _to_merge(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The newest runs that have grown too long for the one before them."""
    start, total = len(runs), 0
    while start and (total == 0 or runs[start - 1].rows < _FACTOR * total):
        start -= 1
        total += runs[start].rows
    return tuple(runs[start:])


def _paced(blocks: Iterable[Words], pace: _Pace) -> Iterator[Words]:
    started = time.monotonic()
    for block in blocks:
        yield block
        if pace.stop():
            raise MergeStoppedError
        if pace.rest:
            time.sleep(pace.rest * (time.monotonic() - started))
        started = time.monotonic()


def _merged(runs: Sequence[Run], unwanted: Words | None = None) -> Iterator[Words]:
    """Rows of runs in one order, a bounded number at a time; of a key that is there twice the last run's."""
    tables = [run.table for run in runs]
    places, rounds = [0] * len(tables), 0
    while any(place < len(table) for place, table in zip(places, tables, strict=True)):
        rounds += 1
        if rounds % _ROUNDS_MAPPED == 0:
            for run in runs:
                run.release_pages()
        chunks = [table[place : place + _CHUNK] for place, table in zip(places, tables, strict=True)]
        bound = _bound(chunks, places, tables)
        parts = []
        for number, chunk in enumerate(chunks):
            count = len(chunk) if bound is None else int(np.searchsorted(chunk[:, 0], bound, side="left"))
            parts.append(np.asarray(chunk[:count]))
            places[number] += count
        yield _without(_distinct(np.concatenate(parts)), unwanted)


def _bound(chunks: Sequence[Words], places: Sequence[int], tables: Sequence[Words]) -> np.uint64 | None:
    """Rows below this first word are all in the chunks; None if the chunks are all there is.

    A chunk is longer than any number of keys with equal first words, so every round takes some.
    """
    lasts = [
        chunk[-1, 0]
        for chunk, place, table in zip(chunks, places, tables, strict=True)
        if len(chunk) and place + len(chunk) < len(table)
    ]
    return min(lasts) if lasts else None


def _distinct(rows: Words) -> Words:
    """Sorted; of rows with the same key the last given one."""
    rows = _sorted(rows)  # stable: equal keys stay in the order of their runs
    if len(rows) < 2:
        return rows
    last = np.ones(len(rows), dtype=np.bool_)
    last[:-1] = (rows[1:, :2] != rows[:-1, :2]).any(axis=1)
    kept: Words = rows if last.all() else rows[last]
    return kept


def _without(rows: Words, unwanted: Words | None) -> Words:
    if unwanted is None or not len(rows):
        return rows
    place = np.searchsorted(unwanted[:, 0], rows[:, 0], side="left")
    gone = np.zeros(len(rows), dtype=np.bool_)
    open_ = np.flatnonzero(place < len(unwanted))
    while len(open_):
        at = place[open_]
        candidate = unwanted[at, 0] == rows[open_, 0]
        hit = candidate & (unwanted[at, 1] == rows[open_, 1])
        gone[open_[hit]] = True
        again = candidate & ~hit
        open_ = open_[again]
        place[open_] += 1
        open_ = open_[place[open_] < len(unwanted)]
    kept: Words = rows[~gone]
    return kept

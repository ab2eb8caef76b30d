"""Which labels are in the table, with what data, and which of them still wait for their inference.

A fold over the tables of labels and inferences, made by a thread of its own some moments after each commit:

    by id: digest and arrival of the newest label, and whether its inference has not been seen

The digest tells a label that is sent again; the flags make the count of labels that wait. Kept on the disk in
sorted runs together with the versions of the tables that they reach; made anew from the tables if that is
lost. Must not decide what is stored.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.schema.compiled import ARRIVAL_TIME, DIGEST_FORMAT, ID
from modelwarden_server.schema.digest import RowDigester, Words, id_keys
from modelwarden_server.store.delta import TableFile
from modelwarden_server.store.ids import Known
from modelwarden_server.store.listening import Settled
from modelwarden_server.store.rows_table import RowsTable
from modelwarden_server.store.runs import MergeStoppedError, RunSet

log = logging.getLogger(__name__)
FLUSH_LABELS = 1 << 15
KEEP_VERSIONS = 64
_ROWS_AT_ONCE = 8192
_DROPPED_AT_ONCE = 1 << 20
_WORDS = 3
"""Two of the digest, whose lowest bit tells that the label waits, and one of the arrival."""
_RETRY_SECONDS = 5.0
_WAITING = np.uint64(1)
_DIGEST = ~_WAITING
Mask = npt.NDArray[np.bool_]


class SeenIds(Protocol):
    """Tells the ids of inferences that were taken in."""

    def look_up(self, keys: Words, digests: Words) -> npt.NDArray[np.int8]:
        """A `Known` for each; the digests do not matter here."""
        ...


@dataclass(frozen=True, slots=True)
class _Reached:
    """Versions of the tables whose rows have been taken in, and the labels that wait for an inference."""

    truth: int = -1
    inferences: int = -1
    waiting: int = 0


@dataclass(frozen=True)
class LabelSources:
    """What the index is made from, and who is told how many labels wait. `record`: a label's own columns."""

    inferences: RowsTable
    truth: RowsTable
    ids: SeenIds
    record: pa.Schema
    waiting: Callable[[int], None]


class LabelIndex:
    """See the module's text. `digests` and `keys` are of `schema.digest`; a listener of the writer."""

    def __init__(self, folder: Path, sources: LabelSources) -> None:
        self._sources = sources
        self._digester = RowDigester(sources.record, but=ID)
        self._runs = RunSet(folder, payload_words=_WORDS)
        self._newest: dict[bytes, bytes] = {}
        self._reached = self._kept = _Reached()
        self._work = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="labels", daemon=True)

    def load(self) -> None:
        """Take what was kept, if the tables have come as far."""
        facts = self._runs.load(self._believed).facts
        if facts is not None:
            self._reached = self._kept = _Reached(
                *(int(facts[n]) for n in ("truth", "inferences", "waiting"))
            )

    def start(self) -> None:
        """Catch up, and go on doing so in the background."""
        self._wake.set()
        self._thread.start()

    def close(self) -> None:
        """Stop, and keep how far it has come; what cannot be kept is made anew from the tables."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._reached != self._kept:
            try:
                with self._work:
                    self._flush()
                    self._keep()
            except OSError as error:
                log.warning("the index of labels was not kept: %s", error)

    @property
    def current(self) -> bool:
        """Whether every label that is in the table is known here."""
        return self._reached.truth >= self._sources.truth.version

    def find(self, keys: Words) -> tuple[Mask, Words]:
        """Which ids have a label, and of the newest three words: digest (see `comparable`) and arrival.

        Any thread may ask.
        """
        newest = self._newest  # before the runs: labels go from here to there
        known = np.zeros(len(keys), dtype=np.bool_)
        payload = np.zeros((len(keys), _WORDS), dtype=np.uint64)
        places, found = self._runs.find(keys)
        known[places], payload[places] = True, found
        if newest:
            key_bytes = keys.tobytes()
            for i in range(len(keys)):
                entry = newest.get(key_bytes[16 * i : 16 * i + 16])
                if entry is not None:
                    known[i], payload[i] = True, np.frombuffer(entry, dtype="<u8")
        return known, payload

    def drop(self, keys: Words) -> None:
        """Forget the labels of these ids. Raises OSError; then it may be repeated."""
        with self._work:
            self._drop(keys)

    def retire(self, files: Sequence[TableFile]) -> None:
        """These files of labels are about to be removed for their age: labels that are the newest of their id
        go from here too, and wait no more. Raises OSError, pyarrow.ArrowInvalid; then it may be repeated.
        """
        with self._work:
            held: list[Words] = []
            for batch in self._sources.truth.read(files, [ID, ARRIVAL_TIME]):
                keys = id_keys(batch.column(ID).to_pylist())
                known, payload = self.find(keys)
                held.append(keys[known & (payload[:, 2] <= _arrivals(batch))])
                if sum(map(len, held)) >= _DROPPED_AT_ONCE:
                    self._drop(np.concatenate(held))
                    held = []
            if held:
                self._drop(np.concatenate(held))
            self._sources.waiting(self._reached.waiting)

    def fold(self, _version: int, _batches: Sequence[pa.RecordBatch]) -> None:
        """See CommitListener: the rows are read from the table."""
        self._wake.set()

    def behind(self, _version: int) -> None:
        """See CommitListener."""
        self._wake.set()

    def fold_truth(self, _version: int, _batches: Sequence[pa.RecordBatch]) -> None:
        """See CommitListener: the rows are read from the table."""
        self._wake.set()

    def behind_truth(self, _version: int) -> None:
        """See CommitListener."""
        self._wake.set()

    def settled(self) -> Settled:
        """See CommitListener: as far as it is kept."""
        return Settled(self._kept.inferences, self._kept.truth)

    def retired(self, _slices: Sequence[int], _batches: Sequence[str]) -> None:
        """See CommitListener: labels whose inference goes are not waiting for it."""
        self.catch_up()

    def catch_up(self) -> None:
        """Take in all that the tables have now. Raises OSError, pyarrow.ArrowInvalid."""
        with self._work:
            self._take_labels()
            self._take_inferences()
            self._sources.waiting(self._reached.waiting)
            reached, kept = self._reached, self._kept
            ahead = max(reached.truth - kept.truth, reached.inferences - kept.inferences)
            if ahead >= KEEP_VERSIONS:
                self._flush()
                self._keep()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait()
            self._wake.clear()
            try:
                self.catch_up()
                while not self._stopping and self._merged():
                    pass
            except MergeStoppedError:
                return
            except (OSError, pa.ArrowException) as error:
                log.warning("labels are not counted at the moment: %s", error)
                self._again_later()
            except Exception:  # the thread's edge: counts of labels must not stop the cell
                log.exception("labels are not counted")
                self._again_later()

    def _again_later(self) -> None:
        deadline = time.monotonic() + _RETRY_SECONDS
        while not self._stopping and time.monotonic() < deadline:
            self._wake.wait(deadline - time.monotonic())
            self._wake.clear()
        self._wake.set()

    def _merged(self) -> bool:
        with self._work:
            return self._runs.merge_once(stop=lambda: self._stopping)

    def _take_labels(self) -> None:
        table = self._sources.truth
        version = table.version
        files = [file for file in table.files_added(self._reached.truth) if file.version <= version]
        for batch in table.read(files, [*self._sources.record.names, ARRIVAL_TIME]):
            for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                self._take(batch.slice(start, _ROWS_AT_ONCE))
        self._reached = _Reached(version, self._reached.inferences, self._reached.waiting)

    def _take(self, batch: pa.RecordBatch) -> None:
        """Of two labels for one id the one that arrived later stays, or stands later in the table."""
        keys = id_keys(batch.column(ID).to_pylist())
        digests = comparable(self._digester.digests(batch))
        before, old = self.find(keys)
        unseen = self._sources.ids.look_up(keys, digests) == Known.NEW
        # A label that came before still waits, if its inference has not been folded since.
        digests[:, 1] |= np.where(before, old[:, 1] & _WAITING, unseen.astype(np.uint64))
        arrivals = _arrivals(batch)
        payload = np.concatenate([digests, arrivals[:, None]], axis=1)
        latest = np.where(before, old[:, 2], np.uint64(0)).tolist()
        key_bytes, rows, width = keys.tobytes(), payload.tobytes(), 8 * _WORDS
        waiting = 0
        for i, arrival in enumerate(arrivals.tolist()):
            key = key_bytes[16 * i : 16 * i + 16]
            entry = self._newest.get(key)
            waiting += bool(unseen[i]) and not before[i] and entry is None
            if arrival >= (latest[i] if entry is None else int.from_bytes(entry[16:], "little")):
                self._newest[key] = rows[width * i : width * (i + 1)]
        self._count(waiting)

    def _take_inferences(self) -> None:
        table = self._sources.inferences
        version = table.version
        if self._reached.waiting:
            files = [file for file in table.files_added(self._reached.inferences) if file.version <= version]
            for batch in table.read(files, [ID]):
                self._arrived(id_keys(batch.column(ID).to_pylist()))
        self._reached = _Reached(self._reached.truth, version, self._reached.waiting)

    def _arrived(self, keys: Words) -> None:
        known, payload = self.find(keys)
        waited = known & ((payload[:, 1] & _WAITING) == _WAITING)
        payload[:, 1] &= _DIGEST
        for place in np.flatnonzero(waited):
            self._newest[keys[place].tobytes()] = payload[place].tobytes()
        self._count(-int(waited.sum()))

    def _drop(self, keys: Words) -> None:
        self._flush()
        keys = np.unique(keys, axis=0)
        known, payload = self.find(keys)
        self._count(-int((known & ((payload[:, 1] & _WAITING) == _WAITING)).sum()))
        self._runs.drop(keys)
        self._keep()

    def _count(self, more: int) -> None:
        r = self._reached
        self._reached = _Reached(r.truth, r.inferences, r.waiting + more)
        if len(self._newest) >= FLUSH_LABELS:
            self._flush()

    def _flush(self) -> None:
        if self._newest:
            rows = b"".join(key + payload for key, payload in self._newest.items())
            self._runs.add(np.frombuffer(rows, dtype="<u8").reshape(-1, 2 + _WORDS))
            self._newest = {}

    def _keep(self) -> None:
        r = self._reached
        self._runs.keep(
            {
                "digests": DIGEST_FORMAT,
                "truth": r.truth,
                "inferences": r.inferences,
                "waiting": r.waiting,
            }
        )
        self._kept = r

    def _believed(self, facts: Mapping[str, Any]) -> bool:
        return (
            facts.get("digests") == DIGEST_FORMAT
            and facts["truth"] <= self._sources.truth.version
            and facts["inferences"] <= self._sources.inferences.version
        )


def _arrivals(batch: pa.RecordBatch) -> Words:
    arrivals: Words = batch.column(ARRIVAL_TIME).cast(pa.int64()).to_numpy().astype(np.uint64)
    return arrivals


def comparable(digests: Words) -> Words:
    """Digests as they are compared: two words, without the one bit that the index uses itself."""
    cleared = digests[:, :2].copy()
    cleared[:, 1] &= _DIGEST
    return cleared

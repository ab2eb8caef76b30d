"""From parsed labels to an answer: which are new, which came before with the same data, which are left out.

A label that came before with the same data is a success again, and stored once; with other data it is stored
as well: the newest by arrival counts, the older stays visible. Nobody asks whether its inference is there:
labels may come first. Belongs to one event loop; only the log's futures come from elsewhere.
"""

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden.resources.cell import CellSettings
from modelwarden_server.door.durability import check_room, until_durable
from modelwarden_server.door.sampling import sampled
from modelwarden_server.log.protocol import Kind, Record
from modelwarden_server.schema.compiled import ID
from modelwarden_server.schema.digest import RowDigester, Words, id_keys
from modelwarden_server.schema.parsed import ParsedLabels
from modelwarden_server.store.ids import Known
from modelwarden_server.store.labels import LabelIndex, comparable
from modelwarden_server.store.store import Store

Mask = npt.NDArray[np.bool_]
MOST_PENDING = 200_000
_MANY = 4096


@dataclass(frozen=True)
class IdentifiedLabels:
    """Parsed labels with the keys of their ids and the digests of their data."""

    parsed: ParsedLabels
    keys: Words
    digests: Words


@dataclass(frozen=True)
class TakenLabels:
    """What became of the parsed labels; `forgotten` are rows whose inference was deleted on request."""

    forgotten: npt.NDArray[np.int64]
    accepted: int
    repeated: int
    sampled_out: int


@dataclass(frozen=True)
class LabelVerdicts:
    """What each label is: to be stored, known, left out with its inference, or forgotten; and whom to wait
    for.
    """

    new: Mask
    repeated: Mask
    left_out: Mask
    forgotten: Mask
    waits: "frozenset[Future[int]]"


@dataclass(slots=True)
class LabelUpload:
    """Labels of one request or file that were judged: of one that changes, what counts from then on."""

    changed: dict[bytes, bytes] = field(default_factory=dict)
    trusting: bool = True


class LabelIntake:
    """Takes labels into one store. `pending` are labels that the index may not know yet."""

    def __init__(self, store: Store, index: LabelIndex) -> None:
        self._store = store
        self._index = index
        self._digester = RowDigester(store.schema.truth_record, but=ID)
        self._pending: dict[bytes, tuple[bytes, Future[int]]] = {}
        self._unknown: list[Future[int]] = []
        self._complete = True

    def identified(self, parsed: ParsedLabels) -> IdentifiedLabels:
        """The labels with keys and digests. Any thread may ask."""
        keys = id_keys(parsed.labels.column(0).to_pylist())
        return IdentifiedLabels(parsed, keys, self.digests(parsed.labels))

    def digests(self, labels: pa.RecordBatch) -> Words:
        """Digests of labels' data. Any thread may ask."""
        return self._digester.digests(labels)

    async def take(self, labels: IdentifiedLabels, settings: CellSettings) -> TakenLabels:
        """Have the labels durable. Raises Refusal (503) when they are not: then none of them is promised."""
        check_room(self._store, settings)
        verdicts = self.judged(labels.keys, labels.digests, settings.ingest.sampling.share, LabelUpload())
        waits = set(verdicts.waits)
        if verdicts.new.any():
            batch = labels.parsed.labels
            batch = batch if verdicts.new.all() else batch.filter(pa.array(verdicts.new))
            payload = memoryview(batch.serialize())
            arrival = self._store.arrival()
            record = Record(Kind.GROUND_TRUTH, batch.num_rows, payload, arrival, settings.generation)
            done = self._store.log.append([record])
            waits.add(done)
            self.sent(labels.keys[verdicts.new], labels.digests[verdicts.new], done)
        await until_durable(waits)
        taken = TakenLabels(
            forgotten=np.flatnonzero(verdicts.forgotten),
            accepted=int(verdicts.new.sum()),
            repeated=int(verdicts.repeated.sum()),
            sampled_out=int(verdicts.left_out.sum()),
        )
        self._store.ledger.labels_left(taken.repeated, taken.sampled_out)
        return taken

    def judged(self, keys: Words, digests: Words, share: float, upload: LabelUpload) -> LabelVerdicts:
        """What each label is. A label of an inference that sampling leaves out is left out like it."""
        known = self._store.ids.look_up(keys, digests)
        forgotten = known == Known.FORGOTTEN
        unseen = known == Known.NEW
        left_out = unseen & ~sampled(keys, share)
        if left_out.any():
            left_out &= ~self._on_their_way(keys)
        open_ = ~(forgotten | left_out)
        same = np.zeros(len(keys), dtype=np.bool_)
        places = np.flatnonzero(open_)
        same[places], waits = self.same(keys[places], digests[places], upload)
        return LabelVerdicts(open_ & ~same, same, left_out, forgotten, waits)

    def same(self, keys: Words, digests: Words, upload: LabelUpload) -> "tuple[Mask, frozenset[Future[int]]]":
        """Which labels have the data of the newest one for their id; whose durability that depends on.

        What is not known for certain is not the same: a label that is stored twice changes no number.
        """
        self._settle()
        same = np.zeros(len(keys), dtype=np.bool_)
        waits: set[Future[int]] = set()
        if not (self._complete and self._trusted(upload)):
            return same, frozenset()
        known, payload = self._index.find(keys)
        key_bytes, digest_bytes = keys.tobytes(), comparable(digests).tobytes()
        indexed = comparable(payload).tobytes()
        for i in range(len(keys)):
            part = slice(16 * i, 16 * i + 16)
            key, digest = key_bytes[part], digest_bytes[part]
            pending = self._pending.get(key)
            before = upload.changed.get(key)
            if before is None:
                before = pending[0] if pending else indexed[part] if known[i] else None
            same[i] = before == digest
            if same[i]:
                waits.update([pending[1]] if pending else ())
            elif before is not None:
                upload.changed[key] = digest
        return same, frozenset(waits)

    def sent(self, keys: Words, digests: Words, done: "Future[int]") -> None:
        """These labels were handed to the log, in this order."""
        if not self._complete or len(self._pending) + len(keys) > MOST_PENDING:
            self.sent_unseen(done)
            return
        key_bytes, digest_bytes = keys.tobytes(), comparable(digests).tobytes()
        for i in range(0, len(key_bytes), 16):
            self._pending[key_bytes[i : i + 16]] = (digest_bytes[i : i + 16], done)
        loop = asyncio.get_running_loop()

        def settled(done: "Future[int]") -> None:
            if done.exception() is not None:
                loop.call_soon_threadsafe(self.sent_unseen, done)

        done.add_done_callback(settled)

    def sent_unseen(self, done: "Future[int]") -> None:
        """Labels of a file were handed to the log: until they are in the index, no label is known."""
        self._unknown += [done, *(entry[1] for entry in self._pending.values() if not entry[1].done())]
        self._pending.clear()
        self._complete = False

    def _settle(self) -> None:
        """Once all that is durable is in the index, only what is on its way has to be known besides."""
        if self._complete and len(self._pending) < _MANY:
            return
        if not all(done.done() for done in self._unknown):
            return
        if self._store.ledger.totals.labels_on_their_way or not self._index.current:
            return
        self._pending = {key: entry for key, entry in self._pending.items() if not entry[1].done()}
        self._unknown.clear()
        self._complete = True

    def _trusted(self, upload: LabelUpload) -> bool:
        if len(upload.changed) > MOST_PENDING:
            upload.trusting = False
            upload.changed.clear()
        return upload.trusting

    def _on_their_way(self, keys: Words) -> Mask:
        """Ids that are being taken in: they were kept by the sampling of that moment."""
        pending = self._store.ids.on_their_way
        key_bytes = keys.tobytes()
        here = [key_bytes[i : i + 16] in pending for i in range(0, len(key_bytes), 16)]
        mask: Mask = np.array(here, dtype=np.bool_) | self._store.ids.in_flight(keys)
        return mask

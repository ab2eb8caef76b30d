"""From parsed rows to an answer: what is known already, what is left out, what goes into the log, who waits.

The id rule: the same id with the same data is a success again and stored once; with other data it is that
row's 409. Rows on their way to the log count as known, but whoever refers to one waits until it is durable
or fails with it. Belongs to one event loop; only the log's futures come from elsewhere.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden.resources.cell import CellSettings
from modelwarden_server.door.durability import check_room, until_durable
from modelwarden_server.door.label_intake import LabelIntake, LabelUpload
from modelwarden_server.door.sampling import sampled
from modelwarden_server.log.protocol import Kind, Record
from modelwarden_server.schema.compiled import BATCH, IDENTITY
from modelwarden_server.schema.digest import Words, packed
from modelwarden_server.schema.parsed import ParsedRows
from modelwarden_server.store.ids import Known
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal

Shut = Callable[[Sequence[str]], frozenset[str]]
CONFLICT = "partner_inference_id: was sent before with other data; what is stored is not changed"
FORGOTTEN = "partner_inference_id: was forgotten on request; it is not taken in again"
Mask = npt.NDArray[np.bool_]


def no_batch(_names: Sequence[str]) -> frozenset[str]:
    """No batch is closed where there are none."""
    return frozenset()


@dataclass(frozen=True)
class Identified:
    """Parsed rows with the keys of their ids and the digests of their data, and of their labels' data."""

    parsed: ParsedRows
    keys: Words
    digests: Words
    truth_digests: Words


@dataclass(frozen=True)
class Taken:
    """What became of the parsed rows, by index of the row."""

    conflicts: npt.NDArray[np.int64]
    forgotten: npt.NDArray[np.int64]
    shut: Mapping[int, str]
    """Rows of a batch that takes no more, and which."""
    accepted: int
    repeated: int
    sampled_out: int


@dataclass(slots=True)
class _Decision:
    """Flags of each row: to be stored, known, left out by sampling, contradicting; and whom to wait for."""

    new: Mask
    repeated: Mask
    left_out: Mask
    conflict: Mask
    forgotten: Mask
    shut: dict[int, str]
    waits: "set[Future[int]]" = field(default_factory=set)


class Intake:
    """Takes rows into one store."""

    def __init__(self, store: Store, labels: LabelIntake, shut: Shut = no_batch) -> None:
        """`shut` tells which of some batches take no more rows."""
        self._store, self._labels, self._shut = store, labels, shut
        self._pending = store.ids.on_their_way

    async def settle(self) -> None:
        """Wait until the rows that were handed to the log are durable, or failed."""
        waiting = {done for _, done in self._pending.values()}
        await asyncio.gather(*map(asyncio.wrap_future, waiting), return_exceptions=True)

    async def take(self, rows: Identified, settings: CellSettings) -> Taken:
        """Have the rows durable. Raises Refusal (503) when they are not: then none of them is promised."""
        check_room(self._store, settings)
        decision = self._decide(rows, settings.ingest.sampling.share)
        fresh = self._fresh_labels(rows, decision)
        records = self._records(rows, decision, fresh, settings.generation)
        if records:
            done = self._store.log.append(records)
            decision.waits.add(done)
            self._claim(rows, decision.new, done)
            if fresh.any():
                keys = rows.keys[rows.parsed.truth_rows[fresh]]
                self._labels.sent(keys, rows.truth_digests[fresh], done)
        await until_durable(decision.waits)
        taken = Taken(
            conflicts=np.flatnonzero(decision.conflict),
            forgotten=np.flatnonzero(decision.forgotten),
            shut=decision.shut,
            accepted=int(decision.new.sum()),
            repeated=int(decision.repeated.sum()),
            sampled_out=int(decision.left_out.sum()),
        )
        self._store.ledger.repeated(taken.repeated)
        return taken

    def _decide(self, rows: Identified, share: float) -> _Decision:
        count = rows.parsed.rows.num_rows
        known = self._store.ids.look_up(rows.keys, rows.digests)
        decision = _Decision(
            new=np.zeros(count, np.bool_),
            repeated=known == Known.SAME,
            left_out=np.zeros(count, np.bool_),
            conflict=known == Known.OTHER,
            forgotten=known == Known.FORGOTTEN,
            shut={},
        )
        if self._store.ids.in_flight(rows.keys[known == Known.NEW]).any():
            busy = "a file with some of these ids is being checked: send again later"
            raise Refusal(503, busy, retry_after=5)
        kept = sampled(rows.keys, share)
        batches = rows.parsed.rows.column(BATCH)
        shut = self._shut(pc.unique(batches).to_pylist()) if batches.null_count < count else frozenset()
        here: dict[bytes, bytes] = {}
        keys, digests = rows.keys.tobytes(), rows.digests.tobytes()
        for i in np.flatnonzero(known == Known.NEW).tolist():
            key, digest = keys[16 * i : 16 * i + 16], digests[16 * i : 16 * i + 16]
            before = here.get(key)
            if before is None and (claim := self._pending.get(key)) is not None:
                before = claim[0]
                decision.waits.add(claim[1])
            if before is not None:
                (decision.repeated if before == digest else decision.conflict)[i] = True
            elif shut and (name := batches[i].as_py()) in shut:
                decision.shut[i] = name
            elif kept[i]:
                decision.new[i] = True
                here[key] = digest
            else:
                decision.left_out[i] = True
        return decision

    def _fresh_labels(self, rows: Identified, decision: _Decision) -> Mask:
        """Which labels are to be stored: of rows that are new or known, and not known with the same data."""
        fresh: Mask = (decision.new | decision.repeated)[rows.parsed.truth_rows]
        places = np.flatnonzero(fresh)
        if len(places):
            keys = rows.keys[rows.parsed.truth_rows[places]]
            same, waits = self._labels.same(keys, rows.truth_digests[places], LabelUpload())
            fresh[places] = ~same
            decision.waits |= waits
            self._store.ledger.labels_left(int(same.sum()), 0)
        return fresh

    def _records(self, rows: Identified, decision: _Decision, fresh: Mask, generation: int) -> list[Record]:
        """The log's records of a request: rows that are new, labels that are `fresh`."""
        arrival = self._store.arrival()
        records = []
        left_out = int(decision.left_out.sum())
        if decision.new.any() or left_out:
            identities = packed(rows.keys, rows.digests)
            batch = rows.parsed.rows.append_column(IDENTITY, identities)
            batch = _filtered(batch, decision.new)
            records.append(_record(Kind.INFERENCES, batch, arrival, generation, left_out))
        if fresh.any():
            batch = _filtered(rows.parsed.truth, fresh)
            records.append(_record(Kind.GROUND_TRUTH, batch, arrival, generation, 0))
        return records

    def _claim(self, rows: Identified, new: Mask, done: "Future[int]") -> None:
        """Until the new rows are durable or lost, whoever sends their ids is referred to them."""
        keys, digests = rows.keys[new], rows.digests[new]
        claimed = [keys[i].tobytes() for i in range(len(keys))]
        for key, digest in zip(claimed, digests, strict=True):
            self._pending[key] = (digest.tobytes(), done)
        loop = asyncio.get_running_loop()

        def settle() -> None:
            for key in claimed:
                del self._pending[key]

        done.add_done_callback(lambda _: loop.call_soon_threadsafe(settle))


def _filtered(batch: pa.RecordBatch, mask: Mask) -> pa.RecordBatch:
    return batch if mask.all() else batch.filter(pa.array(mask))


def _record(kind: Kind, batch: pa.RecordBatch, arrival: int, generation: int, sampled_out: int) -> Record:
    payload: memoryview | bytes = memoryview(batch.serialize()) if batch.num_rows else b""
    return Record(kind, batch.num_rows, payload, arrival, generation, sampled_out)


def message_of(place_of_row: Sequence[int], taken: Taken) -> dict[int, str]:
    """Places in the request of the rows that contradict what is stored."""
    refused = {int(place_of_row[row]): CONFLICT for row in taken.conflicts}
    refused |= {int(place_of_row[row]): FORGOTTEN for row in taken.forgotten}
    return refused | {int(place_of_row[row]): closed_reason(name) for row, name in taken.shut.items()}


def closed_reason(batch: str) -> str:
    """Why a row of a closed batch is refused."""
    return f"batch_id: batch {batch[:100]!a} is closed, it takes no more rows"

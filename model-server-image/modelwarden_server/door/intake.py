"""From parsed rows to an answer: what is known already, what is left out, what goes into the log, who waits.

The id rule: the same id with the same data is a success again and stored once; with other data it is that
row's 409. Rows on their way to the log count as known, but whoever refers to one waits until it is durable
or fails with it. Belongs to one event loop; only the log's futures come from elsewhere.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden.resources.cell import CellSettings
from modelwarden_server.log.protocol import Kind, LogFailedError, LogFullError, Record
from modelwarden_server.schema.compiled import IDENTITY
from modelwarden_server.schema.digest import Words, packed
from modelwarden_server.schema.parsed import ParsedRows
from modelwarden_server.store.ids import Known
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal

CONFLICT = "partner_inference_id: was sent before with other data; what is stored is not changed"
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Identified:
    """Parsed rows with the keys of their ids and the digests of their data."""

    parsed: ParsedRows
    keys: Words
    digests: Words


@dataclass(frozen=True)
class Taken:
    """What became of the parsed rows, by index of the row."""

    conflicts: npt.NDArray[np.int64]
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
    waits: "set[Future[int]]" = field(default_factory=set)


class Intake:
    """Takes rows into one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: dict[bytes, tuple[bytes, Future[int]]] = {}

    async def take(self, rows: Identified, settings: CellSettings) -> Taken:
        """Have the rows durable. Raises Refusal (503) when they are not: then none of them is promised."""
        limit = settings.ingest.limits.max_log_bytes
        if self._store.log.waiting >= limit:
            raise Refusal(
                503,
                f"{limit} bytes wait in the log for the tables (ingest.limits.maxLogSize): send again later",
                retry_after=5,
            )
        decision = self._decide(rows, settings.ingest.sampling.share)
        records = self._records(rows, decision, settings.generation)
        if records:
            done = self._store.log.append(records)
            decision.waits.add(done)
            self._claim(rows, decision.new, done)
        await _durable(decision.waits)
        taken = Taken(
            conflicts=np.flatnonzero(decision.conflict),
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
        )
        kept = _sampled(rows.keys, share)
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
            elif kept[i]:
                decision.new[i] = True
                here[key] = digest
            else:
                decision.left_out[i] = True
        return decision

    def _records(self, rows: Identified, decision: _Decision, generation: int) -> list[Record]:
        """The log's records of a request; labels go along with rows that are new or known, as they may."""
        arrival = int(self._store.clock() * 1e6)
        records = []
        left_out = int(decision.left_out.sum())
        if decision.new.any() or left_out:
            identities = packed(rows.keys, rows.digests)
            batch = rows.parsed.rows.append_column(IDENTITY, identities)
            batch = _filtered(batch, decision.new)
            records.append(_record(Kind.INFERENCES, batch, arrival, generation, left_out))
        labelled = (decision.new | decision.repeated)[rows.parsed.truth_rows]
        if labelled.any():
            batch = _filtered(rows.parsed.truth, labelled)
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
            if done.exception() is None and len(keys):
                self._store.ids.add(keys, digests)

        done.add_done_callback(lambda _: loop.call_soon_threadsafe(settle))


async def _durable(waits: "set[Future[int]]") -> None:
    """Wait for all; a failed one means that nothing can be promised. Raises Refusal (503)."""
    try:
        for done in waits:
            await asyncio.wrap_future(done)
    except LogFullError as error:
        raise Refusal(
            503, f"{error}: nothing of this request was taken in, send it again later", retry_after=5
        ) from None
    except LogFailedError as error:
        raise Refusal(503, f"{error}: send the request again later", retry_after=10) from None


def _sampled(keys: Words, share: float) -> Mask:
    """Which ids are kept: those whose hash is in the lower `share` of its range. The same id always alike."""
    if share >= 1.0:
        return np.ones(len(keys), np.bool_)
    kept: Mask = keys[:, 0].astype(np.float64) < share * 2.0**64
    return kept


def _filtered(batch: pa.RecordBatch, mask: Mask) -> pa.RecordBatch:
    return batch if mask.all() else batch.filter(pa.array(mask))


def _record(kind: Kind, batch: pa.RecordBatch, arrival: int, generation: int, sampled_out: int) -> Record:
    payload: memoryview | bytes = memoryview(batch.serialize()) if batch.num_rows else b""
    return Record(kind, batch.num_rows, payload, arrival, generation, sampled_out)


def message_of(place_of_row: Sequence[int], taken: Taken) -> dict[int, str]:
    """Places in the request of the rows that contradict what is stored."""
    return {int(place_of_row[row]): CONFLICT for row in taken.conflicts}

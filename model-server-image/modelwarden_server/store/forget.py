"""Deletes rows on request: from both tables, the index of ids and the log, so that they do not come back.

    accepted ── look up ids, tombstones ──► deleting ── rewrite files, cut log ──► deleted ── vacuum ──► done

Each step may be interrupted and is then done again from where the request's file and the tables stand: what
is deleted is not found a second time, and the count of deleted rows is in the entry that deletes them. Part
of maintenance: its thread, one request at a time. Must not talk to clients.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.schema.compiled import ID
from modelwarden_server.schema.digest import id_keys
from modelwarden_server.store.delta import AppendTable, TableFile
from modelwarden_server.store.forget_requests import ForgetRequest, ForgetRequests, Removed
from modelwarden_server.store.rewriting import rows_without
from modelwarden_server.store.store import Store
from modelwarden_server.store.tombstones import Tombstones
from modelwarden_server.store.writer import FORGOTTEN

FLUSH_SECONDS = 30.0
DropImages = Callable[[set[str]], int]


class NotYetError(OSError):
    """Rows of the request are still on their way: it is tried again."""


@dataclass
class Forgetting:
    """A duty of maintenance. `image_columns` hold names of images, which `drop_images` removes if no row that
    stays has them.
    """

    store: Store
    requests: ForgetRequests
    tombstones: Tombstones
    image_columns: tuple[str, ...] = ()
    drop_images: DropImages = lambda _: 0
    _uploads: dict[str, frozenset[int]] = field(default_factory=dict)
    _replaced_at: dict[str, float] = field(default_factory=dict)

    def attend(self) -> bool:
        """See Duty: one step of the oldest request that has one."""
        for request in self.requests.all():
            if request.state == "accepted":
                self._begin(request)
                return True
            if request.state == "deleting":
                self._delete(request)
                return True
            if request.state == "deleted" and self._vacuumed(request):
                self.requests.write(replace(request, state="done", done_at=self._now()))
                return True
        return False

    def accept(self, request: ForgetRequest) -> None:
        """Take a request: durable, and its ids are refused from now on. Raises OSError."""
        self.requests.write(request)
        if request.ids is not None:
            self.tombstones.put(request.id, id_keys(list(request.ids)))

    def _begin(self, request: ForgetRequest) -> None:
        """Have everything that was acknowledged before in the tables and out of the log, and find out which
        ids it is about.
        """
        uploads = self._uploads.setdefault(request.id, self.store.ids.uploads())
        if uploads & self.store.ids.uploads():
            raise NotYetError("a request to forget waits for an upload that began before it")
        self.store.log.rotate()
        if not self.store.writer.flush(FLUSH_SECONDS) or not self._cut(self.store.writer.position):
            raise NotYetError("a request to forget waits for rows that are on their way")
        ids = request.ids if request.ids is not None else tuple(self._found(request))
        self.tombstones.put(request.id, id_keys(list(ids)))
        subject = repr(sorted(ids)) if request.attribute is None else f"{request.attribute}={request.value!r}"
        self.requests.write(
            replace(
                request,
                state="deleting",
                ids=ids,
                before=self._totals(),
                known_ids=len(ids),
                fingerprint=self.tombstones.fingerprint(subject),
            )
        )

    def _delete(self, request: ForgetRequest) -> None:
        assert request.ids is not None
        assert request.before is not None
        wanted = pa.array(request.ids, pa.string())
        tables = self.store.tables
        images = self._delete_from(tables.inferences, wanted)
        self._delete_from(tables.truth, wanted)
        dropped = self.drop_images(images) if images else 0
        keys = id_keys(list(request.ids))
        self.store.ids.drop(keys)
        for drop in self.store.on_forget:
            drop(keys)
        total, before = self._totals(), request.before
        removed = Removed(
            total.inferences - before.inferences,
            total.ground_truth - before.ground_truth,
            request.removed.images + dropped,
        )
        now = self._now()
        self.requests.write(replace(request.audit, state="deleted", removed=removed, deleted_at=now))
        self._replaced_at[request.id] = time.monotonic()

    def _cut(self, position: int) -> bool:
        """Wait until the log has no record up to the position any more; False after a while."""
        deadline = time.monotonic() + FLUSH_SECONDS
        while self.store.log.first <= position:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def _delete_from(self, table: AppendTable, wanted: pa.Array) -> set[str]:
        """Delete rows by id, a file a commit; returns the images that they named."""
        images: set[str] = set()
        for file in table.files:
            if not self._has(table, file, wanted):
                continue
            images |= self._images_of(table, file, wanted)
            change = rows_without(table, file, lambda batch: _without(batch, wanted))
            gone = file.rows - change.new[0].rows
            forgotten = (table.transaction(FORGOTTEN) or 0) + gone
            table.replace(change, {FORGOTTEN: forgotten})
            if table is self.store.tables.inferences:
                self.store.ledger.removed(forgotten=gone)
        return images

    def _has(self, table: AppendTable, file: TableFile, wanted: pa.Array) -> bool:
        return any(pc.any(pc.is_in(b.column(0), wanted)).as_py() for b in table.read([file], [ID]))

    def _images_of(self, table: AppendTable, file: TableFile, wanted: pa.Array) -> set[str]:
        columns = [name for name in self.image_columns if name in table.schema.names]
        found: set[str] = set()
        for batch in table.read([file], [ID, *columns]) if columns else ():
            rows = batch.filter(pc.is_in(batch.column(0), wanted))
            for column in columns:
                found.update(rows.column(column).drop_null().to_pylist())
        return found

    def _found(self, request: ForgetRequest) -> Iterator[str]:
        """The ids of rows that have the value, each once."""
        tables = self.store.tables
        seen: set[str] = set()
        for table in (tables.inferences, tables.truth):
            name = request.attribute
            if name is None or name not in table.schema.names:
                continue
            value = pa.scalar(request.value, table.schema.field(name).type)
            for batch in table.read(table.files, [ID, name]):
                hit = pc.equal(batch.column(name), value)
                for found in batch.column(ID).filter(hit).to_pylist():
                    if found not in seen:
                        seen.add(found)
                        yield found

    def _vacuumed(self, request: ForgetRequest) -> bool:
        """Whether files with the rows are off the disk: after a start they are, else after the grace time."""
        replaced = self._replaced_at.get(request.id)
        grace = self.store.maintenance.pace.grace
        if replaced is not None and time.monotonic() - replaced < grace:
            return False
        for table in (self.store.tables.inferences, self.store.tables.truth):
            table.vacuum(grace)
        return True

    def _totals(self) -> Removed:
        tables = self.store.tables
        return Removed(
            tables.inferences.transaction(FORGOTTEN) or 0, tables.truth.transaction(FORGOTTEN) or 0
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.store.clock(), UTC)


def _without(batch: pa.RecordBatch, wanted: pa.Array) -> pa.RecordBatch:
    return batch.filter(pc.invert(pc.is_in(batch.column(batch.schema.get_field_index(ID)), wanted)))

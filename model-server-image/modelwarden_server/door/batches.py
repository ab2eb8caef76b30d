"""The documented doors of batches, and the list of all data sets of a model.

GET   /api/v3/models/{id}/datasets              reference data and batches
GET   /api/v3/models/{id}/batches
GET   /api/v3/models/{id}/batches/{batch}
PATCH /api/v3/models/{id}/batches/{batch}       {"status": "uploaded", "total_record_count": N}

A batch is closed when all rows that were acknowledged before are in the table and counted there. From the
moment of the request on no row of it is taken in; if the count does not fit, the batch opens again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden.resources.report import BatchReport
from modelwarden_server.cell import Cell
from modelwarden_server.door.bodies import read_json
from modelwarden_server.door.reference import described as described_reference
from modelwarden_server.store.batches import Batch, BatchCountError, Batches, UnknownBatchError
from modelwarden_server.store.datasets import Dataset
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal, check_model, json_answer

BARRIER_SECONDS = 30.0


class _Close(msgspec.Struct):
    status: str
    total_record_count: int | None = None


class BatchRoom:
    """Batches of one cell. `settle` waits until what other rooms have appended to the log is durable."""

    def __init__(
        self,
        cell: Cell,
        settle: Callable[[], Awaitable[None]],
        references: Callable[[], Sequence[Dataset]],
    ) -> None:
        self._cell, self._settle, self._references = cell, settle, references
        self._batches: Batches | None = None

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        model = "/api/v3/models/{id}"
        return [
            Route(f"{model}/datasets", self.datasets, methods=["GET"]),
            Route(f"{model}/batches", self.list, methods=["GET"]),
            Route(f"{model}/batches/{{batch:path}}", self.show, methods=["GET"]),
            Route(f"{model}/batches/{{batch:path}}", self.close_batch, methods=["PATCH"]),
        ]

    def attach(self, store: Store) -> CommitListener | None:
        """See Room. A model without batches has nothing to count."""
        if not self._cell.schema.is_batch:
            return None
        folder = store.folders.root / "batches"
        self._batches = Batches(folder, store.tables.inferences, store.clock)
        self._batches.catch_up()
        return self._batches

    def status(self) -> dict[str, Any]:
        """See Room."""
        if self._batches is None:
            return {}
        with contextlib.suppress(OSError, pa.ArrowException):
            self._batches.catch_up()
        open_ones, closed = self._batches.totals()
        return {"batches": BatchReport(open=open_ones, closed=closed)}

    def close(self) -> None:
        """See Room."""
        if self._batches is not None:
            self._batches.keep()

    def closed(self, most: int) -> Sequence[Batch]:
        """The batches that were closed last, newest first."""
        return () if self._batches is None else self._batches.closed(most)

    def shut(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of these batches that take no more rows."""
        return frozenset() if self._batches is None else self._batches.shut(ids)

    async def datasets(self, request: Request) -> Response:
        """Reference data and batches in the documented shape."""
        check_model(request, self._cell.identity)
        found = [
            {**described_reference(self._cell.identity.model_id, dataset), "type": "reference"}
            for dataset in self._references()
        ]
        found += [{**self._described(batch), "type": "batch"} for batch in await self._all()]
        return json_answer(found)

    async def list(self, request: Request) -> Response:
        """All batches, oldest first."""
        check_model(request, self._cell.identity)
        return json_answer([self._described(batch) for batch in await self._all()])

    async def show(self, request: Request) -> Response:
        """One batch: 200, or 404."""
        check_model(request, self._cell.identity)
        batches = await self._counted()
        try:
            found = await asyncio.to_thread(batches.get, request.path_params["batch"])
        except UnknownBatchError as error:
            raise Refusal(404, str(error)) from None
        return json_answer(self._described(found))

    async def close_batch(self, request: Request) -> Response:
        """Close a batch with the stated number of rows: 200, or 400 with both numbers."""
        check_model(request, self._cell.identity)
        wanted = await read_json(request, _Close, '{"status": "uploaded", "total_record_count": N}')
        if wanted.status != "uploaded":
            raise Refusal(400, 'status must be "uploaded": that closes the batch')
        self._refuse_while_closed()
        name, batches = request.path_params["batch"], self._of_batches()
        batches.begin_closing(name)
        try:
            await self._settle()
            if not await asyncio.to_thread(self._cell.store.writer.flush, BARRIER_SECONDS):
                raise Refusal(503, "rows are still on their way: close the batch again later", retry_after=5)
            await asyncio.to_thread(self._close, batches, name, wanted.total_record_count)
        except UnknownBatchError as error:
            raise Refusal(404, str(error)) from None
        except BatchCountError as error:
            raise Refusal(400, str(error)) from None
        except (OSError, pa.ArrowException) as error:
            raise Refusal(503, f"the batch could not be closed: {error}", retry_after=10) from None
        finally:
            batches.give_up(name)
        return json_answer({"message": "success"})

    def _close(self, batches: Batches, name: str, count: int | None) -> None:
        batches.catch_up()
        sampled = self._cell.store.ledger.totals.sampled_out > 0
        batches.close(name, count, at_least=sampled)

    async def _all(self) -> Sequence[Batch]:
        if not self._cell.schema.is_batch:
            return ()
        return await asyncio.to_thread((await self._counted()).all)

    async def _counted(self) -> Batches:
        """The batches with every row that was acknowledged before now, if the writer can keep up."""
        batches = self._of_batches()
        await asyncio.to_thread(self._cell.store.writer.flush, BARRIER_SECONDS)
        await asyncio.to_thread(batches.catch_up)
        return batches

    def _of_batches(self) -> Batches:
        if not self._cell.schema.is_batch:
            raise Refusal(404, "there are no batches here: this is not a batch model (spec.isBatch)")
        if self._batches is None:
            raise Refusal(503, self._cell.unready() or "the cell is starting", retry_after=2)
        return self._batches

    def _refuse_while_closed(self) -> None:
        unready = self._cell.unready()
        if unready is not None:
            raise Refusal(503, f"nothing is closed now ({unready}): try again later", retry_after=5)

    def _described(self, batch: Batch) -> dict[str, Any]:
        return {
            "model_id": self._cell.identity.model_id,
            "id": batch.id,
            "batch_id": batch.id,
            "records": batch.records,
            "partner_record_count": batch.partner_record_count,
            "status": batch.status,
            "created_at": batch.created_at.isoformat(),
            "updated_at": batch.updated_at.isoformat(),
        }

"""The room of reference datasets in a cell's process: its doors, its folders, its part of the status.

<data>/tables/reference/<dataset>/   rows, one Delta table a dataset
<data>/reference/<dataset>.json      what is known of each
<data>/artefacts/profile/<sha256>    profiles
<data>/uploads/                      files that are still arriving, without names
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
from starlette.routing import BaseRoute

from modelwarden_server.analysis.columns import columns_of
from modelwarden_server.cell import Cell
from modelwarden_server.door.admission import check_open
from modelwarden_server.door.datasets import DatasetDoor, reported
from modelwarden_server.door.file_images import FileImages
from modelwarden_server.door.image_zip import opened_zip
from modelwarden_server.door.images import ImageRoom
from modelwarden_server.door.multipart import ReceivedFile
from modelwarden_server.door.reference import ReferenceDoor
from modelwarden_server.door.reference_rows import reference_schema
from modelwarden_server.door.source_load import SourceDoor
from modelwarden_server.schema.sensitive import protect
from modelwarden_server.store.artefacts import ArtefactStore
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.reference import ReferenceStore
from modelwarden_server.store.store import Folders, Store
from modelwarden_server.web import Refusal


class ReferenceRoom:
    """Reference data in, profiles in, both kept for whoever compares. `settled`: a dataset
    got its profile.
    """

    def __init__(self, cell: Cell, settled: Callable[[], None], images: ImageRoom | None = None) -> None:
        self._cell = cell
        self._images = images or ImageRoom(cell)
        self._folders = Folders(cell.folder)
        self._store: ReferenceStore | None = None
        self._secret = b""
        self.artefacts = ArtefactStore(self._folders.artefacts)
        self._door = ReferenceDoor(
            identity=cell.identity,
            schema=cell.schema,
            datasets=self.datasets,
            uploads=cell.folder / "uploads",
            limits=lambda: cell.settings.current.ingest.limits,
            protect=self._protect,
            images=self._images_of,
            imaging=self._images.uploads,
            refuse=partial(check_open, self._cell, "data"),
            fatal=lambda reason: cell.fail(reason, restart_helps=True),
        )
        columns = columns_of(cell.identity.attributes)
        self._inner = DatasetDoor(self.datasets, self.artefacts, columns, settled)
        self._source = SourceDoor(self._door)

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return [*self._door.routes(), *self._inner.routes(), *self._source.routes()]

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        self._secret = store.secret
        self._door.sweep()
        self._store = ReferenceStore(
            self._folders.table("reference"),
            self._folders.root / "reference",
            reference_schema(self._cell.schema),
            lambda: datetime.fromtimestamp(self._cell.clock(), UTC),
        )
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        if self._store is None:
            return {}
        return {"reference": tuple(reported(dataset) for dataset in self._store.all())}

    def close(self) -> None:
        """See Room."""

    @property
    def busy(self) -> int:
        """Uploads that are being worked on."""
        return self._door.inside

    def datasets(self) -> ReferenceStore:
        """The datasets. Raises Refusal (503) as long as the cell is recovering."""
        if self._store is None:
            raise Refusal(503, self._cell.unready() or "the cell is starting", retry_after=2)
        return self._store

    def _images_of(self, content: ReceivedFile | None) -> FileImages:
        settings = self._cell.settings.current
        return FileImages(
            self._images.images,
            None if content is None else opened_zip(content, settings.ingest.limits),
            self._cell.schema.data,
            settings.sensitivity,
        )

    def _protect(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        return protect(rows, self._cell.settings.current.sensitivity, self._secret)

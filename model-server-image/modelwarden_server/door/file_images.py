"""Images that come with a file of rows: a row names an entry of the zip, and is stored with the image's id.

An image is kept only for a row that is stored with that id: not for rows left out by sampling, nor where the
attribute's sensitivity says otherwise. Must not know requests.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden.resources.attributes import Sensitivity, ValueType
from modelwarden_server.door.image_zip import ImageProblem, ImageZip
from modelwarden_server.schema.compiled import Column
from modelwarden_server.store.images import ImageStore

Mask = npt.NDArray[np.bool_]


class FileImages:
    """The images of one upload; `unpacked` is None if it has none, and then names stay as they are."""

    def __init__(
        self,
        store: ImageStore,
        unpacked: ImageZip | None,
        columns: Sequence[Column],
        rules: Mapping[str, Sensitivity],
    ) -> None:
        self._store, self._zip = store, unpacked
        self._columns = [c.name for c in columns if c.value_type is ValueType.IMAGE]
        self._shown = [n for n in self._columns if rules.get(n, Sensitivity.KEEP) is Sensitivity.KEEP]
        self._names: dict[str, str] = {}
        self._new: list[str] = []

    def resolved(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, str]]:
        """The rows with ids of images for names, and the reasons of those that name none."""
        problems: dict[int, str] = {}
        for name in self._columns if self._zip is not None else ():
            place = rows.schema.get_field_index(name)
            if place < 0:
                continue
            encoded = rows.column(place).dictionary_encode()
            ids, wrong = self._ids(encoded.dictionary.to_pylist())
            rows = rows.set_column(place, rows.schema.field(place), pc.take(ids, encoded.indices))
            if wrong:
                indices = encoded.indices.to_pylist()
                for row, index in enumerate(indices):
                    if index in wrong:
                        problems.setdefault(row, f"{name}: {wrong[index]}")
        return rows, problems

    def keep(self, rows: pa.RecordBatch) -> None:
        """Keep the images of these (resolved) rows. Raises OSError."""
        for name in self._shown if self._zip is not None else ():
            place = rows.schema.get_field_index(name)
            for image in pc.unique(rows.column(place)).to_pylist() if place >= 0 else ():
                self._keep(image)

    def sync(self) -> None:
        """Make durable what was kept. Raises OSError."""
        self._store.sync(self._new)

    def discard(self) -> None:
        """Remove what was kept: the rows are not taken in after all."""
        self._store.remove(self._new)
        self._new = []

    def _keep(self, image: str | None) -> None:
        entry = None if image is None else self._names.get(image)
        if image is None or entry is None or self._zip is None or self._store.has(image):
            return
        if self._store.put(image, self._zip.content(entry)):
            self._new.append(image)

    def _ids(self, names: Sequence[str | None]) -> tuple[pa.Array, dict[int, str]]:
        assert self._zip is not None
        ids: list[str | None] = []
        wrong: dict[int, str] = {}
        for index, name in enumerate(names):
            try:
                ids.append(None if name is None else self._id(self._zip, name))
            except ImageProblem as problem:
                wrong[index] = str(problem)
                ids.append(None)
        return pa.array(ids, pa.string()), wrong

    def _id(self, unpacked: ImageZip, name: str) -> str:
        """An id of an image that is known already may be named, too."""
        try:
            image = unpacked.image_id(name)
        except ImageProblem:
            if self._store.has(name):
                return name
            raise
        self._names[image] = name
        return image

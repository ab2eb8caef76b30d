"""Images among the inputs: tables hold their names, whoever explains needs their bytes.

They are read when rows leave the store, not before: what waits stays small. An image that is gone is a
missing value. Must not look into an image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from modelwarden.resources.attributes import Stage, ValueType
from modelwarden.resources.cell import CellIdentity

USUAL_BYTES = 1 << 20
MOST_BYTES = 64 << 20
"""Of one answer's images; those beyond are left out, and their rows say so."""


@dataclass(frozen=True)
class Pictures:
    """`columns` hold names of images; `path` tells where one is."""

    columns: tuple[str, ...] = ()
    path: Callable[[str], Path | None] = lambda _name: None

    def filled(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with bytes in place of names. Raises OSError."""
        left = MOST_BYTES
        for name in self.columns:
            place = rows.schema.get_field_index(name)
            found: list[bytes | None] = []
            for one in rows.column(place).to_pylist():
                content = self._content(one, left)
                left -= len(content or b"")
                found.append(content)
            rows = rows.set_column(place, pa.field(name, pa.binary()), pa.array(found, pa.binary()))
        return rows

    def _content(self, name: str | None, most: int) -> bytes | None:
        path = None if name is None else self.path(name)
        if path is None or path.stat().st_size > most:
            return None
        return path.read_bytes()


def image_columns(identity: CellIdentity) -> tuple[str, ...]:
    """The inputs that are images."""
    return tuple(
        attribute.name
        for attribute in identity.attributes
        if attribute.stage is Stage.PIPELINE_INPUT and attribute.value_type is ValueType.IMAGE
    )

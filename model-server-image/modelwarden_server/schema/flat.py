"""Rows of JSON files as people write them: all keys side by side. Brought into the form of a request's rows.

Must not judge: what does not belong anywhere stays among the attributes, where it is refused by name.
"""

from typing import Any

from modelwarden_server.schema.compiled import BATCH, EVENT_TIME, ID, TRUTH_TIME, CompiledSchema
from modelwarden_server.schema.fields import DATA, TRUTH

_BESIDE = (ID, EVENT_TIME, TRUTH_TIME, BATCH)


class Nesting:
    """Nests the rows of one schema."""

    def __init__(self, schema: CompiledSchema) -> None:
        self._truth = frozenset(column.name for column in schema.truth)

    def row(self, row: Any) -> Any:
        """An inference. What is nested already, or is no object, comes back as it is."""
        if not isinstance(row, dict) or DATA in row or TRUTH in row:
            return row
        nested = {key: row[key] for key in _BESIDE if key in row}
        nested[DATA] = {k: v for k, v in row.items() if k not in _BESIDE and k not in self._truth}
        truth = {key: row[key] for key in row if key in self._truth}
        return nested | {TRUTH: truth} if truth else nested

    def label(self, row: Any) -> Any:
        """A label. What is nested already, or is no object, comes back as it is."""
        if not isinstance(row, dict) or DATA in row or TRUTH in row:
            return row
        nested = {key: row[key] for key in (ID, TRUTH_TIME) if key in row}
        nested[TRUTH] = {key: value for key, value in row.items() if key not in nested}
        return nested

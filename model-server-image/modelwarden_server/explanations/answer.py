"""An answer of the model's server, read and judged: is it of these rows, in the agreed form, finite?

A row that breaks the form alone becomes a row without an explanation; an answer that breaks it as a whole is
refused. Pure.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.explained import (
    BACKGROUND_HASH,
    CODE_HASH,
    EXPLAINED,
    ID,
    INPUTS,
    OUTPUTS,
)

MOST_FAILURE: Final = 500
_MOST_TEXT: Final = 1000
_LISTS: Final = ("prediction", "expected", "values", "errors")
_TEXTS: Final = ("algorithm", "path", "why", "units")
_UNITS: Final = frozenset({"probability", "margin", "value"})
_ALGORITHMS: Final = frozenset({"lime", "shap"})
BAD_ROW: Final = "the model server's explanation of this row does not have the agreed form"


class AnswerError(ValueError):
    """An answer that cannot be taken. The message says what is wrong with it."""


@dataclass(frozen=True)
class Names:
    """What an answer may be about."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Answer:
    """Rows of EXPLAINED, and what they have in common."""

    rows: pa.RecordBatch
    outputs: tuple[str, ...]
    code_hash: str = ""
    background_hash: str = ""

    def without(self, ids: pa.Array) -> "Answer":
        """The same without these ids."""
        kept = self.rows.filter(pc.invert(pc.is_in(self.rows.column(0), ids)))
        return Answer(kept, self.outputs, self.code_hash, self.background_hash)


def read_answer(content: bytes, asked: pa.RecordBatch, names: Names, most_bytes: int) -> Answer:
    """The answer to `asked` (columns `id` and the inputs). Raises AnswerError."""
    if len(content) > most_bytes:
        raise AnswerError(f"the answer is larger than {most_bytes} bytes")
    try:
        with pa.ipc.open_stream(content) as reader:
            table = reader.read_all()
            meta = reader.schema.metadata or {}
    except (pa.ArrowException, OSError, EOFError) as error:
        raise AnswerError(f"the answer is no Arrow stream ({type(error).__name__})") from None
    inputs, outputs = (_listed(meta, key) for key in (INPUTS, OUTPUTS))
    if tuple(inputs) != names.inputs:
        raise AnswerError("the answer explains by other inputs than the model's")
    if not outputs or len(set(outputs)) < len(outputs) or not set(outputs) <= set(names.outputs):
        raise AnswerError("the answer explains other outputs than the model's predicted attributes")
    rows = _agreed(table)
    if rows.column(0).to_pylist() != asked.column(asked.schema.get_field_index(ID)).to_pylist():
        raise AnswerError("the answer is not of the rows that were asked for, in their order")
    told = [meta.get(key, b"").decode("utf-8", "replace")[:128] for key in (CODE_HASH, BACKGROUND_HASH)]
    return Answer(_judged(rows, asked, names, len(outputs)), tuple(outputs), *told)


def failures(ids: pa.Array, message: str) -> Answer:
    """Rows for which there is no explanation, and why."""
    many = len(ids)
    columns = [pa.nulls(many, field.type) for field in EXPLAINED]
    columns[EXPLAINED.get_field_index(ID)] = ids
    columns[EXPLAINED.get_field_index("failure")] = pa.repeat(pa.scalar(message[:MOST_FAILURE]), many)
    return Answer(pa.RecordBatch.from_arrays(columns, schema=EXPLAINED), ())


def _listed(meta: dict[bytes, bytes], key: bytes) -> list[str]:
    try:
        return msgspec.json.decode(meta.get(key, b""), type=list[str])
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise AnswerError(f"the answer does not name its {key.decode()}") from None


def _agreed(table: pa.Table) -> pa.RecordBatch:
    """The columns of EXPLAINED. Others may be there, told by a newer server."""
    missing = [name for name in EXPLAINED.names if name not in table.column_names]
    if missing:
        raise AnswerError(f"the answer has no column {missing[0]}")
    if len(set(table.column_names)) < len(table.column_names):
        raise AnswerError("the answer has a column twice")
    try:
        found = table.select(EXPLAINED.names).cast(EXPLAINED).combine_chunks()
    except pa.ArrowException:
        raise AnswerError("the answer's columns have other types than agreed") from None
    batches = found.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=EXPLAINED)


def _judged(rows: pa.RecordBatch, asked: pa.RecordBatch, names: Names, outputs: int) -> pa.RecordBatch:
    """The rows; those that break the form as failures."""
    many, width = rows.num_rows, outputs * len(names.inputs)
    failed = np.asarray(pc.is_valid(rows.column("failure")).to_numpy(zero_copy_only=False), dtype=np.bool_)
    bad = np.zeros(many, dtype=np.bool_)
    missing = _missing(asked, names)
    for name, length in (
        ("prediction", outputs),
        ("expected", outputs),
        ("values", width),
        ("errors", width),
    ):
        bad |= _odd(rows.column(name), length, missing if length == width else None, needed=name != "errors")
    for name, allowed in (("algorithm", _ALGORITHMS), ("units", _UNITS)):
        known = pc.is_in(rows.column(name), pa.array(sorted(allowed)))
        bad |= ~np.asarray(known.to_numpy(zero_copy_only=False), dtype=np.bool_)
    for name in ("path", "why"):
        long = pc.fill_null(pc.greater(pc.utf8_length(rows.column(name)), _MOST_TEXT), fill_value=False)
        bad |= np.asarray(long.to_numpy(zero_copy_only=False), dtype=np.bool_)
    bad &= ~failed
    empty = pa.array(bad | failed)
    columns: list[Any] = []
    for field in EXPLAINED:
        column = rows.column(field.name)
        if field.name == "failure":
            cut = pc.utf8_slice_codeunits(column, 0, MOST_FAILURE)
            columns.append(pc.if_else(pa.array(bad), pa.scalar(BAD_ROW), cut))
        elif field.name == ID:
            columns.append(column)
        else:
            columns.append(_emptied(column, empty))
    return pa.RecordBatch.from_arrays(columns, schema=EXPLAINED)


def _emptied(column: pa.Array, where: pa.Array) -> pa.Array:
    if not pa.types.is_list(column.type):
        return pc.if_else(where, pa.nulls(len(column), column.type), column)
    kept = np.flatnonzero(~np.asarray(where.to_numpy(zero_copy_only=False), dtype=np.bool_))
    index = np.full(len(column), -1, dtype=np.int64)
    index[kept] = kept
    return column.take(pa.array(index, mask=index < 0))


def _missing(asked: pa.RecordBatch, names: Names) -> npt.NDArray[np.bool_]:
    """(n, d): where a row has no value."""
    found = np.zeros((asked.num_rows, len(names.inputs)), dtype=np.bool_)
    for place, name in enumerate(names.inputs):
        column = asked.column(asked.schema.get_field_index(name))
        null = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
        found[:, place] = null.to_numpy(zero_copy_only=False)
    return found


def _odd(
    lists: pa.Array, length: int, missing: npt.NDArray[np.bool_] | None, *, needed: bool
) -> npt.NDArray[np.bool_]:
    """Which rows have a list of another length, or a number that is not finite where it must be."""
    sizes = np.asarray(pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False))
    odd: npt.NDArray[np.bool_] = (sizes != length) if needed else (sizes >= 0) & (sizes != length)
    whole = np.flatnonzero(sizes == length)
    if not length or not len(whole):
        return odd
    values = lists.take(pa.array(whole)).flatten().to_numpy(zero_copy_only=False)
    values = np.asarray(values, dtype=np.float64).reshape(len(whole), length)
    fine = np.isfinite(values)
    if missing is not None:
        fine |= np.isnan(values) & np.tile(missing[whole], (1, length // missing.shape[1]))
    odd[whole] |= ~fine.all(axis=1)
    return odd

"""The table of explanations: one row for each inference that was to be explained, also where it could not be.

Flat lists: `values` has the inputs of the first output first. `outputs` names the predicted attributes, the
inputs are the model's in their order, which never changes. Pure.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from modelwarden_server.derived.scoring import ARTEFACT, KEYS, score_schema
from modelwarden_server.explained import EXPLAINED, ID
from modelwarden_server.explanations.answer import Answer

OUTPUTS: Final = "outputs"
BACKGROUND: Final = "background"
FAILURE: Final = "failure"
_OF_ANSWER: Final = tuple(field for field in EXPLAINED if field.name != ID)
EXPLANATIONS: Final = score_schema(
    (*_OF_ANSWER, pa.field(OUTPUTS, pa.list_(pa.string())), pa.field(BACKGROUND, pa.string()))
)
"""`artefact` is the hash of the code, `background` that of the reference's sample."""


def queue_schema(inputs: Sequence[pa.Field]) -> pa.Schema:
    """Rows that wait to be explained: their keys and the model's inputs."""
    return score_schema(inputs)


def table_rows(keys: pa.RecordBatch, answer: Answer) -> pa.RecordBatch:
    """Rows of the table: `keys` has the columns KEYS of the answer's rows, in their order."""
    many = keys.num_rows
    outputs = pa.repeat(pa.scalar(list(answer.outputs), pa.list_(pa.string())), many)
    failed = answer.rows.column(EXPLAINED.get_field_index(FAILURE)).is_valid()
    columns = [
        *(keys.column(place) for place in range(len(KEYS))),
        *(answer.rows.column(EXPLAINED.get_field_index(field.name)) for field in _OF_ANSWER),
        _where_explained(outputs, failed),
        _text(answer.background_hash, many),
        _text(answer.code_hash, many),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=EXPLANATIONS)


def _where_explained(lists: pa.Array, failed: pa.Array) -> pa.Array:
    index = pa.array([None if gone else place for place, gone in enumerate(failed.to_pylist())], pa.int64())
    return lists.take(index)


def _text(value: str, many: int) -> pa.Array:
    return pa.repeat(pa.scalar(value or None, pa.string()), many)


assert EXPLANATIONS.names[-1] == ARTEFACT

"""The attributes of a model as columns: what each table and each log record of a cell holds.

Compiled once from the cell's identity. Must not parse anything. Implicit attributes are derived when
read: they are no columns, and no door asks for them.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from modelwarden.resources.attributes import RESERVED_NAMES, Stage, ValueType
from modelwarden.resources.cell import CellIdentity
from modelwarden.resources.resolved import ResolvedAttribute

INSTANT = pa.timestamp("us", "UTC")
ID = "partner_inference_id"
EVENT_TIME = "inference_timestamp"
TRUTH_TIME = "ground_truth_timestamp"
ARRIVAL_TIME = "received_timestamp"
BATCH = "batch_id"
GENERATION = "settings_generation"
IDENTITY = "__identity"
DIGEST_FORMAT = 1
"""Raised when the same row gets another digest than before: what was kept of digests is then of no use."""

ARROW_TYPES: dict[ValueType, pa.DataType] = {
    ValueType.STRING: pa.string(),
    ValueType.UNSTRUCTURED_TEXT: pa.string(),
    ValueType.IMAGE: pa.string(),
    ValueType.INTEGER: pa.int64(),
    ValueType.FLOAT: pa.float64(),
    ValueType.BOOLEAN: pa.bool_(),
    ValueType.TIMESTAMP: INSTANT,
    ValueType.ARRAY_STRING: pa.list_(pa.string()),
    ValueType.TOKENS: pa.list_(pa.string()),
    # A map has no columns of its own: the most likely token comes first, equals in the order of their texts.
    ValueType.TOKEN_LIKELIHOODS: pa.list_(
        pa.list_(pa.struct([("token", pa.string()), ("likelihood", pa.float64())]))
    ),
    ValueType.RANKED_LIST: pa.list_(
        pa.struct([("item_id", pa.string()), ("label", pa.string()), ("score", pa.float64())])
    ),
    ValueType.BOUNDING_BOX: pa.list_(
        pa.struct(
            [
                ("class_id", pa.int64()),
                ("confidence", pa.float64()),
                ("top_left_x", pa.float64()),
                ("top_left_y", pa.float64()),
                ("width", pa.float64()),
                ("height", pa.float64()),
            ]
        )
    ),
    ValueType.TIME_SERIES: pa.list_(pa.struct([("timestamp", INSTANT), ("value", pa.float64())])),
}

_INPUTS = frozenset({Stage.PIPELINE_INPUT, Stage.PREDICT_FUNCTION_INPUT})
_TRUTHS = frozenset({Stage.GROUND_TRUTH, Stage.GROUND_TRUTH_CLASS})


class UnsupportedAttributeError(ValueError):
    """An attribute cannot be stored. The message names it and says why."""


@dataclass(frozen=True)
class Column:
    """One attribute of a row as it is sent.

    `keyed`: its key must be there; `valued`: its value too; `nan_is_missing`: a NaN is no value.
    """

    name: str
    value_type: ValueType
    type: pa.DataType
    stage: Stage
    keyed: bool
    valued: bool
    nan_is_missing: bool


@dataclass(frozen=True)
class CompiledSchema:
    """Everything the door, the log and the writer need to know of the model's attributes.

    `inference_record` and `truth_record` are what a request comes to. In the log inferences have one column
    more, `__identity`: 16 bytes of the id's key, 16 of the row's digest. The tables have two more, arrival
    time and generation of the settings, which a record carries once for all its rows.
    """

    is_batch: bool
    data: tuple[Column, ...]
    truth: tuple[Column, ...]
    implicit: frozenset[str]
    inference_record: pa.Schema
    truth_record: pa.Schema
    inference_log: pa.Schema
    inference_table: pa.Schema
    truth_table: pa.Schema
    fingerprint: bytes


def compile_schema(identity: CellIdentity) -> CompiledSchema:
    """Compile a cell's identity. Raises UnsupportedAttributeError for a name that is taken."""
    declared = [a for a in identity.attributes if not a.implicit]
    _refuse_reserved(declared)
    data = tuple(_column(a) for a in declared if a.stage not in _TRUTHS)
    truth = tuple(_column(a) for a in declared if a.stage in _TRUTHS)
    inference = pa.schema(
        [
            pa.field(ID, pa.string()),
            pa.field(EVENT_TIME, INSTANT),
            pa.field(BATCH, pa.string()),
            *(pa.field(c.name, c.type) for c in data),
        ]
    )
    labels = pa.schema(
        [
            pa.field(ID, pa.string()),
            pa.field(TRUTH_TIME, INSTANT),
            *(pa.field(c.name, c.type) for c in truth),
        ]
    )
    return CompiledSchema(
        is_batch=identity.is_batch,
        data=data,
        truth=truth,
        implicit=frozenset(a.name for a in identity.attributes if a.implicit),
        inference_record=inference,
        truth_record=labels,
        inference_log=inference.append(pa.field(IDENTITY, pa.binary(32))),
        inference_table=_as_table(inference),
        truth_table=_as_table(labels),
        fingerprint=_fingerprint(inference, labels),
    )


def _column(attribute: ResolvedAttribute) -> Column:
    predicted = attribute.stage is Stage.PREDICTED_VALUE
    return Column(
        name=attribute.name,
        value_type=attribute.value_type,
        type=ARROW_TYPES[attribute.value_type],
        stage=attribute.stage,
        keyed=predicted or attribute.stage in _INPUTS,
        valued=predicted,
        # pandas writes NaN for a missing number; only a float among the data can mean it.
        nan_is_missing=predicted or attribute.stage in _TRUTHS or attribute.value_type is not ValueType.FLOAT,
    )


def _refuse_reserved(attributes: Iterable[ResolvedAttribute]) -> None:
    seen: set[str] = {name.lower() for name in RESERVED_NAMES}
    for attribute in attributes:
        # Delta compares the names of columns without regard to case.
        if attribute.name.lower() in seen:
            raise UnsupportedAttributeError(
                f"attribute {attribute.name}: a column of that name exists already (case does not count)"
            )
        seen.add(attribute.name.lower())


def _as_table(record: pa.Schema) -> pa.Schema:
    fields = list(record)
    return pa.schema(
        [*fields[:2], pa.field(ARRIVAL_TIME, INSTANT), *fields[2:], pa.field(GENERATION, pa.int64())]
    )


def _fingerprint(*schemas: pa.Schema) -> bytes:
    """16 bytes that differ when a log record written under one schema cannot be read under the other."""
    text = "\n".join(f"{field.name}\t{field.type}" for schema in schemas for field in schema)
    text += f"\ndigests {DIGEST_FORMAT}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()

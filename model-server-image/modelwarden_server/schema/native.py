"""The compiled parser, where its package is installed: a body of good rows to columns in one pass.

Optional: without `modelwarden-native` (the folder native/) everything works the same, only slower. It gives
up (None) where it is not sure; what it takes, the fast path takes with the same result. Must not decide
anything about a row.
"""

import importlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa

from modelwarden.resources.attributes import ValueType
from modelwarden_server.schema.compiled import Column, CompiledSchema
from modelwarden_server.schema.parsed import Limits, ParsedLabels, ParsedRows, TooManyRowsError
from modelwarden_server.schema.values import MAX_ID_LENGTH

log = logging.getLogger(__name__)
PACKAGE = "modelwarden_native"
SWITCH = "MODELWARDEN_NATIVE"
INTERFACE = 1
"""What the package must say of itself: another number gives or takes something else."""

_KINDS = {
    ValueType.STRING: "text",
    ValueType.UNSTRUCTURED_TEXT: "text",
    ValueType.IMAGE: "text",
    ValueType.INTEGER: "integer",
    ValueType.FLOAT: "float",
    ValueType.BOOLEAN: "boolean",
    ValueType.TIMESTAMP: "instant",
}
_LATEST = (1 << 63) - 1
_Attribute = tuple[str, str, bool, bool]


class _Found(Protocol):
    """Of a request. `rows` and `truth` are addresses of an `ArrowArray`; `truth` is 0 without labels."""

    total: int
    labels: int
    labelled: bytes
    rows: int
    truth: int


class _Parser(Protocol):
    def parse(self, body: bytes, rows: int, latest: int, batch: str | None) -> _Found | None: ...

    def parse_labels(self, body: bytes, rows: int, latest: int) -> _Found | None: ...


class Extension(Protocol):
    """The package, as far as it is used here."""

    INTERFACE: int

    def Parser(  # noqa: N802 - it is a class there
        self,
        data: Sequence[_Attribute],
        truth: Sequence[_Attribute],
        is_batch: bool,
        text_length: int,
        id_length: int,
    ) -> _Parser: ...


def extension_for(schema: CompiledSchema, environment: Mapping[str, str]) -> Extension | None:
    """As `extension`; None too if an attribute is of a type that the package does not know (the lists)."""
    known = all(column.value_type in _KINDS for column in (*schema.data, *schema.truth))
    return extension(environment) if known else None


def extension(environment: Mapping[str, str]) -> Extension | None:
    """The package; None if it is not there, does not fit, or MODELWARDEN_NATIVE is `off`."""
    if environment.get(SWITCH, "").lower() == "off":
        return None
    try:
        found = cast("Extension", importlib.import_module(PACKAGE))
    except ModuleNotFoundError:
        return None
    except ImportError as error:
        log.warning("going on without the compiled parser: %s", error)
        return None
    if found.INTERFACE != INTERFACE:
        log.warning("going on without the compiled parser: it is of another version (make native)")
        return None
    return found


class NativeParser:
    """Parser of one schema's rows and one bound on the length of texts; `package` is `extension_for` it."""

    def __init__(self, package: Extension, schema: CompiledSchema, string_length: int) -> None:
        self._schema = schema
        self._no_truth = pa.RecordBatch.from_pylist([], schema=schema.truth_record)
        self._parser = _parser(package, schema, string_length)

    def parse(self, body: bytes, limits: Limits) -> ParsedRows | None:
        """The rows of `body` if all of them are surely good, else None. Raises TooManyRowsError."""
        batch = limits.batch or None
        if batch is not None and len(batch) > MAX_ID_LENGTH:
            return None
        try:
            found = self._parser.parse(body, limits.rows, min(limits.latest, _LATEST), batch)
        except UnicodeEncodeError:  # half of a surrogate pair in the name of the batch
            return None
        if found is None:
            return None
        if found.total > limits.rows:
            raise TooManyRowsError(limits.rows)
        schema = self._schema
        return ParsedRows(
            total=found.total,
            rows=_taken_over(found.rows, schema.inference_record),
            places=np.arange(found.total, dtype=np.int64),
            truth=_taken_over(found.truth, schema.truth_record) if found.labels else self._no_truth,
            truth_rows=np.frombuffer(found.labelled, dtype=np.int64),
        )


class NativeLabelParser:
    """Parser of labels that come without their inferences."""

    def __init__(self, package: Extension, schema: CompiledSchema, string_length: int) -> None:
        self._schema = schema
        self._parser = _parser(package, schema, string_length)

    def parse(self, body: bytes, limits: Limits) -> ParsedLabels | None:
        """The labels of `body` if all of them are surely good, else None. Raises TooManyRowsError."""
        found = self._parser.parse_labels(body, limits.rows, min(limits.latest, _LATEST))
        if found is None:
            return None
        if found.total > limits.rows:
            raise TooManyRowsError(limits.rows)
        labels = _taken_over(found.truth, self._schema.truth_record)
        return ParsedLabels(found.total, labels, np.arange(found.total, dtype=np.int64))


def _parser(package: Extension, schema: CompiledSchema, string_length: int) -> _Parser:
    data = [_attribute(column, keyed=column.keyed, valued=column.valued) for column in schema.data]
    # Of the ground truth no key and no value is required; a label needs one value of any attribute.
    truth = [_attribute(column, keyed=False, valued=False) for column in schema.truth]
    return package.Parser(data, truth, schema.is_batch, string_length, MAX_ID_LENGTH)


def _attribute(column: Column, *, keyed: bool, valued: bool) -> _Attribute:
    return column.name, _KINDS[column.value_type], keyed, valued


def _taken_over(address: int, schema: pa.Schema) -> Any:
    """The columns at an address, moved out of there: pyarrow owns their memory from here on."""
    return pa.RecordBatch._import_from_c(address, schema)

"""Columns as files bring them to columns as tables hold them: whole columns at a time.

What a cast takes, and why it does not take a value, is what `values.take_value` says of the same value in a
request. Only values that are refused, and lists of structs, are looked at one by one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden.resources.attributes import ValueType
from modelwarden_server.schema.compiled import INSTANT, Column
from modelwarden_server.schema.instants import YEAR_1, YEAR_10000, instant, instants
from modelwarden_server.schema.lists import BOX
from modelwarden_server.schema.scalars import (
    INFINITE,
    NO_INSTANT,
    NOT_64_BITS,
    NOT_WHOLE,
    too_long,
)
from modelwarden_server.schema.values import REQUIRED_PREDICTION, TAKERS, ValueProblem

Mask = npt.NDArray[np.bool_]
Reasons = dict[int, str]
NOT_UTF8 = "is not valid UTF-8"
_TICKS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def cast_column(given: pa.Array, column: Column, longest: int) -> tuple[pa.Array, Reasons]:
    """The values as the column holds them, null where they cannot be, and why not, by row.

    `given` must be of a type that `takes` accepts. A reason is to follow the column's name: after ": ", or
    directly if it begins with "[".
    """
    given = plain(given)
    if pa.types.is_null(given.type):
        values, wrong = pa.nulls(len(given), column.type), Reasons()
    else:
        values, wrong = _CASTS[column.value_type].cast(given, longest, column)
    if column.nan_is_missing and pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    if column.valued and values.null_count:
        for row in _rows(pc.is_null(values)):
            wrong.setdefault(row, REQUIRED_PREDICTION)
    return values, wrong


def takes(column: Column, kind: pa.DataType) -> bool:
    """Whether a file's column of type `kind` can hold this attribute's values."""
    return bool(pa.types.is_null(kind)) or _CASTS[column.value_type].accepts(undressed(kind))


def wanted(column: Column) -> str:
    """What such a column should hold, in words."""
    return _CASTS[column.value_type].wanted


def undressed(kind: pa.DataType) -> pa.DataType:
    """The type of a dictionary's values; any other type as it is."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def plain(given: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array, without dictionary."""
    if isinstance(given, pa.ChunkedArray):
        given = given.combine_chunks()
    return given.dictionary_decode() if pa.types.is_dictionary(given.type) else given


def to_text(given: pa.Array, longest: int) -> tuple[pa.Array, Reasons]:
    """Texts of at most `longest` characters. Parquet does not promise that its texts are UTF-8."""
    wrong = Reasons()
    try:
        given.validate(full=True)
        values = given.cast(pa.string())
    except pa.ArrowInvalid:
        binary = given.cast(pa.large_binary()).to_pylist()
        wrong = {row: NOT_UTF8 for row, text in enumerate(binary) if text is not None and not _utf8(text)}
        texts = [None if row in wrong else text for row, text in enumerate(binary)]
        values = pa.array(texts, pa.binary()).cast(pa.string())
    long = pc.greater(pc.utf8_length(values), longest)
    if pc.any(long).as_py():
        wrong |= dict.fromkeys(_rows(long), too_long(longest))
        values = pc.if_else(pc.fill_null(long, fill_value=False), pa.scalar(None, pa.string()), values)
    return values, wrong


def to_instant(given: pa.Array) -> tuple[pa.Array, Reasons]:
    """Instants of zoned timestamps of any unit, or of ISO 8601 texts; what is finer is cut off."""
    return _ticks_to_instants(given) if pa.types.is_timestamp(given.type) else _texts_to_instants(given)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of type `kind` holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_instant(kind: pa.DataType) -> bool:
    """Whether a column of type `kind` holds instants, or texts that may be some."""
    return bool(pa.types.is_timestamp(kind) and kind.tz is not None) or is_text(kind)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_list_of_texts(kind: pa.DataType) -> bool:
    return _is_list(kind) and (is_text(undressed(kind.value_type)) or bool(pa.types.is_null(kind.value_type)))


def _is_series(kind: pa.DataType) -> bool:
    """Lists of anything but structs whose times have no zone."""
    if not _is_list(kind) or not pa.types.is_struct(kind.value_type):
        return _is_list(kind)
    place = kind.value_type.get_field_index("timestamp")
    return place < 0 or is_instant(kind.value_type.field(place).type)


def _rows(answer: pa.Array) -> list[int]:
    """Places where a mask is true."""
    return [int(row) for row in np.flatnonzero(_mask(answer))]


def _mask(answer: pa.Array) -> Mask:
    return np.asarray(pc.fill_null(answer, fill_value=False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _without(values: pa.Array, wrong: Reasons) -> pa.Array:
    if not wrong:
        return values
    mask = np.zeros(len(values), dtype=np.bool_)
    mask[list(wrong)] = True
    return pc.if_else(pa.array(mask), pa.scalar(None, values.type), values)


def _utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text(given: pa.Array, longest: int, _column: Column) -> tuple[pa.Array, Reasons]:
    return to_text(given, longest)


def _integer(given: pa.Array, _longest: int, _column: Column) -> tuple[pa.Array, Reasons]:
    if pa.types.is_floating(given.type):
        # pandas makes floats of integers with gaps, and writes a gap as NaN.
        floats = given.cast(pa.float64())
        floats = pc.if_else(pc.is_nan(floats), pa.scalar(None, pa.float64()), floats)
        broken = pc.or_(pc.not_equal(floats, pc.floor(floats)), pc.is_inf(floats))
        wrong = dict.fromkeys(_rows(broken), NOT_WHOLE)
        beyond = pc.or_(pc.less(floats, -(2.0**63)), pc.greater_equal(floats, 2.0**63))
        for row in _rows(beyond):
            wrong.setdefault(row, NOT_64_BITS)
        return _without(floats, wrong).cast(pa.int64()), wrong
    if pa.types.is_uint64(given.type):
        wrong = dict.fromkeys(_rows(pc.greater(given, pa.scalar((1 << 63) - 1, pa.uint64()))), NOT_64_BITS)
        return _without(given, wrong).cast(pa.int64()), wrong
    return given.cast(pa.int64()), Reasons()


def _float(given: pa.Array, _longest: int, _column: Column) -> tuple[pa.Array, Reasons]:
    # Whole numbers beyond 2^53 are rounded, as every JSON reader does.
    values = given.cast(pa.float64(), safe=False)
    wrong = dict.fromkeys(_rows(pc.is_inf(values)), INFINITE)
    return _without(values, wrong), wrong


def _boolean(given: pa.Array, _longest: int, _column: Column) -> tuple[pa.Array, Reasons]:
    return given, Reasons()


def _instant(given: pa.Array, _longest: int, _column: Column) -> tuple[pa.Array, Reasons]:
    return to_instant(given)


def _ticks_to_instants(given: pa.Array) -> tuple[pa.Array, Reasons]:
    a_second = _TICKS[given.type.unit]
    empty = _mask(pc.is_null(given))
    ticks = pc.fill_null(given.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    low, high = YEAR_1 // 1_000_000, YEAR_10000 // 1_000_000
    seconds = ticks // a_second
    outside = (seconds < low) | (seconds >= high)
    wrong = {int(row): NO_INSTANT for row in np.flatnonzero(outside & ~empty)}
    known = np.where(outside, 0, ticks)
    # Floored, not rounded towards 1970: before it, too, digits are cut off.
    micros = known // (a_second // 1_000_000) if a_second > 1_000_000 else known * (1_000_000 // a_second)
    return pa.array(micros, pa.int64(), mask=outside | empty).cast(INSTANT), wrong


def _texts_to_instants(given: pa.Array) -> tuple[pa.Array, Reasons]:
    texts, wrong = to_text(given, 1 << 20)
    wrong = dict.fromkeys(wrong, NO_INSTANT)
    try:
        return instants(texts.to_pylist()), wrong
    except ValueError:
        micros = [None if text is None else instant(text) for text in texts.to_pylist()]
    for row in _rows(pc.is_valid(texts)):
        if micros[row] is None:
            wrong[row] = NO_INSTANT
    return pa.array(micros, pa.int64()).cast(INSTANT), wrong


def _texts(given: pa.Array, longest: int, column: Column) -> tuple[pa.Array, Reasons]:
    """Lists of texts: good ones in one go, those that look odd one by one."""
    lists = given.cast(pa.list_(given.type.value_type))
    inside = plain(pc.list_flatten(lists))
    if pa.types.is_null(inside.type):
        inside = inside.cast(pa.string())
    texts, wrong_texts = to_text(inside, longest)
    odd = {*wrong_texts, *_rows(pc.is_null(texts))}
    parents = np.repeat(np.arange(len(lists)), _lengths(lists))
    suspects = {int(parents[place]) for place in odd} | set(
        _rows(pc.greater(pc.list_value_length(lists), longest))
    )
    wrong = {row: _why_not_texts(lists[row], longest) for row in sorted(suspects)}
    return _without(_relisted(lists, texts), wrong).cast(column.type), wrong


def _why_not_texts(value: pa.Scalar, longest: int) -> str:
    if len(value.values) > longest:
        return _refusal(ValueType.TOKENS, [""] * len(value.values), longest)
    try:
        return _refusal(ValueType.TOKENS, value.as_py(), longest)
    except UnicodeDecodeError:
        return NOT_UTF8


def _refusal(kind: ValueType, value: Any, longest: int) -> str:
    try:
        TAKERS[kind](value, longest)
    except ValueProblem as problem:
        return str(problem)
    raise AssertionError("a value was suspected and is good")


def _relisted(lists: pa.ListArray, inside: pa.Array) -> pa.ListArray:
    """The same lists, null ones included, of other elements (those that `list_flatten` gave, in order)."""
    ends = np.concatenate([[0], np.cumsum(_lengths(lists))]).astype(np.int32)
    mask = pc.is_null(lists) if lists.null_count else None
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), inside, mask=mask)


def _lengths(lists: pa.ListArray) -> npt.NDArray[np.int32]:
    lengths: npt.NDArray[np.int32] = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    return lengths


def _structs(given: pa.Array, longest: int, column: Column) -> tuple[pa.Array, Reasons]:
    """Lists of anything but texts: brought into the form of a request, then taken one by one."""
    lists = given.cast(pa.list_(given.type.value_type))
    take, as_sent = TAKERS[column.value_type], _AS_SENT[column.value_type]
    sparse = column.value_type is ValueType.TOKEN_LIKELIHOODS and pa.types.is_struct(lists.type.value_type)
    taken: list[Any] = []
    wrong = Reasons()
    for row, value in enumerate(_sparse_maps(lists) if sparse else _python(_readable(lists))):
        try:
            if isinstance(value, _Unreadable):
                raise ValueProblem(NOT_UTF8)
            taken.append(None if value is None else take([as_sent(element) for element in value], longest))
        except ValueProblem as problem:
            wrong[row] = str(problem)
            taken.append(None)
    return pa.array(taken, column.type), wrong


class _Unreadable:
    """A list that holds a text that is none."""


def _python(lists: pa.ListArray) -> Iterator[Any]:
    """The lists as Python's; texts in them that are not UTF-8 spoil their own row only."""
    try:
        yield from lists.to_pylist()
    except UnicodeDecodeError:
        for value in lists:
            try:
                yield value.as_py()
            except UnicodeDecodeError:
                yield _Unreadable()


def _sparse_maps(lists: pa.ListArray) -> Iterator[Any]:
    """Lists of structs that have a field for every token of the whole file, as maps of those that have a
    value: there may be thousands of fields, and five values.
    """
    inside = pc.list_flatten(lists)
    elements: list[Any] = [{} for _ in range(len(inside))]
    for token, numbers in zip((f.name for f in inside.type), inside.flatten(), strict=True):
        places = np.flatnonzero(_mask(pc.is_valid(numbers)))
        for place, number in zip(places.tolist(), numbers.take(pa.array(places)).to_pylist(), strict=True):
            elements[place][token] = number
    for place in _rows(pc.is_null(inside)):
        elements[place] = None
    start = 0
    for length in pc.list_value_length(lists).to_pylist():
        yield None if length is None else elements[start : start + length]
        start += length or 0


def _readable(lists: pa.ListArray) -> pa.ListArray:
    """The same lists, times in structs as texts: nanoseconds are no Python value."""
    inside = pc.list_flatten(lists)
    if not pa.types.is_struct(inside.type):
        return lists
    names = [field.name for field in inside.type]
    parts = [
        _as_iso(part) if pa.types.is_timestamp(part.type) else part for part in map(plain, inside.flatten())
    ]
    empty = pc.is_null(inside)
    return _relisted(lists, pa.StructArray.from_arrays(parts, names, mask=empty)) if parts else lists


def _as_iso(times: pa.Array) -> pa.Array:
    return pc.strftime(_ticks_to_instants(times)[0], format="%Y-%m-%dT%H:%M:%SZ")


def _map_as_sent(entry: Any) -> Any:
    """A map of likelihoods that came as a list of pairs (Arrow's map) or of structs (our own column)."""
    if isinstance(entry, list):
        pairs = [(one.get("token"), one.get("likelihood")) if isinstance(one, dict) else one for one in entry]
        return dict(pairs) if all(isinstance(p, tuple) and len(p) == 2 for p in pairs) else entry
    return entry


def _box_as_sent(box: Any) -> Any:
    return [box[name] for name in BOX] if isinstance(box, dict) and box.keys() == set(BOX) else box


def _unchanged(element: Any) -> Any:
    return element


_AS_SENT: dict[ValueType, Callable[[Any], Any]] = {
    ValueType.TOKEN_LIKELIHOODS: _map_as_sent,
    ValueType.RANKED_LIST: _unchanged,
    ValueType.BOUNDING_BOX: _box_as_sent,
    ValueType.TIME_SERIES: _unchanged,
}


@dataclass(frozen=True)
class _Cast:
    accepts: Callable[[pa.DataType], bool]
    wanted: str
    cast: Callable[[pa.Array, int, Column], tuple[pa.Array, Reasons]]


_TEXT = _Cast(is_text, "text", _text)
_TEXTS = _Cast(_is_list_of_texts, "lists of text", _texts)
_CASTS: dict[ValueType, _Cast] = {
    ValueType.STRING: _TEXT,
    ValueType.UNSTRUCTURED_TEXT: _TEXT,
    ValueType.IMAGE: _TEXT,
    ValueType.INTEGER: _Cast(_is_number, "whole numbers", _integer),
    ValueType.FLOAT: _Cast(lambda kind: _is_number(kind) or pa.types.is_decimal(kind), "numbers", _float),
    ValueType.BOOLEAN: _Cast(pa.types.is_boolean, "booleans", _boolean),
    ValueType.TIMESTAMP: _Cast(is_instant, "timestamps with a zone, or ISO 8601 texts", _instant),
    ValueType.ARRAY_STRING: _TEXTS,
    ValueType.TOKENS: _TEXTS,
    ValueType.TOKEN_LIKELIHOODS: _Cast(_is_list, "lists of maps of tokens to likelihoods", _structs),
    ValueType.RANKED_LIST: _Cast(_is_list, "lists of structs item_id, label, score", _structs),
    ValueType.BOUNDING_BOX: _Cast(_is_list, "lists of six numbers each", _structs),
    ValueType.TIME_SERIES: _Cast(
        _is_series, "lists of structs timestamp (with a zone, or a text) and value", _structs
    ),
}

"""One message between this process and its child, as bytes: a JSON header and buffers. No pickle, ever.

    4 bytes: magic   4 bytes: length of the header   header: JSON   the parts of the buffers, in order

A buffer is bytes, an array of numbers or booleans, or an array of objects (str, int, float, bool, None),
which goes column by column. The reader believes nothing: the other side may run hostile code. Runs in the
child as well, hence on Python 3.8 with numpy alone. Must not know what a message means.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Buffer = bytes | Array
    Message = tuple[dict[str, Any], list[Buffer]]
    Write = Callable[[memoryview], None]
    ReadInto = Callable[[memoryview], None]

_MAGIC = b"MWc1"
_HEAD = struct.Struct("<4sI")
MOST_HEADER = 16 << 20
MOST_BUFFERS = 1000
_MOST_AXES = 8
_DTYPES = ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8")
_PLAIN = (str, int, float, bool, type(None))


class WireError(ValueError):
    """What was to be sent cannot be, or what came is no message; says why."""


def write_message(write: Write, header: dict[str, Any], buffers: Sequence[Buffer]) -> None:
    """Write one message; `write` writes all of what it is given. Raises WireError before anything is written
    for values that cannot be sent, and what `write` raises."""
    told: list[dict[str, Any]] = []
    parts: list[memoryview] = []
    for buffer in buffers:
        description, own = _described(buffer)
        told.append(description)
        parts.extend(own)
    try:
        head = json.dumps({"header": header, "buffers": told}).encode("ascii")
    except (TypeError, ValueError) as error:
        raise WireError(f"the header cannot be sent: {error}") from None
    if len(head) > MOST_HEADER or len(told) > MOST_BUFFERS:
        raise WireError("the message has too long a header or too many buffers")
    write(memoryview(_HEAD.pack(_MAGIC, len(head)) + head))
    for part in parts:
        if part.nbytes:
            write(part)


def read_message(read_into: ReadInto, most_bytes: int) -> Message:
    """Read one message; `read_into` fills what it is given. Arrays are writable and the caller's own. At most
    about `most_bytes` are taken for it. Raises WireError, and what `read_into` raises."""
    head = bytearray(_HEAD.size)
    read_into(memoryview(head))
    magic, length = _HEAD.unpack(head)
    if magic != _MAGIC or length > MOST_HEADER:
        raise WireError("this is no message")
    text = bytearray(length)
    read_into(memoryview(text))
    content = _json(text)
    if not isinstance(content, dict):
        raise WireError("the header is no object")
    header, told = content.get("header"), content.get("buffers")
    if not isinstance(header, dict) or not isinstance(told, list) or len(told) > MOST_BUFFERS:
        raise WireError("the header is not of its shape")
    reader = _Reader(read_into, most_bytes)
    return header, [reader.buffer(description) for description in told]


def _described(buffer: Buffer) -> tuple[dict[str, Any], list[memoryview]]:
    if isinstance(buffer, (bytes, bytearray, memoryview)):
        view = memoryview(buffer).cast("B")
        return {"kind": "bytes", "bytes": view.nbytes}, [view]
    array = np.asarray(buffer)
    if array.dtype.kind in "US":
        array = array.astype(object)
    if array.dtype.kind == "O":
        return _described_objects(array)
    plain = _plain_numbers(array)
    view = _view(plain.reshape(-1))
    return {"kind": "numbers", "dtype": plain.dtype.str, "shape": list(plain.shape)}, [view]


def _plain_numbers(array: Array) -> Array:
    """The array in one of the types that are sent, C order, little-endian."""
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float64)
    plain = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).reshape(array.shape)
    if plain.dtype.str not in _DTYPES:
        raise WireError(f"an array of type {array.dtype} cannot be sent: numbers, booleans and texts can")
    return plain


def _described_objects(array: Array) -> tuple[dict[str, Any], list[memoryview]]:
    columns = [array.reshape(-1)] if array.ndim != 2 else [array[:, place] for place in range(array.shape[1])]
    told: list[dict[str, Any]] = []
    parts: list[memoryview] = []
    for column in columns:
        description, own = _described_column(column.tolist())
        told.append(description)
        parts.extend(own)
    return {"kind": "objects", "shape": list(array.shape), "columns": told}, parts


def _described_column(values: list[Any]) -> tuple[dict[str, Any], list[memoryview]]:
    kinds = set(map(type, values))
    if any(issubclass(kind, np.generic) for kind in kinds):
        values = [value.item() if isinstance(value, np.generic) else value for value in values]
        kinds = set(map(type, values))
    if not kinds <= set(_PLAIN):
        odd = sorted(kind.__name__ for kind in kinds - set(_PLAIN))
        raise WireError(f"values of type {', '.join(odd)} cannot be sent: str, int, float, bool and None can")
    if kinds == {float}:
        return {"of": "float"}, [_view(np.array(values, dtype="<f8"))]
    if kinds == {bool}:
        return {"of": "bool"}, [_view(np.array(values, dtype="|u1"))]
    if kinds == {int} and min(values) >= -(2**63) and max(values) < 2**63:
        return {"of": "int"}, [_view(np.array(values, dtype="<i8"))]
    # 1, 1.0 and True are equal keys but other values; NaN is no key at all.
    keys = values if kinds == {str} else [(type(v), "nan" if v != v else v) for v in values]
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    codes = np.fromiter(map(places.__getitem__, keys), dtype="<u4", count=len(keys))
    table = [key if type(key) is str else float("nan") if key == (float, "nan") else key[1] for key in places]
    text = json.dumps(table).encode("ascii")
    return {"of": "codes", "table": len(text)}, [memoryview(text), _view(codes)]


def _view(array: Array) -> memoryview:
    return array.view(np.uint8).data if array.size else memoryview(b"")


class _Reader:
    """Reads the parts of one message and keeps count of what they come to."""

    def __init__(self, read_into: ReadInto, most_bytes: int) -> None:
        self._read_into = read_into
        self._most = self._left = most_bytes

    def buffer(self, told: Any) -> Buffer:
        if not isinstance(told, dict):
            raise WireError("a buffer is not described")
        kind = told.get("kind")
        if kind == "bytes":
            return bytes(self._bytes(_whole(told.get("bytes"))))
        shape = _shape(told.get("shape"))
        if kind == "numbers":
            if told.get("dtype") not in _DTYPES:
                raise WireError("an array is of a type that is not sent")
            return self._numbers(told["dtype"], shape)
        if kind == "objects" and isinstance(told.get("columns"), list):
            return self._objects(told["columns"], shape)
        raise WireError("a buffer is of no known kind")

    def _bytes(self, size: int) -> bytearray:
        self._left -= size
        if self._left < 0:
            raise WireError(f"the message has more than {self._most} bytes")
        content = bytearray(size)
        if size:
            self._read_into(memoryview(content))
        return content

    def _numbers(self, dtype: str, shape: tuple[int, ...]) -> Array:
        count = 1
        for axis in shape:
            count *= axis
        content = self._bytes(count * np.dtype(dtype).itemsize)
        if dtype == "|b1":
            # A byte that is neither 0 nor 1 would be a boolean of no defined behaviour.
            booleans: Array = np.frombuffer(content, dtype=np.uint8) != 0
            return booleans.reshape(shape)
        numbers: Array = np.frombuffer(content, dtype=dtype)
        return numbers.reshape(shape)

    def _objects(self, columns: list[Any], shape: tuple[int, ...]) -> Array:
        width = shape[1] if len(shape) == 2 else 1
        if len(columns) != width:
            raise WireError("an array of objects has another number of columns than it says")
        length = 1
        for axis in shape[:1] if len(shape) == 2 else shape:
            length *= axis
        self._left -= 8 * length * width
        if self._left < 0:
            raise WireError(f"the message has more than {self._most} bytes")
        whole = np.empty((length, width), dtype=object)
        for place, told in enumerate(columns):
            whole[:, place] = self._column(told, length)
        return whole.reshape(shape)

    def _column(self, told: Any, length: int) -> Array:
        kind = told.get("of") if isinstance(told, dict) else None
        if kind == "float":
            return self._numbers("<f8", (length,)).astype(object)
        if kind == "int":
            return self._numbers("<i8", (length,)).astype(object)
        if kind == "bool":
            return self._numbers("|b1", (length,)).astype(object)
        if kind != "codes":
            raise WireError("a column is of no known kind")
        table = _json(self._bytes(_whole(told.get("table"))))
        if not isinstance(table, list) or not all(isinstance(value, _PLAIN) for value in table):
            raise WireError("a column's values are not plain")
        codes = self._numbers("<u4", (length,))
        if length and (not table or int(codes.max()) >= len(table)):
            raise WireError("a column names values that it has not")
        values = np.empty(len(table), dtype=object)
        values[:] = table
        found: Array = values[codes]
        return found


def _json(text: bytes | bytearray) -> Any:
    try:
        return json.loads(bytes(text))
    except (ValueError, RecursionError):
        raise WireError("a header cannot be read") from None


def _whole(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise WireError("a size is no whole number")
    return number


def _shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or len(shape) > _MOST_AXES:
        raise WireError("a shape is no list of few numbers")
    return tuple(_whole(axis) for axis in shape)

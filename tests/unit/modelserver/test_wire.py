"""What is sent to a child and back arrives as it was; what is no message is refused, whatever it claims."""

import contextlib
import json
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelwarden_server.modelserver.wire import WireError, read_message, write_message

MOST = 1 << 20


def sent(header: dict[str, Any], buffers: list[Any]) -> bytes:
    pieces: list[bytes] = []
    write_message(lambda view: pieces.append(bytes(view)), header, buffers)
    return b"".join(pieces)


def reader(content: bytes) -> Callable[[memoryview], None]:
    place = [0]

    def read_into(view: memoryview) -> None:
        piece = content[place[0] : place[0] + view.nbytes]
        if len(piece) < view.nbytes:
            raise EOFError
        view[:] = piece
        place[0] += view.nbytes

    return read_into


def through(buffer: Any) -> Any:
    header, buffers = read_message(reader(sent({"a": 1}, [buffer])), MOST)
    assert header == {"a": 1}
    return buffers[0]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and one == other


NUMBERS = st.sampled_from(["b1", "i1", "u1", "<i2", ">i4", "<i8", "<u8", "<f4", ">f8", "<f8"])
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_subnormal=True),
    st.text(max_size=5),
)


@given(arrays.arrays(NUMBERS, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
def test_arrays_of_numbers_arrive_bit_by_bit(array: np.ndarray) -> None:
    back = through(array)
    assert back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("<")
    assert back.tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()
    assert back.flags.writeable


@given(st.integers(0, 5), st.integers(1, 4), st.data())
def test_objects_arrive_with_their_types(rows: int, columns: int, data: st.DataObject) -> None:
    cells = data.draw(st.lists(PLAIN, min_size=rows * columns, max_size=rows * columns))
    array = np.empty(rows * columns, dtype=object)
    array[:] = cells
    back = through(array.reshape(rows, columns))
    assert back.shape == (rows, columns)
    assert all(same(one, other) for one, other in zip(cells, back.reshape(-1).tolist(), strict=True))


@pytest.mark.parametrize(
    "column", [[1, 2], [1.5, float("nan")], [True, False], ["a", "b"], [1, 1.0, True, "1", None], [2**80]]
)
def test_each_kind_of_column_arrives(column: list[Any]) -> None:
    array = np.empty((len(column), 1), dtype=object)
    array[:, 0] = column
    assert all(same(one, other) for one, other in zip(column, through(array)[:, 0].tolist(), strict=True))


def test_texts_and_scalars_of_numpy_are_sent_as_plain_values() -> None:
    assert through(np.array(["a", "b"])).tolist() == ["a", "b"]
    array = np.empty(2, dtype=object)
    array[:] = [np.float32(0.5), np.int64(3)]
    assert [type(value) for value in through(array).tolist()] == [float, int]


def test_bytes_arrive() -> None:
    assert through(b"\x00image") == b"\x00image"


@pytest.mark.parametrize(
    "buffer",
    [np.array([1j]), np.array(["2020"], dtype="M8[D]"), np.array([object()]), np.array([b"x"], dtype=object)],
)
def test_what_cannot_be_sent_is_refused_before_a_byte_is_written(buffer: np.ndarray) -> None:
    pieces: list[bytes] = []
    with pytest.raises(WireError):
        write_message(lambda view: pieces.append(bytes(view)), {}, [buffer])
    assert not pieces


def forged(header: Any, rest: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<4sI", b"MWc1", len(text)) + text + rest


def holding(*buffers: Any) -> dict[str, Any]:
    return {"header": {}, "buffers": list(buffers)}


HUGE = {"kind": "numbers", "dtype": "<f8", "shape": [1 << 40, 1 << 40]}
TEN = {"kind": "bytes", "bytes": 10}
NONE = {"of": "codes", "table": 2}
CODES = {"of": "codes", "table": 5}
FORGED = {
    "another magic": b"HTTP/1.1 200 OK",
    "a header without end": struct.pack("<4sI", b"MWc1", 1 << 31),
    "no json": forged(b"{nope"),
    "json too deep": forged(b"[" * 100_000 + b"]" * 100_000),
    "a list": forged([]),
    "no header": forged({"buffers": []}),
    "too many buffers": forged(holding(*[{"kind": "bytes", "bytes": 0}] * 5000)),
    "more than may be": forged(holding({"kind": "bytes", "bytes": MOST + 1})),
    "bytes by the way": forged(holding(TEN, {"kind": "bytes", "bytes": MOST}), bytes(10)),
    "a huge array": forged(holding(HUGE)),
    "a negative size": forged(holding({"kind": "bytes", "bytes": -1})),
    "a size that is true": forged(holding({"kind": "bytes", "bytes": True})),
    "a negative axis": forged(holding({"kind": "numbers", "dtype": "<f8", "shape": [-1]})),
    "many axes": forged(holding({"kind": "numbers", "dtype": "<f8", "shape": [1] * 20})),
    "objects by their pointers": forged(holding({"kind": "numbers", "dtype": "|O", "shape": [1]}), bytes(8)),
    "other types": forged(holding({"kind": "numbers", "dtype": "<M8[s]", "shape": [1]}), bytes(8)),
    "another kind": forged(holding({"kind": "pickle", "bytes": 0})),
    "objects without columns": forged(holding({"kind": "objects", "shape": [1, 1]})),
    "fewer columns": forged(holding({"kind": "objects", "shape": [1, 2], "columns": []})),
    "many objects": forged(holding({"kind": "objects", "shape": [1 << 30, 1], "columns": [CODES]})),
    "codes past the table": forged(
        holding({"kind": "objects", "shape": [1, 1], "columns": [CODES]}), b'["a"]' + struct.pack("<I", 7)
    ),
    "a table of lists": forged(
        holding({"kind": "objects", "shape": [1, 1], "columns": [CODES]}), b"[[1]]" + struct.pack("<I", 0)
    ),
    "an empty table": forged(
        holding({"kind": "objects", "shape": [1, 1], "columns": [NONE]}), b"[]" + bytes(4)
    ),
}  # fmt: skip


@pytest.mark.parametrize("content", FORGED.values(), ids=FORGED.keys())
def test_what_is_no_message_is_refused(content: bytes) -> None:
    with pytest.raises(WireError):
        read_message(reader(content + bytes(64)), MOST)


@settings(max_examples=200)
@given(st.data())
def test_bytes_changed_anywhere_never_break_the_reader(data: st.DataObject) -> None:
    array = np.array([["a", 1.0], [None, 2.5]], dtype=object)
    content = bytearray(sent({"call": 1}, [array, np.arange(3.0), b"x"]))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError, EOFError):
        read_message(reader(bytes(content)), MOST)

"""A prediction as the sidecar asks the model server for it, and as it is answered: one frame each way.

    8 bytes: length of the header   header: JSON   the buffers one after the other, their sizes in the header

The first buffer of a question is the JSON list of data points, the others are the files in their order; the
answer's only buffer is the JSON list of results. Read again in any Python, so nothing but the standard
library. Must not know what is in a buffer.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

FRAME: Final = "application/vnd.modelwarden.frame"
MOST_HEADER: Final = 1 << 20
_SIZE = struct.Struct(">Q")


class FrameError(ValueError):
    """The bytes are no frame. The message says what is wrong with them."""


def frame(
    header: Mapping[str, Any], buffers: Sequence[bytes | bytearray | memoryview]
) -> Iterator[bytes | bytearray | memoryview]:
    """The pieces of a frame: the header's under `sizes` is written here."""
    sizes = [len(buffer) for buffer in buffers]
    head = json.dumps({**header, "sizes": sizes}, separators=(",", ":")).encode()
    yield _SIZE.pack(len(head)) + head
    yield from buffers


def unframe(content: bytes | bytearray | memoryview) -> tuple[dict[str, Any], list[memoryview]]:
    """Header and buffers; the buffers are views of `content`. Raises FrameError."""
    whole = memoryview(content)
    if len(whole) < _SIZE.size:
        raise FrameError("the frame is shorter than its first eight bytes")
    (length,) = _SIZE.unpack(whole[: _SIZE.size])
    start = _SIZE.size + length
    if length > MOST_HEADER or start > len(whole):
        raise FrameError("the frame's header is longer than the frame")
    try:
        header = json.loads(bytes(whole[_SIZE.size : start]))
        sizes = [int(size) for size in header["sizes"]]
    except (ValueError, KeyError, TypeError) as error:
        raise FrameError(f"the frame's header cannot be read: {type(error).__name__}") from None
    if min(sizes, default=0) < 0 or start + sum(sizes) != len(whole):
        raise FrameError("the frame's buffers are not as long as its header says")
    buffers = []
    for size in sizes:
        buffers.append(whole[start : start + size])
        start += size
    return header, buffers

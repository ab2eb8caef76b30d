"""Records as bytes: a header of fixed size with a checksum of its own, then the payload.

The header's `settled` is the highest sequence number that was durable when the record was written. It is
what tells, after a power cut, damage from a torn write: of the records that were being written, any may
be missing, but never one that a later record calls settled. Checksums begin with a salt, the log's own:
bytes that a client sent can look like a frame, but not like one of this log.
"""

import struct
import zlib
from dataclasses import dataclass

from modelwarden_server.log.protocol import Kind, Record

MAGIC = 0x4D57_4C31  # "MWL1"
_FIELDS = struct.Struct(
    "<IIQQqqIIBxxx"
)  # magic, length, sequence, settled, arrival, generation, rows, sampled, kind
_SUMS = struct.Struct("<II")  # of the payload, of the header with the former
HEADER_SIZE = _FIELDS.size + _SUMS.size
MAX_PAYLOAD = 1 << 30
MAGIC_BYTES = struct.pack("<I", MAGIC)


@dataclass(frozen=True, slots=True)
class Header:
    """A frame's header, its checksum verified."""

    length: int
    sequence: int
    settled: int
    arrival: int
    generation: int
    rows: int
    sampled_out: int
    kind: Kind
    payload_sum: int


def encode(record: Record, sequence: int, settled: int, salt: int) -> list[bytes | memoryview]:
    """The frame of a record, as pieces to be written one after the other. Raises ValueError if too large."""
    length = len(record.payload)
    if length > MAX_PAYLOAD:
        raise ValueError(f"a record of {length} bytes is larger than {MAX_PAYLOAD}")
    fields = _FIELDS.pack(
        MAGIC,
        length,
        sequence,
        settled,
        record.arrival,
        record.generation,
        record.rows,
        record.sampled_out,
        record.kind,
    )
    payload_sum = zlib.crc32(record.payload)
    header_sum = zlib.crc32(payload_sum.to_bytes(4, "little"), zlib.crc32(fields, salt))
    return [fields + _SUMS.pack(payload_sum, header_sum), record.payload]


def decode_header(data: bytes | memoryview, salt: int) -> Header | None:
    """The header at the start of `data`, or None if there is no intact one."""
    if len(data) < HEADER_SIZE:
        return None
    payload_sum, header_sum = _SUMS.unpack_from(data, _FIELDS.size)
    fields = data[: _FIELDS.size]
    if zlib.crc32(payload_sum.to_bytes(4, "little"), zlib.crc32(fields, salt)) != header_sum:
        return None
    magic, length, sequence, settled, arrival, generation, rows, sampled, kind = _FIELDS.unpack(fields)
    if magic != MAGIC or kind not in tuple(Kind):
        return None
    return Header(length, sequence, settled, arrival, generation, rows, sampled, Kind(kind), payload_sum)


def intact(header: Header, payload: bytes | memoryview) -> bool:
    """Whether the payload is the one the header was written for."""
    return len(payload) == header.length and zlib.crc32(payload) == header.payload_sum


def record_of(header: Header, payload: bytes | memoryview) -> Record:
    """The record of a verified frame."""
    return Record(
        kind=header.kind,
        rows=header.rows,
        payload=payload,
        arrival=header.arrival,
        generation=header.generation,
        sampled_out=header.sampled_out,
        sequence=header.sequence,
    )

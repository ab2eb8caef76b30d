"""128-bit digests of ids and of rows, the same for a row in a request and for that row in a table.

A row's digest says whether a second row of the same id is the same row. It covers the event time, the
batch and every attribute, but neither arrival time nor settings, and does not depend on the order of
columns. Ids and texts are hashed with BLAKE2b; the values of a row are combined by a vectorised mixing
function (splitmix64's finaliser, two lanes): two different rows of one id have the same digest with
probability 2^-128 unless someone constructs them, and then only his own second row goes unnoticed.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Words = npt.NDArray[np.uint64]

_A = np.uint64(0xBF58476D1CE4E5B9)
_B = np.uint64(0x94D049BB133111EB)


def id_keys(ids: list[str]) -> Words:
    """One row of two words per id."""
    joined = b"".join(hashlib.blake2b(i.encode(), digest_size=16, person=b"mw-id").digest() for i in ids)
    return np.frombuffer(joined, dtype="<u8").reshape(-1, 2)


class RowDigester:
    """Digests of rows over some columns of a schema, which it finds by name."""

    def __init__(self, columns: list[str]) -> None:
        self._columns = columns
        salts = [
            hashlib.blake2b(name.encode(), digest_size=16, person=b"mw-column").digest() for name in columns
        ]
        self._salts = np.frombuffer(b"".join(salts), dtype="<u8").reshape(-1, 2)

    def digests(self, batch: pa.RecordBatch) -> Words:
        """One row of two words per row of the batch."""
        words = np.empty((len(self._columns), batch.num_rows, 2), dtype=np.uint64)
        for place, name in enumerate(self._columns):
            column = batch.column(name)
            words[place] = _text_words(column) if pa.types.is_string(column.type) else _value_words(column)
            if column.null_count:
                words[place][column.is_null().to_numpy(zero_copy_only=False)] = self._salts[place][::-1]
        words ^= self._salts[:, None, :]
        total: Words = _mixed(words).sum(axis=0, dtype=np.uint64)
        return total


def _mixed(words: Words) -> Words:
    """splitmix64's finaliser (Stafford's variant 13), in place: every bit comes to depend on every bit."""
    words ^= words >> np.uint64(30)
    words *= _A
    words ^= words >> np.uint64(27)
    words *= _B
    words ^= words >> np.uint64(31)
    return words


def _value_words(column: pa.Array) -> Words:
    """The values' bits, for both lanes (each has a salt of its own). One zero, one NaN."""
    if pa.types.is_floating(column.type):
        numbers = column.to_numpy(zero_copy_only=False) + 0.0  # makes -0.0 the other zero
        numbers[np.isnan(numbers)] = np.nan
        bits = numbers.view(np.uint64)
    elif pa.types.is_boolean(column.type):
        known = pc.fill_null(column, False) if column.null_count else column  # noqa: FBT003
        bits = known.to_numpy(zero_copy_only=False).astype(np.uint64)
    else:
        whole = column.view(pa.int64())
        known = pc.fill_null(whole, 0) if column.null_count else whole
        bits = known.to_numpy(zero_copy_only=False).view(np.uint64)
    words: Words = bits[:, None]
    return words


def _text_words(column: pa.Array) -> Words:
    """BLAKE2b of each distinct text, laid out by row."""
    encoded = (pc.fill_null(column, "") if column.null_count else column).dictionary_encode()
    joined = b"".join(
        hashlib.blake2b(text.encode(), digest_size=16, person=b"mw-text").digest()
        for text in encoded.dictionary.to_pylist()
    )
    distinct = np.frombuffer(joined, dtype="<u8").reshape(-1, 2)
    words: Words = distinct[encoded.indices.to_numpy(zero_copy_only=False)]
    return words

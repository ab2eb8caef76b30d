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

FEW = 16
BYTES_AT_ONCE = 2 << 20
"""Of values at a time: several times as much is held meanwhile, and should fit into the processor's cache."""
_A = np.uint64(0xBF58476D1CE4E5B9)
_B = np.uint64(0x94D049BB133111EB)
# Odd, so that multiplying by them tells all places apart (the golden ratio's bits and the finaliser's own).
_PLACES = np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], dtype=np.uint64)
_MISSING = np.array([0x2545F4914F6CDD1D, 0x5851F42D4C957F2D], dtype=np.uint64)


def id_keys(ids: list[str]) -> Words:
    """One row of two words per id."""
    joined = b"".join(hashlib.blake2b(i.encode(), digest_size=16, person=b"mw-id").digest() for i in ids)
    return np.frombuffer(joined, dtype="<u8").reshape(-1, 2)


def packed(keys: Words, digests: Words) -> pa.Array:
    """Keys and digests as one column of 32 bytes a row."""
    rows = np.ascontiguousarray(np.concatenate([keys, digests], axis=1))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(rows), [None, pa.py_buffer(rows)])


def unpacked(column: pa.Array) -> Words:
    """The rows of such a column: four words each, two of the key and two of the digest."""
    rows: Words = np.frombuffer(column.buffers()[1], dtype="<u8").reshape(-1, 4)
    return rows[column.offset : column.offset + len(column)]


class RowDigester:
    """Digests of rows over all columns of a schema but the id's; batches may have more columns than these."""

    def __init__(self, schema: pa.Schema, but: str) -> None:
        fields = [field for field in schema if field.name != but]
        # Floats come first, so that one operation does for all of them: it is per-column work that costs.
        self._floats = [f.name for f in fields if pa.types.is_floating(f.type)]
        self._texts = [f.name for f in fields if pa.types.is_string(f.type)]
        self._nested = [f.name for f in fields if pa.types.is_nested(f.type)]
        apart = {*self._floats, *self._texts, *self._nested}
        others = [f.name for f in fields if f.name not in apart]
        self._names = [*self._floats, *others, *self._nested, *self._texts]
        self._salts = _salts(self._names)

    def digests(self, batch: pa.RecordBatch) -> Words:
        """One row of two words per row of the batch."""
        if batch.num_rows <= FEW or batch.nbytes <= BYTES_AT_ONCE:
            return self._digests(batch)
        rows = max(1, BYTES_AT_ONCE * batch.num_rows // batch.nbytes)
        parts = [self._digests(batch.slice(start, rows)) for start in range(0, batch.num_rows, rows)]
        return np.concatenate(parts)

    def _digests(self, batch: pa.RecordBatch) -> Words:
        places = {name: place for place, name in enumerate(batch.schema.names)}
        arrays = batch.columns
        columns = [arrays[places[name]] for name in self._names]
        words = np.empty((len(columns), batch.num_rows, 2), dtype=np.uint64)
        floats, texts = len(self._floats), len(columns) - len(self._texts)
        nested = texts - len(self._nested)
        if floats:
            words[:floats] = _float_words(columns[:floats])
        for place in range(floats, nested):
            words[place] = _whole_words(columns[place])
        for place in range(nested, texts):
            words[place] = _words(columns[place])
        for place in range(texts, len(columns)):
            words[place] = _text_words(columns[place])
        for place, column in enumerate(columns):
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


def _float_words(columns: list[pa.Array]) -> Words:
    """The bits of the numbers, for both lanes (each has a salt of its own). One zero, one NaN."""
    numbers = np.array([column.to_numpy(zero_copy_only=False) for column in columns])
    numbers += 0.0  # makes -0.0 the other zero
    numbers[np.isnan(numbers)] = np.nan
    words: Words = numbers.view(np.uint64)[:, :, None]
    return words


def _whole_words(column: pa.Array) -> Words:
    """The bits of integers, booleans and instants."""
    if pa.types.is_boolean(column.type):
        known = pc.fill_null(column, False) if column.null_count else column  # noqa: FBT003
        bits = known.to_numpy(zero_copy_only=False).astype(np.uint64)
    else:
        whole = column.view(pa.int64())
        known = pc.fill_null(whole, 0) if column.null_count else whole
        bits = known.to_numpy(zero_copy_only=False).view(np.uint64)
    words: Words = bits[:, None]
    return words


def _text_words(column: pa.Array) -> Words:
    """BLAKE2b of each text; of each distinct one if there are many."""
    if len(column) <= FEW:
        return _hashed(column.to_pylist())
    encoded = (pc.fill_null(column, "") if column.null_count else column).dictionary_encode()
    words: Words = _hashed(encoded.dictionary.to_pylist())[encoded.indices.to_numpy(zero_copy_only=False)]
    return words


def _words(column: pa.Array) -> Words:
    """Two words a value of any type, lists and structs included: each part mixed with its place, then summed.

    A missing value, an empty list and a list of a missing value are three different values.
    """
    kind = column.type
    if pa.types.is_list(kind):
        words = _list_words(column)
    elif pa.types.is_struct(kind):
        names = [field.name for field in kind]
        parts = np.stack([_words(part) for part in column.flatten()])
        words = _mixed(parts ^ _salts(names)[:, None, :]).sum(axis=0, dtype=np.uint64)
    elif pa.types.is_string(kind):
        words = _text_words(column)
    elif pa.types.is_floating(kind):
        words = _float_words([column])[0]
    else:
        words = _whole_words(column)
    words = np.array(np.broadcast_to(words, (len(column), 2)))
    if column.null_count:
        words[column.is_null().to_numpy(zero_copy_only=False)] = _MISSING
    return words


def _list_words(column: pa.ListArray) -> Words:
    ends = column.offsets.to_numpy().astype(np.int64) - column.offsets[0].as_py()
    lengths = np.diff(ends)
    places = (np.arange(ends[-1]) - np.repeat(ends[:-1], lengths)).astype(np.uint64)
    inside = column.values.slice(column.offsets[0].as_py(), int(ends[-1]))
    mixed = _mixed(_words(inside) ^ _mixed(places[:, None] * _PLACES))
    sums = np.zeros((len(mixed) + 1, 2), dtype=np.uint64)
    np.cumsum(mixed, axis=0, dtype=np.uint64, out=sums[1:])
    words: Words = sums[ends[1:]] - sums[ends[:-1]]
    return _mixed(words + lengths.astype(np.uint64)[:, None] * _PLACES)


def _salts(names: list[str]) -> Words:
    joined = b"".join(
        hashlib.blake2b(n.encode(), digest_size=16, person=b"mw-column").digest() for n in names
    )
    return np.frombuffer(joined, dtype="<u8").reshape(-1, 2)


def _hashed(texts: list[str | None]) -> Words:
    joined = b"".join(
        hashlib.blake2b((text or "").encode(), digest_size=16, person=b"mw-text").digest() for text in texts
    )
    return np.frombuffer(joined, dtype="<u8").reshape(-1, 2)

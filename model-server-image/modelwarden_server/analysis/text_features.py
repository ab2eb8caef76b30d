"""Free text as a few numbers, offline and without a model: how usual its letters' sequences are.

A text becomes its sequences of four bytes (small letters, the first 2000 characters), hashed to 8192 buckets.
With the reference's frequencies as weights (tf-idf: (1 + ln tf) · (1 + ln((1 + N) / (1 + df)))):

    0  mean weight of its sequences: how rare they are in the reference
    1  share of sequences that the reference never had
    2  cosine to the mean of the reference's texts
    3  log2(1 + bytes)
    4, 5  projections of the weights, of length 1, onto fixed random signs: more of them drown what says most

A missing text is −1 in each. Kept are frequencies of buckets, no texts. Must not know where texts are from.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.analysis.mixing import GOLDEN, mix
from modelwarden_server.analysis.trees import Floats, Matrix

TEXT: Final = "text"
BUCKETS: Final = 8192
PROJECTIONS: Final = 2
TEXT_FEATURES: Final = 4 + PROJECTIONS
_GRAM: Final = 4
_CHARACTERS: Final = 2000
_BYTES_AT_ONCE: Final = 1 << 20
_SHIFT: Final = 32 - 13
_ABSENT: Final = -1.0
_Bins = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TextCoder:
    """`rarity` is the weight of each bucket, negative where the reference never had it; `centre` the mean of
    the reference's texts, of length 1. Both float32, of BUCKETS.
    """

    name: str
    rarity: npt.NDArray[np.float32]
    centre: npt.NDArray[np.float32]
    coding: ClassVar[str] = TEXT

    def __post_init__(self) -> None:
        for array in (self.rarity, self.centre):
            if array.shape != (BUCKETS,) or array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"the encoding of {self.name!r} has other buckets")

    def encode(self, values: pa.Array, out: Matrix) -> None:
        """The features of each text, into the columns of `out`."""
        start = 0
        for piece in _pieces(values):
            out[start : start + len(piece)] = self._features(piece)
            start += len(piece)

    def _features(self, texts: pa.Array) -> Floats:
        grams = _grams(texts)
        rows = len(texts)
        weight = np.abs(self.rarity).astype(np.float64)[grams.bucket]
        total = np.maximum(grams.sums(grams.times), 1.0)
        tf_idf = (1.0 + np.log(grams.times)) * weight
        length = np.sqrt(grams.sums(tf_idf**2))
        length[length == 0] = 1.0
        found = np.empty((rows, TEXT_FEATURES))
        found[:, 0] = grams.sums(grams.times * weight) / total
        found[:, 1] = grams.sums(grams.times * (self.rarity[grams.bucket] < 0)) / total
        found[:, 2] = grams.sums(tf_idf * self.centre[grams.bucket]) / length
        found[:, 3] = np.log2(1.0 + grams.sizes)
        for place, signs in enumerate(_SIGNS):
            found[:, 4 + place] = grams.sums(tf_idf * signs[grams.bucket]) / length
        found[texts.is_null().to_numpy(zero_copy_only=False)] = _ABSENT
        return found


def fit_text(name: str, values: pa.Array) -> TextCoder | str:
    """The coder of a column of the reference, or why there is none."""
    there = values.drop_null()
    if pc.count_distinct(there).as_py() < 2 and not values.null_count:
        return "all its values are the same"
    had = np.zeros(BUCKETS)
    for piece in _pieces(there):
        had += np.bincount(_grams(piece).bucket, minlength=BUCKETS)
    weight = 1.0 + np.log((1.0 + len(there)) / (1.0 + had))
    centre = np.zeros(BUCKETS)
    for piece in _pieces(there):
        grams = _grams(piece)
        tf_idf = (1.0 + np.log(grams.times)) * weight[grams.bucket]
        length = np.sqrt(grams.sums(tf_idf**2))
        length[length == 0] = 1.0
        centre += np.bincount(grams.bucket, tf_idf / length[grams.row], minlength=BUCKETS)
    size = float(np.sqrt((centre**2).sum())) or 1.0
    rarity = np.where(had > 0, weight, -weight)
    return TextCoder(name, rarity.astype(np.float32), (centre / size).astype(np.float32))


@dataclass(frozen=True, eq=False)
class _Grams:
    """Which buckets each text has, and how often; bytes of each text."""

    row: _Bins
    bucket: _Bins
    times: Floats
    sizes: _Bins

    def sums(self, values: npt.NDArray[Any]) -> Floats:
        """The sum of something over each text."""
        return np.bincount(self.row, values, minlength=len(self.sizes)).astype(np.float64)


def _grams(texts: pa.Array) -> _Grams:
    """Of texts that are small together. A null has none."""
    whole = pc.fill_null(texts, "").cast(pa.large_string())
    _, offsets_buffer, data = whole.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[whole.offset : whole.offset + len(whole) + 1]
    sizes = np.diff(offsets)
    bytes_ = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, dtype=np.uint8)
    bytes_ = bytes_[offsets[0] : offsets[-1]].astype(np.uint32) if len(offsets) else bytes_.astype(np.uint32)
    counts = np.maximum(sizes - _GRAM + 1, 0)
    row = np.repeat(np.arange(len(sizes)), counts)
    first = np.cumsum(counts) - counts
    at = np.arange(int(counts.sum())) - first[row] + (offsets[:-1] - offsets[0])[row]
    gram = np.zeros(len(at), dtype=np.uint32)
    for step in range(_GRAM):
        gram |= bytes_[at + step] << np.uint32(8 * step)
    bucket = ((gram * np.uint32(2654435761)) >> np.uint32(_SHIFT)).astype(np.int64)
    both, times = np.unique(row * BUCKETS + bucket, return_counts=True)
    return _Grams(both // BUCKETS, both % BUCKETS, times.astype(np.float64), sizes)


def _pieces(values: pa.Array) -> Iterator[pa.Array]:
    """The texts in small letters, cut, in pieces of bounded size."""
    cut = pc.utf8_lower(pc.utf8_slice_codeunits(values, 0, _CHARACTERS))
    sizes = pc.fill_null(pc.binary_length(cut), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    edge = np.cumsum(sizes) // _BYTES_AT_ONCE
    starts = np.flatnonzero(np.r_[True, edge[1:] != edge[:-1]]) if len(edge) else np.zeros(0, np.int64)
    for start, end in zip(starts.tolist(), [*starts.tolist()[1:], len(cut)], strict=True):
        yield cut.slice(start, end - start)


def _signs() -> npt.NDArray[np.float64]:
    """+1 or −1 by bucket and projection, of a generator of our own: the same for ever."""
    state = mix(np.arange(BUCKETS * PROJECTIONS, dtype=np.uint64) + GOLDEN)
    return np.where((state >> np.uint64(63)) == 1, 1.0, -1.0).reshape(PROJECTIONS, BUCKETS)


_SIGNS: Final = _signs()

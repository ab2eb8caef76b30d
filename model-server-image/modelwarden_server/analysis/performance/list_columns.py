"""Ranked lists, their relevant items and tokens' likelihoods: what of them is remembered and counted. Pure;
must not know blocks.

Items are known by 32 bits of their hash: that two different ones look alike happens to one row in some
millions, of a list and a label of the longest kind. Of a list its first MAX_PLACES items are kept, of a label
MAX_RELEVANT distinct ones; a label of more is known to be one, no more.
"""

import hashlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.performance.packing import Words

Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint32]
"""Of items, 0 for none; shape (n, places)."""
MAX_PLACES: Final = 20
MAX_RELEVANT: Final = 30
NONE: Final = -1
"""The length of a list that is missing."""


def ranked_words(lists: pa.Array | pa.ChunkedArray) -> Words:
    """What is remembered of ranked lists: the hashes of the first items, then the length. Shape (n, 11)."""
    texts, rows, lengths = _flat(lists)
    hashes = _hashes(pc.struct_field(texts, "item_id"))
    return _with_length(_first(hashes, rows, len(lengths), MAX_PLACES), lengths)


def relevant_words(lists: pa.Array | pa.ChunkedArray) -> Words:
    """What is remembered of the relevant items, each once: hashes, then how many there are. Shape (n, 16)."""
    texts, rows, lengths = _flat(lists)
    coded = texts.dictionary_encode()
    codes = coded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    there = codes >= 0
    pairs = np.unique(np.stack([rows[there], codes[there]], axis=1), axis=0)
    owner, hashes = pairs[:, 0], _hashes(coded.dictionary)[pairs[:, 1]]
    # In an order that does not depend on what else is in the batch.
    order = np.lexsort((hashes, owner))
    distinct = np.where(lengths < 0, NONE, np.bincount(owner, minlength=len(lengths)))
    return _with_length(_first(hashes[order], owner[order], len(lengths), MAX_RELEVANT), distinct)


def items_of(words: Words) -> tuple[Hashes, Integers]:
    """The hashes and the length (NONE: there is no list) of words that either of them made."""
    hashes = np.ascontiguousarray(words[:, :-1]).view(np.uint32)
    return hashes, words[:, -1].copy().view(np.int64)


def likelihoods(lists: pa.Array | pa.ChunkedArray) -> Floats:
    """Of each row: mean and deviation (n - 1) of the likeliest token's likelihood by place, and how many
    places there are. Shape (n, 3), NaN for what there is none of.
    """
    steps, rows, lengths = _flat(lists)
    options, of_step, _ = _flat(steps)
    likelihood = pc.struct_field(options, "likelihood").to_numpy(zero_copy_only=False).astype(np.float64)
    best = np.full(len(rows), -np.inf)
    np.maximum.at(best, of_step, np.where(np.isnan(likelihood), -np.inf, likelihood))
    known = best >= 0
    owner, values, many = rows[known], best[known], len(lengths)
    n = np.bincount(owner, minlength=many)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(owner, weights=values, minlength=many) / n
        squares = np.bincount(owner, weights=(values - mean[owner]) ** 2, minlength=many)
        deviation = np.where(n > 1, np.sqrt(squares / (n - 1)), np.nan)
    return np.stack([mean, deviation, _length(lengths)], axis=1)


def lengths_of(lists: pa.Array | pa.ChunkedArray) -> Floats:
    """The length of each list as `likelihoods` tells it, of tokens without likelihoods."""
    length = _length(_flat(lists)[2])
    return np.stack([np.full(len(length), np.nan), np.full(len(length), np.nan), length], axis=1)


def _length(lengths: Integers) -> Floats:
    return np.where(lengths < 0, np.nan, lengths.astype(np.float64))


def _flat(lists: pa.Array | pa.ChunkedArray) -> tuple[Any, Integers, Integers]:
    """All elements, the row of each, and the length of each row's list (NONE: missing)."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    if isinstance(array, pa.ChunkedArray):  # no chunk at all
        array = pa.array([], array.type)
    known = pc.list_value_length(array).cast(pa.int64()).fill_null(NONE)
    lengths = known.to_numpy(zero_copy_only=False)
    return array.flatten(), np.repeat(np.arange(len(lengths)), np.maximum(lengths, 0)), lengths


def _hashes(texts: pa.Array) -> Hashes:
    """32 bits of each text's BLAKE2b, never 0; 0 for a missing one."""
    coded = texts.dictionary_encode()
    found = b"".join(
        hashlib.blake2b(t.encode(), digest_size=4, person=b"mw-item").digest()
        for t in coded.dictionary.to_pylist()
    )
    table = np.maximum(np.frombuffer(found, dtype="<u4"), 1)
    index = coded.indices.cast(pa.int64()).fill_null(len(table)).to_numpy(zero_copy_only=False)
    hashes: Hashes = np.append(table, np.uint32(0)).astype(np.uint32)[index]
    return hashes


def _first(hashes: Hashes, rows: Integers, many: int, most: int) -> Hashes:
    """The first `most` of each row, rows ascending."""
    place = np.arange(len(rows)) - np.searchsorted(rows, rows, side="left")
    found = np.zeros((many, most), dtype=np.uint32)
    kept = place < most
    found[rows[kept], place[kept]] = hashes[kept]
    return found


def _with_length(hashes: Hashes, lengths: Integers) -> Words:
    return np.column_stack([hashes.view(np.uint64), lengths.astype(np.int64).view(np.uint64)])

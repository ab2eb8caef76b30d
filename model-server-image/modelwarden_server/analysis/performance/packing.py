"""What is remembered of a row until its label comes, in 64-bit words: its prediction and who it is. Pure.

A prediction of two classes or of a number is its double. Of more classes: the predicted class, and of each
class (up to MAX_BINNED) its score in 16 bits, the bin of the grid and the 64th part within it.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.score_grid import score_bins

Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
MAX_BINNED: Final = 20
"""A model of more classes has its confusion counted, not its scores."""
_PARTS: Final = 64
_SLOT: Final = 16
_NO_SCORE: Final = (1 << _SLOT) - 1


def packed_fields(fields: Sequence[Integers], widths: Sequence[int], rows: int) -> Words:
    """Small numbers side by side; one that does not fit into what is left of a word begins the next."""
    words = np.zeros((rows, words_of(widths)), dtype=np.uint64)
    for values, (word, shift) in zip(fields, _places(widths), strict=True):
        words[:, word] |= values.astype(np.uint64) << np.uint64(shift)
    return words


def unpacked_fields(words: Words, widths: Sequence[int]) -> list[Integers]:
    """The numbers again."""
    found = []
    for width, (word, shift) in zip(widths, _places(widths), strict=True):
        mask = np.uint64((1 << width) - 1)
        found.append(((words[:, word] >> np.uint64(shift)) & mask).astype(np.int64))
    return found


def words_of(widths: Sequence[int]) -> int:
    """How many words fields of these widths need."""
    places = _places(widths)
    return places[-1][0] + 1 if places else 0


def _places(widths: Sequence[int]) -> list[tuple[int, int]]:
    found, word, shift = [], 0, 0
    for width in widths:
        if shift + width > 64:
            word, shift = word + 1, 0
        found.append((word, shift))
        shift += width
    return found


def doubles_packed(values: Floats) -> Words:
    """Doubles as words, shape (n, 1)."""
    return values.astype(np.float64).view(np.uint64)[:, None].copy()


def doubles_unpacked(words: Words) -> Floats:
    """And back, shape (n,)."""
    return words[:, 0].copy().view(np.float64)


def slot_widths(classes: int) -> tuple[int, ...]:
    """The fields of a prediction of several classes: the predicted one, then a score each."""
    return (_SLOT,) * (1 + (classes if classes <= MAX_BINNED else 0))


def slot_width() -> int:
    """The bits of one field."""
    return _SLOT


def slots(scores: Floats) -> list[Integers]:
    """The fields of predictions, scores of shape (n, classes). Of equal scores the first class is predicted;
    none where a score is missing.
    """
    known = np.asarray(~np.isnan(scores).any(axis=1), dtype=np.bool_)
    predicted = np.where(known, np.argmax(np.where(known[:, None], scores, 0.0), axis=1), _NO_SCORE)
    found: list[Integers] = [predicted.astype(np.int64)]
    if scores.shape[1] <= MAX_BINNED:
        found += [score_slots(column) for column in scores.T]
    return found


def score_slots(scores: Floats) -> Integers:
    """The field of each score of one class."""
    bins = score_bins(scores).astype(np.int64)
    part = np.clip(np.floor((scores * 1000.0 - bins) * _PARTS), 0, _PARTS - 1)
    slot = bins * _PARTS + np.where(np.isnan(part), 0, part).astype(np.int64)
    return np.where(bins < 0, _NO_SCORE, slot)


def predicted_of(slot: Integers) -> Integers:
    """The predicted class, -1 for none."""
    return np.where(slot == _NO_SCORE, -1, slot)


def bins_of(slot: Integers) -> Integers:
    """The score's bin, -1 for none."""
    return np.where(slot == _NO_SCORE, -1, slot // _PARTS)


def probability_of(slot: Integers) -> Floats:
    """The middle of the slot, at most 1: within 1/128000 of the score."""
    return np.asarray(np.minimum((slot + 0.5) / (1000.0 * _PARTS), 1.0), dtype=np.float64)

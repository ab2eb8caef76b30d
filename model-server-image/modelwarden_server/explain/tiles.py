"""The model asked in tiles: many rows in bounded memory and within the processor's cache. No numerics.

Some 10 000 to 20 000 rows at a time are the quickest for scikit-learn's models (measured); more are slower.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from modelwarden_server.explain.explanation import Floats, Predict, Rows
from modelwarden_server.explain.missing import Bits

TILE: Final = 16_384
_CELLS: Final = 2_000_000
"""Of rows in one call of predict: of wide rows fewer at a time."""


def spans(total: int, most: int) -> Iterator[slice]:
    """Slices of at most `most` that cover `total`."""
    for start in range(0, total, max(1, most)):
        yield slice(start, min(total, start + max(1, most)))


def rows_at_once(inputs: int, tile: int = TILE) -> int:
    """How many rows of so many inputs predict is given in one call, at most."""
    return max(1, min(tile, _CELLS // max(inputs, 1)))


def predicted(predict: Predict, rows: Rows, tile: int = TILE) -> Floats:
    """(n, k) of rows (n, d), n >= 1."""
    return np.concatenate(
        [predict(rows[span]) for span in spans(len(rows), rows_at_once(rows.shape[1], tile))]
    )


def coalition_values(
    predict: Predict, row: Rows, background: Rows, weights: Floats, masks: Bits, tile: int = TILE
) -> Floats:
    """(m, k): the mean prediction where a row (d,) keeps the inputs of each mask (m, d) and has the others
    from the background (b, d), whose rows count with `weights` (b,)."""
    found = []
    for span in spans(len(masks), rows_at_once(len(row), tile) // len(background)):
        mixed = np.where(masks[span, None, :], row[None, None, :], background[None, :, :])
        told = predict(mixed.reshape(-1, background.shape[1]))
        found.append(np.einsum("mbk,b->mk", told.reshape(-1, len(background), told.shape[1]), weights))
    return np.concatenate(found)

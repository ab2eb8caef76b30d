"""Which cells of raw rows are missing, and which are the same. Must not change a row."""

from typing import Any

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.explanation import Rows

Bits = npt.NDArray[np.bool_]


def missing(rows: Rows) -> Bits:
    """Where a value is missing: NaN, and None in arrays of objects. Any shape."""
    if rows.dtype != object:
        return np.isnan(rows) if rows.dtype.kind == "f" else np.zeros(rows.shape, dtype=np.bool_)
    flat = np.fromiter((_is_missing(value) for value in rows.ravel()), np.bool_, rows.size)
    return flat.reshape(rows.shape)


def differing(row: Rows, others: Rows) -> Bits:
    """(d,): the inputs in which a row (d,) differs from one of the others (b, d) at least. Two missing
    values are the same."""
    same = np.asarray(others == row[None, :], dtype=np.bool_)
    return np.asarray(~(same | (missing(others) & missing(row)[None, :])).all(axis=0))


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)

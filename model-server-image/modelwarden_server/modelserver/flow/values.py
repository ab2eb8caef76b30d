"""Values between stages and at both ends: what a model is given for plain data, and results as plain JSON.

What a function of the user's returned is passed on as it is; only plain lists are made into what the library
takes. Must not know any stage.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from typing import Any

from .faults import FlowError

MOST_DEPTH = 32
MOST_RESULT_BYTES = 32 << 20


class OpenedFile(io.BytesIO):
    """A file of the request, opened as binary; `name` as the client calls it."""

    def __init__(self, content: Any, name: str, content_type: str = "") -> None:
        super().__init__(content)
        self.name = name
        self.content_type = content_type


def table(data: Any, names: Sequence[str] | None = None) -> Any:
    """Rows for a model of tables: lists become an array, or a frame where columns have names.

    `names`: the columns that the model was fitted with. Anything but a list is returned unchanged, and so
    are lists of texts.
    """
    if not isinstance(data, (list, tuple)) or not data:
        return data
    first = data[0]
    if isinstance(first, dict):
        return _frame(data, names)
    if not isinstance(first, (list, tuple)):
        return data
    array = _array(data)
    if names is not None and array.ndim == 2 and array.shape[1] == len(names):
        return _named(array, names)
    return array


def _array(data: Any) -> Any:
    import numpy as np

    lengths = {len(row) if isinstance(row, (list, tuple)) else -1 for row in data}
    if len(lengths) != 1:
        raise FlowError("the data points are not all of the same length", "data")
    # As objects first: of numbers beside texts numpy would make texts.
    if any(isinstance(value, str) for row in data for value in row):
        array = np.empty((len(data), len(data[0])), dtype=object)
        for i, row in enumerate(data):
            for j, value in enumerate(row):
                array[i, j] = value
        return array
    if any(value is None for row in data for value in row):
        return np.array(data, dtype=np.float64)
    return np.asarray(data)


def _frame(data: Any, names: Sequence[str] | None) -> Any:
    if not all(isinstance(point, dict) for point in data):
        raise FlowError("the data points are not all objects with named fields", "data")
    columns = list(names) if names is not None else list(data[0])
    for i, point in enumerate(data):
        missing = [name for name in columns if name not in point]
        if missing:
            raise FlowError(f"data[{i}] has no field {missing[0]}", "data")
    try:
        import pandas as pd
    except ImportError:
        return _array([[point[name] for name in columns] for point in data])
    return pd.DataFrame([{name: point[name] for name in columns} for point in data], columns=columns)


def _named(array: Any, names: Sequence[str]) -> Any:
    try:
        import pandas as pd
    except ImportError:
        return array
    return pd.DataFrame(array, columns=list(names)).infer_objects()


def plain(value: Any, where: str = "result", depth: int = 0) -> Any:
    """The value in lists, objects, texts, numbers. Raises FlowError naming the place of what is none."""
    if depth > MOST_DEPTH:
        raise FlowError(f"{where} is nested more than {MOST_DEPTH} deep")
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise FlowError(f"{where} is not a finite number")
        return float(value)
    if isinstance(value, dict):
        return {str(key): plain(one, f"{where}.{key}"[:200], depth + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(one, f"{where}[{i}]", depth + 1) for i, one in enumerate(value)]
    other = _converted(value)
    if other is value:
        raise FlowError(
            f"{where} is of the type {type(value).__name__}, which JSON has not: return lists or numbers"
        )
    return plain(other, where, depth + 1)


def _converted(value: Any) -> Any:
    """Arrays, tensors, frames, documents as plain containers; anything else as it is."""
    for name in ("detach", "cpu", "numpy"):  # a tensor, wherever it lives
        if hasattr(value, "detach") or name == "numpy":
            value = getattr(value, name)() if hasattr(value, name) else value
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a frame
        return value.to_dict(orient="records")
    for name in ("toarray", "tolist", "to_json"):  # a sparse matrix; an array, a scalar; a document
        if callable(getattr(value, name, None)):
            return getattr(value, name)()
    return value


def as_list(result: Any) -> list[Any]:
    """The result as a list with an item for each prediction: one object or number is a list of one."""
    found = plain(result)
    return found if isinstance(found, list) else [found]


def result_json(items: list[Any]) -> bytes:
    """The list as JSON. Raises FlowError if it is too large."""
    content = json.dumps(items, separators=(",", ":"), allow_nan=False).encode()
    if len(content) > MOST_RESULT_BYTES:
        raise FlowError(f"the result is larger than {MOST_RESULT_BYTES} bytes")
    return content

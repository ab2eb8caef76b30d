"""Places in data points and results: a name, an index, or several joined by points: `person.age`, `0`.

A name that is there as a whole counts before it is taken apart. Standard library only: the child and the
store read places alike. Must not know attributes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

WHOLE = "$"
"""The data point or the result itself."""


class NoSuchFieldError(LookupError):
    """There is nothing at that place."""


def place(value: Any, path: str) -> Any:
    """What stands at that place. Raises NoSuchFieldError."""
    if path == WHOLE:
        return value
    if isinstance(value, dict) and path in value:
        return value[path]
    if path.startswith("$."):
        path = path[2:]
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise NoSuchFieldError(path)
    return value


def point_of(row: Sequence[Any], fields: Sequence[str]) -> Any:
    """A data point with the values at these places: the reverse of `place`. No fields: a list. NaN becomes
    null."""
    values = [None if isinstance(value, float) and math.isnan(value) else value for value in row]
    if not fields or all(path.isdecimal() for path in fields):
        order = range(len(values)) if not fields else [int(path) for path in fields]
        point: list[Any] = [None] * (max(order, default=-1) + 1)
        for index, value in zip(order, values):  # noqa: B905 - Python 3.8 has no strict
            point[index] = value
        return point
    if list(fields) == [WHOLE]:
        return values[0]
    found: dict[str, Any] = {}
    for path, value in zip(fields, values):  # noqa: B905
        steps = path[2:].split(".") if path.startswith("$.") else path.split(".")
        inner = found
        for step in steps[:-1]:
            inner = inner.setdefault(step, {})
        inner[steps[-1]] = value
    return found

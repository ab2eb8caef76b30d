"""The documented contract of `predict(x)`: what x is made of, and what its answer means, output by output.

Pure. Messages name shapes and counts, never values. Must not call anything.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ValueKind = Literal["STRING", "INTEGER", "FLOAT", "BOOLEAN", "OTHER"]
_NUMBERS: Final = ("INTEGER", "FLOAT", "BOOLEAN")
# Single precision and rounding to a few places are no lies.
_NOISE: Final = 1e-5
# Rounded to two places, each may be off by half of the last.
_ROUNDED: Final = 0.005


class ContractError(ValueError):
    """predict gave something else than it should: a sentence with what was expected."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What the model takes and gives, from its attributes."""

    inputs: tuple[str, ...]
    kinds: tuple[ValueKind, ...]
    """Of each input: how its values were in the user's frame."""
    outputs: tuple[str, ...]
    """Predicted attributes by position."""
    probabilities: bool
    """Outputs are probabilities: within 0 and 1, and of several that are classes a sum of 1."""
    positive: int | None = None
    """Of a binary model's two outputs the place of the positive one (of one output: 0)."""
    sums_to_one: bool = False


def rows_of(columns: Sequence[pa.Array], contract: Contract) -> npt.NDArray[Any]:
    """(n, d) rows for the engines and for predict: float64 where all inputs are numbers (missing: NaN), else
    objects as the user's frame had them (missing: None for strings, NaN for numbers)."""
    count = len(columns[0]) if columns else 0
    if all(kind in _NUMBERS for kind in contract.kinds):
        numbers = np.empty((count, len(columns)), dtype=np.float64)
        for place, column in enumerate(columns):
            numbers[:, place] = _floats(column)
        return numbers
    rows = np.empty((count, len(columns)), dtype=object)
    for place, (column, kind) in enumerate(zip(columns, contract.kinds, strict=True)):
        rows[:, place] = _objects(column, kind)
    return rows


def arguments_of(rows: npt.NDArray[Any], contract: Contract) -> npt.NDArray[Any]:
    """x for predict from rows: int64 where all inputs are integers, none is missing and none was perturbed to
    a fraction; images, cells of (n, 1) objects, stacked to one array (n, height, width[, channels]). Raises
    ContractError for images of several sizes."""
    if rows.dtype.kind == "f" and contract.kinds and set(contract.kinds) == {"INTEGER"}:
        with np.errstate(invalid="ignore"):
            whole = rows.astype(np.int64)
        return whole if np.array_equal(whole, rows) else rows
    if rows.dtype == object and rows.ndim == 2 and rows.shape[1] == 1 and rows.size:
        cells = list(rows[:, 0])
        if isinstance(cells[0], np.ndarray):
            if len({(cell.shape, cell.dtype.str) for cell in cells}) > 1:
                raise ContractError("images of several sizes cannot be predicted at once")
            return np.stack(cells)
    return rows


def predictions_of(answer: npt.NDArray[Any], rows: int, contract: Contract) -> npt.NDArray[np.float64]:
    """(n, k) finite outputs of what predict gave. Raises ContractError."""
    if answer.dtype.kind not in "biuf":
        raise ContractError(f"predict gave {_kind(answer)}: numbers were expected")
    if answer.ndim not in (1, 2) or len(answer) != rows:
        raise ContractError(
            f"predict gave an array of shape {answer.shape} for {rows} rows: one value a row, or one row of"
            " values a row, was expected"
        )
    outputs = _by_output(answer.astype(np.float64), contract)
    if odd := int((~np.isfinite(outputs)).any(axis=1).sum()):
        raise ContractError(f"predict gave NaN or infinity for {odd} of {rows} rows")
    if contract.probabilities:
        _check_probabilities(outputs, contract)
    return outputs


def difference(predicted: npt.NDArray[np.float64], stored: npt.NDArray[np.float64]) -> float | None:
    """The greatest absolute difference where a stored prediction is known (not NaN); None: nowhere."""
    known = ~np.isnan(stored)
    return float(np.abs(predicted - stored)[known].max()) if known.any() else None


def _by_output(answer: npt.NDArray[np.float64], contract: Contract) -> npt.NDArray[np.float64]:
    """The answer's columns as the predicted attributes by position."""
    wanted = len(contract.outputs)
    columns = answer[:, None] if answer.ndim == 1 else answer
    given = columns.shape[1]
    if given == wanted:
        return columns
    if given == 1 and wanted == 2 and contract.positive is not None:
        positive = columns[:, 0]
        pair = (1.0 - positive, positive) if contract.positive == 1 else (positive, 1.0 - positive)
        return np.stack(pair, axis=1)
    if given == 2 and wanted == 1 and contract.probabilities:
        return columns[:, 1:]
    names = ", ".join(contract.outputs[:5]) + (", …" if wanted > 5 else "")
    hint = (
        " (predict of a classifier gives classes, predict_proba gives probabilities)"
        if given == 1 and contract.probabilities
        else ""
    )
    raise ContractError(
        f"predict gave {given} {'value' if given == 1 else 'values'} a row: {wanted} were expected, for the"
        f" predicted attributes {names}{hint}"
    )


def _check_probabilities(outputs: npt.NDArray[np.float64], contract: Contract) -> None:
    rows = len(outputs)
    if odd := int(((outputs < -_NOISE) | (outputs > 1 + _NOISE)).any(axis=1).sum()):
        raise ContractError(
            f"predict gave values below 0 or above 1 for {odd} of {rows} rows: probabilities were expected"
        )
    if contract.sums_to_one and outputs.shape[1] > 1:
        tolerance = max(2, outputs.shape[1]) * _ROUNDED + _NOISE
        off = int((np.abs(outputs.sum(axis=1) - 1.0) > tolerance).sum())
        if off:
            raise ContractError(
                f"predict gave probabilities that do not sum up to 1 for {off} of {rows} rows: those of all"
                " classes were expected"
            )


def _floats(column: pa.Array) -> npt.NDArray[np.float64]:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    found: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return found


def _objects(column: pa.Array, kind: ValueKind) -> npt.NDArray[Any]:
    missing = float("nan") if kind in _NUMBERS else None
    values = np.empty(len(column), dtype=object)
    values[:] = [_plain(value, missing) for value in column.to_pylist()]
    return values


def _plain(value: Any, missing: float | None) -> Any:
    if value is None:
        return missing
    return value if isinstance(value, str | int | float | bool | bytes) else json.dumps(value, default=str)


def _kind(answer: npt.NDArray[Any]) -> str:
    return "texts or objects" if answer.dtype.kind in "OUS" else f"values of type {answer.dtype}"

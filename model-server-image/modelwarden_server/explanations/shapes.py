"""An explanation in the documented shape, and beside it how it was made: algorithm and path, units, errors.

    {"explanation": [{"algorithm", "predicted_attribute_name",
                      "importance_scores": [{"attribute_name", "explanation_value", "standard_error"?,
                                             "tokens"? [{"token", "position", "explanation_value"}]}]}],
     "expected_value": [{"predicted_attribute_name", "expected_value"}], …}

Values of missing inputs are null. Pure.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from modelwarden_server.explanations.answer import Answer
from modelwarden_server.explanations.table import BACKGROUND, OUTPUTS
from modelwarden_server.web import Refusal

MOST_PAGE: Final = 500
SORTS: Final = ("value", "word", "location", "attribute_name")
_INFINITE: Final = math.inf


@dataclass(frozen=True)
class Sheet:
    """Which of the scores to tell: pages count from 1. `sort`: one of SORTS, None as the attributes are."""

    page: int = 1
    size: int = MOST_PAGE
    sort: str | None = None
    descending: bool = False


Record = Mapping[str, Any]


def record_of(answer: Answer, place: int = 0) -> Record:
    """One row of an answer, with the names of the table."""
    row: dict[str, Any] = answer.rows.slice(place, 1).to_pylist()[0]
    return row | {
        OUTPUTS: list(answer.outputs),
        BACKGROUND: answer.background_hash,
        "artefact": answer.code_hash,
    }


def explained(record: Record, inputs: Sequence[str], sheet: Sheet, source: str) -> dict[str, Any]:
    """The whole answer for one row. Raises Refusal (422) if it could not be explained."""
    if record["failure"] is not None:
        raise Refusal(422, f"this inference has no explanation: {record['failure']}")
    outputs: list[str] = record[OUTPUTS]
    shape = (len(outputs), len(inputs))
    values = _table(record["values"], shape)
    errors = None if record["errors"] is None else _table(record["errors"], shape)
    parts = _parts(record.get("parts"))
    scores = []
    for place, output in enumerate(outputs):
        found = [
            _score(name, values[place, at], None if errors is None else errors[place, at])
            | _tokens(parts, (place, len(outputs)), name if len(inputs) > 1 else None, sheet)
            for at, name in enumerate(inputs)
        ]
        told = _paged(_sorted(found, sheet), sheet)
        scores.append(
            {
                "algorithm": record["algorithm"],
                "predicted_attribute_name": output,
                "importance_scores": told,
            }
        )
    expected = [
        {"predicted_attribute_name": name, "expected_value": _plain(value)}
        for name, value in zip(outputs, record["expected"], strict=True)
    ]
    more = {"parts": parts} if isinstance(parts, dict) else {}
    return {"explanation": scores, "expected_value": expected} | how(record, source) | more


def how(record: Record, source: str) -> dict[str, Any]:
    """How an explanation was made. `source`: stored, cache or model_server."""
    prediction = zip(record[OUTPUTS], record["prediction"], strict=True)
    told = {
        "prediction": [
            {"predicted_attribute_name": name, "value": _plain(value)} for name, value in prediction
        ],
        "units": record["units"],
        "path": record["path"],
        "why": record["why"],
        "model_rows": record["model_rows"],
        "code_hash": record["artefact"],
        "background_hash": record[BACKGROUND],
        "computed_from": source,
    }
    for name in ("stability", "fit"):
        if record.get(name) is not None:
            value = record[name]
            told[name] = [_plain(one) for one in value] if isinstance(value, list) else _plain(value)
    return told


def _score(name: str, value: float, error: float | None) -> dict[str, Any]:
    told: dict[str, Any] = {"attribute_name": name, "explanation_value": _plain(value)}
    return told if error is None else told | {"standard_error": _plain(error)}


def _table(flat: Sequence[float], shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    return np.asarray(flat, dtype=np.float64).reshape(shape)


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _parts(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


def _tokens(parts: Any, output: tuple[int, int], name: str | None, sheet: Sheet) -> dict[str, Any]:
    """The tokens of a text: their parts may belong to one input, and have a value for each output."""
    if not isinstance(parts, list):
        return {}
    told = []
    for part in parts:
        if not isinstance(part, dict) or "token" not in part:
            continue
        if name is not None and part.get("attribute_name", name) != name:
            continue
        value = part.get("explanation_value")
        place, many = output
        if isinstance(value, list):
            value = value[place] if len(value) == many else None
        told.append({"token": part["token"], "position": part.get("position"), "explanation_value": value})
    keys: dict[str, Callable[[dict[str, Any]], Any]] = {
        "value": lambda one: _ordered(one["explanation_value"]),
        "word": lambda one: str(one["token"]),
        "location": lambda one: _ordered(one["position"]),
    }
    if sheet.sort in keys:
        told.sort(key=keys[sheet.sort], reverse=sheet.descending)
    return {"tokens": told} if told else {}


def _sorted(scores: list[dict[str, Any]], sheet: Sheet) -> list[dict[str, Any]]:
    if sheet.sort == "attribute_name":
        return sorted(scores, key=lambda one: str(one["attribute_name"]), reverse=sheet.descending)
    if sheet.sort == "value":
        return sorted(scores, key=lambda one: _ordered(one["explanation_value"]), reverse=sheet.descending)
    return scores


def _paged(scores: list[dict[str, Any]], sheet: Sheet) -> list[dict[str, Any]]:
    return scores[(sheet.page - 1) * sheet.size : sheet.page * sheet.size]


def _ordered(value: float | None) -> float:
    return -_INFINITE if value is None else value

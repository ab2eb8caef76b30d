"""Values that are lists: tokens and their likelihoods, ranked items, boxes, series. With the bounds of each.

What is taken comes out as the column holds it (see compiled.ARROW_TYPES). A reason names the element, counted
from 0 as in a path: `[2].score: must be a number, not a text`. Must not know columns.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, TypeVar

from modelwarden_server.schema.scalars import (
    ValueProblem,
    kind_of,
    take_float,
    take_instant,
    take_integer,
    take_text,
)

MAX_ALTERNATIVES = 5
LIKELIHOOD_TOLERANCE = 1e-3
MAX_RANKED = 100
MAX_POINTS = 500
INTERVAL_TOLERANCE = 2
"""Microseconds by which intervals of a regular series may differ: a third of a second is no whole number."""
BOX = ("class_id", "confidence", "top_left_x", "top_left_y", "width", "height")

Struct = dict[str, Any]
Taken = TypeVar("Taken")


def take_texts(value: Any, longest: int) -> list[str]:
    """ARRAY(STRING), TOKENS: at most `longest` texts of at most as many characters each."""
    return _each(value, longest, lambda text: take_text(text, longest), "texts")


def take_likelihoods(value: Any, longest: int) -> list[list[Struct]]:
    """TOKEN_LIKELIHOODS: at each place a map of at most 5 tokens to numbers whose sum is 1 (within 1e-3).

    The most likely token comes first: the order of a map's keys means nothing, so none is kept.
    """
    return _each(value, longest, lambda entry: _likelihoods(entry, longest), "maps of tokens to likelihoods")


def take_ranked(value: Any, longest: int) -> list[Struct]:
    """RANKED_LIST: at most 100 items `{item_id, label?, score?}`, best first."""
    return _each(value, MAX_RANKED, lambda item: _ranked(item, longest), "items with an item_id")


def take_boxes(value: Any, longest: int) -> list[Struct]:
    """BOUNDING_BOX: boxes of six numbers, class first."""
    return _each(value, longest, _box, "boxes of six numbers")


def take_series(value: Any, _longest: int) -> list[Struct]:
    """TIME_SERIES: at most 500 points `{timestamp, value}`, at a regular interval, oldest first."""
    points = _each(value, MAX_POINTS, _point, "points with a timestamp and a value")
    times = [point["timestamp"] for point in points]
    if not regular(times):
        raise ValueProblem(
            "the points must be in order of time and all at the same interval: fill gaps with null values"
        )
    return points


def regular(times: list[int]) -> bool:
    """Whether instants (microseconds) rise, by the same step each time."""
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return not steps or (min(steps) > 0 and max(steps) - min(steps) <= INTERVAL_TOLERANCE)


def _each(value: Any, most: int, take: Callable[[Any], Any], of_what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueProblem(f"must be a list of {of_what}, not {kind_of(value)}")
    if len(value) > most:
        raise ValueProblem(f"has more than {most} elements: send fewer")
    taken = []
    for place, element in enumerate(value):
        try:
            taken.append(take(element))
        except ValueProblem as problem:
            said = str(problem)
            raise ValueProblem(f"[{place}]{'' if said.startswith(('.', '[')) else ': '}{said}") from None
    return taken


def _likelihoods(entry: Any, longest: int) -> list[Struct]:
    if not isinstance(entry, dict):
        raise ValueProblem(f"must be a map of tokens to likelihoods, not {kind_of(entry)}")
    if len(entry) > MAX_ALTERNATIVES:
        raise ValueProblem(f"has more than {MAX_ALTERNATIVES} tokens: send the most likely ones")
    taken = [(-_likelihood(number), take_text(token, longest)) for token, number in entry.items()]
    total = -math.fsum(number for number, _ in taken)
    if abs(total - 1.0) > LIKELIHOOD_TOLERANCE:
        raise ValueProblem(
            "its likelihoods must sum to 1 (within 0.001): normalise them over the tokens sent"
        )
    return [{"token": token, "likelihood": -number} for number, token in sorted(taken)]


def _likelihood(value: Any) -> float:
    number = _finite(value)
    if not 0.0 <= number <= 1.0 + LIKELIHOOD_TOLERANCE:
        raise ValueProblem("a likelihood must be from 0 to 1")
    return number


def _ranked(item: Any, longest: int) -> Struct:
    known = _object(item, ("item_id", "label", "score"), "an object with an item_id")
    if known.get("item_id") is None:
        raise ValueProblem(".item_id: is required")
    label, score = known.get("label"), known.get("score")
    return {
        "item_id": _inside("item_id", lambda: take_text(known["item_id"], longest)),
        "label": None if label is None else _inside("label", lambda: take_text(label, longest)),
        "score": None if _absent(score) else _inside("score", lambda: _finite(score)),
    }


def _box(box: Any) -> Struct:
    if not isinstance(box, list) or len(box) != len(BOX):
        raise ValueProblem(f"must be a list of six numbers: {', '.join(BOX)}")
    class_id = _inside(BOX[0], lambda: take_integer(box[0]))
    if class_id < 0:
        raise ValueProblem(".class_id: must be the place of a class in imageClassLabels, counted from 0")
    taken: Struct = {BOX[0]: class_id}
    for name, value in zip(BOX[1:], box[1:], strict=True):
        taken[name] = _number_inside(name, value)
    return taken


def _point(point: Any) -> Struct:
    known = _object(point, ("timestamp", "value"), "an object with a timestamp and a value")
    value = known.get("value")
    return {
        "timestamp": _inside("timestamp", lambda: take_instant(known.get("timestamp"), None)),
        "value": None if _absent(value) else _inside("value", lambda: _finite(value)),
    }


def _object(value: Any, keys: tuple[str, ...], wanted: str) -> Struct:
    if not isinstance(value, dict):
        raise ValueProblem(f"must be {wanted}, not {kind_of(value)}")
    if any(key not in keys for key in value):
        raise ValueProblem(f"has an unknown key: it may have {', '.join(keys)}")
    return value


def _absent(value: Any) -> bool:
    """Python's clients write NaN for a number that is missing."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _finite(value: Any) -> float:
    number = take_float(value)
    if math.isnan(number):
        raise ValueProblem("must be a number, not NaN")
    return number


def _number_inside(name: str, value: Any) -> float:
    return _inside(name, lambda: _finite(value))


def _inside(name: str, take: Callable[[], Taken]) -> Taken:
    try:
        return take()
    except ValueProblem as problem:
        raise ValueProblem(f".{name}: {problem}") from None

"""Rows of a model with every value type, good and bad, and the same rows as the columns of a file."""

from typing import Any

import census_like as census
import pyarrow as pa
from event_times import written_times
from hypothesis import strategies as st

from modelwarden_server.schema.compiled import BATCH, EVENT_TIME, ID, TRUTH_TIME

ATTRIBUTES = [
    *census.ATTRIBUTES,
    census.attribute("picture", "IMAGE", "NON_INPUT_DATA"),
    census.attribute("labels", "ARRAY(STRING)", "NON_INPUT_DATA"),
    census.attribute("words", "TOKENS", "PIPELINE_INPUT"),
    census.attribute("chances", "TOKEN_LIKELIHOODS", "NON_INPUT_DATA"),
    census.attribute("ranking", "RANKED_LIST", "NON_INPUT_DATA"),
    census.attribute("boxes", "BOUNDING_BOX", "NON_INPUT_DATA"),
    census.attribute("series", "TIME_SERIES", "PIPELINE_INPUT"),
]
LISTS = {
    "words": ["a", "b"],
    "series": [
        {"timestamp": "2026-01-01T00:00:00Z", "value": 1.5},
        {"timestamp": "2026-01-02T00:00:00Z", "value": None},
    ],
}
_NUMBER = pa.float64()
FILE_TYPES: dict[str, pa.DataType] = {
    ID: pa.string(),
    EVENT_TIME: pa.string(),
    BATCH: pa.string(),
    TRUTH_TIME: pa.string(),
    "age": pa.float64(),
    "income": pa.float64(),
    "state": pa.dictionary(pa.int32(), pa.string()),
    "married": pa.bool_(),
    "joined": pa.string(),
    "note": pa.large_string(),
    "pred": pa.float64(),
    "gt": pa.int64(),
    "picture": pa.string(),
    "labels": pa.list_(pa.string()),
    "words": pa.large_list(pa.string()),
    "chances": pa.list_(pa.map_(pa.string(), _NUMBER)),
    "ranking": pa.list_(pa.struct([("score", _NUMBER), ("item_id", pa.string()), ("label", pa.string())])),
    "boxes": pa.list_(pa.list_(_NUMBER)),
    "series": pa.list_(pa.struct([("timestamp", pa.string()), ("value", _NUMBER)])),
}


def row(id: Any = "r1", **data: Any) -> dict[str, Any]:  # noqa: A002
    """As census_like.row, with a value for each list among the inputs."""
    return census.row(id, **(LISTS | data))


def as_file(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """The columns that a file with these rows would have: attributes side by side."""
    flat = [
        {key: value for key, value in one.items() if not isinstance(value, dict)}
        | one["inference_data"]
        | one.get("ground_truth_data", {})
        for one in rows
    ]
    columns = {}
    for name, kind in FILE_TYPES.items():
        values = [_mapped(one.get(name)) if name == "chances" else one.get(name) for one in flat]
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        column = pa.array(values, plain)
        columns[name] = column.dictionary_encode() if pa.types.is_dictionary(kind) else column
    return pa.RecordBatch.from_pydict(columns)


def _mapped(value: Any) -> Any:
    return None if value is None else [None if one is None else list(one.items()) for one in value]


_text = st.text(st.characters(codec="utf-8"), max_size=60)
_number = st.floats(allow_infinity=True, allow_nan=True)
_mixed = st.integers(0, 9).map(lambda n: n == 0)


def _sometimes(odd: st.SearchStrategy[Any], usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return _mixed.flatmap(lambda is_odd: odd if is_odd else usual)


@st.composite
def _chances(draw: st.DrawFn) -> Any:
    tokens = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True))
    weights = [draw(st.integers(1, 9)) for _ in tokens]
    total = draw(_sometimes(st.sampled_from([0.5, 1.0009, 1.0011, float("nan")]), st.just(1.0)))
    return {token: total * weight / sum(weights) for token, weight in zip(tokens, weights, strict=True)}


@st.composite
def _series(draw: st.DrawFn) -> Any:
    step = draw(st.sampled_from([1, 7, 60]))
    seconds = [step * i for i in range(draw(st.integers(0, 4)))]
    if seconds and draw(_mixed):
        seconds[-1] += draw(st.integers(-3, 3))
    times = [f"2026-01-01T00:{s // 60:02}:{s % 60:02}Z" if s >= 0 else "never" for s in seconds]
    return [{"timestamp": t, "value": draw(st.none() | _number)} for t in times]


_item = st.fixed_dictionaries(
    {
        "item_id": st.none() | st.text("ab", max_size=60),
        "label": st.none() | st.just("x"),
        "score": st.none() | _number,
    }
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "age": st.integers(-3, 3).map(float) | st.none() | _number,
    "income": _number | st.none(),
    "state": st.none() | _text,
    "married": st.none() | st.booleans(),
    "pred": _sometimes(_number | st.none(), st.floats(0, 1)),
    "joined": st.none() | written_times | _text,
    "note": st.none() | _text,
    "picture": st.none() | _text,
    "labels": st.none() | st.lists(_text | st.none(), max_size=3),
    "words": st.none() | st.lists(_text, max_size=60),
    "chances": st.none() | st.lists(_chances() | st.none(), max_size=2),
    "ranking": st.none() | st.lists(_item, max_size=2) | st.just([{"item_id": "x"}] * 101),
    "boxes": st.none()
    | st.lists(
        st.lists(_sometimes(_number, st.integers(0, 9).map(float)), min_size=5, max_size=6), max_size=2
    ),
    "series": st.none() | _series() | st.just([]),
}


@st.composite
def any_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows whose values have their column's type, but may be wrong in every other way."""
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        good = row(draw(_sometimes(st.none() | st.just("") | st.just("x" * 513), st.text("ab1", min_size=1))))
        for name in draw(st.sets(st.sampled_from(sorted(VALUES)), max_size=4)):
            good["inference_data"][name] = draw(VALUES[name])
        good["inference_timestamp"] = draw(
            _sometimes(
                st.none() | st.just("noon") | st.just("2027-11-21T12:00:00Z"),
                written_times,
            )
        )
        if draw(st.booleans()):
            good["ground_truth_data"] = {"gt": draw(st.none() | st.integers(0, 1))}
            good["ground_truth_timestamp"] = draw(_sometimes(st.none() | _text, st.just(census.NOW)))
        if draw(_mixed):
            good["batch_id"] = draw(st.sampled_from(["", "b"]))
        rows.append(good)
    return rows

"""Rows of the small model, plausible and otherwise, as clients may send them; and bodies that went wrong."""

import random
import re
from typing import Any

import census_like as census
from event_times import written_times
from hypothesis import strategies as st

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
plausible = {
    "age": st.integers(0, 99) | st.integers(-3, 3).map(float) | st.none(),
    "income": st.floats(allow_infinity=False, allow_nan=False) | st.integers() | st.none(),
    "state": st.sampled_from(["MA", "", "é", "\x00"]) | st.none(),
    "married": st.booleans(),
    "pred": st.floats(0, 1),
    "joined": written_times | st.none(),
    "note": st.text(max_size=60) | st.none(),
}


@st.composite
def any_row(draw: st.DrawFn) -> Any:
    data = {name: draw(values) for name, values in plausible.items()}
    if draw(st.integers(0, 3)) == 0:
        data[draw(st.sampled_from([*plausible, "unknown"]))] = draw(json_values)
    row: dict[str, Any] = {
        "partner_inference_id": draw(
            st.text(min_size=1, max_size=5) | st.integers() | st.floats(allow_infinity=False)
        ),
        "inference_timestamp": draw(written_times),
        "inference_data": data,
    }
    if draw(st.booleans()):
        row["ground_truth_data"] = {"gt": draw(st.integers(0, 1) | st.just(1.0) | st.none() | json_values)}
        row["ground_truth_timestamp"] = draw(st.just(census.NOW) | json_values)
    if draw(st.integers(0, 4)) == 0:
        row[draw(st.sampled_from(["batch_id", "extra"]))] = draw(json_values)
    return row


_TOKENS = r"""
    { } [ ] , : " \ / - + . e9 null true false NaN Infinity nul 0 -0 -0.0 2.0 -2.5 1e3 1E400 00 1. .5 5e-324
    9223372036854775807 -9223372036854775808 9223372036854775808 0.1000000000000000055511151231257827 7.0
    "" "é" "\u00e9" "\ud83d\ude00" "\ud83d" "\n\"\\" "\x" "NaN" "7" "age":7, "a\u0067e":8, "batch_id":"",
    "batch_id":"b", "ground_truth_timestamp":null, "2026-01-01T00:00:00Z" "2026-01-01T00:00:00.1234567+0530"
    "2026-02-29T00:00:00Z" "0000-12-31T23:59:59-01" "9999-12-31T23:59:59.9999999-00:01" "2026-01-01T00:00Z"
""".split()  # noqa: SIM905 - as a list it is twenty lines
_BYTES = [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\x00", b"\x1f", b"\x7f", b"\xef\xbb\xbf"]
_PIECES = [b"", b" ", b"\t\r\n ", *(token.encode() for token in _TOKENS), *_BYTES]
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+.\w]+|\s+|.', re.DOTALL)


def spoil(body: bytes, rng: random.Random) -> bytes:
    """As `spoilt`, many times as fast and less varied."""
    for _ in range(rng.randint(1, 3)):
        places = [match.span() for match in _TOKEN.finditer(body)] or [(0, 0)]
        start, end = rng.choice(places)
        body = body[:start] + rng.choice([*_PIECES, body[start:end] * 2]) + body[end:]
    return body


@st.composite
def spoilt(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """A body of which a few tokens, or a few bytes, were replaced, doubled or left out."""
    body = draw(bodies)
    for _ in range(draw(st.integers(0, 3))):
        places = [match.span() for match in _TOKEN.finditer(body)] or [(0, 0)]
        start, end = draw(st.sampled_from(places))
        if draw(st.integers(0, 3)) == 0:
            start, end = start + 1, min(len(body), start + draw(st.integers(1, 12)))
        piece = draw(st.sampled_from([*_PIECES, body[start:end] * 2]))
        body = body[:start] + piece + body[end:]
    return body

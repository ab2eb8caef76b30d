"""A profile as JSON: what is written reads back the same, and what is not a profile is refused by column."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.profile import ReferenceProfile, profile_column
from modelwarden_server.analysis.profile_format import (
    ProfileFormatError,
    check_against,
    from_json,
    to_json,
)

NUMBER = Column("x", "FLOAT", "PIPELINE_INPUT")
TEXT = Column("town", "STRING", "PIPELINE_INPUT", categorical=True, categories=("north", "south"))
NOTE = Column("note", "UNSTRUCTURED_TEXT", "NON_INPUT_DATA")


def profile(numbers, texts) -> ReferenceProfile:
    arrays = {
        NUMBER: pa.array(numbers, pa.float64()),
        TEXT: pa.array(texts, pa.string()),
        NOTE: pa.array(texts, pa.string()),
    }
    columns = tuple(profile_column(c, lambda a=a: [a]) for c, a in arrays.items())
    return ReferenceProfile("c" * 64, len(numbers), columns)


rows = st.lists(
    st.tuples(st.one_of(st.none(), st.floats()), st.one_of(st.none(), st.text(max_size=5))), max_size=40
)


@given(rows)
def test_what_is_written_reads_back_the_same_to_the_last_bit(some):
    written = profile([r[0] for r in some], [r[1] for r in some])
    content = to_json(written)
    read = from_json(content)
    assert read == written
    assert to_json(read) == content
    check_against(read, "c" * 64, len(some), [NUMBER, TEXT, NOTE])


def changed(change) -> bytes:
    rng = np.random.default_rng(1)
    plain = json.loads(
        to_json(profile(rng.normal(size=500).tolist(), ["north", "south", "west", None] * 125))
    )
    change(plain)
    return json.dumps(plain).encode()


def set_in(column, field, value):
    def change(plain):
        plain["columns"][column][field] = value

    return change


CHANGES = {
    "an edge that descends": (set_in(0, "quantiles", [1.0] + [0.0] * 400), "x"),
    "too few quantiles": (lambda p: p["columns"][0]["quantiles"].pop(), "x"),
    "points out of order": (set_in(0, "points", [1.0, 0.5]), "x"),
    "points out of range": (set_in(0, "points", [1e9]), "x"),
    "a count too many": (lambda p: p["columns"][0]["counts"].append(0), "x"),
    "a negative count": (lambda p: p["columns"][1]["counts"].__setitem__(slice(0, 2), [-1, 251]), "town"),
    "counts that do not add up": (lambda p: p["columns"][1]["counts"].__setitem__(0, 1), "town"),
    "another number of missing rows": (set_in(1, "missing", 7), "town"),
    "a category twice": (lambda p: p["columns"][1]["values"].__setitem__(0, "south"), "town"),
    "a total that is no number": (lambda p: p["columns"][0]["moments"].__setitem__("total", "1e5"), "x"),
    "a kind that does not exist": (set_in(2, "kind", "text"), "kind"),
    "a column twice": (lambda p: p["columns"].append(p["columns"][0]), "twice"),
    "an unknown field": (set_in(0, "pickle", "x"), "pickle"),
    "a later format": (lambda p: p.__setitem__("formatVersion", 3), "formatVersion"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_not_a_profile_is_refused_and_the_column_named(what):
    change, named = CHANGES[what]
    from_json(changed(lambda _: None))
    with pytest.raises(ProfileFormatError, match=named):
        from_json(changed(change))


@pytest.mark.parametrize(
    ("content_hash", "count", "columns", "named"),
    [
        ("d" * 64, 500, [NUMBER, TEXT, NOTE], "another dataset"),
        ("c" * 64, 499, [NUMBER, TEXT, NOTE], "499"),
        ("c" * 64, 500, [NUMBER, TEXT], "columns"),
        ("c" * 64, 500, [NUMBER, Column("town", "STRING", "NON_INPUT_DATA", categorical=True), NOTE], "town"),
    ],
)
def test_a_profile_of_something_else_is_told_apart(content_hash, count, columns, named):
    read = from_json(changed(lambda _: None))
    with pytest.raises(ProfileFormatError, match=named):
        check_against(read, content_hash, count, columns)

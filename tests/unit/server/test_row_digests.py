"""The same row has the same digest wherever it is met; what differs at all has another one."""

from pathlib import Path
from typing import Any

import census_like as census
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelwarden.resources.attributes import Sensitivity
from modelwarden_server.schema.compiled import compile_schema
from modelwarden_server.schema.digest import RowDigester, id_keys
from modelwarden_server.schema.parsed import Limits
from modelwarden_server.schema.parser import Parser
from modelwarden_server.schema.sensitive import protect
from modelwarden_server.store.delta import AppendTable

SCHEMA = compile_schema(census.identity())
LIMITS = Limits(rows=100, string_length=500, latest=1 << 60)
DIGESTER = RowDigester(SCHEMA.inference_record, but="partner_inference_id")


def batch(*rows: Any) -> pa.RecordBatch:
    result = Parser(SCHEMA).parse(census.body(*rows), LIMITS)
    assert result.refused == {}
    return result.rows


def digests(*rows: Any) -> list[bytes]:
    return [d.tobytes() for d in DIGESTER.digests(batch(*rows))]


DIFFERENT = [
    {},
    {"age": 42},
    {"age": None},
    {"age": 0},
    {"income": 0},
    {"income": None},
    {"income": float("nan")},
    {"income": 12.500000000000002},
    {"state": "MB"},
    {"state": None},
    {"state": ""},
    {"married": False},
    {"note": "MA"},
    {"note": ""},
    {"joined": "1970-01-01T00:00:00Z"},
    {"at": "2026-11-21T12:00:00.000001+00:00"},
]


def test_rows_that_differ_in_anything_have_different_digests() -> None:
    assert len(set(digests(*(census.row(**data) for data in DIFFERENT)))) == len(DIFFERENT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"age": 1}, {"age": 1.0}),
        ({"income": 0.0}, {"income": -0.0}),
        ({"at": "2026-11-21T12:00:00Z"}, {"at": "2026-11-21T13:00:00+01:00"}),
        ({"note": None}, {"note": ...}),
    ],
)
def test_one_row_written_in_two_ways_has_one_digest(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert len(set(digests(census.row(**one), census.row(**other)))) == 1


def test_values_that_swap_columns_are_another_row() -> None:
    assert len(set(digests(census.row(state="a", note="b"), census.row(state="b", note="a")))) == 2


def test_neither_the_neighbours_nor_the_order_of_columns_matter() -> None:
    alone = digests(census.row(age=7))[0]
    assert digests(census.row(income=None, note="x"), census.row(age=7))[1] == alone
    shuffled = batch(census.row(age=7)).select(list(reversed(SCHEMA.inference_record.names)))
    assert DIGESTER.digests(shuffled)[0].tobytes() == alone
    other = RowDigester(pa.schema(list(SCHEMA.inference_record)[::-1]), but="partner_inference_id")
    assert other.digests(shuffled)[0].tobytes() == alone


def test_a_row_among_many_has_the_digest_it_has_alone() -> None:
    rows = [census.row(str(i), age=i, note=f"n{i % 3}", state=None if i % 2 else "MA") for i in range(60)]
    assert digests(*rows) == [digests(row)[0] for row in rows]


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    max_examples=25,
    deadline=None,
)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "age": st.integers(-(2**63), 2**63 - 1) | st.none(),
                "income": st.floats(allow_infinity=False) | st.none(),
                "note": st.text(max_size=20) | st.none(),
                "joined": st.datetimes().map(lambda t: t.isoformat() + "Z") | st.none(),
            }
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_row_read_back_from_a_table_has_the_digest_it_came_with(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    sent = batch(*(census.row(str(i), **data) for i, data in enumerate(rows)))
    table = AppendTable.open(tmp_path / str(len(list(tmp_path.iterdir()))), SCHEMA.inference_record)
    table.append([sent], {})
    (read,) = table.read(table.files[-1:])
    assert DIGESTER.digests(read).tolist() == DIGESTER.digests(sent).tolist()


def test_ids_have_keys_of_their_own() -> None:
    keys = id_keys(["a", "b", "a", "é"])
    assert keys.shape == (4, 2)
    assert keys[0].tolist() == keys[2].tolist()
    assert len({k.tobytes() for k in keys}) == 3
    assert id_keys([]).shape == (0, 2)


def test_sensitive_values_are_hashed_or_gone_and_groups_stay_apart() -> None:
    rules = {
        "state": Sensitivity.HASH,
        "income": Sensitivity.MASK,
        "note": Sensitivity.DROP,
        "age": Sensitivity.KEEP,
    }
    sent = batch(
        census.row("a", note="n"), census.row("b", state="NY"), census.row("c"), census.row("d", state=None)
    )
    kept = protect(sent, rules, b"k" * 32)
    states = kept.column("state").to_pylist()
    assert states[0] == states[2] != states[1]
    assert (states[3], "MA" in states, len(states[0])) == (None, False, 32)
    assert (kept.column("income").null_count, kept.column("note").null_count) == (4, 4)
    assert kept.column("age").to_pylist() == [41] * 4
    assert protect(sent, rules, b"other key").column("state").to_pylist() != states

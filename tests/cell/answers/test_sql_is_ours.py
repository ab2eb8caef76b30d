"""Nothing that a client writes becomes part of a statement, and what runs it can do nothing else."""

import re
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from census_like import ATTRIBUTES, identity
from hypothesis import given, settings
from hypothesis import strategies as st
from sql_rooms import SqlRooms, call

from modelwarden_server.query.request import QueryError
from modelwarden_server.query.scan import Deadline, QueryTooLargeError
from modelwarden_server.query.sql import engine as engine_module
from modelwarden_server.query.sql.engine import Engine, EngineLimits
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.request import parse_query
from modelwarden_server.query.sql.statement import Statement, compiled

MODEL = QueriedModel.of(identity(ATTRIBUTES), 0.5)
# Our own words, names like c3, o0_1 and places like $7: no quotes but those around words of ours.
OURS = re.compile(r"[A-Za-z0-9_ (),.*$<>=+/\[\]{}:'-]*")
QUOTED = {"day", "nan", "TP", "FP", "TN", "FN"}
hostile = st.one_of(
    st.text(min_size=1, max_size=40),
    st.sampled_from(
        ['"', "'", "';--", 'x"; DROP TABLE rows; --', "$1", "o0_0", "c0", "*", "\\", "\x00", "{", "🙂"]
    ),
)


def statement(**query: Any) -> Statement:
    return compiled(parse_query(msgspec.json.encode(query)), MODEL, rows=1000)


def query_with(alias: str, value: str, label: str) -> dict[str, Any]:
    """One query with all places that take a text."""
    return {
        "select": [
            call("countIf", alias, property="state", comparator="eq", value=value),
            call("anyIf", alias + "2", property="note", comparator="like", value=value, result="age"),
            call(
                "if",
                alias + "3",
                property="state",
                comparator="in",
                value=[value, None],
                then=label,
                else_=value,
            ),
            call("confusionMatrix", alias + "4"),
        ],
        "subquery": {
            "select": [
                "*",
                call("roundTimestamp", alias + "5", property="inference_timestamp", time_interval="day"),
            ],
            "filter": [{"property": "partner_inference_id", "comparator": "ne", "value": value}],
            "order_by": [{"alias": alias + "5"}],
        },
        "group_by": [{"alias": alias + "3"}],
        "filter": [{"alias": alias, "comparator": "gt", "value": 3}],
        "order_by": [{"alias": alias, "direction": "desc"}],
    }


@given(hostile, hostile, hostile)
@settings(max_examples=25, deadline=None)
def test_no_alias_and_no_value_changes_a_statement(alias, value, label):
    plain, found = statement(**query_with("a", "b", "c")), statement(**query_with(alias, value, label))
    assert found.sql == plain.sql
    assert OURS.fullmatch(found.sql)
    assert set(re.findall(r"'([^']*)'", found.sql)) <= QUOTED
    assert {value, label} <= set(found.values) | {value}
    assert [output.name for output in found.outputs] == [alias, alias + "2", alias + "3", alias + "4"]


@given(hostile)
@settings(max_examples=25, deadline=None)
def test_a_property_that_is_not_there_is_refused_by_name_and_never_run(name):
    if name in MODEL.by_name or name == "*":
        return
    for query in (
        {"select": [{"property": name}]},
        {"select": [call("avg", property=name)]},
        {"select": ["*"], "filter": [{"property": name, "comparator": "eq", "value": 1}]},
        {"select": [call("count")], "group_by": [{"property": name}]},
        {"select": ["*"], "order_by": [{"property": name}]},
        {"select": [call(name, property="age")]},
    ):
        with pytest.raises(QueryError, match=r"^(select|filter|group_by|order_by)\["):
            statement(**query)


def test_hostile_names_and_values_come_back_as_they_went(tmp_path, engine):
    rooms = SqlRooms.of(tmp_path, engine, ATTRIBUTES)
    texts = ["'; DROP TABLE rows; --", 'a"b', "$1", "\\", "nul\x00l", "🙂", ""]
    base = {"age": 1, "income": 1.0, "married": True, "pred": 0.5}
    rooms.store([base | {"state": text} for text in texts])
    rows = rooms.ask({"property": "state", "alias": 'x"y'}, call("count", "c'd"), group_by=["state"])
    assert {row['x"y']: row["c'd"] for row in rows} == dict.fromkeys(texts, 1)
    for text in texts:
        condition = {"property": "state", "comparator": "eq", "value": text}
        assert rooms.ask(call("count"), filter=[condition]) == [{"count": 1}]


def _run(engine: Engine, sql: str) -> Any:
    return engine.run(sql, [], {}, Deadline(time.monotonic() + 120), lambda row: repr(row).encode()).rows


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '/tmp/modelwarden-leak'",
        "ATTACH '/tmp/modelwarden-leak.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '64GB'",
        "SET lock_configuration = false",
        "SELECT * FROM MODEL",
    ],
)
def test_the_engine_has_no_files_no_extensions_and_no_settings(engine, sql):
    with pytest.raises(Exception, match=r"(?i)disabled|locked|cannot|not exist|Permission"):
        _run(engine, sql)


def test_a_question_that_takes_too_long_is_stopped(engine):
    endless = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
    started = time.monotonic()
    with pytest.raises(QueryTooLargeError, match="too long"):
        engine.run(endless, [], {}, Deadline(time.monotonic() + 0.2), repr)
    assert time.monotonic() - started < 60, "it would take days"
    assert _run(engine, "SELECT 1") == [b"(1,)"]


def test_a_question_that_needs_too_much_memory_is_refused_and_the_next_is_answered():
    small = Engine(EngineLimits(memory=16 << 20, temporary=1 << 20))
    try:
        with pytest.raises(QueryTooLargeError, match="memory"):
            _run(small, "SELECT list(range) FROM range(5000000)")
        assert _run(small, "SELECT 1") == [b"(1,)"]
    finally:
        small.close()


def test_an_answer_has_a_bounded_number_of_rows_and_bytes_and_says_so(tmp_path, engine):
    rooms = SqlRooms.of(tmp_path, engine, ATTRIBUTES)
    base = {"age": 1, "income": 1.0, "state": "MA", "married": True, "pred": 0.5}
    rooms.store([base | {"note": "x" * 1000} for _ in range(300)])
    assert len(rooms.answer(select=["*"])["query_result"]) == 300
    for limits in (EngineLimits(rows=100), EngineLimits(answer=100_000)):
        rooms.engine = Engine(limits)
        answer = rooms.answer(select=[{"property": "note"}])
        rooms.engine.close()
        assert answer["rows_left_out"] is True
        assert 90 <= len(answer["query_result"]) <= 101


def test_several_questions_at_once_do_not_see_each_other(tmp_path, engine):
    rooms = SqlRooms.of(tmp_path, engine, ATTRIBUTES)
    base = {"income": 1.0, "state": "MA", "married": True, "pred": 0.5}
    rooms.store([base | {"age": i} for i in range(2000)])
    found: dict[int, Any] = {}

    def ask(low: int) -> None:
        condition = {"property": "age", "comparator": "gte", "value": low}
        found[low] = rooms.ask(call("count"), filter=[condition])[0]["count"]

    threads = [threading.Thread(target=ask, args=(low,)) for low in range(0, 2000, 250)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {low: 2000 - low for low in range(0, 2000, 250)}


def test_closing_the_engine_leaves_no_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = Engine()
    _run(made, "SELECT 1")
    assert len(list(tmp_path.iterdir())) == 1
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_not_asked_does_not_pay_for_the_engine():
    folder = Path(engine_module.__file__).parents[2]
    sources = {path: path.read_text() for path in folder.rglob("*.py")}
    importing = [path for path, text in sources.items() if "import duckdb" in text]
    assert importing == [Path(engine_module.__file__)]
    # Within functions only; what stands under TYPE_CHECKING is never run.
    assert not re.search(r"^(import|from) duckdb", sources[importing[0]], re.MULTILINE)

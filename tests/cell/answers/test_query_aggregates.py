"""Aggregates, distributions and transforms, each against pandas or numpy over the same rows."""

import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from census_like import attribute
from sql_rooms import NOON, SqlRooms, call, frame

from modelwarden_server.query.sql.engine import Engine

ROWS = 4000
ATTRIBUTES = [
    attribute("age", "INTEGER", "PIPELINE_INPUT"),
    attribute("income", "FLOAT", "PIPELINE_INPUT"),
    attribute("town", "STRING", "PIPELINE_INPUT", categorical=True),
    attribute("member", "BOOLEAN", "NON_INPUT_DATA"),
    attribute("joined", "TIMESTAMP", "NON_INPUT_DATA"),
    attribute("price", "FLOAT", "PREDICTED_VALUE", attributeLink="paid"),
    attribute("paid", "FLOAT", "GROUND_TRUTH", attributeLink="price"),
]


def some_rows() -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    return [
        {
            "inference_timestamp": NOON + timedelta(seconds=int(second)),
            "age": None if i % 11 == 0 else int(rng.integers(-40, 90)),
            # A NaN is how pandas writes a missing number: it must not make every sum a NaN.
            "income": None if i % 7 == 0 else math.nan if i % 13 == 0 else float(rng.lognormal(3, 1)),
            "town": None if i % 17 == 0 else str(rng.choice(["north", "south", "west"])),
            "member": None if i % 19 == 0 else bool(rng.integers(0, 2)),
            "joined": NOON - timedelta(minutes=int(rng.integers(0, 10**6))),
            "price": float(rng.normal(100, 20)),
        }
        for i, second in enumerate(rng.integers(0, 90 * 86_400, ROWS))
    ]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> SqlRooms:
    folder: Path = tmp_path_factory.mktemp("aggregates")
    made = SqlRooms.of(folder, engine, ATTRIBUTES, outputType="REGRESSION")
    rows = some_rows()
    made.store(rows[: ROWS // 3])
    made.store(rows[ROWS // 3 :])
    return made


@pytest.fixture(scope="module")
def data(rooms: SqlRooms) -> pd.DataFrame:
    return frame(rooms.inferences)


AGGREGATES: list[tuple[str, dict[str, Any], Callable[[pd.DataFrame], Any]]] = [
    ("count", {}, len),
    ("count", {"property": "income"}, lambda d: d.income.count()),
    ("avg", {"property": "income"}, lambda d: d.income.mean()),
    ("avg", {"property": "member"}, lambda d: d.member.dropna().astype(float).mean()),
    ("avgAbs", {"property": "age"}, lambda d: d.age.abs().mean()),
    ("sum", {"property": "age"}, lambda d: d.age.sum()),
    ("sum", {"property": "income"}, lambda d: d.income.sum()),
    ("min", {"property": "age"}, lambda d: d.age.min()),
    ("max", {"property": "income"}, lambda d: d.income.max()),
    ("max", {"property": "town"}, lambda d: d.town.dropna().max()),
    ("variance", {"property": "income"}, lambda d: d.income.var()),
    ("stdDev", {"property": "age"}, lambda d: d.age.std()),
    ("categoriesCount", {"property": "town"}, lambda d: d.town.nunique()),
    ("quantile", {"property": "income", "level": "0.9"}, lambda d: d.income.quantile(0.9)),
    ("quantile", {"property": "age", "level": 0.5}, lambda d: d.age.median()),
    (
        "countIf",
        {"property": "town", "comparator": "eq", "value": "north"},
        lambda d: (d.town == "north").sum(),
    ),
    (
        "countIf",
        {"property": "town", "comparator": "in", "value": ["north", None]},
        lambda d: d.town.isin(["north"]).sum() + d.town.isna().sum(),
    ),
    (
        "countIf",
        {"property": "town", "comparator": "like", "value": "%o_th"},
        lambda d: d.town.isin(["north", "south"]).sum(),
    ),
    ("countIf", {"property": "age", "comparator": "ne", "value": 40}, lambda d: (d.age.dropna() != 40).sum()),
    ("rate", {"property": "income", "comparator": "gt", "value": 20.5}, lambda d: (d.income > 20.5).mean()),
    ("rate", {"property": "income", "comparator": "IsNull", "value": ""}, lambda d: d.income.isna().mean()),
    ("rate", {"property": "age", "comparator": "gte", "value": "17.5"}, lambda d: (d.age >= 17.5).mean()),
    ("rate", {"property": "member", "comparator": "eq", "value": True}, lambda d: (d.member == True).mean()),  # noqa: E712
    (
        "argMax",
        {"argument": "town", "value": "price"},
        lambda d: d.loc[d.price.where(d.town.notna()).idxmax(), "town"],
    ),
    (
        "argMin",
        {"argument": "age", "value": "price"},
        lambda d: d.loc[d.price.where(d.age.notna()).idxmin(), "age"],
    ),
    (
        "anyIf",
        {"property": "partner_inference_id", "comparator": "eq", "value": "i-7", "result": "price"},
        lambda d: d.price[7],
    ),
]


@pytest.fixture(scope="module")
def aggregates(rooms: SqlRooms) -> dict[str, Any]:
    """All of them in one query, by place."""
    asked = [call(function, str(place), **p) for place, (function, p, _) in enumerate(AGGREGATES)]
    return rooms.ask(*asked)[0]


@pytest.mark.parametrize("place", range(len(AGGREGATES)), ids=lambda place: AGGREGATES[place][0])
def test_an_aggregate_is_what_pandas_makes_of_the_same_rows(aggregates, data, place):
    expected = AGGREGATES[place][2](data)
    found = aggregates[str(place)]
    assert found == (expected if isinstance(expected, str) else pytest.approx(expected, rel=1e-12))


def test_aggregates_by_group_are_those_of_pandas(rooms, data):
    rows = rooms.ask(
        {"property": "town"},
        call("avg", property="income"),
        call("count"),
        group_by=[{"property": "town"}],
        order_by=[{"property": "town"}],
    )
    expected = data.groupby("town", dropna=False).agg(avg=("income", "mean"), count=("price", "size"))
    assert [row["town"] for row in rows] == ["north", "south", "west", None]
    for row in rows:
        of = expected.loc[row["town"]] if row["town"] else expected[expected.index.isna()].iloc[0]
        assert (row["avg"], row["count"]) == (pytest.approx(of["avg"]), of["count"])


def test_nothing_aggregated_over_no_rows_is_null_and_not_zero(rooms):
    none = [{"property": "age", "comparator": "gt", "value": 10**6}]
    row = rooms.ask(
        *(
            call(name, property="age")
            for name in ("avg", "sum", "min", "max", "variance", "stdDev", "deciles")
        ),
        call("count"),
        call("rate", property="age", comparator="gt", value=1),
        call("distribution", property="age", num_bins=3),
        filter=none,
    )[0]
    assert row.pop("count") == 0
    assert row.pop("distribution") == []
    assert set(row.values()) == {None}


def test_deciles_are_numpys_quantiles_by_name(rooms, data):
    expected = np.quantile(data.income.dropna(), np.linspace(0, 1, 11))
    found = rooms.one("deciles", property="income")
    assert list(found) == ["min", *(f"q{i}" for i in range(1, 10)), "max"]
    assert list(found.values()) == pytest.approx(list(expected))


def test_bins_to_quantiles_end_at_the_greatest_value(rooms, data):
    found = rooms.one("binsToQuantiles", property="age", num_bins=4)
    assert found == pytest.approx(list(data.age.quantile([0.25, 0.5, 0.75, 1])))


def test_a_distribution_of_equal_width_is_numpys_histogram(rooms, data):
    found = rooms.one("distribution", property="price", num_bins=20)
    counts, edges = np.histogram(data.price, bins=20)
    assert [bin_["count"] for bin_ in found] == list(counts)
    assert [bin_["lower"] for bin_ in found] == pytest.approx(list(edges[:-1]))
    assert [bin_["upper"] for bin_ in found] == pytest.approx(list(edges[1:]))


def test_each_group_has_bins_between_its_own_bounds(rooms, data):
    rows = rooms.ask(
        {"property": "town"},
        call("distribution", property="price", num_bins=5),
        group_by=["town"],
        filter=[{"property": "town", "comparator": "NotNull"}],
    )
    for row in rows:
        counts, edges = np.histogram(data.price[data.town == row["town"]], bins=5)
        assert [b["count"] for b in row["distribution"]] == list(counts)
        assert row["distribution"][0]["lower"] == pytest.approx(edges[0])


def test_thresholds_make_one_bin_more_open_at_both_ends(rooms, data):
    found = rooms.one("distribution", property="age", bin_thresholds=[0, 18, 65])
    ages = data.age.dropna()
    expected = [
        (ages < 0).sum(),
        ((ages >= 0) & (ages < 18)).sum(),
        ((ages >= 18) & (ages < 65)).sum(),
        (ages >= 65).sum(),
    ]
    assert [b["count"] for b in found] == expected
    assert [(b.get("lower"), b.get("upper")) for b in found] == [(None, 0), (0, 18), (18, 65), (65, None)]


def test_one_value_alone_is_one_bin(rooms):
    found = rooms.ask(
        call("distribution", property="price", num_bins=5),
        filter=[{"property": "partner_inference_id", "comparator": "eq", "value": "i-3"}],
    )
    assert [b["count"] for b in found[0]["distribution"]] == [1]


TRANSFORMS: list[tuple[dict[str, Any], Callable[[pd.DataFrame], pd.Series]]] = [
    (call("add", None, left="age", right="price"), lambda d: d.age + d.price),
    (call("subtract", "x", left="price", right=2.5), lambda d: d.price - 2.5),
    (call("multiply", "x", left="age", right=2), lambda d: d.age * 2),
    (
        call("divide", "x", left="price", right="age"),
        lambda d: d.price / d.age.replace(0, np.nan),
    ),
    (call("abs", "x", property="age"), lambda d: d.age.abs()),
    (
        call("if", "x", property="age", comparator="gte", value=18, then=1, else_=0),
        lambda d: (d.age >= 18).astype(int),
    ),
    (
        call("binContinuous", "x", property="age", bin_thresholds=[0, 18, 65]),
        lambda d: pd.Series(np.where(d.age.isna(), np.nan, np.digitize(d.age, [0, 18, 65]) + 1)),
    ),
    (call("equals", "x", left="age", right=40), lambda d: (d.age == 40).astype(float).where(d.age.notna())),
    (
        call(
            "and",
            "x",
            left={"nested_function": call("equals", left="member", right=1)},
            right={"nested_function": call("if", property="age", comparator="gt", value=30, then=1, else_=0)},
        ),
        lambda d: ((d.member == True) & (d.age > 30)).astype(float).where(d.member.notna() | ~(d.age > 30)),  # noqa: E712
    ),
    (
        call("dateDiff", "x", unit="day", start_date="joined", end_date="inference_timestamp"),
        lambda d: (d.inference_timestamp.dt.normalize() - d.joined.dt.normalize()).dt.days,
    ),
    (
        call("dateDiff", "x", unit="month", start_date="joined", end_date="inference_timestamp"),
        lambda d: (
            (d.inference_timestamp.dt.year - d.joined.dt.year) * 12
            + (d.inference_timestamp.dt.month - d.joined.dt.month)
        ),
    ),
]


@pytest.fixture(scope="module")
def transformed(rooms: SqlRooms) -> list[dict[str, Any]]:
    """All of them in one query, by place."""
    return rooms.ask(*(select | {"alias": str(place)} for place, (select, _) in enumerate(TRANSFORMS)))


@pytest.mark.parametrize("place", range(len(TRANSFORMS)), ids=lambda place: TRANSFORMS[place][0]["function"])
def test_a_transform_is_what_pandas_makes_of_each_row(transformed, data, place):
    wanted = TRANSFORMS[place][1](data)
    found = [np.nan if row[str(place)] is None else row[str(place)] for row in transformed]
    assert len(found) == ROWS
    np.testing.assert_allclose(
        np.array(found, dtype=float), wanted.to_numpy(dtype=float, na_value=np.nan), rtol=1e-12
    )


@pytest.mark.parametrize(("interval", "rounded"), [("day", "D"), ("hour", "h"), ("year", "YS")])
def test_times_are_rounded_down_to_their_interval(rooms, data, interval, rounded):
    rows = rooms.ask(
        call("roundTimestamp", "at", property="inference_timestamp", time_interval=interval),
        call("count"),
        group_by=[{"alias": "at"}],
        order_by=[{"alias": "at"}],
    )
    expected = data.set_index("inference_timestamp").price.resample(rounded).size()
    expected = expected[expected > 0]
    assert [row["at"] for row in rows] == [f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in expected.index]
    assert [row["count"] for row in rows] == list(expected)


def test_the_neighbour_is_the_row_before_in_the_order_of_the_query(rooms, data):
    rows = rooms.ask(
        {"property": "price"},
        call("neighbor", "before", property="price", offset=-1, default=-1.0),
        call("neighbor", "after", property="price", offset=2),
        order_by=[{"property": "price", "direction": "desc"}],
    )
    prices = sorted(data.price, reverse=True)
    assert [row["before"] for row in rows] == [-1.0, *prices[:-1]]
    assert [row["after"] for row in rows] == [*prices[2:], None, None]


def test_the_label_of_the_greatest_column_is_the_first_of_equals(rooms, data):
    rows = rooms.ask(call("labelByMaxColumn", "x", properties=["age", "income", "price"]))
    three = data[["age", "income", "price"]].to_numpy(dtype=float, na_value=np.nan)
    expected = [("age", "income", "price")[i] for i in np.nanargmax(three, axis=1)]
    assert [row["x"] for row in rows] == expected


def test_groups_thresholds_mitigate_predictions_and_leave_others_null(rooms, data):
    groups = [
        {"conditions": [{"property": "town", "value": "north"}], "threshold": 90},
        {"conditions": [{"property": "town", "value": "south"}], "threshold": 110},
    ]
    rows = rooms.ask(
        {"property": "town"}, {"property": "price"}, call("biasMitigatedPredictions", "y", thresholds=groups)
    )
    limits = {"north": 90, "south": 110}
    for row in rows:
        limit = limits.get(row["town"])
        assert row["y"] == (None if limit is None else int(row["price"] >= limit))


@pytest.mark.parametrize(("rollup", "rounded"), [("hour", "h"), ("day", "D"), ("month", "MS")])
def test_a_rollup_groups_by_the_time_of_the_inference(rooms, data, rollup, rounded):
    rows = rooms.ask(call("avg", property="price"), rollup=rollup)
    expected = data.set_index("inference_timestamp").price.resample(rounded).mean().dropna()
    assert [row["rollup"] for row in rows] == [f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in expected.index]
    assert [row["avg"] for row in rows] == pytest.approx(list(expected))


def test_the_values_of_a_subquery_are_folded_again(rooms, data):
    rows = rooms.ask(
        call("avg", "mean", property={"alias_ref": "size"}),
        call("count", "towns"),
        subquery={
            "select": [call("count", "size"), {"property": "town"}],
            "group_by": [{"property": "town"}],
            "filter": [{"property": "town", "comparator": "NotNull"}],
        },
    )
    sizes = data.town.value_counts()
    assert rows == [{"mean": pytest.approx(sizes.mean()), "towns": 3}]


def test_documented_changes_between_batches_can_be_asked(tmp_path, engine):
    rooms = SqlRooms.of(tmp_path, engine, ATTRIBUTES, outputType="REGRESSION", isBatch=True)
    base = {"income": 1.0, "joined": NOON, "member": True, "price": 1.0}
    rooms.store([base | {"town": f"t{i}", "age": 10 + i, "batch_id": "one"} for i in range(5)])
    rooms.store([base | {"town": f"t{i}", "age": 20 + 2 * i, "batch_id": "two"} for i in range(4)])

    def of_batch(batch: str) -> dict[str, Any]:
        return call("anyIf", batch, result="age", property="batch_id", comparator="eq", value=batch)

    rows = rooms.ask(
        {"property": "town"},
        call("subtract", "change", left="two", right="one"),
        subquery={
            "select": [{"property": "town"}, {"property": "one"}, {"property": "two"}],
            "subquery": {
                "select": [{"property": "town"}, of_batch("one"), of_batch("two")],
                "group_by": [{"property": "town"}],
            },
            "where": [
                {"property": "one", "comparator": "NotNull"},
                {"property": "two", "comparator": "NotNull"},
            ],
        },
        order_by=[{"property": "town"}],
    )
    assert rows == [{"town": f"t{i}", "change": 10 + i} for i in range(4)]
    assert [row["batch_id"] for row in rooms.ask({"property": "batch_id"}, group_by=["batch_id"])] == [
        "one",
        "two",
    ]
    by_batch = rooms.ask(call("count"), rollup="batch_id")
    assert by_batch == [{"count": 5, "rollup": "one"}, {"count": 4, "rollup": "two"}]

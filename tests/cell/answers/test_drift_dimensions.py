"""Drift by group, class and label, thresholds, the table of buckets, quality and distributions, by hand."""

import time
from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from query_rooms import DAY, inferences, open_query_rooms, people

from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.query.bucket_table import bucket_table
from modelwarden_server.query.classes import ClassRule, predicted_rule, true_rule
from modelwarden_server.query.distributions import distributions
from modelwarden_server.query.quality_answer import quality_answer
from modelwarden_server.query.request import QueryError, parse_bucket_query, parse_quality_query
from modelwarden_server.query.scan import Deadline
from modelwarden_server.query.sql.model import QueriedModel

REFERENCE = people(6000, seed=5)
ROWS = 3000
BUCKETS = {"base": {"source": "reference"}, "target": {"source": "inference"}}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Two months of inferences; half of them are labelled, some twice. The tests only read."""
    opened = open_query_rooms(tmp_path_factory.mktemp("dimensions"))
    rooms = next(opened)
    rooms.compare_with(REFERENCE)
    data = people(ROWS, seed=50, older=4.0)
    gone = np.random.default_rng(2).random(ROWS) < 0.1
    income = pa.array(np.where(gone, np.nan, data.column("income").to_numpy()), mask=gone)
    data = data.set_column(1, "income", income)
    table = inferences(data, np.linspace(0, 60 * DAY, ROWS))
    rooms.store(table)
    ids = [f"id-{n}" for n in range(0, ROWS, 2)]
    rooms.label(ids, [0] * len(ids), arrival=100.0)
    rooms.label(ids[:500], [1] * 500, arrival=200.0)
    rooms.label(ids[:100], [0] * 100, arrival=150.0)
    rooms.frame = table.to_pandas()
    rooms.frame["paid"] = np.nan
    rooms.frame.loc[rooms.frame.index % 2 == 0, "paid"] = 0.0
    rooms.frame.loc[(rooms.frame.index % 2 == 0) & (rooms.frame.index < 1000), "paid"] = 1.0
    yield rooms
    next(opened, None)


def psi(p, q) -> float:
    used = (p > 0) | (q > 0)
    p, q = np.maximum(p[used], 0.5) / p.sum(), np.maximum(q[used], 0.5) / q.sum()
    return float(((p - q) * np.log(p / q)).sum())


def psi_of(base, target, bins=10) -> float:
    base, target = (np.asarray(x, float) for x in (base, target))
    inner = np.unique(np.quantile(base, np.arange(1, bins) / bins))
    edges = [-np.inf, *inner[inner > base.min()], np.inf]
    return psi(*(np.histogram(x[~np.isnan(x)], edges)[0] for x in (base, target)))


def test_drift_by_group_is_that_of_each_groups_rows(filled):
    found = filled.ask(properties=["age", "income"], group_by=[{"property": "town"}])
    assert found["computed_from"] == "rows"
    assert [row["town"] for row in found["query_result"]] == ["north", "south", "west"]
    for row in found["query_result"]:
        group = filled.frame[filled.frame.town == row["town"]]
        for name in ("age", "income"):
            assert row[name] == pytest.approx(psi_of(REFERENCE.column(name), group[name]), abs=1e-9)


def test_groups_and_periods_together(filled):
    found = filled.ask(properties=["age"], group_by=[{"property": "town"}], rollup="month")["query_result"]
    frame = filled.frame.assign(month=filled.frame.inference_timestamp.dt.strftime("%Y-%m-01T00:00:00Z"))
    wanted = {
        key: psi_of(REFERENCE.column("age"), group.age) for key, group in frame.groupby(["month", "town"])
    }
    assert {(r["rollup"], r["town"]): r["age"] for r in found} == pytest.approx(wanted, abs=1e-9)


def test_labels_are_compared_by_the_newest_of_each_inference(filled):
    (row,) = filled.ask(properties=["paid"])["query_result"]
    base = REFERENCE.column("paid").to_numpy()
    p = np.array([(base == v).sum() for v in (0, 1)] + [0])
    assert row["paid"] == pytest.approx(psi(p, np.array([1000, 500, 0])), abs=1e-9)


def test_a_filter_on_a_label_chooses_by_the_newest_one(filled):
    target = {"source": "inference", "filter": [{"property": "paid", "comparator": "eq", "value": 1}]}
    (row,) = filled.ask(properties=["age"], target=target)["query_result"]
    chosen = filled.frame[filled.frame.paid == 1.0]
    assert row["age"] == pytest.approx(psi_of(REFERENCE.column("age"), chosen.age), abs=1e-9)


def test_thresholds_are_learnt_from_the_base_at_the_windows_rows(filled):
    def ask(rows: int) -> dict:
        (found,) = filled.ask(properties=["age", "town"], metric="Thresholds", target=None, rows=rows)[
            "query_result"
        ]
        return found

    few, many = ask(200), ask(5000)
    assert few["age"].keys() == {"PSI", "KLDivergence", "JSDivergence", "HellingerDistance"}
    assert all(few[a][m] > many[a][m] > 0 for a in few for m in few[a])
    rng = np.random.default_rng(3)
    ages = REFERENCE.column("age").to_numpy()
    drawn = [psi_of(rng.choice(ages, 6000), rng.choice(ages, 200)) for _ in range(300)]
    assert np.quantile(drawn, 0.97) < few["age"]["PSI"] < 1.4 * np.quantile(drawn, 0.99)


def test_the_table_of_buckets_adds_up_to_the_psi(filled):
    body = {
        "property": "age",
        "num_bins": 10,
        "base": {"source": "reference"},
        "target": {"source": "inference"},
    }
    sources = filled.sources()
    query = parse_bucket_query(msgspec.json.encode(body), sources.columns.keys())
    rows = bucket_table(query, sources, Deadline(time.monotonic() + 120))["query_result"]
    (wanted,) = filled.ask(properties=["age"])["query_result"]
    assert sum(row["psi"] for row in rows) == pytest.approx(wanted["age"])
    assert [row["bucket"] for row in rows] == [f"bucket_{n}" for n in range(1, 11)]
    assert (rows[0]["base_bucket_min"], rows[-1]["base_bucket_max"]) == (None, None)
    ages = REFERENCE.column("age").to_numpy()
    for row, after in pairwise(rows):
        assert row["base_bucket_max"] == after["base_bucket_min"]
        assert row["base_total"] == 6000
    second = rows[1]
    inside = (ages >= second["base_bucket_min"]) & (ages < second["base_bucket_max"])
    assert second["base_count_per_bucket"] == inside.sum()
    p, q = second["base_probability_per_bucket"], second["target_probability_per_bucket"]
    assert second["psi"] == pytest.approx((p - q) * (np.log(p) - np.log(q)))
    assert second["ln_probability_difference"] == pytest.approx(np.log(p) - np.log(q))


def test_the_documented_row_of_the_table():
    assert pytest.approx(0.00032549, abs=1e-8) == -0.0128231 * -0.0253830


def test_buckets_of_categories_have_their_names(filled):
    body = {"property": "town", "base": {"source": "reference"}, "target": {"source": "inference"},
            "group_by": [{"property": "town"}]}  # fmt: skip
    sources = filled.sources()
    query = parse_bucket_query(msgspec.json.encode(body), sources.columns.keys())
    rows = bucket_table(query, sources, Deadline(time.monotonic() + 120))["query_result"]
    north = [row for row in rows if row["group_by_property"] == "north"]
    assert {row["bucket"] for row in north} == {"north", "south", "west", "other"}
    assert {row["bucket"]: row["target_count_per_bucket"] for row in north}["south"] == 0


@pytest.mark.parametrize("rollup", [None, "month"])
@pytest.mark.parametrize("grouped", [False, True])
def test_data_quality_of_any_window_and_segment(filled, engine, rollup, grouped):
    body = {"properties": ["income", "age"], "rollup": rollup}
    if grouped:
        body["group_by"] = [{"property": "town"}]
    sources = filled.sources()
    query = parse_quality_query(msgspec.json.encode(body), sources.columns.keys())
    found = quality_answer(query, sources, 100, Deadline(time.monotonic() + 120), engine)
    assert found["computed_from"] == ("rows" if grouped else "partials")
    frame = filled.frame.assign(month=filled.frame.inference_timestamp.dt.strftime("%Y-%m-01T00:00:00Z"))
    for row in found["query_result"]:
        part = frame if rollup is None else frame[frame.month == row["rollup"]]
        part = part[part.town == row["town"]] if grouped else part
        assert row["income"]["missing"]["rows"] == part.income.isna().sum()
        assert row["income"]["missing"]["raised"]
        assert row["income"]["missing"]["reference_share"] == 0
        assert not row["age"]["missing"]["raised"]


@pytest.mark.parametrize("rollup", [None, "day", "minute"])
@pytest.mark.parametrize("grouped", [False, True])
def test_values_that_are_declared_unique_and_repeat_are_counted_as_pandas_does(
    filled, engine, rollup, grouped
):
    names = ["age", "town", "p", "income"]
    body = {
        "properties": names,
        "rollup": rollup,
        "target": {"source": "inference", "filter": [{"property": "age", "comparator": "lt", "value": 60}]},
    }
    if grouped:
        body["group_by"] = [{"property": "town"}]
    sources = replace(filled.sources(), unique=frozenset(names), not_kept=frozenset({"income"}))
    query = parse_quality_query(msgspec.json.encode(body), sources.columns.keys())
    found = quality_answer(query, sources, 100, Deadline(time.monotonic() + 120), engine)
    assert found["not_kept"] == ["income"]
    frame = filled.frame[filled.frame.age < 60]
    form = {"day": "%Y-%m-%dT00:00:00Z", "minute": "%Y-%m-%dT%H:%M:00Z"}.get(rollup or "", "")
    keys = [frame.inference_timestamp.dt.strftime(form).rename("rollup")] if rollup else []
    keys += ["town"] if grouped else []
    wanted = frame.groupby(keys) if keys else [((), frame)]
    got = {tuple(row[k] for k in ("rollup", "town") if isinstance(row.get(k), str)): row
           for row in found["query_result"]}  # fmt: skip
    for key, part in wanted:
        for name in ("age", "p"):
            repeated = int(part[name].notna().sum() - part[name].nunique())
            answered = got[key][name]["repeatedValue"]
            assert (answered["rows"], answered["raised"]) == (repeated, repeated > 0), (key, name)
        assert "income" not in got[key]
    assert len(got) == (len(wanted) if keys else 1)


def test_distributions_count_and_average_by_bins_of_equal_width(filled):
    body = {
        "x": {"property": "age", "alias": "years", "num_bins": 7},
        "y": {"property": "town", "alias": "where"},
        "values": [{"function": "count", "alias": "n"}, {"function": "avg", "property": "p"}],
        "filter": [{"property": "age", "comparator": "gte", "value": 30}],
    }
    found = distributions(msgspec.json.encode(body), filled.sources(), Deadline(time.monotonic() + 120))
    frame = filled.frame[filled.frame.age >= 30]
    edges = np.linspace(frame.age.min(), frame.age.max(), 8)
    frame = frame.assign(bin=np.minimum(np.searchsorted(edges, frame.age, side="right") - 1, 6))
    wanted = frame.groupby(["bin", "town"]).agg(n=("age", "size"), p=("p", "mean"))
    got = {(round(r["years"], 6), r["where"]): (r["n"], r["avg_p"]) for r in found["query_result"]}
    assert got.keys() == {(round(edges[b], 6), town) for b, town in wanted.index}
    for (b, town), row in wanted.iterrows():
        n, p = got[(round(edges[b], 6), town)]
        assert (n, p) == (row.n, pytest.approx(row.p))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"x": {"property": "age", "num_bins": 1}}, "x.num_bins"),
        ({"x": {"property": "years"}}, "years"),
        ({"x": {"property": "age"}, "values": [{"function": "mode"}]}, r"values\[0\].function"),
        ({"x": {"property": "age"}, "values": [{"function": "avg"}]}, r"values\[0\].property"),
        ({"x": {"property": "age"}, "values": [{"function": "avg", "property": "town"}]}, "town"),
        ({}, "x"),
    ],
)
def test_distributions_that_cannot_be_answered_name_the_field(filled, body, named):
    with pytest.raises(QueryError, match=named):
        distributions(msgspec.json.encode(body), filled.sources(), Deadline(time.monotonic() + 120))


def attribute(name, stage, value_type="FLOAT", **more) -> ResolvedAttribute:
    return ResolvedAttribute(
        name=name, value_type=value_type, stage=stage, position=more.pop("position", 0), **more
    )


def test_the_predicted_class_of_one_column_follows_the_threshold():
    model = QueriedModel(
        (
            attribute("bad", "PREDICTED_VALUE", position=1),
            attribute("good", "PREDICTED_VALUE", implicit=True),
            attribute("was_bad", "GROUND_TRUTH", "INTEGER", position=1),
            attribute("was_good", "GROUND_TRUTH", "INTEGER", implicit=True),
        ),
        threshold=0.7,
    )
    assert predicted_rule(model).derive([pa.array([0.69, 0.7, None])]).to_pylist() == ["good", "bad", None]
    assert true_rule(model).derive([pa.array([0, 1, None])]).to_pylist() == ["was_good", "was_bad", None]


def test_the_predicted_class_of_several_columns_is_the_highest():
    names = ("a", "b", "c")
    model = QueriedModel(tuple(attribute(n, "PREDICTED_VALUE", position=i) for i, n in enumerate(names)))
    rule = predicted_rule(model)
    columns = [pa.array([0.2, 0.4, 0.1]), pa.array([0.5, 0.4, None]), pa.array([0.3, 0.2, 0.1])]
    assert rule.derive(columns).to_pylist() == ["b", "a", None]
    assert ClassRule(("k",), is_class=True).derive([pa.array([1, None, 2])]).to_pylist() == ["1", None, "2"]
    assert true_rule(model) is None

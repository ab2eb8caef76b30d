"""Answers to drift queries, from partials and from rows, against computations on the raw rows."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from query_rooms import DAY, NOON, inferences, open_query_rooms, people
from scipy import stats

from modelwarden_server.query.request import QueryError

REFERENCE = people(6000, seed=5)
MARCH = 31 * DAY


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def psi_of_numbers(base, target, bins=10) -> float:
    inner = np.unique(np.quantile(base, np.arange(1, bins) / bins))
    edges = [-np.inf, *inner[inner > base.min()], np.inf]
    return psi_of_counts(np.histogram(base, edges)[0], np.histogram(target, edges)[0])


def psi_of_counts(base, target) -> float:
    used = (base > 0) | (target > 0)
    p, q = np.maximum(base[used], 0.5) / base.sum(), np.maximum(target[used], 0.5) / target.sum()
    return float(((p - q) * np.log(p / q)).sum())


def psi_of_texts(base, target) -> float:
    values = np.unique(base)
    return psi_of_counts(*(np.array([(x == v).sum() for v in values]) for x in (base, target)))


def column(table, name) -> np.ndarray:
    return table.column(name).to_numpy()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Three months of inferences whose people grow older, in several commits. The tests only read."""
    opened = open_query_rooms(tmp_path_factory.mktemp("filled"))
    rooms = next(opened)
    rooms.compare_with(REFERENCE)
    rng = np.random.default_rng(9)
    rooms.rows = []
    for n in range(6):
        data = people(1500, seed=50 + n, older=3.0 * n)
        table = inferences(data, rng.uniform(n * MARCH / 2, (n + 1) * MARCH / 2, 1500), first_id=n * 1500)
        rooms.store(table)
        rooms.rows.append(table)
    yield rooms
    next(opened, None)


def stored(rooms):
    import pyarrow as pa

    return pa.concat_tables(rooms.rows)


def between(table, start: datetime, end: datetime):
    times = table.column("inference_timestamp").to_pylist()
    return table.filter([start <= t < end for t in times])


@pytest.mark.parametrize("num_bins", [None, 10, 20, 7, 256])
def test_psi_from_partials_equals_psi_from_the_raw_rows(filled, num_bins):
    query = {} if num_bins is None else {"num_bins": num_bins}
    found = filled.ask(properties=["age", "income", "p", "town"], **query)
    assert found["computed_from"] == "partials"
    (row,) = found["query_result"]
    rows = stored(filled)
    for name in ("income", "p") if num_bins == 256 else ("age", "income", "p"):
        wanted = psi_of_numbers(column(REFERENCE, name), column(rows, name), num_bins or 10)
        assert row[name] == pytest.approx(wanted, abs=1e-9)
    assert row["town"] == pytest.approx(
        psi_of_texts(column(REFERENCE, "town"), column(rows, "town")), abs=1e-9
    )


@pytest.mark.parametrize("num_bins", [21, 30, 199])
def test_numbers_of_bins_that_fine_counts_do_not_hold_come_from_the_rows_and_are_exact_too(filled, num_bins):
    found = filled.ask(properties=["income", "age"], num_bins=num_bins)
    assert found["computed_from"] == "rows"
    (row,) = found["query_result"]
    for name in ("income", "age") if num_bins < 80 else ("income",):
        wanted = psi_of_numbers(column(REFERENCE, name), column(stored(filled), name), num_bins)
        assert row[name] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    "metric", ["PSI", "KLDivergence", "JSDivergence", "HellingerDistance", "HypothesisTest"]
)
def test_partials_and_rows_give_the_same_number(filled, metric):
    start, end = NOON + timedelta(days=3, minutes=35), NOON + timedelta(days=47, hours=5, minutes=5)
    span = [
        {"property": "inference_timestamp", "comparator": "gte", "value": iso(start)},
        {"property": "inference_timestamp", "comparator": "lt", "value": iso(end)},
    ]
    everyone = [*span, {"property": "age", "comparator": "gte", "value": 0}]
    query = {"properties": ["age", "income", "p", "town"], "metric": metric}
    fast = filled.ask(target={"source": "inference", "filter": span}, **query)
    slow = filled.ask(target={"source": "inference", "filter": everyone}, **query)
    assert (fast["computed_from"], slow["computed_from"]) == ("partials", "rows")
    assert fast["query_result"][0].keys() == slow["query_result"][0].keys()
    for name, value in fast["query_result"][0].items():
        assert value == pytest.approx(slow["query_result"][0][name], rel=1e-12)


@pytest.mark.parametrize("rollup", ["hour", "day", "month", "year"])
def test_rollups_name_their_periods_and_partials_and_rows_agree(filled, rollup):
    query = {"properties": ["age", "town"], "rollup": rollup}
    fast = filled.ask(**query)
    slow = filled.ask(
        target={"source": "inference", "filter": [{"property": "town", "comparator": "NotNull"}]}, **query
    )
    assert (fast["computed_from"], slow["computed_from"]) == ("partials", "rows")
    assert [r["rollup"] for r in fast["query_result"]] == [r["rollup"] for r in slow["query_result"]]
    for one, other in zip(fast["query_result"], slow["query_result"], strict=True):
        assert one["age"] == pytest.approx(other["age"], rel=1e-12)
        assert one["town"] == pytest.approx(other["town"], rel=1e-12, abs=1e-15)


def test_a_month_is_the_months_rows(filled):
    found = filled.ask(properties=["age"], rollup="month")["query_result"]
    april = between(stored(filled), datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC))
    row = next(r for r in found if r["rollup"] == "2026-04-01T00:00:00Z")
    assert row["age"] == pytest.approx(
        psi_of_numbers(column(REFERENCE, "age"), column(april, "age")), abs=1e-9
    )
    ages = [r["age"] for r in found]
    assert ages[:3] == sorted(ages[:3]), "people grow older month by month"


def test_rolling_up_by_batch_comes_from_the_rows(filled):
    found = filled.ask(properties=["income"], rollup="batch_id")
    assert [r["rollup"] for r in found["query_result"]] == ["b1", "b2"]
    rows = stored(filled)
    b1 = rows.filter([b == "b1" for b in rows.column("batch_id").to_pylist()])
    wanted = psi_of_numbers(column(REFERENCE, "income"), column(b1, "income"))
    assert found["query_result"][0]["income"] == pytest.approx(wanted, abs=1e-9)


FILTERS = {
    "eq": (
        {"property": "town", "comparator": "eq", "value": "north"},
        lambda t: column(t, "town") == "north",
    ),
    "ne": (
        {"property": "town", "comparator": "ne", "value": "north"},
        lambda t: column(t, "town") != "north",
    ),
    "in": (
        {"property": "town", "comparator": "in", "value": ["west", "x"]},
        lambda t: column(t, "town") == "west",
    ),
    "like": (
        {"property": "town", "comparator": "like", "value": "%th"},
        lambda t: column(t, "town") != "west",
    ),
    "gt": ({"property": "age", "comparator": "gt", "value": 60}, lambda t: column(t, "age") > 60),
    "gt, fraction": (
        {"property": "age", "comparator": "gt", "value": 60.5},
        lambda t: column(t, "age") > 60.5,
    ),
    "lte": ({"property": "p", "comparator": "lte", "value": 0.3}, lambda t: column(t, "p") <= 0.3),
    "NotNull": ({"property": "income", "comparator": "NotNull"}, lambda t: np.ones(t.num_rows, bool)),
    "time off the slices": (
        {"property": "inference_timestamp", "comparator": "lte", "value": "2026-04-01T00:00:01+01:00"},
        lambda t: np.array(
            [
                x <= datetime(2026, 3, 31, 23, 0, 1, tzinfo=UTC)
                for x in t.column("inference_timestamp").to_pylist()
            ]
        ),
    ),
    "another column of the table": (
        {"property": "partner_inference_id", "comparator": "like", "value": "id-1%"},
        lambda t: np.array([x.startswith("id-1") for x in t.column("partner_inference_id").to_pylist()]),
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_choose_the_rows_they_say(filled, name):
    condition, holds = FILTERS[name]
    found = filled.ask(properties=["income"], target={"source": "inference", "filter": [condition]})
    rows = stored(filled)
    wanted = psi_of_numbers(column(REFERENCE, "income"), column(rows.filter(holds(rows)), "income"))
    assert found["computed_from"] == "rows"
    assert found["query_result"][0]["income"] == pytest.approx(wanted, abs=1e-9)


def test_a_filtered_reference_has_quantiles_of_its_own(filled):
    condition = {"property": "town", "comparator": "eq", "value": "south"}
    found = filled.ask(properties=["income"], base={"source": "reference", "filter": [condition]})
    base = column(REFERENCE, "income")[column(REFERENCE, "town") == "south"]
    assert found["query_result"][0]["income"] == pytest.approx(
        psi_of_numbers(base, column(stored(filled), "income")), abs=1e-9
    )


def test_two_spans_of_inferences_can_be_compared_and_the_reference_with_them(filled):
    early = [{"property": "inference_timestamp", "comparator": "lt", "value": iso(NOON + timedelta(days=31))}]
    late = [{"property": "inference_timestamp", "comparator": "gte", "value": iso(NOON + timedelta(days=31))}]
    found = filled.ask(
        properties=["age", "town"],
        base={"source": "inference", "filter": early},
        target={"source": "inference", "filter": late},
    )
    rows = stored(filled)
    split = NOON + timedelta(days=31)
    one, other = between(rows, NOON, split), between(rows, split, NOON + timedelta(days=365))
    wanted = psi_of_numbers(column(one, "age"), column(other, "age"))
    assert found["query_result"][0]["age"] == pytest.approx(wanted, abs=1e-9)
    assert found["query_result"][0]["town"] == pytest.approx(
        psi_of_texts(column(one, "town"), column(other, "town")), abs=1e-9
    )
    swapped = filled.ask(properties=["age"], base={"source": "inference"}, target={"source": "reference"})
    wanted = psi_of_numbers(column(rows, "age"), column(REFERENCE, "age"))
    assert swapped["query_result"][0]["age"] == pytest.approx(wanted, abs=1e-9)


def test_hypothesis_test_agrees_with_scipy(filled):
    (row,) = filled.ask(properties=["income", "town"], metric="HypothesisTest")["query_result"]
    rows = stored(filled)
    table = [[(column(t, "town") == v).sum() for v in ("north", "south", "west")] for t in (REFERENCE, rows)]
    assert row["town"] == pytest.approx(-np.log10(stats.chi2_contingency(table, correction=False).pvalue))
    wanted = -np.log10(
        stats.ks_2samp(column(REFERENCE, "income"), column(rows, "income"), method="asymp").pvalue
    )
    assert 0 <= row["income"] <= wanted + 0.01


def test_a_span_without_rows_has_no_score(filled):
    future = [{"property": "inference_timestamp", "comparator": "gte", "value": "2030-01-01T00:00:00Z"}]
    target = {"source": "inference", "filter": future}
    assert filled.ask(properties=["age"], target=target)["query_result"] == [{"age": None}]
    assert filled.ask(properties=["age"], target=target, rollup="day")["query_result"] == []
    with_more = {"source": "inference", "filter": [*future, {"property": "age", "comparator": "NotNull"}]}
    assert filled.ask(properties=["age"], target=with_more)["query_result"] == [{"age": None}]


WRONG = {
    "an unknown attribute": ({"properties": ["age", "aeg"]}, "aeg"),
    "no attribute": ({"properties": []}, "properties"),
    "free text": ({"properties": ["remark"]}, "remark"),
    "an unknown metric": ({"properties": ["age"], "metric": "psi"}, "metric"),
    "thresholds of a target": ({"properties": ["age"], "metric": "Thresholds"}, "Thresholds"),
    "one bin": ({"properties": ["age"], "num_bins": 1}, "num_bins"),
    "too many bins": ({"properties": ["age"], "num_bins": 257}, "num_bins"),
    "bins as text": ({"properties": ["age"], "num_bins": "10"}, "num_bins"),
    "unknown groups": ({"properties": ["age"], "group_by": [{"property": "city"}]}, "group_by"),
    "too many groups": ({"properties": ["age"], "group_by": [{"property": "a"}] * 4}, "group_by"),
    "no class": ({"properties": ["age"], "predicted_classes": []}, "predicted_classes"),
    "classes of a model without any": ({"properties": [], "predicted_classes": ["*"]}, "predictedClass"),
    "an unknown rollup": ({"properties": ["age"], "rollup": "week"}, "rollup"),
    "a rollup of the reference": (
        {"properties": ["age"], "rollup": "day", "target": {"source": "reference"}},
        "rollup",
    ),
    "an unknown source": ({"properties": ["age"], "base": {"source": "training"}}, "base.source"),
    "an unknown filter property": (
        {
            "properties": ["age"],
            "target": {"source": "inference", "filter": [{"property": "x", "comparator": "eq", "value": 1}]},
        },
        "target.filter[0].property",
    ),
    "an unknown comparator": (
        {
            "properties": ["age"],
            "target": {
                "source": "inference",
                "filter": [{"property": "age", "comparator": "==", "value": 1}],
            },
        },
        "target.filter[0].comparator",
    ),
    "a value of another type": (
        {
            "properties": ["age"],
            "target": {
                "source": "inference",
                "filter": [{"property": "age", "comparator": "eq", "value": "old"}],
            },
        },
        "target.filter[0].value",
    ),
    "a time without a zone": (
        {
            "properties": ["age"],
            "target": {
                "source": "inference",
                "filter": [{"property": "inference_timestamp", "comparator": "gte", "value": "2026-01-01"}],
            },
        },
        "inference_timestamp",
    ),
    "a time filter on a reference that does not say when its rows happened": (
        {
            "properties": ["age"],
            "base": {
                "source": "reference",
                "filter": [
                    {"property": "inference_timestamp", "comparator": "gte", "value": "2026-01-01T00:00:00Z"}
                ],
            },
        },
        "without values in the base",
    ),
    "an injection": (
        {
            "properties": ["age"],
            "target": {
                "source": "inference",
                "filter": [{"property": 'age"; drop table x', "comparator": "eq", "value": 1}],
            },
        },
        "property",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_query_that_cannot_be_answered_names_the_field(filled, what):
    query, field = WRONG[what]
    with pytest.raises(QueryError, match=field.replace("[", r"\[")):
        filled.ask(**query)


def test_without_a_profile_the_reference_cannot_be_asked(rooms):
    rooms.store(inferences(people(300), np.arange(300.0)))
    assert rooms.folder_of_partials.reach(120)
    with pytest.raises(QueryError, match="no reference"):
        rooms.ask(properties=["age"])


def test_labels_that_nobody_sent_have_no_score(filled):
    assert filled.ask(properties=["paid"])["query_result"] == [{"paid": None}]

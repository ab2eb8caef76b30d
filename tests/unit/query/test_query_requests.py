"""What a query may look like: every refusal names the place in the JSON, and says what to do."""

import re
from typing import Any

import msgspec
import pytest
from census_like import ATTRIBUTES, identity
from hypothesis import given, settings
from hypothesis import strategies as st
from sql_rooms import call

from modelwarden_server.query.request import QueryError
from modelwarden_server.query.sql.functions import FUNCTIONS
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.request import parse_query
from modelwarden_server.query.sql.statement import compiled

MODEL = QueriedModel.of(identity(ATTRIBUTES), 0.5)
DOCUMENTED = frozenset(
    re.findall(
        r"\w+",
        """
        avg avgAbs sum min max count countIf variance stdDev categoriesCount rate distribution quantile
        deciles
        argMax argMin anyIf rmse mae rSquared confusionMatrix confusionMatrixRate truePositiveRate
        trueNegativeRate falsePositiveRate falseNegativeRate accuracyRate balancedAccuracyRate f1 precision
        recall sensitivity specificity auc confusionMatrixMulticlass confusionMatrixRateMulticlass
        truePositiveRateMulticlass trueNegativeRateMulticlass falsePositiveRateMulticlass
        falseNegativeRateMulticlass accuracyRateMulticlass precisionAtK recallAtK mapAtK nDCGAtK rankedListAUC
        meanReciprocalRank biasMitigatedPredictions roundTimestamp labelByMaxColumn if binContinuous
        binsToQuantiles dateDiff neighbor add subtract multiply divide abs arraySlice equals and or
        """,
    )
)


def refused(query: Any) -> str:
    with pytest.raises(QueryError) as told:
        compiled(parse_query(msgspec.json.encode(query)), MODEL, rows=10)
    return str(told.value)


def test_every_documented_function_is_there():
    assert FUNCTIONS.keys() >= DOCUMENTED


AGE = {"property": "age"}


def where(comparator: str, prop: str = "age", **value: Any) -> dict[str, Any]:
    return {"property": prop, "comparator": comparator} | value


def of_age(function: str, **parameters: Any) -> dict[str, Any]:
    return {"select": [call(function, property="age", **parameters)]}


NESTED = {"nested_function": call("subtract", left="nobody", right=1)}
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("select", {}),
    ("select", {"select": []}),
    ("select", {"select": "age"}),
    ("select[0]", {"select": [{"alias": "x"}]}),
    ("select[0]", {"select": [{"property": "age", "function": "avg"}]}),
    ("select[0].property", {"select": [{"property": "agee"}]}),
    ("select[0].alias", {"select": [{"property": "age", "alias": 3}]}),
    ("select[1].parameters.property", {"select": [AGE, call("avg")]}),
    ("select[0].parameters.property", {"select": [call("avg", property="state")]}),
    ("select[0].parameters.properti", {"select": [call("count", properti="age")]}),
    ("select[0].parameters.level", of_age("quantile", level=1.5)),
    ("select[0].parameters.num_bins", of_age("distribution")),
    ("select[0].parameters.bin_thresholds", of_age("binContinuous", bin_thresholds=[3, 2])),
    ("select[0].parameters.comparator", of_age("rate", comparator="about", value=1)),
    ("select[0].parameters.value", of_age("rate", comparator="gt")),
    ("select[0].parameters.value", of_age("rate", comparator="gt", value="old")),
    ("select[0].parameters.property", of_age("roundTimestamp", time_interval="day")),
    (
        "select[0].parameters.time_interval",
        {"select": [call("roundTimestamp", property="joined", time_interval="eon")]},
    ),
    (
        "select[0].parameters.property.nested_function.parameters.left",
        {"select": [call("abs", property=NESTED)]},
    ),
    ("select[0].parameters.property", {"select": [call("abs", property={"nested": 1})]}),
    ("select: 'count' is selected twice", {"select": [call("count"), call("count")]}),
    ("select: 'age' takes 'age' from a single row", {"select": [AGE, call("count")]}),
    ("from", {"select": [AGE], "from": "everything"}),
    ("filter[0].value", {"select": [AGE], "filter": [where("eq")]}),
    ("filter[0]", {"select": [AGE], "filter": [{"comparator": "eq", "value": 1}]}),
    ("where[0].property", {"select": [AGE], "where": [where("IsNull", "agee")]}),
    ("filter[0].value[1]", {"select": [AGE], "filter": [where("in", value=[1, "x"])]}),
    ("filter[0].value", {"select": [AGE], "filter": [where("gt", "joined", value="today")]}),
    ("filter[0]", {"select": [AGE], "filter": [where("like", value="4%")]}),
    ("group_by[0]", of_age("avg") | {"group_by": [{"alias": "avg"}]}),
    ("order_by[0].direction", {"select": [AGE], "order_by": [AGE | {"direction": "up"}]}),
    ("limit", {"select": [AGE], "limit": -1}),
    ("offset", {"select": [AGE], "offset": "3"}),
    ("rollup", {"select": [call("count")], "rollup": "week"}),
    ("sample", {"select": [AGE], "sample": 0}),
    ("gruop_by", {"select": [AGE], "gruop_by": []}),
    ("subquery.select[0]", {"select": [AGE], "subquery": {"select": [{}]}}),
    ("select[0].property: the subquery", {"select": [AGE], "subquery": {"select": [{"property": "state"}]}}),
    ("from", {"select": [AGE], "from": "reference", "subquery": {"select": [AGE]}}),
    ("select[0].parameters: the function", {"select": [call("meanAveragePrecision")]}),
    ("select[0].property: anomaly_score", {"select": [{"property": "anomaly_score"}], "from": "enriched"}),
    (
        "select[0].parameters",
        {"select": [call("avg", property={"nested_function": call("max", property="age")})]},
    ),
]


@pytest.mark.parametrize(("place", "query"), WRONG, ids=[place for place, _ in WRONG])
def test_a_refusal_names_the_place_in_the_query(place, query):
    assert refused(query).startswith(place)


def test_an_alias_that_refers_to_itself_is_refused():
    one = call("abs", "x", property={"alias_ref": "y"})
    other = call("abs", "y", property={"alias_ref": "x"})
    assert "refers to itself" in refused({"select": [one, other]})


def test_queries_and_functions_nest_only_so_deep():
    query: dict[str, Any] = {"select": [AGE]}
    nested: Any = "age"
    for _ in range(40):
        query = {"select": [AGE], "subquery": query}
        nested = {"nested_function": call("abs", property=nested)}
    assert "deep" in refused(query)
    assert "deep" in refused({"select": [call("abs", property=nested)]})


def test_functions_that_refer_to_each_other_do_not_double_at_each_step(monkeypatch):
    chain = [call("add", "x0", left="age", right="age")]
    for step in range(1, 60):
        below = {"alias_ref": f"x{step - 1}"}
        chain.append(call("add", f"x{step}", left=below, right=below))
    assert "refer to each other" in refused({"select": chain})
    monkeypatch.setattr("modelwarden_server.query.sql.statement.MAX_LENGTH", 20_000)
    edges = list(range(100))
    many = [call("binContinuous", f"b{i}", property="age", bin_thresholds=edges) for i in range(10)]
    assert "too much at once" in refused({"select": many})


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"select": [NaN]}', b"[" * 100_000, b"\xff"])
def test_what_is_no_query_is_refused_in_words(body):
    with pytest.raises(QueryError):
        parse_query(body)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
parameters = st.dictionaries(
    st.sampled_from(
        re.findall(
            r"\w+",
            """
            property left right value comparator k num_bins bin_thresholds properties offset threshold
            thresholds level unit then else predicted_property result argument
            """,
        )
    ),
    json | st.sampled_from(["age", "pred", "gt", "state", "joined", "eq", "in", "note"]),
    max_size=5,
)


@given(st.sampled_from(sorted(FUNCTIONS)), parameters)
@settings(max_examples=40, deadline=None)
def test_whatever_the_parameters_a_function_is_compiled_or_refused_in_words(function, given_parameters):
    query = {"select": [{"function": function, "parameters": given_parameters}]}
    told = "select"
    try:
        compiled(parse_query(msgspec.json.encode(query)), MODEL, rows=10)
    except QueryError as error:
        told = str(error)
    assert told.startswith("select")

"""Performance of ranked lists, tokens and several labels is read from rows, by the functions of a query."""

import time

import numpy as np
import pytest
from model_stories import attribute
from sklearn import metrics
from sql_rooms import SqlRooms

from modelwarden.resources.attributes import OutputType
from modelwarden_server.query.performance.by_query import RowsAsked, answered_by_query
from modelwarden_server.query.performance.question import parse_question
from modelwarden_server.query.request import QueryError
from modelwarden_server.query.scan import Deadline


def asked(rooms: SqlRooms, **parameters: str) -> dict:
    kind = OutputType(rooms.identity.output_type)
    deadline = Deadline(time.monotonic() + 120)
    return answered_by_query(
        RowsAsked(parse_question(parameters), kind, rooms.sources(), deadline, rooms.engine)
    )


def test_ranked_lists_are_scored_at_k(tmp_path, engine):
    attributes = [
        attribute("user", "STRING", "PIPELINE_INPUT", 0, categorical=True),
        attribute("offers", "RANKED_LIST", "PREDICTED_VALUE", 0, attributeLink="bought"),
        attribute("bought", "ARRAY(STRING)", "GROUND_TRUTH", 0, attributeLink="offers"),
    ]
    rooms = SqlRooms.of(tmp_path, engine, attributes, outputType="RANKED_LIST")
    rooms.store([{"user": u, "offers": [{"item_id": i} for i in "abcd"]} for u in "uvw"])
    rooms.label(
        [
            {"partner_inference_id": "i-0", "bought": ["b"]},
            {"partner_inference_id": "i-1", "bought": ["a", "d"]},
        ]
    )
    found = asked(rooms, k="2")
    (window,) = found["query_result"]
    assert (found["source"], window["rows"], window["labelled"], window["provisional"]) == (
        "rows",
        3,
        2,
        True,
    )
    values = {name: metric["value"] for name, metric in window["metrics"].items()}
    assert values["precision_at_2"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert values["recall_at_2"] == pytest.approx((1 + 1 / 2) / 2)
    assert values["map_at_2"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert values["mrr"] == pytest.approx((1 / 2 + 1) / 2)
    (one,) = asked(rooms, filter='[{"property": "user", "comparator": "eq", "value": "u"}]')["query_result"]
    assert (one["rows"], one["metrics"]["mrr"]["value"]) == (1, pytest.approx(0.5))


def test_tokens_have_a_mean_likelihood_its_deviation_and_a_length(tmp_path, engine):
    attributes = [
        attribute("prompt", "UNSTRUCTURED_TEXT", "PIPELINE_INPUT", 0),
        attribute("odds", "TOKEN_LIKELIHOODS", "PREDICTED_VALUE", 0),
    ]
    rooms = SqlRooms.of(tmp_path, engine, attributes, outputType="TOKEN_SEQUENCE", inputType="NLP")
    likeliest = [[0.7, 0.6, 0.9], [0.5]]
    rooms.store(
        [{"prompt": "p", "odds": [[{"token": "t", "likelihood": v}] for v in row]} for row in likeliest]
    )
    (window,) = asked(rooms, rollup="day")["query_result"]
    values = {name: metric["value"] for name, metric in window["metrics"].items()}
    assert values["mean_likelihood"] == pytest.approx(np.mean([np.mean(row) for row in likeliest]))
    assert values["sequence_length"] == pytest.approx(2)
    assert (window["labelled"], window["start"]) == (None, "2026-03-01T00:00:00Z")


def test_several_labels_have_rates_each(tmp_path, engine):
    attributes = [
        attribute("x", "FLOAT", "PIPELINE_INPUT", 0),
        *(attribute(f"p{n}", "FLOAT", "PREDICTED_VALUE", n, attributeLink=f"y{n}") for n in (0, 1)),
        *(attribute(f"y{n}", "INTEGER", "GROUND_TRUTH", n, attributeLink=f"p{n}") for n in (0, 1)),
    ]
    rooms = SqlRooms.of(tmp_path, engine, attributes, outputType="MULTILABEL")
    rng = np.random.default_rng(1)
    scores, truth = rng.random((200, 2)), rng.integers(0, 2, (200, 2))
    rooms.store([{"x": 1.0, "p0": float(a), "p1": float(b)} for a, b in scores])
    rooms.label(
        [{"partner_inference_id": f"i-{i}", "y0": int(a), "y1": int(b)} for i, (a, b) in enumerate(truth)]
    )
    (window,) = asked(rooms)["query_result"]
    for n in (0, 1):
        f1 = metrics.f1_score(truth[:, n], scores[:, n] >= 0.5)
        assert window["metrics"][f"f1[p{n}]"]["value"] == pytest.approx(f1)
    (window,) = asked(rooms, **{"class": "p1", "threshold": "0.2"})["query_result"]
    assert set(window["metrics"]) == {f"{m}[p1]" for m in ("accuracy", "precision", "recall", "f1", "auc")}
    recall = metrics.recall_score(truth[:, 1], scores[:, 1] >= 0.2)
    assert window["metrics"]["recall[p1]"]["value"] == pytest.approx(recall)
    for parameters, why in [
        ({"class": "q"}, "class: must be one of"),
        ({"attribute": "x"}, "only sums tell these"),
    ]:
        with pytest.raises(QueryError, match=why):
            asked(rooms, **parameters)

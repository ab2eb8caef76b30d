"""Scores of classifiers, regressions, ranked lists and tokens, each against scikit-learn or a plain loop."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from census_like import attribute
from sklearn import metrics
from sql_rooms import SqlRooms, call, frame

from modelwarden_server.query.sql.engine import Engine

ROWS = 1500
BINARY = [
    attribute("group", "STRING", "PIPELINE_INPUT", categorical=True),
    attribute(
        "p", "FLOAT", "PREDICTED_VALUE", attributeLink="y", isPositivePredictedAttribute=True, position=1
    ),
    attribute("y", "INTEGER", "GROUND_TRUTH", attributeLink="p", categorical=True, position=1),
]
CLASSES = ("cat", "dog", "eel")
MANY = [
    attribute("group", "STRING", "PIPELINE_INPUT", categorical=True),
    *(
        attribute(f"p_{name}", "FLOAT", "PREDICTED_VALUE", gtClassLink=name, position=place)
        for place, name in enumerate(CLASSES)
    ),
    attribute(
        "animal", "STRING", "GROUND_TRUTH_CLASS", categorical=True, categories=[{"value": c} for c in CLASSES]
    ),
]
RATES = {
    "truePositiveRate": lambda y, d: metrics.recall_score(y, d),
    "recall": lambda y, d: metrics.recall_score(y, d),
    "sensitivity": lambda y, d: metrics.recall_score(y, d),
    "trueNegativeRate": lambda y, d: metrics.recall_score(y, d, pos_label=0),
    "specificity": lambda y, d: metrics.recall_score(y, d, pos_label=0),
    "falsePositiveRate": lambda y, d: 1 - metrics.recall_score(y, d, pos_label=0),
    "falseNegativeRate": lambda y, d: 1 - metrics.recall_score(y, d),
    "accuracyRate": metrics.accuracy_score,
    "balancedAccuracyRate": metrics.balanced_accuracy_score,
    "precision": metrics.precision_score,
    "f1": metrics.f1_score,
}


def labelled(rooms: SqlRooms) -> pd.DataFrame:
    """The inferences that have a label, with it: joined by pandas."""
    newest = frame(rooms.labels).drop_duplicates("partner_inference_id", keep="last")
    return frame(rooms.inferences).merge(newest, on="partner_inference_id")


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> SqlRooms:
    rng = np.random.default_rng(1)
    rooms = SqlRooms.of(tmp_path_factory.mktemp("binary"), engine, BINARY)
    # Rounded, so that there are ties, and rows exactly at a threshold.
    scores = rng.beta(2, 2, ROWS).round(2)
    rooms.store([{"group": str(rng.choice(["a", "b"])), "p": float(s)} for s in scores])
    truth = (rng.random(ROWS) < scores).astype(int)
    rooms.label(
        [{"partner_inference_id": f"i-{i}", "y": int(truth[i])} for i in range(ROWS) if i % 3 != 0]
        + [{"partner_inference_id": "never-seen", "y": 1}, {"partner_inference_id": "i-1", "y": None}]
    )
    return rooms


def test_every_rate_of_a_binary_classifier_is_scikit_learns(binary):
    data = labelled(binary).dropna(subset="y")
    asked = [call(name, f"{name} {at}", threshold=at) for name in RATES for at in (0.3, 0.5, 0.71)]
    found = binary.ask(*asked)[0]
    for name, score in RATES.items():
        for at in (0.3, 0.5, 0.71):
            expected = score(data.y.astype(int), (data.p >= at).astype(int))
            assert found[f"{name} {at}"] == pytest.approx(expected), name


def test_the_models_own_threshold_counts_where_none_is_given(binary):
    data = labelled(binary).dropna(subset="y")
    expected = metrics.accuracy_score(data.y.astype(int), (data.p >= 0.5).astype(int))
    given = call("accuracyRate", "given", threshold=None, predicted_property="p", ground_truth_property="y")
    assert binary.ask(call("accuracyRate"), given)[0] == {
        "accuracyRate": pytest.approx(expected),
        "given": pytest.approx(expected),
    }


def test_the_confusion_matrix_and_its_rates_by_group(binary):
    data = labelled(binary).dropna(subset="y")
    rows = binary.ask(
        {"property": "group"},
        call("confusionMatrix", threshold=0.6),
        call("confusionMatrixRate", "rates", threshold=0.6),
        call("auc"),
        group_by=[{"property": "group"}],
    )
    assert [row["group"] for row in rows] == ["a", "b"]
    for row in rows:
        of = data[data.group == row["group"]]
        y, said = of.y.astype(int), (of.p >= 0.6).astype(int)
        (tn, fp), (fn, tp) = metrics.confusion_matrix(y, said)
        assert row["confusionMatrix"] == {
            "true_positive": tp, "false_positive": fp, "true_negative": tn, "false_negative": fn
        }  # fmt: skip
        assert row["rates"] == {
            "true_positive_rate": pytest.approx(tp / (tp + fn)),
            "false_positive_rate": pytest.approx(fp / (fp + tn)),
            "true_negative_rate": pytest.approx(tn / (fp + tn)),
            "false_negative_rate": pytest.approx(fn / (tp + fn)),
            "accuracy_rate": pytest.approx(metrics.accuracy_score(y, said)),
            "balanced_accuracy_rate": pytest.approx(metrics.balanced_accuracy_score(y, said)),
            "precision": pytest.approx(metrics.precision_score(y, said)),
            "f1": pytest.approx(metrics.f1_score(y, said)),
        }
        assert row["auc"] == pytest.approx(metrics.roc_auc_score(y, of.p), abs=1e-12)


def test_the_implicit_negative_class_is_scored_like_any_other(binary):
    data = labelled(binary).dropna(subset="y")
    expected = metrics.roc_auc_score(1 - data.y.astype(int), 1 - data.p)
    assert binary.one("auc", predicted_property="not_p") == pytest.approx(expected)
    rows = binary.ask({"property": "not_p"}, {"property": "not_y"}, {"property": "p"}, {"property": "y"})
    assert all(row["not_p"] == pytest.approx(1 - row["p"]) for row in rows)
    assert all(row["not_y"] == (None if row["y"] is None else 1 - row["y"]) for row in rows)


def test_rates_without_rows_to_divide_by_are_null(binary):
    nobody = [{"property": "p", "comparator": "gt", "value": 2}]
    row = binary.ask(*(call(name) for name in RATES), call("auc"), filter=nobody)[0]
    assert set(row.values()) == {None}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> SqlRooms:
    rng = np.random.default_rng(2)
    rooms = SqlRooms.of(tmp_path_factory.mktemp("many"), engine, MANY)
    scores = rng.dirichlet([1, 1, 1], ROWS).round(1)
    rooms.store(
        [
            {"group": "ab"[i % 2]} | {f"p_{name}": float(s[n]) for n, name in enumerate(CLASSES)}
            for i, s in enumerate(scores)
        ]
    )
    truth = [CLASSES[int(np.argmax(rng.multinomial(1, (s + 0.01) / (s + 0.01).sum())))] for s in scores]
    rooms.label([{"partner_inference_id": f"i-{i}", "animal": truth[i]} for i in range(0, ROWS, 2)])
    return rooms


def test_the_predicted_class_is_the_one_of_the_greatest_probability(many):
    data = labelled(many)
    said = np.array(CLASSES)[data[[f"p_{c}" for c in CLASSES]].to_numpy().argmax(axis=1)]
    assert many.one("accuracyRateMulticlass") == pytest.approx((said == data.animal).mean())
    asked = [
        call(f"{rate}Multiclass", f"{rate} {c}", predicted_property=f"p_{c}")
        for rate in RATES
        for c in CLASSES
    ]
    found = many.ask(*asked)[0]
    for c in CLASSES:
        y, d = (data.animal == c).astype(int), (said == c).astype(int)
        for rate, score in RATES.items():
            assert found[f"{rate} {c}"] == pytest.approx(score(y, d)), rate


def test_a_class_is_counted_against_the_others_by_its_implicit_truth(many):
    data = labelled(many)
    said = np.array(CLASSES)[data[[f"p_{c}" for c in CLASSES]].to_numpy().argmax(axis=1)]
    (tn, fp), (fn, tp) = metrics.confusion_matrix(data.animal == "dog", said == "dog")
    counts = {"true_positive": tp, "false_positive": fp, "true_negative": tn, "false_negative": fn}
    for truth in (None, "animal_is_dog", "animal"):
        given = {"predicted_property": "p_dog"} | ({} if truth is None else {"ground_truth_property": truth})
        assert many.one("confusionMatrixMulticlass", **given) == counts
    one_hot = many.ask({"property": "animal"}, *({"property": f"animal_is_{c}"} for c in CLASSES))
    for row in one_hot:
        expected = [None if row["animal"] is None else int(row["animal"] == c) for c in CLASSES]
        assert [row[f"animal_is_{c}"] for c in CLASSES] == expected


def test_a_score_that_cannot_know_which_class_is_meant_says_so(many):
    with pytest.raises(ValueError, match=r"select\[0\]\.parameters\.predicted_property: must name"):
        many.one("f1Multiclass")


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> SqlRooms:
    rng = np.random.default_rng(4)
    attributes = [
        attribute("area", "FLOAT", "PIPELINE_INPUT"),
        attribute("said", "FLOAT", "PREDICTED_VALUE", attributeLink="paid"),
        attribute("paid", "FLOAT", "GROUND_TRUTH", attributeLink="said"),
    ]
    rooms = SqlRooms.of(tmp_path_factory.mktemp("prices"), engine, attributes, outputType="REGRESSION")
    said = rng.normal(1e6, 2e5, ROWS)
    rooms.store([{"area": 1.0, "said": float(s)} for s in said])
    noisy = said + rng.normal(0, 5e4, ROWS)
    rooms.label([{"partner_inference_id": f"i-{i}", "paid": float(noisy[i])} for i in range(0, ROWS, 3)])
    return rooms


def test_regression_scores_are_scikit_learns(prices):
    data = labelled(prices)
    errors = (data.said - data.paid).abs()
    found = prices.ask(
        call("rmse"),
        call("mae"),
        call("rSquared", threshold=None),
        call("mae", "least", aggregation="min"),
        call("mae", "most", aggregation="max"),
        call("mae", "scaled", normalizationMin=0, normalizationMax=2e6),
    )[0]
    assert found == {
        "rmse": pytest.approx(metrics.root_mean_squared_error(data.paid, data.said)),
        "mae": pytest.approx(metrics.mean_absolute_error(data.paid, data.said)),
        "rSquared": pytest.approx(metrics.r2_score(data.paid, data.said)),
        "least": pytest.approx(errors.min()),
        "most": pytest.approx(errors.max()),
        "scaled": pytest.approx(errors.mean() / 2e6),
    }


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> SqlRooms:
    rng = np.random.default_rng(5)
    attributes = [
        attribute("user", "STRING", "PIPELINE_INPUT", categorical=True),
        attribute("offers", "RANKED_LIST", "PREDICTED_VALUE", attributeLink="bought"),
        attribute("bought", "ARRAY(STRING)", "GROUND_TRUTH", attributeLink="offers"),
    ]
    rooms = SqlRooms.of(tmp_path_factory.mktemp("ranked"), engine, attributes, outputType="RANKED_LIST")
    items = [f"item{i}" for i in range(12)]
    lists = [list(rng.permutation(items)[: rng.integers(0, 9)]) for _ in range(200)]
    rooms.store([{"user": "u", "offers": [{"item_id": str(i), "score": 0.5} for i in one]} for one in lists])
    rooms.label(
        [
            {"partner_inference_id": f"i-{i}", "bought": [str(x) for x in rng.permutation(items)[: i % 5]]}
            for i in range(180)
        ]
    )
    return rooms


def _score_of(name: str, offers: list[str], bought: set[str], k: int) -> float | None:
    hits = [item in bought for item in offers]
    top = hits[:k]
    match name:
        case "precisionAtK":
            return sum(top) / k
        case "recallAtK":
            return sum(top) / len(bought) if bought else None
        case "mapAtK":
            if not bought:
                return None
            return sum(sum(top[: i + 1]) / (i + 1) for i, hit in enumerate(top) if hit) / min(k, len(bought))
        case "nDCGAtK":
            if not bought:
                return None
            best = sum(1 / math.log2(i + 2) for i in range(min(k, len(bought))))
            return sum(1 / math.log2(i + 2) for i, hit in enumerate(top) if hit) / best
        case "rankedListAUC":
            pairs = [i < j for i, a in enumerate(hits) for j, b in enumerate(hits) if a and not b]
            return sum(pairs) / len(pairs) if pairs else None
        case _:
            return next((1 / (i + 1) for i, hit in enumerate(hits) if hit), 0.0)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_ranked_lists_are_scored_row_by_row_and_averaged(ranked, k):
    rows = ranked.ask({"property": "offers"}, {"property": "bought"})
    assert "label" not in rows[1]["offers"][0]
    at_k = ("precisionAtK", "recallAtK", "mapAtK", "nDCGAtK")
    found = ranked.ask(
        *(call(name, k=k) for name in at_k), call("rankedListAUC"), call("meanReciprocalRank")
    )[0]
    for name, value in found.items():
        scores = [
            _score_of(name, [o["item_id"] for o in row["offers"]], set(row["bought"]), k)
            for row in rows
            if row["bought"] is not None
        ]
        known = [score for score in scores if score is not None]
        assert value == pytest.approx(sum(known) / len(known)), name


def test_ndcg_is_scikit_learns_where_both_are_defined(ranked):
    rows = [row for row in ranked.ask({"property": "offers"}, {"property": "bought"}) if row["bought"]]
    full = [
        row
        for row in rows
        if len(row["offers"]) > 4 and set(row["bought"]) <= {o["item_id"] for o in row["offers"]}
    ]
    assert len(full) > 10
    for row in full:
        ids = [o["item_id"] for o in row["offers"]]
        gains, order = [[int(i in row["bought"]) for i in ids]], [[-place for place in range(len(ids))]]
        assert _score_of("nDCGAtK", ids, set(row["bought"]), 5) == pytest.approx(
            metrics.ndcg_score(gains, order, k=5)
        )


TOKENS = [
    attribute("prompt", "UNSTRUCTURED_TEXT", "PIPELINE_INPUT"),
    attribute("text", "UNSTRUCTURED_TEXT", "PREDICTED_VALUE", tokenAttributeLink="words", position=0),
    attribute("words", "TOKENS", "PREDICTED_VALUE", tokenAttributeLink="text", position=1),
    attribute("odds", "TOKEN_LIKELIHOODS", "PREDICTED_VALUE", position=2),
]


@pytest.fixture
def tokens(tmp_path, engine) -> SqlRooms:
    rooms = SqlRooms.of(tmp_path, engine, TOKENS, outputType="TOKEN_SEQUENCE", inputType="NLP")

    def steps(*given: dict[str, float]) -> list[list[dict[str, Any]]]:
        return [[{"token": t, "likelihood": v} for t, v in step.items()] for step in given]

    base = {"prompt": "p", "text": "t"}
    rooms.store(
        [
            base
            | {
                "words": ["a", "b", "c"],
                "odds": steps({"a": 0.7, "x": 0.3}, {"y": 0.4, "b": 0.6}, {"c": 0.9}),
            },
            base | {"words": ["d"], "odds": steps({"d": 0.5, "e": 0.5})},
            base | {"words": [], "odds": None},
        ]
    )
    return rooms


def test_token_likelihoods_give_the_likeliest_tokens_and_their_likelihoods(tokens):
    rows = tokens.ask({"property": "odds_tokens"}, {"property": "odds_likelihoods"}, {"property": "odds"})
    assert rows == [
        {
            "odds_tokens": ["a", "b", "c"],
            "odds_likelihoods": [0.7, 0.6, 0.9],
            "odds": [{"a": 0.7, "x": 0.3}, {"y": 0.4, "b": 0.6}, {"c": 0.9}],
        },
        {"odds_tokens": ["d"], "odds_likelihoods": [0.5], "odds": [{"d": 0.5, "e": 0.5}]},
        {"odds_tokens": None, "odds_likelihoods": None, "odds": None},
    ]


def test_tokens_have_lengths_means_stability_and_slices(tokens):
    nested = {"nested_function": call("arrayAvg", property="odds_likelihoods")}
    length = {"nested_function": call("arrayLength", property="words")}
    row = tokens.ask(call("avg", "likelihood", property=nested), call("avg", "length", property=length))[0]
    assert row == {
        "likelihood": pytest.approx(((0.7 + 0.6 + 0.9) / 3 + 0.5) / 2),
        "length": pytest.approx(4 / 3),
    }
    rows = tokens.ask(
        call("arraySlice", "first", property="words", offset=1, length=2),
        call("arraySlice", "last", property="words", offset=-2),
        call("arrayStdDev", "spread", property="odds_likelihoods"),
    )
    assert [row["first"] for row in rows] == [["a", "b"], ["d"], []]
    assert [row["last"] for row in rows] == [["b", "c"], ["d"], []]
    assert rows[0]["spread"] == pytest.approx(np.std([0.7, 0.6, 0.9], ddof=1))

"""What is measured of rules: against pandas, scipy and by hand; and rules as JSON, filters and sentences."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import classified, columns, searched
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from modelwarden_server.analysis.artefact import Artefact, pack, unpack
from modelwarden_server.analysis.hotspots.measure import Measured, fisher, measured, value_of, wilson
from modelwarden_server.analysis.hotspots.outcomes import SHARES, Classified, Loss, Metric, Regressed
from modelwarden_server.analysis.hotspots.result import Seen, read, result_of, to_follow, written
from modelwarden_server.analysis.hotspots.rules import Among, Condition, Interval, Missing, Rule, rule_of
from modelwarden_server.analysis.hotspots.table import Categories, Numbers, Table

SCORES = {
    Metric.ACCURACY: accuracy_score,
    Metric.PRECISION: precision_score,
    Metric.RECALL: recall_score,
    Metric.F1: f1_score,
}


def frame_of(table: Table) -> pd.DataFrame:
    found = {}
    for one in table.attributes:
        if isinstance(one, Numbers):
            found[one.name] = one.values
        else:
            found[one.name] = [None if c < 0 else one.values[c] for c in one.codes]
    return pd.DataFrame(found)


def rows_of(frame: pd.DataFrame, rule: Rule) -> np.ndarray:
    """What the rule's region says, by pandas."""
    kept = np.ones(len(frame), dtype=bool)
    for name, operators in rule.region.items():
        for operator, value in operators.items():
            column = frame[name]
            kept &= {
                "gt": lambda c, v: c > v,
                "lte": lambda c, v: c <= v,
                "eq": lambda c, v: c == v,
                "in": lambda c, v: c.isin(v),
                "not_in": lambda c, v: c.notna() & ~c.isin(v),
                "IsNull": lambda c, _: c.isna(),
                "NotNull": lambda c, _: c.notna(),
            }[operator](column, value).to_numpy(dtype=bool)
    return kept


@pytest.mark.parametrize("seed", range(20 if os.environ.get("MODELWARDEN_LONG") else 1))
def test_every_number_is_that_of_the_rules_rows_in_the_other_half(seed: int) -> None:
    table = columns(4000, seed, many=6)
    bad = table.fulfil(Rule.of(Interval("x0", low=0.8))) | table.fulfil(Rule.of(Missing("x3")))
    outcome = classified(bad, seed)
    found, finding = searched(table, outcome, seed)
    frame = frame_of(table)
    assert found.rules
    for place, rule in enumerate(found.rules[:8]):
        inside = rows_of(frame, rule)
        assert found.rows[place] == inside.sum()
        assert np.array_equal(found.masks[place], inside[~finding])
        for metric, score in SCORES.items():
            one = found.judged[metric].measured[place]
            for rows, value in ((inside, one.value), (~inside, one.rest)):
                chosen = rows & ~finding
                assert value == pytest.approx(score(outcome.true[chosen], outcome.predicted[chosen]))


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 200), st.data())
def test_fishers_tail_is_scipys(n: int, all_bad: int, more: int, data: st.DataObject) -> None:
    rows = max(n, all_bad) + more
    bad = data.draw(st.integers(max(0, n + all_bad - rows), min(n, all_bad)))
    assert fisher(bad, n, all_bad, rows) == pytest.approx(
        stats.hypergeom.sf(bad - 1, rows, all_bad, n), rel=1e-8
    )


def test_fishers_tail_is_scipys_for_many_rows() -> None:
    for bad, n, all_bad, rows in (
        (700, 5000, 9000, 100_000),
        (2500, 50_000, 4000, 100_000),
        (9, 400, 12, 9000),
    ):
        expected = stats.hypergeom.sf(bad - 1, rows, all_bad, n)
        assert fisher(bad, n, all_bad, rows) == pytest.approx(expected, rel=1e-6)


def test_intervals_are_wilsons() -> None:
    for bad, n in ((0, 30), (3, 40), (40, 40), (200, 1000)):
        expected = stats.binomtest(bad, n).proportion_ci(method="wilson")
        assert wilson(bad, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_f1_orders_slices_as_its_share_does() -> None:
    shares = np.linspace(0, 1, 50)
    values = [value_of(Metric.F1, share) for share in shares]
    assert values == sorted(values, reverse=True)
    true, predicted = np.array([1, 1, 1, 0, 0, 0]), np.array([1, 1, 0, 1, 0, 0])
    assert value_of(Metric.F1, 2 / 4) == pytest.approx(f1_score(true, predicted))


def test_means_are_tested_as_welch_does() -> None:
    rng = np.random.default_rng(1)
    loss = rng.lognormal(size=500)
    mask = rng.random(500) < 0.3
    loss[mask] *= 1.3
    (one,) = measured([mask], Loss(Metric.ABSOLUTE_ERROR, np.ones(500, dtype=np.bool_), loss))
    expected = stats.ttest_ind(loss[mask], loss[~mask], equal_var=False, alternative="greater")
    assert (one.z, one.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert (one.value, one.rest) == pytest.approx((loss[mask].mean(), loss[~mask].mean()))
    half = 1.959963984540054 * stats.sem(loss[mask])
    assert (one.low, one.high) == pytest.approx((one.value - half, one.value + half))


def test_adjusted_ps_are_holms() -> None:
    rng = np.random.default_rng(2)
    loss = (rng.random(1000) < 0.3).astype(np.float64)
    masks = [rng.random(1000) < 0.2 + loss / (place + 3) for place in range(5)]
    found = measured(masks, Loss(Metric.ACCURACY, np.ones(1000, dtype=np.bool_), loss))
    p = sorted(one.p for one in found)
    expected = np.maximum.accumulate([value * (5 - place) for place, value in enumerate(p)])
    assert sorted(one.p_adjusted for one in found) == pytest.approx(np.minimum(1, expected))


def test_a_rule_without_rows_of_the_metric_has_no_value() -> None:
    loss = Loss(Metric.RECALL, np.array([True, True, False]), np.array([1.0, 0.0, 0.0]))
    (one,) = measured([np.array([False, False, True])], loss)
    assert one == Measured(0, 0.0, rest_n=2, rest=0.5)


def test_losses_are_over_the_rows_that_a_metric_is_taken_over() -> None:
    true, predicted = np.array([1, 1, 0, 0, -1], np.int32), np.array([1, 0, 1, 0, 1], np.int32)
    losses = Classified(("no", "yes"), true, predicted, 1).losses()
    assert {m.value: int(one.counts.sum()) for m, one in losses.items()} == {
        "accuracy": 4, "precision": 2, "recall": 2, "f1": 3,
    }  # fmt: skip
    assert set(losses) == SHARES
    errors = Regressed(np.array([1.0, np.nan, 3.0]), np.array([2.0, 2.0, np.inf])).losses()
    assert errors[Metric.ABSOLUTE_ERROR].counts.tolist() == [True, False, False]


RULES = {
    "30 < age <= 45.5": Rule.of(Interval("age", 30, 45.5)),
    "age > 30": Rule.of(Interval("age", low=30)),
    "age is missing and town is Rome": Rule.of(Among("town", ("Rome",)), Missing("age")),
    "town is Rome or Bonn": Rule.of(Among("town", ("Rome", "Bonn"))),
    "member is true": Rule.of(Among("member", (True,))),
    "town is none of the 2 most frequent values": Rule.of(Among("town", ("Rome", "Bonn"), negated=True)),
    "age is there": Rule.of(Interval("age")),
}


@pytest.mark.parametrize("text", RULES)
def test_rules_are_told_and_read_back(text: str) -> None:
    rule = RULES[text]
    assert rule.text() == text
    assert rule_of(json.loads(json.dumps(rule.region))) == rule
    assert all(set(one) <= {"property", "comparator", "value"} for one in rule.filter)


def test_values_can_be_left_out_of_the_words() -> None:
    rule = Rule.of(Among("town", ("Rome", "Bonn")), Interval("age", low=60))
    assert rule.text({"town"}) == "age > 60 and town is one of 2 values"


@pytest.mark.parametrize("region", [{"a": {}}, {"a": {"gt": "x"}}, {"a": {"in": []}}, {"a": {"like": "%"}}])
def test_what_is_no_rule_is_refused(region: dict) -> None:
    with pytest.raises(ValueError, match="no condition"):
        rule_of(region)


def test_two_conditions_over_one_attribute_are_no_rule() -> None:
    with pytest.raises(ValueError, match="one condition"):
        Rule.of(Interval("a", low=1), Missing("a"))


CONDITIONS = st.one_of(
    st.builds(Interval, st.just("n"), st.none() | st.floats(-3, 3), st.none() | st.floats(-3, 3)),
    st.builds(Missing, st.sampled_from("nc")),
    st.builds(Among, st.just("c"), st.sampled_from([("u",), ("u", "w")]), st.booleans()),
)


@given(CONDITIONS)
def test_a_condition_holds_for_the_rows_that_pandas_selects(one: Condition) -> None:
    table = Table(
        6,
        [
            Numbers("n", np.array([-5, 0, 1.5, np.nan, np.inf, -np.inf])),
            Categories("c", np.array([0, 1, 2, -1, 0, 2], np.int32), ("u", "v", "w")),
        ],
    )
    rule = Rule.of(one)
    assert np.array_equal(table.fulfil(rule), rows_of(frame_of(table), rule))


def test_a_result_is_kept_and_read_back_as_it_was() -> None:
    table = columns(4000, 3, many=4)
    outcome = classified(table.fulfil(Rule.of(Interval("x0", low=0.8))), 3, there=0.6)
    found, finding = searched(table, outcome)
    seen = Seen(4000, 4000, ~finding, outcome, (), "window:1")
    result = result_of(found, seen)
    told, arrays = written(result)
    made = unpack(pack(Artefact("hotspots", told, arrays)))
    again = read(made.manifest, made.arrays)
    assert (again.found, again.overall, again.notes) == (result.found, result.overall, result.notes)
    assert result.found
    one = result.found[0]
    assert sum(n for _, _, n in one.classes) == one.metrics[Metric.ACCURACY].n
    followed = to_follow(again)
    assert followed
    later = result_of(found, Seen(4000, 4000, ~finding, outcome, followed, "window:2"))
    assert {known.rule for known in followed} <= {one.rule for one in later.found}
    assert max(one.lineage.windows for one in later.found) == 2
    assert {one.lineage.first for one in later.found} >= {"window:1"}
    with pytest.raises(ValueError, match="no result"):
        read(told, {"shared": np.zeros((1, 1))})
    with pytest.raises(ValueError, match="no result"):
        read({"found": []}, {})

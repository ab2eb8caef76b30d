"""The search for hotspots: what is planted is found, nothing is found where nothing is, and it is the best
there is.
"""

import itertools
import os

import numpy as np
import pytest
from planted import ACCURACY, classified, columns, hotspots, searched

from modelwarden_server.analysis.hotspots.bins import Bins, bins_of
from modelwarden_server.analysis.hotspots.choose import certain
from modelwarden_server.analysis.hotspots.measure import jaccard
from modelwarden_server.analysis.hotspots.outcomes import Classified, Metric, Regressed
from modelwarden_server.analysis.hotspots.rules import Among, Interval, Missing, Rule
from modelwarden_server.analysis.hotspots.search import BeamSearch, Reach
from modelwarden_server.analysis.hotspots.table import Categories, Mask, Numbers, Table

LONG = bool(os.environ.get("MODELWARDEN_LONG"))
PLANTED = {
    "a half-open interval": Rule.of(Interval("x0", high=-1.0)),
    "an interval": Rule.of(Interval("x4", -0.6, 0.1)),
    "a category": Rule.of(Among("x3", ("b",))),
    "three categories": Rule.of(Among("x3", ("c", "e", "f"))),
    "missing values": Rule.of(Missing("x1")),
    "few whole numbers": Rule.of(Interval("x2", 3, 7)),
    "two conditions": Rule.of(Interval("x0", low=0.2), Among("x7", ("a",))),
    "two intervals": Rule.of(Interval("x0", low=0.3), Interval("x8", low=0.1)),
    "missing and a category": Rule.of(Missing("x5"), Among("x3", ("a", "b"))),
    "three conditions": Rule.of(Interval("x0", low=-0.3), Interval("x4", high=0.4), Among("x7", ("a", "b"))),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_region_is_found_and_its_rows_are_those_of_the_rule(name: str) -> None:
    table = columns(10_000, seed=len(name))
    bad = table.fulfil(PLANTED[name])
    found, _ = searched(table, classified(bad, seed=3, there=0.5), metrics=ACCURACY)
    (rule,) = hotspots(found)
    assert {one.attribute for one in rule.conditions} == {one.attribute for one in PLANTED[name].conditions}
    assert jaccard(table.fulfil(rule), bad) >= 0.8


def test_a_strong_region_does_not_hide_weaker_ones_elsewhere() -> None:
    table = columns(30_000, seed=1)
    strong, weak = table.fulfil(PLANTED["a half-open interval"]), table.fulfil(PLANTED["few whole numbers"])
    rng = np.random.default_rng(5)
    wrong = rng.random(table.rows) < np.where(strong, 0.7, np.where(weak, 0.25, 0.1))
    true = np.zeros(table.rows, dtype=np.int32)
    found, _ = searched(table, Classified(("a", "b"), true, wrong.astype(np.int32)), metrics=ACCURACY)
    assert [{one.attribute for one in rule.conditions} for rule in hotspots(found)] == [{"x0"}, {"x2"}]


def clean(number: int) -> bool:
    """Whether anything is called certain in a clean data set."""
    rows, many = (6000, 20) if LONG else (2000, 6)
    table = columns(rows, seed=5000 + number, many=many)
    found, _ = searched(
        table, classified(np.zeros(rows, dtype=np.bool_), seed=number), number, metrics=ACCURACY
    )
    return any(certain(one) for one in found.judged[Metric.ACCURACY].measured)


def test_clean_data_have_hardly_ever_a_hotspot() -> None:
    """By the level, one in a hundred: of 200 at most 7 with a chance of 99.9 % (binomial)."""
    many, most = (200, 7) if LONG else (8, 2)
    found = sum(clean(number) for number in range(many))
    print(f"{found} of {many} clean data sets have a hotspot")
    assert found <= most


def best_of_all(bins: Bins, loss: np.ndarray, least: int) -> float:
    """The highest z of all rules of at most two conditions on coarse bins, one by one."""
    single: list[list[Mask]] = []
    for column in bins.columns:
        masks = []
        if hasattr(column, "cuts"):
            for first, last in itertools.combinations(column.cuts.tolist(), 2):
                masks.append((column.codes >= first) & (column.codes < last))
            masks.append(column.codes == column.missing)
        else:
            masks += [column.codes == code for code in range(column.missing + 1)]
            chosen = range(column.other)
            for many in range(2, 6):
                masks += [np.isin(column.codes, some) for some in itertools.combinations(chosen, many)]
        single.append(masks)
    every = list(itertools.chain.from_iterable(single))
    for one, other in itertools.combinations(single, 2):
        every += [a & b for a in one for b in other]
    best = -np.inf
    for mask in every:
        n, m = int(mask.sum()), int((~mask).sum())
        if min(n, m) >= least:
            spread = loss.std() * np.sqrt(1 / n + 1 / m)
            best = max(best, (loss[mask].mean() - loss[~mask].mean()) / spread)
    return best


@pytest.mark.parametrize("seed", range(3))
def test_the_beam_misses_little_of_the_best_rule_of_two_conditions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = 600
    table = Table(
        rows,
        [
            Numbers("a", rng.integers(0, 6, rows).astype(np.float64)),
            Numbers("b", np.where(rng.random(rows) < 0.2, np.nan, rng.integers(0, 5, rows))),
            Categories("c", rng.integers(0, 4, rows).astype(np.int32), tuple("wxyz")),
        ],
    )
    bad = table.fulfil(Rule.of(Interval("a", low=2), Among("c", ("w", "x"))))
    loss = (rng.random(rows) < np.where(bad, 0.5, 0.2)).astype(np.float64)
    whole = np.ones(rows, dtype=np.bool_)
    bins = bins_of(table.attributes, whole, 30)
    rule = BeamSearch(bins, loss, Reach(depth=2, rounds=1, least=30)).rules()[0]
    mask = table.fulfil(rule)
    n, m = int(mask.sum()), int((~mask).sum())
    z = (loss[mask].mean() - loss[~mask].mean()) / (loss.std() * np.sqrt(1 / n + 1 / m))
    # Half a z is what a condition has to add to be kept.
    assert z >= best_of_all(bins, loss, 30) - 0.5 - 1e-9


def test_the_same_rows_give_the_same_findings_and_others_than_those_searched_decide() -> None:
    table = columns(3000, seed=2, many=4)
    outcome = classified(table.fulfil(PLANTED["a category"]), seed=1)
    one, finding = searched(table, outcome)
    again, _ = searched(table, outcome)
    assert one.rules == again.rules
    assert one.judged[Metric.ACCURACY].measured == again.judged[Metric.ACCURACY].measured
    assert all(len(mask) == int((~finding).sum()) for mask in one.masks)
    # Labels of the judged half do not change what is searched.
    swapped = np.where(finding, outcome.true, 1 - outcome.true)
    other, _ = searched(table, Classified(outcome.classes, swapped, outcome.predicted, 1))
    assert other.rules == one.rules


def test_regions_with_large_errors_are_found_for_a_regression() -> None:
    table = columns(6_000, seed=4, many=6)
    bad = table.fulfil(PLANTED["a half-open interval"])
    rng = np.random.default_rng(1)
    true = rng.normal(size=table.rows)
    predicted = true + rng.standard_t(3, table.rows) * np.where(bad, 2.5, 1.0)
    true[:50] = np.nan
    found, _ = searched(table, Regressed(true, predicted))
    for metric in (Metric.ABSOLUTE_ERROR, Metric.SQUARED_ERROR):
        (rule,) = hotspots(found, metric, lambda one: one.value > 1.1 * one.rest)
        assert jaccard(table.fulfil(rule), bad) > 0.75


def test_regions_of_doubt_are_found_without_labels() -> None:
    table = columns(5_000, seed=6, many=6)
    bad = table.fulfil(PLANTED["a category"])
    rng = np.random.default_rng(2)
    nobody = np.full(table.rows, -1, dtype=np.int32)
    expected = np.where(bad, 0.4, 0.1) + rng.uniform(-0.05, 0.05, table.rows)
    outcome = Classified(("a", "b"), nobody, np.zeros(table.rows, dtype=np.int32), 1, expected)
    found, _ = searched(table, outcome)
    assert hotspots(found, Metric.ESTIMATED_LOSS) == [PLANTED["a category"]]
    assert "0 of the" in found.notes[Metric.ACCURACY]


def test_precision_and_recall_find_what_accuracy_dilutes() -> None:
    table = columns(10_000, seed=8, many=6)
    bad = table.fulfil(PLANTED["a category"])
    rng = np.random.default_rng(3)
    true = (rng.random(table.rows) < 0.3).astype(np.int32)
    missed = (true == 1) & (rng.random(table.rows) < np.where(bad, 0.7, 0.1))
    found, _ = searched(table, Classified(("no", "yes"), true, np.where(missed, 0, true).astype(np.int32), 1))
    assert hotspots(found, Metric.RECALL) == [PLANTED["a category"]]
    assert hotspots(found, Metric.F1) == [PLANTED["a category"]]
    assert hotspots(found, Metric.PRECISION) == []
    assert "every row is right" in found.notes[Metric.PRECISION]


ODD = {
    "three rows": (3, "3 of the 400 that are needed", 0.3),
    "everything right": (2000, "every row is right", 0.0),
    "everything wrong": (2000, "every row is wrong", 1.0),
}


@pytest.mark.parametrize("name", ODD)
def test_what_cannot_be_searched_is_told_in_a_sentence(name: str) -> None:
    rows, says, share = ODD[name]
    table = columns(rows, seed=1)
    outcome = classified(np.zeros(rows, dtype=np.bool_), seed=1, usual=share)
    found, _ = searched(table, outcome, metrics=ACCURACY)
    assert says in found.notes[Metric.ACCURACY]
    assert hotspots(found) == []


def test_errors_that_cannot_be_added_up_are_told_in_a_sentence() -> None:
    rng = np.random.default_rng(1)
    table = columns(2000, seed=1)
    found, _ = searched(table, Regressed(rng.choice([1e308, -1e308], 2000), rng.normal(0, 1e307, 2000)))
    for metric in (Metric.ABSOLUTE_ERROR, Metric.SQUARED_ERROR):
        assert "too large" in found.notes[metric]
        assert found.overall[metric] is None
        assert hotspots(found, metric) == []


def test_columns_that_say_nothing_do_no_harm() -> None:
    rows = 2000
    rng = np.random.default_rng(1)
    table = Table(
        rows,
        [
            Numbers("constant", np.full(rows, 3.0)),
            Numbers("gone", np.full(rows, np.nan)),
            Numbers("endless", np.where(rng.random(rows) < 0.5, np.inf, -np.inf)),
            Numbers("huge", rng.choice([1e308, -1e308, 5e-324, 0.0], rows)),
            Categories("id", np.arange(rows, dtype=np.int32), tuple(f"i{i}" for i in range(rows))),
            Categories("none", np.full(rows, -1, dtype=np.int32), ()),
        ],
    )
    outcome = classified(table.fulfil(Rule.of(Interval("huge", low=1e300))), seed=1, there=0.6)
    found, _ = searched(table, outcome, metrics=ACCURACY)
    (rule,) = hotspots(found)
    assert [one.attribute for one in rule.conditions] == ["huge"]
    nothing = Table(rows, [a for a in table.attributes if a.name in ("constant", "gone", "id", "none")])
    assert searched(nothing, outcome)[0].rules == ()


def test_many_columns_and_many_categories_are_bounded() -> None:
    rows, many = 1500, 500
    rng = np.random.default_rng(1)
    attributes: list[Numbers | Categories] = [Numbers(f"n{i}", rng.normal(size=rows)) for i in range(many)]
    codes = np.where(rng.random(rows) < 0.3, 0, rng.integers(0, 10_000, rows)).astype(np.int32)
    attributes.append(Categories("town", codes, tuple(f"t{i}" for i in range(10_000))))
    table = Table(rows, attributes)
    bad = codes == 0
    found, _ = searched(
        table, classified(bad, seed=1, there=0.5), metrics=ACCURACY, reach=Reach(rounds=1, depth=2)
    )
    assert hotspots(found) == [Rule.of(Among("town", ("t0",)))]

"""Bad values, volume and lag: found when they are there, quiet when they are not."""

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.lag import CELLS, EDGES, lag_cells, lag_quantile
from modelwarden_server.analysis.profile import profile_column
from modelwarden_server.analysis.quality import Asked, History, Question, lag, shares, volume


def asked(column, reference, values) -> Asked:
    profile = profile_column(column, lambda: [reference])
    counts = np.bincount(profile.cells.encode(values), minlength=profile.cells.size)
    return Asked(profile, np.array(profile.counts, dtype=float), counts)


def raised(column, reference, values, minimum=100) -> set[str]:
    found = shares([asked(column, pa.array(reference), pa.array(values))], minimum)
    return {f.question.value for f in found if f.raised}


AGE = Column("age", "FLOAT", "PIPELINE_INPUT")
RANGED = Column("age", "FLOAT", "PIPELINE_INPUT", min_range=0.0, max_range=100.0)
TOWN = Column("town", "STRING", "PIPELINE_INPUT", categorical=True)
RNG = np.random.default_rng(1)
AGES = RNG.normal(50, 10, 5000)


def test_clean_values_raise_nothing_and_bad_ones_are_named():
    values = RNG.normal(50, 10, 1000)
    assert raised(AGE, AGES, values) == set()
    assert raised(AGE, AGES, [None] * 40 + values[40:].tolist()) == {"missing"}
    assert raised(AGE, AGES, [float("nan")] * 40 + values[40:].tolist()) == {"missing"}
    assert raised(AGE, AGES, [500.0] * 40 + values[40:].tolist()) == {"outOfRange"}
    assert raised(AGE, AGES, [500.0] * 40 + values[40:].tolist(), minimum=2000) == set()


@pytest.mark.parametrize(("value", "outside"), [(0.0, False), (-0.1, True), (100.0, False), (100.1, True)])
def test_the_declared_range_counts_exactly_and_both_ends_are_inside(value, outside):
    one = asked(RANGED, pa.array(AGES), pa.array([value] * 50 + AGES[:950].tolist()))
    found = {f.question: f for f in shares([one], 100)}
    assert found[Question.OUT_OF_RANGE].rows == (50 if outside else 0)


def test_a_new_category_is_named_and_p_is_that_of_scipy():
    reference = ["a"] * 600 + ["b"] * 400
    one = asked(TOWN, pa.array(reference), pa.array(["a"] * 190 + ["c"] * 10))
    found = {f.question: f for f in shares([one], 100)}
    unseen = found[Question.UNSEEN]
    assert (unseen.rows, unseen.share, unseen.raised) == (10, 0.05, True)
    assert unseen.p_value == pytest.approx(scipy.stats.binom.sf(9, 10, 200 / 1200))


def test_lists_have_lengths():
    column = Column("tokens", "TOKENS", "PREDICTED_VALUE")
    lists = pa.array([["a"] * int(n) for n in RNG.poisson(8, 2000)])
    profile = profile_column(column, lambda: [lists])
    assert profile.moments.mean == pytest.approx(8, abs=0.3)
    assert raised(column, [["a"] * 5] * 500 + [["a"]] * 500, [["a"] * 99] * 50 + [["a"]] * 400) == {
        "outOfRange"
    }


def history(rows, days=1.0, lags=()) -> History:
    return History(int(days * 86_400), tuple(rows), tuple(lags))


def test_volume_needs_windows_before_and_allows_for_a_week_not_seen():
    assert volume(10, history([1000, 1000])).least is None
    assert not volume(10, history([1000, 1000])).raised
    assert not volume(400, history([1000, 1100, 900])).raised
    assert volume(200, history([1000, 1100, 900])).raised
    assert volume(4000, history([1000, 1100, 900])).raised
    week = [1000, 1000, 300, 310, 1000, 1000, 1000, 1000]
    assert not volume(290, history(week)).raised
    assert volume(60, history(week)).raised
    assert volume(2500, history(week)).raised


@pytest.mark.parametrize("n", [100, 1000, 5000])
def test_volume_and_lag_are_quiet_when_nothing_happens(n):
    rng = np.random.default_rng(n)
    for _ in range(200):
        sizes = rng.poisson(n, 10)
        lags = [cells(rng.lognormal(1, 1.5, size)) for size in sizes]
        assert not volume(int(rng.poisson(n)), history(sizes.tolist())).raised
        assert not lag(cells(rng.lognormal(1, 1.5, n)), history(sizes.tolist(), lags=lags), 100).raised


def cells(seconds) -> np.ndarray:
    codes = lag_cells(np.zeros(len(seconds), np.int64), (np.asarray(seconds) * 1e6).astype(np.int64))
    return np.bincount(codes, minlength=CELLS)


def test_rows_that_come_late_are_told_from_a_few_that_always_do():
    rng = np.random.default_rng(4)
    usual = [cells(np.where(rng.random(1000) < 0.03, 7200, rng.exponential(5, 1000))) for _ in range(5)]
    same = cells(np.where(rng.random(1000) < 0.03, 7200, rng.exponential(5, 1000)))
    assert not lag(same, history([1000] * 5, lags=usual), 100).raised
    late = cells(np.where(rng.random(1000) < 0.3, 90_000, rng.exponential(5, 1000)))
    found = lag(late, history([1000] * 5, lags=usual), 100)
    assert found.raised
    assert found.late_share == pytest.approx(0.3, abs=0.05)
    assert not lag(late, history([1000] * 2, lags=usual[:2]), 100).raised


def test_quantiles_of_lag_are_upper_bounds():
    seconds = np.random.default_rng(5).exponential(100, 2000)
    found = lag_quantile(cells(seconds), 0.95)
    exact = float(np.quantile(seconds, 0.95))
    assert found == min(e for e in EDGES if e > exact)
    assert lag_quantile(np.zeros(CELLS, np.int64), 0.5) is None

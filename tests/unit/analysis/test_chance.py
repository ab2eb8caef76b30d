"""What chance alone does: learnt distances, surpluses, repeats, pairs, against simulations and scipy."""

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from modelwarden_server.analysis.cells import CategoryCells, NumericCells
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.distances import Metric, distance, distances
from modelwarden_server.analysis.nullband import Question, chance_distance, rounded_down
from modelwarden_server.analysis.pairs import Pair, cramer, fitted, pair_change, strongest
from modelwarden_server.analysis.profile import profile_column
from modelwarden_server.analysis.repeats import BUCKETS, RepeatProfile, numbers_of, repeats
from modelwarden_server.analysis.surplus import surplus, upper_tail


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize(("m", "n"), [(10_000, 200), (2000, 1000), (10_000, 5000)])
def test_a_learnt_distance_is_passed_as_rarely_as_it_says(metric, m, n):
    rng = np.random.default_rng(1)
    shares = np.array([0.2, 0.2, 0.15, 0.15, 0.1, 0.1, 0.06, 0.04])
    learnt = chance_distance(Question(metric, shares * m, n), 1e-3)
    drawn = distances(metric, rng.multinomial(m, shares, 20_000), rng.multinomial(n, shares, 20_000))
    assert (drawn > learnt).mean() <= 2e-3
    assert learnt <= 1.6 * np.quantile(drawn, 0.999)


def test_psi_of_two_samples_is_about_chi_square():
    base = np.full(10, 1000.0)
    wanted = scipy.stats.chi2.ppf(0.99, 9) * (1 / 500 + 1 / 10_000)
    assert chance_distance(Question(Metric.PSI, base, 500), 1e-2) == pytest.approx(wanted, rel=0.2)


def test_the_same_question_has_the_same_answer_and_more_rows_a_lower_one():
    base = np.full(10, 1000.0)
    answers = [chance_distance(Question(Metric.PSI, base, n), 1e-3) for n in (100, 1000, 1000, 10_000)]
    assert answers[0] > answers[1] == answers[2] > answers[3]
    assert [rounded_down(n) for n in (0.5, 7, 99.9, 123, 45_678)] == [0, 7, 99, 120, 45_000]


def test_distances_of_many_rows_are_those_of_each():
    rng = np.random.default_rng(2)
    bases, targets = rng.multinomial(300, np.full(6, 1 / 6), 20), rng.multinomial(50, np.full(6, 1 / 6), 20)
    for metric in Metric:
        one_by_one = [distance(metric, b, t) for b, t in zip(bases, targets, strict=True)]
        assert distances(metric, bases, targets) == pytest.approx(one_by_one)


def test_the_tail_of_a_surplus_is_scipys_binomial():
    before, now, m, n = np.array([0.0, 3.0, 40.0]), np.array([2.0, 9.0, 5.0]), 10_000, 1000
    wanted = [scipy.stats.binom.sf(c - 1, c + b, n / (n + m)) for b, c in zip(before, now, strict=True)]
    assert upper_tail(before, now, m, n) == pytest.approx(wanted)


def cells_and_counts(values):
    profile = profile_column(Column("x", "FLOAT", "PIPELINE_INPUT"), lambda: [pa.array(values)])
    return profile.cells, np.array(profile.counts, dtype=float)


@pytest.mark.parametrize("n", [200, 1000, 5000])
def test_a_surplus_arises_by_chance_as_rarely_as_it_says(n):
    rng = np.random.default_rng(n)
    false = 0
    for _ in range(6):
        cells, base = cells_and_counts(rng.lognormal(0, 1, 5000))
        for _ in range(50):
            target = np.bincount(cells.encode(pa.array(rng.lognormal(0, 1, n))), minlength=cells.size)
            found = surplus(cells, base, target.astype(float))
            false += found is not None and found.p_value < 1e-3
    assert false <= 2


@pytest.mark.parametrize("wrong", [lambda x: x * 1000, lambda x: x / 1000, lambda x: x * 0 - 1])
def test_three_rows_in_a_hundred_in_another_unit_are_a_surplus(wrong):
    rng = np.random.default_rng(3)
    cells, base = cells_and_counts(rng.lognormal(0, 1, 10_000))
    values = rng.lognormal(0, 1, 1000)
    values[:30] = wrong(values[:30])
    found = surplus(cells, base, np.bincount(cells.encode(pa.array(values)), minlength=cells.size) * 1.0)
    assert found is not None
    assert found.p_value < 1e-6
    assert found.share - found.base_share == pytest.approx(0.03, abs=0.01)


def test_a_new_category_is_a_surplus_and_a_known_one_is_not():
    cells = CategoryCells(("a", "b"))
    base = np.array([500.0, 500.0, 0, 0, 0])
    assert surplus(cells, base, np.array([90.0, 105.0, 0, 5, 0])).p_value < 1e-3
    assert surplus(cells, base, np.array([100.0, 100.0, 0, 0, 0])) is None
    assert isinstance(NumericCells((1.0, 2.0)), NumericCells)


def numbers(rng, rows, attributes=6):
    return [rng.integers(0, 200, rows) for _ in range(attributes)]


def counted(codes):
    return np.bincount(numbers_of(codes), minlength=BUCKETS)


@pytest.mark.parametrize("n", [500, 5000])
def test_repeats_are_estimated_and_independent_rows_are_none(n):
    rng = np.random.default_rng(n)
    reference = RepeatProfile.of(counted(numbers(rng, 10_000)))
    false = sum(repeats(counted(numbers(rng, n)), reference).raised for _ in range(100))
    assert false == 0
    codes = numbers(rng, n)
    copies = [np.concatenate([c, c[: n // 5]]) for c in codes]
    found = repeats(counted(copies), reference)
    assert found.raised
    assert found.share == pytest.approx(1 / 6, abs=0.04)


@pytest.mark.parametrize("times", [2, 3, 10])
def test_the_share_of_copies_is_right_however_often_a_row_comes(times):
    rng = np.random.default_rng(times)
    reference = RepeatProfile.of(counted(numbers(rng, 10_000)))
    codes = [np.repeat(c, times) for c in numbers(rng, 600)]
    assert repeats(counted(codes), reference).share == pytest.approx(1 - 1 / times, abs=0.1)


def test_rows_that_are_alike_by_nature_are_no_repeats():
    rng = np.random.default_rng(5)
    reference = RepeatProfile.of(counted([rng.integers(0, 3, 8000) for _ in range(4)]))
    for _ in range(50):
        assert not repeats(counted([rng.integers(0, 3, 2000) for _ in range(4)]), reference).raised


def test_numbers_of_rows_do_not_change():
    codes = [np.array([0, 1, 2]), np.array([5, 5, 7])]
    assert numbers_of(codes).tolist() == numbers_of([c.copy() for c in codes]).tolist()
    assert numbers_of(codes).tolist() == [2419, 2595, 15808]


def test_cramers_v_is_scipys_but_for_the_bias():
    rng = np.random.default_rng(6)
    a = rng.integers(0, 4, 20_000)
    b = np.where(rng.random(20_000) < 0.6, a, rng.integers(0, 4, 20_000))
    table = np.bincount(a * 4 + b, minlength=16).reshape(4, 4)
    assert cramer(table) == pytest.approx(scipy.stats.contingency.association(table), abs=2e-3)
    assert cramer(np.outer([10, 20], [30, 40])) == pytest.approx(0, abs=1e-9)


def test_fitting_keeps_the_dependence_and_takes_the_margins():
    base = np.array([[0.4, 0.1], [0.1, 0.4]])
    rows, columns = np.array([0.3, 0.7]), np.array([0.6, 0.4])
    table = fitted(base, rows, columns)
    assert table.sum(axis=1) == pytest.approx(rows)
    assert table.sum(axis=0) == pytest.approx(columns)
    odds = table[0, 0] * table[1, 1] / (table[0, 1] * table[1, 0])
    assert odds == pytest.approx(16, rel=1e-6)


def pair_table(rng, n, rho, shift=0.0):
    x = rng.normal(shift, 1, n)
    y = rho * (x - shift) + np.sqrt(1 - rho**2) * rng.normal(size=n) + shift
    edges = [-0.67, 0.0, 0.67]
    a, b = np.searchsorted(edges, x), np.searchsorted(edges, y)
    return np.bincount(a * 5 + b, minlength=25).astype(float)


def test_dependence_that_stays_is_no_change_and_p_is_uniform_enough():
    rng = np.random.default_rng(7)
    small = 0
    for _ in range(30):
        base = pair_table(rng, 10_000, 0.6)
        pair = Pair("x", "y", (5, 5), tuple(int(c) for c in base))
        small += sum(pair_change(pair, base, pair_table(rng, 800, 0.6)).p_value < 0.01 for _ in range(20))
    assert small <= 18


@pytest.mark.parametrize(("rho", "broken"), [(0.6, False), (0.0, True), (-0.6, True)])
def test_a_broken_correlation_is_told_from_a_shift_of_both(rho, broken):
    rng = np.random.default_rng(8)
    base = pair_table(rng, 10_000, 0.6)
    pair = Pair("x", "y", (5, 5), tuple(int(c) for c in base))
    shifted = pair_change(pair, base, pair_table(rng, 2000, rho, shift=0.2))
    assert (shifted.p_value < 1e-6 and shifted.change > 0.05) == broken


def test_each_attribute_that_depends_on_another_is_in_a_pair():
    rng = np.random.default_rng(9)
    x = rng.integers(0, 4, 5000)
    noisy = [np.where(rng.random(5000) < share, x, rng.integers(0, 4, 5000)) for share in (0.9, 0.5)]
    alone = rng.integers(0, 4, 5000)
    assert strongest([x, *noisy, alone], [4] * 4) == [(0, 1), (0, 2)]

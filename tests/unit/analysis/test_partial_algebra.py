"""Partials are addable: no order and no split of the rows changes one integer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwarden_server.analysis.partials import (
    SLICES_PER_DAY,
    SLICES_PER_HOUR,
    SparseCounts,
    count_rows,
    empty,
    merge,
    roll_up,
    sum_by_key,
    total,
)
from modelwarden_server.analysis.timeline import Timeline

SPACE = 7

rows = st.lists(
    st.tuples(st.integers(-400, 400), st.integers(0, 2), st.integers(0, 3)), min_size=0, max_size=60
)


def folded(some: list[tuple[int, int, int]]) -> SparseCounts:
    """Rows of (slice, cell of a, cell of b) with codes rows=0, a=1..3, b=4..6(+0)."""
    slices = np.array([r[0] for r in some], dtype=np.int64)
    a = np.array([1 + r[1] for r in some], dtype=np.int64)
    b = np.array([min(4 + r[2], SPACE - 1) for r in some], dtype=np.int64)
    return count_rows(slices, [np.zeros_like(slices), a, b], SPACE)


@given(rows, st.randoms(use_true_random=False), st.integers(1, 6))
def test_any_split_and_any_order_of_rows_give_identical_integers(some, random, pieces):
    shuffled = list(some)
    random.shuffle(shuffled)
    split = [folded(shuffled[i::pieces]) for i in range(pieces)]
    assert merge(split).same_as(folded(some))


@given(rows, rows, rows)
def test_merging_is_associative_and_commutative_and_has_a_neutral_element(a, b, c):
    x, y, z = folded(a), folded(b), folded(c)
    assert merge([merge([x, y]), z]).same_as(merge([x, merge([y, z])]))
    assert merge([x, y]).same_as(merge([y, x]))
    assert merge([x, empty()]).same_as(x)


@given(rows, rows)
def test_rolling_up_after_merging_equals_merging_after_rolling_up(a, b):
    x, y = folded(a), folded(b)
    whole = roll_up(merge([x, y]), SPACE, SLICES_PER_DAY)
    assert whole.same_as(merge([roll_up(x, SPACE, SLICES_PER_DAY), roll_up(y, SPACE, SLICES_PER_DAY)]))


@given(rows)
def test_hours_rolled_up_to_days_equal_slices_rolled_up_to_days(some):
    slices = folded(some)
    by_hour = roll_up(slices, SPACE, SLICES_PER_HOUR)
    assert roll_up(by_hour, SPACE, 24).same_as(roll_up(slices, SPACE, SLICES_PER_DAY))


@given(rows)
def test_a_count_taken_back_leaves_nothing_behind(some):
    part = folded(some)
    assert len(merge([part, SparseCounts(part.keys, -part.counts)])) == 0


@pytest.mark.parametrize("spread", [1, 100_000])
def test_dense_and_sparse_folding_count_alike(spread):
    rng = np.random.default_rng(1)
    slices = rng.integers(0, spread, 2000)
    codes = [np.zeros(2000, dtype=np.int64), rng.integers(1, SPACE, 2000)]
    keys = np.concatenate([slices * SPACE + code for code in codes])
    assert count_rows(slices, codes, SPACE).same_as(sum_by_key(keys, np.ones(len(keys), dtype=np.int64)))


@given(
    st.lists(rows, max_size=8),
    st.integers(-450, 450),
    st.integers(0, 900),
    st.sampled_from([None, 0]),
)
def test_a_window_of_the_timeline_is_the_sum_of_its_slices(batches, start, length, budget):
    parts = [folded(batch) for batch in batches]
    everything = merge(parts)

    def reload(day: int) -> SparseCounts:
        return everything.between(day * SLICES_PER_DAY * SPACE, (day + 1) * SLICES_PER_DAY * SPACE)

    timeline = Timeline(SPACE, reload)
    for part in parts:
        timeline.add(part)
    if budget is not None:
        timeline.shed(budget)
    wanted = total([everything.between(start * SPACE, (start + length) * SPACE)], SPACE)
    assert np.array_equal(timeline.window(start, start + length), wanted)
    assert timeline.rows == sum(len(batch) for batch in batches)
    newest = max((r[0] for batch in batches for r in batch), default=None)
    assert timeline.newest_slice() == newest


def test_rows_spread_thin_over_years_stay_small_in_memory():
    rng = np.random.default_rng(2)
    space, attributes, many = 4000, 17, 3000
    timeline = Timeline(space)
    for piece in range(6):
        slices = rng.integers(0, SLICES_PER_DAY * 1096, many // 6) + piece
        codes = [np.zeros(len(slices), dtype=np.int64)]
        codes += [rng.integers(1 + 200 * a, 201 + 200 * a, len(slices)) for a in range(attributes)]
        timeline.add(count_rows(slices, codes, space))
    entries = many * (attributes + 1)
    assert timeline.rows == many
    assert timeline.bytes < entries * 16


def test_dropped_slices_come_back_through_reload_only():
    part = folded([(5, 0, 0), (6, 1, 1)])
    timeline = Timeline(SPACE)
    timeline.add(part)
    assert timeline.shed(0) == 0, "without a way to read them again nothing may be dropped"
    asked: list[int] = []

    def reload(day: int) -> SparseCounts:
        asked.append(day)
        return part

    held = Timeline(SPACE, reload)
    held.add(part)
    assert held.shed(0) == 1
    assert held.window(0, SLICES_PER_DAY)[0] == 2
    assert asked == [], "whole days are always at hand"
    assert held.window(6, 7)[0] == 1
    assert asked == [0]

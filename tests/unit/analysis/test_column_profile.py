"""A column's profile: counts, bounds and sums, independent of how the column was cut into chunks."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwarden_server.analysis import profile as profiling
from modelwarden_server.analysis.cells import CategoryCells, NumericCells
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.profile import profile_column

FLOAT = Column("x", "FLOAT", "PIPELINE_INPUT")
numbers = st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), max_size=50)


def cut(values, at):
    array = pa.array(values, pa.float64())
    at = sorted({min(a, len(array)) for a in at} | {0, len(array)})
    return [array[low:high] for low, high in itertools.pairwise(at)]


@given(numbers, st.lists(st.integers(0, 50), max_size=4))
def test_chunks_do_not_matter_and_each_row_is_counted_once(values, at):
    whole = profile_column(FLOAT, lambda: iter([pa.array(values, pa.float64())]))
    pieces = profile_column(FLOAT, lambda: iter(cut(values, at)))
    assert whole == pieces
    assert whole.rows == len(values)
    assert whole.counts[whole.cells.missing[0]] == sum(v is None for v in values)
    assert whole.counts[whole.cells.missing[1]] == sum(v is not None and np.isnan(v) for v in values)


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=200))
def test_bounds_and_mean_are_those_of_the_values(values):
    moments = profile_column(FLOAT, lambda: iter([pa.array(values)])).moments
    assert moments is not None
    assert (moments.lowest, moments.highest, moments.count) == (min(values), max(values), len(values))
    largest = max(abs(v) for v in values)
    assert moments.mean == pytest.approx(np.mean(values), abs=largest * 2**-38 + 1e-300)


def test_quantiles_are_numpys():
    values = np.random.default_rng(1).gamma(2, size=10_007)
    cells = profile_column(FLOAT, lambda: iter([pa.array(values)])).cells
    assert isinstance(cells, NumericCells)
    from modelwarden_server.analysis.grid import FRACTIONS

    assert np.array_equal(cells.quantiles, np.quantile(values, FRACTIONS))


def test_more_numbers_than_may_be_sorted_are_thinned_but_all_are_counted(monkeypatch):
    monkeypatch.setattr(profiling, "MAX_SORTED", 5000)
    values = np.random.default_rng(2).normal(size=60_000)
    parts = [pa.array(part) for part in np.array_split(values, 7)]
    profile = profile_column(FLOAT, lambda: iter(parts))
    cells = profile.cells
    assert isinstance(cells, NumericCells)
    assert profile.rows == 60_000
    assert (cells.quantiles[0], cells.quantiles[-1]) == (values.min(), values.max())
    middle = cells.quantiles[len(cells.quantiles) // 2]
    assert abs((values < middle).mean() - 0.5) < 0.03


def test_more_texts_than_may_be_counted_lose_the_rarest_only(monkeypatch):
    monkeypatch.setattr(profiling, "MAX_DISTINCT", 2000)
    monkeypatch.setattr(profiling, "_KEPT_AT_OVERFLOW", 500)
    rng = np.random.default_rng(3)
    texts = [f"often-{i % 20}" if i % 2 else f"once-{rng.integers(1 << 60)}" for i in range(20_000)]
    parts = [pa.array(texts[i : i + 1000]) for i in range(0, len(texts), 1000)]
    column = Column("x", "STRING", "PIPELINE_INPUT", categorical=True)
    profile = profile_column(column, lambda: iter(parts))
    cells = profile.cells
    assert isinstance(cells, CategoryCells)
    assert cells.overflow
    assert {f"often-{i % 20}" for i in range(1, 40, 2)} <= set(cells.values)
    assert not any(value.startswith("once") for value in cells.values)
    assert profile.counts[cells.other] == 10_000
    assert cells.encode(pa.array(["never before"])).tolist() == [cells.other]


def test_dictionary_encoded_texts_have_the_cells_of_plain_ones():
    texts = pa.array(["a", "b", None, "a", "c"])
    cells = profile_column(Column("x", "STRING", "PIPELINE_INPUT"), lambda: iter([texts])).cells
    assert cells.encode(texts.dictionary_encode()).tolist() == cells.encode(texts).tolist()

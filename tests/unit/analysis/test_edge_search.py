"""The quick search among edges finds what numpy's search finds, for every number, wherever the edges lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelwarden_server.analysis.edge_search import EdgeSearch

FINITE = st.floats(allow_nan=False, allow_infinity=False)
MOST = np.finfo(np.float64).max
LARGE = np.nextafter(MOST, 0)
RNG = np.random.default_rng(7)
SHAPES = {
    "normal": RNG.normal(size=50_000),
    "far outliers": RNG.standard_cauchy(50_000),
    "heavy tail": RNG.lognormal(0, 3, 50_000),
    "half of it one value": np.where(RNG.random(50_000) < 0.5, 0.0, RNG.exponential(1, 50_000)),
    "two scales": np.where(RNG.random(50_000) < 0.5, RNG.normal(0, 1e-9, 50_000), RNG.normal(0, 1e9, 50_000)),
    "whole numbers": RNG.integers(0, 300, 50_000).astype(float),
    "the largest doubles": RNG.uniform(-1, 1, 50_000) * MOST,
    "the largest doubles beside large ones": np.append(RNG.normal(0, 1e300, 50_000), [LARGE, -LARGE]),
    "the smallest doubles": RNG.integers(1, 10_000, 50_000) * 5e-324,
}


def edges_of(values: np.ndarray) -> np.ndarray:
    """Quantiles, and for values that fill several of them the double after them, as cells have it."""
    quantiles = np.quantile(values / 2, np.linspace(0, 1, 450)) * 2
    heavy = np.unique(quantiles[1:][quantiles[1:] == quantiles[:-1]])
    edges = np.unique(np.concatenate([quantiles, np.nextafter(heavy, np.inf)]))
    return edges[np.isfinite(edges)]


def expected(edges: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return np.searchsorted(edges, numbers, side="right")


@pytest.mark.parametrize("shape", SHAPES)
def test_every_number_finds_its_place(shape: str) -> None:
    edges = edges_of(SHAPES[shape])
    beside = [np.nextafter(edges, way) for way in (-np.inf, np.inf)]
    numbers = np.concatenate([SHAPES[shape], edges, *beside, [-np.inf, np.inf, -0.0, 0.0]])
    found = EdgeSearch(edges).places(numbers)
    assert found.dtype == np.int32
    assert np.array_equal(found, expected(edges, numbers))


@given(
    arrays.arrays(np.float64, st.integers(0, 80), elements=FINITE),
    arrays.arrays(np.float64, st.integers(0, 80), elements=st.floats(allow_nan=False)),
)
def test_it_does_not_matter_where_edges_lie(values: np.ndarray, numbers: np.ndarray) -> None:
    edges = np.unique(values)
    asked = np.concatenate([numbers, values])
    assert np.array_equal(EdgeSearch(edges).places(asked), expected(edges, asked))


def test_nan_has_a_place_that_an_index_can_be() -> None:
    edges = edges_of(SHAPES["normal"])
    found = EdgeSearch(edges).places(np.array([np.nan, 0.0, np.nan]))
    assert ((found >= 0) & (found <= len(edges))).all()

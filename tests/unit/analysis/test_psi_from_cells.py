"""PSI from fine counts against a computation of its own on the raw rows."""

import numpy as np
import pyarrow as pa
import pytest

from modelwarden_server.analysis.buckets import buckets
from modelwarden_server.analysis.cells import CategoryCells, NumericCells, PresenceCells
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.distances import Metric, distance
from modelwarden_server.analysis.grid import is_exact
from modelwarden_server.analysis.profile import ColumnProfile, profile_column


def profile(values, value_type="FLOAT", chunks=3, **more) -> ColumnProfile:
    array = values if isinstance(values, pa.Array) else pa.array(values)
    parts = [array[i::chunks] for i in range(chunks)] if chunks > 1 else [array]
    return profile_column(Column("x", value_type, "PIPELINE_INPUT", **more), lambda: iter(parts))


def cell_counts(p: ColumnProfile, values) -> np.ndarray:
    return np.bincount(p.cells.encode(pa.array(values)), minlength=p.cells.size)


def psi_from_cells(p: ColumnProfile, target, num_bins=10, gaps=False):
    layout = buckets(p.cells, num_bins, gaps)
    assert layout is not None
    return distance(Metric.PSI, layout.counts(np.array(p.counts)), layout.counts(cell_counts(p, target)))


def psi_from_rows(base, target, num_bins) -> float:
    """The documented method, on rows: quantiles of the base, both sides counted between them."""
    base, target = base[~np.isnan(base)], target[~np.isnan(target)]
    values = np.unique(base)
    if len(values) <= num_bins:
        p = np.array([(base == v).sum() for v in values] + [0.0])
        q = np.array([(target == v).sum() for v in values] + [(~np.isin(target, values)).sum()], float)
    else:
        inner = np.unique(np.quantile(base, np.arange(1, num_bins) / num_bins))
        edges = [-np.inf, *inner[inner > base.min()], np.inf]
        p, q = np.histogram(base, edges)[0].astype(float), np.histogram(target, edges)[0].astype(float)
    used = (p > 0) | (q > 0)
    p, q = np.maximum(p, 0.5)[used] / len(base), np.maximum(q, 0.5)[used] / len(target)
    return float(((p - q) * np.log(p / q)).sum())


def zero_inflated(rng, n, share, scale):
    return np.where(rng.random(n) < share, 0.0, rng.exponential(scale, n))


def with_nan(rng, values, share):
    values = values.astype(float).copy()
    values[rng.random(len(values)) < share] = np.nan
    return values


DISTRIBUTIONS = {
    "normal, shifted": lambda r: (r.normal(0, 1, 20_011), r.normal(0.3, 1.2, 5003)),
    "normal, the same": lambda r: (r.normal(0, 1, 20_011), r.normal(0, 1, 5003)),
    "small samples": lambda r: (r.normal(0, 1, 211), r.normal(0.5, 1, 57)),
    "heavy tails": lambda r: (r.standard_cauchy(20_011), 3 * r.standard_cauchy(5003)),
    "lognormal in other units": lambda r: (r.lognormal(0, 2, 20_011), 1000 * r.lognormal(0, 2, 5003)),
    "half of it zeros": lambda r: (zero_inflated(r, 20_011, 0.5, 1.0), zero_inflated(r, 5003, 0.3, 2.0)),
    "ties at the top": lambda r: (
        np.minimum(r.normal(0, 1, 20_011), 0.5),
        np.minimum(r.normal(0.2, 1, 5003), 0.5),
    ),
    "few integers": lambda r: (r.poisson(2, 20_011).astype(float), r.poisson(3, 5003).astype(float)),
    "many integers": lambda r: (r.poisson(900, 20_011).astype(float), r.poisson(905, 5003).astype(float)),
    "ages": lambda r: (r.integers(0, 96, 20_011).astype(float), r.integers(10, 90, 5003).astype(float)),
    "yes and no": lambda r: (r.integers(0, 2, 20_011).astype(float), (r.random(5003) < 0.7).astype(float)),
    "a constant": lambda _: (np.full(20_011, 5.0), np.full(5003, 5.0)),
    "a constant that became another": lambda _: (np.full(20_011, 5.0), np.full(5003, 7.0)),
    "with NaN": lambda r: (
        with_nan(r, r.normal(0, 1, 20_011), 0.2),
        with_nan(r, r.normal(0.4, 1, 5003), 0.4),
    ),
    "outside the reference's range": lambda r: (r.random(20_011), r.random(5003) * 4 - 2),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("num_bins", [2, 7, 10, 20, 50, 256])
def test_psi_from_fine_counts_equals_psi_from_rows(name, num_bins):
    base, target = DISTRIBUTIONS[name](np.random.default_rng(11))
    wanted = psi_from_rows(base, target, num_bins)
    assert psi_from_cells(profile(base), target, num_bins) == pytest.approx(wanted, abs=1e-9)


def test_documented_numbers_of_bins_are_exact_and_others_say_so():
    assert all(is_exact(n) for n in (*range(2, 21), 25, 32, 50, 64, 100, 128, 256))
    assert not any(is_exact(n) for n in (0, 1, 21, 99, 257))


def test_there_are_256_quantile_bins_with_nothing_under_or_over_them_in_the_reference():
    values = np.random.default_rng(3).normal(size=25_600)
    p = profile(values)
    layout = buckets(p.cells, 256)
    assert layout is not None
    assert layout.counts(np.array(p.counts)).tolist() == [100] * 256
    assert p.counts[0] == 0
    assert p.counts[p.cells.intervals - 1] == 0


def test_what_is_under_over_missing_or_nan_has_a_cell_of_its_own():
    p = profile(np.random.default_rng(4).random(1000))
    cells = p.cells
    assert isinstance(cells, NumericCells)
    odd = pa.array([-1.0, 2.0, None, float("nan"), float("inf"), float("-inf")])
    over = cells.intervals - 1
    assert cells.encode(odd).tolist() == [0, over, cells.missing[0], cells.missing[1], over, 0]


def test_edges_ascend_strictly_whatever_the_ties():
    for make in DISTRIBUTIONS.values():
        base, _ = make(np.random.default_rng(5))
        cells = profile(base).cells
        assert (np.diff(cells.edges) > 0).all()
        assert np.isfinite(cells.edges).all()


def test_a_column_that_goes_empty_is_drift_only_where_gaps_count():
    base = np.random.default_rng(6).normal(size=5000)
    target = base.copy()
    target[:2500] = np.nan
    p = profile(base)
    assert psi_from_cells(p, target) < 0.02
    assert psi_from_cells(p, target, gaps=True) > 1


def test_without_missing_values_the_gap_bucket_changes_nothing():
    rng = np.random.default_rng(7)
    base, target = rng.normal(size=5000), rng.normal(0.2, 1, 900)
    p = profile(base)
    assert psi_from_cells(p, target, gaps=True) == psi_from_cells(p, target)


@pytest.mark.parametrize(
    ("value_type", "base", "target"),
    [
        ("STRING", ["a"] * 60 + ["b"] * 40, ["a"] * 20 + ["b"] * 80),
        ("INTEGER", [1] * 60 + [2] * 40, [1] * 20 + [2] * 80),
        ("FLOAT", [1.0] * 60 + [2.5] * 40, [1.0] * 20 + [2.5] * 80),
        ("BOOLEAN", [True] * 60 + [False] * 40, [True] * 20 + [False] * 80),
    ],
)
def test_psi_of_categories_by_hand(value_type, base, target):
    p = profile(pa.array(base), value_type, categorical=True)
    by_hand = (0.6 - 0.2) * np.log(0.6 / 0.2) + (0.4 - 0.8) * np.log(0.4 / 0.8)
    assert isinstance(p.cells, CategoryCells)
    assert psi_from_cells(p, target) == pytest.approx(by_hand, abs=1e-12)


def test_a_category_the_reference_never_had_is_ignored_as_documented_unless_gaps_count():
    p = profile(pa.array(["a", "b"] * 500), "STRING")
    target = ["a", "b"] * 100 + ["new"] * 200
    assert psi_from_cells(p, target) == pytest.approx(0, abs=1e-12)
    assert psi_from_cells(p, target, gaps=True) > 1


def test_rare_categories_share_a_cell_and_are_told_from_unseen_ones():
    common = [f"c{i}" for i in range(100) for _ in range(50)]
    p = profile(pa.array([*common, "rare", None]), "STRING")
    cells = p.cells
    assert isinstance(cells, CategoryCells)
    assert cells.encode(pa.array(["c7", "rare", "never", None])).tolist() == [
        cells.values.index("c7"),
        cells.other,
        cells.unseen,
        cells.missing[0],
    ]


def test_declared_categories_come_first_and_need_not_occur():
    p = profile(pa.array([1, 1, 3]), "INTEGER", chunks=1, categorical=True, categories=("2", "1.0"))
    assert isinstance(p.cells, CategoryCells)
    assert p.cells.values == ("2", "1", "3")
    assert p.counts[:3] == (0, 2, 1)


def test_identifiers_and_free_text_are_only_present_or_missing():
    ids = pa.array([f"id-{i}" for i in range(1000)])
    assert isinstance(profile(ids, "STRING").cells, PresenceCells)
    assert isinstance(profile(pa.array(["some", "text", None]), "UNSTRUCTURED_TEXT").cells, PresenceCells)
    assert buckets(PresenceCells(), 10) is None


def test_a_numeric_category_with_many_values_is_compared_as_a_number():
    values = np.arange(5000, dtype=np.int64)
    assert isinstance(profile(values, "INTEGER", categorical=True).cells, NumericCells)


def test_a_column_without_values_has_no_buckets():
    empty = profile(pa.array([None, None], pa.float64()))
    assert buckets(empty.cells, 10) is None
    assert empty.moments is None
    assert empty.rows == 2

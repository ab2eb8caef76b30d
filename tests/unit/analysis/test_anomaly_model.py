"""Anomalies: planted ones are found and named, clean rows come at the rate that is expected."""

import os

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from modelwarden_server.analysis import forest
from modelwarden_server.analysis.anomaly import (
    LEAST_ROWS,
    AnomalyModel,
    NothingToLearnError,
    train_anomaly,
)
from modelwarden_server.analysis.artefact import Artefact, pack, unpack
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.exceedance import Limit, exceedance_p

LONG = bool(os.environ.get("MODELWARDEN_LONG"))
NAMES = ("age", "income", "debt", "visits")
COLUMNS = [
    *(Column(name, "FLOAT", "PIPELINE_INPUT") for name in NAMES),
    Column("town", "STRING", "PIPELINE_INPUT"),
]


def people(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "age": rng.normal(45, 10, rows),
            "income": rng.lognormal(3, 0.3, rows),
            "debt": rng.normal(0, 1, rows),
            "visits": rng.poisson(4, rows).astype(float),
            "town": rng.choice(["north", "south", "hamlet"], rows, p=[0.6, 0.39, 0.01]),
        }
    )


def batch(rows: pa.Table) -> pa.RecordBatch:
    return rows.combine_chunks().to_batches()[0]


@pytest.fixture(scope="module")
def model() -> AnomalyModel:
    return train_anomaly(COLUMNS, people(4000, 1), seed=3)[0]


def test_clean_rows_are_beyond_the_99th_percentile_as_often_as_expected(model: AnomalyModel) -> None:
    found = model.score(batch(people(20_000, 2)))
    beyond = int((found.percentile >= 99).sum())
    assert model.limit.expected == pytest.approx(0.01, abs=0.001)
    assert exceedance_p(beyond, 20_000, model.limit) > 0.01
    assert np.array_equal(found.percentile >= 99, found.score > model.limit.value)
    assert found.percentile.mean() == pytest.approx(50, abs=2)
    assert found.score.mean() == pytest.approx(model.mean, abs=0.005)


@pytest.mark.parametrize(
    "planted",
    [
        {"age": 150.0, "income": 400.0},
        {"debt": -9.0, "visits": 40.0},
        {"town": "hamlet", "income": 300.0},
        {"age": -40.0, "debt": 8.0, "visits": 30.0},
    ],
)
def test_planted_anomalies_score_high_and_the_planted_attributes_are_named(
    model: AnomalyModel, planted: dict[str, object]
) -> None:
    rows = people(200, 5)
    for name, value in planted.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array([value] * 200))
    found = model.score(batch(rows))
    assert (found.percentile >= 95).mean() > 0.9
    told = found.named[found.percentile >= 95]
    first = [model.encoder.columns[place] for place in told[:, 0]]
    assert np.mean([name in planted for name in first]) > 0.95
    named = np.mean(
        [[name in {model.encoder.columns[p] for p in row if p >= 0} for name in planted] for row in told]
    )
    assert named > 0.75


def test_nothing_is_named_for_rows_that_do_not_stand_out(model: AnomalyModel) -> None:
    found = model.score(batch(people(500, 6)))
    assert (found.named[found.percentile < 95] == -1).all()


def test_clean_windows_raise_at_most_one_alarm_in_a_hundred() -> None:
    """Over references, too: the limit's own luck is part of the test."""
    alarms = windows = 0
    for seed in range(40 if LONG else 2):
        model = train_anomaly(COLUMNS, people(1000, 100 + seed), seed)[0]
        score = model.score(batch(people(10_000, 1000 + seed))).score
        beyond = (score > model.limit.value).reshape(-1, 500).sum(axis=1)
        alarms += sum(exceedance_p(int(n), 500, model.limit) < 0.01 for n in beyond)
        windows += len(beyond)
    assert stats.binom.sf(alarms - 1, windows, 0.01) > 0.01


@pytest.mark.parametrize(("beyond", "rows"), [(1, 10), (3, 200), (12, 500), (40, 1000), (1200, 100_000)])
@pytest.mark.parametrize("limit", [Limit(0.6, 99, 100), Limit(0.6, 1980, 2000), Limit(0.6, 50, 50)])
def test_the_test_is_the_beta_binomial_one(beyond: int, rows: int, limit: Limit) -> None:
    shape = limit.rows - limit.rank + 1, limit.rank
    theirs = stats.betabinom.sf(beyond - 1, rows, *shape)
    assert exceedance_p(beyond, rows, limit) == pytest.approx(theirs, rel=1e-6, abs=1e-12)


def test_of_a_huge_reference_it_is_the_binomial_test() -> None:
    limit = Limit(0.6, 990_000_000, 1_000_000_000)
    for beyond in (5, 12, 20, 30):
        theirs = stats.binomtest(beyond, 1000, 0.01, alternative="greater").pvalue
        assert exceedance_p(beyond, 1000, limit) == pytest.approx(theirs, rel=1e-3)
    assert exceedance_p(0, 1000, limit) == 1.0


def test_the_same_rows_and_seed_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest, "TREES", 20)

    def made(seed: int) -> bytes:
        model = train_anomaly(COLUMNS, people(300, 7), seed)[0]
        return pack(Artefact("anomaly", model.manifest(), model.arrays()))

    assert made(4) == made(4)


def test_a_model_scores_the_same_after_an_artefact(model: AnomalyModel) -> None:
    kept = unpack(pack(Artefact("anomaly", model.manifest(), model.arrays())))
    again = AnomalyModel.of(kept.manifest, kept.arrays)
    rows = batch(people(300, 8))
    np.testing.assert_array_equal(again.score(rows).score, model.score(rows).score)
    np.testing.assert_array_equal(again.score(rows).named, model.score(rows).named)
    assert again.limit == model.limit


@pytest.mark.parametrize("spoiled", ["reference_scores", "meanScore", "sample", "scoredRows", "encoding"])
def test_an_artefact_without_a_part_is_refused(model: AnomalyModel, spoiled: str) -> None:
    manifest = {k: v for k, v in model.manifest().items() if k != spoiled}
    arrays = {k: v for k, v in model.arrays().items() if k != spoiled}
    with pytest.raises(ValueError, match=spoiled):
        AnomalyModel.of(manifest, arrays)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (people(3, 1), f"3 rows: anomaly detection needs at least {LEAST_ROWS}"),
        (pa.table({n: [1.0] * 500 for n in NAMES} | {"town": ["x"] * 500}), "no input tells rows"),
        (
            pa.table({n: pa.nulls(500, pa.float64()) for n in NAMES} | {"town": pa.nulls(500, pa.string())}),
            "all its values are missing",
        ),
    ],
)
def test_what_cannot_be_learnt_from_is_said_in_a_sentence(rows: pa.Table, said: str) -> None:
    with pytest.raises(NothingToLearnError, match=said):
        train_anomaly(COLUMNS, rows, 1)


def test_two_values_are_enough_and_give_scores_that_make_sense() -> None:
    flags = pa.table({"age": [0.0] * 990 + [1.0] * 10})
    model = train_anomaly([COLUMNS[0]], flags, 2)[0]
    common, rare = model.score(pa.record_batch({"age": [0.0, 1.0]})).score
    assert 0 < common < rare < 1


def test_a_reference_of_more_rows_than_scores_are_kept_knows_its_limits_rank() -> None:
    rng = np.random.default_rng(3)
    model = train_anomaly([COLUMNS[0]], pa.table({"age": rng.normal(size=40_000)}), 2)[0]
    assert len(model.kept) == 10_001
    assert model.rows == 20_000
    assert model.limit.rank / model.rows == pytest.approx(0.99, abs=1e-4)

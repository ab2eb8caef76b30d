"""Errors expected before labels come: trees equal to scikit-learn's, calibrated on rows they never saw."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from modelwarden_server.analysis.anomaly import NothingToLearnError
from modelwarden_server.analysis.artefact import Artefact, pack, unpack
from modelwarden_server.analysis.boosting import converted
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.loss_model import LEAST_ROWS, LossModel, train_loss

COLUMNS = [
    Column("x", "FLOAT", "PIPELINE_INPUT"),
    Column("town", "STRING", "PIPELINE_INPUT"),
    Column("p", "FLOAT", "PREDICTED_VALUE"),
]

ROWS = 3000


def houses(rows: int, seed: int, shift: float = 0.0) -> tuple[pa.Table, np.ndarray]:
    """Prices whose errors grow with |x| and are twice as large in one town."""
    rng = np.random.default_rng(seed)
    x = np.clip(rng.normal(size=rows) + shift, -2.5, 2.5)
    town = rng.choice(["a", "b", "c"], rows)
    errors = rng.normal(size=rows) * (0.5 + np.abs(x)) * np.where(town == "a", 2.0, 1.0)
    return pa.table({"x": x, "town": town, "p": 3 * x}), errors


def batch(rows: pa.Table) -> pa.RecordBatch:
    return rows.combine_chunks().to_batches()[0]


@pytest.fixture(scope="module")
def model() -> LossModel:
    return train_loss(COLUMNS, *houses(ROWS, 1), seed=5)[0]


@pytest.mark.parametrize(("rows", "stopped"), [(30, False), (200, True), (1000, False)])
def test_trees_predict_as_scikit_learns_do(rows: int, stopped: bool) -> None:
    rng = np.random.default_rng(rows)
    data = rng.normal(size=(rows, 5)).astype(np.float32)
    data[:, 1] = rng.integers(0, 3, rows)
    target = data[:, 0] ** 2 + rng.normal(size=rows)
    peer = HistGradientBoostingRegressor(max_iter=20, random_state=0, early_stopping=stopped)
    with threadpool_limits(limits=1):
        ours = converted(peer.fit(data, target))
    edges = np.resize(ours.trees.threshold, (500, 5)).astype(np.float32)
    others = np.concatenate([data, rng.normal(size=(500, 5)).astype(np.float32) * 3, edges])
    np.testing.assert_allclose(
        ours.predict(np.asfortranarray(others)), peer.predict(others), rtol=0, atol=1e-9
    )


def test_on_rows_held_back_the_mean_expected_error_is_the_real_one(model: LossModel) -> None:
    rows, errors = houses(ROWS, 1)
    judged = np.sort(np.split(np.random.RandomState(5).permutation(ROWS), [ROWS // 3])[0])
    absolute, squared = model.expected(batch(rows.take(judged)))
    assert absolute.mean() == pytest.approx(np.abs(errors[judged]).mean(), rel=1e-3)
    assert squared.mean() == pytest.approx((errors[judged] ** 2).mean(), rel=1e-3)
    assert model.absolute.judged.rows == ROWS // 3
    assert model.absolute.judged.mean == pytest.approx(np.abs(errors[judged]).mean())
    assert model.absolute.judged.explained > 0.1


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_estimates_follow_inputs_that_change(model: LossModel, shift: float) -> None:
    rows, errors = houses(6000, 9, shift)
    absolute, squared = model.expected(batch(rows))
    assert absolute.mean() == pytest.approx(np.abs(errors).mean(), rel=0.1)
    assert np.sqrt(squared.mean()) == pytest.approx(np.sqrt((errors**2).mean()), rel=0.12)
    assert absolute.min() > 0


def test_the_same_rows_and_seed_give_the_same_bytes_and_the_same_model_again(model: LossModel) -> None:
    content = pack(Artefact("loss", model.manifest(), model.arrays()))
    same = train_loss(COLUMNS, *houses(ROWS, 1), seed=5)[0]
    assert pack(Artefact("loss", same.manifest(), same.arrays())) == content
    kept = unpack(content)
    again = LossModel.of(kept.manifest, kept.arrays)
    rows = batch(houses(100, 3)[0])
    np.testing.assert_array_equal(again.expected(rows)[0], model.expected(rows)[0])


def test_errors_that_inputs_do_not_explain_are_expected_to_be_the_mean() -> None:
    rng = np.random.default_rng(88)
    rows, _ = houses(2000, 8)
    model = train_loss(COLUMNS, rows, rng.normal(size=2000), seed=1)[0]
    absolute, _ = model.expected(batch(houses(2000, 10)[0]))
    assert absolute.mean() == pytest.approx(np.sqrt(2 / np.pi), rel=0.08)
    assert model.absolute.judged.explained < 0.05


@pytest.mark.parametrize(
    ("rows", "errors", "said"),
    [
        (100, None, f"100 rows of the reference have a label: estimating errors needs {LEAST_ROWS}"),
        (1000, 0.0, "no error"),
        (1000, 1e200, "too large"),
    ],
)
def test_what_cannot_be_learnt_from_is_said_in_a_sentence(rows: int, errors: float | None, said: str) -> None:
    table, real = houses(rows, 1)
    given = real if errors is None else np.full(rows, errors)
    with pytest.raises(NothingToLearnError, match=said):
        train_loss(COLUMNS, table, given, 1)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("absolute", "factor", -1.0),
        ("squared", "mean", None),
        ("absolute", "base", "x"),
        ("squared", "rows", 1.5),
    ],
)
def test_facts_that_cannot_be_are_refused(model: LossModel, part: str, key: str, value: object) -> None:
    manifest = model.manifest()
    manifest[part] = manifest[part] | {key: value}
    with pytest.raises(ValueError, match=part):
        LossModel.of(manifest, model.arrays())

"""A new user's path, on a real store: a reference, a file of half a year's inferences, labels a week later in
a file of their own; then drift by month and by segment, and how right the model was. Every number is computed
again with pandas, scipy and scikit-learn from the Delta tables as a reader of its own sees them.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import census_like as census
import delta_witness
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import accuracy_score, roc_auc_score
from store_process import KEY, StoreProcess, running, wait_for

from modelwarden.client import Cell, DriftScope, FileSending
from modelwarden.resources.keys import job_key
from modelwarden_server.jobs.command import DONE, run

ROWS = 1_000_000 if os.environ.get("MODELWARDEN_LONG") == "1" else 200_000
REFERENCE_ROWS = 20_000
REFUSED = 3
START = pd.Timestamp("2025-01-01", tz="UTC")
MONTHS = 6
STATES = ("MA", "NY", "TX")
INPUTS = ("income", "age", "state")
FEATURES = (*INPUTS, "risk")
ATTRIBUTES = [
    census.attribute("income", "FLOAT", "PIPELINE_INPUT"),
    census.attribute("age", "INTEGER", "PIPELINE_INPUT"),
    census.attribute("state", "STRING", "PIPELINE_INPUT", categorical=True),
    census.attribute(
        "risk", "FLOAT", "PREDICTED_VALUE", attributeLink="defaulted", isPositivePredictedAttribute=True
    ),
    census.attribute("defaulted", "INTEGER", "GROUND_TRUTH", attributeLink="risk", categorical=True),
]


@dataclass(frozen=True)
class World:
    """What the user sent, and what the witness read from the tables afterwards."""

    cell: Cell
    reference: pd.DataFrame
    stored: pd.DataFrame
    """Inferences joined with their labels; `month` is the month of the inference."""


def applicants(rows: int, seed: int, start: pd.Timestamp, months: int) -> pd.DataFrame:
    """People who ask for credit: from the fourth month on incomes fall in New York, where the model then
    takes the good for the bad, and more people come from Texas.
    """
    rng = np.random.default_rng(seed)
    step = (start + pd.DateOffset(months=months) - start) // rows
    times = pd.DatetimeIndex(start + step.floor("us") * np.arange(rows))
    late = times >= start + pd.DateOffset(months=3)
    shares = np.where(late[:, None], [0.4, 0.7], [0.5, 0.9])
    state = np.array(STATES)[(rng.random(rows)[:, None] > shares).sum(axis=1)]
    poorer = late & (state == "NY")
    income = np.round(rng.lognormal(10.0, 0.5, rows) * np.where(poorer, 0.6, 1.0), 2)
    age = rng.integers(18, 90, rows)
    odds = 1.2 * np.log(22_000 / income) + 0.02 * (45 - age)
    risk = 1 / (1 + np.exp(-odds))
    truth = rng.random(rows) < np.where(poorer, 1 - risk, risk)
    return pd.DataFrame(
        {
            "partner_inference_id": [f"credit-{n}" for n in range(rows)],
            "inference_timestamp": times,
            "income": np.where(rng.random(rows) < 0.01, np.nan, income),
            "age": age,
            "state": state,
            "risk": risk,
            "defaulted": truth.astype(int),
        }
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("new-user")
    reference = applicants(REFERENCE_ROWS, 1, START - pd.DateOffset(months=1), 1)
    identity, settings = census.identity(ATTRIBUTES), census.settings(attributes=ATTRIBUTES)
    store = StoreProcess(folder / "store", identity=identity, settings=settings)
    with running(store), Cell(store.url, KEY) as cell:
        cell.upload_reference(reference.drop(columns=["partner_inference_id", "inference_timestamp"]))
        cell.close_reference(REFERENCE_ROWS)
        profile(store)
        send(cell, folder)
        yield World(cell, reference, read(store.data_folder / "tables", folder))


def profile(store: StoreProcess) -> None:
    """What the operator's Job does."""
    (dataset,) = store.status().reference
    assert dataset.content_hash is not None
    given = [
        "profile",
        "--store",
        store.url,
        "--dataset",
        dataset.name,
        "--content-hash",
        dataset.content_hash,
    ]
    assert run(given, {"MODELWARDEN_JOB_KEY": job_key(KEY, "profile", dataset.content_hash)}) == DONE
    wait_for(lambda: store.status().active_reference == dataset.name)


def send(cell: Cell, folder: Path) -> None:
    """Inferences as a parquet file of which three rows are no good; a week later the labels, as another."""
    people = applicants(ROWS, 2, START, MONTHS)
    sent = people.drop(columns="defaulted")
    sent.loc[: REFUSED - 1, "risk"] = np.nan
    sent.to_parquet(folder / "inferences.parquet", row_group_size=50_000)
    heard: list[int] = []
    report = cell.send_file(
        folder / "inferences.parquet",
        sending=FileSending(raise_on_refused=False, on_progress=lambda sent, _of: heard.append(sent)),
    )
    assert (report.rows, report.acknowledged, report.refused) == (ROWS, ROWS - REFUSED, REFUSED)
    assert [failure.message.split(":")[:2] for failure in report.failures] == [
        [f"row {n + 1}", " risk"] for n in range(REFUSED)
    ]
    assert heard[-1] == (folder / "inferences.parquet").stat().st_size
    labels = people[["partner_inference_id", "defaulted"]].iloc[REFUSED:]
    known = people["inference_timestamp"] + pd.Timedelta(days=7)
    told = cell.send_file(labels.assign(ground_truth_timestamp=known), kind="ground_truth_data")
    assert (told.rows, told.acknowledged) == (ROWS - REFUSED, ROWS - REFUSED)


def read(tables: Path, folder: Path) -> pd.DataFrame:
    """The tables as DuckDB sees them, handed over as a parquet file that DuckDB wrote."""
    out = folder / "witness.parquet"
    joined = (
        f"SELECT i.*, t.defaulted, t.ground_truth_timestamp FROM delta_scan('{tables / 'inferences'}') i "
        f"JOIN delta_scan('{tables / 'ground_truth'}') t USING (partner_inference_id)"
    )
    delta_witness.ask(f"COPY ({joined}) TO '{out}' (FORMAT parquet)")
    frame = pd.read_parquet(out)
    return frame.assign(month=frame["inference_timestamp"].dt.strftime("%Y-%m"))


def counts(reference: pd.Series, values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Both sides in buckets: a category each, or the reference's deciles, closed below; missing in none."""
    if not pd.api.types.is_numeric_dtype(reference):
        table = pd.DataFrame({"base": reference.value_counts(), "target": values.value_counts()}).fillna(0)
        return table["base"].to_numpy(), table["target"].to_numpy()
    inner = np.unique(np.quantile(reference.dropna(), np.arange(1, 10) / 10))
    edges = [-np.inf, *inner, np.inf]
    base, target = (
        pd.cut(side, edges, right=False).value_counts(sort=False).to_numpy() for side in (reference, values)
    )
    return base, target


def psi(base: np.ndarray, target: np.ndarray) -> float:
    """Half a row where one side has none, natural logarithm."""
    p, q = (np.where(side > 0, side, 0.5) / side.sum() for side in (base, target))
    return float(((p - q) * np.log(p / q)).sum())


def kullback_leibler(base: np.ndarray, target: np.ndarray) -> float:
    """scipy's relative entropy; no bucket is empty here."""
    return float(stats.entropy(base, target))


def jensen_shannon(base: np.ndarray, target: np.ndarray) -> float:
    """scipy gives the square root."""
    return float(jensenshannon(base, target) ** 2)


def hypothesis_test(base: np.ndarray, target: np.ndarray) -> float:
    """-log10 of the p of scipy's test of homogeneity."""
    p = float(stats.chi2_contingency(np.stack([base, target]), correction=False).pvalue)
    return -np.log10(max(p, np.finfo(float).tiny))


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "PSI": psi,
    "KLDivergence": kullback_leibler,
    "JSDivergence": jensen_shannon,
}


def test_what_was_sent_is_in_the_tables_once_and_unchanged(world: World) -> None:
    sent = applicants(ROWS, 2, START, MONTHS).iloc[REFUSED:].reset_index(drop=True)
    stored = world.stored.sort_values("inference_timestamp", ignore_index=True)
    pd.testing.assert_frame_equal(stored[list(sent.columns)], sent, check_dtype=False)
    assert (stored["ground_truth_timestamp"] - stored["inference_timestamp"] == pd.Timedelta(days=7)).all()


@pytest.mark.parametrize("metric", METRICS)
def test_drift_by_month_is_what_pandas_and_scipy_compute(world: World, metric: str) -> None:
    scores = world.cell.drift(FEATURES, metric=metric, rollup="month")
    assert [start.strftime("%Y-%m") for start in scores.index] == sorted(set(world.stored["month"]))
    for start, scored in scores.iterrows():
        assert isinstance(start, pd.Timestamp)
        rows = world.stored[world.stored["month"] == start.strftime("%Y-%m")]
        for feature in FEATURES:
            expected = METRICS[metric](*counts(world.reference[feature], rows[feature]))
            assert scored[feature] == pytest.approx(expected, abs=1e-9), (start, feature)


def test_the_test_of_a_category_is_scipys(world: World) -> None:
    scores = world.cell.drift(["state"], metric="HypothesisTest", rollup="month")
    for start, score in scores["state"].items():
        assert isinstance(start, pd.Timestamp)
        rows = world.stored[world.stored["month"] == start.strftime("%Y-%m")]
        expected = hypothesis_test(*counts(world.reference["state"], rows["state"]))
        assert score == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("state", STATES)
def test_drift_of_a_segment_is_what_pandas_computes(world: World, state: str) -> None:
    scope = DriftScope(conditions=[{"property": "state", "comparator": "eq", "value": state}])
    scores = world.cell.drift(["income", "age", "risk"], rollup="month", scope=scope)
    segment = world.stored[world.stored["state"] == state]
    for start, scored in scores.iterrows():
        assert isinstance(start, pd.Timestamp)
        rows = segment[segment["month"] == start.strftime("%Y-%m")]
        for feature in scores.columns:
            expected = psi(*counts(world.reference[feature], rows[feature]))
            assert scored[feature] == pytest.approx(expected, abs=1e-9), (start, feature)


def test_all_segments_at_once_are_each_of_them_alone(world: World) -> None:
    together = world.cell.drift(["income", "risk"], scope=DriftScope(group_by=["state"]))
    assert list(together.index) == sorted(STATES)
    for state, scored in together.iterrows():
        rows = world.stored[world.stored["state"] == state]
        for feature in together.columns:
            expected = psi(*counts(world.reference[feature], rows[feature]))
            assert scored[feature] == pytest.approx(expected, abs=1e-9), (state, feature)


def test_missing_values_are_those_that_pandas_counts(world: World) -> None:
    found = world.cell.data_quality(["income"], rollup="month").query("question == 'missing'")
    expected = world.stored.groupby("month")["income"].agg(lambda income: income.isna().sum())
    assert [start.strftime("%Y-%m") for start in found["window"]] == list(expected.index)
    assert found["rows"].tolist() == expected.tolist()


def test_the_drift_is_where_it_was_put(world: World) -> None:
    income = [
        world.cell.drift(
            ["income"],
            rollup="month",
            scope=DriftScope(conditions=[{"property": "state", "comparator": "eq", "value": state}]),
        )["income"].to_numpy()
        for state in STATES
    ]
    calm = np.concatenate([income[0], income[2], income[1][:3]])
    assert calm.max() < 0.05 < 0.2 < income[1][3:].min()
    state_drift = world.cell.drift(["state"], rollup="month")["state"].to_numpy()
    assert state_drift[:3].max() < 0.05 < 0.2 < state_drift[3:].min()


def test_how_right_the_model_was_is_what_scikit_learn_computes(world: World) -> None:
    select = [
        {"property": "state"},
        {"function": "count", "alias": "rows"},
        {"function": "auc", "alias": "auc"},
        {"function": "accuracyRate", "alias": "accuracy"},
    ]
    found = world.cell.query({"select": select, "group_by": [{"property": "state"}], "rollup": "month"})
    assert len(found) == MONTHS * len(STATES)
    assert found["rows"].sum() == len(world.stored)
    by = world.stored.groupby(["month", "state"])
    for _, answered in found.iterrows():
        rows = by.get_group((str(answered["rollup"])[:7], answered["state"]))
        assert answered["rows"] == len(rows)
        assert answered["auc"] == pytest.approx(roc_auc_score(rows["defaulted"], rows["risk"]), abs=1e-9)
        expected = accuracy_score(rows["defaulted"], rows["risk"] >= 0.5)
        assert answered["accuracy"] == pytest.approx(expected, abs=1e-12)
    worst = found.set_index(["rollup", "state"])["auc"].idxmin()
    assert worst[1] == "NY", "the model is wrong where nobody told it"


def test_the_status_accounts_for_every_row_and_label(world: World) -> None:
    rows = world.cell.status()["rows"]
    assert (rows["acknowledged"], rows["stored"], rows["refused"]) == (
        ROWS - REFUSED, ROWS - REFUSED, REFUSED,
    )  # fmt: skip
    labels = rows["labels"]
    assert labels["acknowledged"] == labels["stored"] == ROWS - REFUSED
    assert labels["waiting"] == 0

"""A user's project in its child: found, read, verified and explained exactly, from words and numbers."""

import os
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from confined_child import place, project, spec
from every_coalition import shapley
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from modelwarden_server.explain.background import summarised
from modelwarden_server.explain.exact import ExactExplainer, exact_explainer
from modelwarden_server.explain.explanation import Floats, Rows
from modelwarden_server.explain.exported import of_wire
from modelwarden_server.modelserver.supervisor import Child

NAMES = ["age", "colour", "hours", "children"]
ENTRYPOINT = """
import os, joblib, pandas as pd
model = joblib.load(os.path.join(os.path.dirname(os.path.abspath(__file__)), "model.joblib"))
def predict(x):
    frame = pd.DataFrame(x, columns=["age", "colour", "hours", "children"])
    frame["hours"] = frame["hours"].astype(float).clip(lower=10)
    return model.predict_proba(frame)[:, 1]
"""


def people() -> tuple[Rows, Rows]:
    """Rows as a child is given them, and a label."""
    rng = np.random.default_rng(3)
    rows = np.empty((200, 4), dtype=object)
    rows[:, 0] = rng.integers(18, 80, 200).tolist()
    rows[:, 1] = rng.choice(["red", "green", "blue"], 200).tolist()
    rows[:, 2] = rng.normal(35, 12, 200).round(1).tolist()
    rows[:, 3] = rng.integers(0, 4, 200).tolist()
    return rows, ((rows[:, 0] > 45) ^ (rows[:, 1] == "red")).astype(int)


def fitted(estimator: object) -> Pipeline:
    rows, label = people()
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["colour"]), (StandardScaler(), ["age", "hours", "children"])
    )
    return make_pipeline(columns, estimator).fit(pd.DataFrame(rows, columns=NAMES), label)


ESTIMATORS = {
    "forest": RandomForestClassifier(4, max_depth=4, random_state=0),
    "linear": LogisticRegression(),
    "boosted": GradientBoostingClassifier(n_estimators=6, random_state=0),
}
# A child that imports pandas and scikit-learn takes seconds to start.
TRIED = list(ESTIMATORS) if os.environ.get("MODELWARDEN_LONG") == "1" else ["forest"]


@pytest.fixture(params=TRIED)
def child(request: pytest.FixtureRequest) -> Iterator[Child]:
    with place() as folder:
        made: Path = project(folder, ENTRYPOINT)
        joblib.dump(fitted(ESTIMATORS[request.param]), made / "model.joblib")
        child = Child(spec(folder, made))
        child.start()
        try:
            status = child.wait(180)
            assert status.state == "Ready", status
            yield child
        finally:
            child.stop()


def test_a_pipeline_over_a_frame_is_explained_exactly(child: Child) -> None:
    rows, _ = people()

    def predict(given: Rows) -> Floats:
        return np.asarray(child.predict(given), dtype=np.float64).reshape(-1, 1)

    said = predict(rows)
    exported = child.export(rows[:50])
    assert exported is not None
    arrays = [array for array in exported[1] if isinstance(array, np.ndarray)]
    background = summarised(rows, said, "hash", 10)
    explainer = exact_explainer(of_wire(exported[0], arrays), child.encode, predict, background, rows)
    assert isinstance(explainer, ExactExplainer), explainer
    found = explainer.explain(rows[:2], ["a", "b"])
    assert found.failures is None
    np.testing.assert_allclose(found.values.sum(axis=2), found.predictions - found.expected, atol=1e-12)
    if found.path == "trees" and "carried" not in found.why:
        for row, values in zip(rows, found.values, strict=False):
            np.testing.assert_allclose(values, shapley(predict, row, background), atol=1e-12)
    told = 1 / (1 + np.exp(-found.predictions)) if found.units == "margin" else found.predictions
    np.testing.assert_allclose(told, said[:2], atol=1e-12)

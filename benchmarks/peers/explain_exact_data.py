"""The models that both sides explain exactly, and the rows: 30 inputs, 12 of them informative."""

import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

TRAINED, BACKGROUND, ASKED, COMPARED = 5000, 50, 100, 10
MODELS = {
    "linear": lambda: LogisticRegression(max_iter=1000),
    "gbc": lambda: GradientBoostingClassifier(n_estimators=100, max_depth=3, random_state=0),
    "rf": lambda: RandomForestClassifier(n_estimators=100, max_depth=10, random_state=0, n_jobs=1),
}


def fitted(name: str) -> tuple[object, np.ndarray, np.ndarray]:
    """A model, its background and the rows to explain, the same at every call."""
    rows, label = make_classification(TRAINED + ASKED, 30, n_informative=12, random_state=0)
    model = MODELS[name]().fit(rows[:TRAINED], label[:TRAINED])
    return model, rows[:BACKGROUND], rows[TRAINED:]


def figures(values: np.ndarray) -> dict[str, float]:
    """The values (n, 30) of the first rows by a name each, for comparing sides."""
    return {f"phi_{i}_{j}": float(v) for i, row in enumerate(values[:COMPARED]) for j, v in enumerate(row)}

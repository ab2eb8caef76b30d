"""The models that both sides ask and do not read, the rows, and what is true of these: 30 inputs, 12 of them
informative. Runs in every peer's environment.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

TRAINED, BACKGROUND, INPUTS = 5000, 50, 30
ASKED = {"linear": 100, "gbc": 10, "rf": 10, "mlp": 100}
MODELS = {
    "linear": lambda: LogisticRegression(max_iter=1000),
    "gbc": lambda: GradientBoostingClassifier(n_estimators=100, max_depth=3, random_state=0),
    "rf": lambda: RandomForestClassifier(n_estimators=100, max_depth=10, random_state=0, n_jobs=1),
    "mlp": lambda: MLPClassifier((64, 32), alpha=1e-3, max_iter=60, random_state=0),
}
_TILE = 16_384

Predict = Callable[[np.ndarray], np.ndarray]


class Counted:
    """The probability of the second class, and for how many rows it was asked."""

    def __init__(self, model: Any) -> None:
        self.model, self.rows = model, 0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.rows += len(rows)
        return np.asarray(self.model.predict_proba(rows)[:, 1])

    def both(self, rows: np.ndarray) -> np.ndarray:
        """The probabilities of both classes."""
        self.rows += len(rows)
        return np.asarray(self.model.predict_proba(rows))


def fitted(name: str, scale: float) -> tuple[Counted, np.ndarray, np.ndarray, np.ndarray]:
    """A model, the rows it was trained on, a background of them, and rows to explain; always the same."""
    rows, label = make_classification(
        TRAINED + max(ASKED.values()), INPUTS, n_informative=12, n_redundant=4, random_state=0
    )
    model = MODELS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the network is as far as it is after so many rounds
        model.fit(rows[:TRAINED], label[:TRAINED])
    asked = max(2, round(ASKED[name] * scale))
    return Counted(model), rows[:TRAINED], rows[:BACKGROUND], rows[TRAINED : TRAINED + asked]


def truth(predict: Predict, background: np.ndarray, rows: np.ndarray, passes: int) -> np.ndarray:
    """(n, 30): Shapley values by sampling permutations, each with its reverse, on each background row: no
    estimator that any side uses, unbiased, of as many passes as it takes."""
    random, found = np.random.default_rng(12345), np.zeros(rows.shape)
    each = max(1, _TILE // (2 * INPUTS * len(background)))
    for n, row in enumerate(rows):
        done = 0
        while done < passes:
            count = min(each, passes - done)
            order = random.random((count, len(background), INPUTS)).argsort(axis=2)
            order = np.concatenate([order, order[:, :, ::-1]]).reshape(-1, INPUTS)
            place = order.argsort(axis=1)
            about = np.tile(background, (2 * count, 1))
            steps = np.arange(INPUTS + 1)[None, :, None]
            mixed = np.where(place[:, None, :] < steps, row, about[:, None, :])
            told = predict(mixed.reshape(-1, INPUTS)).reshape(len(order), INPUTS + 1)
            gains = np.diff(told, axis=1)
            found[n] += np.bincount(order.ravel(), weights=gains.ravel(), minlength=INPUTS) / (
                2 * len(background)
            )
            done += count
    return found / passes


def figures(values: np.ndarray) -> dict[str, float]:
    """The values (n, 30) by a name each, for comparing sides."""
    return {f"phi_{i}_{j}": float(v) for i, row in enumerate(values) for j, v in enumerate(row)}


def values_of(told: dict[str, float]) -> np.ndarray:
    """(n, 30), from figures."""
    named = {name: value for name, value in told.items() if name.startswith("phi_")}
    found = np.zeros((len(named) // INPUTS, INPUTS))
    for name, value in named.items():
        _, i, j = name.split("_")
        found[int(i), int(j)] = value
    return found

"""fairlearn's MetricFrame over six rates by group, and from it the five figures of the worst two groups.

One frame for all: its functions for those figures would make a frame each, and take several times as long.
"""

import numpy as np
from fairlearn.metrics import (
    MetricFrame,
    false_negative_rate,
    false_positive_rate,
    selection_rate,
    true_negative_rate,
    true_positive_rate,
)
from fairness_data import GROUPS, THRESHOLD, figures, rows
from sklearn.metrics import accuracy_score
from turns import Round, serve


def prepare(scale: float) -> Round:
    score, label, group = rows(scale)
    places = np.searchsorted(np.array(GROUPS, dtype=object), group)  # whole numbers: texts take it longer
    rates = {
        "selection_rate": selection_rate,
        "accuracy": accuracy_score,
        "true_positive_rate": true_positive_rate,
        "true_negative_rate": true_negative_rate,
        "false_positive_rate": false_positive_rate,
        "false_negative_rate": false_negative_rate,
    }

    def once() -> dict[str, float]:
        decided = (score >= THRESHOLD).astype("int64")
        frame = MetricFrame(metrics=rates, y_true=label, y_pred=decided, sensitive_features=places)
        by_group, difference, ratio = frame.by_group, frame.difference(), frame.ratio()
        told = {metric: dict(zip(GROUPS, by_group[metric], strict=True)) for metric in rates}
        odds = ["true_positive_rate", "false_positive_rate"]
        worst = {
            "demographic_parity_difference": difference["selection_rate"],
            "demographic_parity_ratio": ratio["selection_rate"],
            "equal_opportunity_difference": difference["true_positive_rate"],
            "equalized_odds_difference": max(difference[odds]),
            "equalized_odds_ratio": min(ratio[odds]),
        }
        return {"units": len(score), **figures(told, {name: float(v) for name, v in worst.items()})}

    return once


if __name__ == "__main__":
    serve(prepare, "fairlearn")

"""lime's explanations of rows of a table, not discretised, with 5000 samples and all inputs."""

import sys

import numpy as np
from explain_black_box_data import INPUTS, figures, fitted
from lime.lime_tabular import LimeTabularExplainer
from turns import Round, serve

ROWS = 10


def prepare(scale: float) -> Round:
    predict, trained, _, rows = fitted(sys.argv[2], 1.0)
    rows = rows[: max(2, round(ROWS * scale))]
    explainer = LimeTabularExplainer(
        trained[:1000], mode="classification", discretize_continuous=False, random_state=0
    )

    def once() -> dict[str, float]:
        predict.rows = 0
        found = np.zeros(rows.shape)
        for n, row in enumerate(rows):
            told = explainer.explain_instance(row, predict.both, num_features=INPUTS, num_samples=5000)
            for place, value in told.local_exp[1]:
                found[n, place] = value
        return {"units": len(rows), "rows": predict.rows / len(rows), **figures(found)}

    return once


if __name__ == "__main__":
    serve(prepare, "lime")

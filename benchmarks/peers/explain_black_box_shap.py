"""shap's KernelExplainer as it comes, with 2000 samples, of a model that is asked and not read."""

import sys

import numpy as np
import shap
from explain_black_box_data import figures, fitted
from turns import Round, serve


def prepare(scale: float) -> Round:
    predict, _, background, rows = fitted(sys.argv[2], scale)
    explainer = shap.KernelExplainer(predict, background, silent=True)

    def once() -> dict[str, float]:
        # Its samples are drawn from numpy's global state.
        np.random.seed(0)
        predict.rows = 0
        values = explainer.shap_values(rows, nsamples=2000, silent=True)
        return {"units": len(rows), "rows": predict.rows / len(rows), **figures(values)}

    return once


if __name__ == "__main__":
    serve(prepare, "shap")

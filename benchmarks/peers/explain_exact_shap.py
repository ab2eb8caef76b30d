"""shap's explanations of one model: `kernel` by KernelExplainer as it comes, `exact` by TreeExplainer or
LinearExplainer. Linear models in the margin on both ways, the estimand of LinearExplainer.
"""

import sys

import numpy as np
import shap
from explain_exact_data import figures, fitted
from turns import Round, serve

ROWS_OF_KERNEL = 5


def prepare_kernel(scale: float) -> Round:
    name = sys.argv[2]
    model, background, rows = fitted(name)
    predict = model.decision_function if name == "linear" else lambda x: model.predict_proba(x)[:, 1]
    explainer = shap.KernelExplainer(predict, background, silent=True)
    asked = rows[: max(1, round(ROWS_OF_KERNEL * scale))]

    def once() -> dict[str, float]:
        # Its samples are drawn from numpy's global state.
        np.random.seed(0)
        explainer.shap_values(asked, nsamples=2000, silent=True)
        return {"units": len(asked)}

    return once


def prepare_exact(scale: float) -> Round:
    name = sys.argv[2]
    model, background, rows = fitted(name)
    if name == "linear":
        explainer = shap.LinearExplainer(model, background)
    else:
        explainer = shap.TreeExplainer(
            model, background, feature_perturbation="interventional", model_output="probability"
        )
    times = max(1, round(scale * {"linear": 200, "gbc": 5, "rf": 1}[name]))

    def once() -> dict[str, float]:
        for _ in range(times):
            values = explainer.shap_values(rows) if name == "linear" else explainer(rows).values
        return {"units": times * len(rows), **figures(values[..., 1] if values.ndim == 3 else values)}

    return once


if __name__ == "__main__":
    serve({"kernel": prepare_kernel, "exact": prepare_exact}[sys.argv[3]], "shap")

"""Our explanations of a model that is asked and not read: SHAP values with so many coalitions, or LIME."""

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers.explain_black_box_data import Counted, figures, fitted
from benchmarks.peers.turns import Round, serve
from modelwarden_server.explain.background import Background
from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.explanation import Explainer
from modelwarden_server.explain.kernel import Budget, kernel_explainer
from modelwarden_server.explain.lime import lime_explainer
from modelwarden_server.explain.sample_space import Table

_LIME_ROWS = 10
_REQUESTS = 20
"""Of ten rows: the sample that these share is drawn anew for each round."""


def box(predict: Counted, background: npt.NDArray[Any]) -> BlackBox:
    """The model as the engines see it."""
    weights = np.full(len(background), 1 / len(background))
    about = Background(background, weights, "the rows that the peer has")
    return BlackBox(predict.both, about, "probability", "The benchmark asks")


def kernel(predict: Counted, background: npt.NDArray[Any], samples: int) -> Explainer:
    """With so many coalitions, however small the errors are before."""
    return kernel_explainer(box(predict, background), Budget(samples, tolerance=0.0))


def prepare_kernel(scale: float) -> Round:
    """SHAP values with as many coalitions as the command line says."""
    predict, _, background, rows = fitted(sys.argv[2], scale)
    explainer = kernel(predict, background, int(sys.argv[4]))
    ids = [str(n) for n in range(len(rows))]

    def once() -> dict[str, float]:
        predict.rows = 0
        told = explainer.explain(rows, ids)
        return {"units": len(rows), "rows": predict.rows / len(rows), **figures(told.values[:, 1])}

    return once


def prepare_lime(scale: float) -> Round:
    """LIME, asked for ten rows at a time; the shared sample is part of each round."""
    predict, trained, background, rows = fitted(sys.argv[2], 1.0)
    rows = rows[: max(2, round(_LIME_ROWS * scale))]
    ids = [str(n) for n in range(len(rows))]
    times = max(1, round(_REQUESTS * scale))

    def once() -> dict[str, float]:
        predict.rows = 0
        explainer = lime_explainer(box(predict, background), Table(trained[:1000]), 5000)
        for _ in range(times):
            told = explainer.explain(rows, ids)
        units = times * len(rows)
        assert told.errors is not None
        error = float(told.errors[:, 1].mean())
        return {"units": units, "rows": predict.rows / units, "se": error, **figures(told.values[:, 1])}

    return once


if __name__ == "__main__":
    serve({"kernel": prepare_kernel, "lime": prepare_lime}[sys.argv[3]], "modelwarden")

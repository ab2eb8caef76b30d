"""Exact explanations of one model as a server makes them: read as arrays, verified, asked for 100 rows at a
time. What predict costs for these rows, twice, is in it.
"""

import sys

import numpy as np

from benchmarks.peers.explain_exact_data import figures, fitted
from benchmarks.peers.turns import Round, serve
from modelwarden_server.explain.background import Background
from modelwarden_server.explain.exact import exact_explainer
from modelwarden_server.explain.explanation import Floats, Rows
from modelwarden_server.explain.exported import of_wire
from modelwarden_server.explain.verify import Unverified
from modelwarden_server.modelserver.exporter import exported

_TIMES = {"linear": 200, "gbc": 10, "rf": 1}


def prepare(scale: float) -> Round:
    """One model, verified against its own predict."""
    name = sys.argv[2]
    model, background, rows = fitted(name)

    def predict(given: Rows) -> Floats:
        found: Floats = model.predict_proba(given)[:, 1:]  # type: ignore[attr-defined]
        return found

    def encode(given: Rows) -> Floats:
        predict(given)  # what reaches the estimator is seen while predict runs
        return given

    weights = np.full(len(background), 1 / len(background))
    summary = Background(background, weights, "the rows that the peer has")
    explainer = exact_explainer(of_wire(*exported(model)), encode, predict, summary, background)
    assert not isinstance(explainer, Unverified), explainer
    ids = [str(i) for i in range(len(rows))]
    times = max(1, round(_TIMES[name] * scale))

    def once() -> dict[str, float]:
        for _ in range(times):
            found = explainer.explain(rows, ids)
        return {"units": times * len(rows), **figures(found.values[:, 0])}

    return once


if __name__ == "__main__":
    serve(prepare, "modelwarden")

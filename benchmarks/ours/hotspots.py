"""A whole search for hotspots of accuracy: bins, beam, and what is measured on the other half."""

import numpy as np

from benchmarks.peers.hotspots_data import alike, rows
from benchmarks.peers.turns import Round, serve
from modelwarden_server.analysis.hotspots.choose import LEAST_DIFFERENCE, chosen
from modelwarden_server.analysis.hotspots.find import Task, find
from modelwarden_server.analysis.hotspots.outcomes import Classified, Metric
from modelwarden_server.analysis.hotspots.table import Numbers, Table


def prepare(scale: float) -> Round:
    columns, wrong = rows(scale)
    many = len(wrong)
    table = Table(many, [Numbers(name, values) for name, values in columns.items()])
    outcome = Classified(
        ("wrong", "right"), np.ones(many, dtype=np.int32), np.where(wrong, 0, 1).astype(np.int32)
    )
    finding = np.random.default_rng(2).random(many) < 0.5

    def once() -> dict[str, float]:
        found = find(Task(table, outcome, finding, metrics=frozenset({Metric.ACCURACY})))
        judged = found.judged[Metric.ACCURACY]
        places = chosen(judged, lambda one: (one.difference or 0.0) >= LEAST_DIFFERENCE)
        if len(places) != 1:
            raise AssertionError(f"{len(places)} regions instead of one")
        return {"units": many, "alike": alike(table.fulfil(found.rules[places[0]]), columns), "gave_up": 0}

    return once


if __name__ == "__main__":
    serve(prepare, "modelwarden")

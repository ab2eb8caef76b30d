"""Evidently's data drift preset with PSI over the benchmark's rows. It has no step of its own for the
reference: each run bins it anew.
"""

import pandas as pd
from drift_data import frames
from evidently import Report
from evidently.presets import DataDriftPreset
from turns import Round, serve


def prepare(scale: float) -> Round:
    reference, current = (pd.DataFrame(frame) for frame in frames(scale))

    def once() -> int:
        Report([DataDriftPreset(method="psi")]).run(current, reference)
        return len(current)

    return once


if __name__ == "__main__":
    serve(prepare, "evidently")

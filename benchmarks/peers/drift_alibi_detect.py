"""Alibi Detect's Kolmogorov-Smirnov drift over the numeric columns alone; the reference given beforehand."""

import numpy as np
from alibi_detect.cd import KSDrift
from drift_data import NUMERIC, frames
from turns import Round, serve


def prepare(scale: float) -> Round:
    reference, current = (np.column_stack([frame[n] for n in NUMERIC]) for frame in frames(scale))
    detector = KSDrift(reference, p_val=0.05)

    def once() -> int:
        detector.predict(current)
        return len(current)

    return once


if __name__ == "__main__":
    serve(prepare, "alibi-detect")

"""NannyML's univariate drift with the Jensen-Shannon distance, the rows as one chunk; fitted beforehand."""

import logging

import nannyml
import pandas as pd
from drift_data import CATEGORICAL, NUMERIC, frames
from turns import Round, serve

logging.disable(logging.WARNING)


def prepare(scale: float) -> Round:
    reference, current = (pd.DataFrame(frame) for frame in frames(scale))
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=[*NUMERIC, *CATEGORICAL],
        treat_as_categorical=list(CATEGORICAL),
        continuous_methods=["jensen_shannon"],
        categorical_methods=["jensen_shannon"],
        chunk_number=1,
    )
    calculator.fit(reference)

    def once() -> int:
        calculator.calculate(current)
        return len(current)

    return once


if __name__ == "__main__":
    serve(prepare, "nannyml")

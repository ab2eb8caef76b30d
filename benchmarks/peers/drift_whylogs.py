"""A whylogs profile of the rows (sketches and counts): what its drift scores are made from. The
reference's is made beforehand.
"""

import pandas as pd
import whylogs
from drift_data import frames
from turns import Round, serve


def prepare(scale: float) -> Round:
    current = pd.DataFrame(frames(scale)[1])

    def once() -> int:
        whylogs.log(pandas=current).profile().view()
        return len(current)

    return once


if __name__ == "__main__":
    serve(prepare, "whylogs")

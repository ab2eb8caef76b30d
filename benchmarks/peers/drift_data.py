"""The rows that every drift benchmark sees: 24 normals with small shifts, 6 geometric texts. numpy only."""

import numpy as np

ROWS = 1_000_000
REFERENCE_ROWS = 100_000
NUMERIC = tuple(f"n{i}" for i in range(24))
CATEGORICAL = tuple(f"c{i}" for i in range(6))

Frame = dict[str, np.ndarray]


def frames(scale: float = 1.0) -> tuple[Frame, Frame]:
    """The reference and the rows to be compared with it, column by column, the same at every call."""
    rows = [max(1000, round(number * scale)) for number in (REFERENCE_ROWS, ROWS)]
    return frame(rows[0], seed=1, shift=0.0), frame(rows[1], seed=2, shift=0.01)


def frame(rows: int, seed: int, shift: float) -> Frame:
    """Rows whose distribution is moved a little by `shift`, more in each further column."""
    rng = np.random.default_rng(seed)
    numbers = {name: rng.normal(shift * i, 1, rows) for i, name in enumerate(NUMERIC)}
    names = np.array([f"value-{i}" for i in range(12)], dtype=object)
    texts = {name: names[np.minimum(rng.geometric(0.4 - shift, rows), 12) - 1] for name in CATEGORICAL}
    return numbers | texts

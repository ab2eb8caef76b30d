"""The rows that both sides search: 20 columns of numbers, and errors that are frequent where two conditions
hold. numpy only.
"""

import numpy as np

ROWS = 10_000
COLUMNS = 20
BINS = 5
PLANTED = (("x3", 0.8416, None), ("x11", None, -0.8416))
"""The fifth of the rows with the highest x3, of these the fifth with the lowest x11."""


def rows(scale: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The columns, and which rows the model got wrong: half of those of the planted region, a tenth else."""
    many = max(1000, round(ROWS * scale))
    rng = np.random.default_rng(1)
    columns = {f"x{i}": rng.normal(size=many) for i in range(COLUMNS)}
    wrong = rng.random(many) < np.where(planted(columns), 0.5, 0.1)
    return columns, wrong


def planted(columns: dict[str, np.ndarray]) -> np.ndarray:
    """The rows of the planted region."""
    kept = np.ones(len(columns["x0"]), dtype=bool)
    for name, low, high in PLANTED:
        kept &= (columns[name] > low) if low is not None else (columns[name] <= high)
    return kept


def alike(found: np.ndarray, columns: dict[str, np.ndarray]) -> float:
    """Jaccard's coefficient of rows that were found and the planted ones."""
    there = planted(columns)
    return float((found & there).sum() / max(1, (found | there).sum()))

"""The metrics of a regression, from its sums. Pure.

RMSE's interval takes errors for normal (its standard error is RMSE / √(2n)); MAE's and the mean error's come
from the sums themselves; R²'s is the large-sample one, 2√R²(1 - R²)/√n, and there is none below 0.
"""

import math
from dataclasses import dataclass

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.performance.blocks import RegressionBlock
from modelwarden_server.analysis.performance.fixed_point import joined
from modelwarden_server.analysis.performance.intervals import LEAST_ROWS, Value, around, nothing

METRICS = ("mae", "rmse", "r2", "mean_error")


@dataclass(frozen=True)
class ErrorSums:
    """n, Σe, Σ|e|, Σe² and, of the labels, the squares around their mean. e is prediction - label."""

    n: int
    error: float
    absolute: float
    squared: float
    spread: float
    saturated: int = 0

    @classmethod
    def of(cls, block: RegressionBlock, totals: Integers) -> "ErrorSums":
        """From a population's sums."""
        n, scale = int(totals[block.LABELLED]), block.scale
        squares = joined(totals[block.E2], totals[block.E2 + 1])
        labels, label_squares = int(totals[block.Y]), joined(totals[block.Y2], totals[block.Y2 + 1])
        # In whole numbers, so that nothing cancels: Σy² - (Σy)²/n.
        around_mean = (label_squares * n - labels**2) / n if n else 0.0
        return cls(
            n,
            scale.value(int(totals[block.E])),
            scale.value(int(totals[block.ABS])),
            scale.square(squares),
            scale.square(around_mean),
            int(totals[block.SATURATED]),
        )


def errors(sums: ErrorSums) -> list[Value]:
    """The metrics of METRICS."""
    n = sums.n
    if n < LEAST_ROWS:
        return [nothing(metric, n, f"n={n} < {LEAST_ROWS}") for metric in METRICS]
    if not (math.isfinite(sums.squared) and math.isfinite(sums.spread)):
        return [nothing(metric, n, "the squares are too large for numbers of 64 bits") for metric in METRICS]
    rmse, mae, mean = math.sqrt(sums.squared / n), sums.absolute / n, sums.error / n
    found = [
        around("mae", mae, _deviation(rmse, mae) / math.sqrt(n), n, (0.0, math.inf)),
        around("rmse", rmse, rmse / math.sqrt(2 * n), n, (0.0, math.inf)),
    ]
    if sums.spread <= 0:
        found.append(nothing("r2", n, "the labels do not vary"))
    else:
        r2 = 1 - sums.squared / sums.spread
        inside = around("r2", r2, 2 * math.sqrt(max(r2, 0.0)) * (1 - r2) / math.sqrt(n), n, (-math.inf, 1.0))
        found.append(inside if r2 > 0 else Value("r2", r2, n))
    found.append(around("mean_error", mean, _deviation(rmse, mean) / math.sqrt(n), n))
    return found


def _deviation(rmse: float, mean: float) -> float:
    """√(rmse² - mean²); without squares, which may not fit where their root does."""
    return rmse * math.sqrt(max(1 - (mean / rmse) ** 2, 0.0)) if rmse else 0.0

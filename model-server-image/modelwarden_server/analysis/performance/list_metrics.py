"""Metrics of ranked lists and of tokens, from their sums: means over rows, with the standard error of a mean.
Pure.
"""

import math
from typing import Final

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.performance.intervals import LEAST_ROWS, Value, around, nothing
from modelwarden_server.analysis.performance.list_blocks import (
    AT_K,
    TOKEN_METRICS,
    Moments,
    RankedBlock,
    TokenBlock,
)
from modelwarden_server.analysis.performance.list_columns import MAX_PLACES

USUAL_K: Final = 10
_AS_SHARE: Final = (0.0, 1.0)


def ranked_metrics(block: RankedBlock, counts: Integers, k: int, least: int = LEAST_ROWS) -> list[Value]:
    """AT_K at a k up to MAX_PLACES, and MRR (see `late_rank`)."""
    found = [_mean(f"{name}_at_{k}", block.at_k(counts, name, k), _AS_SHARE, least) for name in AT_K]
    return [*found, _mean("mrr", block.rank(counts), _AS_SHARE, least)]


def late_rank(block: RankedBlock, counts: Integers) -> float:
    """By how much MRR may be higher than what is told: of long lists without a relevant item among those that
    are remembered, one may stand right behind.
    """
    n = int(counts[block.PAIRED])
    return int(counts[block.LATE]) / n / (MAX_PLACES + 1) if n else 0.0


def token_metrics(block: TokenBlock, counts: Integers, least: int = LEAST_ROWS) -> list[Value]:
    """TOKEN_METRICS; what no row has is left out."""
    bounds = (_AS_SHARE, _AS_SHARE, (0.0, math.inf))
    found = [(name, block.moments(counts, name), b) for name, b in zip(TOKEN_METRICS, bounds, strict=True)]
    return [_mean(name, moments, b, least) for name, moments, b in found if moments.n or not counts[0]]


def _mean(metric: str, of: Moments, bounds: tuple[float, float], least: int) -> Value:
    if of.n < max(1, least):
        return nothing(metric, of.n, f"n={of.n} < {least}" if of.n else "there are no such rows")
    mean = of.total / of.n
    spread = max(of.squares / of.n - mean * mean, 0.0) * of.n / max(1, of.n - 1)
    return around(metric, mean, math.sqrt(spread / of.n), of.n, bounds)

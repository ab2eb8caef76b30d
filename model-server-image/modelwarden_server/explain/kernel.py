"""SHAP values of any model (Kernel SHAP, Lundberg and Lee 2017), from coalitions that all rows share.

Must not look into the model, and must not ask it for more rows at a time than a tile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.explanation import Explainer, Explanations, Rows


@dataclass(frozen=True)
class Budget:
    """How much a row's explanation may cost."""

    samples: int = 2000
    """Coalitions at most; each asks the model for one row of each row of the background."""
    tolerance: float = 0.005
    """Enough when the greatest standard error is at most this share of the range of the values."""
    tile: int = 16_384
    """Rows at most in one call of predict: more leave the cache (measured)."""


def kernel_explainer(box: BlackBox, budget: Budget | None = None) -> Explainer:
    """SHAP values against `box.background` in `box.units`: exact by enumeration where 2^d coalitions are
    within the budget (path "enumeration"), else with standard errors (path "kernel")."""
    raise NotImplementedError

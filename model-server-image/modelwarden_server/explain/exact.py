"""The exact way: from a model's arrays, where these were verified against `predict` itself. Puts together
verify.py, linear.py and trees.py. Must not believe an exported model that was not verified.
"""

from collections.abc import Callable

from modelwarden_server.explain.background import Background
from modelwarden_server.explain.explanation import Explainer, Floats, Predict, Rows
from modelwarden_server.explain.exported import Exported
from modelwarden_server.explain.verify import Unverified

Encode = Callable[[Rows], Floats]
"""(n, d) raw rows -> (n, e): the matrix that reaches the fitted estimator while predict runs on them."""


def exact_explainer(
    exported: Exported, encode: Encode, predict: Predict, background: Background, sample: Rows
) -> Explainer | Unverified:
    """An engine from the arrays, or why they are not those of `predict`.

    `sample` (n, d): reference rows to verify with, at most 1000; of a linear model they are the background.
    What `predict` or `encode` raise is passed on; ValueError of `encode` counts as not verified.
    """
    raise NotImplementedError

"""LIME for tables (Ribeiro et al. 2016): a weighted linear fit around the row, on a sample all rows share.

Must not draw anew for each row: the sample lies around the reference's mean, only its weights are the row's.
"""

from dataclasses import dataclass

from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.explanation import Explainer, Rows


@dataclass(frozen=True)
class Table:
    """What LIME draws from."""

    reference: Rows
    """(m, d): a sample of the reference."""
    categorical: tuple[int, ...] = ()
    """Places of the inputs that are categories; strings are so anyhow."""


def lime_explainer(box: BlackBox, table: Table, samples: int = 5000) -> Explainer:
    """LIME of rows of a table: for a number the change of the output by one standard deviation, for a
    category that of having the row's own. Not discretised, no inputs left out; `stability` and `fit` told."""
    raise NotImplementedError

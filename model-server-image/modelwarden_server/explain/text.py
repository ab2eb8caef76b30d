"""LIME for texts: which tokens of a text speak for an output. Must not know what a model does with texts."""

from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.explanation import Explainer


def text_explainer(box: BlackBox, delimiter: str = r"\W+", samples: int = 2000) -> Explainer:
    """LIME of rows (n, 1) of texts, split at `delimiter` (a regular expression), each token by its position
    (no bag of words). values (n, k, 1): the sum of the tokens'; `parts` of a row is the JSON of a list with
    [{"token", "position", "explanation_value": [k numbers], "error": [k]}, …] for each token."""
    raise NotImplementedError

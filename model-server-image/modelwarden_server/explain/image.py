"""LIME for images: which segments of an image speak for an output. numpy and Pillow only."""

from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.explanation import Explainer


def image_explainer(box: BlackBox, samples: int = 1000, segments: int = 40) -> Explainer:
    """LIME of rows (n, 1) of images: cells are arrays (height, width[, channels]) as predict takes them, or
    the bytes of a file (then predict is given RGB arrays, uint8). values (n, k, 1): the sum of the segments';
    `parts` of a row is the JSON of {"width", "height", "mask": run lengths [[segment, pixels], …] row by row,
    "regions": [{"segment", "explanation_value": [k numbers], "error": [k]}, …]}."""
    raise NotImplementedError

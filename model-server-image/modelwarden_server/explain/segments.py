"""Segments of an image: neighbouring pixels of like colour. numpy only; must not know a model.

Simple linear iterative clustering (SLIC, Achanta and others 2012) on an image of at most 128 pixels a side,
in the colours it has: k-means on colour and place, from centres on a grid. Pieces of a segment that lie apart
are not told from each other.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.explanation import Floats

_SIDE: Final = 128
_ROUNDS: Final = 8
_COMPACTNESS: Final = 0.3
"""What a grid step in place counts for against the range of colours."""


def segments(image: npt.NDArray[Any], wanted: int) -> npt.NDArray[np.int64]:
    """(height, width): the segment of each pixel, from 0 without gaps; about `wanted` of them, at least 1.

    image (height, width) or (height, width, channels).
    """
    height, width = image.shape[:2]
    down, across = (np.linspace(0, n - 1, min(n, _SIDE)).round().astype(np.int64) for n in (height, width))
    small = image.reshape(height, width, -1)[np.ix_(down, across)].astype(np.float64)
    found = _clustered(small, wanted)
    rows, columns = (
        np.minimum((np.arange(n) * m / n).astype(np.int64), m - 1)
        for n, m in ((height, len(down)), (width, len(across)))
    )
    _, places = np.unique(found[np.ix_(rows, columns)], return_inverse=True)
    return np.asarray(places.reshape(height, width), dtype=np.int64)


def _clustered(small: Floats, wanted: int) -> npt.NDArray[np.int64]:
    height, width, _ = small.shape
    step = max(1.0, float(np.sqrt(height * width / max(wanted, 1))))
    range_of_colours = float(np.ptp(small)) or 1.0
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    pixels = np.concatenate(
        [small / range_of_colours, _COMPACTNESS * np.stack([y, x], axis=2) / step], axis=2
    ).reshape(height * width, -1)
    at_y, at_x = (
        ((np.arange(max(1, round(n / step))) + 0.5) * n / max(1, round(n / step))).astype(np.int64)
        for n in (height, width)
    )
    centres = pixels[(at_y[:, None] * width + at_x[None, :]).ravel()]
    for _ in range(_ROUNDS):
        nearest = ((centres**2).sum(axis=1) - 2 * pixels @ centres.T).argmin(axis=1)
        counts = np.bincount(nearest, minlength=len(centres))
        sums = np.stack([np.bincount(nearest, weights=c, minlength=len(centres)) for c in pixels.T], axis=1)
        some = counts > 0
        centres[some] = sums[some] / counts[some, None]
    return np.asarray(nearest.reshape(height, width))

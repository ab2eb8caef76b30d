"""LIME for images: which segments of an image speak for an output. numpy and Pillow only.

As lime's package: a segment that is left out has its mean colour, each is left out by the toss of a coin,
distances are the cosine's, kernel width 0.25. Must not keep images.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.explanation import Explainer, Floats, Path, Predict, Rows
from modelwarden_server.explain.missing import Bits
from modelwarden_server.explain.parted import Parted, told_parts
from modelwarden_server.explain.perturbed import Perturbation, even_chances, perturbed
from modelwarden_server.explain.segments import segments
from modelwarden_server.explain.tiles import TILE, spans

MOST_PIXELS: Final = 16_000_000
_WIDTH: Final = 0.25
_MOST_BYTES: Final = 64 * 2**20
"""Of images in one call of predict."""


Pixels = npt.NDArray[Any]
Load = Callable[[bytes], Pixels]
"""The bytes of an image file -> (height, width[, channels]) as predict takes it."""


def decoded(content: bytes) -> Pixels:
    """The pixels (height, width, 3) of an image file, uint8. Raises ValueError with a sentence's part."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"the image has more than {MOST_PIXELS} pixels")
            return np.asarray(image.convert("RGB"))
    except (OSError, Image.DecompressionBombError, SyntaxError) as error:
        raise ValueError("the input is no image that can be read") from error


def image_explainer(
    box: BlackBox, samples: int = 1000, wanted: int = 40, place: int = 0, load: Load = decoded
) -> Explainer:
    """LIME of rows (n, d) with an image at `place`: an array (height, width[, channels]) as predict takes it,
    or the bytes of a file, of which `load` makes one. About `wanted` segments; the
    other inputs are held, their values are 0.

    values at `place`: the sum of the segments'; `parts` of a row is the JSON of {"width", "height", "mask":
    runs [[segment, pixels], …] row by row, "regions": [{"segment", "explanation_value": [k numbers],
    "error": [k]}, …]}.
    """
    return Parted(box, _Segments(wanted, load), place, samples)


def runs(mask: npt.NDArray[np.int64]) -> list[list[int]]:
    """Run lengths [segment, pixels] of a mask, row by row."""
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    lengths = np.diff(np.append(starts, flat.size))
    return [[int(one), int(length)] for one, length in zip(flat[starts], lengths, strict=True)]


@dataclass(frozen=True)
class _Segments:
    wanted: int
    load: Load
    path: Path = "lime-image"
    how: str = "segments of like colour were replaced by their mean colour, and a linear model fitted"
    at_once: int = 1

    def readable(self, value: Any) -> bool:
        """See Parting. A name is not."""
        return isinstance(value, bytes | np.ndarray)

    def ready(self, value: Any) -> Any:
        """See Parting."""
        found = self.load(value) if isinstance(value, bytes) else value
        if not isinstance(found, np.ndarray) or found.ndim not in (2, 3) or found.size == 0:
            raise ValueError("the input is no image: neither an array of pixels nor the bytes of a file")
        return found

    def explained(
        self, predict: Predict, row: Rows, place: int, samples: int, random: np.random.Generator
    ) -> tuple[Perturbation | None, Any]:
        """See Parting."""
        image: npt.NDArray[Any] = row[place]
        mask = segments(image, self.wanted)
        hidden = _mean_colours(image, mask)
        most = max(1, min(TILE, _MOST_BYTES // image.nbytes))

        def ask(masks: Bits) -> Floats:
            found = []
            for span in spans(len(masks), most):
                mixed = np.empty((span.stop - span.start, len(row)), dtype=object)
                mixed[:] = row
                for n, kept in enumerate(masks[span]):
                    there = kept[mask] if image.ndim == 2 else kept[mask][:, :, None]
                    mixed[n, place] = np.where(there, image, hidden)
                found.append(predict(mixed))
            return np.concatenate(found)

        count = int(mask.max()) + 1
        result = perturbed(even_chances(samples, count, random), ask, _WIDTH)
        regions = told_parts(result.fit, [{"segment": n} for n in range(count)])
        height, width = mask.shape
        return result, {"width": width, "height": height, "mask": runs(mask), "regions": regions}


def _mean_colours(image: npt.NDArray[Any], mask: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """The image with each segment in its mean colour."""
    channels = image.reshape(mask.size, -1).astype(np.float64)
    flat = mask.ravel()
    counts = np.bincount(flat)[:, None]
    sums = np.stack([np.bincount(flat, weights=one) for one in channels.T], axis=1)
    return (sums / counts)[flat].astype(image.dtype).reshape(image.shape)

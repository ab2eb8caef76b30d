"""LIME on parts that are there or not, of texts and images: which are left out, how near that is, the fit.

What a part is and what stands where it is left out, the caller knows. Must not know texts or images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelwarden_server.explain.explanation import Floats
from modelwarden_server.explain.local_fit import GROUPS, LocalFit, fitted, sums_of_products
from modelwarden_server.explain.missing import Bits

LEAST_SAMPLES: Final = 10 * GROUPS
MOST_SAMPLES: Final = 10_008
"""Whatever is asked for; a multiple of GROUPS."""


@dataclass(frozen=True, eq=False)
class Perturbation:
    """What was found for one row, and how many rows the model was asked for."""

    fit: LocalFit
    asked: int


def uniform_sizes(number: int, parts: int, random: np.random.Generator) -> Bits:
    """(number, parts): a number of parts left out that is uniform from 1 to all, as lime has it for texts."""
    left_out = random.integers(1, parts + 1, number)
    places = random.random((number, parts)).argsort(axis=1).argsort(axis=1)
    return np.asarray(places >= left_out[:, None])


def even_chances(number: int, parts: int, random: np.random.Generator) -> Bits:
    """(number, parts): each part in or out by a coin, as lime has it for images."""
    return np.asarray(random.random((number, parts)) < 0.5)


def perturbed(masks: Bits, ask: Callable[[Bits], Floats], width: float) -> Perturbation:
    """Fit what `ask` (masks (m, parts) -> outputs (m, k)) says of masks (a multiple of GROUPS, parts >= 1)
    and of the whole. Each mask is asked for once. A mask counts with sqrt(exp(-distance^2 / width^2)), the
    distance being the cosine's, 1 - sqrt(share of parts that are in)."""
    parts = masks.shape[1]
    full = np.ones((1, parts), dtype=np.bool_)
    each, place = np.unique(np.concatenate([masks, full]), axis=0, return_inverse=True)
    outputs = ask(each)[place.ravel()]
    distance = 1 - np.sqrt(masks.mean(axis=1))
    weights = np.exp(-0.5 * (distance / width) ** 2)
    columns = np.concatenate([np.ones((len(masks), 1)), masks, outputs[:-1]], axis=1)
    itself = np.concatenate([np.ones(1 + parts), outputs[-1]])
    sums = sums_of_products(columns, weights) + np.outer(itself, itself) / GROUPS
    return Perturbation(fitted(sums, parts), len(each))

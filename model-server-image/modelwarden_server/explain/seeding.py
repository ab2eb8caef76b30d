"""Randomness that a row's id decides. Must not read a clock or a state: the same words, the same numbers."""

import hashlib

import numpy as np


def generator(seed: int, *words: str | int) -> np.random.Generator:
    """A generator of its own for these words: other words, other numbers, whatever was drawn before."""
    text = "\x1f".join(str(word) for word in (seed, *words))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))

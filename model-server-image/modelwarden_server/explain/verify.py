"""Whether an exported model is the one behind `predict`: shown on reference rows, never believed.

Must not explain.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Unverified:
    """The exact way is not taken, and why, in words that go on after "because"."""

    why: str

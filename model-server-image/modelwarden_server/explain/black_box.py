"""The model as the engines that cannot look into it see it. No numerics of its own."""

from dataclasses import dataclass

from modelwarden_server.explain.background import Background
from modelwarden_server.explain.explanation import Predict, Units


@dataclass(frozen=True)
class BlackBox:
    """A model to be asked, and what its answers are compared with."""

    predict: Predict
    background: Background
    """What an input that is left out is replaced by."""
    units: Units
    """Of what predict returns: probability or value."""
    why: str
    """Why the model is asked and not read: stands in each result."""
    seed: int = 0
    """Of what is drawn: the same seed, rows and ids give the same values."""

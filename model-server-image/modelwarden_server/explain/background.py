"""What an input that is left out is replaced by: a stated summary of the reference."""

from dataclasses import dataclass

from modelwarden_server.explain.explanation import Floats, Rows


@dataclass(frozen=True)
class Background:
    """Rows that stand for the reference."""

    rows: Rows
    """(b, d), raw: as predict takes them."""
    weights: Floats
    """(b,), positive, of sum 1."""
    how: str
    """How they were chosen, in a sentence's object."""

"""What is explained of a model, and by what: its outputs and its inputs, in the order of their positions."""

from modelwarden.resources.attributes import Stage
from modelwarden.resources.cell import CellIdentity


def inputs_of(identity: CellIdentity) -> tuple[str, ...]:
    """The columns of x for predict(x)."""
    return _names(identity, Stage.PIPELINE_INPUT)


def outputs_of(identity: CellIdentity) -> tuple[str, ...]:
    """All predicted attributes, implicit ones after the declared one of the same place."""
    return _names(identity, Stage.PREDICTED_VALUE)


def _names(identity: CellIdentity, stage: Stage) -> tuple[str, ...]:
    found = [a for a in identity.attributes if a.stage is stage]
    if stage is Stage.PIPELINE_INPUT:
        found = [a for a in found if not a.implicit]
    return tuple(a.name for a in sorted(found, key=lambda a: (a.position, a.implicit)))

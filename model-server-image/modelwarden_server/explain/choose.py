"""Which engine explains a model: exact where it was verified, else one that asks the model. No numerics."""

from dataclasses import dataclass
from typing import Literal

from modelwarden_server.explain.background import Background
from modelwarden_server.explain.explanation import Explainer, Predict, Rows, Units

InputKind = Literal["TABULAR", "NLP", "IMAGE"]


@dataclass(frozen=True)
class Subject:
    """The model that is to be explained, in plain words."""

    predict: Predict
    reference: Rows
    """(m, d): the sample of the reference, raw."""
    background: Background
    """A summary of it."""
    units: Units
    """Of what predict returns: probability for classifiers, value for regression."""
    input_kind: InputKind = "TABULAR"
    categorical: tuple[int, ...] = ()
    """Places of the inputs that are categories by their declaration."""
    text_delimiter: str | None = None
    samples: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Chosen:
    """An engine for each algorithm that can be asked for."""

    shap: Explainer
    """For texts and images LIME as well: SHAP is not given for these, and `why` says so."""
    lime: Explainer


def choose(subject: Subject, exact: Explainer | None, why_not: str) -> Chosen:
    """`exact`: the engine that was verified against predict; None, and `why_not` as a sentence, where the
    model cannot be read or did not agree. Nothing is asked of the model before rows are explained."""
    raise NotImplementedError

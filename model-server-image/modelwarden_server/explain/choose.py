"""Which engine explains a model: exact where it was verified, else one that asks the model. No numerics."""

from dataclasses import dataclass
from typing import Literal

from modelwarden_server.explain.background import Background
from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.explanation import Explainer, Predict, Rows, Units
from modelwarden_server.explain.image import Load, decoded, image_explainer
from modelwarden_server.explain.kernel import Budget, kernel_explainer
from modelwarden_server.explain.lime import lime_explainer
from modelwarden_server.explain.sample_space import Table
from modelwarden_server.explain.text import text_explainer

InputKind = Literal["TABULAR", "NLP", "IMAGE"]
ANY_DELIMITER = r"\W+"


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
    place: int = 0
    """Of the text or the image among the inputs; the others are held."""
    load_image: Load = decoded
    """What makes of an image file's bytes what predict takes."""


@dataclass(frozen=True)
class Chosen:
    """An engine for each algorithm that can be asked for."""

    shap: Explainer
    """For texts and images LIME as well: SHAP is not given for these, and `why` says so."""
    lime: Explainer


def choose(subject: Subject, exact: Explainer | None, why_not: str) -> Chosen:
    """`exact`: the engine that was verified against predict; None, and `why_not` as a sentence, where the
    model cannot be read or did not agree. Nothing is asked of the model before rows are explained."""
    if subject.input_kind != "TABULAR":
        parts = _parts(subject)
        return Chosen(shap=parts, lime=parts)
    table = Table(subject.reference, subject.categorical)
    lime = lime_explainer(_asked(subject, "LIME was asked for"), table, subject.samples)
    if exact is not None:
        return Chosen(shap=exact, lime=lime)
    why = why_not.strip().rstrip(".") or "The model cannot be read"
    return Chosen(shap=kernel_explainer(_asked(subject, why), Budget(samples=subject.samples)), lime=lime)


def _parts(subject: Subject) -> Explainer:
    if subject.input_kind == "NLP":
        box = _asked(subject, "Texts are explained by LIME, whatever was asked for")
        return text_explainer(box, subject.text_delimiter or ANY_DELIMITER, subject.samples, subject.place)
    box = _asked(subject, "Images are explained by LIME, whatever was asked for")
    return image_explainer(box, subject.samples, place=subject.place, load=subject.load_image)


def _asked(subject: Subject, why: str) -> BlackBox:
    return BlackBox(subject.predict, subject.background, subject.units, why, subject.seed)

"""The stages of a flow as a user writes them: (type, file), or (type, file, {"pre": f, "post": g}).

What this module must not do: look into files or functions.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelwarden.client.conduit.errors import ConduitError


class model_type(enum.StrEnum):  # noqa: N801 - its documented name
    """How a file is loaded and called."""

    SKLEARN = "SKLEARN"
    SKLEARN_CLASSIFIER = "SKLEARN_CLASSIFIER"
    SKLEARN_PREPROCESSOR = "SKLEARN_PREPROCESSOR"
    TORCH = "TORCH"
    XGBOOST_REGRESSOR = "XGBOOST_REGRESSOR"
    XGBOOST_CLASSIFIER = "XGBOOST_CLASSIFIER"
    ONNX = "ONNX"
    SPACY = "SPACY"
    HUGGINGFACE_PIPELINE = "HUGGINGFACE_PIPELINE"


class hardware(enum.StrEnum):  # noqa: N801 - its documented name
    """What a model runs on."""

    CPU = "CPU"
    GPU = "GPU"
    A10 = "A10"
    TURING_4000 = "TURING_4000"
    TURING_5000 = "TURING_5000"
    AMPERE_A4000 = "AMPERE_A4000"
    AMPERE_A5000 = "AMPERE_A5000"
    AMPERE_A6000 = "AMPERE_A6000"
    AMPERE_A100 = "AMPERE_A100"


Function = Callable[..., Any]


@dataclass(frozen=True)
class Stage:
    """One stage. `file` is a file or folder; of a pipeline the folder of its model, and `task` its task."""

    kind: model_type
    file: Path
    task: str | None = None
    pre: Function | None = None
    post: Function | None = None


def stages_of(flow: Any) -> list[Stage]:
    """All stages of a flow: a tuple is one stage, a list has several. Raises ConduitError."""
    if isinstance(flow, tuple):
        flow = [flow]
    if not isinstance(flow, Sequence) or isinstance(flow, str):
        raise ConduitError(
            "a flow is a list of (model_type, file) or (model_type, file, {'pre': …, 'post': …})"
        )
    return [stage_of(*_parts(one, number)) for number, one in enumerate(flow)]


def stage_of(kind: str, file: Any, processing: Mapping[str, Function] | None = None) -> Stage:
    """One stage. Raises ConduitError."""
    try:
        known = model_type(kind)
    except ValueError:
        told = ", ".join(model_type)
        raise ConduitError(f"there is no model type {kind}: it must be one of {told}") from None
    given = dict(processing or {})
    unknown = given.keys() - {"pre", "post"}
    if unknown:
        raise ConduitError(f"a stage has no {min(unknown)}: its functions are pre and post")
    for name, function in given.items():
        if not callable(function):
            raise ConduitError(f"{name} must be a function, not {type(function).__name__}")
    if known is model_type.HUGGINGFACE_PIPELINE:
        if not isinstance(file, Mapping) or set(file) != {"task", "model"}:
            raise ConduitError("a HUGGINGFACE_PIPELINE needs {'task': …, 'model': folder of the saved model}")
        return Stage(known, Path(file["model"]), str(file["task"]), given.get("pre"), given.get("post"))
    if not isinstance(file, str | Path):
        raise ConduitError(f"a stage of {known} needs the path of its file")
    return Stage(known, Path(file), None, given.get("pre"), given.get("post"))


def _parts(one: Any, number: int) -> Sequence[Any]:
    if not isinstance(one, tuple | list) or not 2 <= len(one) <= 3:
        raise ConduitError(f"stage {number + 1} must be (model_type, file) or (model_type, file, functions)")
    return one

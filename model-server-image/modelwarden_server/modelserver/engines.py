"""From user code that runs to engines that explain it: contract, check against the reference, choice.

    child ── predict on the reference's sample ──► difference to its stored predictions
          ── export ──► arrays, verified? ──► exact engine, else one that asks the model ──► Engines

Must not hold numerics, and must not know requests.
"""

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden.resources.attributes import InputType, OutputType, Stage, ValueType
from modelwarden.resources.cell import CellIdentity
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden.resources.server import ExplainPlan
from modelwarden_server.explain.background import Background, summarised
from modelwarden_server.explain.choose import Chosen, InputKind, Subject, choose
from modelwarden_server.explain.exact import exact_explainer
from modelwarden_server.explain.explanation import Explainer, Floats, Rows
from modelwarden_server.explain.exported import of_wire
from modelwarden_server.explain.verify import Unverified
from modelwarden_server.modelserver.contract import (
    Contract,
    ValueKind,
    arguments_of,
    difference,
    predictions_of,
    rows_of,
)
from modelwarden_server.modelserver.supervisor import Child, UserCodeError

TOLERATED: Final = 0.01
"""A difference of predict to the reference's own predictions that is not worth a word (as the documented
client checks it)."""
_KINDS: dict[ValueType, ValueKind] = {
    ValueType.STRING: "STRING",
    ValueType.INTEGER: "INTEGER",
    ValueType.FLOAT: "FLOAT",
    ValueType.BOOLEAN: "BOOLEAN",
}
_PARTED = {InputType.NLP: ValueType.UNSTRUCTURED_TEXT, InputType.IMAGE: ValueType.IMAGE}
_CLASSIFIES = (OutputType.MULTICLASS, OutputType.MULTILABEL)
_TRIES_ONE_SECONDS = 60.0
_READ_ROWS = 16
_NOT_AS_VERIFIED: Final = "For this row predict says something else than the fitted estimator"


class OutOfTimeError(TimeoutError):
    """The time for a request is over."""


def contract_of(identity: CellIdentity) -> Contract:
    """What predict takes and gives, from the model's attributes."""
    inputs = _by_position(identity, Stage.PIPELINE_INPUT)
    outputs = _by_position(identity, Stage.PREDICTED_VALUE)
    classes = identity.output_type in _CLASSIFIES
    probabilities = classes and all(output.value_type is ValueType.FLOAT for output in outputs)
    positive = next((i for i, a in enumerate(outputs) if a.is_positive_predicted_attribute), None)
    binary = classes and len(outputs) <= 2
    return Contract(
        inputs=tuple(attribute.name for attribute in inputs),
        kinds=tuple(_KINDS.get(attribute.value_type, "OTHER") for attribute in inputs),
        outputs=tuple(attribute.name for attribute in outputs),
        probabilities=probabilities,
        positive=positive if binary else None,
        sums_to_one=probabilities and identity.output_type is OutputType.MULTICLASS and len(outputs) > 1,
    )


def parted_input(identity: CellIdentity) -> tuple[InputKind, int]:
    """How rows are taken apart: the columns of a table, the tokens of a text, the segments of an image; of
    these the text or image and its place among the inputs."""
    inputs = _by_position(identity, Stage.PIPELINE_INPUT)
    for input_type, value_type in _PARTED.items():
        if identity.input_type is input_type:
            for place, attribute in enumerate(inputs):
                if attribute.value_type is value_type:
                    return ("NLP" if input_type is InputType.NLP else "IMAGE"), place
    return "TABULAR", 0


class Model:
    """User code as the engines see it, within the time of the request that they work for."""

    def __init__(self, child: Child, contract: Contract, images: Collection[int] = ()) -> None:
        self._child, self._contract, self._images = child, contract, images
        self._limit = threading.local()
        self._read: tuple[int, Rows] | None = None

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """What this thread asks of the model in the block must be done after so many seconds."""
        self._limit.until = time.monotonic() + seconds
        try:
            yield
        finally:
            self._limit.until = None

    def left(self) -> float | None:
        """Seconds that this thread has; None: no limit. Raises OutOfTimeError when there are none."""
        until: float | None = getattr(self._limit, "until", None)
        if until is None:
            return None
        left = until - time.monotonic()
        if left <= 0:
            raise OutOfTimeError
        return left

    def rows(self, columns: Sequence[pa.Array]) -> Rows:
        """Rows of columns as tables have them. Images come as the bytes of files and are read by the user's
        load_image; where they are only named they are missing. Raises ChildError, ValueError."""
        plain = [
            pa.nulls(len(column), pa.string()) if place in self._images else column
            for place, column in enumerate(columns)
        ]
        rows = rows_of(plain, self._contract)
        for place in self._images:
            if pa.types.is_binary(columns[place].type):
                for row, content in enumerate(columns[place].to_pylist()):
                    rows[row, place] = None if content is None else self._image(content)
        return rows

    def _image(self, content: bytes) -> Any:
        try:
            return self._child.load_image(content, self.left())
        except UserCodeError:
            return content  # a flow has no load_image; what is no image at all fails as a row

    def predict(self, rows: Rows) -> Floats:
        """See Predict. Raises ChildError, ContractError, OutOfTimeError."""
        answer = self._child.predict(arguments_of(rows, self._contract), self.left())
        return predictions_of(answer, len(rows), self._contract)

    def export(self, rows: Rows) -> tuple[dict[str, Any], list[npt.NDArray[Any]]] | None:
        """The fitted estimator that predict asks for these rows; None where none was found."""
        restarts = self._child.status.restarts
        found = self._child.export(arguments_of(rows, self._contract))
        if found is None:
            return None
        self._read = restarts, rows
        return found[0], [array for array in found[1] if isinstance(array, np.ndarray)]

    def encode(self, rows: Rows) -> Floats:
        """The matrix that reaches that estimator."""
        x = arguments_of(rows, self._contract)
        try:
            return self._child.encode(x, self.left())
        except UserCodeError:
            read = self._read
            if read is None or read[0] == self._child.status.restarts:
                raise
        # A child that was started anew does not know what was found in the one before.
        self.export(read[1])
        return self._child.encode(x, self.left())


@dataclass(frozen=True, eq=False)
class Engines:
    """What explains one set of user code against one reference."""

    model: Model
    contract: Contract
    chosen: Chosen
    plan: ExplainPlan
    code_hash: str
    path: str
    why: str
    difference: float | None
    fallback: Explainer | None = None
    """For rows of which predict says something else than the arrays that were verified. None: nothing was."""

    @property
    def differs(self) -> bool:
        """Whether predict says something else than the reference's own predictions."""
        return self.difference is not None and self.difference > TOLERATED

    def explainer(self, algorithm: str) -> Explainer:
        """The engine of an algorithm."""
        return self.chosen.shap if algorithm == "shap" else self.chosen.lime


@dataclass(frozen=True)
class Wish:
    """Engines that are wanted."""

    identity: CellIdentity
    plan: ExplainPlan
    sample: Path
    """File of the reference's sample."""
    code_hash: str


def build(child: Child, wish: Wish) -> Engines:
    """Engines for a child that is Ready. Slow: predict runs on the whole sample, and one row is explained.

    Raises ChildError, ContractError, OutOfTimeError; ValueError for a sample that cannot be used.
    """
    identity, plan = wish.identity, wish.plan
    contract = contract_of(identity)
    kind, place = parted_input(identity)
    model = Model(child, contract, image_places(identity))
    rows, stored = read_sample(wish.sample, contract, model)
    predicted, exact, why_not = None, None, "only what explains tables is read"
    with model.within(child.spec.limits.load_seconds):
        if kind != "IMAGE":  # the sample has no images, only their names
            predicted = model.predict(rows)
        background = summarised(rows, predicted, plan.background_hash)
        if kind == "TABULAR":
            exact, why_not = _exact(child, model, background, rows)
    classified = identity.output_type in _CLASSIFIES
    subject = Subject(
        predict=model.predict,
        reference=rows,
        background=background,
        units="probability" if classified else "value",
        input_kind=kind,
        place=place,
        text_delimiter=identity.text_delimiter,
        categorical=_categorical(identity),
        samples=plan.samples,
        seed=0 if plan.seed is None else plan.seed,
    )
    chosen = choose(subject, exact, why_not)
    path, why = "lime-image", "Images are explained by LIME, whatever was asked for"
    if predicted is not None:
        path, why = _tried(model, chosen.shap if plan.algorithm == "shap" else chosen.lime, rows)
    fallback = None if exact is None else choose(subject, None, _NOT_AS_VERIFIED).shap
    differs = None if predicted is None else difference(predicted, stored)
    return Engines(model, contract, chosen, plan, wish.code_hash, path, why, differs, fallback)


def image_places(identity: CellIdentity) -> tuple[int, ...]:
    """Places of the inputs that are images."""
    inputs = _by_position(identity, Stage.PIPELINE_INPUT)
    return tuple(place for place, a in enumerate(inputs) if a.value_type is ValueType.IMAGE)


def read_sample(path: Path, contract: Contract, model: Model) -> tuple[Rows, Floats]:
    """Rows (m, d) of the reference's sample and the predictions (m, k) it has, NaN where it has none. Raises
    ValueError for a file that is not of this model."""
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            table = reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"the reference's sample cannot be read ({type(error).__name__})") from None
    absent = [name for name in (*contract.inputs, *contract.outputs) if name not in table.column_names]
    if absent or not table.num_rows:
        raise ValueError(f"the reference's sample has no {absent[0] if absent else 'rows'}")
    rows = model.rows([table.column(name).combine_chunks() for name in contract.inputs])
    stored: npt.NDArray[np.float64] = np.full((table.num_rows, len(contract.outputs)), np.nan)
    for place, name in enumerate(contract.outputs):
        column = table.column(name)
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            stored[:, place] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return rows, stored


def _exact(child: Child, model: Model, background: Background, rows: Rows) -> tuple[Explainer | None, str]:
    """The exact engine, or why there is none, as a sentence's end."""
    try:
        found = model.export(rows[:_READ_ROWS])
        if found is None:
            return None, child.export_refusal or "no fitted estimator was found whose structure is known"
        header, arrays = found
        exported = of_wire(header, arrays)
        explainer = exact_explainer(exported, model.encode, model.predict, background, rows)
    except UserCodeError as error:
        return None, f"the fitted estimator could not be read ({str(error)[:200]})"
    except ValueError as error:
        return None, f"what was read of the fitted estimator cannot be used: {str(error)[:200]}"
    if isinstance(explainer, Unverified):
        return None, explainer.why
    return explainer, ""


def _tried(model: Model, explainer: Explainer, rows: Rows) -> tuple[str, str]:
    """Path and why, as the explanation of one row tells them. A model that is slow is said to be."""
    try:
        with model.within(_TRIES_ONE_SECONDS):
            found = explainer.explain(rows[:1], ["reference"])
    except OutOfTimeError:
        return "", f"predict is slow: one row could not be explained in {_TRIES_ONE_SECONDS:g} s"
    return found.path, found.why


def _categorical(identity: CellIdentity) -> tuple[int, ...]:
    inputs = _by_position(identity, Stage.PIPELINE_INPUT)
    return tuple(place for place, attribute in enumerate(inputs) if attribute.categorical)


def _by_position(identity: CellIdentity, stage: Stage) -> list[ResolvedAttribute]:
    """Attributes of a stage that are really there, in the order of their columns."""
    found = [a for a in identity.attributes if a.stage is stage and not a.implicit]
    return sorted(found, key=lambda attribute: attribute.position)

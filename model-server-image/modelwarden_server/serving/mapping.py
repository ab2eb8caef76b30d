"""From a data point and its result to a row of an inference: which place is which attribute.

Pure. What does not fit is said in a sentence without values: the prediction stays, unmonitored. Must not
judge values: the door for rows does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelwarden.resources.attributes import Stage, ValueType
from modelwarden.resources.cell import CellIdentity, ServingSettings
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.fieldpaths import NoSuchFieldError, place

_INPUTS = (Stage.PIPELINE_INPUT, Stage.PREDICT_FUNCTION_INPUT)
_LISTS = frozenset(
    {
        ValueType.BOUNDING_BOX,
        ValueType.TOKENS,
        ValueType.TOKEN_LIKELIHOODS,
        ValueType.RANKED_LIST,
        ValueType.ARRAY_STRING,
        ValueType.TIME_SERIES,
    }
)


class UnmappedError(ValueError):
    """The data point or the result does not fit the attributes: a sentence that says what to do."""


@dataclass(frozen=True)
class RowMap:
    """How the predictions of one model become rows; attributes by position."""

    inputs: tuple[ResolvedAttribute, ...]
    beside: tuple[ResolvedAttribute, ...]
    outputs: tuple[ResolvedAttribute, ...]
    places_in: Mapping[str, str]
    places_out: Mapping[str, str]

    @classmethod
    def of(cls, identity: CellIdentity, serving: ServingSettings | None) -> "RowMap":
        """From what the cell is told."""

        def chosen(*stages: Stage) -> tuple[ResolvedAttribute, ...]:
            found = [one for one in identity.attributes if one.stage in stages and not one.implicit]
            return tuple(sorted(found, key=lambda one: one.position))

        return cls(
            chosen(*_INPUTS),
            chosen(Stage.NON_INPUT_DATA),
            chosen(Stage.PREDICTED_VALUE),
            {} if serving is None else {one.attribute: one.field for one in serving.inputs},
            {} if serving is None else {one.attribute: one.field for one in serving.outputs},
        )

    @property
    def monitors(self) -> bool:
        """Whether there are attributes at all."""
        return bool(self.inputs or self.outputs)

    def row(self, point: Any, item: Any) -> dict[str, Any]:
        """The attributes' values of one prediction. Raises UnmappedError."""
        return self._inputs_of(point) | self._beside_of(point) | self._outputs_of(item)

    def _inputs_of(self, point: Any) -> dict[str, Any]:
        places = self.places_in
        if not places and isinstance(point, list):
            if len(point) != len(self.inputs):
                raise UnmappedError(
                    f"a data point has {len(point)} values and the model {len(self.inputs)} inputs:"
                    " say with serving.inputs which is which"
                )
            return _whole(
                {one.name: value for one, value in zip(self.inputs, point, strict=True)}, self.inputs
            )
        if not places and not isinstance(point, dict):
            if len(self.inputs) != 1:
                raise UnmappedError(
                    f"a data point is one value and the model has {len(self.inputs)} inputs:"
                    " say with serving.inputs which is which"
                )
            return _whole({self.inputs[0].name: point}, self.inputs)
        return _whole(
            {one.name: _taken(point, one.name, places, "data point") for one in self.inputs}, self.inputs
        )

    def _beside_of(self, point: Any) -> dict[str, Any]:
        """Data beside the inputs are optional."""
        found: dict[str, Any] = {}
        for one in self.beside:
            try:
                found[one.name] = place(point, self.places_in.get(one.name, one.name))
            except NoSuchFieldError:
                found[one.name] = None
        return _whole(found, self.beside)

    def _outputs_of(self, item: Any) -> dict[str, Any]:
        outputs, places = self.outputs, self.places_out
        if places or isinstance(item, dict):
            return {one.name: _taken(item, one.name, places, "result") for one in outputs}
        if len(outputs) == 1 and outputs[0].value_type in _LISTS:
            return {outputs[0].name: item}
        if isinstance(item, list):
            if len(item) == len(outputs):
                return {one.name: value for one, value in zip(outputs, item, strict=True)}
            if len(outputs) == 1 and len(item) == 2:  # both probabilities of a binary model
                return {outputs[0].name: item[1]}
        elif len(outputs) == 1:
            return {outputs[0].name: item}
        elif len(outputs) == 2 and isinstance(item, int | float):
            positive = [one.is_positive_predicted_attribute for one in outputs]
            if sum(positive) == 1:
                return {o.name: item if yes else 1 - item for o, yes in zip(outputs, positive, strict=True)}
        shape = f"{len(item)} values" if isinstance(item, list) else "one value"
        raise UnmappedError(
            f"a result has {shape} and the model {len(outputs)} predicted attributes:"
            " say with serving.outputs which is which"
        )


def _taken(value: Any, name: str, places: Mapping[str, str], what: str) -> Any:
    path = places.get(name, name)
    try:
        return place(value, path)
    except NoSuchFieldError:
        side = "inputs" if what == "data point" else "outputs"
        raise UnmappedError(
            f"a {what} has no field {path}, for the attribute {name}: say with serving.{side} where it is"
        ) from None


def _whole(values: dict[str, Any], attributes: tuple[ResolvedAttribute, ...]) -> dict[str, Any]:
    """Whole numbers that JSON clients write with a point, for attributes that are integers."""
    for one in attributes:
        value = values[one.name]
        if one.value_type is ValueType.INTEGER and isinstance(value, float) and value.is_integer():
            values[one.name] = int(value)
    return values

"""What a kind says about itself beside its fields: names, columns, how its body is read.

Must not know any kind.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from modelwarden.resources.meta import API_VERSION

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`; priority 1 is shown with `-o wide` only."""

    name: str
    json_path: str
    type: str = "string"
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """How the API server knows a kind."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    selectable_fields: tuple[str, ...] = ()


class InvalidResource(ValueError):  # noqa: N818 - named as the error class of the reconcile
    """A body that is no object of the kind. `problems` are (field path, message), in the body's order."""

    def __init__(self, kind: str, problems: tuple[tuple[str, str], ...]) -> None:
        super().__init__(
            f"not a valid {kind}: " + "; ".join(f"{path}: {message}" for path, message in problems)
        )
        self.kind = kind
        self.problems = problems


def parse_as(model: type[Model], kind: str, body: object, *, strict: bool) -> Model:
    """The body as a value of `model`. Raises InvalidResource and nothing else.

    `strict` refuses unknown fields (a file that a person wrote); otherwise they are left out, so that an
    older operator can read what a newer schema allows.
    """
    if not isinstance(body, dict):
        raise InvalidResource(kind, (("", "must be an object"),))
    found = (body.get("apiVersion"), body.get("kind"))
    if found != (API_VERSION, kind):
        raise InvalidResource(kind, (("kind", f"must be {API_VERSION} {kind}, is {found[0]} {found[1]}"),))
    try:
        # `metadata` holds much that we do not read, in both modes.
        read = model.model_validate(
            _without_foreign_metadata(model, body), extra="forbid" if strict else "ignore"
        )
    except ValidationError as error:
        raise InvalidResource(kind, _problems(error)) from None
    return read


def _without_foreign_metadata(model: type[BaseModel], body: dict[Any, Any]) -> dict[Any, Any]:
    metadata = body.get("metadata")
    field = model.model_fields["metadata"].annotation
    if not isinstance(metadata, dict) or not isinstance(field, type) or not issubclass(field, BaseModel):
        return body
    known = {info.alias for info in field.model_fields.values()}
    return {**body, "metadata": {key: value for key, value in metadata.items() if key in known}}


def _problems(error: ValidationError) -> tuple[tuple[str, str], ...]:
    return tuple(
        (_path(entry["loc"]), entry["msg"]) for entry in error.errors(include_url=False, include_input=False)
    )


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")

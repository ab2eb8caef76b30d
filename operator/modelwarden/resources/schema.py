"""The base of every resource model, and the notes that the CRD generator turns into a structural schema.

A field's docstring is its description in `kubectl explain`. A field whose zero value (`false`, `0`, `""`,
`[]`) means the same as its absence gets no default in the schema: an object is stored as it was written.
"""

from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True)
class Rule:
    """One CEL rule of a schema node. `self` is the node; a rule that names `oldSelf` is checked on updates
    only."""

    rule: str
    message: str
    message_expression: str | None = None
    field_path: str | None = None

    def as_schema(self) -> dict[str, str]:
        """The entry under `x-kubernetes-validations`."""
        entry = {"rule": self.rule, "message": self.message}
        if self.message_expression is not None:
            entry["messageExpression"] = self.message_expression
        if self.field_path is not None:
            entry["fieldPath"] = self.field_path
        return entry


def validations(*rules: Rule) -> dict[str, Any]:
    """The `json_schema_extra` of a model or a field that carries these rules."""
    return {"x-kubernetes-validations": [rule.as_schema() for rule in rules]}


def count_of(names: tuple[str, ...]) -> str:
    """CEL: how many of these optional fields of `self` are set."""
    return "[" + ", ".join(f"has(self.{name})" for name in names) + "].filter(x, x).size()"


def exactly_one(names: tuple[str, ...], purpose: str) -> Rule:
    """The rule of a union: one member is set, neither none nor two."""
    return Rule(
        rule=f"{count_of(names)} == 1",
        message=f"{purpose}: set exactly one of {', '.join(names)}",
    )


def unchangeable(name: str, why: str) -> Rule:
    """The rule of an optional field that may be neither changed, nor added later, nor removed."""
    same = f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})"
    return Rule(
        rule=same,
        message=f"{name} cannot be changed, added or removed once the object exists: {why}",
        field_path=f".{name}",
    )


def settled_with(settled: str, name: str, why: str) -> Rule:
    """The rule of an optional field that is unchangeable once the CEL condition `settled` held for the old
    object."""
    rule = unchangeable(name, why)
    return replace(rule, rule=f"!({settled}) || ({rule.rule})")


class ResourceModel(BaseModel):
    """Frozen, camelCase outside, strict about unknown fields unless it is told to be tolerant (see
    `parsing`)."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        allow_inf_nan=False,
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> dict[str, Any]:
        """As pydantic's, with what is written below an attribute as its description."""
        from modelwarden.resources.docstrings import attribute_docstrings  # only who generates needs it

        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in attribute_docstrings(cls).items():
            field = cls.model_fields.get(name)
            if field is not None and field.description is None:
                for key in {name, field.alias} & properties.keys():
                    properties[key]["description"] = text
        return schema

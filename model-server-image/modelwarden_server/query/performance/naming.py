"""Whose groups may be named where values of rows must not be: the status, series, messages. Pure."""

from modelwarden.resources.attributes import ValueType
from modelwarden.resources.resolved import ResolvedAttribute


def nameable(attribute: ResolvedAttribute) -> bool:
    """Whether the groups are declared, so that their names are no values of rows."""
    return bool(attribute.bins or attribute.categories) or attribute.value_type is ValueType.BOOLEAN

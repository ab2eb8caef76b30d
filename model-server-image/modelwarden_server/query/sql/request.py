"""The documented query as values: read from JSON, judged in itself, before any model or row is looked at.

{"select": [{"property": "age"}, {"function": "avg", "alias": "mean", "parameters": {"property": "p"}}],
 "from": "inference", "filter": [{"property", "comparator", "value"}], "group_by": [{"property" | "alias"}],
 "order_by": [{"property" | "alias", "direction"}], "limit", "offset", "subquery", "rollup", "sample"}

Every refusal names the place in the JSON. What a name means, and what a function takes, is not known here.
`where` is another word for `filter`: both hold. `sample` is a share of the rows, by hash of the id, or a
number of rows above 1. Nothing is ever sampled unasked, so `disable_auto_sample` changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from modelwarden_server.query.request import ROLLUPS, QueryError

Source = Literal["inference", "enriched", "reference", "ground_truth"]
SOURCES: Final = ("inference", "enriched", "reference", "ground_truth")
COMPARATORS: Final = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "like", "NotNull", "IsNull")
MAX_SELECT = 1100
MAX_CONDITIONS = 50
MAX_KEYS = 50
MAX_DEPTH = 8
MAX_NAME = 255
MAX_OFFSET = 1_000_000_000
EVERYTHING = "*"
_KEYS: Final = frozenset(
    {
        *("select", "from", "filter", "where", "group_by", "order_by", "limit", "offset"),
        *("subquery", "rollup", "sample", "disable_auto_sample"),
    }
)


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its parameters as they came; `path` is where they stand in the request."""

    function: str
    parameters: Mapping[str, Any]
    path: str


@dataclass(frozen=True, slots=True)
class Property:
    """A column by its name."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Alias:
    """Another selected column, or one of the subquery, by the name it is given."""

    name: str
    path: str


Operand = Property | Alias | Call


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of `select`: what, and under which name. Property EVERYTHING stands for all of them."""

    name: str
    what: Property | Call
    path: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One entry of a filter."""

    of: Operand
    comparator: str
    value: Any
    path: str


@dataclass(frozen=True, slots=True)
class Ordering:
    """One entry of `order_by`."""

    of: Property | Alias
    descending: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A request that makes sense in itself."""

    select: tuple[Item, ...]
    source: Source = "inference"
    conditions: tuple[Condition, ...] = ()
    group_by: tuple[Property | Alias, ...] = ()
    order_by: tuple[Ordering, ...] = ()
    limit: int | None = None
    offset: int = 0
    subquery: "Query | None" = None
    rollup: str | None = None
    sample: float | None = None
    path: str = field(default="", compare=False)


def parse_query(body: bytes) -> Query:
    """The query in a request's body. Raises QueryError."""
    try:
        given = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise QueryError(f"the query cannot be read: {error}") from None
    return _query(given, "", 0)


def _query(given: Any, path: str, depth: int) -> Query:
    if depth > MAX_DEPTH:
        raise QueryError(f"{path}: queries are nested more than {MAX_DEPTH} deep")
    fields = _object(given, path or "the query")
    unknown = fields.keys() - _KEYS
    if unknown:
        raise QueryError(
            f"{_at(path, min(unknown)[:100])}: is not known; known are {', '.join(sorted(_KEYS))}"
        )
    subquery = fields.get("subquery")
    if subquery is not None and fields.get("from") is not None:
        raise QueryError(f"{_at(path, 'from')}: belongs into the innermost subquery")
    conditions = [
        condition(entry, place)
        for key in ("filter", "where")
        for place, entry in _entries(fields, key, path, MAX_CONDITIONS)
    ]
    query = Query(
        select=_select(fields, path),
        source=_choice(fields.get("from") or "inference", SOURCES, _at(path, "from")),  # type: ignore[arg-type]
        conditions=tuple(conditions),
        group_by=tuple(_reference(e, p) for p, e in _entries(fields, "group_by", path, MAX_KEYS)),
        order_by=tuple(_ordering(e, p) for p, e in _entries(fields, "order_by", path, MAX_KEYS)),
        limit=_count(fields.get("limit"), _at(path, "limit")),
        offset=_count(fields.get("offset"), _at(path, "offset")) or 0,
        subquery=None if subquery is None else _query(subquery, _at(path, "subquery"), depth + 1),
        rollup=_rollup(fields.get("rollup"), _at(path, "rollup")),
        sample=_sample(fields.get("sample"), _at(path, "sample")),
        path=path,
    )
    if subquery is not None and query.sample is not None:
        raise QueryError(f"{_at(path, 'sample')}: belongs into the innermost subquery")
    return query


def operand(given: Any, path: str) -> Operand:
    """What a parameter of the kind "string or nested" stands for. Raises QueryError."""
    if isinstance(given, str):
        return Property(name(given, path), path)
    fields = _object(given, path)
    match fields:
        case {"alias_ref": given_name} if len(fields) == 1:
            return Alias(name(given_name, _at(path, "alias_ref")), path)
        case {"nested_function": call} if len(fields) == 1:
            return _call(_object(call, _at(path, "nested_function")), _at(path, "nested_function"))
        case _:
            raise QueryError(
                f'{path}: must be the name of a property, {{"alias_ref": name}}'
                ' or {"nested_function": {"function", "parameters"}}'
            )


def condition(given: Any, path: str) -> Condition:
    """A property or alias, a comparator, and a value where one is needed. Raises QueryError."""
    fields = _object(given, path)
    comparator = fields.get("comparator", "eq")
    _choice(comparator, COMPARATORS, _at(path, "comparator"))
    if (fields.get("property") is None) == (fields.get("alias") is None):
        raise QueryError(f"{path}: name either a property or an alias")
    if fields.get("alias") is not None:
        of: Operand = Alias(name(fields["alias"], _at(path, "alias")), path)
    else:
        of = operand(fields["property"], _at(path, "property"))
    if comparator not in ("NotNull", "IsNull") and "value" not in fields:
        raise QueryError(f"{_at(path, 'value')}: is missing")
    return Condition(of, comparator, fields.get("value"), path)


def name(given: Any, path: str) -> str:
    """A name as it came: any text that is not empty and not too long. Raises QueryError."""
    if not isinstance(given, str) or not 1 <= len(given) <= MAX_NAME:
        raise QueryError(f"{path}: must be a text of 1 to {MAX_NAME} characters")
    return given


def _select(fields: Mapping[str, Any], path: str) -> tuple[Item, ...]:
    items = [_item(entry, place) for place, entry in _entries(fields, "select", path, MAX_SELECT)]
    if not items:
        raise QueryError(f"{_at(path, 'select')}: name at least one property or function")
    return tuple(items)


def _item(given: Any, path: str) -> Item:
    if given == EVERYTHING:
        return Item(EVERYTHING, Property(EVERYTHING, path), path)
    fields = _object(given, path)
    called = {"function", "nested_function"} & fields.keys()
    if ("property" in fields) == bool(called):
        raise QueryError(f"{path}: name either a property or a function")
    alias = fields.get("alias")
    given_name = None if alias is None else name(alias, _at(path, "alias"))
    if called:
        inner = fields.get("nested_function")
        call = _call(fields if inner is None else _object(inner, _at(path, "nested_function")), path)
        return Item(given_name or call.function, call, path)
    prop = name(fields["property"], _at(path, "property"))
    return Item(given_name or prop, Property(prop, _at(path, "property")), path)


def _call(fields: Mapping[str, Any], path: str) -> Call:
    parameters = fields.get("parameters")
    given = {} if parameters is None else _object(parameters, _at(path, "parameters"))
    return Call(name(fields.get("function"), _at(path, "function")), given, _at(path, "parameters"))


def _reference(given: Any, path: str) -> Property | Alias:
    if isinstance(given, str):
        return Property(name(given, path), path)
    fields = _object(given, path)
    match fields:
        case {"property": str() as prop}:
            return Property(name(prop, _at(path, "property")), path)
        case {"alias": str() as alias}:
            return Alias(name(alias, _at(path, "alias")), path)
        case _:
            raise QueryError(f"{path}: name a property or an alias")


def _ordering(given: Any, path: str) -> Ordering:
    direction = _object(given, path).get("direction") or "asc"
    _choice(direction, ("asc", "desc"), _at(path, "direction"))
    return Ordering(_reference(given, path), direction == "desc")


def _entries(fields: Mapping[str, Any], key: str, path: str, most: int) -> list[tuple[str, Any]]:
    given = fields.get(key)
    where = _at(path, key)
    if given is None:
        return []
    if not isinstance(given, list):
        raise QueryError(f"{where}: must be a list")
    if len(given) > most:
        raise QueryError(f"{where}: has more than {most} entries")
    return [(f"{where}[{place}]", entry) for place, entry in enumerate(given)]


def _object(given: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise QueryError(f"{path}: must be an object")
    return given


def _choice(given: Any, allowed: tuple[str, ...], path: str) -> str:
    if given not in allowed:
        told = f", not {given[:50]!r}" if isinstance(given, str) else ""
        raise QueryError(f"{path}: must be one of {', '.join(allowed)}{told}")
    return str(given)


def _count(given: Any, path: str) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= MAX_OFFSET:
        raise QueryError(f"{path}: must be a whole number from 0 to {MAX_OFFSET}")
    return given


def _rollup(given: Any, path: str) -> str | None:
    return None if given is None else _choice(given, ROLLUPS, path)


def _sample(given: Any, path: str) -> float | None:
    if given is None or given is False:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= MAX_OFFSET:
        raise QueryError(f"{path}: must be a share of the rows (0 to 1) or a number of rows above 1")
    return float(given)


def _at(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key

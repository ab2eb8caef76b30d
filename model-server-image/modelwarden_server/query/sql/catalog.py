"""The columns that a question may name, and the innermost FROM that yields them.

One of these is made for each statement: it notes which columns of which table are asked for, so that
nothing else is read, and labels are only joined where a label is asked for. Names of attributes stay in
Python; the statement knows columns as c0, c1, …

What is derived when read: implicit attributes (1 - p, 1 where the class is this one), `inference_id` (a UUID
made of the partner's id), and of an attribute of token likelihoods the columns `<name>_tokens` and
`<name>_likelihoods`: the likeliest token of each step.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from modelwarden.resources.attributes import ValueType
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.query.request import QueryError
from modelwarden_server.query.sql.expression import Binder, Expression, Kind, Shape, combined
from modelwarden_server.query.sql.kinds import importance_shape, instant_text, kind_of, shape_of
from modelwarden_server.query.sql.model import TRUTHS, QueriedModel
from modelwarden_server.query.sql.request import Source
from modelwarden_server.query.sql.values import value_for
from modelwarden_server.schema.compiled import ARRIVAL_TIME, BATCH, EVENT_TIME, ID, TRUTH_TIME

ROWS = "rows"
LABELS = "labels"
SCORES = "scores"
EXPLANATIONS = "explanations"
TABLES = (ROWS, LABELS, SCORES, EXPLANATIONS)
PLACE = "place"
"""A row's number in the order of its table, which the reader of the files adds."""
INFERENCE_ID = "inference_id"
_COLUMN = re.compile(r"\bc\d+\b")
_BUILT_IN: dict[Source, dict[str, tuple[str, Kind]]] = {
    "inference": {
        INFERENCE_ID: (ROWS, Kind.TEXT),
        ID: (ROWS, Kind.TEXT),
        EVENT_TIME: (ROWS, Kind.TIME),
        ARRIVAL_TIME: (ROWS, Kind.TIME),
        BATCH: (ROWS, Kind.TEXT),
        TRUTH_TIME: (LABELS, Kind.TIME),
    },
    "ground_truth": {
        INFERENCE_ID: (LABELS, Kind.TEXT),
        ID: (LABELS, Kind.TEXT),
        TRUTH_TIME: (LABELS, Kind.TIME),
        ARRIVAL_TIME: (LABELS, Kind.TIME),
    },
    "reference": {},
}
_OF_SCORES: dict[str, tuple[str, Kind]] = {
    "anomaly_score": ("score", Kind.NUMBER),
    "anomaly_percentile": ("percentile", Kind.NUMBER),
    "anomaly_attributes": ("attributes", Kind.TEXTS),
}
"""The columns of the table of scores, by what a query calls them."""
_OF_EXPLANATIONS: dict[str, tuple[str, Kind]] = {
    "explainer_algorithm": ("algorithm", Kind.TEXT),
    "explainer_algo": ("algorithm", Kind.TEXT),
    "explainer_values": ("values", Kind.NUMBERS),
    "explainer_outputs": ("outputs", Kind.TEXTS),
}
"""As they are in the table of explanations."""
_IMPORTANCES = {"shap_importance": "shap", "lime_importance": "lime"}
_UNFOLDED = ("explainer_attribute", "explainer_predicted_attribute", "explainer_score")
"""Whoever asks for one of these gets a row for each value of an explanation."""
_VALUE = "value"
"""The number of a value in its explanation, which unfolding adds."""


class Scope(Protocol):
    """What names mean on one level of a query."""

    def find(self, name: str) -> Expression | None:
        """The column of that name, or None."""
        ...

    def names(self) -> list[str]:
        """What `*` stands for."""
        ...

    def missing(self, name: str) -> str:
        """Why there is no such column, as the end of a sentence."""
        ...

    def order(self) -> str | None:
        """The column that has the order of the rows, where it is not the one in which they come."""
        ...

    def joins_after(self, pieces: Iterable[str]) -> bool:
        """Whether labels are joined, and none of these pieces needs them."""
        ...


@dataclass
class Catalog:
    """The columns of one source, as one statement uses them."""

    model: QueriedModel
    source: Source
    binder: Binder
    used: dict[tuple[str, str], str] = field(default_factory=dict)
    """The statement's name of each column that is read, by table and column."""

    def find(self, name: str) -> Expression | None:
        """See Scope."""
        built_in = self._built_in.get(name)
        if built_in is not None:
            return self._special(name, *built_in)
        if name in self._scores:
            column, kind = self._scores[name]
            return Expression(self.read(SCORES, column), kind, loose=frozenset({name}))
        if self._explained and (found := self._explanation(name)) is not None:
            return found
        attribute = self.model.by_name.get(name)
        if attribute is not None and self._has(attribute):
            return self._attribute(attribute)
        return self._tokens(name)

    def names(self) -> list[str]:
        """See Scope."""
        attributes = [a.name for a in self.model.attributes if self._has(a)]
        built_in = [name for name in self._built_in if name != BATCH or self.model.is_batch]
        explained = [*_IMPORTANCES, "explainer_algorithm"] if self._explained else []
        return [*built_in, *self._scores, *explained, *attributes]

    def missing(self, name: str) -> str:
        """See Scope."""
        if name in _OF_EXPLANATIONS or name in _IMPORTANCES or name in _UNFOLDED:
            return f"{name} is there only from enriched, of a model whose rows are explained"
        if name in _OF_SCORES:
            return f"{name} is there only from enriched, of a model whose rows are scored"
        if name in self.model.by_name:
            return f"{name} is not among the columns of {self.source}"
        return f"there is no {name[:100]!r}"

    def order(self) -> str | None:
        """See Scope: joins give back rows in an order of their own."""
        if self.source == "ground_truth":
            return self.read(LABELS, PLACE)
        place = self.read(ROWS, PLACE) if self._joined else None
        return f"{place}, {self.read(EXPLANATIONS, _VALUE)}" if self._unfolds else place

    def read(self, table: str, column: str) -> str:
        """The statement's name of a column, which will be read."""
        return self.used.setdefault((table, column), f"c{len(self.used)}")

    def columns(self, table: str) -> dict[str, str]:
        """The columns to read of a table, and what the statement calls them."""
        return {column: name for (owner, column), name in self.used.items() if owner == table}

    def stored(self, table: str) -> dict[str, str]:
        """Those of the columns that the table's files have."""
        return {column: name for column, name in self.columns(table).items() if column != _VALUE}

    def joins_after(self, pieces: Iterable[str]) -> bool:
        """See Scope."""
        if self._unfolds:
            return False
        joined = {name for table in self._joined for name in self.columns(table).values()}
        used = {name for piece in pieces for name in _COLUMN.findall(piece)}
        return bool(joined) and self.source != "ground_truth" and joined.isdisjoint(used)

    def base(self, first: str | None = None) -> str:
        """The FROM item that yields the columns asked for so far; `first`: which rows are enough (WHERE,
        LIMIT), before labels are looked for.
        """
        if self.source == "ground_truth":
            return self._newest_labels()
        if not self._joined:
            return ROWS
        # The key is read on both sides only when there is something to join.
        left = self.read(ROWS, ID)
        joins = "".join(self._join(table, left, paged=first is not None) for table in self._joined)
        if first is None:
            return f"(SELECT * FROM {ROWS}{joins})"
        return f"(WITH page AS MATERIALIZED (SELECT * FROM {ROWS}{first}) SELECT * FROM page{joins})"

    def _join(self, table: str, left: str, *, paged: bool) -> str:
        right = self.read(table, ID)
        among = f" AND {right} IN (SELECT {left} FROM page)" if paged else ""
        # An inference is scored and explained once, so that needs no choice.
        unfolded = ""
        if table == EXPLANATIONS and self._unfolds:
            values, number = self.read(EXPLANATIONS, "values"), self.read(EXPLANATIONS, _VALUE)
            unfolded = f", unnest(range(len({values}))) AS {number}"
        found = (
            self._newest_labels(among)
            if table == LABELS
            else f"(SELECT *{unfolded} FROM {table} WHERE {right} IS NOT NULL{among})"
        )
        return f" LEFT JOIN {found} ON {left} = {right}"

    @property
    def _joined(self) -> list[str]:
        """The tables beside the inferences that are read."""
        return [table for table in (LABELS, SCORES, EXPLANATIONS) if self.columns(table)]

    @property
    def _explained(self) -> bool:
        return self.source == "enriched" and self.model.explained

    @property
    def _unfolds(self) -> bool:
        """Whether there is a row for each value of an explanation."""
        return (EXPLANATIONS, _VALUE) in self.used

    def _explanation(self, name: str) -> Expression | None:
        loose = frozenset({name})
        if name in _OF_EXPLANATIONS:
            column, kind = _OF_EXPLANATIONS[name]
            return Expression(self.read(EXPLANATIONS, column), kind, loose=loose)
        if name in _IMPORTANCES:
            algorithm, values = self.read(EXPLANATIONS, "algorithm"), self.read(EXPLANATIONS, "values")
            outputs = self.read(EXPLANATIONS, "outputs")
            packed = f"struct_pack(o := {outputs}, v := {values})"
            sql = f"CASE WHEN {algorithm} = '{_IMPORTANCES[name]}' AND {values} IS NOT NULL THEN {packed} END"
            shape = importance_shape(tuple(a.name for a in self.model.inputs))
            return Expression(sql, Kind.OBJECT, loose=loose, shape=shape)
        if name not in _UNFOLDED:
            return None
        number, many = self.read(EXPLANATIONS, _VALUE), max(len(self.model.inputs), 1)
        if name == "explainer_score":
            value = f"list_extract({self.read(EXPLANATIONS, 'values')}, {number} + 1)"
            return Expression(f"nullif({value}, 'nan'::DOUBLE)", Kind.NUMBER, loose=loose)
        if name == "explainer_attribute":
            names = self.binder.bind([a.name for a in self.model.inputs])
            sql = f"list_extract(CAST({names} AS VARCHAR[]), {number} % {many} + 1)"
        else:
            sql = f"list_extract({self.read(EXPLANATIONS, 'outputs')}, {number} // {many} + 1)"
        return Expression(sql, Kind.TEXT, loose=loose)

    @property
    def _scores(self) -> dict[str, tuple[str, Kind]]:
        return _OF_SCORES if self.source == "enriched" and self.model.scored else {}

    @property
    def _built_in(self) -> dict[str, tuple[str, Kind]]:
        return _BUILT_IN["inference" if self.source == "enriched" else self.source]

    def _has(self, attribute: ResolvedAttribute) -> bool:
        return self.source != "ground_truth" or attribute.stage in TRUTHS

    def _special(self, name: str, table: str, kind: Kind) -> Expression:
        loose = frozenset({name})
        if name == INFERENCE_ID:
            return Expression(
                f"CAST(CAST(md5({self.read(table, ID)}) AS UUID) AS VARCHAR)", kind, loose=loose
            )
        shape: Shape | None = instant_text if kind is Kind.TIME else None
        return Expression(self.read(table, name), kind, loose=loose, shape=shape)

    def _attribute(self, attribute: ResolvedAttribute) -> Expression:
        origin = self.model.implied_by(attribute)
        if origin is not None:
            return self._implied(attribute, self._stored(origin), origin)
        return self._stored(attribute)

    def _stored(self, attribute: ResolvedAttribute) -> Expression:
        of_labels = self.source != "reference" and attribute.stage in TRUTHS
        name = self.read(LABELS if of_labels else ROWS, attribute.name)
        # NaN is how pandas writes a missing number; answers treat it as one, too.
        sql = f"nullif({name}, 'nan'::DOUBLE)" if attribute.value_type is ValueType.FLOAT else name
        kind, shape = kind_of(attribute.value_type), shape_of(attribute.value_type)
        return Expression(sql, kind, loose=frozenset({attribute.name}), shape=shape)

    def _implied(self, attribute: ResolvedAttribute, of: Expression, origin: ResolvedAttribute) -> Expression:
        if attribute.gt_class_link is None or attribute.stage not in TRUTHS:
            return combined(f"(1 - {of.sql})", of.kind, of)
        value = self.binder.bind(value_for(kind_of(origin.value_type), attribute.gt_class_link, origin.name))
        return combined(f"CAST({of.sql} = {value} AS INTEGER)", Kind.INTEGER, of)

    def _tokens(self, name: str) -> Expression | None:
        for suffix, part, kind in (
            ("_tokens", "token", Kind.TEXTS),
            ("_likelihoods", "likelihood", Kind.NUMBERS),
        ):
            attribute = self.model.by_name.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if attribute is None or attribute.value_type is not ValueType.TOKEN_LIKELIHOODS:
                continue
            of = self._stored(attribute)
            best = "list_reduce(m, lambda a, b: CASE WHEN b.likelihood > a.likelihood THEN b ELSE a END)"
            picked = (
                f"list_transform({of.sql}, lambda m: CASE WHEN len(m) = 0 THEN NULL ELSE {best}.{part} END)"
            )
            return Expression(picked, kind, loose=frozenset({name}))
        return None

    def _newest_labels(self, more: str = "") -> str:
        """One row an id: its newest label by arrival, then by place in the table."""
        key, arrival = self.read(LABELS, ID), self.read(LABELS, ARRIVAL_TIME)
        place = self.read(LABELS, PLACE)
        order = f"ORDER BY {arrival} DESC, {place} DESC"
        return (
            f"(SELECT * FROM {LABELS} WHERE {key} IS NOT NULL{more}"
            f" QUALIFY row_number() OVER (PARTITION BY {key} {order}) = 1)"
        )


@dataclass(frozen=True)
class Outputs:
    """The columns of a subquery."""

    columns: dict[str, Expression]
    """By the name that the subquery gave them."""

    def find(self, name: str) -> Expression | None:
        """See Scope."""
        return self.columns.get(name)

    def names(self) -> list[str]:
        """See Scope."""
        return list(self.columns)

    def missing(self, name: str) -> str:
        """See Scope."""
        return f"the subquery selects no {name[:100]!r}"

    def order(self) -> str | None:
        """See Scope."""
        return None

    def joins_after(self, pieces: Iterable[str]) -> bool:
        """See Scope."""
        del pieces
        return False


def outputs_of(names: Sequence[str], expressions: Sequence[Expression], prefix: str) -> Outputs:
    """A subquery's columns, called `prefix` and a number, as the level above sees them."""
    return Outputs(
        {
            name: Expression(f"{prefix}{place}", one.kind, loose=frozenset({name}), shape=one.shape)
            for place, (name, one) in enumerate(zip(names, expressions, strict=True))
        }
    )


def found(scope: Scope, name: str, path: str) -> Expression:
    """The column of that name. Raises QueryError."""
    expression = scope.find(name)
    if expression is None:
        raise QueryError(f"{path}: {scope.missing(name)}")
    return expression

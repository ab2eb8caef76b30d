"""The slow path: row by row, with a reason for every row that is not taken.

Reads bodies that a strict parser refuses, because the documented client sends them: bare NaN for a
missing label. Must accept what the fast path accepts, with the same result.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from modelwarden_server.schema.compiled import BATCH, EVENT_TIME, ID, TRUTH_TIME, CompiledSchema
from modelwarden_server.schema.fields import DATA, TRUTH, FieldReader, batch_of, message, quoted
from modelwarden_server.schema.jsonlist import elements
from modelwarden_server.schema.parsed import Limits, ParsedLabels, ParsedRows, TooManyRowsError
from modelwarden_server.schema.values import ValueProblem, kind_of, take_id, take_instant

_FIELDS = frozenset({ID, EVENT_TIME, TRUTH_TIME, BATCH, DATA, TRUTH})
_LABEL_FIELDS = frozenset({ID, TRUTH_TIME, TRUTH})
NO_BATCH = "is required: this is a batch model"
NOT_A_BATCH_MODEL = "must be left out: this is not a batch model"
NO_LABEL = "has no value: send at least one attribute of the ground truth"


class SlowParser:
    """Parser of one schema's rows that explains."""

    def __init__(self, schema: CompiledSchema) -> None:
        self._schema = schema
        self._fields = FieldReader(schema)

    def parse(self, body: bytes, limits: Limits) -> ParsedRows:
        """The good rows and the reasons of the others. Raises BodyError or TooManyRowsError."""
        return self.parse_elements(elements(body), limits)

    def parse_elements(self, decoded: Iterable[Any], limits: Limits) -> ParsedRows:
        """As `parse`, of rows that are decoded already. Raises what the iterable raises."""
        rows: list[list[Any]] = []
        places: list[int] = []
        labels: list[list[Any]] = []
        labelled: list[int] = []
        refused: dict[int, str] = {}
        total = 0
        for place, row in enumerate(decoded):
            total = place + 1
            if total > limits.rows:
                raise TooManyRowsError(limits.rows)
            taken, label, problems = self._take(row, limits)
            if problems:
                refused[place] = message(problems)
                continue
            if label is not None:
                labelled.append(len(rows))
                labels.append(label)
            rows.append(taken)
            places.append(place)
        return ParsedRows(
            total=total,
            rows=batch_of(rows, self._schema.inference_record),
            places=np.array(places, dtype=np.int64),
            truth=batch_of(labels, self._schema.truth_record),
            truth_rows=np.array(labelled, dtype=np.int64),
            refused=refused,
        )

    def _take(self, row: Any, limits: Limits) -> tuple[list[Any], list[Any] | None, list[str]]:
        """A row's values, its label's values if it has one, and what is wrong with it."""
        if not isinstance(row, dict):
            return [], None, [f"the row must be an object, not {kind_of(row)}"]
        problems = _unknown_fields(row, _FIELDS)
        taken: list[Any] = [_id(row, problems), None, None]
        try:
            taken[1] = take_instant(row.get(EVENT_TIME), limits.latest)
        except ValueProblem as problem:
            problems.append(f"{EVENT_TIME}: {problem}")
        try:
            taken[2] = self._batch_id(row.get(BATCH), limits)
        except ValueProblem as problem:
            problems.append(f"{BATCH}: {problem}")
        taken += self._fields.values(row.get(DATA), DATA, limits, problems)
        label = self._fields.label(row, limits, problems)
        return taken, label if label is None else [taken[0], *label], problems

    def _batch_id(self, value: Any, limits: Limits) -> str | None:
        text = take_id(value, required=False) or limits.batch or None
        if self._schema.is_batch and text is None:
            raise ValueProblem(NO_BATCH)
        if not self._schema.is_batch and text is not None:
            raise ValueProblem(NOT_A_BATCH_MODEL)
        return text


class SlowLabelParser:
    """Parser of labels that come without their inferences, that explains."""

    def __init__(self, schema: CompiledSchema) -> None:
        self._schema = schema
        self._fields = FieldReader(schema)

    def parse(self, body: bytes, limits: Limits) -> ParsedLabels:
        """The good labels and the reasons of the others. Raises BodyError or TooManyRowsError."""
        return self.parse_elements(elements(body), limits)

    def parse_elements(self, decoded: Iterable[Any], limits: Limits) -> ParsedLabels:
        """As `parse`, of rows that are decoded already. Raises what the iterable raises."""
        labels: list[list[Any]] = []
        places: list[int] = []
        refused: dict[int, str] = {}
        total = 0
        for place, row in enumerate(decoded):
            total = place + 1
            if total > limits.rows:
                raise TooManyRowsError(limits.rows)
            label, problems = self._take(row, limits)
            if problems:
                refused[place] = message(problems)
                continue
            labels.append(label)
            places.append(place)
        batch = batch_of(labels, self._schema.truth_record)
        return ParsedLabels(total, batch, np.array(places, dtype=np.int64), refused)

    def _take(self, row: Any, limits: Limits) -> tuple[list[Any], list[str]]:
        if not isinstance(row, dict):
            return [], [f"the row must be an object, not {kind_of(row)}"]
        problems = _unknown_fields(row, _LABEL_FIELDS)
        known = _id(row, problems)
        before = len(problems)
        label = self._fields.label(row, limits, problems)
        if label is None and len(problems) == before:
            problems.append(f"{TRUTH}: {NO_LABEL}")
        return [known, *(label or ())], problems


def _unknown_fields(row: dict[str, Any], known: frozenset[str]) -> list[str]:
    return [f"{quoted(key)}: unknown field" for key in row if key not in known]


def _id(row: dict[str, Any], problems: list[str]) -> str | None:
    try:
        return take_id(row.get(ID))
    except ValueProblem as problem:
        problems.append(f"{ID}: {problem}")
        return None

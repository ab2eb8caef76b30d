"""Searches one window, batch or reference for hotspots: reads rows with their labels into columns, of more
than so many a sample by hash; the rest is analysis.

Which half a row belongs to follows from its id alone (of a reference, from its place).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.analysis.cells import as_floats
from modelwarden_server.analysis.columns import Column, Kind
from modelwarden_server.analysis.hotspots.find import Task, find
from modelwarden_server.analysis.hotspots.outcomes import Classified, Outcome, Regressed
from modelwarden_server.analysis.hotspots.result import Known, Lineage, Seen, result_of, written
from modelwarden_server.analysis.hotspots.rules import rule_of
from modelwarden_server.analysis.hotspots.table import Attribute, Categories, Numbers, Table
from modelwarden_server.analysis.mixing import GOLDEN, mix
from modelwarden_server.analysis.performance.outcome import Outcome as Columns
from modelwarden_server.analysis.performance.outcome import Task as Answer
from modelwarden_server.analysis.performance.outcome import outcome_of
from modelwarden_server.jobs.training import Tell, TrainingInput, UntrainableError
from modelwarden_server.schema.compiled import ID
from modelwarden_server.schema.digest import id_keys

SEARCHED: Final = frozenset({"PIPELINE_INPUT", "PREDICT_FUNCTION_INPUT", "NON_INPUT_DATA"})
FOLLOW: Final = b"follow"
_ONLY_NUMBERS: Final = frozenset({"INTEGER", "FLOAT"})
_ROWS_AT_ONCE: Final = 65_536
_MOST_VALUES: Final = 40_000_000
Keys = npt.NDArray[np.uint64]


def train(given: TrainingInput, tell: Tell) -> Artefact:
    """See Trainer."""
    columns = outcome_of(given.identity.attributes, given.identity.output_type)
    if columns is None:
        raise UntrainableError("hotspots need a classification or a regression whose truth is declared")
    searched = searched_columns(given)
    rows = _Rows(searched, columns)
    for keys, batch in _pieces(given, searched, columns):
        rows.add(keys, batch)
        tell("progress", rows=rows.many)
    table, outcome = rows.table(), rows.outcome(float(given.inputs["classifierThreshold"]))
    finding = (rows.keys() & np.uint64(1)).astype(np.bool_)
    known = _known(rows.metadata)
    task = Task(table, outcome, finding, int(given.inputs["minimumRows"]), [one.rule for one in known])
    findings = find(task)
    seen = Seen(
        rows=rows.many,
        labelled=int(outcome.labelled.sum()),
        judged=~finding,
        classified=outcome if isinstance(outcome, Classified) else None,
        known=known,
        window=str(given.inputs["name"]),
    )
    result = result_of(findings, seen)
    tell(
        "searched",
        rows=rows.many,
        labelled=seen.labelled,
        measured=len(findings.rules),
        kept=len(result.found),
    )
    told, arrays = written(result)
    whole = int(rows.metadata.get(b"rows", rows.many))
    return given.artefact(rows.many, {"result": told, "wholeRows": max(whole, rows.many)}, arrays)


def searched_columns(given: TrainingInput) -> list[Column]:
    """Columns that rules may be over: inputs and data beside them, numbers and categories, but no
    identifiers.
    """
    unique = {a.name for a in given.identity.attributes if a.is_unique}
    found = []
    for column in given.columns:
        number = column.value_type in _ONLY_NUMBERS and column.declared_kind is Kind.NUMERIC
        fit = number or column.declared_kind is Kind.CATEGORY
        if fit and column.stage in SEARCHED and column.name not in unique:
            found.append(column)
    if not found:
        raise UntrainableError("no attribute is a number or a category: there is nothing to make rules of")
    return found


def _pieces(
    given: TrainingInput, searched: Sequence[Column], columns: Columns
) -> Iterator[tuple[Keys, pa.RecordBatch]]:
    """Rows with a hash of each."""
    names = list(dict.fromkeys([*(c.name for c in searched), *columns.predictions, *columns.truth_columns]))
    if given.inputs["over"] != "reference":
        for batch in given.rows([ID, *names], _ROWS_AT_ONCE):
            yield id_keys(batch.column(0).to_pylist())[:, 1].copy(), batch
        return
    most = min(int(given.inputs["mostRows"]), max(1, _MOST_VALUES // len(searched)))
    highest = np.uint64(min(1.0, most / max(1, given.records)) * (2**64 - 2**11))
    number = 0
    for batch in given.reference(names, _ROWS_AT_ONCE):
        keys = mix(np.arange(number, number + batch.num_rows, dtype=np.uint64) + GOLDEN)
        number += batch.num_rows
        kept = mix(keys + GOLDEN) <= highest
        yield keys[kept], batch.filter(pa.array(kept))


@dataclass
class _Rows:
    """What has been read so far, column by column."""

    searched: Sequence[Column]
    columns: Columns
    many: int = 0
    metadata: Mapping[bytes, bytes] = field(default_factory=dict)
    _keys: list[Keys] = field(default_factory=list)
    _numbers: dict[str, list[npt.NDArray[np.float64]]] = field(default_factory=dict)
    _categories: dict[str, list[pa.Array]] = field(default_factory=dict)
    _scores: list[npt.NDArray[np.float64]] = field(default_factory=list)
    _labels: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def add(self, keys: Keys, batch: pa.RecordBatch) -> None:
        """Some more rows."""
        self.metadata = batch.schema.metadata or self.metadata
        self.many += batch.num_rows
        self._keys.append(keys)
        self._scores.append(self.columns.scores(batch))
        self._labels.append(self.columns.labels(batch))
        for column in self.searched:
            values = batch.column(column.name)
            if column.declared_kind is Kind.CATEGORY:
                self._categories.setdefault(column.name, []).append(values)
            else:
                numbers, null = as_floats(values)
                self._numbers.setdefault(column.name, []).append(np.where(null, np.nan, numbers))

    def keys(self) -> Keys:
        """The hash of each row."""
        return np.concatenate([np.empty(0, dtype=np.uint64), *self._keys])

    def table(self) -> Table:
        """The columns that rules are over."""
        found: list[Attribute] = []
        for column in self.searched:
            if column.name in self._numbers:
                found.append(Numbers(column.name, np.concatenate(self._numbers[column.name])))
            elif column.name in self._categories:
                found.append(_categories(column.name, self._categories[column.name]))
        return Table(self.many, found)

    def outcome(self, threshold: float) -> Outcome:
        """What the model did with each row."""
        width = len(self.columns.predictions)
        scores = np.concatenate([np.empty((0, width)), *self._scores])
        labels = np.concatenate([np.empty(0), *self._labels])
        if self.columns.task is Answer.REGRESSION:
            return Regressed(labels, scores[:, 0])
        known = ~np.isnan(scores).any(axis=1)
        if self.columns.task is Answer.BINARY:
            positive = scores[:, 0] >= threshold
            predicted = np.where(positive, 0, 1)
            expected = np.where(positive, 1 - scores[:, 0], scores[:, 0])
        else:
            filled = np.where(np.isnan(scores), -np.inf, scores)
            predicted = filled.argmax(axis=1) if width else np.zeros(self.many, dtype=np.int64)
            expected = 1 - filled.max(axis=1, initial=-np.inf)
        predicted = np.where(known, predicted, -1).astype(np.int32)
        probable = known & ((scores >= 0) & (scores <= 1)).all(axis=1)
        return Classified(
            classes=self.columns.classes,
            true=labels.astype(np.int32),
            predicted=predicted,
            positive=0 if self.columns.task is Answer.BINARY else None,
            expected=np.where(probable, expected, np.nan),
        )


def _categories(name: str, parts: Sequence[pa.Array]) -> Categories:
    whole = pa.chunked_array(parts).dictionary_encode().unify_dictionaries()
    values = whole.chunk(0).dictionary.to_pylist() if whole.num_chunks else []
    # NaN is how pandas writes a missing number.
    place_of = np.array([-1 if v != v else place for place, v in enumerate(values)] + [-1], dtype=np.int32)
    codes = [
        place_of[chunk.indices.cast(pa.int32()).fill_null(-1).to_numpy(zero_copy_only=False)]
        for chunk in whole.chunks
    ]
    return Categories(name, np.concatenate([np.empty(0, dtype=np.int32), *codes]), tuple(values))


def _known(metadata: Mapping[bytes, bytes]) -> list[Known]:
    told: list[dict[str, Any]] = json.loads(metadata.get(FOLLOW, b"[]"))
    return [Known(rule_of(one["region"]), Lineage(str(one["first"]), int(one["windows"]))) for one in told]

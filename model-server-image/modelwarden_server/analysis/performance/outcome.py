"""What a model predicts and what turns out true, as columns: which kind of answer, which classes, which truth
belongs to which prediction. Pure; must not know settings or tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden.resources.attributes import OutputType, Stage, ValueType
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.cells import as_floats, category_text
from modelwarden_server.analysis.performance.list_columns import (
    MAX_RELEVANT,
    lengths_of,
    likelihoods,
    ranked_words,
    relevant_words,
)
from modelwarden_server.analysis.performance.packing import MAX_BINNED, packed_fields, words_of

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
UNKNOWN = -1
"""The class of a row without a label, or with one that names no class of the model, or several."""
_NUMBERS = (ValueType.FLOAT, ValueType.INTEGER)
_TOKENS = (ValueType.TOKEN_LIKELIHOODS, ValueType.TOKENS)
LABEL_BITS = 2
"""Of several labels, the bits of each: 0 if it is not known, else one of these."""
POSITIVE, NEGATIVE = 1, 2


class Task(StrEnum):
    """What kind of answer a model gives."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"
    MULTILABEL = "multilabel"
    RANKED_LIST = "ranked_list"
    TOKEN_SEQUENCE = "token_sequence"  # noqa: S105 - a kind of answer


@dataclass(frozen=True)
class Truth:
    """Where the truth of one prediction stands: a column of 0 and 1 (or of numbers), or with `value` the
    column of classes, where that value means this prediction's class.
    """

    column: str
    value: str | None = None


@dataclass(frozen=True)
class Outcome:
    """The columns of predictions and truths. `classes` are the names of predicted attributes, of two classes
    the positive first; of those only the positive one's column is looked at.
    """

    task: Task
    predictions: tuple[str, ...]
    truths: tuple[Truth, ...]
    classes: tuple[str, ...] = ()

    @property
    def truth_columns(self) -> tuple[str, ...]:
        """The columns of labels, each once."""
        return tuple(dict.fromkeys(truth.column for truth in self.truths))

    @property
    def label_words(self) -> int:
        """Words that a label is remembered by."""
        match self.task:
            case Task.RANKED_LIST:
                return MAX_RELEVANT // 2 + 1
            case Task.MULTILABEL:
                return words_of((LABEL_BITS,) * len(self.truths))
            case Task.TOKEN_SEQUENCE:
                return 0
        return 1

    def scores(self, rows: pa.RecordBatch | pa.Table) -> npt.NDArray[Any]:
        """The predicted numbers, shape (n, predictions); NaN where there is none. Of lists what
        `list_columns` tells of them.
        """
        if self.task is Task.RANKED_LIST:
            return ranked_words(rows.column(self.predictions[0]))
        if self.task is Task.TOKEN_SEQUENCE:
            return _of_tokens(rows.column(self.predictions[0]))
        columns = []
        for name in self.predictions:
            numbers, null = as_floats(rows.column(name))
            columns.append(np.where(null, np.nan, numbers))
        return np.stack(columns, axis=1)

    def labels(self, rows: pa.RecordBatch | pa.Table) -> npt.NDArray[Any]:
        """The label of each row: of a classifier the place of the true class (of two classes 0 is the
        positive one), UNKNOWN without; of a regression the number, NaN without. Shape (n,). Of several labels
        and of ranked lists words, shape (n, label_words).
        """
        if self.task is Task.RANKED_LIST:
            return relevant_words(rows.column(self.truths[0].column))
        if self.task is Task.TOKEN_SEQUENCE:
            return np.empty((rows.num_rows, 0), dtype=np.uint64)
        if self.task is Task.REGRESSION:
            numbers, null = as_floats(rows.column(self.truths[0].column))
            return np.where(null | ~np.isfinite(numbers), np.nan, numbers)
        true = np.stack([_is_true(rows.column(truth.column), truth.value) for truth in self.truths])
        if self.task is Task.MULTILABEL:
            said = [np.where(t < 0, 0, np.where(t == 1, POSITIVE, NEGATIVE)) for t in true]
            return packed_fields(said, (LABEL_BITS,) * len(said), rows.num_rows)
        if self.task is Task.BINARY:
            return np.where(true[0] == 1, 0.0, np.where(true[0] == 0, 1.0, UNKNOWN))
        once = (true == 1).sum(axis=0) == 1
        return np.where(once, (true == 1).argmax(axis=0), UNKNOWN).astype(np.float64)


def outcome_of(attributes: Sequence[ResolvedAttribute], output_type: OutputType | None) -> Outcome | None:
    """What is counted of a model; None for kinds of answers that are not counted (their scores come from
    rows).
    """
    predicted = sorted(
        (a for a in attributes if a.stage is Stage.PREDICTED_VALUE), key=lambda a: (a.position, a.implicit)
    )
    declared = [a for a in predicted if not a.implicit and a.value_type in _NUMBERS]
    if not declared:
        return None
    if output_type is OutputType.REGRESSION:
        truth = next((a for a in attributes if a.stage is Stage.GROUND_TRUTH and not a.implicit), None)
        if truth is None or truth.value_type not in _NUMBERS:
            return None
        return Outcome(Task.REGRESSION, (declared[0].name,), (Truth(truth.name),))
    if output_type is not OutputType.MULTICLASS:
        return None
    truths = {a.name: _truth_of(a, attributes) for a in declared}
    if len(predicted) == 2:
        positive = next((a for a in declared if a.is_positive_predicted_attribute), declared[0])
        known = truths[positive.name]
        other = next(a.name for a in predicted if a.name != positive.name)
        if known is None:
            return None
        return Outcome(Task.BINARY, (positive.name,), (known,), (positive.name, other))
    all_known = [truth for truth in truths.values() if truth is not None]
    if len(declared) < 2 or len(all_known) < len(declared):
        return None
    names = tuple(truths)
    return Outcome(Task.MULTICLASS, names, tuple(all_known), names)


def outcome_of_lists(
    attributes: Sequence[ResolvedAttribute], output_type: OutputType | None
) -> Outcome | None:
    """What is counted of ranked lists, of tokens and of several labels (up to MAX_BINNED); None for other
    models.
    """
    declared = sorted(
        (a for a in attributes if a.stage is Stage.PREDICTED_VALUE and not a.implicit),
        key=lambda a: a.position,
    )
    if output_type is OutputType.TOKEN_SEQUENCE:
        chosen = [a for kind in _TOKENS for a in declared if a.value_type is kind]
        return Outcome(Task.TOKEN_SEQUENCE, (chosen[0].name,), ()) if chosen else None
    if output_type not in (OutputType.RANKED_LIST, OutputType.MULTILABEL):
        return None
    truths = [_truth_of(a, attributes) for a in declared]
    known = tuple(truth for truth in truths if truth is not None)
    if not known or len(known) < len(declared):
        return None
    if output_type is OutputType.RANKED_LIST:
        one = len(declared) == 1 and declared[0].value_type is ValueType.RANKED_LIST
        return Outcome(Task.RANKED_LIST, (declared[0].name,), known) if one else None
    if len(declared) > MAX_BINNED:
        return None
    names = tuple(a.name for a in declared)
    return Outcome(Task.MULTILABEL, names, known, names)


def _of_tokens(column: pa.Array | pa.ChunkedArray) -> Floats:
    texts = pa.types.is_string(column.type.value_type)
    return lengths_of(column) if texts else likelihoods(column)


def _truth_of(prediction: ResolvedAttribute, attributes: Sequence[ResolvedAttribute]) -> Truth | None:
    column = next((a for a in attributes if a.stage is Stage.GROUND_TRUTH_CLASS), None)
    if column is not None and prediction.gt_class_link is not None:
        return Truth(column.name, prediction.gt_class_link)
    linked = next((a for a in attributes if a.name == prediction.attribute_link), None)
    return None if linked is None or linked.implicit else Truth(linked.name)


def _is_true(values: pa.Array | pa.ChunkedArray, value: str | None) -> Places:
    """1 where the class is true, 0 where it is not, -1 where nobody knows."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if value is None and (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        numbers, null = as_floats(array)
        known = np.where(numbers == 1, 1, np.where(numbers == 0, 0, UNKNOWN))
        return np.where(null, UNKNOWN, known).astype(np.int64)
    coded = array.dictionary_encode()
    found = [_of_text(category_text(v), value) for v in coded.dictionary.to_pylist()]
    table = np.array([*found, UNKNOWN], dtype=np.int64)
    index = coded.indices.cast(pa.int64()).fill_null(len(found))
    found_places: Places = table[index.to_numpy(zero_copy_only=False)]
    return found_places


def _of_text(text: str | None, value: str | None) -> int:
    if text is None:
        return UNKNOWN
    if value is not None:
        return int(text == value)
    return {"1": 1, "true": 1, "0": 0, "false": 0}.get(text.lower(), UNKNOWN)

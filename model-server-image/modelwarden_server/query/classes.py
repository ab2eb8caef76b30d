"""The class that a model predicted, and the one that turned out true, as columns of their own. Pure.

`predictedClass` is the name of the predicted attribute with the highest value (the first of equals, by
position). With one declared prediction it is that attribute where the value reaches the classifier's
threshold, else the implicit negative one. `groundTruthClass` is the same of the ground truth (its attribute's
name, or the value in the column of classes). Rows without a value have none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from modelwarden_server.analysis.cells import as_floats, category_text
from modelwarden_server.query.sql.model import QueriedModel

PREDICTED_CLASS = "predictedClass"
TRUE_CLASS = "groundTruthClass"


@dataclass(frozen=True)
class ClassRule:
    """How one of the two classes follows from columns. `negative` is the class under `threshold`, for one
    column.
    """

    columns: tuple[str, ...]
    threshold: float | None = None
    negative: str = ""
    is_class: bool = False

    def derive(self, values: Sequence[pa.Array]) -> pa.Array:
        """The class of each row, given the columns in the order of `columns`."""
        if self.is_class:
            coded = values[0].dictionary_encode()
            names = pa.array([category_text(v) for v in coded.dictionary.to_pylist()], pa.string())
            return names.take(coded.indices)
        numbers = []
        for one in values:
            found, null = as_floats(one.cast(pa.float64()) if pa.types.is_boolean(one.type) else one)
            numbers.append(np.where(null, np.nan, found))
        table = np.stack(numbers)
        known = ~np.isnan(table).any(axis=0)
        if self.threshold is not None:
            place = np.where(table[0] >= self.threshold, 0, 1)
            names = np.array([self.columns[0], self.negative], dtype=object)
        else:
            place = np.argmax(np.where(np.isnan(table), -np.inf, table), axis=0)
            names = np.array(self.columns, dtype=object)
        return pa.array(names[place], pa.string(), mask=~known)


def predicted_rule(model: QueriedModel) -> ClassRule | None:
    """The rule of predicted classes; None for a model that predicts none."""
    declared = [a for a in model.predictions if not a.implicit and a.value_type in ("FLOAT", "INTEGER")]
    implicit = [a.name for a in model.predictions if a.implicit]
    if len(declared) == 1 and implicit:
        return ClassRule((declared[0].name,), model.threshold, implicit[0])
    return ClassRule(tuple(a.name for a in declared)) if len(declared) > 1 else None


def true_rule(model: QueriedModel) -> ClassRule | None:
    """The rule of true classes; None for a model without classes."""
    if model.class_column is not None:
        return ClassRule((model.class_column.name,), is_class=True)
    declared = [a for a in model.truths if not a.implicit and a.value_type in ("FLOAT", "INTEGER", "BOOLEAN")]
    implicit = [a.name for a in model.truths if a.implicit]
    if len(declared) == 1 and implicit:
        return ClassRule((declared[0].name,), 0.5, implicit[0])
    return ClassRule(tuple(a.name for a in declared)) if len(declared) > 1 else None

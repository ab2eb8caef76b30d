"""Trains the estimate of a regression's errors: inputs, predictions and labels of the reference. The rest is
analysis.
"""

import numpy as np
import pyarrow as pa

from modelwarden_server.analysis.anomaly import NothingToLearnError
from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.analysis.loss_model import train_loss
from modelwarden_server.analysis.performance.outcome import Task, outcome_of
from modelwarden_server.jobs.reference_sample import sample_of
from modelwarden_server.jobs.training import Tell, TrainingInput, UntrainableError


def train(given: TrainingInput, tell: Tell) -> Artefact:
    """See Trainer."""
    import sklearn

    outcome = outcome_of(given.identity.attributes, given.identity.output_type)
    if outcome is None or outcome.task is not Task.REGRESSION:
        raise UntrainableError("errors are estimated for regression models with a ground truth")
    names: list[str] = list(given.inputs["columns"])
    columns = [column for column in given.columns if column.name in set(names)]
    rows = sample_of(given, list(dict.fromkeys([*names, *outcome.predictions, *outcome.truth_columns])), tell)
    errors = outcome.scores(rows.combine_chunks())[:, 0] - outcome.labels(rows.combine_chunks())
    known = np.isfinite(errors)
    tell("progress", stage="fitting the trees", rows=int(known.sum()))
    try:
        model, fitted = train_loss(columns, rows.filter(pa.array(known)), errors[known], given.seed)
    except NothingToLearnError as error:
        raise UntrainableError(str(error)) from None
    told = {
        "method": "gradient boosted trees on absolute and squared errors",
        "leftOut": dict(fitted.left_out),
        "libraries": {"scikit-learn": sklearn.__version__},
    }
    return given.artefact(int(known.sum()), model.manifest() | told, model.arrays())

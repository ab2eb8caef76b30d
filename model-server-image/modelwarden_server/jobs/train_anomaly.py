"""Trains anomaly detection: inputs of the reference, as many as fit, into an isolation forest. The rest is
analysis.
"""

from modelwarden_server.analysis.anomaly import NothingToLearnError, train_anomaly
from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.jobs.reference_sample import sample_of
from modelwarden_server.jobs.training import Tell, TrainingInput, UntrainableError

METHOD = "isolation forest, 100 trees of 256 rows"


def train(given: TrainingInput, tell: Tell) -> Artefact:
    """See Trainer."""
    import sklearn

    names: list[str] = list(given.inputs["columns"])
    columns = [column for column in given.columns if column.name in set(names)]
    rows = sample_of(given, [column.name for column in columns], tell)
    tell("progress", stage="growing the forest", rows=rows.num_rows)
    try:
        model, fitted = train_anomaly(columns, rows, given.seed)
    except NothingToLearnError as error:
        raise UntrainableError(str(error)) from None
    told = {
        "method": METHOD,
        "leftOut": dict(fitted.left_out),
        "libraries": {"scikit-learn": sklearn.__version__},
    }
    return given.artefact(rows.num_rows, model.manifest() | told, model.arrays())

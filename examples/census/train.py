"""The model of the census story: a logistic regression of employment, trained on half of the people of 2015.

Chosen because it needs a second to train, comes out the same each time, and can be kept as a JSON file that a
person can read: one weight for each code of each attribute. It is not shown SEX or RAC1P; those travel beside
the prediction so that it can be watched for how it treats people.

What this module must not do: fetch data, or talk to a cell. Nothing is pickled.
"""

import hashlib
import json
import math
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from examples.census import data

PREDICTION = "employed_probability"
LABEL_DELAY_MONTHS = 3
AGE_BAND_YEARS = 5


@dataclass(frozen=True)
class LinearModel:
    """log-odds = intercept + one weight for each attribute's code; codes never seen in training weigh
    nothing.
    """

    intercept: float
    weights: dict[str, dict[str, float]]

    def probability(self, people: pa.Table) -> npt.NDArray[np.float64]:
        """The probability of being employed for each row, to six digits."""
        log_odds = np.full(people.num_rows, self.intercept)
        for name, weights in self.weights.items():
            codes = _codes(people, name).combine_chunks().dictionary_encode()
            table = np.array([weights.get(code, 0.0) for code in codes.dictionary.to_pylist()])
            log_odds += table[codes.indices.to_numpy(zero_copy_only=False)]
        rounded: npt.NDArray[np.float64] = np.round(1.0 / (1.0 + np.exp(-log_odds)), 6)
        return rounded

    def to_json(self) -> str:
        """The whole model as text; `from_json` reads it back."""
        return json.dumps({"intercept": self.intercept, "weights": self.weights}, indent=1, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> "LinearModel":
        """The model that `to_json` wrote."""
        read = json.loads(text)
        return LinearModel(read["intercept"], read["weights"])


@dataclass(frozen=True)
class Story:
    """Everything the demo sends, computed once and cached."""

    model: LinearModel
    reference: pa.Table
    """Half of 2015: inputs, protected attributes, the model's prediction, the label."""
    replay: pa.Table
    """2016 to 2018 in order of time: id, time, inputs, protected attributes, prediction. No labels: they
    are not known yet.
    """
    labels: pa.Table
    """The same people in the same order: id, the time when the label becomes known, the label."""


def split(year_2015: pa.Table) -> tuple[pa.Table, pa.Table]:
    """People the model learns from (even ids) and people kept back as the reference (odd ids)."""
    odd = pc.equal(pc.bit_wise_and(year_2015.column("id"), 1), 1)
    return year_2015.filter(pc.invert(odd)), year_2015.filter(odd)


def fit(people: pa.Table) -> LinearModel:
    """Trains on rows with inputs and label; deterministic for a given scikit-learn."""
    from sklearn.linear_model import LogisticRegression

    columns: list[tuple[str, str]] = []
    blocks = []
    for name in data.INPUTS:
        codes = np.asarray(_codes(people, name).to_pylist())
        for code in np.unique(codes):
            columns.append((name, str(code)))
            blocks.append((codes == code).astype("float32"))
    fitted = LogisticRegression(max_iter=500).fit(
        np.column_stack(blocks), people.column(data.LABEL).to_numpy()
    )
    weights: dict[str, dict[str, float]] = {name: {} for name in data.INPUTS}
    for (name, code), weight in zip(columns, fitted.coef_[0], strict=True):
        weights[name][code] = _six_digits(float(weight))
    return LinearModel(_six_digits(float(fitted.intercept_[0])), weights)


def story(cache: Path) -> Story:
    """The trained model, the reference and the rows to replay; from `cache` when they have been made
    before.
    """
    folder = cache / f"story-{_fingerprint()}"
    if not folder.exists():
        _keep(tell(data.read(data.wheel(cache))), folder)
    return Story(
        model=LinearModel.from_json((folder / "model.json").read_text()),
        reference=pq.read_table(folder / "reference.parquet"),
        replay=pq.read_table(folder / "replay.parquet"),
        labels=pq.read_table(folder / "labels.parquet"),
    )


def _keep(made: Story, folder: Path) -> None:
    # Written aside and renamed: neither a killed run nor two at once leave half a story.
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    (unfinished / "model.json").write_text(made.model.to_json())
    pq.write_table(made.reference, unfinished / "reference.parquet")
    pq.write_table(made.replay, unfinished / "replay.parquet")
    pq.write_table(made.labels, unfinished / "labels.parquet")
    try:
        unfinished.replace(folder)
    except OSError:
        shutil.rmtree(unfinished)
        if not folder.exists():
            raise


def tell(census: data.Census) -> Story:
    """Splits, trains and predicts: from the raw tables to everything that is sent."""
    training, kept_back = split(census.year_2015)
    model = fit(training)
    reference = kept_back.append_column(PREDICTION, pa.array(model.probability(kept_back)))
    replay = data.with_times(census.later).append_column(
        PREDICTION, pa.array(model.probability(census.later))
    )
    sent = [*data.INPUTS, *data.PROTECTED, PREDICTION]
    return Story(
        model=model,
        reference=reference.select([*sent, data.LABEL]),
        replay=replay.select(["partner_inference_id", "inference_timestamp", *sent]),
        labels=labels_of(replay, census.later_labels),
    )


def labels_of(replay: pa.Table, later_labels: pa.Table) -> pa.Table:
    """The labels of the people to be replayed, a row a person in their order. Both tables must be in id
    order.
    """
    if not replay.column("id").equals(later_labels.column("id")):
        raise ValueError("the labels are not those of the people who are replayed")
    known = data.known_after(replay.column("inference_timestamp"), LABEL_DELAY_MONTHS)
    return pa.table(
        {
            "partner_inference_id": replay.column("partner_inference_id"),
            "ground_truth_timestamp": known,
            data.LABEL: later_labels.column(data.LABEL),
        }
    )


def _codes(people: pa.Table, name: str) -> pa.ChunkedArray:
    """An attribute's codes as text; ages by bands of five years, because the odds do not grow evenly with
    age.
    """
    column = people.column(name)
    if name != "AGEP":
        return column
    return pc.multiply(pc.divide(column, AGE_BAND_YEARS), AGE_BAND_YEARS).cast(pa.string())


def _six_digits(weight: float) -> float:
    if not math.isfinite(weight):
        raise ValueError(f"the model did not converge: a weight is {weight}")
    return round(weight, 6)


def _fingerprint() -> str:
    """Changes with the data, with this code and with the library that trains: a stale cache is never used."""
    parts = [data.WHEEL_SHA256, version("scikit-learn")]
    parts += [Path(module).read_text() for module in (__file__, data.__file__)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

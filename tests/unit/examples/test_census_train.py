"""The census model: learns, predicts alike each time, and travels as JSON."""

import numpy as np
import pyarrow as pa
import pytest
from examples_people import people
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from examples.census import data, train


@pytest.fixture(scope="module")
def census() -> data.Census:
    later = people(300, 2016, first_id=2000, seed=2)
    return data.Census(people(2000, 2015), later.drop_columns([data.LABEL]), later.select(["id", data.LABEL]))


@pytest.fixture(scope="module")
def story(census: data.Census) -> train.Story:
    return train.tell(census)


def test_the_half_it_learns_from_and_the_reference_share_nobody(census: data.Census) -> None:
    training, reference = train.split(census.year_2015)
    assert training.num_rows + reference.num_rows == census.year_2015.num_rows
    assert set(training.column("id").to_pylist()).isdisjoint(reference.column("id").to_pylist())


def test_it_tells_the_employed_from_the_others(census: data.Census, story: train.Story) -> None:
    scores = story.replay.column(train.PREDICTION).to_numpy()
    assert roc_auc_score(census.later_labels.column(data.LABEL).to_numpy(), scores) > 0.8


def test_it_is_the_same_each_time_and_through_json(census: data.Census, story: train.Story) -> None:
    again = train.tell(census)
    assert again.model == story.model
    assert train.LinearModel.from_json(story.model.to_json()) == story.model
    assert again.replay.equals(story.replay)


def test_it_is_not_shown_what_it_must_not_know(story: train.Story) -> None:
    assert set(story.model.weights) == set(data.INPUTS)


def test_its_prediction_is_the_logistic_function_of_the_weights() -> None:
    model = train.LinearModel(0.5, {"AGEP": {"40": 1.0}, "MAR": {"1": -2.0}})
    rows = pa.table({"AGEP": [44, 45, 44], "MAR": ["1", "1", "never seen"]})
    expected = [1 / (1 + np.exp(-odds)) for odds in (0.5 + 1 - 2, 0.5 - 2, 0.5 + 1)]
    assert model.probability(rows) == pytest.approx(expected, abs=1e-6)


@given(age=st.integers(0, 99))
def test_every_prediction_is_a_probability(story: train.Story, age: int) -> None:
    row = people(1, 2016).set_column(2, "AGEP", pa.array([age]))
    (probability,) = story.model.probability(row)
    assert 0 <= probability <= 1


def test_labels_travel_with_the_reference_and_not_with_the_replay(story: train.Story) -> None:
    assert data.LABEL in story.reference.column_names
    assert data.LABEL not in story.replay.column_names
    assert {"partner_inference_id", "inference_timestamp"} <= set(story.replay.column_names)
    assert story.labels.column_names == ["partner_inference_id", "ground_truth_timestamp", data.LABEL]
    assert story.labels.column(0).equals(story.replay.column("partner_inference_id"))

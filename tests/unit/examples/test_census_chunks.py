"""The story's chunks: cut in order, a week each, labels five weeks late, and what is true of them."""

from datetime import UTC, datetime, timedelta

import examples_people
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from examples.census import data, train
from examples.census.story import chunks


def story(rows: int = 25) -> train.Story:
    people = examples_people.people(rows, 2016)
    model = train.LinearModel(-1.0, {"AGEP": {"20": 3.0, "40": 2.0}})
    predicted = data.with_times(people).append_column(train.PREDICTION, pa.array(model.probability(people)))
    labels = people.select(["id", data.LABEL])
    return train.Story(model, people, predicted, train.labels_of(predicted, labels))


def test_every_person_is_in_one_chunk_in_the_order_of_the_file() -> None:
    made, told = list(chunks.chunks(story(), rows=10)), story()
    assert [chunk.rows.num_rows for chunk in made] == [10, 10, 5]
    ids = pa.concat_tables([chunk.rows for chunk in made]).column("partner_inference_id")
    assert ids.equals(told.replay.column("partner_inference_id"))
    assert all(
        chunk.rows["partner_inference_id"].equals(chunk.labels["partner_inference_id"]) for chunk in made
    )


def test_a_chunk_is_a_week_whose_last_five_minutes_are_not_empty() -> None:
    second = list(chunks.chunks(story(9000), rows=4500))[1]
    stamps = second.rows.column("inference_timestamp")
    assert second.start == pc.min(stamps).as_py() == datetime(2016, 1, 11, tzinfo=UTC)
    assert second.end - timedelta(minutes=5) < pc.max(stamps).as_py() < second.end


def test_labels_become_known_five_weeks_after_their_week() -> None:
    first = next(chunks.chunks(story(), rows=10))
    assert set(first.labels.column("ground_truth_timestamp").to_pylist()) == {
        datetime(2016, 2, 15, tzinfo=UTC)
    }
    assert first.known == datetime(2016, 2, 15, tzinfo=UTC)


def test_the_truth_is_that_of_the_rows() -> None:
    people = pa.table({train.PREDICTION: [0.1, 0.6, 0.4, 0.9], "RELP": ["0", "16", "17", "1"]})
    truth = chunks.truth_of(people, np.array([0, 0, 1, 1]))
    assert (truth.auc, truth.accuracy, truth.employed, truth.in_quarters) == (0.75, 0.5, 0.5, 0.5)


def test_of_each_group_the_share_found_is_that_of_its_people_with_a_job() -> None:
    people = pa.table({train.PREDICTION: [0.9, 0.1, 0.9, 0.9, 0.1], "SEX": ["1", "1", "2", "2", "3"]})
    found = chunks.found_by_group(people, np.array([1, 1, 0, 1, 0]), "SEX")
    assert found == {"1": 0.5, "2": 1.0}


def test_the_bound_of_a_collapse_lies_where_resampling_says() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 1000)
    scores = np.round(1 / (1 + np.exp(-(labels + rng.normal(size=1000)))), 6)
    people = pa.table({train.PREDICTION: scores, "RELP": ["0"] * 1000})
    truth = chunks.truth_of(people, labels)
    drawn = [rng.integers(0, 1000, 1000) for _ in range(60)]
    resampled = np.std([chunks.truth_of(people.take(pa.array(d)), labels[d]).auc for d in drawn])
    assert truth.auc - chunks.least_auc(truth, 1000) == pytest.approx(chunks.SURE * resampled, rel=0.3)

"""The replay: each month once, in order, nothing left over."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from examples_people import people

from examples.census import data, replay, train


def test_the_months_hold_every_row_once_and_in_order() -> None:
    rows = data.with_times(pa.concat_tables([people(1200, 2016), people(700, 2017, first_id=1200)]))
    months = list(replay.months(rows))
    names = [f"{year}-{month:02}" for year in (2016, 2017) for month in range(1, 13)]
    assert [month.name for month in months] == names
    assert pa.concat_tables([month.rows for month in months]).equals(rows)
    for month in months:
        stamps = month.rows.column("inference_timestamp").to_pylist()
        assert {(stamp.year, stamp.month) for stamp in stamps} == {(month.start.year, month.start.month)}


def test_a_month_without_rows_is_no_month() -> None:
    rows = data.with_times(people(2, 2016))  # the first half and the second half of the year begin with a row
    assert [month.start for month in replay.months(rows)] == [
        datetime(2016, 1, 1, tzinfo=UTC),
        datetime(2016, 7, 1, tzinfo=UTC),
    ]


def test_labels_come_three_months_after_their_month_and_the_last_ones_never() -> None:
    later = data.with_times(people(1200, 2016))
    labels = train.labels_of(later, later.select(["id", data.LABEL]))
    monthly = list(replay.months(later))
    before, sent = None, []
    for month in monthly:
        known = replay.known_by(labels, before, month.end)
        sent.append(known.num_rows)
        due = [] if month.start.month <= 3 else monthly[month.start.month - 4].rows.column("id").to_pylist()
        ids = later.filter(pc.is_in(later.column("partner_inference_id"), known.column(0))).column("id")
        assert ids.to_pylist() == due
        before = month.end
    assert sum(sent) == sum(month.rows.num_rows for month in monthly[:9])


def test_labels_of_other_people_are_refused() -> None:
    later = data.with_times(people(10, 2016))
    with pytest.raises(ValueError, match="labels"):
        train.labels_of(later, people(10, 2016, first_id=1).select(["id", data.LABEL]))

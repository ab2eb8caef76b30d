"""A question about performance says what it means, and one that makes no sense is refused by parameter."""

import re
from datetime import UTC, datetime

import pytest

from modelwarden_server.query.performance.fair_room import question_of
from modelwarden_server.query.performance.question import parse_question
from modelwarden_server.query.request import QueryError


def test_a_question_is_read_as_it_is_put():
    asked = parse_question(
        {
            "start": "2026-03-01T00:00:00Z",
            "end": "2026-03-02T01:00:00+01:00",
            "rollup": "hour",
            "threshold": "0.37",
            "class": "p",
            "filter": '[{"property": "age", "comparator": "gt", "value": 3}]',
        }
    )
    assert (asked.start, asked.end) == (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    assert (asked.threshold, asked.class_, asked.rollup) == (0.37, "p", "hour")
    assert (asked.filter[0].property, asked.filter[0].value) == ("age", 3)
    assert asked.whole_slices
    assert not parse_question({"start": "2026-03-01T00:00:01Z"}).whole_slices


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"thresold": "1"}, "'thresold' is no parameter"),
        ({"threshold": "2"}, "threshold: must be a number from 0 to 1"),
        ({"threshold": "half"}, "threshold: must be a number from 0 to 1"),
        ({"threshold": "nan"}, "threshold: must be a number from 0 to 1"),
        ({"start": "yesterday"}, "start: must be an ISO 8601 time"),
        ({"start": "2026-03-02T00:00:00Z", "end": "2026-03-02T00:00:00Z"}, "end: must be after start"),
        ({"attribute": "sex", "segment": "old"}, "segment: ask for a segment or for the groups"),
        ({"filter": "{}"}, "filter: must be a JSON list"),
        ({"filter": "[" + ",".join(['{"property":"a","comparator":"eq"}'] * 51) + "]"}, "more than 50"),
        ({"rollup": "week"}, "rollup: must be one of hour"),
        ({"batch_id": "b1", "rollup": "day"}, "batch_id: a batch has no times"),
        ({"batch_id": "b1", "end": "2026-03-02T00:00:00Z"}, "batch_id: a batch has no times"),
        ({"filter": '[{"propety": "age"}]'}, "filter: must be a JSON list"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(asked, why):
    with pytest.raises(QueryError, match=re.escape(why)):
        parse_question(asked)


def test_a_plus_that_came_as_a_blank_is_read_and_what_is_empty_is_nothing():
    given = {
        "attribute": "sex",
        "start": "2026-03-01T01:00:00 01:00",
        "end": "",
        "threshold": "",
        "filter": "",
    }
    for asked in (parse_question(given), question_of(given, [])):
        assert (asked.start, asked.end) == (datetime(2026, 3, 1, tzinfo=UTC), None)
        assert (asked.threshold, asked.filter) == (None, ())

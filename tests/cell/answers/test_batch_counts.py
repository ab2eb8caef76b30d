"""Batches of a batch model are slices of their own: exact, once, across restarts and references."""

import contextlib
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from query_rooms import DAY, MONITORING, Profiles, inferences, open_query_rooms, people, profile_of, until

from modelwarden_server.query.folding import Pace
from modelwarden_server.query.status import DriftWatch, Rules
from modelwarden_server.store.batches import Batch

REFERENCES = {"a" * 64: profile_of(people(3000)), "b" * 64: profile_of(people(3000, seed=8))}
SOON = Pace(persist_seconds=0.01, compact_files=2)


@contextlib.contextmanager
def opened(folder, name="a" * 64):
    rooms = open_query_rooms(folder, SOON, Profiles(name, REFERENCES), by_batch=True)
    found = next(rooms)
    until(lambda: found.folder_of_partials.live is not None)
    yield found
    assert next(rooms, None) is None


def by_batch(rooms, **more) -> tuple[str, dict[str, float]]:
    found = rooms.ask(properties=["age", "town"], rollup="batch_id", **more)
    scores = {
        f"{row['rollup']} {name}": row[name] for row in found["query_result"] for name in ("age", "town")
    }
    return found["computed_from"], scores


def exact(rooms) -> dict[str, float]:
    """The same from the rows: a filter that all rows pass rules the partials out."""
    everyone = [{"property": "age", "comparator": "gte", "value": 0}]
    way, found = by_batch(rooms, target={"source": "inference", "filter": everyone})
    assert way == "rows"
    return found


def test_batches_are_counted_once_whatever_restarts(tmp_path):
    for n in range(2):
        with opened(tmp_path) as rooms:
            for part in range(2):
                times = np.linspace(0, 400 * DAY, 300)
                people_of = people(300, seed=10 * n + part)
                rooms.store(inferences(people_of, times, first_id=1000 * (2 * n + part)))
            way, found = by_batch(rooms)
            assert way == "partials"
            assert found == pytest.approx(exact(rooms))
            assert rooms.folder_of_partials.live.batches.totals("b1")[0] == 300 * (n + 1)
    with opened(tmp_path, "b" * 64) as rooms:
        way, found = by_batch(rooms)
        assert way == "partials"
        assert found == pytest.approx(exact(rooms))


def test_names_that_were_lost_make_the_counts_be_made_anew(tmp_path):
    with opened(tmp_path) as rooms:
        rooms.store(inferences(people(300), np.linspace(0, DAY, 300)))
        _, wanted = by_batch(rooms)
    (lost,) = tmp_path.rglob("batches/names.json")
    lost.unlink()
    with opened(tmp_path) as rooms:
        way, found = by_batch(rooms)
        assert (way, len(found)) == ("partials", 4)
        assert found == pytest.approx(wanted)
        assert rooms.folder_of_partials.live.batches.totals("b9").sum() == 0


def test_the_status_judges_the_batch_that_was_closed_last(tmp_path):
    with opened(tmp_path) as rooms:
        for n in range(5):
            data = people(800, seed=50 + n, older=25.0 if n == 4 else 0.0)
            rows = inferences(data, np.full(800, 400 * DAY * (5 - n)), first_id=1000 * n)
            place = rows.column_names.index("batch_id")
            rooms.store(rows.set_column(place, rows.schema.field(place), pa.array([f"run-{n}"] * 800)))
        assert rooms.folder_of_partials.reach(120)
        closed = [batch(f"run-{n}", n) for n in (4, 3, 2, 1, 0)]
        watch, rules = (
            DriftWatch(clock=lambda: 0.0),
            Rules(MONITORING.model_copy(update={"drift_threshold": None})),
        )
        live = rooms.folder_of_partials.live
        assert watch.verdicts(live, rules, []) is None
        calm = watch.verdicts(live, rules, closed[1:])
        assert (calm.drift.batch_id, calm.quality.batch_id, calm.drift.rows) == ("run-3", "run-3", 800)
        assert (calm.drift.drifted, calm.quality.raised, calm.quality.volume.least is None) == (0, 0, False)
        found = watch.verdicts(live, rules, closed)
        assert (found.drift.batch_id, found.drift.window_start, found.drift.window_end) == (
            "run-4",
            closed[0].created_at,
            closed[0].closed_at,
        )
        assert [(f.name, f.persistent) for f in found.drift.features if f.drifted] == [("age", False)]


def batch(name: str, day: int) -> Batch:
    opened_at = datetime(2026, 5, 1 + day, tzinfo=UTC)
    return Batch(name, 800, opened_at, opened_at, 800, opened_at + timedelta(hours=2))

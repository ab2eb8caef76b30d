"""Batches of a batch model are slices of their own: exact, once, across restarts and references."""

import contextlib

import numpy as np
import pytest
from query_rooms import DAY, Profiles, inferences, open_query_rooms, people, profile_of, until

from modelwarden_server.query.folding import Pace

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
    for file in tmp_path.glob("tables/partials/*/*/batches/names.json"):
        file.unlink()
    with opened(tmp_path) as rooms:
        way, found = by_batch(rooms)
        assert (way, len(found)) == ("partials", 4)
        assert found == pytest.approx(wanted)
        assert rooms.folder_of_partials.live.batches.totals("b9").sum() == 0

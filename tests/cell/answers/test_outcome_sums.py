"""Sums of outcomes are a direct count's: late, early and repeated labels, restarts, kills, retired rows."""

import contextlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from outcome_rooms import NOON_SLICE, OutcomeRooms, definition, open_outcome_rooms

from modelwarden_server.query.performance.following import DEFAULT_PACE, Pace
from modelwarden_server.schema.digest import id_keys

SOON = Pace(persist_seconds=0.01)
DAY = 86_400
TURNS = 30 if os.environ.get("MODELWARDEN_LONG") == "1" else 3
OLD = {"name": "old", "where": [{"attribute": "age", "comparator": "gte", "values": ["60"]}]}


@contextlib.contextmanager
def opened(folder: Path, before: OutcomeRooms | None = None, pace=DEFAULT_PACE, **more):
    rooms = open_outcome_rooms(folder, pace, **more)
    found = next(rooms)
    if before is not None:
        found.rows, found.said = before.rows, before.said
    yield found
    assert next(rooms, None) is None


@pytest.fixture
def live(tmp_path):
    with opened(tmp_path) as rooms:
        yield rooms


def test_labels_late_early_again_and_older_count_exactly_once(live):
    live.label([f"id-{n}" for n in range(90, 120)], [1] * 30)
    first, later = live.send(0, 100), live.send(100, 50, seconds=3 * DAY)
    live.check()
    live.label(first[:60], [0, 1] * 30, arrival=DAY)
    live.check()
    live.label(first[:20] + later[:5], [1] * 20 + [None] * 5, arrival=2 * DAY)
    live.label(first[:20], [0] * 20, arrival=DAY / 2)
    live.label(["id-unknown"], [1])
    live.check()
    block = live.window(NOON_SLICE + 3 * 288, NOON_SLICE + 3 * 288 + 1)
    assert block[0] == 50


def test_random_histories_with_restarts_and_lost_memory_give_the_sums_of_a_direct_count(tmp_path):
    rng = np.random.default_rng(11)
    before, sent = None, 0
    for turn in range(TURNS):
        with opened(tmp_path, before, SOON if turn % 2 else DEFAULT_PACE) as rooms:
            for _ in range(2):
                many = int(rng.integers(1, 40))
                if rng.random() < 0.5:
                    rooms.send(sent, many, seconds=float(rng.integers(0, 5)) * 300)
                    sent += many
                ids = [f"id-{n}" for n in rng.integers(0, sent + 20, many)]
                ids = list(dict.fromkeys(ids))
                rooms.label(ids, rng.integers(0, 2, len(ids)).tolist(), arrival=float(rng.integers(0, 9)))
                if rng.random() < 0.5:
                    rooms.check()
            rooms.check()
            before = rooms
            if turn % 3 == 1:  # killed: what was not persisted is lost, and nothing is persisted at the end
                rooms.follower._keep = lambda: None


@pytest.mark.parametrize("lost", ["rows", "labels"])
def test_an_index_that_is_lost_is_made_anew_from_the_tables_without_counting_again(tmp_path, lost):
    with opened(tmp_path, pace=SOON) as rooms:
        ids = rooms.send(0, 30)
        rooms.label(ids[:20], [1] * 20, arrival=1.0)
        rooms.check()
    for folder in tmp_path.glob(f"outcomes/*/{lost}"):
        shutil.rmtree(folder)
    with opened(tmp_path, rooms) as again:
        again.label(ids[:10], [0] * 10, arrival=2.0)
        again.check()


def test_labels_of_retired_rows_still_count_also_after_what_is_counted_has_changed(tmp_path):
    with opened(tmp_path) as rooms:
        ids = rooms.send(0, 60)
        rooms.send(60, 40, seconds=DAY)
        rooms.label(ids[:30], [1] * 30, arrival=1.0)
        rooms.check()
        rooms.retire(min(f.version for f in rooms.table.files))
        rooms.label(ids[20:50], [0] * 30, arrival=2.0)
        rooms.check()
        rooms.wanted[0] = definition(threshold=0.12345)
        rooms.label(ids[50:], [1] * 10, arrival=3.0)
        rooms.send(100, 10)  # of the sealed slice, but new
        rooms.check()
    with opened(tmp_path, rooms, first=definition(threshold=0.12345)) as again:
        again.label(ids[:5], [0] * 5, arrival=4.0)
        again.check()


def test_a_new_segment_is_counted_from_the_rows_that_are_there(tmp_path):
    with opened(tmp_path) as rooms:
        ids = rooms.send(0, 100)
        rooms.label(ids[:50], [1] * 50)
        rooms.check()
        rooms.wanted[0] = definition(segments=[OLD])
        rooms.check()
        assert rooms.follower.live.space.populations[-1] == (None, 0, "old")


def test_a_threshold_on_the_grid_changes_nothing_that_is_counted(live):
    live.send(0, 10)
    live.check()
    before = live.follower.live
    live.wanted[0] = definition(threshold=0.9)
    live.check()
    assert live.follower.live is before
    assert before.definition.threshold == 0.9


def test_sums_by_batch_of_a_batch_model(tmp_path):
    with opened(tmp_path, by_batch=True) as rooms:
        first, _ = rooms.send(0, 30, batch="jan"), rooms.send(30, 20, batch="feb")
        rooms.label(first[:10], [1] * 10)
        rooms.check()
    with opened(tmp_path, rooms, by_batch=True) as rooms:
        rooms.send(50, 5, batch="mar")
        rooms.check()
        live = rooms.follower.live
        assert [live.batch(name)[0] for name in ("jan", "feb", "mar")] == [30, 20, 5]
        assert live.batch("apr") is None


def test_a_forgotten_id_is_no_longer_known_and_stays_counted(live):
    ids = live.send(0, 10)
    live.check()
    live.follower.forget(id_keys(ids[:1]))
    live.label(ids[:1], [1], arrival=1.0)
    live.said.clear()
    live.check()


def test_settled_versions_are_those_on_the_disk(tmp_path):
    with opened(tmp_path, pace=Pace(persist_seconds=1e9)) as rooms:
        assert rooms.follower.reach(120)
        rooms.send(0, 10)
        rooms.check()
        assert rooms.follower.settled().inferences < rooms.table.version
    with opened(tmp_path, rooms) as again:
        again.check()
        assert again.follower.settled().inferences == again.table.version

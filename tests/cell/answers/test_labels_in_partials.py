"""A label counts in the slice of its inference: once, whichever came first, and the newest of several."""

import contextlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from query_rooms import DAY, Profiles, inferences, open_query_rooms, people, profile_of, until

from modelwarden_server.query.folding import DEFAULT_PACE, Pace
from modelwarden_server.query.unwanted import Unwanted
from modelwarden_server.schema.digest import id_keys
from modelwarden_server.store.rewriting import rows_without

REFERENCE = people(2000)
SOON = Pace(persist_seconds=0.01)


@contextlib.contextmanager
def opened(folder: Path, pace=DEFAULT_PACE, known=True):
    profiles = Profiles("a" * 64, {"a" * 64: profile_of(REFERENCE)}) if known else None
    rooms = open_query_rooms(folder, pace, profiles)
    yield next(rooms)
    assert next(rooms, None) is None


@pytest.fixture
def live(tmp_path):
    with opened(tmp_path) as rooms:
        until(lambda: rooms.folder_of_partials.live is not None)
        yield rooms


def send(rooms, first: int, many: int, at: float = 0.0) -> list[str]:
    rooms.store(inferences(people(many, seed=first), np.full(many, at), first_id=first))
    return [f"id-{first + n}" for n in range(many)]


def labels(rooms, start: int = -(2**31), end: int = 2**31) -> tuple[int, int, int]:
    """Labelled rows, those with 0 and those with 1, in a span of slices."""
    assert rooms.folder_of_partials.reach(120)
    live = rooms.folder_of_partials.live
    totals = live.window(start, end)
    cells = live.space.cells_of("paid", totals)
    space = live.profile.column("paid").cells
    at = np.searchsorted(space.edges, [0.0, 1.0], side="right")
    return int(totals[live.space.labelled]), int(cells[at[0]]), int(cells[at[1]])


def test_labels_after_their_inferences_count_in_their_slices(live):
    early, late = send(live, 0, 30), send(live, 100, 20, at=3 * DAY)
    live.label(early[:10] + late[:5], [1] * 10 + [0] * 5, arrival=90 * DAY)
    noon = 1772366400 // 300
    assert labels(live) == (15, 5, 10)
    assert labels(live, noon, noon + 1) == (10, 0, 10)
    assert labels(live, noon + 3 * 288, noon + 3 * 288 + 1) == (5, 5, 0)


def test_labels_before_their_inferences_wait_and_count_once(live):
    live.label([f"id-{n}" for n in range(40)], [1] * 40)
    assert labels(live) == (0, 0, 0)
    send(live, 0, 30)
    assert labels(live) == (30, 0, 30)
    send(live, 30, 20)
    assert labels(live) == (40, 0, 40)


def test_the_newest_label_by_arrival_counts_and_takes_the_older_ones_count_away(live):
    ids = send(live, 0, 10)
    live.label(ids, [0] * 10, arrival=10.0)
    assert labels(live) == (10, 10, 0)
    live.label(ids[:4], [1] * 4, arrival=20.0)
    assert labels(live) == (10, 6, 4)
    live.label(ids[:2], [0] * 2, arrival=5.0)
    assert labels(live) == (10, 6, 4), "an older label that comes later changes nothing"
    live.label([ids[5], ids[5]], [0, 1], arrival=30.0)
    assert labels(live) == (10, 5, 5), "of two in one commit the last counts"


def test_the_same_label_sent_again_changes_nothing(live):
    ids = send(live, 0, 10)
    for arrival in (10.0, 20.0, 20.0):
        live.label(ids, [1] * 10, arrival=arrival)
        assert labels(live) == (10, 0, 10)


def test_a_restart_at_any_point_counts_labels_once(tmp_path):
    with opened(tmp_path, SOON) as rooms:
        until(lambda: rooms.folder_of_partials.live is not None)
    for n in (0, 100, 200):
        with opened(tmp_path, SOON) as rooms:
            ids = send(rooms, n, 50)
            rooms.label([*ids[:20], f"id-{n + 150}"], [1] * 21, arrival=n)
            until(lambda rooms=rooms: rooms.folder_of_partials.live is not None)
            rooms.label(ids[:5], [0] * 5, arrival=n + 1)
    with opened(tmp_path, SOON) as rooms:
        until(lambda: rooms.folder_of_partials.live is not None)
        total, zeros, ones = labels(rooms)
        assert (total, zeros + ones, zeros) == (60, 60, 15)


def test_what_the_index_lacks_after_a_crash_comes_from_the_table_without_being_counted_again(tmp_path):
    import shutil

    with opened(tmp_path, SOON) as rooms:
        until(lambda: rooms.folder_of_partials.live is not None)
        ids = send(rooms, 0, 10)
        rooms.label(ids, [0] * 10, arrival=1.0)
        assert labels(rooms) == (10, 10, 0)
    (labelled,) = tmp_path.rglob("labels")
    for folder in (labelled, tmp_path / "index" / "slices"):
        shutil.rmtree(folder)
    with opened(tmp_path, SOON) as rooms:
        until(lambda: rooms.folder_of_partials.live is not None)
        rooms.label(ids[:3], [1] * 3, arrival=2.0)
        assert labels(rooms) == (10, 7, 3)


def test_another_profile_counts_all_labels_anew(live):
    ids = send(live, 0, 30)
    live.label(ids[:12], [1] * 12)
    assert labels(live) == (12, 0, 12)
    live.compare_with(people(2000, seed=8), "b" * 64)
    assert labels(live) == (12, 0, 12)
    live.label(ids[:3], [0] * 3, arrival=9.0)
    assert labels(live) == (12, 3, 9)


def indexed(folder: Path, *names: str) -> list[str]:
    """Files of indexes that hold the key of one of these ids."""
    keys = [key.tobytes() for key in id_keys(list(names))]
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    return [path.name for path in files if any(key in path.read_bytes() for key in keys)]


def forget(rooms, *names: str) -> None:
    """What maintenance does once the rows are out of the tables."""
    for table in (rooms.table, rooms.truth):
        for file in table.files:
            table.replace(rows_without(table, file, lambda batch: without(batch, names)), {})
    rooms.folder_of_partials.forget(id_keys(list(names)))


def without(batch: pa.RecordBatch, names: tuple[str, ...]) -> pa.RecordBatch:
    return batch.filter(pc.invert(pc.is_in(batch.column("partner_inference_id"), pa.array(names))))


@pytest.mark.parametrize("pace", [DEFAULT_PACE, SOON], ids=["not kept yet", "kept"])
def test_no_index_holds_an_id_that_was_forgotten_and_its_counts_stay(tmp_path, pace):
    with opened(tmp_path, pace) as rooms:
        until(lambda: rooms.folder_of_partials.live is not None)
        ids = send(rooms, 0, 30)
        rooms.label([*ids[:10], "waits"], [1] * 11)
        assert labels(rooms) == (10, 0, 10)
        forget(rooms, "id-3", "id-20", "waits")
        assert indexed(tmp_path, "id-3", "id-20", "waits") == []
        assert indexed(tmp_path, "id-4") != []
        assert labels(rooms) == (10, 0, 10)
        rooms.label(["id-4", "id-21"], [0, 0], arrival=5.0)
        assert labels(rooms) == (11, 2, 9)
    with opened(tmp_path, pace) as rooms:
        until(lambda: rooms.folder_of_partials.live is not None)
        assert labels(rooms) == (11, 2, 9)
        assert indexed(tmp_path, "id-3", "id-20", "waits") == []


def test_forgetting_is_asked_again_while_there_are_no_partials_to_forget_in(tmp_path):
    with opened(tmp_path) as rooms:
        until(lambda: rooms.folder_of_partials.live is not None)
    rooms.folder_of_partials._live = None  # as it is until the first has caught up
    unwanted = Unwanted(seconds=0.01)
    with pytest.raises(OSError, match="busy"):
        unwanted.ask(id_keys(["a"]), lambda: None)
    asked = []
    unwanted.attend(asked.append)
    assert asked == [], "who gave up asks again himself"
    with pytest.raises(OSError, match="no partials yet"):
        unwanted.ask(id_keys(["a"]), lambda: unwanted.attend(rooms.folder_of_partials._drop))


def test_a_damaged_index_of_labels_is_made_anew_from_the_tables(tmp_path):
    with opened(tmp_path, SOON) as rooms:
        until(lambda: rooms.folder_of_partials.live is not None)
        ids = send(rooms, 0, 300)
        rooms.label(ids, [0] * 300, arrival=1.0)
        assert labels(rooms) == (300, 300, 0)
        forget(rooms, "id-299")  # brings the indexes to the disk
    runs = list(tmp_path.rglob("*.run"))
    assert {run.parent.name for run in runs} == {"labels", "slices"}
    for run in runs:
        content = bytearray(run.read_bytes())
        content[-600] ^= 1
        run.write_bytes(content)
    with opened(tmp_path, SOON) as rooms:
        until(lambda: rooms.folder_of_partials.live is not None)
        rooms.label(ids[:299], [1] * 299, arrival=2.0)
        assert labels(rooms) == (300, 1, 299)

"""Which stored rows are explained, each once, whatever happens to those who explain them."""

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from explained_rows import NAMES, ExplainedRows, answer_to, expected_values, explained_row, sent, stream
from query_rooms import people
from served_cell import INFERENCES, served

from modelwarden.resources.cell import ExplainabilitySettings
from modelwarden_server.apps import furnish
from modelwarden_server.cell import Cell
from modelwarden_server.explanations.answer import BAD_ROW, AnswerError, read_answer
from modelwarden_server.explanations.feed import Bounds, Tally
from modelwarden_server.explanations.room import ExplanationRoom
from modelwarden_server.explanations.tasks import LEASE_SECONDS, NO_ANSWER, REST_SECONDS
from modelwarden_server.store import upkeep
from modelwarden_server.store.delta import AppendTable, Replacement


@pytest.fixture
def rows(tmp_path: Path) -> ExplainedRows:
    return ExplainedRows(tmp_path)


def test_every_stored_row_is_explained_once_with_its_own_values(rows: ExplainedRows) -> None:
    for part in range(3):
        rows.store(100, at=part)
    rows.explain_all()
    assert rows.values() == expected_values(rows)
    assert len(rows.ids()) == 300
    tally = rows.feed.tally()
    assert (tally.explained, tally.waiting, tally.failed, tally.skipped) == (300, 0, 0, 0)
    assert not rows.feed.queue.table.files


def test_no_row_is_counted_twice_while_its_answer_is_brought_into_the_table(
    rows: ExplainedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.store(300)
    rows.work()
    task = rows.lease()
    seen: list[Tally] = []
    commit = AppendTable.append

    def watched(table: AppendTable, *rest: Any) -> Any:
        done = commit(table, *rest)
        seen.append(rows.feed.tally())
        return done

    monkeypatch.setattr(AppendTable, "append", watched)
    rows.bring(task)
    rows.work()
    assert [tally.chosen for tally in seen] == [300] * len(seen)
    assert seen
    assert rows.feed.tally().explained == task.rows.num_rows


def test_the_same_share_of_ids_is_chosen_however_rows_come(tmp_path: Path) -> None:
    one, many = ExplainedRows(tmp_path / "one", share=0.25), ExplainedRows(tmp_path / "many", share=0.25)
    one.store(600)
    for part in range(4):
        many.store(150, at=part)
    one.explain_all()
    many.explain_all()
    assert one.ids() == many.ids()
    assert 110 < len(one.ids()) < 190


def test_rows_that_came_before_it_was_turned_on_are_passed_over(rows: ExplainedRows) -> None:
    rows.on = False
    rows.store(100)
    rows.work()
    rows.on = True
    later = rows.store(50, at=60)
    rows.explain_all()
    assert rows.ids() == sorted(later)


def test_turned_off_what_waits_is_counted_as_skipped(rows: ExplainedRows) -> None:
    rows.store(300)
    rows.work()
    rows.bring(rows.lease())
    leased = rows.lease()
    rows.work()
    rows.on = False
    rows.work()
    tally = rows.feed.tally()
    assert (tally.chosen, tally.waiting) == (300, 0)
    assert tally.explained + tally.skipped == 300
    assert not rows.bring(leased)
    assert rows.feed.board.late == leased.rows.num_rows


def test_an_answer_that_comes_twice_counts_once(rows: ExplainedRows) -> None:
    rows.store(20)
    rows.work()
    task = rows.lease()
    assert rows.bring(task)
    assert not rows.bring(task)
    rows.work()
    assert not rows.bring(task)
    assert rows.feed.board.late == 40
    assert len(rows.ids()) == 20


def test_a_piece_is_given_to_one_holder_at_a_time(rows: ExplainedRows) -> None:
    rows.store(20)
    rows.work()
    rows.lease("one")
    assert rows.feed.board.lease("other") is None


def test_a_holder_that_dies_is_replaced_when_its_time_is_over(rows: ExplainedRows) -> None:
    rows.store(20)
    rows.work()
    dead = rows.lease("dead")
    rows.now += LEASE_SECONDS + 1
    again = rows.lease("alive")
    assert again.ids.equals(dead.ids)
    assert rows.bring(again)
    rows.work()
    assert rows.values() == expected_values(rows)


def test_of_two_holders_of_a_piece_the_first_answer_counts_and_the_other_is_late(rows: ExplainedRows) -> None:
    rows.store(20)
    rows.work()
    slow = rows.lease("slow")
    rows.now += LEASE_SECONDS + 1
    quick = rows.lease("quick")
    assert rows.bring(slow)
    assert not rows.bring(quick)
    rows.work()
    assert rows.values() == expected_values(rows)
    assert rows.feed.board.late == 20


def test_after_a_crash_what_is_in_the_table_is_not_asked_again(rows: ExplainedRows) -> None:
    rows.store(300)
    rows.work()
    for _ in range(3):
        rows.bring(rows.lease())
        rows.work()
    done = set(rows.ids())
    assert 0 < len(done) < 300
    before = rows.feed.tally()
    rows.open()
    rows.work()
    assert rows.feed.tally() == before
    task = rows.lease()
    assert done.isdisjoint(task.ids.to_pylist())
    assert rows.bring(task)
    rows.explain_all()
    assert rows.values() == expected_values(rows)


def test_numbers_of_pieces_are_never_given_twice(rows: ExplainedRows) -> None:
    rows.store(10)
    rows.work()
    first = rows.lease()
    rows.open()
    rows.work()
    assert rows.lease().number > first.number
    assert not rows.bring(first)


def test_a_crash_between_the_two_tables_leaves_no_row_twice(
    rows: ExplainedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.store(30)
    rows.work()
    rows.bring(rows.lease())

    def crash(_self: AppendTable, _change: Replacement, _transactions: object) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(AppendTable, "replace", crash)
        with pytest.raises(OSError, match="killed"):
            rows.feed.attend()
    assert len(rows.ids()) == 30
    rows.open()
    assert rows.explain_all() == 0
    assert len(rows.ids()) == 30
    assert rows.feed.tally().chosen == 30


def test_forgotten_rows_are_gone_from_table_queue_and_pieces(rows: ExplainedRows) -> None:
    ids = rows.store(600)
    rows.work()
    rows.bring(rows.lease())
    rows.work()
    explained = rows.ids()
    held = rows.lease()
    answered = rows.lease()
    rows.bring(answered)
    ready = rows.feed.board.lease("other")
    assert ready is not None
    unwanted = {explained[0], held.ids[0].as_py(), answered.ids[0].as_py(), ready.ids[0].as_py(), ids[-1]}
    rows.forget(sorted(unwanted))
    rows.explain_all()
    assert set(rows.ids()) == set(ids) - unwanted
    left = {i for batch in rows.feed.queue.table.read(rows.feed.queue.table.files) for i in batch.column(0)}
    assert not left
    for path in rows.folder.rglob("*.parquet"):
        if path.parent.name.startswith("explanation"):
            known = pa.parquet.read_table(path, columns=["partner_inference_id"]).column(0)
            assert not pc.any(pc.is_in(known, pa.array(sorted(unwanted)))).as_py()


def test_a_disk_that_fails_while_rows_are_forgotten_leaves_no_row_twice(
    rows: ExplainedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = rows.store(20)
    rows.work()
    ids += rows.store(20, at=1)
    rows.work()
    assert len(rows.feed.queue.table.files) == 2
    unwanted = [ids[3], ids[33]]
    stage, calls = AppendTable.stage, []

    def failing(self: AppendTable, *given: object, **more: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            raise OSError("the disk fails")
        return stage(self, *given, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(AppendTable, "stage", failing)
        with pytest.raises(OSError, match="the disk fails"):
            rows.forget(unwanted)
    rows.forget(unwanted)
    rows.explain_all()
    assert rows.ids() == sorted(set(ids) - set(unwanted))


def test_what_a_holder_brings_after_rows_of_it_were_forgotten_is_late(rows: ExplainedRows) -> None:
    ids = rows.store(20)
    rows.work()
    task = rows.lease()
    rows.forget(ids[:3])
    assert not rows.bring(task)
    rows.explain_all()
    assert set(rows.ids()) == set(ids[3:])


def test_a_piece_that_fails_is_halved_until_the_row_is_found_that_cannot_be_explained(
    rows: ExplainedRows,
) -> None:
    ids = rows.store(32)
    bad = ids[7]
    while True:
        rows.work()
        task = rows.feed.board.lease("pod")
        if task is None:
            break
        if bad in task.ids.to_pylist():
            rows.feed.board.fail(task.number, "predict raised ZeroDivisionError", again=False)
        else:
            rows.bring(task)
    assert rows.ids() == sorted(ids)
    table = rows.table()
    failed = table.filter(pc.is_valid(table.column("failure")))
    assert failed.column("partner_inference_id").to_pylist() == [bad]
    assert failed.column("failure").to_pylist() == ["predict raised ZeroDivisionError"]
    assert (rows.feed.tally().explained, rows.feed.tally().failed) == (31, 1)


def test_a_holder_that_can_do_nothing_now_costs_no_attempt(rows: ExplainedRows) -> None:
    rows.store(5)
    rows.work()
    for _ in range(4):
        task = rows.lease()
        rows.feed.board.fail(task.number, "loading", again=True)
        assert rows.feed.board.lease("pod") is None
        rows.now += REST_SECONDS
    rows.explain_all()
    assert len(rows.ids()) == 5
    assert rows.feed.tally().failed == 0


def test_a_row_that_nobody_answers_in_time_fails_with_the_reason(rows: ExplainedRows) -> None:
    rows.store(1)
    rows.work()
    for _ in range(2):
        rows.lease()
        rows.now += LEASE_SECONDS + 1
    rows.work()
    assert rows.table().column("failure").to_pylist() == [NO_ANSWER]


def test_rows_that_break_the_form_fail_alone(rows: ExplainedRows) -> None:
    rows.store(4)
    rows.work()

    def odd(asked: pa.RecordBatch) -> bytes:
        found = [explained_row(row) for row in asked.to_pylist()]
        found[0]["values"] = [0.1, 0.2]
        found[1]["values"] = [float("inf"), 0.1, 0.1]
        found[2]["prediction"] = [float("nan")]
        return stream(found)

    rows.bring(rows.lease(), odd)
    rows.work()
    assert rows.table().column("failure").to_pylist() == [BAD_ROW] * 3 + [None]
    assert rows.feed.tally().failed == 3


def test_pieces_have_as_many_rows_as_take_some_seconds(rows: ExplainedRows) -> None:
    rows.store(1000)
    rows.work()
    first = rows.lease()
    rows.now += 2.0 * first.rows.num_rows
    rows.bring(first)
    assert rows.feed.board.rows_a_task == 5


def test_more_than_may_wait_is_skipped_the_oldest_first_that_nobody_has_begun(tmp_path: Path) -> None:
    rows = ExplainedRows(tmp_path, bounds=Bounds(rows=250))
    stored = []
    for part in range(6):
        stored.append(rows.store(100, at=part))
        rows.feed.queue._work()
    rows.work()
    tally = rows.feed.tally()
    assert (tally.skipped, tally.waiting) == (300, 300)
    rows.explain_all()
    assert set(rows.ids()) == set(stored[0] + stored[1] + stored[5])
    assert rows.feed.tally().chosen == 600


def test_explanations_of_retired_inferences_go_too(rows: ExplainedRows) -> None:
    rows.store(50)
    rows.explain_all()
    kept = rows.store(50, at=3600)
    rows.explain_all()
    rows.source.replace(Replacement([rows.source.files[0]], [], rows_change=True), {})
    rows.work()
    assert rows.ids() == sorted(kept)


def test_many_small_files_of_explanations_become_one(
    rows: ExplainedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "FEWEST", 4)
    for part in range(5):
        rows.store(1, at=part)
        rows.explain_all()
    assert len(rows.feed.table.files) < 3
    assert rows.values() == expected_values(rows)


def test_a_full_disk_keeps_answers_until_there_is_room(
    rows: ExplainedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.store(20)
    rows.work()
    rows.bring(rows.lease())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(AppendTable, "append", full)
        with pytest.raises(OSError, match="No space"):
            rows.feed.attend()
    rows.work()
    assert rows.values() == expected_values(rows)


def test_answers_are_only_of_the_rows_asked_for(rows: ExplainedRows) -> None:
    rows.store(20)
    rows.work()
    task = rows.lease()
    content = answer_to(task.rows.slice(1))
    for bad in (content, b"no arrow", stream([], inputs=["age"]), stream([], outputs=["nobody"])):
        with pytest.raises(AnswerError):
            read_answer(bad, task.rows, NAMES, 1 << 20)


def test_rows_are_taken_in_while_explanations_are_stuck(tmp_path: Path) -> None:
    stuck, begun = threading.Event(), threading.Event()

    def furnished(cell: Cell) -> object:
        explainability = ExplainabilitySettings(enabled=True)
        now = cell.settings.current
        enrichments = now.enrichments.model_copy(update={"explainability": explainability})
        cell.settings.current = now.model_copy(update={"enrichments": enrichments})
        return furnish(cell)

    def hang(*_: object) -> None:
        begun.set()
        assert stuck.wait(300)

    with served(tmp_path, furnished) as store:
        room = next(room for room in store.cell.rooms if isinstance(room, ExplanationRoom))
        assert room._feed is not None
        room._feed.board.add = hang  # type: ignore[method-assign]
        try:
            for part in range(5):
                body = [sent(row, f"{part}-{n}") for n, row in enumerate(people(20, seed=part).to_pylist())]
                answer = store.http.post(INFERENCES, json=body)
                assert answer.json()["counts"]["success"] == 20, answer.text
            assert begun.wait(120)
            assert store.cell.store.writer.flush(120)
            assert store.cell.store.tables.inferences.rows == 100
            assert store.http.post(f"{INFERENCES}/query", json={"select": [{"function": "count"}]}).json()
        finally:
            stuck.set()

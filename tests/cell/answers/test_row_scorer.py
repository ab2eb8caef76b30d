"""Every stored inference is scored once, whatever is killed, turned off, joined, forgotten or retired."""

from pathlib import Path

import numpy as np
import pytest
from crash_steps import STEPS, Step, crash_at
from query_rooms import NOON, until
from scored_rows import HASH, ScoredRows, during, scored_alone

from modelwarden_server.analysis.code_space import slice_of
from modelwarden_server.derived.scoring import rows_at_once
from modelwarden_server.log.segments import SegmentLog
from modelwarden_server.schema.compiled import EVENT_TIME, ID
from modelwarden_server.schema.digest import id_keys
from modelwarden_server.store.delta import Replacement
from modelwarden_server.store.listening import NEVER_ASKED
from modelwarden_server.store.rewriting import merge_files
from modelwarden_server.store.upkeep import KeepRules

NOON_SLICE = int(NOON.timestamp()) // 300


@pytest.fixture
def rows(tmp_path: Path) -> ScoredRows:
    return ScoredRows(tmp_path)


def counted(rows: ScoredRows) -> int:
    rows.scorer.counts.catch_up()
    return rows.space.told(rows.scorer.counts.window(0, 1 << 30)).rows


def test_rows_get_their_score_percentile_and_attributes_and_the_artefact_that_gave_them(
    rows: ScoredRows,
) -> None:
    ids = rows.store(300) + rows.store(20)
    rows.work()
    found, alone = rows.table(), scored_alone(rows)
    assert rows.ids() == sorted(ids)
    assert dict(zip(found[ID].to_pylist(), found["score"].to_pylist(), strict=True)) == alone
    assert set(found["artefact"].to_pylist()) == {HASH}
    percentile = found["percentile"].to_numpy()
    named = found["attributes"].to_pylist()
    assert all(named[i] for i in np.flatnonzero(percentile >= 95))
    assert not any(named[i] for i in np.flatnonzero(percentile < 95))


def test_counts_of_a_window_are_the_sums_over_its_rows(rows: ScoredRows) -> None:
    rows.store(200)
    rows.store(100, at=4000)
    rows.work()
    found = rows.table()
    slices = slice_of(found[EVENT_TIME])
    for low, high in ((NOON_SLICE, NOON_SLICE + 1), (NOON_SLICE, NOON_SLICE + 50), (0, 5)):
        inside = (slices >= low) & (slices < high)
        told = rows.space.told(rows.scorer.counts.window(low, high))
        percentile = found["percentile"].to_numpy()[inside]
        assert told.rows == inside.sum()
        assert told.beyond == (percentile >= 99).sum()
        assert sum(told.bins) == told.rows
        if told.rows:
            assert told.mean == pytest.approx(found["score"].to_numpy()[inside].mean(), abs=1e-5)
            assert told.bins == tuple(np.bincount(np.floor(percentile).astype(int), minlength=101))


def test_a_batch_models_rows_are_counted_by_batch(tmp_path: Path) -> None:
    rows = ScoredRows(tmp_path, by_batch=True)
    rows.store(101)
    rows.work()
    of_batch = {name: rows.space.told(rows.scorer.counts.batch(name)).rows for name in ("b1", "b2", "none")}
    assert of_batch == {"b1": 50, "b2": 51, "none": 0}
    rows.open()
    assert rows.space.told(rows.scorer.counts.batch("b2")).rows == 51


STEPS_HERE = [step for step in STEPS if step[0] is not SegmentLog]


@pytest.mark.parametrize("step", STEPS_HERE, ids=lambda step: step[1])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whatever_step_a_process_ends_at_each_row_is_scored_and_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Step, after: bool
) -> None:
    rows = ScoredRows(tmp_path)
    ids: list[str] = []
    for call in (1, 3):
        ids += rows.store(30, at=1000 * call)
        ids += rows.store(10, at=1000 * call + 1)
        crash_at(rows.work, monkeypatch, step, call, after=after)
        rows.open()
    rows.work()
    assert rows.ids() == sorted(ids)
    assert counted(rows) == len(ids)
    rows.open()
    rows.work()
    assert rows.ids() == sorted(ids)
    assert counted(rows) == len(ids)


def test_the_first_installation_scores_what_came_before_it_even_joined(rows: ScoredRows) -> None:
    rows.open(install=False)
    ids = [i for _ in range(4) for i in rows.store(10)]
    rows.work()
    assert rows.ids() == []
    assert rows.scorer.settled().inferences == NEVER_ASKED
    merge_files(rows.source, rows.source.files[:3])
    rows.install()
    ids += rows.store(5)
    rows.work()
    assert rows.ids() == sorted(ids)
    assert rows.scorer.settled().inferences == rows.source.version


def test_files_that_are_not_scored_are_left_apart_from_the_start_of_a_process_on(rows: ScoredRows) -> None:
    rows.store(10)
    rows.work()
    scored = rows.scorer.scored
    rows.store(10)
    rows.open(install=False)
    assert rows.scorer.settled().inferences == scored


def test_rows_that_come_while_it_is_off_are_never_scored(rows: ScoredRows) -> None:
    before = rows.store(10)
    rows.work()
    rows.on = False
    rows.scorer.drop()
    rows.store(10, at=10)
    rows.work()
    assert rows.scorer.settled().inferences == NEVER_ASKED
    rows.open(install=False)
    rows.store(10, at=20)
    rows.on = True
    # On again, and being trained: from here on they count, joined with older ones or not.
    after = rows.store(10, at=30)
    merge_files(rows.source, rows.source.files[1:])
    rows.install()
    after += rows.store(10, at=40)
    rows.work()
    assert rows.ids() == sorted(before + after)
    rows.open()
    rows.work()
    assert rows.ids() == sorted(before + after)


def test_what_was_off_from_the_beginning_scores_only_what_comes_later(tmp_path: Path) -> None:
    rows = ScoredRows(tmp_path, on=False)
    rows.store(10)
    rows.on = True
    after = rows.store(10, at=10)
    rows.work()
    assert rows.ids() == sorted(after)


def test_another_artefact_scores_only_what_is_not_scored_yet(rows: ScoredRows) -> None:
    rows.store(10)
    rows.work()
    rows.install("b" * 64)
    rows.store(5, at=10)
    rows.work()
    assert sorted(rows.table()["artefact"].to_pylist()) == [HASH] * 10 + ["b" * 64] * 5


def test_forgotten_ids_lose_their_scores_and_do_not_get_them_back(rows: ScoredRows) -> None:
    ids = rows.store(40) + rows.store(10, at=10)
    gone = ids[3:6] + ids[45:47]

    def forget() -> None:
        until(lambda: rows.scorer.reach(1))
        rows.scorer.forget(id_keys(gone))

    during(forget, rows)
    left = sorted(set(ids) - set(gone))
    assert rows.ids() == left
    on_disk = {path.name for path in rows.scores.folder.glob("*.parquet")}
    assert on_disk == {file.name for file in rows.scores.files}
    rows.open()
    rows.work()
    assert rows.ids() == left
    assert counted(rows) == len(ids)


def test_a_forgotten_id_need_not_wait_for_the_first_claim(rows: ScoredRows) -> None:
    """Maintenance asks what is settled only after it has forgotten: neither waits for the other."""
    rows.open(install=False)
    ids = rows.store(10)
    rows.scorer.hurry = lambda: None

    def forget() -> None:
        rows.install()
        rows.scorer.forget(id_keys(ids[:1]))
        rows.asked()
        until(lambda: rows.scorer.reach(1))

    during(forget, rows)


def test_scores_of_retired_rows_are_retired_and_their_counts_stay(rows: ScoredRows) -> None:
    rows.scorer.rules = lambda: KeepRules(seconds=86_400)  # files are joined within a day
    old, young = rows.store(20), rows.store(10, at=86_400 * 3)
    rows.work()
    assert len(rows.scores.files) == 1  # scored together: it stays as long as one of its rows does
    rows.source.replace(Replacement(rows.source.files[:1], [], rows_change=True), {})
    rows.work()
    assert rows.ids() == sorted(old + young)
    middle = rows.store(5, at=86_400 * 4)
    rows.work()
    rows.source.replace(Replacement(rows.source.files[:1], [], rows_change=True), {})
    rows.work()
    assert rows.ids() == sorted(middle)
    assert counted(rows) == 35


def test_small_files_of_scores_become_few(rows: ScoredRows) -> None:
    ids = []
    for turn in range(20):
        ids += rows.store(5, at=turn)
        rows.work()
    assert len(rows.scores.files) < 10
    assert rows.ids() == sorted(ids)
    assert counted(rows) == 100


def test_a_failure_is_told_and_the_rows_are_scored_once_it_is_over(
    rows: ScoredRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(rows.scores, "append", full)
        rows.scorer.start()
        ids = rows.store(10)
        until(lambda: rows.scorer.problem is not None and "No space" in rows.scorer.problem)
        assert rows.scorer.behind_rows == 10
    assert rows.scorer.reach(120)
    until(lambda: rows.scorer.problem is None)
    rows.scorer.stop()
    assert rows.ids() == sorted(ids)


def test_a_bounded_number_of_rows_is_in_memory() -> None:
    import pyarrow as pa

    schema = pa.schema([(f"c{i}", pa.float64()) for i in range(500)] + [("t", pa.string())])
    names = schema.names
    assert rows_at_once(schema, names[:5], 0) == 32_768
    assert rows_at_once(schema, names, 2000) * (500 * 8 + 2064) <= 16 << 20
    assert rows_at_once(schema, names, 1 << 30) == 256

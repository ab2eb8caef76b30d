"""The log keeps what it acknowledged: through kills, torn writes, full disks; and says where it cannot."""

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelwarden_server.log import segments as module
from modelwarden_server.log.frames import HEADER_SIZE
from modelwarden_server.log.protocol import Kind, LogDamagedError, LogFailedError, LogFullError, Record
from modelwarden_server.log.segment import START
from modelwarden_server.log.segments import SegmentLog

FINGERPRINT = b"f" * 16


def record(text: str, **more: int) -> Record:
    return Record(Kind.INFERENCES, rows=1, payload=text.encode(), arrival=7, generation=3, **more)


def opened(folder: Path, committed: int = 0, fingerprint: bytes = FINGERPRINT) -> SegmentLog:
    return SegmentLog.open(folder, fingerprint, lambda _: committed)


def texts(log: SegmentLog, after: int = 0) -> list[str]:
    return [bytes(r.payload).decode() for r in log.read(after)]


def written(folder: Path, *payloads: str, committed: int = 0) -> Path:
    """A log with these records, each a group of its own; returns its one segment."""
    log = opened(folder, committed)
    for payload in payloads:
        log.append([record(payload)]).result(60)
    log.close()
    return max(folder.glob("*.segment"))


def test_records_come_back_as_they_were_given_after_opening_again(tmp_path: Path) -> None:
    log = opened(tmp_path)
    assert log.append([record("a", sampled_out=4), record("b")]).result(60) == 2
    assert log.append([record("")]).result(60) == 3
    identity = log.identity
    log.close()
    again = opened(tmp_path)
    (first, *_) = again.read(0)
    assert (first.sequence, first.arrival, first.generation, first.rows, first.sampled_out) == (1, 7, 3, 1, 4)
    assert (texts(again), texts(again, 1), texts(again, 3)) == (["a", "b", ""], ["b", ""], [])
    assert (again.identity, again.durable, again.first) == (identity, 3, 1)
    assert again.append([record("c")]).result(60) == 4
    assert texts(again, 2) == ["", "c"]
    again.close()


def test_records_of_many_callers_are_all_durable_and_share_syncs(tmp_path: Path) -> None:
    log = opened(tmp_path)
    syncs: list[int] = []
    # The first sync is under way until each of the eight has a record in the log.
    together = threading.Barrier(9, timeout=60)

    def sync(fd: int) -> None:
        if not syncs:
            together.wait()
        syncs.append(fd)
        os.fdatasync(fd)

    log._sync = sync

    def send(name: int) -> None:
        for i in range(50):
            done = log.append([record(f"{name}-{i}")])
            if i == 0:
                together.wait()
            done.result(60)

    senders = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    found = texts(log)
    assert sorted(found) == sorted(f"{n}-{i}" for n in range(8) for i in range(50))
    assert [f for f in found if f.startswith("3-")] == [f"3-{i}" for i in range(50)]
    assert len(syncs) < 400
    log.close()


def test_a_future_is_done_only_after_the_sync(tmp_path: Path) -> None:
    log = opened(tmp_path)
    held, begun = threading.Event(), threading.Event()

    def slow(fd: int) -> None:
        begun.set()
        held.wait(60)
        os.fdatasync(fd)

    log._sync = slow
    done = log.append([record("a")])
    assert begun.wait(60)
    assert (done.done(), log.durable, texts(log)) == (False, 0, [])
    held.set()
    assert (done.result(60), texts(log)) == (1, ["a"])
    log.close()


def test_a_full_disk_takes_the_group_back_and_the_log_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path)
    log.append([record("a")]).result(60)
    write = module.write_all

    def half(fd: int, pieces: list[bytes], offset: int) -> int:
        write(fd, pieces[:1], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_all", half)
    with pytest.raises(LogFullError, match="no space"):
        log.append([record("lost")]).result(60)
    monkeypatch.setattr(module, "write_all", write)
    assert log.append([record("b")]).result(60) == 2
    log.close()
    again = opened(tmp_path)
    assert texts(again) == ["a", "b"]
    again.close()


def test_after_a_failed_sync_nothing_is_acknowledged_any_more(tmp_path: Path) -> None:
    log = opened(tmp_path)
    calls = []

    def failing(fd: int) -> None:
        calls.append(fd)
        if len(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")

    log._sync = failing
    for _ in range(3):
        with pytest.raises(LogFailedError, match="Input/output error"):
            log.append([record("x")]).result(60)
    assert (len(calls), log.durable, log.failure is not None) == (1, 0, True)
    log.close()
    again = opened(tmp_path)
    assert again.append([record("y")]).result(60) >= 1
    again.close()


def test_a_caller_who_goes_away_does_not_stop_the_log(tmp_path: Path) -> None:
    log = opened(tmp_path)
    done: Future[int] = log.append([record("a")])
    assert done.cancel() is False
    assert log.append([record("b")]).result(60) == 2
    log.close()


def test_segments_are_cut_only_when_all_of_them_is_in_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 200)
    monkeypatch.setattr(module, "RETIRE_BYTES", 1)
    log = opened(tmp_path)
    for i in range(10):
        log.append([record(str(i) * 50)]).result(60)
    files = log.segments
    assert files > 3
    log.cut(4)
    assert (log.first <= 5, len(texts(log, 4))) == (True, 6)
    log.close()
    again = opened(tmp_path, committed=4)
    assert len(texts(again, 4)) == 6
    again.cut(10)
    again.append([record("next")]).result(60)
    again.cut(10)
    assert (texts(again, 10), again.segments) == (["next"], 1)
    again.close()


def test_numbers_go_on_after_everything_was_cut(tmp_path: Path) -> None:
    written(tmp_path, "a", "b")
    for path in tmp_path.glob("*.segment"):
        path.unlink()
    log = opened(tmp_path, committed=2)
    assert log.append([record("c")]).result(60) == 3
    log.close()


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 5000, b"garbage", "half a frame", b"MWL1" * 30])
def test_a_torn_end_is_cut_off(tmp_path: Path, tail: bytes | str) -> None:
    path = written(tmp_path, "a", "b")
    whole = path.read_bytes()
    path.write_bytes(whole + (tail if isinstance(tail, bytes) else whole[START : START + HEADER_SIZE + 0]))
    log = opened(tmp_path)
    assert texts(log) == ["a", "b"]
    log.append([record("c")]).result(60)
    log.close()
    again = opened(tmp_path)
    assert texts(again) == ["a", "b", "c"]
    again.close()


def harm(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


FRAME = HEADER_SIZE + 1


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda p: harm(p, START + FRAME + 3), r"records 2 to 2 were acknowledged .*damaged at byte"),
        (lambda p: harm(p, START + FRAME - 1), r"records 1 to 1 were acknowledged"),
        (lambda p: harm(p, START + 3 * FRAME - 1), r"records 3 to 3 were acknowledged"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), r"records 3 to 3 were acknowledged"),
        (
            lambda p: p.write_bytes(p.read_bytes()[: START + FRAME]),
            "ends with record 1, but 3 were acknowledged",
        ),
        (lambda p: p.write_bytes(b""), r"records 1 to 3 were acknowledged .*no header"),
        (lambda p: harm(p, 20), r"records 1 to 3 were acknowledged .*no header"),
        (lambda p: p.unlink(), "ends with record 0, but 3 were acknowledged"),
        (lambda p: p.with_name("identity").unlink(), "identity is missing"),
        (lambda p: p.with_name("identity").write_text("x"), "does not hold the log's identity"),
    ],
)
def test_damage_to_acknowledged_records_is_refused_with_the_place(
    tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    damage(written(tmp_path, "a", "b", "c"))
    with pytest.raises(LogDamagedError, match=says):
        opened(tmp_path)


def test_damage_is_harmless_where_the_tables_have_the_records(tmp_path: Path) -> None:
    path = written(tmp_path, "a", "b", "c", "d")
    harm(path, START + FRAME - 1)
    log = opened(tmp_path, committed=2)
    assert texts(log, 2) == ["c", "d"]
    log.append([record("e")]).result(60)
    assert texts(log, 2) == ["c", "d", "e"]
    log.close()


def test_a_missing_segment_in_the_middle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1)
    written(tmp_path, "a", "b", "c")
    sorted(tmp_path.glob("*.segment"))[1].unlink()
    with pytest.raises(LogDamagedError, match=r"records 2 to 2 were acknowledged"):
        opened(tmp_path)
    log = opened(tmp_path, committed=2)
    assert texts(log, 2) == ["c"]
    log.close()


def test_a_log_that_begins_after_the_tables_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1)
    written(tmp_path, "a", "b", "c")
    min(tmp_path.glob("*.segment")).unlink()
    with pytest.raises(LogDamagedError, match="records 1 to 1 are missing"):
        opened(tmp_path)


def test_records_of_another_schema_are_refused_unless_the_tables_have_them(tmp_path: Path) -> None:
    written(tmp_path, "a")
    with pytest.raises(LogDamagedError, match="another schema"):
        opened(tmp_path, fingerprint=b"g" * 16)
    opened(tmp_path, committed=1, fingerprint=b"g" * 16).close()


def test_what_a_client_sends_cannot_pass_for_a_record(tmp_path: Path) -> None:
    other = written(tmp_path / "other", "a", "b", "c").read_bytes()
    log = opened(tmp_path / "log")
    log.append([Record(Kind.INFERENCES, 1, other, 0, 0)]).result(60)
    log.close()
    path = max((tmp_path / "log").glob("*.segment"))
    path.write_bytes(path.read_bytes() + other[: len(other) - 3])
    again = opened(tmp_path / "log")
    assert len(list(again.read(0))) == 1
    again.close()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    groups=st.lists(st.lists(st.text(max_size=30), min_size=1, max_size=4), min_size=1, max_size=5),
    data=st.data(),
)
def test_power_loss_in_the_last_group_loses_nothing_before_it(
    tmp_path: Path, groups: list[list[str]], data: st.DataObject
) -> None:
    """Any pages of the group that was not synced may be missing: zeros, in any place, cut anywhere."""
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    log = opened(folder)
    for group in groups[:-1]:
        log.append([record(text) for text in group]).result(60)
    kept = log._segments[-1].size if groups[:-1] else START
    log.append([record(text) for text in groups[-1]]).result(60)
    log.close()
    path = max(folder.glob("*.segment"))
    written_bytes = bytearray(path.read_bytes())
    (folder / "acknowledged").unlink()
    length = data.draw(st.integers(kept, len(written_bytes)))
    del written_bytes[length:]
    for _ in range(data.draw(st.integers(0, 3))):
        if kept < length:
            begin = data.draw(st.integers(kept, length - 1))
            end = data.draw(st.integers(begin, length))
            written_bytes[begin:end] = bytes(end - begin)
    path.write_bytes(written_bytes)
    again = opened(folder)
    before = [text for group in groups[:-1] for text in group]
    found = texts(again)
    assert found[: len(before)] == before
    assert found[len(before) :] == groups[-1][: len(found) - len(before)]
    again.close()


def test_readers_are_told_only_when_they_can_see_the_records(tmp_path: Path) -> None:
    log = opened(tmp_path)
    seen: list[tuple[str, list[str]]] = []
    log.observe(
        lambda records: seen.append((f"before {len(records)}", texts(log))),
        lambda: seen.append(("after", texts(log))),
    )
    log.append([record("a"), record("b")]).result(60)
    assert seen == [("before 2", []), ("after", ["a", "b"])]
    log.close()


def test_bytes_that_wait_are_those_that_were_not_cut(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([record("a" * 100)]).result(60)
    first = log.waiting
    log.append([record("b" * 300)]).result(60)
    assert first > 100
    assert log.waiting > first + 300
    log.cut(1)
    assert log.waiting == HEADER_SIZE + 300
    log.cut(2)
    assert (log.waiting, log.size > 400) == (0, True)
    log.close()

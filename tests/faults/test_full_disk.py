"""A full disk: no lie, no loss, and everything goes on once there is room. On a small ext4 of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from row_senders import Senders, check_exactly_once, send_again
from small_disk import MIB, small_disk
from store_process import StoreProcess, running, wait_for

pytestmark = pytest.mark.faults


@pytest.fixture
def own_disk(tmp_path: Path) -> Iterator[Path]:
    """A small ext4 of its own."""
    with small_disk(tmp_path, 48) as mounted:
        yield mounted


def why_rows_wait(store: StoreProcess) -> bool:
    """Whether the store says what keeps rows in the log, if any are there."""
    status = store.status()
    return status.rows.waiting == 0 or "No space left" in (status.reason or "")


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path, own_disk: Path) -> None:
    ballast = own_disk / "ballast"
    ballast.write_bytes(bytes(30 * MIB))
    store = StoreProcess(tmp_path / "store", data=own_disk / "data", commit_seconds=0.2)
    with running(store):
        senders = Senders(store, threads=3).start()
        senders.acknowledged_more_than(200)
        filled = own_disk / "filled"
        with filled.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(MIB // 4))
            except OSError:
                pass
        wait_for(lambda: senders.promises.refused_requests > 20)
        assert senders.promises.wrong == []
        wait_for(lambda: why_rows_wait(store))
        rows = store.status().rows
        assert rows.acknowledged == rows.stored + rows.waiting + rows.sampled_out
        assert store.get("/readyz").startswith("200")
        filled.unlink()
        ballast.unlink()
        senders.acknowledged_more_than(len(senders.promises.acknowledged) + 200)
        promises = senders.stop()
        store.kill()
        store.start()
        send_again(store, promises)
        wait_for(lambda: store.status().rows.waiting == 0)
        assert store.terminate() == 0
    assert check_exactly_once(store, promises) == len(promises.acknowledged)


def test_a_store_that_is_killed_on_a_full_disk_starts_and_serves_when_there_is_room(
    tmp_path: Path, own_disk: Path
) -> None:
    store = StoreProcess(tmp_path / "store", data=own_disk / "data", commit_seconds=3600)
    with running(store):
        senders = Senders(store, threads=2).start()
        senders.acknowledged_more_than(300)
        promises = senders.stop()
        store.kill()
        filled = own_disk / "filled"
        with filled.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(MIB // 4))
            except OSError:
                pass
        store.commit_seconds = 0.2
        store.launch()
        wait_for(lambda: store.get("/readyz") != "")
        wait_for(lambda: "200" in store.get("/readyz") or "No space" in store.get("/readyz"))
        filled.unlink()
        if not store.ready():
            store.kill()
            store.start()
        send_again(store, promises)
        wait_for(lambda: store.status().log.unwritten == 0)
        assert store.terminate() == 0
    assert check_exactly_once(store, promises) == len(promises.acknowledged)

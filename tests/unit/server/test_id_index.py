"""The index of ids over memory and disk: exact at every moment, and what an upload has taken is taken."""

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from store_process import wait_for

from modelwarden_server.schema.digest import Words, id_keys
from modelwarden_server.store import id_index as module
from modelwarden_server.store import runs
from modelwarden_server.store.id_index import Reach, TieredIdIndex
from modelwarden_server.store.ids import Known

LOG = "11111111-1111-1111-1111-111111111111"


def keys(*names: str) -> Words:
    return id_keys(list(names))


def digests(*values: int) -> Words:
    return np.array([[v, ~v & 0xFFFF] for v in values], dtype=np.uint64).reshape(-1, 2)


def opened(folder: Path, position: int = 0, version: int = 0) -> TieredIdIndex:
    index = TieredIdIndex(folder)
    index.load(Reach(LOG, position, version))
    return index


def answers(index: TieredIdIndex, *names: str, value: int = 1) -> list[Known]:
    return [Known(k) for k in index.look_up(keys(*names), digests(*[value] * len(names)))]


def test_ids_are_known_in_memory_on_the_disk_and_after_a_start(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.add(keys("a"), digests(1))
    index.committed(Reach(LOG, 5, 3))
    index.flush()
    index.add(keys("b"), digests(1))
    assert answers(index, "a", "b", "c") == [Known.SAME, Known.SAME, Known.NEW]
    assert answers(index, "a", "b", value=2) == [Known.OTHER, Known.OTHER]
    again = TieredIdIndex(tmp_path)
    assert again.load(Reach(LOG, 9, 4)) == 3
    assert answers(again, "a", "b") == [Known.SAME, Known.NEW]


@pytest.mark.parametrize(
    "reach",
    [Reach("another log", 5, 3), Reach(LOG, 4, 3), Reach(LOG, 5, 2)],
    ids=["log", "position", "version"],
)
def test_ids_are_not_believed_beyond_the_table(tmp_path: Path, reach: Reach) -> None:
    index = opened(tmp_path)
    index.add(keys("a"), digests(1))
    index.committed(Reach(LOG, 5, 3))
    index.flush()
    again = TieredIdIndex(tmp_path)
    assert again.load(reach) == -1
    assert answers(again, "a") == [Known.NEW]


def test_ids_go_to_the_disk_by_themselves_and_are_found_all_the_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_ROWS", 2500)
    monkeypatch.setattr(module, "_REST", 0.0)
    index = opened(tmp_path)
    index.start()
    names = [f"id-{i}" for i in range(12_000)]
    every, values = keys(*names), digests(*range(12_000))
    for start in range(0, 12_000, 1000):
        part = slice(start, start + 1000)
        index.add(every[part], values[part])
        index.committed(Reach(LOG, start, start))
        assert set(index.look_up(every[: start + 1000], values[: start + 1000]).tolist()) == {Known.SAME}
    wait_for(lambda: index.kept_version >= 9_000)
    index.stop()
    again = opened(tmp_path, 12_000, 12_000)
    assert (len(again), again.kept_version) == (12_000, 11_000)
    assert set(again.look_up(every, values[::-1].copy()).tolist()) == {Known.OTHER}


def test_an_upload_takes_ids_at_once_and_gives_them_back_when_it_fails(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.add(keys("old"), digests(1))
    upload = index.overlay()
    with pytest.raises(RuntimeError):
        index.overlay()
    asked = keys("old", "new", "new", "new", "left", "other")
    kept = np.array([True, True, True, True, False, True])
    known = upload.take(asked, digests(1, 1, 1, 2, 1, 1), kept)
    assert known.tolist() == [Known.SAME, Known.NEW, Known.SAME, Known.OTHER, Known.NEW, Known.NEW]
    assert index.in_flight(asked).tolist() == [False, True, True, True, False, True]
    assert answers(index, "new") == [Known.NEW]
    upload.close()
    assert not index.in_flight(asked).any()
    index.overlay().close()


def test_ids_of_an_upload_are_known_once_its_record_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_ROWS", 100)
    index = opened(tmp_path)
    names = [f"id-{i}" for i in range(250)]
    upload = index.overlay()
    for start in range(0, 250, 50):
        part = names[start : start + 50]
        assert set(upload.take(keys(*part), digests(*[1] * 50), np.ones(50, bool)).tolist()) == {Known.NEW}
        assert set(upload.look_up(keys(*part), digests(*[1] * 50)).tolist()) == {Known.SAME}
    assert len(list(tmp_path.glob("*.run"))) == 2
    index.name(upload, "file-1.parquet")
    index.overlay().close()
    assert index.in_flight(keys(*names)).all()
    assert index.settle("file-1.parquet", durable=True)
    assert not index.in_flight(keys(*names)).any()
    assert set(answers(index, *names)) == {Known.SAME}
    index.committed(Reach(LOG, 1, 1))
    index.flush()
    assert set(answers(opened(tmp_path, 1, 1), *names)) == {Known.SAME}


def test_a_failed_upload_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_ROWS", 10)
    index = opened(tmp_path)
    upload = index.overlay()
    upload.add(keys(*map(str, range(20))), digests(*range(20)))
    index.name(upload, "file-1.parquet")
    assert index.settle("file-1.parquet", durable=False)
    assert list(tmp_path.glob("*.run")) == []
    assert answers(index, "3") == [Known.NEW]


def test_an_upload_waits_for_rows_that_are_on_their_way(tmp_path: Path) -> None:
    index = opened(tmp_path)
    claim: Future[int] = Future()
    index.on_their_way[keys("a").tobytes()] = (digests(1).tobytes(), claim)
    upload = index.overlay()
    one = np.ones(1, bool)
    assert upload.take(keys("a"), digests(1), one).tolist() == [Known.IN_FLIGHT]
    index.add(keys("a"), digests(1))
    index.on_their_way.clear()
    assert upload.take(keys("a"), digests(1), one).tolist() == [Known.SAME]


def test_dropped_ids_are_new_again_and_forgotten_ones_are_told(tmp_path: Path) -> None:
    forgotten = keys("a")
    index = TieredIdIndex(tmp_path, lambda asked: (asked == forgotten).all(axis=1))
    index.load(Reach(LOG, 0, 0))
    index.add(keys("a", "b"), digests(1, 1))
    index.committed(Reach(LOG, 5, 3))
    index.flush()
    assert index.drop(forgotten) == 1
    assert answers(index, "a", "b", "c") == [Known.FORGOTTEN, Known.SAME, Known.NEW]
    again = opened(tmp_path, 5, 3)
    assert answers(again, "a", "b") == [Known.NEW, Known.SAME]


def test_damage_that_is_found_after_the_start_fails_the_index_and_the_next_start_makes_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(tmp_path)
    index.add(keys(*map(str, range(5000))), digests(*[1] * 5000))
    index.committed(Reach(LOG, 5, 3))
    index.flush()
    (path,) = tmp_path.glob("*.run")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr(runs, "CHECKED_BYTES", 0)
    again = opened(tmp_path, 5, 3)
    assert len(again) == 5000
    with pytest.raises(OSError, match="checked"):
        again.drop(keys("3"))
    again.start()
    wait_for(lambda: again.failure is not None)
    again.stop()
    assert opened(tmp_path, 5, 3).kept_version == -1

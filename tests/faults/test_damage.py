"""What a store does about files that a crash, a bad disk or a second process left in a strange state."""

import json
import os
from pathlib import Path

import census_like as census
import pytest
from row_senders import row_of, rows_in_table
from store_process import StoreProcess, running, wait_for

pytestmark = pytest.mark.faults
NEVER = 3600.0


def send(store: StoreProcess, *names: str) -> None:
    with store.client() as client:
        answer = client.post(store.inferences_path, content=census.body(*map(row_of, names)))
    assert (answer.status_code, answer.json()["counts"]["success"]) == (207, len(names))


def stored(store: StoreProcess) -> list[str]:
    return sorted(rows_in_table(store.data_folder / "tables" / "inferences").column(0).to_pylist())


def all_written(store: StoreProcess) -> None:
    wait_for(lambda: store.status().log.unwritten == 0)


def refuses(store: StoreProcess) -> str:
    """Launch a store that cannot serve; returns what it says at /readyz."""
    store.launch()
    says = wait_for(lambda: "Failed" in (text := store.get("/readyz")) and text)
    assert store.get("/healthz").startswith("200"), (
        "a restart would not help: the process must stay and say why"
    )
    with store.client() as client:
        answer = client.post(store.inferences_path, content=census.body(row_of("x")))
        status = client.get("/status").json()
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert (status["phase"], status["ready"]) == ("Failed", False)
    assert status["reason"] in says
    assert store.terminate() == 0
    return str(says)


def test_rows_that_only_the_log_has_reach_the_table_after_a_kill(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path, commit_seconds=NEVER)
    with running(store):
        send(store, "a", "b")
        send(store, "c")
        assert store.status().rows.waiting == 3
        store.kill()
        assert stored(store) == []
        store.commit_seconds = 0.05
        store.start()
        send(store, "a", "c", "d")
        all_written(store)
        assert stored(store) == ["a", "b", "c", "d"]
        rows = store.status().rows
        assert (rows.acknowledged, rows.stored, rows.waiting) == (4, 4, 0)


def test_a_torn_end_of_the_log_is_cut_off(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path, commit_seconds=NEVER)
    with running(store):
        send(store, "a", "b")
        store.kill()
        segment = max((store.data_folder / "log").glob("*.segment"))
        segment.write_bytes(segment.read_bytes() + segment.read_bytes()[60:400])
        store.commit_seconds = 0.05
        store.start()
        all_written(store)
        assert stored(store) == ["a", "b"]
        assert "unacknowledged bytes cut off" in store.output()


def test_a_damaged_record_in_the_middle_of_the_log_is_refused_with_its_place(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path, commit_seconds=NEVER)
    with running(store):
        for name in ("a", "b", "c"):
            send(store, name)
        store.kill()
        segment = max((store.data_folder / "log").glob("*.segment"))
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
        says = refuses(store)
        assert segment.name in says
        assert "damaged at byte" in says
        assert "were acknowledged" in says
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
        store.commit_seconds = 0.05
        store.start()
        all_written(store)
        assert stored(store) == ["a", "b", "c"]


@pytest.mark.parametrize("harm", ["empty", "half", "data file gone"])
def test_a_torn_last_delta_entry_is_taken_back_and_its_rows_come_from_the_log(
    tmp_path: Path, harm: str
) -> None:
    store = StoreProcess(tmp_path, commit_seconds=0.05)
    with running(store):
        send(store, "a")
        all_written(store)
        send(store, "b", "c")
        all_written(store)
        store.kill()
        table = store.data_folder / "tables" / "inferences"
        entry = max((table / "_delta_log").glob("*.json"))
        if harm == "data file gone":
            (name,) = [
                json.loads(line)["add"]["path"] for line in entry.read_text().splitlines() if '"add"' in line
            ]
            (table / name).unlink()
        else:
            entry.write_bytes(entry.read_bytes()[:100] if harm == "half" else b"")
        store.start()
        all_written(store)
        assert stored(store) == ["a", "b", "c"]
        rows = store.status().rows
        assert (rows.acknowledged, rows.stored) == (3, 3)


def test_a_lost_table_is_written_again_from_the_log_or_refused(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path, commit_seconds=0.05)
    with running(store):
        send(store, "a", "b")
        all_written(store)
        store.kill()
        (store.data_folder / "tables").rename(store.data_folder / "tables.away")
        store.start()
        all_written(store)
        assert stored(store) == ["a", "b"]
        store.kill()
        for segment in (store.data_folder / "log").glob("*.segment"):
            segment.unlink()
        (store.data_folder / "tables").rename(store.data_folder / "tables.second")
        assert "the log ends with record" in refuses(store)


def test_damage_below_the_last_version_of_a_table_is_refused_by_name(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path, commit_seconds=0.05)
    with running(store):
        for name in ("a", "b", "c"):
            send(store, name)
            all_written(store)
        store.kill()
        entry = sorted((store.data_folder / "tables" / "inferences" / "_delta_log").glob("*.json"))[1]
        entry.write_bytes(b"")
        assert "table inferences: Delta entry 1 is damaged" in refuses(store)


def test_a_second_store_on_the_volume_says_who_holds_it_and_takes_over(tmp_path: Path) -> None:
    first = StoreProcess(tmp_path / "first", data=tmp_path / "data")
    second = StoreProcess(tmp_path / "second", data=tmp_path / "data")
    with running(first):
        send(first, "a")
        second.launch()
        try:
            says = wait_for(lambda: "held by" in (text := second.get("/readyz")) and text)
            assert first.process is not None
            assert f"process {first.process.pid} on {os.uname().nodename} since 20" in says
            assert second.get("/healthz").startswith("200")
            assert second.status().phase == "Recovering"
            first.kill()
            wait_for(second.ready)
            send(second, "a", "b")
            assert second.terminate() == 0
            assert stored(second) == ["a", "b"]
        finally:
            if second.process is not None and second.process.poll() is None:
                second.kill()


def test_sampled_out_rows_are_counted_through_every_kill(tmp_path: Path) -> None:
    store = StoreProcess(
        tmp_path, commit_seconds=0.05, settings=census.settings(ingest={"sampling": {"share": 0.5}})
    )
    with running(store):
        send(store, *(f"a{i}" for i in range(100)))
        all_written(store)
        before = store.status().rows
        store.kill()
        store.commit_seconds = NEVER
        store.start()
        send(store, *(f"b{i}" for i in range(100)))
        store.kill()
        store.commit_seconds = 0.05
        store.start()
        all_written(store)
        rows = store.status().rows
    assert 20 < before.sampled_out < 80
    assert (before.acknowledged, rows.acknowledged) == (100, 200)
    assert rows.acknowledged == rows.stored + rows.sampled_out
    assert len(stored(store)) == rows.stored
    assert before.sampled_out < rows.sampled_out < before.sampled_out + 100


@pytest.mark.parametrize("found", ["at the start", "while it serves"])
def test_a_damaged_index_of_ids_is_made_anew_and_no_row_counts_twice(tmp_path: Path, found: str) -> None:
    store = StoreProcess(tmp_path, commit_seconds=0.05)
    names = [f"a{i}" for i in range(500)]
    with running(store):
        send(store, *names)
        all_written(store)
        assert store.terminate() == 0
        (run,) = (store.data_folder / "index" / "ids").glob("*.run")
        content = bytearray(run.read_bytes())
        for place in range(len(content) - 500 * 32, len(content), 32):
            content[place] ^= 1  # no id would be found any more
        run.write_bytes(content)
        if found == "while it serves":
            store.module = "late_checks"
            store.launch()
            wait_for(lambda: "index of ids is damaged" in store.get("/readyz"))
            assert store.get("/healthz").startswith("503"), (
                "a restart helps: somebody must be told to make one"
            )
            store.kill()
            store.module = "modelwarden_server"
        store.start()
        send(store, *names)
        send(store, "b")
        all_written(store)
        assert stored(store) == sorted([*names, "b"])
        rows = store.status().rows
        assert (rows.acknowledged, rows.stored) == (501, 501)

"""kill -9 at random moments while rows, files, labels and batches come in, and the store flushes, merges and
vacuums all the time: what was promised is there once, and the sums are right.
"""

import os
import random
import time
from pathlib import Path

import census_like as census
import pytest
from mixed_senders import MixedSenders, check_labels
from row_senders import check_exactly_once
from store_process import START_SECONDS, StoreProcess, running, wait_for

pytestmark = pytest.mark.faults
LONG = os.environ.get("MODELWARDEN_LONG") == "1"
KILLS = 300 if LONG else 14
BATCH_KILLS = 60 if LONG else 6


def kill_often(store: StoreProcess, senders: MixedSenders, kills: int) -> None:
    chance = random.Random(20261121)
    for kill in range(kills):
        if kill % 5 == 4:
            store.kill()
            store.launch()
            time.sleep(chance.uniform(0.1, 1.5))  # somewhere in the middle of a recovery
        else:
            before, seconds = len(senders.promises.acknowledged), chance.uniform(0, 0.4)
            wait_for(lambda before=before: len(senders.promises.acknowledged) > before, START_SECONDS)
            time.sleep(seconds)
        store.kill()
        store.start()


def settled(store: StoreProcess) -> None:
    def is_settled() -> bool:
        status = store.status()
        rows = status.rows
        assert rows.acknowledged == rows.stored + rows.waiting + rows.rejected_later + rows.sampled_out
        return rows.waiting == 0 and status.log.unwritten == 0

    wait_for(is_settled)


@pytest.mark.timeout(7200)
def test_rows_files_and_labels_survive_kill_9_at_random_moments(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path, commit_seconds=0.2, module="eager_store")
    with running(store):
        senders = MixedSenders(store).start()
        try:
            kill_often(store, senders, KILLS)
            wait_for(lambda: senders.promises.files > 3 or senders.promises.wrong, START_SECONDS)
        finally:
            promises = senders.stop()
        settled(store)
        assert store.terminate() == 0
        check_labels(store, promises)
        rows = check_exactly_once(store, promises)
        store.start()
        report = store.status()
        store.kill()
        assert rows == report.rows.stored == report.rows.acknowledged
        assert report.rows.labels.acknowledged == report.rows.labels.stored
        assert report.rows.labels.stored >= len(promises.labels)
        assert promises.files > 3
        assert list((store.data_folder / "staged").iterdir()) == []
        print(
            f"kills {KILLS}, rows {rows}, uploads {promises.files}, labels {report.rows.labels.stored},"
            f" refused {promises.refused_requests}, files in the table {report.tables['inferences'].files}"
        )


@pytest.mark.timeout(7200)
def test_closed_batches_survive_kill_9_at_random_moments(tmp_path: Path) -> None:
    store = StoreProcess(
        tmp_path, commit_seconds=0.1, module="eager_store", identity=census.identity(isBatch=True)
    )
    with running(store):
        senders = MixedSenders(store, batches=True).start()
        try:
            kill_often(store, senders, BATCH_KILLS)
            wait_for(lambda: len(senders.promises.closed) > 2 or senders.promises.wrong, START_SECONDS)
        finally:
            promises = senders.stop()
        settled(store)
        store.kill()
        store.start()
        assert promises.wrong == [], promises.wrong[:5]
        path = store.inferences_path.replace("/inferences", "/batches")
        with store.client() as client:
            found = {batch["batch_id"]: batch for batch in client.get(path).json()}
        store.kill()
        check_exactly_once(store, promises)
        for name, count in promises.closed.items():
            assert (found[name]["status"], found[name]["records"]) == ("uploaded", count)

"""kill -9 while reference data are uploaded: what was answered is there once, nothing else
is, and it can be closed.
"""

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from query_rooms import IDENTITY, people
from reference_rooms import parquet
from store_process import ANSWER_SECONDS, KEY, StoreProcess, running, wait_for

from modelwarden.resources.keys import job_key
from modelwarden_server.jobs.command import DONE, run

pytestmark = pytest.mark.faults
LONG = os.environ.get("MODELWARDEN_LONG") == "1"
KILLS = 40 if LONG else 5
PATH = f"/api/v3/models/{IDENTITY.model_id}/reference_data"


def upload(store: StoreProcess, content: bytes) -> int | None:
    """The number of rows that were taken, or None if there was no answer: then the same may be sent again."""
    try:
        with store.client() as client:
            answer = client.post(PATH, files=[("reference_data", ("x.parquet", content))])
    except httpx.TransportError:
        return None
    assert answer.status_code in (207, 503), answer.text
    return answer.json()["counts"]["success"] if answer.status_code == 207 else None


def persist(store: StoreProcess, content: bytes, between: Callable[[], None]) -> int:
    """Send until it is answered, as a client would after a broken connection."""
    while (taken := upload(store, content)) is None:
        between()
    return taken


@pytest.mark.timeout(1800)
def test_uploads_survive_kills_exactly_once(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    acknowledged = 0
    with running(StoreProcess(tmp_path, identity=IDENTITY)) as store:
        for kill in range(KILLS):
            content = parquet(people(20_000 + kill, seed=kill))
            process = store.process
            assert process is not None
            killer = threading.Timer(chance.uniform(0.0, 0.4), process.kill)
            killer.start()
            first = upload(store, content)
            killer.join()
            process.wait(ANSWER_SECONDS)
            store.start()
            repeated = persist(store, content, lambda: time.sleep(0.05))
            assert repeated == 20_000 + kill
            assert first in (None, repeated)
            acknowledged += repeated
            assert store.status().reference[-1].records == acknowledged
        assert not list((store.data_folder / "uploads").iterdir())
        with store.client() as client:
            wrong = client.patch(PATH, json={"status": "uploaded", "total_record_count": acknowledged + 1})
            right = client.patch(PATH, json={"status": "uploaded", "total_record_count": acknowledged})
        assert (wrong.status_code, right.status_code) == (400, 200)
        store.kill()
        store.start()
        (dataset,) = store.status().reference
        assert (dataset.state, dataset.records) == ("closed", acknowledged)
        assert dataset.content_hash is not None
        key = {"MODELWARDEN_JOB_KEY": job_key(KEY, "profile", dataset.content_hash)}
        given = ["profile", "--store", store.url, "--dataset", dataset.name]
        assert run([*given, "--content-hash", dataset.content_hash], key) == DONE
        wait_for(lambda: store.status().active_reference == dataset.name)
        store.kill()
        store.start()
        wait_for(lambda: store.status().active_reference == dataset.name)

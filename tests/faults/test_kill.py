"""kill -9 at random moments under load, and SIGTERM: every acknowledged row is stored once, come what may."""

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from row_senders import Senders, check_exactly_once, row_of, send_again
from store_process import StoreProcess, running, wait_for

pytestmark = pytest.mark.faults
LONG = os.environ.get("MODELWARDEN_LONG") == "1"
KILLS = 200 if LONG else 10


def settled(store: StoreProcess) -> None:
    wait_for(lambda: (s := store.status()).rows.waiting == 0 and s.log.unwritten == 0)


@pytest.mark.timeout(3600)
def test_kill_9_at_random_moments_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    store = StoreProcess(tmp_path, commit_seconds=0.2)
    store.start()
    senders = Senders(store).start()
    try:
        for kill in range(KILLS):
            if kill % 5 == 4:
                # In the middle of a recovery: the process is killed before it has served anything.
                store.kill()
                store.launch()
                time.sleep(chance.uniform(0.1, 1.5))
            else:
                senders.acknowledged_more_than(len(senders.promises.acknowledged) + chance.randrange(200))
                time.sleep(chance.uniform(0, 0.1))
            store.kill()
            store.start()
    finally:
        promises = senders.stop()
        before = store.status()
        assert before.ready
        send_again(store, promises)
        settled(store)
        report = store.status()
        store.kill()
    rows = check_exactly_once(store, promises)
    assert promises.unanswered == set()
    assert rows == report.rows.stored == report.rows.acknowledged == len(promises.acknowledged)
    print(f"kills {KILLS}, rows acknowledged and stored {rows}, requests refused {promises.refused_requests}")


def test_sigterm_under_load_answers_everybody_and_loses_nothing(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path, commit_seconds=5.0)
    with running(store):
        senders = Senders(store).start()
        senders.acknowledged_more_than(300)
        assert store.terminate() == 0
        promises = senders.stop()
        assert promises.refused_requests > 0
        # At most the one connection that the kernel had taken when the listener closed.
        assert len(promises.dropped) <= 1
        stored = check_exactly_once(store, promises)
        assert stored >= len(promises.acknowledged)
        store.start()
        report = store.status()
        assert (report.log.unwritten, report.rows.waiting, report.rows.stored) == (0, 0, stored)


def test_requests_inside_are_answered_when_the_process_is_told_to_end(tmp_path: Path) -> None:
    """A request whose body is still arriving at SIGTERM gets an answer, not a broken connection."""
    store = StoreProcess(tmp_path)
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b"["
        begun.set()
        go_on.wait(20)
        yield json.dumps(row_of("slow")).encode() + b"]"

    answers: list[httpx.Response] = []
    with running(store):

        def send() -> None:
            with store.client() as client:
                answers.append(client.post(store.inferences_path, content=slowly()))

        sender = threading.Thread(target=send)
        sender.start()
        assert begun.wait(20)
        assert store.process is not None
        store.process.terminate()
        wait_for(lambda: store.get("/readyz").startswith("503 Draining"))
        go_on.set()
        sender.join(30)
        assert store.process.wait(30) == 0
    assert (answers[0].status_code, "retry-after" in answers[0].headers) == (503, True)

"""kill -9 at random moments under load, and SIGTERM: every acknowledged row is stored once, come what may."""

import contextlib
import http.client
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from row_senders import Senders, check_exactly_once, row_of, send_again
from store_process import ANSWER_SECONDS, KEY, StoreProcess, running, wait_for

pytestmark = pytest.mark.faults
LONG = os.environ.get("MODELWARDEN_LONG") == "1"
KILLS = 200 if LONG else 10


def settled(store: StoreProcess) -> None:
    wait_for(lambda: (s := store.status()).rows.waiting == 0 and s.log.unwritten == 0)


@pytest.mark.timeout(3600)
def test_kill_9_at_random_moments_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    store = StoreProcess(tmp_path, commit_seconds=0.2)
    with running(store):
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
        assert store.status().ready
        send_again(store, promises)
        settled(store)
        report = store.status()
        store.kill()
    rows = check_exactly_once(store, promises)
    assert promises.unanswered == set()
    assert rows == report.rows.stored == report.rows.acknowledged == len(promises.acknowledged)
    print(f"kills {KILLS}, rows acknowledged and stored {rows}, requests refused {promises.refused_requests}")


@contextlib.contextmanager
def slow_request(store: StoreProcess) -> Iterator[list[http.client.HTTPResponse]]:
    """A request that is inside, its body arriving when the block ends; then the list has its answer.

    Its length is declared: one of unknown length counts as the largest, and nobody comes in beside it.
    """
    body = json.dumps([row_of("slow")]).encode()
    head = f"POST {store.inferences_path} HTTP/1.1\r\nHost: store\r\nAuthorization: {KEY}\r\n"
    head += f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    answers: list[http.client.HTTPResponse] = []
    with socket.create_connection(("127.0.0.1", store.port), timeout=ANSWER_SECONDS) as wire:
        wire.sendall(head.encode())
        # Said when its body is asked for, which is after it was let in.
        assert wire.recv(1000).startswith(b"HTTP/1.1 100")
        try:
            yield answers
        finally:
            wire.sendall(body)
            with http.client.HTTPResponse(wire, method="POST") as answer:
                answer.begin()
                answers.append(answer)
                answer.read()


def test_sigterm_under_load_answers_everybody_and_loses_nothing(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path, commit_seconds=5.0)
    with running(store):
        assert store.process is not None
        with contextlib.ExitStack() as ending:
            senders = Senders(store).start()
            ending.callback(senders.stop)
            senders.acknowledged_more_than(300)
            with slow_request(store):  # the end waits for it: the senders come while the store is ending
                before = senders.promises.refused_requests
                store.process.terminate()
                wait_for(lambda: senders.promises.refused_requests > before + 4 * senders.threads)
                assert senders.promises.dropped == []
            assert store.process.wait(ANSWER_SECONDS) == 0
        promises = senders.promises
        # At most the one connection of each that the kernel had taken when the listener closed.
        assert len(promises.dropped) <= senders.threads
        stored = check_exactly_once(store, promises)
        assert stored >= len(promises.acknowledged)
        store.start()
        report = store.status()
        assert (report.log.unwritten, report.rows.waiting, report.rows.stored) == (0, 0, stored)


def test_requests_inside_are_answered_when_the_process_is_told_to_end(tmp_path: Path) -> None:
    """A request whose body is still arriving at SIGTERM gets an answer, not a broken connection."""
    store = StoreProcess(tmp_path)
    with running(store):
        assert store.process is not None
        with slow_request(store) as answers:
            store.process.terminate()
            wait_for(lambda: store.get("/readyz").startswith("503 Draining"))
        assert store.process.wait(ANSWER_SECONDS) == 0
    assert (answers[0].status, "retry-after" in answers[0].headers) == (503, True)

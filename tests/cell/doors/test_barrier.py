"""Whoever asks waits for the rows before his question, and many who ask cost few commits."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from log_records import SCHEMA, records

from modelwarden_server.store.store import Store
from modelwarden_server.store.writer import FORCED_SECONDS, Pace


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store whose writer makes no pass of its own accord."""
    opened = Store.open(tmp_path, SCHEMA, Pace(seconds=3600.0))
    opened.start()
    yield opened
    opened.close(20)


def test_a_flush_has_all_that_was_durable_before_it(store: Store) -> None:
    store.log.append(records("a")).result(120)
    assert store.writer.flush(120), "the pace alone would take an hour"
    assert store.tables.inferences.rows == 1


def test_many_flushes_under_a_stream_of_rows_make_few_commits(store: Store) -> None:
    begun = time.monotonic()

    def poll(name: int) -> None:
        for number in range(6):
            store.log.append(records(f"row-{name}-{number}")).result(120)
            assert store.writer.flush(120)

    pollers = [threading.Thread(target=poll, args=(name,)) for name in range(4)]
    for poller in pollers:
        poller.start()
    for poller in pollers:
        poller.join()
    seconds = time.monotonic() - begun
    assert store.tables.inferences.rows == 24
    assert store.tables.inferences.version <= seconds / FORCED_SECONDS + 2

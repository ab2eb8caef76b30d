"""Power cuts: every write and sync of a store is recorded, and the disk is put together as it may be after
the power went at random moments. A store that starts from it has what was acknowledged before, once.
"""

import os
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from crash_steps import ids, write_all
from disk_recorder import after_power_cuts, built_shim
from log_records import SCHEMA
from mixed_senders import MixedPromises, MixedSenders, label_of
from store_process import START_SECONDS, StoreProcess, running

from modelwarden_server.log.protocol import LogDamagedError
from modelwarden_server.store.store import Store

pytestmark = pytest.mark.faults
LONG = os.environ.get("MODELWARDEN_LONG") == "1"
CUTS = 300 if LONG else 25
SECONDS = 30.0 if LONG else 5.0


@dataclass
class _Noted:
    """How long the record of the disk was when clients were told, and what they had been told by then."""

    place: int
    acknowledged: set[str]
    labels: set[str]


def note(trace: Path, senders: MixedSenders) -> _Noted:
    promises = senders.promises
    with promises.lock:
        acknowledged, labels = set(promises.acknowledged), set(promises.labels)
    return _Noted(trace.stat().st_size, acknowledged, labels)


def enough(promises: MixedPromises) -> bool:
    """Whether there is something of each kind to be lost, however slow the machine is."""
    return promises.files > 1 and len(promises.acknowledged) > 200 and len(promises.labels) > 20


@dataclass
class _Recorded:
    """A store that was recorded while clients sent to it."""

    trace: Path
    root: Path
    noted: list[_Noted]
    sent: set[str]


def recorded(folder: Path, seconds: float, **environment: str) -> _Recorded:
    trace, root = folder / "trace", folder / "store" / "data"
    environment |= {"LD_PRELOAD": str(built_shim(folder)), "MW_TRACE": str(trace), "MW_UNDER": str(root)}
    store = StoreProcess(folder / "store", commit_seconds=0.1, module="eager_store", environment=environment)
    noted = []
    with running(store):
        senders = MixedSenders(store).start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or not enough(senders.promises):
            assert time.monotonic() < deadline + START_SECONDS, senders.promises.wrong[:3]
            time.sleep(0.02)
            noted.append(note(trace, senders))
        promises = senders.stop()
        store.kill()
    assert promises.wrong == []
    return _Recorded(trace, root, noted, promises.acknowledged | promises.unanswered)


def cut_and_check(made: _Recorded, folder: Path, cuts: int) -> int:
    """Cut the power so often, and look each time; returns how many acknowledged rows were found again."""
    chance = random.Random(7)
    places = sorted(chance.randrange(1000, made.trace.stat().st_size) for _ in range(cuts))
    checked = 0
    for place, disk, randomly in after_power_cuts(made.trace, made.root, places, seed=7):
        before = [told for told in made.noted if told.place <= place]
        target = folder / f"cut-{place}"
        disk.write(target, randomly)
        checked += check(target, before[-1] if before else _Noted(0, set(), set()), made.sent)
        shutil.rmtree(target)
    return checked


@pytest.mark.timeout(3600)
def test_what_was_acknowledged_before_a_power_cut_is_there_after_it(tmp_path: Path) -> None:
    made = recorded(tmp_path, SECONDS)
    found = cut_and_check(made, tmp_path, CUTS)
    print(
        f"{CUTS} power cuts, acknowledged rows found again {found}, trace {made.trace.stat().st_size} bytes"
    )
    assert found > 0


def test_a_store_that_does_not_sync_its_log_would_be_noticed(tmp_path: Path) -> None:
    made = recorded(tmp_path, 2.0, MW_CARELESS="1")
    with pytest.raises((AssertionError, LogDamagedError)):
        cut_and_check(made, tmp_path, 25)


def check(folder: Path, told: _Noted, sent: set[str]) -> int:
    store = Store.open(folder, SCHEMA)
    try:
        assert store.warning is None
        assert store.ledger.totals.balanced
        write_all(store)
        assert store.ledger.totals.balanced
        stored = ids(store.tables.inferences)
        assert len(stored) == len(set(stored)), "rows are stored twice"
        assert told.acknowledged <= set(stored), "acknowledged rows are gone"
        assert set(stored) <= sent
        assert len(store.ids) == len(stored)
        labels: dict[str, set[Any]] = {}
        truth = store.tables.truth
        for batch in truth.read(truth.files, ["partner_inference_id", "gt"]):
            for name, value in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                labels.setdefault(name, set()).add(value)
        for name in told.labels:
            assert labels.get(name) == {label_of(name)["ground_truth_data"]["gt"]}, "a label is gone"
    finally:
        store.log.close()
    return len(told.acknowledged)

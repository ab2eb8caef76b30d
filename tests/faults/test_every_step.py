"""Every step of taking files in, of compaction, of retention and of forgetting: a process that ends there
leaves nothing lost, doubled or half done.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash_steps import STEPS_OF_FILES, crash_at, ids, open_again_and_again, write_all
from log_records import records, stage

pytestmark = pytest.mark.faults


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Any]:
    """Opens the store of one folder again and again."""
    with open_again_and_again(tmp_path) as open_again:
        yield open_again


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize(("owner", "step"), STEPS_OF_FILES, ids=[name for _, name in STEPS_OF_FILES])
def test_files_are_stored_once_wherever_the_process_ends(
    stores: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str, call: int, after: bool
) -> None:
    store = stores()
    store.log.append(records("a")).result(10)
    store.take_file(stage(store, "inferences", "b", "cc", sampled_out=4)).result(10)
    store.take_file(stage(store, "ground_truth", "b", "zz")).result(10)
    store.log.append(records("d")).result(10)
    stage(store, "ground_truth", "never named by a record")
    crash_at(lambda: write_all(store), monkeypatch, (owner, step), call, after=after)
    again = stores()
    assert again.warning is None
    assert again.ledger.totals.balanced
    write_all(again)
    assert ids(again.tables.inferences) == ["a", "b", "cc", "d"]
    assert ids(again.tables.truth) == ["a", "b", "d", "zz"]
    totals = again.ledger.totals
    assert (totals.acknowledged, totals.stored, totals.sampled_out, totals.waiting) == (8, 4, 4, 0)
    assert (totals.labels, totals.labels_stored) == (4, 4)
    assert list(again.folders.staged.iterdir()) == []
    last = stores()
    assert (len(last.ids), last.ledger.totals.stored, last.ledger.totals.labels_stored) == (4, 4, 4)

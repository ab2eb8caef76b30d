"""Every step of taking files in, of compaction, of retention and of forgetting: a process that ends there
leaves nothing lost, doubled or half done.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from crash_steps import STEPS, STEPS_OF_FILES, Step, crash_at, ids, open_again_and_again, write_all
from delta_witness import ask
from deltalake import DeltaTable
from log_records import identify_names, records, stage

from modelwarden_server.store import forget_requests as requests_module
from modelwarden_server.store import tombstones as tombstones_module
from modelwarden_server.store import upkeep as upkeep_module
from modelwarden_server.store.delta import AppendTable
from modelwarden_server.store.forget import Forgetting
from modelwarden_server.store.forget_requests import ForgetRequests, new_request
from modelwarden_server.store.ids import Known
from modelwarden_server.store.runs import RunSet
from modelwarden_server.store.store import Store
from modelwarden_server.store.upkeep import KeepRules

pytestmark = pytest.mark.faults
CALLS = [1, 2, 3] if os.environ.get("MODELWARDEN_LONG") == "1" else [1]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Any]:
    """Opens the store of one folder again and again."""
    with open_again_and_again(tmp_path) as open_again:
        yield open_again


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("owner", "step"), STEPS_OF_FILES, ids=[name for _, name in STEPS_OF_FILES])
def test_files_are_stored_once_wherever_the_process_ends(
    stores: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str, call: int, after: bool
) -> None:
    store = stores()
    store.log.append(records("a")).result(120)
    store.take_file(stage(store, "inferences", "b", "cc", sampled_out=4)).result(120)
    store.take_file(stage(store, "ground_truth", "b", "zz")).result(120)
    store.log.append(records("d")).result(120)
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


NAMES = [f"row-{number}" for number in range(5)]
LATER = 40 * 86_400.0


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with five rows and labels in as many versions, their ids on the disk."""
    folder = tmp_path_factory.mktemp("filled")
    with open_again_and_again(folder) as open_again:
        store = open_again()
        for number, name in enumerate(NAMES):
            store.log.append(records(name, arrival=1 + number)).result(120)
            write_all(store)
        store.ids.flush()
    return folder


@pytest.fixture
def filled(filled_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Opens a copy of that store again and again."""
    monkeypatch.setattr(upkeep_module, "FEWEST", 4)
    shutil.copytree(filled_once, tmp_path / "data")
    with open_again_and_again(tmp_path / "data") as open_again:
        yield open_again


def tend(store: Store, rules: KeepRules) -> None:
    """Do all that maintenance has to do, as if files could go at once."""
    upkeep = store.maintenance
    upkeep.rules = lambda: rules
    upkeep.clock = lambda: LATER
    upkeep.steady.trust_seconds = 0.0
    upkeep.pace = replace(upkeep.pace, grace=0.0)
    while upkeep.attend():
        pass


STEPS_OF_UPKEEP: list[Step] = [
    *(step for step in STEPS if step[1] not in ("cut", "update_incremental")),
    (AppendTable, "replace"),
    (AppendTable, "vacuum"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "step"), STEPS_OF_UPKEEP, ids=[name for _, name in STEPS_OF_UPKEEP])
def test_a_compaction_changes_no_row_wherever_it_ends(
    filled: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str, after: bool
) -> None:
    store = filled()
    crash_at(lambda: tend(store, KeepRules()), monkeypatch, (owner, step), 1, after=after)
    again = filled()
    assert again.warning is None
    tend(again, KeepRules())
    for table in (again.tables.inferences, again.tables.truth):
        assert ids(table) == sorted(NAMES)
        assert len(table.files) == 1
        assert len(list(table.folder.glob("part-*"))) == 1
        assert [file.version for file in table.files_added(0)] == [5]
    assert len(again.ids) == 5
    again.log.append(records("new")).result(120)
    write_all(again)
    assert [file.version for file in again.tables.inferences.files_added(5)] == [
        again.tables.inferences.version
    ]


def test_an_independent_reader_sees_the_same_rows_after_a_compaction(filled: Any) -> None:
    store = filled()
    query = "SELECT count(*), count(DISTINCT partner_inference_id), min(received_timestamp)::VARCHAR,"
    query += " max(received_timestamp)::VARCHAR FROM delta_scan(?)"
    before = ask(query, str(store.tables.inferences.folder))
    tend(store, KeepRules())
    assert ask(query, str(store.tables.inferences.folder)) == before
    assert before[0][:2] == [5, 5]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "step"), STEPS_OF_UPKEEP, ids=[name for _, name in STEPS_OF_UPKEEP])
def test_rows_are_retired_and_counted_once_wherever_it_ends(
    filled: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str, after: bool
) -> None:
    rules = KeepRules(seconds=39 * 86_400)
    store = filled()
    crash_at(lambda: tend(store, rules), monkeypatch, (owner, step), 1, after=after)
    again = filled()
    assert again.warning is None
    tend(again, rules)
    assert ids(again.tables.inferences) == []
    assert ids(again.tables.truth) == sorted(NAMES), "labels stay as long again"
    assert list(again.tables.inferences.folder.glob("part-*")) == []
    last = filled()
    totals = last.ledger.totals
    assert totals.balanced
    assert (totals.acknowledged, totals.stored, totals.retired) == (5, 5, 5)
    assert (last.tables.inferences.rows, totals.labels_stored) == (0, 5)
    keys, digests = identify_names(*NAMES)
    assert set(last.ids.look_up(keys, digests).tolist()) == {Known.SAME}, "sent again they are not taken in"


def forgetting(store: Store) -> Forgetting:
    duty = Forgetting(store, ForgetRequests(store.folders.forget / "requests"), store.tombstones)
    store.maintenance.duties[:] = [duty]
    return duty


STEPS_OF_FORGETTING: list[Step] = [
    (requests_module, "replace_file"),
    (tombstones_module, "replace_file"),
    (DeltaTable, "create_write_transaction"),
    (AppendTable, "replace"),
    (AppendTable, "stage"),
    (RunSet, "drop"),
    (RunSet, "keep"),
]


@pytest.mark.parametrize("by", ["ids", "attribute"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("owner", "step"), STEPS_OF_FORGETTING, ids=[name for _, name in STEPS_OF_FORGETTING]
)
def test_what_is_to_be_forgotten_is_gone_for_good_wherever_it_ends(
    filled: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str, call: int, after: bool, by: str
) -> None:
    store = filled()
    wanted = NAMES[3:] if by == "ids" else NAMES
    request = (
        new_request(1, datetime.now(UTC), ids=wanted)
        if by == "ids"
        else new_request(1, datetime.now(UTC), attribute="age", value=41)
    )
    duty = forgetting(store)
    duty.accept(request)
    crash_at(lambda: tend(store, KeepRules()), monkeypatch, (owner, step), call, after=after)
    again = filled()
    duty = forgetting(again)
    assert again.warning is None
    tend(again, KeepRules())
    left = sorted(set(NAMES) - set(wanted))
    assert ids(again.tables.inferences) == ids(again.tables.truth) == left
    (audit,) = ForgetRequests(again.folders.forget / "requests").all()
    assert (audit.state, audit.ids, audit.value) == ("done", None, None)
    assert (audit.removed.inferences, audit.removed.ground_truth) == (len(wanted), len(wanted))
    assert audit.known_ids == len(wanted)
    for path in again.folders.root.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".segment", ".stones", ".run"):
            assert b"row-3" not in path.read_bytes(), path
    last = filled()
    totals = last.ledger.totals
    assert totals.balanced
    assert (totals.stored, totals.forgotten) == (5, len(wanted))
    keys, digests = identify_names(*wanted)
    assert set(last.ids.look_up(keys, digests).tolist()) == {Known.FORGOTTEN}
    assert len(last.ids) == len(left)

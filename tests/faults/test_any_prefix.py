"""Replaying any prefix of the log gives the same tables: whatever was sent, wherever passes ended, however
often the store was opened in between, and whatever was merged meanwhile.
"""

import shutil
import uuid
from dataclasses import replace

import pytest
from crash_steps import ids, open_again_and_again, write_all
from hypothesis import given, settings
from hypothesis import strategies as st
from log_records import records, stage

from modelwarden_server.store import upkeep as upkeep_module
from modelwarden_server.store.store import Store

pytestmark = pytest.mark.faults
KINDS = st.sampled_from(["rows", "file", "labels", "left out"])
ACTIONS = st.sampled_from(["nothing", "pass", "open", "tend"])


def send(store: Store, kind: str, number: int) -> tuple[list[str], list[str]]:
    """Send one thing; the ids of rows and of labels that must come of it."""
    a, b = f"{kind}-{number}-a", f"{kind}-{number}-bb"
    match kind:
        case "rows":
            store.log.append(records(a, b, sampled_out=number % 3, arrival=number)).result(120)
            return [a, b], [a, b]
        case "file":
            store.take_file(stage(store, "inferences", a, b, sampled_out=2)).result(120)
            return [a, b], []
        case "labels":
            store.take_file(stage(store, "ground_truth", a, b)).result(120)
            return [], [a, b]
        case _:
            store.log.append(records(a, sampled_out=7, arrival=number)).result(120)
            return [a], [a]


def tend(store: Store) -> None:
    store.ids.flush()
    store.maintenance.pace = replace(store.maintenance.pace, grace=0.0)
    store.maintenance.clock = lambda: 0.0
    while store.maintenance.attend():
        pass


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(KINDS, ACTIONS), min_size=1, max_size=8))
def test_tables_and_sums_are_the_same_wherever_passes_ended(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.getbasetemp() / uuid.uuid4().hex
    rows: list[str] = []
    labels: list[str] = []
    with pytest.MonkeyPatch.context() as patch, open_again_and_again(folder) as open_again:
        patch.setattr(upkeep_module, "FEWEST", 2)
        store = open_again()
        for number, (kind, action) in enumerate(steps):
            more_rows, more_labels = send(store, kind, number)
            rows, labels = rows + more_rows, labels + more_labels
            if action in ("pass", "tend"):
                store.writer._pass()
            if action == "tend":
                tend(store)
            if action == "open":
                store = open_again()
            totals = store.ledger.totals
            assert totals.balanced
            assert totals.labels == len(labels)
        before = store.ledger.totals
        write_all(store)
        last = open_again()
        assert ids(last.tables.inferences) == sorted(rows)
        assert ids(last.tables.truth) == sorted(labels)
        totals = last.ledger.totals
        assert (totals.acknowledged, totals.sampled_out) == (before.acknowledged, before.sampled_out)
        assert (totals.stored, totals.waiting, totals.labels_stored) == (len(rows), 0, len(labels))
        assert len(last.ids) == len(rows)
    shutil.rmtree(folder)

"""kill -9 of the store while rows are explained: each is explained once, with its own values; and what waits
for a server that never comes stays small in memory.
"""

import contextlib
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import census_like
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from explained_rows import explained_row
from query_rooms import IDENTITY, people
from scripted_explainer import Holder
from store_process import ANSWER_SECONDS, KEY, START_SECONDS, StoreProcess, running, wait_for

from modelwarden.resources.cell import CellSettings, ExplainabilitySettings
from modelwarden.resources.report import ExplanationReport
from modelwarden_server.explanations.table import EXPLANATIONS
from modelwarden_server.innerwire import TASK, TASKS
from modelwarden_server.schema.compiled import ID
from modelwarden_server.store.delta import AppendTable

pytestmark = pytest.mark.faults
LONG = os.environ.get("MODELWARDEN_LONG") == "1"
KILLS = 60 if LONG else 2
WAITING = 200_000
MOST_MORE = 64 << 20
"""Of memory, because rows wait to be explained."""
NAMES = ("age", "income", "town", "remark", "p")


def settings(*, enabled: bool = True) -> CellSettings:
    plain = census_like.settings()
    explainability = ExplainabilitySettings(enabled=enabled, algorithm="shap")
    enrichments = plain.enrichments.model_copy(update={"explainability": explainability})
    return plain.model_copy(update={"enrichments": enrichments})


class Sender:
    """Sends rows until they are acknowledged, and knows what their values are."""

    def __init__(self, store: StoreProcess) -> None:
        self.store = store
        self.values: dict[str, list[float]] = {}

    def send(self, rows: int) -> None:
        first = len(self.values)
        data = people(rows, seed=first + 1).to_pylist()
        body = [
            {
                "partner_inference_id": f"id-{first + place}",
                "inference_timestamp": "2026-03-01T12:00:00Z",
                "inference_data": {name: row[name] for name in NAMES},
            }
            for place, row in enumerate(data)
        ]
        url = f"{self.store.url}{self.store.inferences_path}"
        answer = httpx.post(url, json=body, headers={"Authorization": KEY}, timeout=ANSWER_SECONDS)
        assert answer.json()["counts"]["success"] == rows, answer.text
        for place, row in enumerate(data):
            self.values[f"id-{first + place}"] = explained_row(row | {"id": ""})["values"]


@contextlib.contextmanager
def twice(holder: Holder) -> Iterator[None]:
    """A holder that brings each answer again, as one does who heard nothing of the first time."""
    stopping = threading.Event()

    def run() -> None:
        with httpx.Client(
            base_url=holder.url, headers={"Authorization": KEY}, timeout=ANSWER_SECONDS
        ) as http:
            while not stopping.is_set():
                with contextlib.suppress(httpx.TransportError):
                    taken = http.post(TASKS, params={"holder": holder.name})
                    if taken.status_code == 200:
                        with pa.ipc.open_stream(taken.content) as reader:
                            rows = reader.read_all().combine_chunks().to_batches()[0]
                        for _ in range(2):
                            http.put(f"{TASKS}/{taken.headers[TASK]}", content=holder.answer(rows))
                stopping.wait(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def report(store: StoreProcess) -> ExplanationReport:
    server = store.status().server
    return (server and server.explanations) or ExplanationReport()


def table(store: StoreProcess) -> pa.Table:
    """The explanations of a store that has ended."""
    opened = AppendTable.open(store.data_folder / "tables" / "explanations", EXPLANATIONS, frozenset({ID}))
    return pa.Table.from_batches(list(opened.read(opened.files)), EXPLANATIONS)


@pytest.mark.timeout(1800)
def test_every_row_is_explained_once_whatever_is_killed(tmp_path: Path) -> None:
    chance = random.Random(int(os.environ.get("MODELWARDEN_SEED", "20261121")))
    store = StoreProcess(tmp_path, identity=IDENTITY, settings=settings(), module="eager_store")
    with running(store), twice(Holder(store.url, "twice")), Holder(store.url, "once").at_work():
        sender = Sender(store)
        for _ in range(KILLS):
            for _ in range(3):
                sender.send(chance.randrange(50, 200))
            wait_for(lambda: report(store).explained or report(store).waiting)
            threading.Event().wait(chance.random() * 0.4)  # the moment of the kill is what is tested
            store.kill()
            store.start()
        wait_for(lambda: report(store).explained == len(sender.values), START_SECONDS)
        told = report(store)
        assert (told.waiting, told.failed, told.skipped) == (0, 0, 0)
        assert told.chosen == len(sender.values)
        assert store.terminate() == 0
    found = table(store)
    ids = found.column(ID).to_pylist()
    assert len(ids) == len(set(ids))
    assert dict(zip(ids, found.column("values").to_pylist(), strict=True)) == sender.values


def upload(store: StoreProcess, folder: Path) -> None:
    """A file with as many rows as may wait in this test."""
    rows = people(WAITING, seed=9).select(list(NAMES))
    ids = pa.array([f"file-{place}" for place in range(WAITING)])
    times = pa.array(np.full(WAITING, 1_772_366_400_000_000), pa.timestamp("us", "UTC"))
    columns = {"partner_inference_id": ids, "inference_timestamp": times}
    columns |= {name: rows.column(name) for name in NAMES}
    path = folder / "rows.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=20_000)
    with store.client() as client, path.open("rb") as content:
        answer = client.post(
            f"{store.inferences_path}/file", files={"inference_data": ("rows.parquet", content)}
        )
        assert answer.json()["counts"]["success"] == WAITING, answer.text[:500]


def test_two_hundred_thousand_rows_wait_in_bounded_memory(tmp_path: Path) -> None:
    peaks = []
    for enabled in (False, True):
        folder = tmp_path / str(enabled)
        store = StoreProcess(folder, identity=IDENTITY, settings=settings(enabled=enabled))
        with running(store):
            upload(store, folder)
            if enabled:
                wait_for(lambda store=store: report(store).waiting == WAITING, START_SECONDS)
                with Holder(store.url, "late").at_work():
                    wait_for(lambda store=store: report(store).explained > 5000, START_SECONDS)
                told = report(store)
                assert told.chosen == WAITING
                assert told.skipped == 0
            wait_for(lambda store=store: store.status().rows.stored == WAITING, START_SECONDS)
            peaks.append(store.peak_memory())
    print(f"peak memory without and with {WAITING} rows waiting: {[peak >> 20 for peak in peaks]} MiB")
    assert peaks[1] - peaks[0] < MOST_MORE

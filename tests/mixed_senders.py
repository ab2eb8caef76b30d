"""Clients that send everything a cell takes, whether it is there or not: rows, files of two kinds, late
labels, and, to a batch model, batches that they close. They remember what they were promised.
"""

import io
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import census_like as census
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from row_senders import Promises, row_of, rows_in_table
from store_process import ANSWER_SECONDS, StoreProcess


def nested_file(names: list[str], **more: str) -> bytes:
    """Rows as lines of JSON."""
    return b"\n".join(json.dumps(row_of(name) | more).encode() for name in names)


def parquet_file(names: list[str]) -> bytes:
    """The same rows as a flat parquet file."""
    flat = []
    for name in names:
        row = row_of(name)
        flat.append(
            {k: v for k, v in row.items() if not isinstance(v, dict)}
            | row["inference_data"]
            | row.get("ground_truth_data", {"gt": None})
            | {"ground_truth_timestamp": row.get("ground_truth_timestamp")}
        )
    columns = {key: [row.get(key) for row in flat] for key in flat[0]}
    types = {
        "gt": pa.int64(),
        "ground_truth_timestamp": pa.string(),
        "note": pa.string(),
        "state": pa.string(),
    }
    table = pa.table({k: pa.array(v, types.get(k)) for k, v in columns.items()})
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def label_of(name: str) -> dict[str, Any]:
    """The label that goes with an id of a label sender."""
    return {
        "partner_inference_id": name,
        "ground_truth_timestamp": census.NOW,
        "ground_truth_data": {"gt": random.Random(name).randrange(2)},
    }


@dataclass
class MixedPromises(Promises):
    """Also labels that were acknowledged, and batches that were closed, with their rows."""

    labels: set[str] = field(default_factory=set)
    closed: dict[str, int] = field(default_factory=dict)
    files: int = 0


class MixedSenders:
    """Threads that send until `stop`; each goes on with the same thing until it is answered."""

    def __init__(self, store: StoreProcess, *, batches: bool = False) -> None:
        self.promises = MixedPromises()
        self._store = store
        self._stopping = threading.Event()
        jobs: list[Callable[[httpx.Client, int], None]] = (
            [self._batch, self._batch] if batches else [self._rows, self._rows, self._file, self._labels]
        )
        self._threads = [
            threading.Thread(target=self._run, args=(job, number), daemon=True)
            for number, job in enumerate(jobs)
        ]

    def start(self) -> "MixedSenders":
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> MixedPromises:
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * ANSWER_SECONDS)
            assert not thread.is_alive()
        return self.promises

    def _run(self, job: Callable[[httpx.Client, int], None], thread: int) -> None:
        number = thread
        with self._store.client() as client:
            while not self._stopping.is_set():
                job(client, number)
                number += len(self._threads)

    def _rows(self, client: httpx.Client, number: int) -> None:
        ids = [f"row-{number}-{i}" for i in range(random.Random(number).choice([1, 1, 7, 60]))]
        body = json.dumps([row_of(name) for name in ids]).encode()
        self._until_answered(ids, lambda: client.post(self._store.inferences_path, content=body))
        self._stopping.wait(0.03)

    def _file(self, client: httpx.Client, number: int) -> None:
        ids = [f"file-{number}-{i}" for i in range(random.Random(number).choice([3, 40, 400]))]
        content = parquet_file(ids) if number % 8 < 4 else nested_file(ids)
        self._upload(client, ids, content)
        self._stopping.wait(0.1)

    def _upload(self, client: httpx.Client, ids: list[str], content: bytes) -> None:
        path = f"{self._store.inferences_path}/file"

        def send() -> httpx.Response:
            return client.post(path, files={"inference_data": ("rows", content)})

        answer = self._until_answered(ids, send, rows=False)
        if answer is not None:
            counts = answer.json()["counts"]
            with self.promises.lock:
                if counts["success"] != len(ids):
                    self.promises.wrong.append(f"file: {answer.text[:300]}")
                self.promises.acknowledged.update(ids)
                self.promises.unanswered.difference_update(ids)
                self.promises.files += 1

    def _labels(self, client: httpx.Client, number: int) -> None:
        ids = [f"label-{number}-{i}" for i in range(5)]
        path = self._store.inferences_path.replace("/inferences", "/ground_truth")
        body = json.dumps([label_of(name) for name in ids]).encode()
        answer = self._until_answered([], lambda: client.patch(path, content=body), rows=False)
        if answer is not None:
            assert answer.json()["counts"]["success"] == len(ids), answer.text
            self.promises.labels.update(ids)
        self._stopping.wait(0.05)

    def _batch(self, client: httpx.Client, number: int) -> None:
        """Rows of one batch, as rows and as a file, then its end."""
        batch = f"batch-{number}"
        ids = [f"{batch}-{i}" for i in range(10)]
        body = json.dumps([row_of(name) | {"batch_id": batch} for name in ids[:4]]).encode()
        self._until_answered(ids[:4], lambda: client.post(self._store.inferences_path, content=body))
        if not set(ids[:4]) <= self.promises.acknowledged:
            return
        self._upload(client, ids[4:], nested_file(ids[4:], batch_id=batch))
        if not set(ids) <= self.promises.acknowledged:
            return
        path = self._store.inferences_path.replace("/inferences", f"/batches/{batch}")
        end = {"status": "uploaded", "total_record_count": 10}
        answer = self._until_answered([], lambda: client.patch(path, json=end), rows=False, good=200)
        if answer is not None:
            self.promises.closed[batch] = 10

    def _until_answered(
        self, ids: list[str], send: Callable[[], httpx.Response], *, rows: bool = True, good: int = 207
    ) -> httpx.Response | None:
        """Send the same thing until it is answered; None when told to stop before."""
        self.promises.unanswered.update(ids)
        while not self._stopping.is_set():
            try:
                answer = send()
            except httpx.TransportError:
                self._stopping.wait(0.2)
                continue
            if answer.status_code in (429, 503):
                with self.promises.lock:
                    self.promises.refused_requests += 1
                    if "retry-after" not in answer.headers:
                        self.promises.wrong.append(f"{answer.status_code} without Retry-After")
                self._stopping.wait(0.1)
                continue
            if rows:
                self.promises.note(ids, answer)
            elif answer.status_code != good:
                self.promises.wrong.append(f"{answer.status_code} {answer.text[:300]}")
                return None
            return answer
        return None


def check_labels(store: StoreProcess, promises: MixedPromises) -> None:
    """Every promised label is in the table, with one value however often it is there."""
    truth = rows_in_table(store.data_folder / "tables" / "ground_truth")
    values: dict[str, set[int]] = {}
    for name, value in zip(truth.column(0).to_pylist(), truth.column("gt").to_pylist(), strict=True):
        values.setdefault(name, set()).add(value)
    for name in promises.labels:
        assert values.get(name) == {label_of(name)["ground_truth_data"]["gt"]}, name

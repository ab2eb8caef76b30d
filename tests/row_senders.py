"""Clients that send rows with known ids until told to stop, and remember what they were promised."""

import json
import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import census_like as census
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from store_process import ANSWER_SECONDS, START_SECONDS, StoreProcess, wait_for


def row_of(name: str) -> dict[str, Any]:
    """The one row that goes with an id: whoever sends the id again sends the same data."""
    chance = random.Random(name)
    return census.row(
        name,
        truth=chance.randrange(2) if chance.random() < 0.3 else None,
        age=chance.randrange(100),
        income=chance.gauss(0, 1),
        state=chance.choice(["MA", "NY", None]),
        note=chance.choice([None, "x" * chance.randrange(200)]),
    )


@dataclass
class Promises:
    """What clients know: ids that were acknowledged, and ids that were sent without an answer so far."""

    acknowledged: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    refused_requests: int = 0
    dropped: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, ids: list[str], answer: httpx.Response) -> None:
        with self.lock:
            if answer.status_code in (429, 503):
                self.refused_requests += 1
                if "retry-after" not in answer.headers:
                    self.wrong.append(f"{answer.status_code} without Retry-After")
                return
            if answer.status_code != 207:
                self.wrong.append(f"{answer.status_code} {answer.text[:200]}")
                return
            results = answer.json()["results"]
            for name, result in zip(ids, results, strict=True):
                if result["status"] == 200:
                    self.acknowledged.add(name)
                    self.unanswered.discard(name)
                else:
                    self.wrong.append(f"{name}: {result}")


class Senders:
    """Threads that send to a store, whether it is there or not, until `stop`."""

    def __init__(self, store: StoreProcess, threads: int = 4, label: str = "") -> None:
        self.promises = Promises()
        self._store = store
        self._stopping = threading.Event()
        self.threads = threads
        self._threads = [
            threading.Thread(target=self._send, args=(f"{label}{number}",), daemon=True)
            for number in range(threads)
        ]

    def start(self) -> "Senders":
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> Promises:
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * ANSWER_SECONDS)
            assert not thread.is_alive()
        return self.promises

    def acknowledged_more_than(self, count: int) -> None:
        wait_for(lambda: len(self.promises.acknowledged) > count or self.promises.wrong, START_SECONDS)

    def _send(self, name: str) -> None:
        chance = random.Random(name)
        number = 0
        again: list[str] = []
        with self._store.client() as client:
            while not self._stopping.is_set():
                ids = again or [f"{name}-{number + i}" for i in range(chance.choice([1, 1, 7, 60]))]
                if not again:
                    number += len(ids)
                self.promises.unanswered.update(ids)
                again = self._post(client, ids, chance)
                # The store's process needs a share of the two cores to start again.
                self._stopping.wait(0.03)

    def _post(self, client: httpx.Client, ids: list[str], chance: random.Random) -> list[str]:
        """Send rows; returns what to send again: half of what got no answer at once, and some answered."""
        body = json.dumps([row_of(name) for name in ids]).encode()
        try:
            answer = client.post(self._store.inferences_path, content=body)
        except httpx.TransportError as error:
            if not isinstance(error, httpx.ConnectError):
                self.promises.dropped.append(repr(error))
            self._stopping.wait(0.2)
            return ids if chance.random() < 0.5 else []
        self.promises.note(ids, answer)
        if answer.status_code in (429, 503):
            self._stopping.wait(0.05)
        return ids if chance.random() < 0.05 else []


def send_again(store: StoreProcess, promises: Promises) -> None:
    """Send everything that never got an answer, as a client would."""
    left = sorted(promises.unanswered)
    with store.client() as client:
        for start in range(0, len(left), 500):
            ids = left[start : start + 500]
            body = json.dumps([row_of(name) for name in ids]).encode()
            promises.note(ids, client.post(store.inferences_path, content=body))


def rows_in_table(folder: Path) -> pa.Table:
    """The rows of a Delta table, by reading its log and its files without our code or deltalake's."""
    files: dict[str, int] = {}
    log = folder / "_delta_log"
    checkpoints = sorted(log.glob("*.checkpoint.parquet"))
    begin = -1
    if checkpoints:
        begin = int(checkpoints[-1].name.split(".")[0])
        added = pq.read_table(checkpoints[-1], columns=["add"]).column("add").to_pylist()
        files = {a["path"]: 1 for a in added if a is not None}
    for entry in sorted(log.glob("*.json")):
        if int(entry.stem) > begin:
            for line in entry.read_text().splitlines():
                action = json.loads(line)
                if "add" in action:
                    files[action["add"]["path"]] = 1
                if "remove" in action:
                    files.pop(action["remove"]["path"])
    tables = [pq.read_table(folder / name, partitioning=None) for name in files]
    return (
        pa.concat_tables(tables) if tables else pa.table({"partner_inference_id": pa.array([], pa.string())})
    )


def check_exactly_once(store: StoreProcess, promises: Promises) -> int:
    """Every promised row is in the table once, no other twice, each with its own data; returns the rows."""
    assert promises.wrong == []
    table = rows_in_table(store.data_folder / "tables" / "inferences")
    stored = table.column("partner_inference_id").to_pylist()
    assert len(stored) == len(set(stored)), "rows are stored twice"
    missing = promises.acknowledged - set(stored)
    assert missing == set(), f"{len(missing)} acknowledged rows are not in the table"
    foreign = set(stored) - promises.acknowledged - promises.unanswered
    assert foreign == set()
    for name, age, income, state in zip(
        stored, *(table.column(c).to_pylist() for c in ("age", "income", "state")), strict=True
    ):
        data = row_of(name)["inference_data"]
        assert (age, income, state) == (data["age"], data["income"], data["state"])
    truth = rows_in_table(store.data_folder / "tables" / "ground_truth")
    labels = (
        dict(zip(truth.column(0).to_pylist(), truth.column("gt").to_pylist(), strict=True))
        if len(truth)
        else {}
    )
    for name in promises.acknowledged:
        row = row_of(name)
        assert labels.get(name) == row.get("ground_truth_data", {}).get("gt")
    return len(stored)

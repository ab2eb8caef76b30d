"""More and larger requests at once than the store has memory for: refused with a sentence, never held."""

import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import census_like as census
import httpx
import pytest
from row_shapes import ATTRIBUTES, row
from store_process import START_SECONDS, StoreProcess, running, wait_for

pytestmark = pytest.mark.faults
LONG = os.environ.get("MODELWARDEN_LONG") == "1"
CLIENTS = 60 if LONG else 16
LIMIT = 640 << 20
BODY_BYTES = 60 << 20


def plain_body() -> bytes:
    """Rows as they usually are."""
    lists = {"words": None, "series": None}
    one = len(json.dumps(row("r100000", **lists)))
    return census.body(*(row(f"r{100_000 + i}", **lists) for i in range(BODY_BYTES // (one + 2))))


def dense_body() -> bytes:
    """Rows of many short tokens: twelve times as large once they are Python's objects."""
    words = json.dumps(["ab"] * 60_000)
    rows = [
        json.dumps(row(f"dense{i}", words="@")).replace('"@"', words) for i in range(BODY_BYTES // len(words))
    ]
    return f"[{','.join(rows)}]".encode()


def bracket_body() -> bytes:
    """One row that is nothing but brackets."""
    boxes = ",".join(["[]"] * (BODY_BYTES // 3))
    return f"[{json.dumps(row('brackets', boxes='@'))}]".replace('"@"', f"[{boxes}]").encode()


@pytest.mark.timeout(600)
def test_many_large_requests_at_once_stay_within_the_memory_of_a_store(tmp_path: Path) -> None:
    limits = {"limits": {"maxBodySize": "64Mi", "maxRows": 1_000_000, "maxRequestsInFlight": 2}}
    settings = census.settings(attributes=ATTRIBUTES, ingest=limits)
    store = StoreProcess(tmp_path, census.identity(ATTRIBUTES), settings)
    bodies = [plain_body(), dense_body(), bracket_body()]
    assert all(50 << 20 < len(body) < 64 << 20 for body in bodies)

    def send(client: int) -> httpx.Response:
        with store.client() as http:
            return http.post(store.inferences_path, content=bodies[client % len(bodies)], timeout=500)

    with running(store), ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(send, range(CLIENTS)))
        calm = send(0)
        assert calm.status_code == 207, "rows as they usually are, and nobody else"
        seen = Counter(answer.status_code for answer in answers)
        peak = store.peak_memory() >> 20
        print(f"\n{CLIENTS} requests of {BODY_BYTES >> 20} MiB at once: {dict(seen)}, peak {peak} MiB")
        assert store.peak_memory() < LIMIT
        assert seen.keys() <= {207, 400, 429}
        assert seen[429] >= CLIENTS - 11
        for answer in answers:
            if answer.status_code == 429:
                assert answer.headers["retry-after"]
                assert "maxRequestsInFlight" in answer.json()["error"]
            if answer.status_code == 400:
                assert "a row is longer than" in answer.json()["error"]
        taken = sum(a.json()["counts"]["success"] for a in (*answers, calm) if a.status_code == 207)
        assert taken
        acknowledged = store.status().rows.acknowledged
        assert 0 < acknowledged <= taken, "the same rows came several times"
        wait_for(lambda: store.status().rows.stored == acknowledged, START_SECONDS)
        with store.client() as http:
            assert http.post(store.inferences_path, content=census.body(row("after"))).status_code == 207

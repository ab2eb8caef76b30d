"""The profile Job, against a real cell over loopback, and against a store that misbehaves."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
from query_rooms import people, until
from served_cell import INFERENCES, Served, served
from store_process import KEY

from modelwarden.resources.keys import job_key
from modelwarden_server.analysis.profile_format import from_json
from modelwarden_server.jobs.command import AGAIN, DONE, NEVER, run
from modelwarden_server.jobs.store_client import Patience, StoreAwayError, StoreClient, StoreRefusedError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One cell for all tests here: each test has a dataset of its own name."""
    with served(tmp_path_factory.mktemp("cell")) as found:
        yield found


def arguments(store: Served, name: str, content_hash: str) -> list[str]:
    return ["profile", "--store", store.url, "--dataset", name, "--content-hash", content_hash]


def key_for(content_hash: str) -> dict[str, str]:
    return {"MODELWARDEN_JOB_KEY": job_key(KEY, "profile", content_hash)}


def rows_of_json(rows: int, older: float) -> list[dict]:
    data = people(rows, seed=9, older=older).drop_columns(["paid"]).to_pylist()
    start = np.datetime64("2026-03-01T00:00:00")
    return [
        {
            "partner_inference_id": f"i-{i}",
            "inference_timestamp": f"{start + np.timedelta64(i, 's')}Z",
            "inference_data": row,
        }
        for i, row in enumerate(data)
    ]


def test_from_upload_to_verdict_over_loopback(store, capsys):
    content_hash = store.closed_dataset("verdict", 4000, seed=5)
    assert store.dataset("verdict")["state"] == "closed"
    assert run(arguments(store, "verdict", content_hash), key_for(content_hash)) == DONE
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["fetched", "profiled", "done"]
    assert store.dataset("verdict")["state"] == "profiled"
    assert store.dataset("verdict")["profileHash"] == lines[1]["profileHash"]
    until(lambda: store.status()["activeReference"] == "verdict")

    sent = store.http.post(INFERENCES, json=rows_of_json(600, older=12)).json()
    assert sent["counts"]["success"] == 600
    query = {
        "properties": ["age", "income", "town", "p"],
        "metric": "PSI",
        "base": {"source": "reference"},
        "target": {"source": "inference"},
    }
    answer = store.http.post(f"{INFERENCES}/query/data_drift", json=query).json()
    assert answer["computed_from"] == "partials"
    base, target = people(4000, seed=5), people(600, seed=9, older=12)
    wanted = psi(base.column("age").to_numpy(), target.column("age").to_numpy())
    assert answer["query_result"][0]["age"] == pytest.approx(wanted, abs=1e-9)

    drift = store.status()["drift"]
    assert (drift["state"], drift["rows"]) == ("Ok", 600)
    assert [f["name"] for f in drift["features"] if f["drifted"]] == ["age"]
    assert 'modelwarden_drift_flag{feature="age",metric="PSI"} 1.0' in store.http.get("/metrics").text
    wrong = store.http.post(f"{INFERENCES}/query/data_drift", json=query | {"metric": "psi"})
    assert (wrong.status_code, "metric" in wrong.json()["error"]) == (400, True)


def psi(base, target) -> float:
    edges = np.unique(np.quantile(base, np.arange(1, 10) / 10))
    p, q = (np.histogram(x, [-np.inf, *edges, np.inf])[0] / len(x) for x in (base, target))
    return float(((p - q) * np.log(p / q)).sum())


def test_the_job_may_run_again_and_a_wrong_key_or_hash_is_of_no_use_to_repeat(store, capsys):
    content_hash = store.closed_dataset("again", 500, seed=1)
    wrong = "0" * 64
    assert run(arguments(store, "again", content_hash), {"MODELWARDEN_JOB_KEY": "job.profile.x.y"}) == NEVER
    assert run(arguments(store, "again", content_hash), key_for(wrong)) == NEVER
    assert run(arguments(store, "again", wrong), key_for(wrong)) == NEVER
    assert store.dataset("again")["state"] == "closed"
    capsys.readouterr()
    assert run(arguments(store, "again", content_hash), key_for(content_hash)) == DONE
    assert run(arguments(store, "again", content_hash), key_for(content_hash)) == DONE
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert events == ["fetched", "profiled", "done", "profile exists", "done"]


def test_a_profile_that_is_kept_reads_back(store):
    content_hash = store.closed_dataset("kept", 500, seed=2)
    assert run(arguments(store, "kept", content_hash), key_for(content_hash)) == DONE
    answer = store.http.get(f"/internal/v1/artefacts/profile/{content_hash}")
    profile = from_json(answer.content)
    assert (profile.rows, profile.content_hash) == (500, content_hash)
    assert [c.column.name for c in profile.columns] == ["age", "income", "town", "remark", "p", "paid"]


class Misbehaving(BaseHTTPRequestHandler):
    """A store that answers what a test wrote down, one after the other."""

    answers: ClassVar[list[tuple[int, bytes]]] = []

    def do_GET(self) -> None:
        status, body = type(self).answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: pytest shows what failed."""


@pytest.fixture
def misbehaving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def client(url: str, slept: list[float]) -> StoreClient:
    return StoreClient(url, "key", Patience(attempts=4, sleep=slept.append, jitter=lambda: 1.0))


def test_a_store_that_is_away_for_a_moment_is_waited_for_longer_each_time(misbehaving):
    Misbehaving.answers = [
        (503, b'{"error":"recovering"}'),
        (500, b""),
        (200, b"nonsense"),
        (200, b'{"a":1}'),
    ]
    slept: list[float] = []
    with client(misbehaving, slept) as store:
        assert store.get("/x") == {"a": 1}
    assert slept == [0.5, 1.0, 2.0]


def test_a_store_that_stays_away_is_given_up_for_now_and_one_that_refuses_at_once(misbehaving):
    slept: list[float] = []
    Misbehaving.answers = [(503, b"")] * 4
    with client(misbehaving, slept) as store:
        with pytest.raises(StoreAwayError):
            store.get("/x")
        Misbehaving.answers = [(403, b'{"error":"this key is good for another Job"}')]
        with pytest.raises(StoreRefusedError, match="another Job"):
            store.get("/x")
    assert len(slept) == 3


def test_bytes_that_arrive_changed_are_fetched_again_and_never_used(misbehaving, tmp_path):
    good = b"PAR1 and more"
    sha256 = hashlib.sha256(good).hexdigest()
    Misbehaving.answers = [(200, b"PAR1 and less"), (200, good + b"!"), (200, good)]
    with client(misbehaving, []) as store:
        store.fetch("/f", tmp_path / "f", len(good), sha256)
        assert (tmp_path / "f").read_bytes() == good
        Misbehaving.answers = [(200, b"PAR1 and less")] * 4
        with pytest.raises(StoreAwayError):
            store.fetch("/f", tmp_path / "g", len(good), sha256)


def test_without_a_key_or_a_store_the_exit_code_says_what_to_do(capsys, monkeypatch, tmp_path):
    given = ["profile", "--store", "http://127.0.0.1:9", "--dataset", "d", "--content-hash", "h"]
    assert run(given, {}) == NEVER
    assert "MODELWARDEN_JOB_KEY" in capsys.readouterr().out
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr("modelwarden_server.jobs.store_client.Patience.wait", lambda *_: None)
    (tmp_path / "key").write_text("some-key\n")
    assert run(given, {"MODELWARDEN_JOB_KEY_FILE": str(tmp_path / "key")}) == AGAIN
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["event"], line["again"]) == ("failed", True)
    assert "some-key" not in json.dumps(line)

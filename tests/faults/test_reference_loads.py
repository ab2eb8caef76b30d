"""Reference data loaded by a Job into a real store: from a folder, the web, an object store (versitygw)."""

import contextlib
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyarrow import fs
from query_rooms import IDENTITY, people
from reference_rooms import parquet
from store_process import ANSWER_SECONDS, KEY, REPO, StoreProcess, free_port, running, wait_for

from modelwarden.resources.keys import job_key
from modelwarden_server.jobs.command import AGAIN, DONE, NEVER, run
from testbed.binaries import s3_gateway
from testbed.progress import ConsoleReporter

pytestmark = pytest.mark.faults
REFERENCE = f"/api/v3/models/{IDENTITY.model_id}/reference_data"
HASH = "ab" * 32


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    with running(StoreProcess(tmp_path_factory.mktemp("store"), identity=IDENTITY)) as started:
        yield started


@dataclass
class Load:
    """A dataset of the store that is loaded from `source`."""

    store: StoreProcess
    dataset: str
    source: dict[str, Any]
    source_hash: str = HASH

    def declare(self, **wish: Any) -> httpx.Response:
        with self.store.client() as client:
            body = {"closed": False, "sourceHash": self.source_hash} | wish
            return client.put(f"/internal/v1/datasets/{self.dataset}", json=body)

    def arguments(self, folder: Path, *more: str, format: str = "parquet") -> list[str]:  # noqa: A002
        arguments = ["reference", f"--store={self.store.url}", f"--dataset={self.dataset}"]
        arguments += [f"--source-hash={self.source_hash}", f"--source={json.dumps(self.source)}"]
        arguments += [f"--mount={folder}", f"--workdir={folder.parent}", f"--format={format}", *more]
        return arguments

    @property
    def environment(self) -> dict[str, str]:
        return {"MODELWARDEN_JOB_KEY": job_key(KEY, "reference", f"{self.dataset}_{self.source_hash}")}

    def run(self, folder: Path, *more: str, **options: Any) -> tuple[int, str]:
        """The Job in this process: its exit code, and the error that it ended with."""
        with contextlib.redirect_stdout(io.StringIO()) as output:
            code = run(self.arguments(folder, *more, **options), self.environment)
        return code, json.loads(output.getvalue().splitlines()[-1]).get("error", "")

    def launch(self, folder: Path) -> "subprocess.Popen[bytes]":
        """The Job in a process of its own."""
        command = [sys.executable, "-m", "modelwarden_server", "job", *self.arguments(folder)]
        environment = os.environ | self.environment
        environment["PYTHONPATH"] = f"{REPO}/operator:{REPO}/model-server-image"
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def test_a_folder_is_loaded_closed_with_its_count_and_never_changed_again(
    store: StoreProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "claim"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.parquet").write_bytes(parquet(people(1000 + number, seed=number)))
    load = Load(store, "claim", {"persistentVolumeClaim": {"claimName": "mine", "path": "/"}})
    assert load.declare(closed=True).json()["state"] == "open", "nothing is closed before it is loaded"
    with store.client() as client:
        files = [("reference_data", ("x", parquet(people(9, seed=9))))]
        answer = client.post(REFERENCE, files=files, params={"dataset": "claim"})
        assert (answer.status_code, "spec.source" in answer.json()["error"]) == (409, True)
    assert load.run(folder)[0] == DONE
    assert load.run(folder)[0] == DONE, "a second attempt begins anew"
    wrong = load.declare(closed=True, totalRecordCount=3002)
    assert wrong.status_code == 409
    assert "3002" in wrong.json()["error"]
    assert "3003" in wrong.json()["error"]
    closed = load.declare(closed=True, totalRecordCount=3003).json()
    assert (closed["state"], closed["records"], closed["loaded"]) == ("closed", 3003, True)
    code, error = load.run(folder)
    assert (code, "closed" in error) == (NEVER, True)


def test_a_bad_row_refuses_the_source_and_says_which(store: StoreProcess, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    good = people(5, seed=1)
    rows = good.to_pylist()
    rows[3]["age"] = 1.5
    (tmp_path / "config" / "train.json").write_text(json.dumps(rows, default=str))
    load = Load(store, "config", {"configMap": {"name": "small", "key": "train.json"}})
    load.declare()
    assert load.run(tmp_path / "config")[0] == NEVER, "spec.format is parquet"
    assert "json" in load.declare().json()["message"]
    code, _ = load.run(tmp_path / "config", format="json")
    said = load.declare().json()
    assert (code, said["records"], said["loaded"]) == (NEVER, 0, False)
    assert "row 4: attribute age" in said["message"]
    rows[3]["age"] = 2
    (tmp_path / "config" / "train.json").write_text(json.dumps(rows, default=str))
    assert load.run(tmp_path / "config", format="json")[0] == DONE
    assert load.declare().json()["records"] == 5
    other = Load(store, "config", load.source, "cd" * 32)
    assert other.declare().json()["loaded"] is False, "another source is loaded anew"
    assert load.run(tmp_path / "config", format="json")[0] == NEVER, "the Job of the old one is of no use"


def test_a_file_on_the_web_is_loaded_if_its_hash_fits(store: StoreProcess, tmp_path: Path) -> None:
    content = parquet(people(2000, seed=3))
    (tmp_path / "train.parquet").write_bytes(content)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/train.parquet"
        source = {"http": {"url": url, "sha256": hashlib.sha256(content).hexdigest()}}
        load = Load(store, "web", source)
        load.declare()
        assert load.run(tmp_path)[0] == DONE
        assert load.declare(closed=True).json()["records"] == 2000
        forged = Load(store, "forged", {"http": {"url": url, "sha256": "0" * 64}})
        forged.declare()
        assert forged.run(tmp_path)[0] == NEVER
        assert hashlib.sha256(content).hexdigest() in forged.declare().json()["message"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An S3 endpoint with a bucket `data`, and a folder with the credentials."""
    (tmp_path / "s3" / "data").mkdir(parents=True)
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "AWS_ACCESS_KEY_ID").write_text("tester\n")
    (tmp_path / "credentials" / "AWS_SECRET_ACCESS_KEY").write_text("tester-secret")
    port = free_port()
    program = s3_gateway(ConsoleReporter())
    command = [program, "--access", "tester", "--secret", "tester-secret", "--port", f"127.0.0.1:{port}"]
    process = subprocess.Popen([*command, "posix", tmp_path / "s3"], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}", tmp_path / "credentials"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(ANSWER_SECONDS)


def _listens(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=10)
    except httpx.TransportError:
        return False
    return True


@pytest.mark.timeout(1800)  # the gateway is built once
def test_objects_are_loaded_with_credentials_and_not_without(
    store: StoreProcess, tmp_path: Path, bucket: tuple[str, Path]
) -> None:
    endpoint, credentials = bucket
    filesystem = fs.S3FileSystem(
        access_key="tester", secret_key="tester-secret", region="us-east-1", scheme="http",
        endpoint_override=endpoint.removeprefix("http://"),
    )  # fmt: skip
    for number in range(3):
        with filesystem.open_output_stream(f"data/train/part-{number}.parquet") as out:
            out.write(parquet(people(700, seed=number)))
    with filesystem.open_output_stream("data/train/_SUCCESS") as out:
        out.write(b"")
    source: dict[str, Any] = {"uri": "s3://data/train", "endpoint": endpoint}
    load = Load(store, "bucket", {"objectStore": source | {"credentialsSecretRef": {"name": "keys"}}})
    load.declare()
    work = tmp_path / "work"
    work.mkdir()
    assert load.run(work, f"--credentials={credentials}")[0] == DONE
    assert load.declare(closed=True).json()["records"] == 2100
    for name, other, told in (
        ("no-keys", {"credentialsSecretRef": {"name": "keys"}}, "AWS_ACCESS_KEY_ID"),
        ("nobody", {}, "access is denied"),
        ("nothing", {"uri": "s3://data/none", "credentialsSecretRef": {"name": "keys"}}, "no objects"),
    ):
        bad = Load(store, name, {"objectStore": source | other})
        bad.declare()
        more = [f"--credentials={credentials}"] if name == "nothing" else []
        assert bad.run(work, *more)[0] == NEVER, name
        assert told in bad.declare().json()["message"]
    away = Load(
        store, "away", {"objectStore": {"uri": "s3://data/x", "endpoint": f"http://127.0.0.1:{free_port()}"}}
    )
    away.declare()
    assert away.run(work)[0] == AGAIN


@pytest.mark.timeout(600)
def test_a_load_survives_kills_of_job_and_store_and_holds_the_source_and_nothing_else(tmp_path: Path) -> None:
    chance = random.Random(7)
    folder = tmp_path / "claim"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.parquet").write_bytes(parquet(people(20_000, seed=number)))
    with running(StoreProcess(tmp_path / "store", identity=IDENTITY)) as store:
        load = Load(store, "claim", {"persistentVolumeClaim": {"claimName": "mine", "path": "/"}})
        load.declare()
        rows = store.data_folder / "tables" / "reference" / "claim"
        for kill in range(3):
            before = set(rows.glob("part-*.parquet"))
            job = load.launch(folder)
            wanted = chance.randrange(1, 4)
            try:
                wait_for(
                    lambda b=before, w=wanted, j=job: (
                        len(set(rows.glob("part-*")) - b) >= w or j.poll() is not None
                    )
                )
                if kill % 2:
                    store.kill()
                    store.start()
            finally:
                job.kill()
                job.wait(ANSWER_SECONDS)
            assert load.declare().status_code == 200
        assert load.run(folder)[0] == DONE
        closed = load.declare(closed=True, totalRecordCount=80_000).json()
        assert (closed["state"], closed["records"]) == ("closed", 80_000)
        uploads = store.data_folder / "uploads"
        assert list(uploads.iterdir()) == []

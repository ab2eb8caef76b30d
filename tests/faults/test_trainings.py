"""Trainings that are killed, run out of memory or lose their store: the state says so, again gives the same.

A store process over a folder with a profiled reference, and Jobs as processes of their own.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from query_rooms import IDENTITY, people
from reference_rooms import parquet
from store_process import ANSWER_SECONDS, KEY, REPO, START_SECONDS, StoreProcess, running, wait_for
from trivial_training import NAME

from modelwarden.resources.keys import job_key
from modelwarden.resources.report import EnrichmentReport
from modelwarden_server.jobs.command import AGAIN, DONE, run
from modelwarden_server.jobs.store_client import StoreClient

pytestmark = pytest.mark.faults
ROUNDS = 30 if os.environ.get("MODELWARDEN_LONG") == "1" else 1
REFERENCE = f"/api/v3/models/{IDENTITY.model_id}/reference_data"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell's folder with a profiled reference."""
    folder = tmp_path_factory.mktemp("template")
    with running(Trained(folder)) as store, store.client() as client:
        client.post(REFERENCE, files=[("reference_data", ("x.parquet", parquet(people(2000))))])
        client.patch(REFERENCE, json={"status": "uploaded", "total_record_count": 2000}).raise_for_status()
        (dataset,) = store.status().reference
        arguments = ["profile", f"--store={store.url}", f"--dataset={dataset.name}"]
        key = job_key(KEY, "profile", str(dataset.content_hash))
        done = run([*arguments, f"--content-hash={dataset.content_hash}"], {"MODELWARDEN_JOB_KEY": key})
        assert done == DONE
        assert store.terminate() == 0
    return folder


@dataclass
class Trained(StoreProcess):
    """A store whose only kind is the trivial one, and its Jobs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, identity=IDENTITY, module="trivial_training")
        self.kind = NAME

    def entry(self) -> EnrichmentReport:
        return next(found for found in self.status().enrichments if found.kind == self.kind)

    def job(self, how: str = "", memory: int | None = None, threads: str = "1") -> "subprocess.Popen[bytes]":
        """A training Job, as a pod would run it."""
        wanted = self.entry().wanted
        assert wanted is not None
        command = [sys.executable, "-m", self.module, "job", "train", f"--store={self.url}"]
        environment = os.environ | {
            "PYTHONPATH": f"{REPO}/operator:{REPO}/model-server-image:{REPO}/tests",
            "MODELWARDEN_JOB_KEY": job_key(KEY, "train", f"{self.kind}_{wanted}"),
            "OPENBLAS_NUM_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            "TRIVIAL": how,
        }

        def bounded() -> None:
            if memory is not None:
                resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

        return subprocess.Popen(
            [*command, f"--kind={self.kind}", f"--input-hash={wanted}", f"--workdir={self.folder}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=bounded,
        )

    @property
    def record(self) -> Path:
        return self.data_folder / "enrichments" / f"{self.kind}.json"

    @property
    def artefacts(self) -> list[Path]:
        folder = self.data_folder / "artefacts" / self.kind
        return list(folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Iterator[Trained]:
    folder = tmp_path / "cell"
    shutil.copytree(template / "data", folder / "data")
    with running(Trained(folder)) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of what a training gives that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(template / "data", folder / "data")
    with running(Trained(folder)) as store:
        ended(store.job(), DONE)
        return str(store.entry().artefact_hash)


def ended(job: "subprocess.Popen[bytes]", code: int) -> list[dict[str, object]]:
    """The lines of a Job that has ended as it should."""
    out, _ = job.communicate(timeout=START_SECONDS)
    assert job.returncode == code, out.decode()
    return [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]


@contextlib.contextmanager
def training(store: Trained) -> Iterator["subprocess.Popen[bytes]"]:
    """A Job that has read its rows and goes on when the block ends."""
    gate = store.folder / "gate"
    gate.touch()
    job = store.job(f"wait:{gate}")
    try:
        wait_for(lambda: gate.with_name("gate.reached").exists() or job.poll() is not None, START_SECONDS)
        assert job.poll() is None
        yield job
    except BaseException:
        job.kill()
        job.communicate(timeout=ANSWER_SECONDS)
        raise
    finally:
        gate.unlink()


def test_a_job_that_is_killed_is_due_again_and_gives_the_same(store: Trained, undisturbed: str) -> None:
    with training(store) as job:
        job.send_signal(signal.SIGKILL)
        job.communicate(timeout=ANSWER_SECONDS)
        before = store.entry()
        assert (before.state, before.due, before.installed) == ("Training", True, None)
        assert store.artefacts == []
    ended(store.job(), DONE)
    assert (store.entry().state, store.entry().artefact_hash) == ("Ready", undisturbed)


def test_a_store_that_restarts_during_the_training_gets_the_same(store: Trained, undisturbed: str) -> None:
    with training(store) as job:
        store.kill()
    # The Job finds nobody to bring its artefact to, and waits.
    store.start()
    ended(job, DONE)
    assert (store.entry().state, store.entry().artefact_hash) == ("Ready", undisturbed)


def test_a_store_that_stays_away_ends_the_job_for_another_attempt(
    store: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(store.entry().wanted)
    store.kill()
    monkeypatch.setattr("modelwarden_server.jobs.store_client.Patience.wait", lambda *_: None)
    key = {"MODELWARDEN_JOB_KEY": job_key(KEY, "train", f"{NAME}_{name}")}
    assert run(["train", f"--store={store.url}", f"--kind={NAME}", f"--input-hash={name}"], key) == AGAIN


def test_an_artefact_whose_answer_is_lost_is_brought_once(store: Trained, undisturbed: str) -> None:
    class Losing(httpx.HTTPTransport):
        puts = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            if request.method == "PUT":
                type(self).puts += 1
                if self.puts == 1:
                    answer.read()
                    raise httpx.ReadError("the answer is lost", request=request)
            return answer

    from trivial_training import train

    from modelwarden_server.jobs.train import TrainTask, run_train

    task = TrainTask(NAME, str(store.entry().wanted), store.folder, lambda _: train)
    with StoreClient(store.url, KEY) as client:
        headers = {"Authorization": KEY}
        client._http = httpx.Client(
            base_url=store.url, headers=headers, transport=Losing(), timeout=ANSWER_SECONDS
        )
        run_train(task, client, lambda *_, **__: None)
    assert Losing.puts == 2
    assert (store.entry().state, store.entry().artefact_hash) == ("Ready", undisturbed)
    assert len(store.artefacts) == 1


def test_a_job_without_enough_memory_says_so_and_is_tried_again(store: Trained, undisturbed: str) -> None:
    lines = ended(store.job("grow", memory=2 << 30), AGAIN)
    assert (lines[-1]["event"], lines[-1]["again"]) == ("failed", True)
    found = store.entry()
    assert (found.state, found.due, "out of memory" in found.message) == ("Failed", True, True)
    ended(store.job(), DONE)
    assert (store.entry().state, store.entry().artefact_hash) == ("Ready", undisturbed)


def test_what_is_torn_is_trained_again_while_the_cell_serves(store: Trained, undisturbed: str) -> None:
    ended(store.job(), DONE)
    store.kill()
    (path,) = store.artefacts
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    store.start()
    found = store.entry()
    assert (found.state, found.reason, found.due) == ("Training", "Damaged", True)
    assert store.status().ready
    ended(store.job(), DONE)
    assert store.entry().state == "Ready"
    assert [path.name for path in store.artefacts] == [undisturbed]


def test_a_store_killed_again_and_again_during_installations_is_never_half_installed(
    store: Trained, undisturbed: str
) -> None:
    seen = set()
    for attempt in range(ROUNDS):
        assert store.entry().due
        job = store.job()
        wait_for(lambda: store.artefacts or store.record.exists(), START_SECONDS, 0.0005 * (attempt + 1))
        store.kill()
        store.start()
        found = store.entry()
        seen.add(found.state)
        assert found.reason in ("Training", "InUse"), found
        assert found.state != "Ready" or found.artefact_hash == undisturbed
        ended(job, DONE)
        assert store.entry().artefact_hash == undisturbed
        off_and_on(store)
    assert seen


def off_and_on(store: Trained) -> None:
    """What is installed is forgotten, and due again."""
    on = store.settings
    off = on.enrichments.anomaly_detection.model_copy(update={"enabled": False})
    told = on.enrichments.model_copy(update={"anomaly_detection": off})
    store.write_settings(on.model_copy(update={"enrichments": told}))
    wait_for(lambda: store.entry().state == "Disabled")
    assert store.artefacts == []
    assert not store.record.exists()
    store.write_settings(on)
    wait_for(lambda: store.entry().due)


def test_a_real_training_gives_the_same_bytes_however_it_is_run(template: Path, tmp_path: Path) -> None:
    """Anomaly detection: killed as soon as it begins, with other threads, turned off and on."""
    folder = tmp_path / "cell"
    shutil.copytree(template / "data", folder / "data")
    made: list[str] = []
    real = Trained(folder)
    real.module, real.kind = "modelwarden_server", "anomaly"
    with running(real) as store:
        for threads in ("1", "4"):
            if threads == "1":
                job = store.job(threads=threads)
                assert job.stdout is not None
                assert b"begun" in job.stdout.readline()
                job.kill()
                job.communicate(timeout=ANSWER_SECONDS)
            assert (store.entry().state, store.entry().due) == ("Training", True)
            ended(store.job(threads=threads), DONE)
            assert store.entry().state == "Ready"
            made.append(str(store.entry().artefact_hash))
            if threads == "1":
                off_and_on(store)
    assert made[0] == made[1]

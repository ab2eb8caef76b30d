"""A training from the wish to the artefact in use, over loopback: the Job, its doors, what is told."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
import trivial_training
from query_rooms import IDENTITY
from served_cell import Served, served
from store_process import KEY
from trivial_training import NAME, TrivialKind

from modelwarden.resources.cell import AnomalySettings, EnrichmentSettings
from modelwarden.resources.keys import job_key
from modelwarden.resources.report import EnrichmentReport, StatusReport
from modelwarden_server.analysis.artefact import Artefact, pack, unpack
from modelwarden_server.analysis.columns import columns_of
from modelwarden_server.apps import furnish
from modelwarden_server.cell import Cell
from modelwarden_server.enrichments import trainings
from modelwarden_server.enrichments.room import EnrichmentRoom
from modelwarden_server.jobs import trainers
from modelwarden_server.jobs.command import AGAIN, DONE, NEVER, run
from modelwarden_server.jobs.store_client import Patience, StoreAwayError, StoreClient
from modelwarden_server.jobs.train import TrainTask, run_train
from modelwarden_server.jobs.training import TrainingInput

ENRICHMENTS = f"/api/v3/models/{IDENTITY.model_id}/enrichments"
ROWS = 500
_seeds = itertools.count(1)


def with_trivial(cell: Cell) -> TrivialKind:
    """A cell whose only kind is the trivial one."""
    rooms, kind = furnish(cell), TrivialKind()
    cell.rooms.remove(rooms.enrichments)
    cell.rooms.append(EnrichmentRoom(cell, rooms.references, [kind], rooms.answers.loaded_profile))
    return kind


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cell")


@pytest.fixture(scope="module")
def profiled(folder: Path) -> Iterator[tuple[Served, TrivialKind]]:
    """One cell with a profiled reference for all tests here: each test wishes a training of its own seed."""
    kinds: list[TrivialKind] = []
    with served(folder, lambda cell: kinds.append(with_trivial(cell))) as found:
        assert entry(found).missing == ("a closed reference dataset",)
        profile_people(found)
        yield found, kinds[0]


def profile_people(store: Served) -> None:
    content_hash = store.closed_dataset("people", ROWS, seed=5)
    assert entry(store).missing == ("the profile of the reference",)
    arguments = ["profile", "--store", store.url, "--dataset", "people", "--content-hash", content_hash]
    assert run(arguments, {"MODELWARDEN_JOB_KEY": job_key(KEY, "profile", content_hash)}) == DONE


@pytest.fixture
def store(profiled: tuple[Served, TrivialKind], monkeypatch: pytest.MonkeyPatch) -> Served:
    known = {NAME: "trivial_training"}
    monkeypatch.setattr(trainers.trainer_of, "__defaults__", (known,))
    monkeypatch.delenv("TRIVIAL", raising=False)
    wish(profiled[0], seed=next(_seeds))
    return profiled[0]


@pytest.fixture
def kind(profiled: tuple[Served, TrivialKind]) -> TrivialKind:
    return profiled[1]


def wish(store: Served, *, enabled: bool = True, seed: int | None = None) -> None:
    told = EnrichmentSettings(anomaly_detection=AnomalySettings(enabled=enabled, seed=seed))
    settings = store.cell.settings
    settings.current = settings.current.model_copy(update={"enrichments": told})


def entry(store: Served) -> EnrichmentReport:
    (found,) = StatusReport.from_json(json.dumps(store.status())).enrichments
    return found


def wanted(store: Served) -> str:
    found = entry(store).wanted
    assert found is not None
    return found


def train(store: Served, name: str | None = None) -> int:
    name = name or wanted(store)
    arguments = ["train", "--store", store.url, "--kind", NAME, "--input-hash", name]
    return run(arguments, {"MODELWARDEN_JOB_KEY": job_key(KEY, "train", f"{NAME}_{name}")})


def door(name: str) -> str:
    return f"/internal/v1/trainings/{NAME}/{name}"


def artefact(name: str, **arrays: Any) -> bytes:
    return pack(Artefact(NAME, {"inputHash": name}, arrays or {"sum": np.array([1.0])}))


def test_a_job_trains_what_is_due_and_the_result_is_in_use_without_a_restart(
    store: Served, kind: TrivialKind, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = entry(store)
    assert before.due
    assert train(store) == DONE
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert events == ["begun", "summed", "trained", "done"]
    after = entry(store)
    assert (after.state, after.due, after.installed) == ("Ready", False, before.wanted)
    content = (folder / "artefacts" / NAME / str(after.artefact_hash)).read_bytes()
    assert hashlib.sha256(content).hexdigest() == after.artefact_hash
    made = unpack(content)
    assert kind.sum == made.arrays["sum"][0]
    assert made.manifest["rows"] == ROWS
    assert made.manifest["inputs"]["seed"] == made.manifest["seed"]
    assert train(store) == DONE
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == [
        "trained already",
        "done",
    ]


def test_off_and_on_trains_again_and_gives_the_same_bytes(store: Served, kind: TrivialKind) -> None:
    seed = next(_seeds)
    wish(store, seed=seed)
    assert train(store) == DONE
    first = entry(store).artefact_hash
    wish(store, enabled=False)
    assert entry(store).state == "Disabled"
    assert kind.sum is None
    wish(store, seed=seed)
    assert entry(store).state == "Training"
    assert train(store) == DONE
    assert entry(store).artefact_hash == first


def test_a_restart_takes_in_use_what_is_installed(store: Served, tmp_path: Path) -> None:
    """In a folder of its own: the one of the other tests is written to while it would be copied."""
    kinds: list[TrivialKind] = []
    with served(tmp_path, lambda cell: kinds.append(with_trivial(cell))) as first:
        profile_people(first)
        wish(first, seed=1)
        assert train(first) == DONE
        before = entry(first)
    with served(tmp_path, lambda cell: kinds.append(with_trivial(cell))) as again:
        wish(again, seed=1)
        assert entry(again) == before
        assert kinds[1].sum is not None


@pytest.mark.parametrize(
    ("how", "code", "due", "says"),
    [
        ("untrainable", NEVER, False, "one class only"),
        ("bug", NEVER, False, "a fault in the training (KeyError)"),
        ("grow", AGAIN, True, "ran out of memory"),
    ],
)
def test_a_failed_training_says_why_and_stays_failed_until_it_is_tried_again(
    store: Served,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    how: str,
    code: int,
    due: bool,
    says: str,
) -> None:
    def full(given: TrainingInput, _tell: object) -> Artefact:
        raise MemoryError(given.kind)

    if how == "grow":
        monkeypatch.setattr(trivial_training, "train", full)
    monkeypatch.setenv("TRIVIAL", how)
    assert train(store) == code
    found = entry(store)
    assert (found.state, found.due) == ("Failed", due)
    assert says in found.message
    assert "a value of a row" not in found.message + "".join(capfd.readouterr())
    assert entry(store).state == "Failed"
    monkeypatch.undo()
    monkeypatch.setattr(trainers.trainer_of, "__defaults__", ({NAME: "trivial_training"},))
    assert train(store) == DONE
    assert entry(store).state == "Ready"


def test_a_failure_is_forgotten_when_the_inputs_change(
    store: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIVIAL", "untrainable")
    assert train(store) == NEVER
    wish(store, seed=next(_seeds))
    assert entry(store).reason in ("Training", "Replacing")


def test_a_job_that_nobody_wants_any_more_ends_and_changes_nothing(store: Served) -> None:
    old = wanted(store)
    wish(store, seed=next(_seeds))
    before = entry(store)
    assert train(store, old) == NEVER
    assert entry(store) == before


def test_an_image_without_the_kind_says_so(store: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainers.trainer_of, "__defaults__", ({},))
    assert train(store) == NEVER
    assert "this image cannot train trivial" in entry(store).message


def test_a_jobs_key_opens_its_own_training_only(store: Served) -> None:
    name = wanted(store)
    for claim, status in ((f"{NAME}_{name}", 200), (f"other_{name}", 403), (f"{NAME}_{'0' * 64}", 403)):
        key = job_key(KEY, "train", claim)
        answer = store.http.get(door(name), headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == status, claim
    key = job_key(KEY, "profile", f"{NAME}_{name}")
    for method, path in (("PUT", ""), ("PUT", "/failure"), ("GET", "/rows"), ("GET", "/files/x")):
        answer = store.http.request(method, door(name) + path, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 403, path
    listed = store.http.get(door(name)).json()["files"]
    file = store.http.get(f"{door(name)}/files/{listed[0]['name']}")
    assert hashlib.sha256(file.content).hexdigest() == listed[0]["sha256"]


def test_what_is_no_artefact_of_the_training_is_refused_with_a_sentence(
    store: Served, kind: TrivialKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, before = wanted(store), kind.installed
    monkeypatch.setattr(trainings, "MAX_ARTEFACT_BYTES", 100_000)
    for content, status, says in (
        (b"not a zip", 400, "this is no artefact"),
        (artefact("0" * 64), 400, "inputHash"),
        (artefact(name, sum=np.zeros(3)), 400, "of one number"),
        (pack(Artefact("bias", {"inputHash": name}, {})), 400, "'bias'"),
        (b"0" * 200_000, 413, "larger than 100000"),
    ):
        answer = store.http.put(door(name), content=content)
        assert (answer.status_code, says in answer.json()["error"]) == (status, True), answer.text
    assert store.http.put(door("0" * 64), content=artefact("0" * 64)).status_code == 409
    assert store.http.get(f"/internal/v1/trainings/none/{name}").status_code == 404
    assert kind.installed == before


def test_the_same_artefact_again_is_a_success_and_another_one_is_refused(store: Served) -> None:
    name = wanted(store)
    first = store.http.put(door(name), content=artefact(name))
    again = store.http.put(door(name), content=artefact(name))
    other = store.http.put(door(name), content=artefact(name, sum=np.array([2.0])))
    assert (first.status_code, again.json(), other.status_code) == (200, first.json(), 409)
    assert store.http.put(f"{door(name)}/failure", json={"message": "late"}).status_code == 200
    assert entry(store).state == "Ready"


def test_a_training_may_read_other_rows_as_often_as_it_likes(store: Served, tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def trainer(_kind: str) -> Any:
        def read(given: TrainingInput, _tell: object) -> Artefact:
            for _ in range(2):
                for columns, at_once in ((None, 700), (["n"], 1 << 20)):
                    batches = list(given.rows(columns, at_once))
                    rows = pa.Table.from_batches(batches)
                    assert rows.column("n").to_pylist() == list(range(5000))
                    seen.append((rows.num_columns, max(batch.num_rows for batch in batches)))
            assert list(given.workdir.iterdir()) == []
            assert given.columns == columns_of(IDENTITY.attributes)
            return given.artefact(5000, {}, {"sum": np.array([1.0])})

        return read

    task = TrainTask(NAME, wanted(store), tmp_path, trainer)
    with StoreClient(store.url, KEY) as client:
        run_train(task, client, lambda *_, **__: None)
    assert seen == [(2, 700), (1, 1000)] * 2
    assert list(tmp_path.iterdir()) == []
    refused = store.http.get(f"{door(wanted(store))}/rows", params={"column": "x"})
    assert (refused.status_code, refused.json()["error"]) == (400, "there is no column x")


def test_rows_that_break_off_are_fetched_again_and_never_taken_for_all(tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"n": pa.array(range(100))})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    whole = sink.getvalue().to_pybytes()
    answers = [whole[:-100], whole[:-8], whole]

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=answers.pop(0))

    client = StoreClient("http://store", "k", Patience(attempts=2, sleep=lambda _: None))
    client._http = httpx.Client(base_url="http://store", transport=httpx.MockTransport(answer))
    with client, pytest.raises(StoreAwayError, match="broke off"):
        client.fetch_arrow("/rows", tmp_path / "rows")
    client._http = httpx.Client(base_url="http://store", transport=httpx.MockTransport(answer))
    client.fetch_arrow("/rows", tmp_path / "rows")
    assert (tmp_path / "rows").read_bytes() == whole


def test_enrichments_are_told_in_the_documented_shapes(store: Served) -> None:
    assert train(store) == DONE
    told = {
        "anomaly_detection": {"enabled": True, "config": {}, "status": "Ready"},
        "bias_mitigation": {"enabled": False, "status": "Disabled"},
        "hotspots": {"enabled": False, "config": {}, "status": "Disabled"},
        "explainability": {"enabled": False, "config": {}, "status": "Disabled"},
    }
    assert store.http.get(ENRICHMENTS).json() == told
    for name, shape in told.items():
        assert store.http.get(f"{ENRICHMENTS}/{name}").json() == shape
    assert store.http.get(f"{ENRICHMENTS}/other").status_code == 404
    assert store.http.get(ENRICHMENTS.replace(IDENTITY.model_id, "x")).status_code == 404


@pytest.mark.parametrize("name", ["", "/bias_mitigation"])
def test_a_change_is_refused_and_says_what_to_apply(store: Served, name: str) -> None:
    wish = {"enabled": True} if name else {"bias_mitigation": {"enabled": True}}
    answer = store.http.patch(ENRICHMENTS + name, json=wish)
    assert answer.status_code == 501
    for word in ("kubectl apply", 'kind: "Enrichment"', 'type: "BiasMitigation"', "enabled: true"):
        assert word in answer.json()["error"]


def test_a_wish_that_is_declared_already_is_met(store: Served) -> None:
    answer = store.http.patch(f"{ENRICHMENTS}/bias_mitigation", json={"enabled": False})
    assert (answer.status_code, answer.json()) == (202, "ok")


def test_a_store_that_is_starting_asks_jobs_to_come_back(tmp_path: Path) -> None:
    import census_like

    from modelwarden_server.settings import SettingsHolder
    from modelwarden_server.web import Refusal

    cell = Cell(IDENTITY, SettingsHolder(census_like.settings(), KEY), tmp_path)
    room = furnish(cell).enrichments
    assert room.status() == {}
    with pytest.raises(Refusal) as refused:
        room.installations()
    assert refused.value.status == 503

"""User code into a cell over its real doors: uploads, Jobs' doors, the plan, the pods."""

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from query_rooms import IDENTITY, until
from served_cell import Served, served
from store_process import KEY

from modelwarden.resources.cell import CellSettings, ServingSettings
from modelwarden.resources.keys import job_key
from modelwarden.resources.server import ServerPlan
from modelwarden.resources.serving import FlowStage
from modelwarden_server.provision import checks

MODEL = f"/api/v3/models/{IDENTITY.model_id}"
EXPLAINABILITY = f"{MODEL}/enrichments/explainability"
PLAN = "/internal/v1/server"
PREDICT = "def predict(x):\n    return x[:, 0]\n"
SOURCE = "5" * 64


def zipped(**files: str | bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_py", ".py").replace("_txt", ".txt"), text)
    return content.getvalue()


def packages(*names: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return content.getvalue()


PROJECT = zipped(entrypoint_py=PREDICT, requirements_txt="scikit-learn==1.7\n")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("cell")) as found:
        found.closed_dataset("people", 2500, seed=3)
        yield found


@pytest.fixture
def cell(shared: Served) -> Iterator[Served]:
    """The shared cell, explained with what is uploaded; the settings come back after."""
    before = shared.cell.settings.current
    explain(shared)
    yield shared
    shared.cell.settings.current = before


def explain(cell: Served, assets: dict[str, str] | None = None, **more: Any) -> None:
    """Declare Explainability, with where its files come from."""
    settings = cell.cell.settings.current
    told = settings.model_dump(mode="json", by_alias=True)
    told["enrichments"]["explainability"] |= {"enabled": True, "declared": {}, **more}
    told["server"] = {"assets": {"explain-project": "upload"} if assets is None else assets}
    cell.cell.settings.current = CellSettings.model_validate(told)


def serve(cell: Served) -> None:
    stage = FlowStage(model_type="SKLEARN", file="model.pkl", pre="prepare:before")
    update = {"serving": ServingSettings(flow=(stage,))}
    cell.cell.settings.current = cell.cell.settings.current.model_copy(update=update)


def upload(cell: Served, config: object = None, **parts: bytes) -> httpx.Response:
    names = {
        "project": "user_project.zip",
        "requirements": "user_requirements_file.txt",
        "explainer": "explainer.pkl",
    }
    files: list[Any] = [(names[name], ("any", content)) for name, content in parts.items()]
    if config is not None:
        files.append(("config", (None, json.dumps(config))))
    return cell.http.patch(EXPLAINABILITY, files=files)


def plan(cell: Served) -> ServerPlan:
    return ServerPlan.model_validate(cell.http.get(PLAN).raise_for_status().json())


def server(cell: Served) -> Any:
    return cell.status()["server"]


def environment_of(cell: Served) -> Any:
    (told,) = server(cell)["environments"]
    return told


def as_job(cell: Served, purpose: str, what: str) -> httpx.Client:
    key = {"Authorization": job_key(KEY, purpose, what)}
    return httpx.Client(base_url=cell.url, headers=key, timeout=120)


def bring_packages(cell: Served, content: bytes) -> httpx.Response:
    name = environment_of(cell)["hash"]
    told = {"X-Modelwarden-Python": "3.11.7", "X-Modelwarden-Packages": "2"}
    with as_job(cell, "environment", name) as job:
        return job.put(f"/internal/v1/environments/{name}", content=content, headers=told)


def test_an_uploaded_project_becomes_a_plan_whose_files_can_be_fetched(cell: Served) -> None:
    answer = upload(cell, project=PROJECT)
    assert (answer.status_code, answer.json()) == (202, "ok")
    assert bring_packages(cell, packages("sklearn/__init__.py")).status_code == 200
    until(lambda: plan(cell).explain is not None)
    found = plan(cell)
    assert found.waiting_for == ()
    (code,) = found.codes
    assert code.environment is not None
    assert found.explain is not None
    for file in (code.files, code.environment, found.explain.background):
        content = cell.http.get(f"{PLAN}/files/{file.sha256}").raise_for_status().content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)
    assert server(cell)["planHash"] == found.plan_hash
    assert environment_of(cell)["state"] == "Ready"


def test_the_background_is_a_sample_of_the_reference_with_inputs_and_predictions(cell: Served) -> None:
    upload(cell, project=zipped(entrypoint_py=PREDICT))
    until(lambda: plan(cell).explain is not None)
    told = plan(cell).explain
    assert told is not None
    content = cell.http.get(f"{PLAN}/files/{told.background.sha256}").content
    table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
    assert table.column_names == ["age", "income", "town", "p"]
    assert 900 < table.num_rows <= 1000
    assert len(set(table.column("income").to_pylist())) == table.num_rows
    assert told.background_hash == cell.dataset("people")["contentHash"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (zipped(project__entrypoint_py=PREDICT), "it must be at the root"),
        (zipped(other_py=PREDICT), "has no entrypoint.py at its root"),
        (b"PK\x05\x06" + bytes(3), "is no zip file"),
        (b"", "is no zip file"),
        (zipped(entrypoint_py=PREDICT, requirements_txt=b"\xff\xfe\x00"), "no UTF-8 text"),
    ],
)
def test_a_project_that_cannot_run_is_refused_and_the_one_before_stays(
    cell: Served, content: bytes, word: str
) -> None:
    assert upload(cell, project=PROJECT).status_code == 202
    before = plan(cell)
    answer = upload(cell, project=content)
    assert answer.status_code == 400
    assert word in answer.json()["error"]
    assert "user_project.zip" in answer.json()["error"]
    assert plan(cell).codes == before.codes


def test_a_file_that_is_too_large_is_refused_before_it_is_kept(
    cell: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = checks.ArchiveLimits(packed_bytes=64 << 10)
    monkeypatch.setitem(checks.LIMITS, "explain-project", small)
    monkeypatch.setattr(checks, "PROJECT_LIMITS", small)
    monkeypatch.setitem(checks.LIMITS, "serve-files", small)
    large = zipped(entrypoint_py=PREDICT, data_txt=bytes(128 << 10))
    answer = upload(cell, project=large)
    assert answer.status_code == 413
    serve(cell)
    assert cell.http.put(f"{MODEL}/serving/files", content=large).status_code == 413


def test_another_config_is_answered_with_the_object_to_apply_and_files_are_kept(cell: Served) -> None:
    other = zipped(entrypoint_py=PREDICT + "# two\n")
    answer = upload(cell, {"enabled": True, "config": {"explanation_algo": "shap"}}, project=other)
    assert answer.status_code == 501
    for word in ("user_project.zip kept", 'kind: "Enrichment"', 'explanationAlgo: "shap"'):
        assert word in answer.json()["error"]
    (asset,) = server(cell)["assets"]
    assert asset["sha256"] == hashlib.sha256(other).hexdigest()


def test_files_of_undeclared_slots_are_kept_and_the_answer_says_how_to_use_them(cell: Served) -> None:
    answer = upload(cell, requirements=b"numpy\n", explainer=b"\x80\x04N.")
    assert answer.status_code == 501
    for word in ("requirements:", "explainer:", "upload: {}"):
        assert word in answer.json()["error"]
    slots = ("explain-project", "explain-requirements", "explain-explainer")
    explain(cell, assets=dict.fromkeys(slots, "upload"))
    assert {a["slot"]: a["state"] for a in server(cell)["assets"]}["explain-explainer"] == "Present"


def test_a_wish_that_is_declared_already_is_met_without_files(cell: Served) -> None:
    explain(cell, declared={"explanationAlgo": "shap"}, algorithm="shap")
    answer = upload(cell, {"enabled": True, "config": {"explanation_algo": "shap"}})
    assert (answer.status_code, answer.json()) == (202, "ok")


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        (EXPLAINABILITY, {"config": {"explanation_nsamples": -1}}, "explanation_nsamples"),
        (EXPLAINABILITY, {"enabled": False, "config": {"seed": 1}}, "leave it out"),
        (f"{MODEL}/enrichments", {"anomalies": {"enabled": True}}, "anomalies"),
        (f"{MODEL}/enrichments", [], "object"),
        (f"{MODEL}/enrichments/hotspots", {"enabled": "yes"}, "hotspots.enabled"),
    ],
)
def test_a_wrong_wish_is_refused_by_its_field(cell: Served, path: str, body: object, word: str) -> None:
    answer = cell.http.patch(path, json=body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


def test_one_form_may_hold_wishes_for_all_enrichments(cell: Served) -> None:
    config = {"hotspots": {"enabled": True}, "explainability": {"enabled": True, "config": {}}}
    form: list[Any] = [("config", (None, json.dumps(config))), ("user_project.zip", ("x", PROJECT))]
    answer = cell.http.patch(f"{MODEL}/enrichments", files=form)
    assert answer.status_code == 501
    assert answer.json()["error"].count("kind:") == 1
    assert 'type: "Hotspots"' in answer.json()["error"]


def test_nothing_is_uploaded_over_a_declared_source(cell: Served) -> None:
    explain(cell, assets={"explain-project": SOURCE})
    answer = upload(cell, project=PROJECT)
    assert answer.status_code == 409
    assert "another source" in answer.json()["error"]


def test_a_job_brings_the_file_of_its_source_and_no_other(cell: Served) -> None:
    explain(cell, assets={"explain-project": SOURCE})
    (told,) = server(cell)["assets"]
    assert (told["state"], told["due"]) == ("Missing", True)
    path = f"/internal/v1/assets/explain-project/{SOURCE}"
    with as_job(cell, "assets", f"explain-project_{SOURCE}") as job:
        assert job.put(f"{path}/failure", json={"message": "no such object"}).status_code == 200
        (told,) = server(cell)["assets"]
        assert (told["state"], told["due"], told["message"]) == ("Failed", False, "no such object")
        assert job.put(path, content=PROJECT).status_code == 200
        assert job.put(f"/internal/v1/assets/explain-explainer/{SOURCE}", content=b"x").status_code == 403
        assert job.get(PLAN).status_code == 403
        explain(cell, assets={"explain-project": "6" * 64})
        assert job.put(path, content=PROJECT).status_code == 409
    explain(cell, assets={"explain-project": SOURCE})
    assert server(cell)["assets"][0]["state"] == "Present"


def test_an_environment_that_failed_is_told_with_its_last_lines_and_tried_again(cell: Served) -> None:
    listed = zipped(entrypoint_py=PREDICT, requirements_txt="nothing-of-this-name\n")
    upload(cell, project=listed)
    name = environment_of(cell)["hash"]
    path = f"/internal/v1/environments/{name}"
    with as_job(cell, "environment", name) as job:
        assert job.get(path).json()["requirements"] == "nothing-of-this-name\n"
        failure = {"message": "looked everywhere\nERROR: no such package", "again": False}
        assert job.put(f"{path}/failure", json=failure).status_code == 200
        told = environment_of(cell)
        assert (told["state"], told["due"]) == ("Failed", False)
        assert told["message"].endswith("no such package")
        assert plan(cell).waiting_for[-1].endswith("(ERROR: no such package)")
        assert job.get(path).status_code == 200  # a Job begins
    assert environment_of(cell)["due"]


def test_an_environment_that_nobody_wants_is_refused(cell: Served) -> None:
    with as_job(cell, "environment", "7" * 64) as job:
        assert job.get(f"/internal/v1/environments/{'7' * 64}").status_code == 409


@pytest.mark.parametrize(
    ("content", "headers", "word"),
    [
        (b"no archive", {}, "no gzip"),
        (b"\x1f\x8b", {"X-Modelwarden-Python": "2.7"}, "X-Modelwarden-Python"),
        (b"\x1f\x8b", {"X-Modelwarden-Packages": "many"}, "X-Modelwarden-Packages"),
    ],
)
def test_what_is_no_environment_is_refused(
    cell: Served, content: bytes, headers: dict[str, str], word: str
) -> None:
    upload(cell, project=zipped(entrypoint_py=PREDICT, requirements_txt="bad==1\n"))
    name = environment_of(cell)["hash"]
    told = {"X-Modelwarden-Python": "3.11.7", "X-Modelwarden-Packages": "1", **headers}
    answer = cell.http.put(f"/internal/v1/environments/{name}", content=content, headers=told)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


def test_a_list_that_was_installed_before_is_not_installed_again(cell: Served) -> None:
    first, second = (zipped(entrypoint_py=PREDICT, requirements_txt=f"once=={n}\n") for n in (1, 2))
    upload(cell, project=first)
    assert bring_packages(cell, packages("once/one.py")).status_code == 200
    upload(cell, project=second)
    assert environment_of(cell)["due"]
    upload(cell, project=first)
    assert environment_of(cell)["state"] == "Ready"


def test_files_that_nothing_names_any_more_are_removed(cell: Served) -> None:
    hashes = []
    for number in range(4):
        content = zipped(entrypoint_py=f"{PREDICT}# {number}\n")
        assert upload(cell, project=content).status_code == 202
        hashes.append(hashlib.sha256(content).hexdigest())
        assert plan(cell).codes[0].files.sha256 == hashes[-1]
    kept = {path.name for path in (cell.cell.folder / "server" / "files").iterdir()}
    assert hashes[-1] in kept
    assert not set(hashes[:2]) & kept


def test_a_flow_brings_its_files_and_its_list(cell: Served) -> None:
    serve(cell)
    missing = cell.http.put(f"{MODEL}/serving/files", content=zipped(model_pkl="x"))
    assert missing.status_code == 400
    assert "prepare.py" in missing.json()["error"]
    content = zipped(prepare_py="def before(data): return data", model_pkl="x")
    answer = cell.http.put(f"{MODEL}/serving/files", content=content)
    assert answer.json() == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert cell.http.put(f"{MODEL}/serving/requirements", content=b"numpy\n").status_code == 200
    codes = {code.role: code for code in plan(cell).codes}
    assert codes["serve"].flow[0].file == "model.pkl"
    assert codes["serve"].environment is None  # the list was not declared


def test_pods_say_how_far_they_are(cell: Served) -> None:
    report = {"pod": "credit-server-1", "planHash": "x", "codes": [{"role": "explain", "state": "Loading"}]}
    path = f"{PLAN}/pods/credit-server-1"
    assert cell.http.put(path, json=report).status_code == 200
    assert [pod["pod"] for pod in server(cell)["pods"]] == ["credit-server-1"]
    assert cell.http.put(f"{PLAN}/pods/other", json=report).status_code == 400
    assert cell.http.put(path, content=b"{}").status_code == 400


def test_a_client_without_the_key_is_not_heard(cell: Served) -> None:
    for method, path in (("GET", PLAN), ("PATCH", EXPLAINABILITY), ("PUT", f"{MODEL}/serving/files")):
        assert httpx.request(method, f"{cell.url}{path}").status_code == 401


def test_what_was_taken_in_is_there_after_a_restart(tmp_path: Path) -> None:
    with served(tmp_path) as first:
        explain(first)
        upload(first, project=PROJECT)
        bring_packages(first, packages("a.py"))
        codes = plan(first).codes
    with served(tmp_path) as second:
        explain(second)
        assert plan(second).codes == codes
        assert plan(second).waiting_for == ("a closed reference dataset",)


def test_a_model_that_is_not_explained_has_no_server_in_its_status(shared: Served) -> None:
    assert server(shared) is None
    assert plan(shared).codes == ()

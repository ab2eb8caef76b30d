"""A pod runs what the store wants, as far as it can be had, and says what is in the way."""

from pathlib import Path

import pytest
from scripted_pod import KEY, ScriptedPod, zipped

from modelwarden.resources.server import ServerPlan

PROJECT = zipped(entrypoint_py="def predict(x): ...")


@pytest.fixture
def pod(tmp_path: Path) -> ScriptedPod:
    return ScriptedPod(tmp_path)


def plan_of(pod: ScriptedPod, plan_hash: str, *codes: object, explained: bool = True) -> None:
    explain = pod.store.explain() if explained else None
    pod.store.plan = ServerPlan.model_validate(
        {"plan_hash": plan_hash, "codes": list(codes), "explain": explain}
    )


async def test_a_plan_is_fetched_unpacked_loaded_and_reported(pod: ScriptedPod) -> None:
    plan_of(pod, "p1", pod.store.code("explain", PROJECT))
    await pod.rounds_until(lambda: pod.store.pods and pod.store.pods[-1].plan_hash == "p1")
    wanted = pod.model_server.wanted
    assert wanted is not None
    assert wanted.background is not None
    assert (Path(wanted.codes[0].files) / "entrypoint.py").read_text() == "def predict(x): ..."
    assert next((pod.folder / "background").iterdir()).read_bytes() == b"a sample"
    assert pod.reported["explain"].state == "Ready"
    assert pod.store.keys == {KEY}
    assert pod.pod.explains()


async def test_a_plan_that_runs_already_is_not_loaded_again(pod: ScriptedPod) -> None:
    plan_of(pod, "p1", pod.store.code("explain", PROJECT))
    await pod.rounds_until(pod.pod.explains)
    for _ in range(3):
        await pod.sidecar.plan.round()
    assert pod.model_server.loads == 1


async def test_a_model_server_that_was_restarted_is_told_again(pod: ScriptedPod) -> None:
    plan_of(pod, "p1", pod.store.code("explain", PROJECT))
    await pod.rounds_until(pod.pod.explains)
    pod.model_server.away = True
    await pod.rounds_until(lambda: not pod.pod.explains())
    pod.model_server.away = False
    pod.model_server.restart()
    await pod.rounds_until(pod.pod.explains)
    assert pod.model_server.loads == 2


async def test_a_file_with_other_bytes_than_announced_is_not_used_but_fetched_again(pod: ScriptedPod) -> None:
    code = pod.store.code("explain", PROJECT)
    pod.store.files[code.files.sha256] = PROJECT[:-1] + b"?"
    plan_of(pod, "p1", code)
    await pod.rounds_until(lambda: pod.reported.get("explain") and pod.reported["explain"].message)
    await pod.rounds_until(lambda: "other content" in pod.reported["explain"].message)
    assert pod.loaded == []
    pod.store.files[code.files.sha256] = PROJECT
    await pod.rounds_until(pod.pod.explains)
    assert not [path for path in pod.folder.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (zipped(project__entrypoint_py="x = 1"), "must be at the root"),
        (zipped(other_py="x = 1"), "has no entrypoint.py"),
        (b"no zip at all", "is no zip file"),
    ],
)
async def test_an_archive_that_is_not_taken_is_said_and_the_rest_runs(
    pod: ScriptedPod, archive: bytes, said: str
) -> None:
    flow = pod.store.code("serve", zipped(model_txt="m"), "c2")
    plan_of(pod, "p1", pod.store.code("explain", archive), flow)
    await pod.rounds_until(lambda: pod.reported.get("explain") and pod.reported["explain"].state == "Failed")
    await pod.rounds_until(lambda: pod.loaded == ["c2"])
    assert said in pod.reported["explain"].message
    assert "user_project.zip" in pod.reported["explain"].message
    assert (await pod.http.get("/readyz")).status_code == 200


async def test_what_ran_goes_on_while_the_store_is_away(pod: ScriptedPod) -> None:
    plan_of(pod, "p1", pod.store.code("explain", PROJECT))
    await pod.rounds_until(pod.pod.explains)
    pod.store.away = True
    for _ in range(3):
        await pod.sidecar.plan.round()
    assert pod.pod.explains()
    assert pod.loaded == ["c1"]


async def test_a_new_plan_takes_over_and_what_it_does_not_name_is_removed(pod: ScriptedPod) -> None:
    plan_of(pod, "p1", pod.store.code("explain", PROJECT))
    await pod.rounds_until(pod.pod.explains)
    plan_of(pod, "p2", pod.store.code("explain", zipped(entrypoint_py="x = 2"), "c2"))
    await pod.rounds_until(lambda: pod.store.pods[-1].plan_hash == "p2")
    await pod.rounds_until(lambda: [path.name for path in (pod.folder / "code").iterdir()] == ["c2"])
    assert pod.loaded == ["c2"]
    assert not list((pod.folder / "fetched").iterdir())


async def test_a_flow_goes_on_when_its_successor_cannot_be_brought(pod: ScriptedPod) -> None:
    plan_of(pod, "p1", pod.store.code("serve", zipped(model_txt="m")), explained=False)
    await pod.rounds_until(lambda: bool(pod.store.pods) and pod.reported["serve"].state == "Ready")
    assert not pod.reported["serve"].before
    plan_of(pod, "p2", pod.store.code("serve", b"no zip", "c2"), explained=False)
    await pod.rounds_until(lambda: pod.reported["serve"].state == "Failed")
    assert pod.loaded == ["c1"]
    assert pod.pod.ready("serve")
    assert (pod.reported["serve"].code_hash, pod.reported["serve"].before) == ("c2", True)


async def test_an_explained_project_does_not_go_on_when_another_is_wanted(pod: ScriptedPod) -> None:
    plan_of(pod, "p1", pod.store.code("explain", PROJECT))
    await pod.rounds_until(pod.pod.explains)
    plan_of(pod, "p2", pod.store.code("explain", b"no zip", "c2"))
    await pod.rounds_until(lambda: pod.loaded == [])
    assert not pod.pod.explains()


async def test_a_pod_is_ready_when_nothing_is_on_its_way(pod: ScriptedPod) -> None:
    assert (await pod.http.get("/readyz")).status_code == 503
    pod.model_server.state = "Loading"
    plan_of(pod, "p1", pod.store.code("explain", PROJECT))
    await pod.rounds_until(lambda: pod.loaded == ["c1"])
    assert (await pod.http.get("/readyz")).text == "the user's code is being loaded\n"
    pod.model_server.state = "Failed"
    await pod.sidecar.plan.round()
    assert (await pod.http.get("/readyz")).status_code == 200
    assert (await pod.http.get("/healthz")).status_code == 200


async def test_a_pod_stays_ready_while_code_is_loaded_anew_until_it_ends(pod: ScriptedPod) -> None:
    plan_of(pod, "p1", pod.store.code("explain", PROJECT))
    await pod.rounds_until(pod.pod.explains)
    assert (await pod.http.get("/readyz")).status_code == 200
    pod.model_server.state = "Loading"
    await pod.sidecar.plan.round()
    assert (await pod.http.get("/readyz")).status_code == 200
    pod.pod.ending = True
    assert (await pod.http.get("/readyz")).text == "the pod is ending\n"

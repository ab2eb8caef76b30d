"""The Jobs that fetch files and install packages: made when the store asks, taken away when it does not."""

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from model_worlds import INSTALL, NOW, PLACE
from server_worlds import HASH, SERVING, explained, running, server_said
from training_worlds import MEANS

from modelwarden.reconcile.jobs import JobPlan, job_of, key_of
from modelwarden.reconcile.monitoredmodel.blueprint import server_of
from modelwarden.reconcile.monitoredmodel.rounds import Steps
from modelwarden.reconcile.monitoredmodel.trainings import Means, steps_of
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.keys import verify_job_key
from modelwarden.resources.packages import PackageIndex
from modelwarden.resources.server_settings import asset_hash
from modelwarden.resources.sources import Source

WEB = {"http": {"url": "https://files.example/p.zip", "sha256": "0" * 64}}
SOURCE_HASH = asset_hash(Source.model_validate(WEB))
ASSET = {"slot": "explain-project", "source_hash": SOURCE_HASH, "state": "Missing", "due": True}
ENVIRONMENT = {"hash": HASH, "roles": ["explain"], "state": "Due", "due": True}
PROJECT = explained(project=WEB)


def steps(world: World, **install: Any) -> Steps:
    server = server_of(world.model, replace(INSTALL, **install), world.enrichments)
    return steps_of(world, replace(MEANS, server=server), NOW)


def world_of(*objects: Any, jobs: tuple[Manifest, ...] = (), **said: Any) -> World:
    world, _ = running(*objects, said=server_said(**said))
    return replace(world, trainings=jobs)


def made(plan: JobPlan, *ended: str, ago: timedelta = timedelta(0)) -> Manifest:
    live = job_of(plan)
    live["metadata"]["uid"] = "j"
    since = {"status": "True", "lastTransitionTime": (NOW - ago).isoformat()}
    live["status"] = {"ready": 1, "conditions": [{"type": how} | since for how in ended]}
    return live


def container_of(plan: JobPlan) -> Any:
    return job_of(plan)["spec"]["template"]["spec"]["containers"][0]


def test_a_file_is_fetched_by_one_job_with_a_key_for_it_alone() -> None:
    (plan,) = steps(world_of(PROJECT, assets=[ASSET])).make
    assert plan.name == f"census-assets-explain-project-{SOURCE_HASH[:8]}"
    command, purpose, _, *args = container_of(plan)["args"]
    assert (command, purpose) == ("job", "assets")
    assert args[:2] == ["--slot=explain-project", f"--source-hash={SOURCE_HASH}"]
    assert args[2].startswith('--source={"http":')
    key = base64.b64decode(key_of(plan, {"metadata": {"uid": "j"}})["data"]["key"]).decode()
    claim = verify_job_key(PLACE.cell_key, key)
    assert claim is not None
    assert (claim.purpose, claim.input_hash) == ("assets", f"explain-project_{SOURCE_HASH}")
    assert steps(world_of(PROJECT, assets=[ASSET], jobs=(made(plan),))) == Steps()


def test_packages_are_installed_from_the_index_in_the_image_that_will_run_them() -> None:
    index = PackageIndex.model_validate(
        {
            "url": "https://index.example/simple",
            "extraUrls": ["https://a.example/simple", "https://b.example/simple"],
            "proxy": "http://proxy:3128",
            "caBundleRef": {"name": "ca", "key": "ca.pem"},
        }
    )
    own = explained(image="mine:1")
    (plan,) = steps(world_of(own, environments=[ENVIRONMENT]), package_index=index).make
    container = container_of(plan)
    assert container["image"] == "mine:1"
    assert container["args"][3:] == [f"--environment-hash={HASH}"]
    given = {entry["name"]: entry["value"] for entry in container["env"]}
    assert (
        given.items()
        >= {
            "PIP_INDEX_URL": "https://index.example/simple",
            "PIP_EXTRA_INDEX_URL": "https://a.example/simple https://b.example/simple",
            "PIP_PROXY": "http://proxy:3128",
            "PIP_CERT": "/etc/modelwarden/index/ca/ca.pem",
        }.items()
    )
    assert "NETRC" not in given
    assert {m["mountPath"] for m in container["volumeMounts"]} >= {"/etc/modelwarden/index/ca"}


def test_credentials_of_an_index_are_a_mounted_file_and_stand_in_no_argument() -> None:
    config = {"packageIndex": {"url": "https://i.example", "credentialsSecretRef": {"name": "login"}}}
    world = world_of(explained(**config), environments=[ENVIRONMENT])
    agreed = {"metadata": {"labels": {"modelwarden.dev/usable-by-models": "true"}}}
    (plan,) = steps(replace(world, secrets={"login": agreed})).make
    given = {entry["name"]: entry["value"] for entry in container_of(plan)["env"]}
    assert given["NETRC"] == "/etc/modelwarden/index/login/netrc"
    volumes = {v["name"]: v for v in job_of(plan)["spec"]["template"]["spec"]["volumes"]}
    assert volumes["index-login"]["secret"]["items"] == [{"key": "netrc", "path": "netrc"}]
    assert steps(world).make == ()


@pytest.mark.parametrize(
    "entry",
    [
        ASSET | {"source_hash": "ef" * 32},
        ASSET | {"slot": "somewhere-else"},
        ASSET | {"due": False, "state": "Present"},
        {"slot": "explain-requirements", "source_hash": "upload", "due": True},
    ],
)
def test_no_job_fetches_what_is_not_declared_or_not_due(entry: dict[str, Any]) -> None:
    assert steps(world_of(PROJECT, assets=[entry])) == Steps()


def test_words_that_cannot_name_an_object_are_not_taken() -> None:
    odd = ENVIRONMENT | {"hash": "../../etc"}
    assert steps(world_of(PROJECT, environments=[odd])) == Steps()


def test_jobs_for_what_is_not_wanted_any_more_are_taken_away() -> None:
    world = world_of(PROJECT, assets=[ASSET], environments=[ENVIRONMENT])
    jobs = tuple(made(plan) for plan in steps(world).make)
    assert len(jobs) == 2
    other = ENVIRONMENT | {"hash": "cd" * 32}
    found = steps(replace(world_of(PROJECT, assets=[ASSET], environments=[other]), trainings=jobs))
    assert [job["metadata"]["name"] for job in found.remove] == [f"census-environment-{HASH[:8]}"]
    assert [plan.input_hash for plan in found.make] == ["cd" * 32]
    switched_off = replace(world, enrichments=(), trainings=jobs)
    assert set(map(_name, steps(switched_off).remove)) == set(map(_name, jobs))
    untold, _ = running(PROJECT)
    assert steps(replace(untold, trainings=jobs)) == Steps()


def test_a_failed_installation_is_tried_in_rounds_and_at_once_when_something_of_it_changes() -> None:
    (plan,) = steps(world_of(PROJECT, environments=[ENVIRONMENT])).make
    failed = made(plan, "Failed", ago=timedelta(minutes=9))
    rests = world_of(PROJECT, environments=[ENVIRONMENT], jobs=(failed,))
    assert steps(rests) == Steps()
    later = made(plan, "Failed", ago=timedelta(minutes=10))
    again = steps(replace(rests, trainings=(later,)))
    assert again.remove == (later,)
    assert again.make[0].secret == f"{plan.name}-2"
    edited = replace(rests, enrichments=(explained(project=WEB, generation=2),))
    assert steps(edited).remove == (failed,)
    index = PackageIndex(url="https://other.example/simple")
    assert steps(rests, package_index=index).remove == (failed,)


def test_what_is_of_no_use_to_be_tried_again_is_tried_when_something_of_it_changes() -> None:
    stuck = ENVIRONMENT | {"state": "Failed", "due": False}
    (plan,) = steps(world_of(PROJECT, environments=[ENVIRONMENT])).make
    failed = made(plan, "Failed", ago=timedelta(hours=20))
    rests = world_of(PROJECT, environments=[stuck], jobs=(failed,))
    assert steps(rests) == Steps()
    index = PackageIndex(url="https://other.example/simple")
    assert steps(rests, package_index=index).remove == (failed,)
    # Somebody has deleted it, or it was a day old.
    assert [again.name for again in steps(replace(rests, trainings=())).make] == [plan.name]


def test_two_lists_of_packages_are_installed_side_by_side() -> None:
    other = {"hash": "cd" * 32, "roles": ["serve"], "state": "Due", "due": True}
    world, _ = running(PROJECT, said=server_said(environments=[ENVIRONMENT, other]), serving=SERVING)
    first, second = steps(world).make
    assert {first.input_hash, second.input_hash} == {HASH, "cd" * 32}
    assert steps(replace(world, trainings=(made(first), made(second)))) == Steps()


def test_an_archived_model_s_jobs_end() -> None:
    world = world_of(PROJECT, environments=[ENVIRONMENT])
    (plan,) = steps(world).make
    spec = world.model.spec.model_copy(update={"lifecycle": "Archived"})
    archived = replace(world, model=world.model.model_copy(update={"spec": spec}), trainings=(made(plan),))
    means = Means(PLACE, INSTALL.training_resources)
    assert steps_of(archived, means, NOW).remove == archived.trainings


def _name(job: Manifest) -> str:
    return str(job["metadata"]["name"])

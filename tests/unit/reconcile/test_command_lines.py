"""What the operator writes on the command lines of a cell's containers, the cell's programs understand."""

from typing import Any

from model_worlds import INSTALL, PLACE
from server_worlds import HASH, SERVING, asked, explained, objects_of

from modelwarden.reconcile.jobs import JobPlan, job_of
from modelwarden.reconcile.monitoredmodel.build.provision import (
    AssetOrder,
    EnvironmentOrder,
    asset_plan,
    environment_plan,
)
from modelwarden.reconcile.monitoredmodel.build.training import TrainingOrder, training_plan
from modelwarden.resources.packages import PackageIndex
from modelwarden.resources.sources import Source
from modelwarden_server.__main__ import _parser
from modelwarden_server.jobs.command import NEVER, run

COMMON: Any = {
    "place": PLACE,
    "model_uid": "m",
    "input_hash": HASH,
    "resources": INSTALL.training_resources,
}


def test_the_containers_of_store_and_server_start() -> None:
    found = objects_of(asked(explained(), serving=SERVING))
    pods = [found["Deployment", name]["spec"]["template"]["spec"] for name in ("census", "census-server")]
    containers = {one["name"]: one for pod in pods for one in pod["containers"]}
    given = {name: _parser().parse_args(one["args"]) for name, one in containers.items()}
    assert {name: options.command for name, options in given.items()} == {
        "store": "store",
        "ingest": "ingest",
        "model-server": "model-server",
    }
    assert given["ingest"].store == "http://census.shop.svc:8080"
    for folder in ("shared", "run"):
        assert getattr(given["ingest"], folder) == getattr(given["model-server"], folder)
    for name, options in given.items():
        mounts = {mount["mountPath"] for mount in containers[name]["volumeMounts"]}
        folders = {getattr(options, folder, None) for folder in ("shared", "run", "data")} - {None}
        assert folders <= mounts


def test_jobs_start_and_end_for_want_of_a_key() -> None:
    bucket = {"objectStore": {"uri": "s3://b/p", "credentialsSecretRef": {"name": "s"}}}
    claim = {"persistentVolumeClaim": {"claimName": "c", "path": "p"}}
    sources = [Source.model_validate(source) for source in (bucket, claim)]
    plans: list[JobPlan] = [
        *(asset_plan(AssetOrder(**COMMON, slot="serve-files", source=source)) for source in sources),
        environment_plan(EnvironmentOrder(**COMMON, index=PackageIndex())),
        training_plan(TrainingOrder(**COMMON, kind="anomaly")),
    ]
    for plan in plans:
        command, *args = job_of(plan)["spec"]["template"]["spec"]["containers"][0]["args"]
        assert command == "job"
        # An argument that is not understood would end the process by SystemExit.
        assert run(args, {}) == NEVER

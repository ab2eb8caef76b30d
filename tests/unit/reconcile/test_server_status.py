"""What is said of a model's server: where each trouble is told, and that nothing but serving needs it."""

from dataclasses import replace
from typing import Any

import pytest
from model_worlds import INSTALL, NOW
from server_worlds import HASH, SERVING, code, explained, running, server_said

from modelwarden.reconcile.jobs import job_of
from modelwarden.reconcile.monitoredmodel.blueprint import place_of, server_of
from modelwarden.reconcile.monitoredmodel.decide import Plan
from modelwarden.reconcile.monitoredmodel.provisions import Provisioning, provisions_asked
from modelwarden.reconcile.monitoredmodel.status import summarise
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.modelstatus import MonitoredModelStatus
from modelwarden.resources.packages import PackageIndex
from modelwarden.resources.report import StatusReport
from modelwarden.resources.server_settings import asset_hash
from modelwarden.resources.sources import Source

WEB = {"http": {"url": "https://files.example/p.zip", "sha256": "0" * 64}}
SOURCE_HASH = asset_hash(Source.model_validate(WEB))
EXPLAINS = {"kind": "explainability", "type": "Explainability"}
READY = EXPLAINS | {"state": "Ready", "reason": "Explaining", "message": "rows are explained by linear"}
WAITS = EXPLAINS | {"state": "Pending", "reason": "Waiting", "message": "waits for user_project.zip"}


def status(given: tuple[World, Plan]) -> MonitoredModelStatus:
    world, plan = given
    return summarise(world, plan, (), "http://census", NOW)


def conditions(given: tuple[World, Plan]) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in status(given).conditions}


def message(given: tuple[World, Plan], type_: str) -> str:
    return next(c.message for c in status(given).conditions if c.type == type_)


def install_of(world: World) -> Provisioning:
    class Given:
        install = INSTALL

        @staticmethod
        def endpoint(_: Any) -> str:
            return "http://census.shop.svc:8080"

    place = place_of(Given, world.model)  # type: ignore[arg-type]
    server = server_of(world.model, INSTALL, world.enrichments)
    return Provisioning(place, INSTALL.training_resources, server)


def with_jobs(given: tuple[World, Plan], *ended: str, **pod: Any) -> tuple[World, Plan]:
    """The same with a Job for each errand, all ended so, and a pod of each."""
    world, plan = given
    jobs: list[Manifest] = []
    for asked in provisions_asked(world, install_of(world)):
        for errand in asked.errands:
            job = job_of(errand.plan(1))
            job["metadata"]["uid"] = job["metadata"]["name"]
            since = {
                "status": "True",
                "reason": "BackoffLimitExceeded",
                "lastTransitionTime": NOW.isoformat(),
            }
            job["status"] = {"ready": 1, "conditions": [{"type": how} | since for how in ended]}
            jobs.append(job)
    pods = [
        {
            "metadata": {
                "name": "p",
                "labels": {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]},
            },
            "status": pod,
        }
        for job in jobs
    ]
    return replace(world, trainings=tuple(jobs), training_pods=tuple(pods)), plan


def test_a_model_that_is_neither_explained_nor_served_says_nothing_of_a_server() -> None:
    given = running()
    assert (
        not {"ServerAvailable", "EnvironmentReady", "ExplainerReady", "Monitored"} & conditions(given).keys()
    )
    assert status(given).server is None


def test_a_model_whose_rows_are_explained_says_so() -> None:
    counts = {"chosen": 9, "explained": 7, "waiting": 1, "failed": 1}
    said = server_said(
        pods=[code()],
        environments=[{"hash": HASH, "roles": ["explain"], "state": "Ready"}],
        explanations=counts,
    )
    given = running(explained(), said=said, entries=[READY])
    found = conditions(given)
    assert found["ServerAvailable"] == ("True", "Running")
    assert found["EnvironmentReady"] == ("True", "Installed")
    assert found["ExplainerReady"] == ("True", "Explaining")
    assert "linear" in message(given, "ExplainerReady")
    server = status(given).server
    assert server is not None
    assert server.explanations is not None
    assert (server.ready_pods, server.python, server.explanations.explained) == (1, "3.11.7", 7)
    assert server.predict_url is None


TRACEBACK = "Traceback (most recent call last):\n  File entrypoint.py, line 1\nImportError: no such module"


@pytest.mark.parametrize(
    ("said", "entry", "ready", "expected"),
    [
        (None, None, 0, {"ServerAvailable": ("Unknown", "SettingsPending")}),
        (server_said(), None, 0, {"ServerAvailable": ("False", "Starting")}),
        (
            server_said(waiting_for=["user_project.zip"]),
            WAITS,
            1,
            {"ExplainerReady": ("False", "Waiting"), "EnvironmentReady": ("Unknown", "Waiting")},
        ),
        (
            server_said(pods=[code("Failed", message=TRACEBACK)]),
            EXPLAINS | {"state": "Failed", "reason": "CodeFailed", "message": TRACEBACK},
            1,
            {"ExplainerReady": ("False", "CodeFailed"), "ServerAvailable": ("True", "Running")},
        ),
        (
            server_said(pods=[code(differs=True, difference=0.25)]),
            READY,
            1,
            {"ExplainerReady": ("True", "PredictionsDiffer")},
        ),
        (
            server_said(environments=[{"hash": HASH, "roles": ["explain"], "state": "Due", "due": True}]),
            WAITS,
            1,
            {"EnvironmentReady": ("False", "Installing"), "ExplainerReady": ("False", "Installing")},
        ),
    ],
)
def test_what_hinders_explanations_is_told_and_hinders_nothing_else(
    said: Any, entry: Any, ready: int, expected: dict[str, tuple[str, str]]
) -> None:
    given = running(explained(), said=said, entries=[entry] if entry else [], ready=ready)
    found = conditions(given)
    assert expected.items() <= found.items()
    assert found["Ready"][0] == "True"
    assert found["Reconciling"][0] == found["Stalled"][0] == "False"


def test_the_enrichment_s_summary_tells_what_only_the_operator_can_see() -> None:
    said = server_said(environments=[{"hash": HASH, "roles": ["explain"], "state": "Due", "due": True}])
    bare = running(explained(), said=said, entries=[WAITS])
    (one,) = status(with_jobs(bare)).enrichments
    assert (one.state, one.reason, one.declared_by) == ("Pending", "Installing", "reasons")
    gone = {"reason": "Unschedulable", "type": "PodScheduled", "message": "0/1 nodes"}
    (one,) = status(with_jobs(bare, conditions=[gone])).enrichments
    assert (one.state, one.reason) == ("Pending", "Unschedulable")


def test_code_that_failed_and_is_being_replaced_is_nobody_s_to_mend() -> None:
    failed = EXPLAINS | {"state": "Failed", "reason": "CodeFailed", "message": "ImportError: no such module"}
    asset = {"slot": "explain-project", "source_hash": SOURCE_HASH, "state": "Missing", "due": True}
    (one,) = status(running(explained(project=WEB), said=server_said(), entries=[failed])).enrichments
    assert (one.state, one.reason) == ("Failed", "CodeFailed")
    replaced = running(explained(project=WEB), said=server_said(assets=[asset]), entries=[failed])
    (one,) = status(with_jobs(replaced)).enrichments
    assert (one.state, one.reason) == ("Training", "Fetching")


def test_a_failed_installation_ends_with_the_last_lines_and_when_it_is_tried_again() -> None:
    lines = "\n".join(f"Collecting package {n}" for n in range(200)) + "\nERROR: ResolutionImpossible"
    failed = {"hash": HASH, "roles": ["explain"], "state": "Failed", "due": True, "message": lines}
    given = with_jobs(
        running(explained(), said=server_said(environments=[failed]), entries=[WAITS]), "Failed"
    )
    assert conditions(given)["EnvironmentReady"] == ("False", "InstallFailed")
    told = message(given, "EnvironmentReady")
    assert "ERROR: ResolutionImpossible; tried again after 12:10 UTC" in told
    assert "package 0 " not in told
    (one,) = status(given).enrichments
    assert (one.state, one.reason) == ("Failed", "InstallFailed")


def test_a_list_that_cannot_be_installed_waits_for_a_change_and_says_so() -> None:
    failed = {"hash": HASH, "roles": ["explain"], "state": "Failed", "due": False, "message": "no"}
    given = running(explained(), said=server_said(environments=[failed]), entries=[WAITS])
    told = message(with_jobs(given, "Failed"), "EnvironmentReady")
    assert told.startswith("no; not tried again before something of it changes or Job census-environment-")


def test_a_spec_that_cannot_be_carried_out_leaves_what_is_known_of_the_server() -> None:
    world, plan = running(explained(), said=server_said(pods=[code()]), entries=[READY])
    before = status((world, plan))
    model = world.model.model_copy(update={"status": before})
    after = status((replace(world, model=model), Plan()))
    known = {c.type: (c.status, c.reason) for c in after.conditions}
    assert known["ExplainerReady"] == ("True", "Explaining")
    assert after.server == before.server


def test_a_file_that_cannot_be_fetched_is_told_where_it_is_missed() -> None:
    asset = {"slot": "explain-project", "source_hash": SOURCE_HASH, "state": "Failed", "due": True}
    said = server_said(assets=[asset | {"message": "the file's SHA-256 differs"}])
    given = with_jobs(running(explained(project=WEB), said=said, entries=[WAITS]), "Failed")
    assert conditions(given)["ExplainerReady"] == ("False", "SourceFailed")
    assert "SHA-256 differs" in message(given, "ExplainerReady")


@pytest.mark.parametrize(
    ("ended", "expected"),
    [((), ("True", "Fetching")), (("Failed",), ("True", "FilesBefore"))],
)
def test_files_before_do_the_work_while_new_ones_are_fetched_and_the_status_says_so(
    ended: tuple[str, ...], expected: tuple[str, str]
) -> None:
    asset = {"source_hash": SOURCE_HASH, "state": "Failed" if ended else "Missing", "due": True}
    project = server_said(assets=[asset | {"slot": "explain-project"}], pods=[code()])
    explains = with_jobs(running(explained(project=WEB), said=project, entries=[READY]), *ended)
    assert conditions(explains)["ExplainerReady"] == expected
    (one,) = status(explains).enrichments
    assert (one.state, one.reason) == ("Ready", expected[1])
    files = server_said(assets=[asset | {"slot": "serve-files"}], pods=[code(role="serve")])
    serves = with_jobs(running(serving=SERVING | {"files": WEB}, said=files), *ended)
    found = conditions(serves)
    assert found["ServerAvailable"] == expected
    assert found["Stalled" if ended else "Reconciling"] == expected


def test_another_python_than_asked_for_runs_and_is_named_with_what_to_do() -> None:
    given = running(explained(pythonVersion="3.8"), said=server_said(pods=[code()]), entries=[READY])
    assert conditions(given)["EnvironmentReady"] == ("True", "OtherPython")
    told = message(given, "EnvironmentReady")
    assert "3.8" in told
    assert "Python 3.11 runs" in told
    assert "runtimes" in told


@pytest.mark.parametrize(
    ("said", "server", "standing"),
    [
        (server_said(pods=[code(role="serve")]), ("True", "Serving"), "Current"),
        (server_said(pods=[code("Loading", role="serve")]), ("False", "LoadingCode"), "InProgress"),
        (server_said(pods=[code("Failed", role="serve", message="no")]), ("False", "CodeFailed"), "Failed"),
        (server_said(waiting_for=["the files of spec.serving"]), ("False", "Waiting"), "InProgress"),
        # New files, while those before predict.
        (server_said(pods=[code("Loading", role="serve", before=True)]), ("True", "LoadingCode"), "Renewed"),
        (
            server_said(pods=[code("Failed", role="serve", message="no", before=True)]),
            ("True", "FilesBefore"),
            "Failed",
        ),
    ],
)
def test_a_served_model_is_ready_when_it_predicts(said: Any, server: tuple[str, str], standing: str) -> None:
    given = running(serving=SERVING, said=said)
    found = conditions(given)
    assert found["ServerAvailable"] == server
    assert found["StoreAvailable"][0] == "True"
    expected = {
        "Current": ("True", "False", "False"),
        "InProgress": ("False", "True", "False"),
        "Renewed": ("True", "True", "False"),
        "Failed": ("False", "False", "True"),
    }[standing]
    assert tuple(found[name][0] for name in ("Ready", "Reconciling", "Stalled")) == expected


def test_a_served_model_without_attributes_predicts_and_is_not_monitored() -> None:
    said = server_said(pods=[code(role="serve")])
    bare = running(serving=SERVING | {"minReplicas": 0}, attributes=[], said=said)
    found = conditions(bare)
    assert found["Ready"][0] == "True"
    assert found["Monitored"] == ("False", "NoAttributes")
    assert found["DataFlowing"] == ("Unknown", "NoAttributes")
    assert "minReplicas 0 is taken as 1" in message(bare, "ServerAvailable")
    predicts = status(bare).server
    assert predicts is not None
    assert predicts.predict_url == "http://census-server.shop.svc:8080/v1/shop/census/predict"
    assert conditions(running(serving=SERVING, said=said))["Monitored"] == ("True", "Monitored")


LOGIN = {"name": "login"}
BUCKET = {"objectStore": {"uri": "s3://b/p.zip", "credentialsSecretRef": LOGIN}}


@pytest.mark.parametrize(
    ("labels", "reason"),
    [(None, "CredentialsMissing"), ({}, "CredentialsNotUsable"), ({"team": "x"}, "CredentialsNotUsable")],
)
def test_a_secret_is_given_to_no_job_without_its_owner_s_consent(labels: Any, reason: str) -> None:
    source_hash = asset_hash(Source.model_validate(BUCKET))
    asset = {"slot": "explain-project", "source_hash": source_hash, "due": True}
    environment = {"hash": HASH, "roles": ["explain"], "due": True}
    said = server_said(assets=[asset], environments=[environment])
    config = {"project": BUCKET, "packageIndex": {"credentialsSecretRef": LOGIN}}
    world, plan = running(explained(**config), said=said, entries=[WAITS])
    secrets = {} if labels is None else {"login": {"metadata": {"labels": labels}}}
    world = replace(world, secrets=secrets)
    for asked in provisions_asked(world, install_of(world)):
        assert [errand.trouble.reason for errand in asked.errands if errand.trouble] == [reason]
    found = conditions((world, plan))
    assert found["EnvironmentReady"] == found["ExplainerReady"] == ("False", reason)
    agreed = {"modelwarden.dev/usable-by-models": "true"}
    world = replace(world, secrets={"login": {"metadata": {"labels": agreed}}})
    errands = [e for asked in provisions_asked(world, install_of(world)) for e in asked.errands]
    assert [errand.trouble for errand in errands] == [None, None]


def test_a_silent_store_leaves_the_last_known_counts() -> None:
    said = server_said(pods=[code()], explanations={"chosen": 3, "explained": 3})
    world, plan = running(explained(), said=said, entries=[READY])
    before = status((world, plan))
    model = world.model.model_copy(update={"status": before})
    silent = status((replace(world, model=model, report=None), plan))
    assert silent.server is not None
    assert before.server is not None
    assert silent.server.explanations == before.server.explanations
    assert {c.type: c.status for c in silent.conditions}["ExplainerReady"] == "Unknown"


def test_an_index_of_the_install_serves_models_that_name_none() -> None:
    install = replace(INSTALL, package_index=PackageIndex(url="https://index.example/simple"))
    world, _ = running(explained(), said=server_said())
    server = server_of(world.model, install, world.enrichments)
    assert server is not None
    assert server.index_of(("explain",)).url == "https://index.example/simple"
    assert isinstance(world.report, StatusReport)

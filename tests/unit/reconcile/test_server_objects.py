"""A model's server: there when it is asked for, safe by construction, changed by what concerns it alone."""

import json
from dataclasses import replace
from typing import Any

import pytest
from model_worlds import INSTALL
from server_worlds import SEED, SERVING, asked, explained, objects_of, running, server_said

from modelwarden.reconcile.drift import STAMP
from modelwarden.reconcile.monitoredmodel.decide import decide
from modelwarden.resources.packages import Runtime
from modelwarden.resources.quantities import parse_quantity

DEPLOYMENT = ("Deployment", "census-server")
AUTOSCALER = ("HorizontalPodAutoscaler", "census-server")
OF_SERVER = {
    DEPLOYMENT,
    AUTOSCALER,
    ("Service", "census-server"),
    ("NetworkPolicy", "census-server"),
    ("NetworkPolicy", "census-server-environment"),
}
WEB = {"http": {"url": "https://files.example:8443/p.zip", "sha256": "0" * 64}}


def pod_of(deployment: Any) -> Any:
    return deployment["spec"]["template"]["spec"]


def containers(deployment: Any) -> dict[str, Any]:
    return {container["name"]: container for container in pod_of(deployment)["containers"]}


@pytest.mark.parametrize(
    ("objects", "spec", "has_one"),
    [
        ((), {}, False),
        ((explained(),), {}, True),
        ((explained(enabled=False),), {}, False),
        ((), {"serving": SERVING}, True),
        ((), {"serving": SERVING, "attributes": []}, True),
        ((explained(),), {"lifecycle": "Archived"}, False),
    ],
)
def test_a_model_has_a_server_when_it_is_explained_or_served(objects: Any, spec: Any, has_one: bool) -> None:
    found = objects_of(asked(*objects, **spec)).keys()
    assert OF_SERVER & found == (OF_SERVER if has_one else set())


def test_the_server_goes_when_nobody_asks_for_it_and_nothing_else_does() -> None:
    before, _ = running(explained())
    plan = decide(replace(before, enrichments=(explained(enabled=False),)), INSTALL)
    assert {(o["kind"], o["metadata"]["name"]) for o in plan.obsolete} == OF_SERVER
    assert plan.obsolete[-1]["kind"] == "Deployment"
    leaving = {
        child: live | {"metadata": live["metadata"] | {"deletionTimestamp": "2026-11-21T11:00:00Z"}}
        for child, live in before.children.items()
    }
    assert decide(replace(before, enrichments=(), children=leaving), INSTALL).obsolete == ()


def test_what_is_there_as_wanted_needs_no_change() -> None:
    world, plan = running(explained(), said=server_said())
    again = decide(world, INSTALL)
    assert again.intents == plan.intents
    assert again.obsolete == ()


SETTINGS = {("ConfigMap", "census-settings")}
ROLLED = {DEPLOYMENT}
# What each of the documented keys touches beside the settings, in which the Enrichment's own words stand.
KEYS: dict[str, tuple[Any, set[tuple[str, str]]]] = {
    "pythonVersion": ("3.10", ROLLED),
    "sdkVersion": ("3.26.0", set()),
    "explanationAlgo": ("shap", set()),
    "explanationNsamples": (500, set()),
    "shapExpectedValues": ([0.1, 0.9], set()),
    "modelServerCpu": ("1", ROLLED),
    "modelServerMemory": ("2Gi", ROLLED),
    "modelServerMaxReplicas": (4, {AUTOSCALER}),
    "inferenceConsumerCpu": ("1", ROLLED),
    "inferenceConsumerMemory": ("1Gi", ROLLED),
    "inferenceConsumerScorePercent": (0.1, set()),
    "inferenceConsumerThreadPoolSize": (9, set()),
    "streamingExplainabilityEnabled": (False, set()),
    "userPredictFunctionImportPath": ("main", set()),
}


@pytest.mark.parametrize("key", KEYS)
def test_a_documented_key_changes_what_it_says_and_never_the_store(key: str) -> None:
    assert KEYS.keys() == SEED.keys()
    value, touched = KEYS[key]
    install = replace(INSTALL, runtimes=(Runtime(python_version="3.10", image="i:3.10"),))
    before = objects_of(asked(explained(**SEED)), install)
    after = objects_of(asked(explained(**SEED | {key: value})), install)
    assert before.keys() == after.keys()
    assert {child for child in before if before[child] != after[child]} == SETTINGS | touched


def test_the_documented_example_asks_for_little_of_a_node_and_may_use_what_it_says() -> None:
    found = objects_of(asked(explained(**SEED)))
    resources = {name: one["resources"] for name, one in containers(found[DEPLOYMENT]).items()}
    assert resources["model-server"] == {
        "requests": {"cpu": "500m", "memory": "375Mi"},
        "limits": {"cpu": "2000m", "memory": "1500Mi"},
    }
    assert resources["ingest"] == {
        "requests": {"cpu": "125m", "memory": "128Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"},
    }
    scale = found[AUTOSCALER]["spec"]
    assert (scale["minReplicas"], scale["maxReplicas"]) == (1, 30)
    assert "replicas" not in found[DEPLOYMENT]["spec"]
    (metric,) = scale["metrics"]
    assert metric["containerResource"]["container"] == "model-server"
    # 80 % of the limit of two processors, as a share of the request.
    busy = metric["containerResource"]["target"]["averageUtilization"] / 100
    assert busy * float(parse_quantity("500m")) == pytest.approx(1.6)


def test_a_model_that_is_explained_and_served_has_room_for_both() -> None:
    serving = SERVING | {"cpu": "1", "memory": "1Gi", "minReplicas": 0, "maxReplicas": 3, "cooldown": "90s"}
    found = objects_of(asked(explained(**SEED), serving=serving))
    limits = containers(found[DEPLOYMENT])["model-server"]["resources"]["limits"]
    assert limits == {"cpu": "3000m", "memory": "2524Mi"}
    scale = found[AUTOSCALER]["spec"]
    assert (scale["minReplicas"], scale["maxReplicas"]) == (1, 30)
    assert scale["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 90


def test_accelerators_are_asked_for_and_threads_are_as_many_as_processors() -> None:
    found = objects_of(asked(serving=SERVING | {"hardware": "AMPERE_A100", "gpus": 2, "cpu": "1500m"}))
    server = containers(found[DEPLOYMENT])["model-server"]
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert {"name": "OMP_NUM_THREADS", "value": "2"} in server["env"]


def test_beside_the_users_code_there_is_nothing_to_steal_and_nothing_to_write_but_bounded_folders() -> None:
    deployment = objects_of(asked(explained(**SEED), serving=SERVING))[DEPLOYMENT]
    pod = pod_of(deployment)
    assert pod["automountServiceAccountToken"] is False
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount for mount in containers(deployment)["model-server"]["volumeMounts"]}
    assert mounts.keys() == {"code", "run", "work"}
    assert mounts["code"]["readOnly"] is True
    for name in mounts:
        assert volumes[name]["emptyDir"]["sizeLimit"]
    assert "key" not in json.dumps(containers(deployment)["model-server"]["env"])
    for container in pod["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_server_reaches_names_and_its_store_alone_unless_webhooks_are_allowed() -> None:
    def egress(**more: Any) -> Any:
        found = objects_of(asked(serving=SERVING | more))
        policy = found["NetworkPolicy", "census-server"]["spec"]
        template = found[DEPLOYMENT]["spec"]["template"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= template.items()
        return policy["egress"]

    names, store = egress()
    assert {port["port"] for port in names["ports"]} == {53}
    (peer,) = store["to"]
    assert peer["podSelector"]["matchLabels"] == {
        "modelwarden.dev/model": "census",
        "app.kubernetes.io/component": "store",
    }
    *_, outside = egress(allowWebhooks=True)
    assert {port["port"] for port in outside["ports"]} == {80, 443}


def test_the_policy_of_the_cell_does_not_add_to_the_server_s() -> None:
    policy = objects_of(asked(explained()))["NetworkPolicy", "census"]["spec"]
    (expression,) = policy["podSelector"]["matchExpressions"]
    assert (expression["operator"], expression["values"]) == ("NotIn", ["server"])


def test_only_jobs_that_fetch_or_install_get_a_way_out_by_the_ports_they_need() -> None:
    index = {"url": "https://index.example:8081/simple", "proxy": "http://proxy:3128"}
    found = objects_of(asked(explained(project=WEB, packageIndex=index)))
    for purpose, ports in (("assets", {80, 443, 8443}), ("environment", {80, 443, 8081, 3128})):
        policy = found["NetworkPolicy", f"census-server-{purpose}"]["spec"]
        assert policy["podSelector"]["matchLabels"]["modelwarden.dev/purpose"] == purpose
        (rule,) = policy["egress"]
        assert {port["port"] for port in rule["ports"]} == ports


def test_pods_are_replaced_without_a_gap_where_predictions_are_made() -> None:
    for spec, unavailable in (({"serving": SERVING}, 0), ({}, 1)):
        strategy = objects_of(asked(explained(), **spec))[DEPLOYMENT]["spec"]["strategy"]
        assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": unavailable}


@pytest.mark.parametrize(
    ("config", "image", "told"),
    [
        ({}, "ours", ""),
        ({"pythonVersion": "3.11"}, "ours", ""),
        ({"pythonVersion": "3.11.4"}, "ours", ""),
        ({"pythonVersion": "3.10"}, "ten", ""),
        ({"pythonVersion": "3.8"}, "ours", "3.8"),
        ({"pythonVersion": "newest"}, "ours", "newest"),
        ({"pythonVersion": "3.8", "image": "mine"}, "mine", ""),
    ],
)
def test_user_code_runs_in_the_image_of_its_python_or_in_ours_and_that_is_said(
    config: dict[str, Any], image: str, told: str
) -> None:
    runtimes = (Runtime(python_version="3.10", image="ten"),)
    install = replace(INSTALL, cell_image="ours", runtimes=runtimes)
    plan = decide(asked(explained(**config)), install)
    deployment = next(i for i in plan.intents if (i["kind"], i["metadata"]["name"]) == DEPLOYMENT)
    assert containers(deployment)["model-server"]["image"] == image
    assert containers(deployment)["ingest"]["image"] == "ours"
    assert plan.server is not None
    assert (told in plan.server.runtime.note) if told else not plan.server.runtime.note


def test_the_cell_is_told_where_its_server_is_what_runs_and_what_each_file_is_called() -> None:
    found = objects_of(asked(explained(project=WEB, image="mine"), serving=SERVING))
    told = json.loads(found["ConfigMap", "census-settings"]["data"]["settings.json"])
    assert told["server"]["url"] == "http://census-server.shop.svc:8080"
    assert told["server"]["assets"].keys() == {"explain-project", "serve-files"}
    assert told["server"]["runtime"].startswith("image-")
    assert told["serving"]["image"] is told["enrichments"]["explainability"]["image"] is True
    without = json.loads(objects_of(asked())["ConfigMap", "census-settings"]["data"]["settings.json"])
    assert "url" not in without["server"]


def test_somebody_else_s_object_of_that_name_stops_the_server_and_not_the_store() -> None:
    world = asked(explained())
    stranger = {"kind": "NetworkPolicy", "metadata": {"name": "census-server"}}
    plan = decide(replace(world, children={("NetworkPolicy", "census-server"): stranger}), INSTALL)
    made = {(i["kind"], i["metadata"]["name"]) for i in plan.intents}
    assert ("Deployment", "census") in made
    assert DEPLOYMENT not in made
    assert [trouble.reason for trouble in plan.troubles] == ["NameTaken"]


def test_every_object_of_a_server_is_stamped_and_owned() -> None:
    found = objects_of(asked(explained(project=WEB), serving=SERVING))
    for child in OF_SERVER | {("NetworkPolicy", "census-server-assets")}:
        meta = found[child]["metadata"]
        assert STAMP in meta["annotations"]
        assert [owner["uid"] for owner in meta["ownerReferences"]] == ["uid-1"]
        assert meta["labels"]["app.kubernetes.io/component"] == "server"

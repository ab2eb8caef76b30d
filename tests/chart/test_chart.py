"""The chart: lints, refuses what it does not know, renders what a real API server and PodSecurity accept."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_install import CHART, helm, kubectl, rendered
from kubernetes_schemas import write_schemas
from model_worlds import INSTALL, PLACE
from operator_process import ROOT
from server_worlds import SEED, SERVING, asked, explained

from modelwarden.reconcile.jobs import Workplace, job_of
from modelwarden.reconcile.monitoredmodel.build.provision import (
    AssetOrder,
    EnvironmentOrder,
    asset_plan,
    environment_plan,
)
from modelwarden.reconcile.monitoredmodel.build.training import TrainingOrder, training_plan
from modelwarden.reconcile.monitoredmodel.decide import decide
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.referencedataset.build import profile_plan
from modelwarden.resources.packages import PackageIndex
from modelwarden.resources.pod import PodSpec
from modelwarden.resources.sources import Source
from modelwarden.settings import OperatorSettings
from testbed.apiserver import ApiServer
from testbed.binaries import kubeconform
from testbed.progress import ConsoleReporter

pytestmark = pytest.mark.chart

CI = sorted((CHART / "ci").glob("*-values.yaml"))


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with ApiServer() as server:
        for crd in sorted((ROOT / "crds").glob("*.yaml")):
            kubectl(server, "apply", "--server-side", "-f", str(crd))
        yield server


@pytest.fixture(scope="module")
def schemas(api: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where kubeconform finds the schemas."""
    return write_schemas(api, tmp_path_factory.mktemp("schemas"))


def test_the_chart_lints_strictly_with_every_set_of_values() -> None:
    for values in CI:
        done = helm("lint", "--strict", str(CHART), "--values", str(values))
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("unknown=1", "unknown"),
        ("image.operator.unknown=1", "unknown"),
        ('logLevel="LOUD"', "logLevel"),
        ("resync=0", "resync"),
        ('watchNamespaces=["Not_A_Name"]', "watchNamespaces"),
        ('image.server.digest="md5:0"', "digest"),
        ('podDefaults={"hostNetwork":true}', "hostNetwork"),
        ('image.server.pythonVersion="3"', "pythonVersion"),
        ('runtimes=[{"pythonVersion":3.1,"image":"x"}]', "pythonVersion"),
        ('packageIndex={"url":"ftp://index"}', "url"),
        ('packageIndex={"password":"x"}', "password"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(value: str, named: str) -> None:
    done = helm("template", "x", str(CHART), "--set-json", value)
    assert done.returncode != 0
    assert named in done.stderr


def test_namespaced_rights_without_namespaces_are_refused() -> None:
    done = helm("template", "x", str(CHART), "--set-json", 'rbac.scope="namespaced"')
    assert done.returncode != 0
    assert "watchNamespaces" in done.stderr


@pytest.mark.parametrize("values", CI, ids=lambda path: path.stem)
def test_what_is_rendered_holds_no_unknown_field(values: Path, schemas: str, tmp_path: Path) -> None:
    _conform(_rendered(values), schemas, tmp_path)


@pytest.mark.parametrize("values", CI, ids=lambda path: path.stem)
def test_a_real_api_server_accepts_what_is_rendered(api: ApiServer, values: Path) -> None:
    for namespace in ("mw", "shop", "bank"):
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        kubectl(api, "apply", "--server-side", "-f", "-", given=[manifest])
    given = _rendered(values)
    kubectl(api, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", given=given)


def test_the_objects_of_a_cell_hold_no_unknown_field(schemas: str, tmp_path: Path) -> None:
    pod = {
        "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "x", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "pull"}],
        "priorityClassName": "low",
        "env": [{"name": "A", "value": "b"}],
        "caBundleRef": {"name": "ca"},
        "labels": {"team": "x"},
    }
    place = replace(PLACE, pod=PodSpec.model_validate(pod))
    intents = decide(_served(pod=pod), INSTALL).intents
    assert {"HorizontalPodAutoscaler", "NetworkPolicy"} <= {intent["kind"] for intent in intents}
    _conform([*intents, *_jobs(place)], schemas, tmp_path)


@pytest.mark.parametrize("values", CI, ids=lambda path: path.stem)
def test_the_operator_s_pod_is_admitted_under_the_restricted_policy(api: ApiServer, values: Path) -> None:
    _admitted(api, [m for m in _rendered(values) if m["kind"] == "Deployment"])


def test_the_pods_of_a_cell_are_admitted_under_the_restricted_policy(api: ApiServer) -> None:
    intents = [i for i in decide(_served(), INSTALL).intents if i["kind"] == "Deployment"]
    assert [intent["metadata"]["name"] for intent in intents] == ["census", "census-server"]
    _admitted(api, [*intents, *_jobs(PLACE)])


def test_a_digest_is_used_instead_of_the_tag_and_the_chart_s_version_without_either() -> None:
    everything = next(path for path in CI if path.stem.startswith("everything"))
    (image,) = [c["image"] for c in _containers(_rendered(everything))]
    assert image == "registry.example:5000/mw/operator@sha256:" + "a" * 64
    digest = f'image.server.digest="sha256:{"b" * 64}"'
    (container,) = _containers(rendered("mw", digest))
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["MODELWARDEN_CELL_IMAGE"] == "modelwarden/model-server@sha256:" + "b" * 64
    (default,) = [c["image"] for c in _containers(rendered("mw"))]
    assert default == f"modelwarden/operator:{_chart()['appVersion']}"


def test_the_chart_s_version_is_the_project_s() -> None:
    import modelwarden

    assert _chart()["version"] == _chart()["appVersion"] == modelwarden.__version__


def test_every_variable_of_the_chart_is_a_setting_of_the_operator_and_reads_as_meant() -> None:
    for values in CI:
        (container,) = _containers(_rendered(values))
        given = {entry["name"]: entry.get("value", "x") for entry in container["env"]}
        names = {
            name.removeprefix("MODELWARDEN_").lower() for name in given if name.startswith("MODELWARDEN_")
        }
        assert names <= OperatorSettings.model_fields.keys()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            OperatorSettings()


def test_the_chart_s_defaults_are_the_operator_s() -> None:
    (container,) = _containers(rendered("mw"))
    with pytest.MonkeyPatch.context() as patch:
        for entry in container["env"]:
            if entry["name"] not in ("POD_NAME", "MODELWARDEN_NAMESPACE", "MODELWARDEN_CELL_IMAGE"):
                patch.setenv(entry["name"], entry["value"])
        rendered_settings = OperatorSettings(namespace="x", identity="x", cell_image="x")
    assert rendered_settings == OperatorSettings(namespace="x", identity="x", cell_image="x")


def test_custom_resource_definitions_come_with_the_chart_and_stay_when_it_goes() -> None:
    crds = [m for m in rendered("mw") if m["kind"] == "CustomResourceDefinition"]
    assert len(crds) == 3
    for crd in crds:
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        file = ROOT / "crds" / f"{crd['metadata']['name']}.yaml"
        assert crd["spec"] == yaml.safe_load(file.read_text())["spec"]
    without = rendered("mw", "crds.install=false")
    assert not [m for m in without if m["kind"] == "CustomResourceDefinition"]


def test_a_namespaced_install_renders_nothing_for_the_whole_cluster() -> None:
    namespaced = next(path for path in CI if path.stem.startswith("namespaced"))
    manifests = _rendered(namespaced)
    assert not [m for m in manifests if m["kind"].startswith("Cluster")]
    assert {m["metadata"]["namespace"] for m in manifests if m["kind"] == "Role"} == {"mw", "shop", "bank"}


def test_no_rule_has_a_wildcard_and_no_secret_can_be_listed() -> None:
    for values in CI:
        for role in (m for m in _rendered(values) if m["kind"] in ("Role", "ClusterRole")):
            for rule in role["rules"]:
                assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
                if "secrets" in rule["resources"]:
                    assert not {"list", "watch", "delete"} & set(rule["verbs"])


def test_every_value_is_described_by_the_schema_and_nothing_else_is() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    # `global` is what a parent chart hands down to all its parts.
    assert set(values) | {"global"} == set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_rendering_twice_gives_the_same() -> None:
    """GitOps renders anew each time: nothing random, no date."""
    assert rendered("mw") == rendered("mw")


def _served(**spec: Any) -> World:
    """A model with everything: explained, served, with webhooks."""
    web = {"http": {"url": "https://files.example:8443/p.zip", "sha256": "0" * 64}}
    hardware = {"hardware": "AMPERE_A100", "allowWebhooks": True}
    return asked(explained(**SEED, project=web), serving=SERVING | hardware, **spec)


def _jobs(place: Workplace) -> list[dict[str, Any]]:
    """A Job of each purpose that a model's object is not needed for."""
    common: Any = {"place": place, "model_uid": "m", "input_hash": "ab" * 32}
    common["resources"] = INSTALL.training_resources
    bucket = {"objectStore": {"uri": "s3://b/p", "credentialsSecretRef": {"name": "s"}}}
    asset = AssetOrder(**common, slot="serve-files", source=Source.model_validate(bucket))
    login = {"name": "login"}
    index = {"url": "https://i.example", "caBundleRef": {"name": "ca"}, "credentialsSecretRef": login}
    packages = EnvironmentOrder(**common, index=PackageIndex.model_validate(index))
    order = TrainingOrder(
        place=place,
        model_uid="m",
        kind="anomaly",
        input_hash="ab" * 32,
        resources=INSTALL.training_resources,
    )
    plans = [profile_plan(place, "train", "d", "ab" * 32), training_plan(order)]
    plans += [asset_plan(asset), environment_plan(packages)]
    return [job_of(plan) for plan in plans]


def _rendered(values: Path) -> list[dict[str, Any]]:
    done = helm("template", "modelwarden", str(CHART), "--namespace", "mw", "--values", str(values))
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def _containers(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [m for m in manifests if m["kind"] == "Deployment"]
    return [c for m in found for c in m["spec"]["template"]["spec"]["containers"]]


def _chart() -> Any:
    return yaml.safe_load((CHART / "Chart.yaml").read_text())


def _conform(manifests: list[dict[str, Any]], schemas: str, folder: Path) -> None:
    file = folder / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    program = kubeconform(ConsoleReporter())
    done = subprocess.run(
        [program, "-strict", "-summary", "-output", "json", "-schema-location", schemas, str(file)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert (summary["valid"], summary["skipped"]) == (len(manifests), 0), done.stdout


def _admitted(api: ApiServer, workloads: list[dict[str, Any]]) -> None:
    """Make each workload's pod, for a trial, in a namespace that enforces the restricted policy."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tight", "labels": labels}}
    kubectl(api, "apply", "--server-side", "-f", "-", given=[namespace])
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "tight"}}
    assert workloads
    for number, workload in enumerate(workloads):
        template = workload["spec"]["template"]
        name = template["spec"].get("serviceAccountName", "default")
        given = [account | {"metadata": {"namespace": "tight", "name": name}}]
        kubectl(api, "apply", "--server-side", "-f", "-", given=given)
        meta = {"name": f"pod-{number}", "namespace": "tight", "labels": template["metadata"]["labels"]}
        spec = {key: value for key, value in template["spec"].items() if key != "priorityClassName"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        kubectl(api, "create", "--dry-run=server", "-f", "-", given=[pod])

"""The Helm chart as a user renders it: what it refuses, what it grants, and that an API server takes it.

Built-in kinds are checked by a real API server and not by schemas from elsewhere: it is the one that judges.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_install import CHART, Manifest, helm, kubectl, rendered
from operator_process import ROOT

from testbed.apiserver import ApiServer

NAMESPACE = "modelwarden-system"
CASES = {
    "defaults": (),
    "namespaced": ('rbac.scope="namespaced"', 'watchNamespaces=["shop","bank"]'),
    "by digest": (f'image.operator.digest="sha256:{"a" * 64}"', f'image.server.digest="sha256:{"b" * 64}"'),
    "placed": (
        'nodeSelector={"disk":"fast"}',
        'imagePullSecrets=[{"name":"pull"}]',
        'priorityClassName="high"',
    ),
    "for every model": ('podDefaults={"nodeSelector":{"pool":"models"}}', 'ingressNamespaces=["monitoring"]'),
    "without extras": ("metrics.service.enabled=false", "crds.install=false", "rbac.aggregate=false"),
}


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with ApiServer() as server:
        for namespace in (NAMESPACE, "shop", "bank"):
            kubectl(server, "create", "namespace", namespace)
        yield server


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def rules_of(manifests: list[Manifest]) -> list[dict[str, Any]]:
    """The operator's own rules: roles that are aggregated into the users' roles are not its rights."""
    roles = [
        role
        for role in of_kind(manifests, "Role", "ClusterRole")
        if not any("aggregate-to" in label for label in role["metadata"].get("labels", {}))
    ]
    return [rule for role in roles for rule in role["rules"]]


def test_helm_finds_nothing_to_complain_about() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_what_is_rendered_is_taken_by_an_api_server(api: ApiServer, case: str) -> None:
    manifests = rendered(NAMESPACE, *CASES[case])
    kubectl(
        api, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", given=manifests
    )


@pytest.mark.parametrize("value", ['imaeg={"operator":{}}', "dataFactsInterval=-1", 'rbac.scope="galaxy"'])
def test_a_value_that_does_not_exist_or_does_not_fit_is_refused(value: str) -> None:
    done = helm("template", "modelwarden", str(CHART), "--set-json", value)
    assert done.returncode != 0
    assert value.split("=")[0].split(".")[-1] in done.stderr


def test_a_namespaced_install_without_namespaces_says_what_is_missing() -> None:
    done = helm("template", "modelwarden", str(CHART), "--set-json", 'rbac.scope="namespaced"')
    assert done.returncode != 0
    assert "watchNamespaces" in done.stderr


def test_the_definitions_of_the_chart_are_those_of_the_crds_folder() -> None:
    shown = {m["metadata"]["name"]: m for m in of_kind(rendered(NAMESPACE), "CustomResourceDefinition")}
    source = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert set(shown) == {crd["metadata"]["name"] for crd in source}
    for crd in source:
        assert shown[crd["metadata"]["name"]]["spec"] == crd["spec"]


def test_the_definitions_survive_an_uninstall() -> None:
    for crd in of_kind(rendered(NAMESPACE), "CustomResourceDefinition"):
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize("case", CASES)
def test_no_rule_has_a_wildcard_and_no_secret_can_be_listed(case: str) -> None:
    for rule in rules_of(rendered(NAMESPACE, *CASES[case])):
        parts = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "*" not in parts
        if "secrets" in rule["resources"]:
            assert not {"list", "watch", "delete"} & set(rule["verbs"])


def test_a_namespaced_install_has_no_rights_in_the_cluster() -> None:
    manifests = rendered(NAMESPACE, *CASES["namespaced"])
    assert of_kind(manifests, "ClusterRole", "ClusterRoleBinding") == []
    assert {m["metadata"]["namespace"] for m in of_kind(manifests, "Role")} == {NAMESPACE, "shop", "bank"}


def test_the_operators_pod_is_restricted() -> None:
    (deployment,) = of_kind(rendered(NAMESPACE), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests", "limits"} <= set(container["resources"])


def test_a_digest_is_used_instead_of_the_tag() -> None:
    (deployment,) = of_kind(rendered(NAMESPACE, *CASES["by digest"]), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].endswith(f"@sha256:{'a' * 64}")
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert str(environment["MODELWARDEN_CELL_IMAGE"]).endswith(f"@sha256:{'b' * 64}")


def test_every_value_is_described_by_the_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((Path(CHART) / "values.schema.json").read_text())
    # `global` is what a parent chart hands down to all its parts.
    assert set(values) | {"global"} == set(schema["properties"])
    assert schema["additionalProperties"] is False

"""The chart as `helm template` renders it, and as much of it as an API server without a node can hold."""

import json
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from operator_process import ROOT

from testbed.apiserver import ApiServer
from testbed.binaries import kubernetes
from testbed.progress import ConsoleReporter

CHART = ROOT / "charts" / "modelwarden"
Manifest = dict[str, Any]


@cache
def programs() -> Path:
    """The folder with helm and kubectl."""
    return kubernetes(ConsoleReporter())


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm; the caller looks at the exit code."""
    return subprocess.run([programs() / "helm", *arguments], capture_output=True, text=True, timeout=300)


def rendered(namespace: str, *values: str) -> list[Manifest]:
    """All manifests of the chart; `values` as for --set-json."""
    sets = [part for value in values for part in ("--set-json", value)]
    done = helm("template", "modelwarden", str(CHART), "--namespace", namespace, *sets)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


@dataclass(frozen=True)
class Installed:
    """The chart, applied: the operator container's environment, its ServiceAccount's kubeconfig and rules."""

    environment: dict[str, str]
    kubeconfig: Path
    account: str
    rules: tuple[Manifest, ...]


def install(api: ApiServer, namespace: str, *values: str) -> Installed:
    """Apply everything but the Deployment, whose container the test starts itself."""
    manifests = rendered(namespace, *values)
    workload = next(m for m in manifests if m["kind"] == "Deployment")
    others = [m for m in manifests if m is not workload]
    kubectl(api, "apply", "--server-side", "--force-conflicts", "-f", "-", given=others)
    account = workload["spec"]["template"]["spec"]["serviceAccountName"]
    container = workload["spec"]["template"]["spec"]["containers"][0]
    environment = {entry["name"]: str(entry["value"]) for entry in container["env"] if "value" in entry}
    environment |= {"MODELWARDEN_NAMESPACE": namespace}
    roles = [
        m for m in others if m["kind"] in ("Role", "ClusterRole") and "operator" in m["metadata"]["name"]
    ]
    rules = [rule for role in roles for rule in role["rules"]]
    return Installed(
        environment,
        api.service_account_kubeconfig(namespace, account),
        f"{namespace}:{account}",
        tuple(rules),
    )


def kubectl(api: ApiServer, *arguments: str, given: list[Manifest] | None = None) -> str:
    """Run kubectl as the administrator; its output. AssertionError with its complaint if it fails."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": given}) if given is not None else None
    done = subprocess.run(
        [api.programs / "kubectl", f"--kubeconfig={api.kubeconfig}", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

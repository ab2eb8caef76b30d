"""The parts of a pod that store, server and Jobs share: security, placement, surroundings. Pure.

Passes PodSecurity `restricted`: no root, no privilege, read-only root file system, no token.
"""

from typing import Any

from modelwarden.reconcile.names import Labels
from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.pod import PodSpec, Resources

USER = 65532
CA_FOLDER = "/etc/modelwarden/ca"


def over(base: PodSpec, own: PodSpec) -> PodSpec:
    """A model's pod options over the install's: keyed ones joined, tolerations added, the rest replaced."""
    return PodSpec(
        node_selector={**base.node_selector, **own.node_selector},
        tolerations=base.tolerations + own.tolerations,
        affinity=own.affinity or base.affinity,
        image_pull_secrets=tuple(
            {s.name: s for s in base.image_pull_secrets + own.image_pull_secrets}.values()
        ),
        priority_class_name=own.priority_class_name or base.priority_class_name,
        env=tuple({entry.name: entry for entry in base.env + own.env}.values()),
        ca_bundle_ref=own.ca_bundle_ref or base.ca_bundle_ref,
        labels={**base.labels, **own.labels},
    )


def pod_security() -> Manifest:
    """The pod's securityContext. OnRootMismatch: no chown of a million files at each start."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Manifest:
    """Each container's securityContext."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def placement(pod: PodSpec) -> Manifest:
    """The fields of a pod's spec that the user may set, and only those that are set."""
    fields: Manifest = {
        "nodeSelector": dict(pod.node_selector),
        "tolerations": [_plain(toleration) for toleration in pod.tolerations],
        "affinity": dict(pod.affinity),
        "imagePullSecrets": [{"name": secret.name} for secret in pod.image_pull_secrets],
        "priorityClassName": pod.priority_class_name,
    }
    return {name: value for name, value in fields.items() if value}


def own_labels(pod: PodSpec, ours: Labels) -> Labels:
    """The user's labels for pods, without keys in our domains, and ours."""
    foreign = {key: value for key, value in pod.labels.items() if not _is_ours(key)}
    return foreign | ours


def surroundings(pod: PodSpec) -> tuple[list[Manifest], list[Manifest], list[Manifest]]:
    """Environment variables, volumes and mounts that the user's pod options ask for."""
    env: list[Manifest] = [{"name": entry.name, "value": entry.value} for entry in pod.env]
    bundle = pod.ca_bundle_ref
    if bundle is None:
        return env, [], []
    env.append({"name": "MODELWARDEN_CA_BUNDLE", "value": f"{CA_FOLDER}/{bundle.key}"})
    items = [{"key": bundle.key, "path": bundle.key}]
    volume = {"name": "ca", "configMap": {"name": bundle.name, "items": items}}
    return env, [volume], [{"name": "ca", "mountPath": CA_FOLDER, "readOnly": True}]


def probes() -> Manifest:
    """The probes of a process of a cell: two minutes to start, seen as hung after one."""
    return {
        "startupProbe": _probe("/healthz", period=2, failures=60),
        "livenessProbe": _probe("/healthz", period=10, failures=6),
        "readinessProbe": _probe("/readyz", period=3, failures=2),
    }


def resources(amounts: Resources) -> Manifest:
    """A container's resources."""
    return _plain(amounts)


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    """An HTTP probe of the container's port `http`; seconds between two, and how many may fail."""
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _plain(value: Any) -> Manifest:
    dumped: Manifest = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped


def _is_ours(key: str) -> bool:
    domain = key.partition("/")[0]
    return domain.endswith(("modelwarden.dev", "app.kubernetes.io"))

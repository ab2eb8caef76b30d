"""The store's Deployment: one writer, so one replica, and the old one ends before the new one starts."""

from modelwarden.reconcile import podtemplate
from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint
from modelwarden.reconcile.monitoredmodel.build import cellfiles
from modelwarden.reconcile.monitoredmodel.build.metadata import owned
from modelwarden.reconcile.names import (
    ANNOTATION_IDENTITY,
    ANNOTATION_KEY_HASH,
    CELL_PORT,
    child_labels,
    data_claim,
    pod_selector,
)
from modelwarden.reconcile.ports import Manifest

# The drain of a full log to the tables; SIGKILL after that loses nothing, but the next start is slower.
_GRACE_SECONDS = 60


def build_deployment(plan: Blueprint) -> Manifest:
    """The store, or none of it (0 replicas) for an archived model."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owned(plan, plan.name),
        "spec": {
            "replicas": 0 if plan.archived else 1,
            "strategy": {"type": "Recreate"},
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": pod_selector(plan.name)},
            "template": {
                "metadata": {
                    "labels": podtemplate.own_labels(plan.pod, child_labels(plan.name)),
                    "annotations": {
                        ANNOTATION_IDENTITY: plan.identity_hash,
                        ANNOTATION_KEY_HASH: plan.key_hash,
                    },
                },
                "spec": _pod(plan),
            },
        },
    }


def _pod(plan: Blueprint) -> Manifest:
    env, volumes, mounts = podtemplate.surroundings(plan.pod)
    return podtemplate.placement(plan.pod) | {
        "serviceAccountName": plan.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": podtemplate.pod_security(),
        "containers": [_container(plan, env, mounts)],
        "volumes": [*_volumes(plan), *volumes],
    }


def _container(plan: Blueprint, env: list[Manifest], mounts: list[Manifest]) -> Manifest:
    container: Manifest = {
        "name": "store",
        "image": plan.install.cell_image,
        "imagePullPolicy": plan.install.pull_policy,
        "command": ["python", "-m", "modelwarden_server"],
        "args": [
            "store",
            *cellfiles.ARGUMENTS,
            "--data=/data",
            "--host=0.0.0.0",
            f"--port={CELL_PORT}",
        ],
        "ports": [{"name": "http", "containerPort": CELL_PORT, "protocol": "TCP"}],
        "resources": podtemplate.resources(plan.model.spec.store.resources or plan.install.store_resources),
        "securityContext": podtemplate.container_security(),
        **podtemplate.probes(),
        "volumeMounts": [
            *cellfiles.mounts(),
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of its own
            *mounts,
        ],
    }
    return container | ({"env": env} if env else {})


def _volumes(plan: Blueprint) -> list[Manifest]:
    return [
        *cellfiles.volumes(plan),
        {"name": "data", "persistentVolumeClaim": {"claimName": data_claim(plan.name)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}},
    ]

"""The server's Deployment: user code in one container, the sidecar that feeds it in the other.

Stateless: it is rolled without touching the store. The cell's key, identity and settings are mounted in the
sidecar alone: in the container with the user's code there is nothing to steal.
"""

from modelwarden.reconcile import podtemplate
from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint, ServerBlueprint
from modelwarden.reconcile.monitoredmodel.build import cellfiles
from modelwarden.reconcile.monitoredmodel.build.amounts import (
    model_server_resources,
    sidecar_resources,
    threads_of,
)
from modelwarden.reconcile.monitoredmodel.build.metadata import owned
from modelwarden.reconcile.names import (
    ANNOTATION_KEY_HASH,
    CELL_PORT,
    SERVER,
    child_labels,
    pod_selector,
    server_name,
)
from modelwarden.reconcile.ports import Manifest

SIDECAR, MODEL_SERVER = "ingest", "model-server"
_SHARED, _RUN = "/srv/modelwarden", "/srv/modelwarden-run"
# Files and packages of user code: an environment with a deep-learning library is five gigabytes.
_SHARED_SIZE, _RUN_SIZE, _TMP_SIZE = "12Gi", "16Mi", "2Gi"
# Endpoints are told of a pod's end while it ends: requests still come for a moment, and need the model.
_LINGER_SECONDS = 5
# The longest request of a served model may take three minutes.
_GRACE_SERVED, _GRACE = 200, 30


def build_server(plan: Blueprint, server: ServerBlueprint) -> Manifest:
    """The server. Without `replicas`: these are the autoscaler's."""
    served = server.wish.serving is not None
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owned(plan, server_name(plan.name), component=SERVER),
        "spec": {
            # Predictions must go on while pods are replaced; explanations may pause, and small nodes have no
            # room for one pod more.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0 if served else 1},
            },
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": pod_selector(plan.name, SERVER)},
            "template": {
                "metadata": {
                    "labels": podtemplate.own_labels(plan.pod, child_labels(plan.name, SERVER)),
                    "annotations": {ANNOTATION_KEY_HASH: plan.key_hash},
                },
                "spec": _pod(plan, server, _GRACE_SERVED if served else _GRACE),
            },
        },
    }


def _pod(plan: Blueprint, server: ServerBlueprint, grace: int) -> Manifest:
    env, volumes, mounts = podtemplate.surroundings(plan.pod)
    return podtemplate.placement(plan.pod) | {
        "serviceAccountName": plan.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace,
        "securityContext": podtemplate.pod_security(),
        "containers": [_sidecar(plan, server, grace, (env, mounts)), _model_server(plan, server, grace, env)],
        "volumes": [*_volumes(plan), *volumes],
    }


def _sidecar(
    plan: Blueprint, server: ServerBlueprint, grace: int, around: tuple[list[Manifest], list[Manifest]]
) -> Manifest:
    env, mounts = around
    name = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
    return {
        "name": SIDECAR,
        "image": plan.install.cell_image,
        "imagePullPolicy": plan.install.pull_policy,
        "command": ["python", "-m", "modelwarden_server"],
        "args": [
            "ingest",
            *cellfiles.ARGUMENTS,
            f"--store=http://{plan.name}.{plan.namespace}.svc:{CELL_PORT}",
            f"--shared={_SHARED}",
            f"--run={_RUN}",
            "--host=0.0.0.0",
            f"--port={CELL_PORT}",
            f"--grace-seconds={grace - 10}",
        ],
        "env": [*env, {"name": "MODELWARDEN_POD", "valueFrom": name}],
        "ports": [{"name": "http", "containerPort": CELL_PORT, "protocol": "TCP"}],
        "resources": sidecar_resources(server.wish),
        "securityContext": podtemplate.container_security(),
        **podtemplate.probes(),
        "volumeMounts": [
            *cellfiles.mounts(),
            {"name": "code", "mountPath": _SHARED},
            {"name": "run", "mountPath": _RUN},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of its own
            *mounts,
        ],
    }


def _model_server(plan: Blueprint, server: ServerBlueprint, grace: int, env: list[Manifest]) -> Manifest:
    threads = str(threads_of(server.wish))
    # Else a numeric library starts a thread for each processor of the node, and they wait for each other.
    limits = [{"name": f"{library}_NUM_THREADS", "value": threads} for library in ("OMP", "OPENBLAS", "MKL")]
    own = {entry["name"] for entry in env}
    return {
        "name": MODEL_SERVER,
        "image": server.runtime.image,
        "imagePullPolicy": plan.install.pull_policy,
        "command": ["python", "-m", "modelwarden_server"],
        "args": [
            "model-server",
            f"--shared={_SHARED}",
            f"--run={_RUN}",
            f"--grace-seconds={grace - _LINGER_SECONDS - 5}",
        ],
        "env": [*env, *(entry for entry in limits if entry["name"] not in own)],
        "resources": model_server_resources(server.wish),
        "securityContext": podtemplate.container_security(),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_LINGER_SECONDS)]}}},
        "volumeMounts": [
            {"name": "code", "mountPath": _SHARED, "readOnly": True},
            {"name": "run", "mountPath": _RUN},
            {"name": "work", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of its own
        ],
    }


def _volumes(plan: Blueprint) -> list[Manifest]:
    return [
        *cellfiles.volumes(plan),
        {"name": "code", "emptyDir": {"sizeLimit": _SHARED_SIZE}},
        {"name": "run", "emptyDir": {"sizeLimit": _RUN_SIZE}},
        {"name": "tmp", "emptyDir": {"sizeLimit": _TMP_SIZE}},
        {"name": "work", "emptyDir": {"sizeLimit": _TMP_SIZE}},
    ]

"""What the Jobs of a ReferenceDataset have in common, and the keys they work with. Pure.

An HTTP client of the store: no claim of the cell, no token. A Job is created once and never applied over; its
key's Secret belongs to it and goes with it.
"""

import base64
from dataclasses import dataclass, field

from modelwarden.reconcile import podtemplate
from modelwarden.reconcile.names import Labels
from modelwarden.reconcile.ports import JOB, Kind, Manifest
from modelwarden.resources.keys import job_key
from modelwarden.resources.pod import PodSpec, ResourceAmounts, Resources

# Finished Jobs stay an hour for whoever wants their logs; a failed one is then tried anew.
KEPT_SECONDS = 3600
_DEADLINE_SECONDS = 3600
_RETRIES = 3
_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="100m", memory="512Mi"), limits=ResourceAmounts(memory="2Gi")
)


@dataclass(frozen=True)
class JobPlan:
    """One Job: `purpose` names its container, its key is good for `purpose` and `input_hash` alone.

    `volumes` and `mounts` come beside the key and an emptyDir at /tmp.
    """

    namespace: str
    name: str
    purpose: str
    input_hash: str
    labels: Labels
    owner: Manifest
    args: tuple[str, ...]
    image: str
    pull_policy: str
    pod: PodSpec
    cell_key: str = field(repr=False)
    env: tuple[Manifest, ...] = ()
    volumes: tuple[Manifest, ...] = ()
    mounts: tuple[Manifest, ...] = ()


def job_of(plan: JobPlan) -> Manifest:
    """The Job."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "namespace": plan.namespace,
            "name": plan.name,
            "labels": plan.labels,
            "ownerReferences": [plan.owner],
        },
        "spec": {
            "backoffLimit": _RETRIES,
            "activeDeadlineSeconds": _DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podFailurePolicy": {"rules": [_hopeless(plan.purpose)]},
            "template": {
                "metadata": {"labels": podtemplate.own_labels(plan.pod, plan.labels)},
                "spec": _pod(plan),
            },
        },
    }


def key_of(plan: JobPlan, job: Manifest) -> Manifest:
    """The Secret with the Job's key."""
    key = job_key(plan.cell_key, plan.purpose, plan.input_hash)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "namespace": plan.namespace,
            "name": plan.name,
            "labels": plan.labels,
            "ownerReferences": [owner_of(JOB, plan.name, job["metadata"]["uid"])],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {"key": base64.b64encode(key.encode()).decode()},
    }


def owner_of(kind: Kind, name: str, uid: str) -> Manifest:
    """A controller reference."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _hopeless(container: str) -> Manifest:
    """Exit code 2: to try the same again is of no use."""
    codes = {"containerName": container, "operator": "In", "values": [2]}
    return {"action": "FailJob", "onExitCodes": codes}


def _pod(plan: JobPlan) -> Manifest:
    env, volumes, mounts = podtemplate.surroundings(plan.pod)
    container: Manifest = {
        "name": plan.purpose,
        "image": plan.image,
        "imagePullPolicy": plan.pull_policy,
        "command": ["python", "-m", "modelwarden_server"],
        "args": ["job", plan.purpose, *plan.args],
        "env": [
            *env,
            *plan.env,
            {"name": "MODELWARDEN_JOB_KEY_FILE", "value": "/etc/modelwarden/key/key"},
        ],
        "resources": podtemplate.resources(_RESOURCES),
        "securityContext": podtemplate.container_security(),
        "volumeMounts": [
            {"name": "key", "mountPath": "/etc/modelwarden/key", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of its own
            *mounts,
            *plan.mounts,
        ],
    }
    return podtemplate.placement(plan.pod) | {
        "restartPolicy": "Never",
        # The namespace's default account, without its token: Jobs need no identity towards Kubernetes.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": podtemplate.pod_security(),
        "containers": [container],
        "volumes": [
            {"name": "key", "secret": {"secretName": plan.name, "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "8Gi"}},
            *volumes,
            *plan.volumes,
        ],
    }

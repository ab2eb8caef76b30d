"""The Job that profiles a closed dataset, and the key it does it with. Pure.

An HTTP client of the store: no claim, no token, no network but the store. It is created once and never
applied over; the key's Secret belongs to the Job and goes with it.
"""

import base64
from dataclasses import dataclass, field

from modelwarden.reconcile import podtemplate
from modelwarden.reconcile.names import JOB as JOB_COMPONENT
from modelwarden.reconcile.names import Labels, child_labels, dataset_labels, undeclared_profile_job
from modelwarden.reconcile.ports import DATASET, JOB, Kind, Manifest
from modelwarden.reconcile.referencedataset.gather import job_name
from modelwarden.resources.keys import job_key
from modelwarden.resources.pod import PodSpec, ResourceAmounts, Resources

PURPOSE = "profile"
# Finished Jobs stay an hour for whoever wants their logs; a failed one is then tried anew.
KEPT_SECONDS = 3600
_DEADLINE_SECONDS = 3600
_RETRIES = 3
# Exit code 2: to try the same again is of no use.
_HOPELESS = {
    "action": "FailJob",
    "onExitCodes": {"containerName": PURPOSE, "operator": "In", "values": [2]},
}
_RESOURCES = Resources(
    requests=ResourceAmounts(cpu="100m", memory="512Mi"), limits=ResourceAmounts(memory="2Gi")
)


@dataclass(frozen=True)
class ProfileOrder:
    """What is to be profiled, where, and by which image.

    The Job belongs to the ReferenceDataset; or, for a dataset that was uploaded without one, to the model
    (`owner_kind` MODEL), whose reconcile its events then wake.
    """

    namespace: str
    dataset: str
    owner_uid: str
    model: str
    content_hash: str
    store_url: str
    image: str
    pull_policy: str
    pod: PodSpec
    cell_key: str = field(repr=False)
    owner_kind: Kind = DATASET

    @property
    def is_declared(self) -> bool:
        """Whether there is a ReferenceDataset for it."""
        return self.owner_kind == DATASET

    @property
    def name(self) -> str:
        """The Job's, and its Secret's."""
        if self.is_declared:
            return job_name(self.dataset, self.content_hash)
        return undeclared_profile_job(self.model, self.content_hash)

    @property
    def labels(self) -> Labels:
        """Of the Job, its pod and its Secret."""
        if self.is_declared:
            return dataset_labels(self.model, self.dataset)
        return child_labels(self.model, JOB_COMPONENT)

    @property
    def owner(self) -> Manifest:
        """The owner reference of the Job."""
        return _owner(self.owner_kind, self.dataset if self.is_declared else self.model, self.owner_uid)


def build_job(order: ProfileOrder) -> Manifest:
    """The Job."""
    labels = order.labels
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "namespace": order.namespace,
            "name": order.name,
            "labels": labels,
            "ownerReferences": [order.owner],
        },
        "spec": {
            "backoffLimit": _RETRIES,
            "activeDeadlineSeconds": _DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podFailurePolicy": {"rules": [_HOPELESS]},
            "template": {
                "metadata": {"labels": podtemplate.own_labels(order.pod, labels)},
                "spec": _pod(order),
            },
        },
    }


def build_job_key(order: ProfileOrder, job: Manifest) -> Manifest:
    """The Secret with the Job's key: good for this purpose and these contents alone."""
    key = job_key(order.cell_key, PURPOSE, order.content_hash)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "namespace": order.namespace,
            "name": order.name,
            "labels": order.labels,
            "ownerReferences": [_owner(JOB, order.name, job["metadata"]["uid"])],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {"key": base64.b64encode(key.encode()).decode()},
    }


def _owner(kind: Kind, name: str, uid: str) -> Manifest:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _pod(order: ProfileOrder) -> Manifest:
    env, volumes, mounts = podtemplate.surroundings(order.pod)
    container: Manifest = {
        "name": PURPOSE,
        "image": order.image,
        "imagePullPolicy": order.pull_policy,
        "command": ["python", "-m", "modelwarden_server"],
        "args": [
            "job",
            PURPOSE,
            f"--store={order.store_url}",
            f"--dataset={order.dataset}",
            f"--content-hash={order.content_hash}",
        ],
        "env": [*env, {"name": "MODELWARDEN_JOB_KEY_FILE", "value": "/etc/modelwarden/key/key"}],
        "resources": podtemplate.resources(_RESOURCES),
        "securityContext": podtemplate.container_security(),
        "volumeMounts": [
            {"name": "key", "mountPath": "/etc/modelwarden/key", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of its own
            *mounts,
        ],
    }
    return podtemplate.placement(order.pod) | {
        "restartPolicy": "Never",
        # The namespace's default account, without its token: Jobs need no identity towards Kubernetes.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": podtemplate.pod_security(),
        "containers": [container],
        "volumes": [
            {"name": "key", "secret": {"secretName": order.name, "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "8Gi"}},
            *volumes,
        ],
    }

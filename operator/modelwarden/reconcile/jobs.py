"""What all Jobs of a cell have in common, and the keys they work with. Pure.

An HTTP client of the store: no claim of the cell, no token. A Job is created once and never applied over; its
key's Secret belongs to it and goes with it.
"""

import base64
from dataclasses import dataclass, field

from modelwarden.reconcile import podtemplate
from modelwarden.reconcile.collaborators import DEFAULT_JOB_RESOURCES, Collaborators
from modelwarden.reconcile.names import Labels
from modelwarden.reconcile.ownership import controller
from modelwarden.reconcile.ports import JOB, Key, Manifest
from modelwarden.resources.keys import job_key
from modelwarden.resources.pod import PodSpec, Resources

# Finished Jobs stay an hour for whoever wants their logs; a failed one is then tried anew.
KEPT_SECONDS = 3600
_DEADLINE_SECONDS = 3600
_RETRIES = 3


@dataclass(frozen=True)
class Workplace:
    """Where the Jobs of one model work: beside which store, from which image, how placed."""

    namespace: str
    model: str
    store_url: str
    image: str
    pull_policy: str
    pod: PodSpec
    cell_key: str = field(repr=False)


def workplace_of(given: Collaborators, model: Key, epoch: int, pod: PodSpec) -> Workplace:
    """The workplace of a model's Jobs; `pod` are the pod options that hold for it, `epoch` its key's."""
    return Workplace(
        namespace=model.namespace,
        model=model.name,
        store_url=given.endpoint(model),
        image=given.install.cell_image,
        pull_policy=given.install.pull_policy,
        pod=pod,
        cell_key=given.install.key_of(model.namespace, model.name, epoch),
    )


@dataclass(frozen=True)
class JobPlan:
    """One Job: `purpose` names its container, its key is good for `purpose` and `input_hash` alone.

    `args` come after the store's address, `volumes` and `mounts` beside the key and an emptyDir at /tmp.
    """

    place: Workplace
    name: str
    purpose: str
    input_hash: str
    labels: Labels
    owner: Manifest
    args: tuple[str, ...]
    resources: Resources = DEFAULT_JOB_RESOURCES
    kept_seconds: int = KEPT_SECONDS
    annotations: Labels = field(default_factory=dict)
    secret: str = ""
    env: tuple[Manifest, ...] = ()
    volumes: tuple[Manifest, ...] = ()
    mounts: tuple[Manifest, ...] = ()

    @property
    def key(self) -> Key:
        """Where the Job is."""
        return Key(self.place.namespace, self.name)

    @property
    def secret_key(self) -> Key:
        """Where its key is: `secret`, or of the same name."""
        return Key(self.place.namespace, self.secret or self.name)

    @property
    def owner_uid(self) -> str:
        """Of the object for which the Job is made."""
        return str(self.owner["uid"])


def job_of(plan: JobPlan) -> Manifest:
    """The Job."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(plan, plan.name, plan.owner)
        | ({"annotations": plan.annotations} if plan.annotations else {}),
        "spec": {
            "backoffLimit": _RETRIES,
            "activeDeadlineSeconds": _DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": plan.kept_seconds,
            "podFailurePolicy": {"rules": [_hopeless(plan.purpose)]},
            "template": {
                "metadata": {"labels": podtemplate.own_labels(plan.place.pod, plan.labels)},
                "spec": _pod(plan),
            },
        },
    }


def key_of(plan: JobPlan, job: Manifest) -> Manifest:
    """The Secret with the Job's key."""
    key = job_key(plan.place.cell_key, plan.purpose, plan.input_hash)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(plan, plan.secret_key.name, controller(JOB, plan.name, job["metadata"]["uid"])),
        "type": "Opaque",
        "immutable": True,
        "data": {"key": base64.b64encode(key.encode()).decode()},
    }


def condition_of(job: Manifest, type_: str) -> Manifest | None:
    """A condition of a Job that is True."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == type_ and c.get("status") == "True"), None)


def belongs_to(live: Manifest, uid: str) -> bool:
    """Whether an object was made for the one with this uid."""
    return any(owner.get("uid") == uid for owner in live["metadata"].get("ownerReferences") or ())


def _metadata(plan: JobPlan, name: str, owner: Manifest) -> Manifest:
    meta = {"namespace": plan.place.namespace, "name": name, "labels": plan.labels}
    return meta | {"ownerReferences": [owner]}


def _hopeless(container: str) -> Manifest:
    """Exit code 2: to try the same again is of no use."""
    codes = {"containerName": container, "operator": "In", "values": [2]}
    return {"action": "FailJob", "onExitCodes": codes}


def _pod(plan: JobPlan) -> Manifest:
    env, volumes, mounts = podtemplate.surroundings(plan.place.pod)
    container: Manifest = {
        "name": plan.purpose,
        "image": plan.place.image,
        "imagePullPolicy": plan.place.pull_policy,
        "command": ["python", "-m", "modelwarden_server"],
        "args": ["job", plan.purpose, f"--store={plan.place.store_url}", *plan.args],
        "env": [
            *env,
            *plan.env,
            {"name": "MODELWARDEN_JOB_KEY_FILE", "value": "/etc/modelwarden/key/key"},
        ],
        "resources": podtemplate.resources(plan.resources),
        "securityContext": podtemplate.container_security(),
        "volumeMounts": [
            {"name": "key", "mountPath": "/etc/modelwarden/key", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of its own
            *mounts,
            *plan.mounts,
        ],
    }
    return podtemplate.placement(plan.place.pod) | {
        "restartPolicy": "Never",
        # The namespace's default account, without its token: Jobs need no identity towards Kubernetes.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": podtemplate.pod_security(),
        "containers": [container],
        "volumes": [
            {"name": "key", "secret": {"secretName": plan.secret_key.name, "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "8Gi"}},
            *volumes,
            *plan.volumes,
        ],
    }

"""The Job that loads a dataset from its source, and what its pod may reach. Pure.

Beside what every Job has it gets what the source needs and nothing more: the user's claim or ConfigMap,
read-only; or the credentials of an object store, and a way out to it.
"""

from urllib.parse import urlsplit

from modelwarden.reconcile.jobs import JobPlan, Workplace
from modelwarden.reconcile.names import LABEL_PURPOSE, dataset_labels, load_job, load_policy
from modelwarden.reconcile.ownership import controller
from modelwarden.reconcile.ports import DATASET, Manifest
from modelwarden.resources.cell import canonical_json, content_hash
from modelwarden.resources.meta import LABEL_REFERENCE_DATASET
from modelwarden.resources.pod import PodSpec
from modelwarden.resources.referencedataset import ReferenceDataset, ReferenceDatasetSpec
from modelwarden.resources.sources import Source

PURPOSE = "reference"
MOUNT = "/source"
CREDENTIALS = "/etc/modelwarden/source"
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_WEB_PORTS = frozenset({80, 443})
# Where clouds hand out the credentials of the node.
_NOT_THERE_4 = ["169.254.0.0/16"]
_NOT_THERE_6 = ["fe80::/10", "fd00:ec2::254/128"]
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


def load_plan(place: Workplace, dataset: ReferenceDataset, source_hash: str) -> JobPlan:
    """The Job that loads the dataset's source, which is called `source_hash`."""
    meta, spec = dataset.metadata, dataset.spec
    volumes, mounts, args = _source(spec.source)
    return JobPlan(
        place=place,
        name=load_job(meta.name, source_hash),
        purpose=PURPOSE,
        # A dataset's name has no `_`: the key is for this source of this dataset alone.
        input_hash=f"{meta.name}_{source_hash}",
        labels=dataset_labels(place.model, meta.name) | {LABEL_PURPOSE: PURPOSE},
        owner=controller(DATASET, meta.name, meta.uid),
        args=(
            f"--dataset={meta.name}",
            f"--source-hash={source_hash}",
            f"--format={spec.format}",
            f"--source={canonical_json(spec.source).decode()}",
            *args,
        ),
        env=({"name": "AWS_EC2_METADATA_DISABLED", "value": "true"},),
        volumes=tuple(volumes),
        mounts=tuple(mounts),
    )


def source_hash_of(spec: ReferenceDatasetSpec) -> str | None:
    """What the source is called between operator, Job and store; None for uploads."""
    if spec.source.upload is not None:
        return None
    plain = {
        "format": spec.format,
        "source": spec.source.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    return content_hash(canonical_json(plain))


def build_egress(plan: JobPlan, dataset: ReferenceDataset) -> Manifest | None:
    """What the Job's pod may reach besides the store; None if nothing. Adds to the cell's own policy."""
    ports = egress_ports(dataset.spec.source, plan.place.pod)
    if not ports:
        return None
    name = dataset.metadata.name
    anywhere = [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": _NOT_THERE_4}},
        {"ipBlock": {"cidr": "::/0", "except": _NOT_THERE_6}},
        # Some networks do not count pods among addresses.
        {"namespaceSelector": {}},
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "namespace": plan.place.namespace,
            "name": load_policy(name),
            "labels": plan.labels,
            "ownerReferences": [plan.owner],
        },
        "spec": {
            "podSelector": {"matchLabels": {LABEL_REFERENCE_DATASET: name, LABEL_PURPOSE: PURPOSE}},
            "policyTypes": ["Egress"],
            "egress": [{"to": anywhere, "ports": [{"port": port, "protocol": "TCP"} for port in ports]}],
        },
    }


def egress_ports(source: Source, pod: PodSpec) -> tuple[int, ...]:
    """Ports that a Job needs to read the source, through the pod's proxies if any; none for a mount."""
    if source.http is not None:
        address: str | None = source.http.url
    elif source.object_store is not None:
        address = source.object_store.endpoint
    else:
        return ()
    proxies = [entry.value for entry in pod.env if entry.name.lower() in _PROXIES]
    named = {_port(url) for url in (address, *proxies) if url}
    # A redirect may lead to the other one.
    return tuple(sorted(_WEB_PORTS | {port for port in named if port is not None}))


def _port(url: str) -> int | None:
    try:
        parts = urlsplit(url)
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None


def _source(source: Source) -> tuple[list[Manifest], list[Manifest], list[str]]:
    """Volumes, mounts and arguments that the source needs."""
    mount = {"name": "source", "mountPath": MOUNT, "readOnly": True}
    if (claim := source.persistent_volume_claim) is not None:
        volume = {"claimName": claim.claim_name, "readOnly": True}
        return [{"name": "source", "persistentVolumeClaim": volume}], [mount], [f"--mount={MOUNT}"]
    if (config := source.config_map) is not None:
        items = [{"key": config.key, "path": config.key}]
        volume = {"name": config.name, "items": items}
        return [{"name": "source", "configMap": volume}], [mount], [f"--mount={MOUNT}"]
    bucket = source.object_store
    if bucket is None or bucket.credentials_secret_ref is None:
        return [], [], []
    items = [{"key": key, "path": key} for key in _KEYS]
    # Optional, for a Secret without a session token; the Job says which of the others is missing.
    secret = {
        "secretName": bucket.credentials_secret_ref.name,
        "items": items,
        "optional": True,
        "defaultMode": 0o440,
    }
    place = {"name": "credentials", "mountPath": CREDENTIALS, "readOnly": True}
    return [{"name": "credentials", "secret": secret}], [place], [f"--credentials={CREDENTIALS}"]

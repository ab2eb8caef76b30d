"""The Job that loads a dataset from its source, and what its pod may reach. Pure.

Beside what every Job has it gets what the source needs and nothing more: the user's claim or ConfigMap,
read-only; or the credentials of an object store, and a way out to it.
"""

from modelwarden.reconcile.egress import ports_to_source, way_out
from modelwarden.reconcile.jobs import JobPlan, Workplace
from modelwarden.reconcile.mounts import ENV, access_to
from modelwarden.reconcile.names import LABEL_PURPOSE, dataset_labels, load_job, load_policy
from modelwarden.reconcile.ownership import controller
from modelwarden.reconcile.ports import DATASET, Manifest
from modelwarden.resources.cell import canonical_json, content_hash
from modelwarden.resources.meta import LABEL_REFERENCE_DATASET
from modelwarden.resources.purposes import REFERENCE
from modelwarden.resources.referencedataset import ReferenceDataset, ReferenceDatasetSpec


def load_plan(place: Workplace, dataset: ReferenceDataset, source_hash: str) -> JobPlan:
    """The Job that loads the dataset's source, which is called `source_hash`."""
    meta, spec = dataset.metadata, dataset.spec
    access = access_to(spec.source)
    return JobPlan(
        place=place,
        name=load_job(meta.name, source_hash),
        purpose=REFERENCE,
        # A dataset's name has no `_`: the key is for this source of this dataset alone.
        input_hash=f"{meta.name}_{source_hash}",
        labels=dataset_labels(place.model, meta.name) | {LABEL_PURPOSE: REFERENCE},
        owner=controller(DATASET, meta.name, meta.uid),
        args=(
            f"--dataset={meta.name}",
            f"--source-hash={source_hash}",
            f"--format={spec.format}",
            f"--source={canonical_json(spec.source).decode()}",
            *access.args,
        ),
        env=ENV,
        volumes=access.volumes,
        mounts=access.mounts,
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
    ports = ports_to_source(dataset.spec.source, plan.place.pod)
    if not ports:
        return None
    name = dataset.metadata.name
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
            "podSelector": {"matchLabels": {LABEL_REFERENCE_DATASET: name, LABEL_PURPOSE: REFERENCE}},
            "policyTypes": ["Egress"],
            "egress": [way_out(ports)],
        },
    }

"""The Job that profiles a closed dataset. Pure."""

from dataclasses import dataclass, field

from modelwarden.reconcile.names import JOB as JOB_COMPONENT
from modelwarden.reconcile.names import Labels, child_labels, dataset_labels, undeclared_profile_job
from modelwarden.reconcile.ports import DATASET, Kind, Manifest
from modelwarden.reconcile.referencedataset.gather import job_name
from modelwarden.reconcile.referencedataset.jobs import JobPlan, job_of, key_of, owner_of
from modelwarden.resources.pod import PodSpec

PURPOSE = "profile"


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
    def plan(self) -> JobPlan:
        """The Job, as all Jobs are described."""
        return JobPlan(
            namespace=self.namespace,
            name=self.name,
            purpose=PURPOSE,
            input_hash=self.content_hash,
            labels=self.labels,
            owner=owner_of(self.owner_kind, self.dataset if self.is_declared else self.model, self.owner_uid),
            args=(
                f"--store={self.store_url}",
                f"--dataset={self.dataset}",
                f"--content-hash={self.content_hash}",
            ),
            image=self.image,
            pull_policy=self.pull_policy,
            pod=self.pod,
            cell_key=self.cell_key,
        )


def build_job(order: ProfileOrder) -> Manifest:
    """The Job."""
    return job_of(order.plan)


def build_job_key(order: ProfileOrder, job: Manifest) -> Manifest:
    """The Secret with the Job's key: good for this purpose and these contents alone."""
    return key_of(order.plan, job)

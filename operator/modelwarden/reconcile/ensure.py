"""Sees that a planned Job and its key exist: reads live, creates what is missing, changes nothing.

Must not decide whether a Job is due, nor take one away.
"""

import asyncio
import logging

from modelwarden.errors import Transient
from modelwarden.reconcile.jobs import JobPlan, belongs_to, job_of, key_of
from modelwarden.reconcile.ports import JOB, SECRET, Cluster, Manifest
from modelwarden.reconcile.reasons import Reason

_log = logging.getLogger("modelwarden.jobs")


async def ensure(cluster: Cluster, plan: JobPlan) -> Manifest:
    """The Job of the plan, made now if there was none. Transient while one of before is being removed."""
    job, secret = await asyncio.gather(cluster.get(JOB, plan.key), cluster.get(SECRET, plan.secret_key))
    if job is not None and not belongs_to(job, plan.owner_uid):
        # A deleted namesake's Job: it is being collected, and its name is the same because its input is.
        raise _of_before("Job", plan.name)
    if secret is not None and (job is None or not belongs_to(secret, job["metadata"]["uid"])):
        # It goes with the Job that it was made for: a pod that mounts it now would lose it.
        raise _of_before("Secret", plan.secret_key.name)
    if job is None:
        job = await cluster.create(job_of(plan))
        owner = {"kind": plan.owner["kind"], "namespace": plan.place.namespace, "object": plan.owner["name"]}
        _log.info("created Job %s", plan.name, extra=owner)
    if secret is None:
        await cluster.create(key_of(plan, job))
    return job


def _of_before(what: str, name: str) -> Transient:
    return Transient(Reason.PREVIOUS_CHILDREN, f"{what} {name} of before is still being removed")

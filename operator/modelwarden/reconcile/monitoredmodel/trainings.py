"""What the store asks of the Jobs of its model: trainings, files to fetch, packages to install. Pure.

The store says what is due; here it is only decided which Jobs follow from that. No training is taken away
because the store does not speak of it: an older store, or one that is starting, speaks of nothing.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from modelwarden.reconcile.jobs import Workplace
from modelwarden.reconcile.monitoredmodel.blueprint import ServerBlueprint
from modelwarden.reconcile.monitoredmodel.build.training import TrainingOrder, training_plan
from modelwarden.reconcile.monitoredmodel.provisions import Provisioning, provisions_asked
from modelwarden.reconcile.monitoredmodel.rounds import (
    Asked,
    Errand,
    RoundJob,
    Steps,
    all_idle,
    job_of_errand,
    steps_for,
)
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.resources.enrichment_settings import counting
from modelwarden.resources.pod import Resources
from modelwarden.resources.purposes import TRAIN
from modelwarden.resources.report import EnrichmentReport

# A cell's words become names of objects: only what is as agreed is taken.
_KIND = re.compile(r"[a-z][a-z0-9]{0,15}")
_HASH = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Means:
    """What the model's Jobs work with. `server`: the model's server as it should be, if it has one."""

    place: Workplace
    resources: Resources
    server: ServerBlueprint | None = None


def entries_of(world: World) -> tuple[EnrichmentReport, ...]:
    """What the store says of each kind, one entry a kind; nothing while it is silent."""
    report = world.heard
    found = {entry.kind: entry for entry in (report.enrichments if report else ()) if _is_sound(entry)}
    return tuple(found.values())


def _is_sound(entry: EnrichmentReport) -> bool:
    wanted = entry.wanted
    return bool(_KIND.fullmatch(entry.kind)) and (wanted is None or bool(_HASH.fullmatch(wanted)))


def job_for(world: World, entry: EnrichmentReport) -> RoundJob | None:
    """The Job of the training that the store wants."""
    return job_of_errand(world.trainings, TRAIN, entry.kind, entry.wanted)


def steps_of(world: World, means: Means, now: datetime) -> Steps:
    """What follows from the store's report (nothing without one) and the Jobs that there are."""
    if world.model.spec.lifecycle == "Archived":
        return all_idle(world.trainings)
    trainings = Asked(TRAIN, tuple(_training(world, means, entry) for entry in entries_of(world)))
    provisioning = Provisioning(means.place, means.resources, means.server)
    return steps_for([trainings, *provisions_asked(world, provisioning)], world.trainings, now)


def _training(world: World, means: Means, entry: EnrichmentReport) -> Errand:
    by_type = {str(type_): chosen for type_, chosen in counting(world.enrichments).items()}
    declared = by_type.get(entry.type or "")
    order = TrainingOrder(
        place=means.place,
        model_uid=world.model.metadata.uid,
        kind=entry.kind,
        input_hash=entry.wanted or "",
        resources=means.resources,
        declared=f"{declared.metadata.uid}/{declared.metadata.generation}" if declared else "",
    )
    return Errand(entry.kind, entry.wanted, entry.due, partial(training_plan, order), entry.installed)

"""From what is, to what should be: which objects, and what stands in the way. Pure and total."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from modelwarden.errors import DependencyMissing, InvalidSpec, ReconcileError, Transient
from modelwarden.reconcile.collaborators import Install
from modelwarden.reconcile.drift import stamped
from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint, ServerBlueprint, blueprint_of
from modelwarden.reconcile.monitoredmodel.build.account import build_account, build_key
from modelwarden.reconcile.monitoredmodel.build.claim import build_claim
from modelwarden.reconcile.monitoredmodel.build.deployment import build_deployment
from modelwarden.reconcile.monitoredmodel.build.identity import build_identity
from modelwarden.reconcile.monitoredmodel.build.networkpolicy import build_network_policy
from modelwarden.reconcile.monitoredmodel.build.server import build_server
from modelwarden.reconcile.monitoredmodel.build.serverpolicies import build_server_policies
from modelwarden.reconcile.monitoredmodel.build.serverscale import build_autoscaler, build_server_service
from modelwarden.reconcile.monitoredmodel.build.service import build_service
from modelwarden.reconcile.monitoredmodel.build.settings import build_settings
from modelwarden.reconcile.monitoredmodel.world import ChildId, World, child_id
from modelwarden.reconcile.names import LABEL_COMPONENT, LABEL_CONFIG, SERVER
from modelwarden.reconcile.ownership import Owner, owner_of, owner_of_claim
from modelwarden.reconcile.ports import Manifest
from modelwarden.reconcile.reasons import Reason
from modelwarden.resources.monitoredmodel import MonitoredModel
from modelwarden.resources.resolved import SchemaError

_MOST_PROBLEMS_TOLD = 2
# A ConfigMap holds 1 MiB; some of it is names and labels.
LARGEST_IDENTITY = 1000 * 1024


@dataclass(frozen=True)
class Plan:
    """`intents` in the order to apply them; `obsolete` is what nobody needs any more.

    `feasible`: whether the spec can be carried out at all. `settings_hash`: of the settings that are wanted.
    `server`: the model's server, if it is to have one.
    """

    intents: tuple[Manifest, ...] = ()
    obsolete: tuple[Manifest, ...] = ()
    troubles: tuple[ReconcileError, ...] = ()
    feasible: bool = False
    settings_hash: str = ""
    server: ServerBlueprint | None = None

    def lean(self) -> "Plan":
        """What has to be remembered of it once it is carried out."""
        return replace(self, intents=(), obsolete=())


def decide(world: World, install: Install) -> Plan:
    """The plan for a model that is not being deleted.

    A spec that cannot be carried out yields no intents at all: the children of the last good one stay as they
    are. An object in the way yields the trouble and every intent that does not lean on it.
    """
    unsupported = not_supported(world.model)
    if unsupported is not None:
        return Plan(troubles=(unsupported,))
    if world.namesake is not None:
        return Plan(troubles=(_id_taken(world.namesake),))
    try:
        plan = blueprint_of(world.model, install, world.enrichments)
    except SchemaError as error:
        return Plan(troubles=(_invalid_attributes(error),))
    if len(plan.identity) > LARGEST_IDENTITY:
        return Plan(troubles=(_too_large(len(plan.identity)),))
    manifests = [stamped(manifest) for manifest in _intents(plan, world)]
    troubles = {child_id(m): t for m in manifests if (t := _in_the_way(plan, world, m)) is not None}
    intents = tuple(_without_doubt(manifests, troubles.keys()))
    return Plan(
        intents,
        _obsolete(plan, world, {child_id(manifest) for manifest in manifests}),
        tuple(troubles.values()),
        feasible=True,
        settings_hash=plan.settings_hash,
        server=plan.server,
    )


def not_supported(model: MonitoredModel) -> InvalidSpec | None:
    """What the schema accepts for later versions and this one does not do, by field."""
    spec = model.spec
    asked = {
        "spec.stream.kafka": spec.stream is not None,
        "spec.storage.objectStore": spec.storage.object_store is not None,
    }
    fields = [name for name, is_asked in asked.items() if is_asked]
    if not fields:
        return None
    return InvalidSpec(
        Reason.NOT_SUPPORTED_YET,
        f"{', '.join(fields)}: this version does not do that yet",
    )


def _id_taken(namesake: str) -> InvalidSpec:
    return InvalidSpec(
        Reason.MODEL_ID_TAKEN,
        f"MonitoredModel {namesake} is older and has the same model id: make this one anew with a"
        " spec.partnerModelId that no other model of the namespace has as its own or as its name",
    )


def _intents(plan: Blueprint, world: World) -> Iterator[Manifest]:
    yield build_account(plan)
    yield build_key(plan)
    yield build_identity(plan)
    yield build_settings(plan)
    claim = build_claim(plan, world.claim)
    if claim is not None:
        yield claim
    yield build_network_policy(plan)
    yield build_service(plan)
    yield build_deployment(plan)
    if (server := plan.server) is not None:
        yield from build_server_policies(plan, server)
        yield build_server_service(plan)
        yield build_autoscaler(plan, server)
        yield build_server(plan, server)


def _without_doubt(manifests: Sequence[Manifest], troubled: Collection[ChildId]) -> Iterator[Manifest]:
    """All that has no trouble itself. A Deployment mounts or runs behind everything before it: with one of
    those in doubt it must not be started."""
    doubt = False
    for manifest in manifests:
        if child_id(manifest) in troubled:
            # Behind a Service nothing starts otherwise.
            doubt = doubt or manifest["kind"] not in ("Service", "HorizontalPodAutoscaler")
        elif not (doubt and manifest["kind"] == "Deployment"):
            yield manifest


def _in_the_way(plan: Blueprint, world: World, intent: Manifest) -> ReconcileError | None:
    """Why this child may not be applied: its name belongs to somebody else, or is not free yet."""
    live = world.children.get(child_id(intent))
    if live is None:
        return None
    what = f"{intent['kind']} {intent['metadata']['name']}"
    if intent["kind"] == "PersistentVolumeClaim":
        owner = owner_of_claim(live, plan.name, plan.model_id)
    else:
        owner = owner_of(live, plan.name, plan.model.metadata.uid)
    if owner is Owner.FOREIGN:
        text = f"{what} exists and was not made by this model: remove or rename it, or rename the model"
        return DependencyMissing(Reason.NAME_TAKEN, text)
    if owner is Owner.OTHER_MODEL:
        text = f"{what} holds the data of another model id: restore spec.partnerModelId, or remove the claim"
        return DependencyMissing(Reason.FOREIGN_DATA, text)
    if owner is Owner.PREVIOUS or live["metadata"].get("deletionTimestamp"):
        return Transient(Reason.PREVIOUS_CHILDREN, f"{what} of before is still being removed")
    return None


def _obsolete(plan: Blueprint, world: World, wanted: Collection[ChildId]) -> tuple[Manifest, ...]:
    """Parts of a server that are not wanted any more, and identities that no pod reads any more."""
    ours = [
        child for child in (*world.children.values(), *world.identities)
        if owner_of(child, plan.name, plan.model.metadata.uid) is Owner.OURS
        and not child["metadata"].get("deletionTimestamp")
    ]  # fmt: skip
    leaving = [child for child in ours if _is_of_server(child) and child_id(child) not in wanted]
    # The Deployment last: it tells that there may be more to remove.
    of_server = tuple(sorted(leaving, key=lambda child: child["kind"] == "Deployment"))
    if not rolled_out(world.deployment) or (plan.server is not None and not rolled_out(world.server)):
        return of_server
    identities = {
        child_id(config): config for config in ours
        if _is_identity(config) and not config["metadata"]["name"].endswith(f"-{plan.identity_hash}")
    }  # fmt: skip
    return of_server + tuple(identities.values())


def _is_of_server(child: Manifest) -> bool:
    return (child["metadata"].get("labels") or {}).get(LABEL_COMPONENT) == SERVER


def _is_identity(child: Manifest) -> bool:
    return (child["metadata"].get("labels") or {}).get(LABEL_CONFIG) == "identity"


def rolled_out(deployment: Manifest | None) -> bool:
    """Whether all pods that there are come from the Deployment's present template."""
    if deployment is None:
        return False
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted
    )


def _too_large(size: int) -> InvalidSpec:
    most = LARGEST_IDENTITY // 1024
    text = f"The attributes take {size // 1024} KiB and a ConfigMap holds {most}: declare fewer categories"
    return InvalidSpec(Reason.INVALID_ATTRIBUTES, text)


def _invalid_attributes(error: SchemaError) -> InvalidSpec:
    told = [str(problem) for problem in error.problems[:_MOST_PROBLEMS_TOLD]]
    more = len(error.problems) - len(told)
    text = "; ".join(told) + (f"; and {more} more" if more else "")
    return InvalidSpec(Reason.INVALID_ATTRIBUTES, text)

"""The Jobs that fetch a file of the user's from its source, and that install the packages it needs. Pure.

The second kind is the only thing in a cell that reaches a package index. It sees no inference.
"""

from dataclasses import dataclass

from modelwarden.reconcile.jobs import JobPlan
from modelwarden.reconcile.monitoredmodel.build.tries import KEPT_SECONDS, Order, annotations_of, in_round
from modelwarden.reconcile.mounts import ENV, access_to, secret_volume
from modelwarden.reconcile.names import (
    LABEL_SLOT,
    asset_job,
    environment_job,
    errand_labels,
)
from modelwarden.reconcile.ownership import controller
from modelwarden.reconcile.ports import MODEL, Manifest
from modelwarden.resources.cell import canonical_json
from modelwarden.resources.packages import PackageIndex
from modelwarden.resources.purposes import ASSETS, ENVIRONMENT
from modelwarden.resources.sources import Source

_INDEX = "/etc/modelwarden/index"
NETRC = "netrc"


@dataclass(frozen=True, kw_only=True)
class AssetOrder(Order):
    """Which file, from where; `input_hash` is what its source is called."""

    slot: str
    source: Source


@dataclass(frozen=True, kw_only=True)
class EnvironmentOrder(Order):
    """Packages from which index. The place's image is the one that will run them."""

    index: PackageIndex


def asset_plan(order: AssetOrder, round_: int = 1) -> JobPlan:
    """The Job that fetches the file, of this round of tries."""
    model, access = order.place.model, access_to(order.source)
    plan = JobPlan(
        place=order.place,
        name=asset_job(model, order.slot, order.input_hash),
        purpose=ASSETS,
        # A slot has no `_`: the key is for this source of this file alone.
        input_hash=f"{order.slot}_{order.input_hash}",
        labels=errand_labels(model, ASSETS) | {LABEL_SLOT: order.slot},
        owner=controller(MODEL, model, order.model_uid),
        args=(
            f"--slot={order.slot}",
            f"--source-hash={order.input_hash}",
            f"--source={canonical_json(order.source).decode()}",
            *access.args,
        ),
        resources=order.resources,
        kept_seconds=KEPT_SECONDS,
        annotations=annotations_of(order),
        env=ENV,
        volumes=access.volumes,
        mounts=access.mounts,
    )
    return in_round(plan, round_)


def environment_plan(order: EnvironmentOrder, round_: int = 1) -> JobPlan:
    """The Job that installs the packages, of this round of tries."""
    model = order.place.model
    volumes, mounts = _files(order.index)
    plan = JobPlan(
        place=order.place,
        name=environment_job(model, order.input_hash),
        purpose=ENVIRONMENT,
        input_hash=order.input_hash,
        labels=errand_labels(model, ENVIRONMENT),
        owner=controller(MODEL, model, order.model_uid),
        args=(f"--environment-hash={order.input_hash}",),
        resources=order.resources,
        kept_seconds=KEPT_SECONDS,
        annotations=annotations_of(order),
        env=tuple(_variables(order.index)),
        volumes=volumes,
        mounts=mounts,
    )
    return in_round(plan, round_)


def _variables(index: PackageIndex) -> list[Manifest]:
    """The index in the installer's own words: pip's variables, and the one that names a netrc file."""
    bundle, secret = index.ca_bundle_ref, index.credentials_secret_ref
    given = {
        "PIP_INDEX_URL": index.url,
        "PIP_EXTRA_INDEX_URL": " ".join(index.extra_urls),
        "PIP_PROXY": index.proxy,
        "PIP_CERT": f"{_INDEX}/ca/{bundle.key}" if bundle else None,
        "NETRC": f"{_INDEX}/login/{NETRC}" if secret else None,
    }
    return [{"name": name, "value": value} for name, value in given.items() if value]


def _files(index: PackageIndex) -> tuple[tuple[Manifest, ...], tuple[Manifest, ...]]:
    volumes: list[Manifest] = []
    if (bundle := index.ca_bundle_ref) is not None:
        items = [{"key": bundle.key, "path": bundle.key}]
        volumes.append({"name": "index-ca", "configMap": {"name": bundle.name, "items": items}})
    if (secret := index.credentials_secret_ref) is not None:
        volumes.append(secret_volume("index-login", secret.name, (NETRC,)))
    mounts = [
        {"name": v["name"], "mountPath": f"{_INDEX}/{v['name'].removeprefix('index-')}", "readOnly": True}
        for v in volumes
    ]
    return tuple(volumes), tuple(mounts)

"""What a Job gets of a source that it reads: a claim or a ConfigMap, read-only, or keys of a Secret. Pure.

Nothing more than the source needs.
"""

from dataclasses import dataclass

from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.sources import Source

MOUNT = "/source"
CREDENTIALS = "/etc/modelwarden/source"
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
ENV: tuple[Manifest, ...] = ({"name": "AWS_EC2_METADATA_DISABLED", "value": "true"},)


@dataclass(frozen=True)
class Access:
    """Volumes, their mounts, and the arguments that tell the Job of them."""

    volumes: tuple[Manifest, ...] = ()
    mounts: tuple[Manifest, ...] = ()
    args: tuple[str, ...] = ()


def access_to(source: Source) -> Access:
    """How a Job reaches the source."""
    if (claim := source.persistent_volume_claim) is not None:
        return _mounted({"persistentVolumeClaim": {"claimName": claim.claim_name, "readOnly": True}})
    if (config := source.config_map) is not None:
        items = [{"key": config.key, "path": config.key}]
        return _mounted({"configMap": {"name": config.name, "items": items}})
    bucket = source.object_store
    if bucket is None or bucket.credentials_secret_ref is None:
        return Access()
    # Optional, for a Secret without a session token; the Job says which of the others is missing.
    secret = secret_volume("credentials", bucket.credentials_secret_ref.name, _KEYS)
    mount = {"name": "credentials", "mountPath": CREDENTIALS, "readOnly": True}
    return Access((secret,), (mount,), (f"--credentials={CREDENTIALS}",))


def secret_volume(name: str, secret: str, keys: tuple[str, ...]) -> Manifest:
    """Some keys of a Secret as files, those of them that it has."""
    items = [{"key": key, "path": key} for key in keys]
    return {
        "name": name,
        "secret": {"secretName": secret, "items": items, "optional": True, "defaultMode": 0o440},
    }


def _mounted(volume: Manifest) -> Access:
    mount = {"name": "source", "mountPath": MOUNT, "readOnly": True}
    return Access(({"name": "source"} | volume,), (mount,), (f"--mount={MOUNT}",))

"""What the store and its server's sidecar both are given: the model's identity, its settings, the cell's key.

Each mounted as a folder, since only folders follow a ConfigMap or Secret that changes. Pure. Must not be
given to a container in which user code runs.
"""

from typing import Final

from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint
from modelwarden.reconcile.names import identity_config, key_secret, settings_config
from modelwarden.reconcile.ports import Manifest

_CONFIG: Final = "/etc/modelwarden"
ARGUMENTS: Final = (
    f"--identity={_CONFIG}/identity/identity.json",
    f"--settings={_CONFIG}/settings/settings.json",
    f"--key-file={_CONFIG}/key/key",
)
"""The arguments that tell a process of them."""


def volumes(plan: Blueprint) -> list[Manifest]:
    """The volumes of a pod one of whose containers mounts them."""
    name = plan.name
    key = {"secretName": key_secret(name), "defaultMode": 0o440, "items": [{"key": "key", "path": "key"}]}
    return [
        {"name": "identity", "configMap": {"name": identity_config(name, plan.identity_hash)}},
        {"name": "settings", "configMap": {"name": settings_config(name)}},
        {"name": "key", "secret": key},
    ]


def mounts() -> list[Manifest]:
    """The mounts of that container."""
    return [
        {"name": name, "mountPath": f"{_CONFIG}/{name}", "readOnly": True}
        for name in ("identity", "settings", "key")
    ]

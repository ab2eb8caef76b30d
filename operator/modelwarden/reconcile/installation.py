"""The install secret, from which every cell's key derives: made once, at the operator's first start.

Made here and not by a chart's random function, which GitOps renders anew each time. Its value never leaves
this process but as keys derived from it.
"""

import base64
import binascii
from collections.abc import Callable

from modelwarden.errors import Conflict, DependencyMissing
from modelwarden.reconcile.ports import SECRET, Cluster, Key, Manifest

NAME = "modelwarden-install"
SIZE = 32


async def install_secret(cluster: Cluster, namespace: str, random_bytes: Callable[[int], bytes]) -> bytes:
    """The secret of this install; created if it is absent. Raises when what is there cannot be used."""
    key = Key(namespace, NAME)
    live = await cluster.get(SECRET, key)
    if live is None:
        try:
            live = await cluster.create(_manifest(key, random_bytes(SIZE)))
        except Conflict:  # another operator was faster: its secret is as good as ours
            live = await cluster.get(SECRET, key)
    return _value(live)


def _manifest(key: Key, secret: bytes) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "namespace": key.namespace,
            "name": key.name,
            "labels": {"app.kubernetes.io/managed-by": "modelwarden"},
        },
        "type": "Opaque",
        "data": {"secret": base64.b64encode(secret).decode()},
    }


def _value(live: Manifest | None) -> bytes:
    encoded = ((live or {}).get("data") or {}).get("secret", "")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        secret = b""
    if len(secret) < 16:
        raise DependencyMissing(
            "InstallSecretUnusable",
            f"Secret {NAME} has no usable `secret`: restore it, or delete it to have all keys made anew",
        )
    return secret

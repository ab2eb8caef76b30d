"""The secret of a cell's volume that sensitive values are hashed with, in inferences and reference alike."""

import secrets
from pathlib import Path

from modelwarden_server.durable import replace_file


def hash_secret(root: Path) -> bytes:
    """The secret, made once a volume. Whoever calls holds the volume."""
    path = root / "hash-secret"
    if not path.exists():
        replace_file(path, secrets.token_bytes(32))
    return path.read_bytes()

"""Keys of cells and of Jobs: derived, never stored by us, so operator, gateway and store agree without a
Secret.

Must not log or keep what it derives.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass

_JOB_PART = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class JobClaim:
    """What a valid job key opens: the internal routes of one purpose for one input."""

    purpose: str
    input_hash: str


def cell_key(install_secret: bytes, namespace: str, name: str, epoch: int) -> str:
    """The cell's key: hex HMAC-SHA256 of the install secret over `namespace/name/epoch`."""
    if len(install_secret) < 16:
        raise ValueError("the install secret is shorter than 16 bytes: make it anew from 32 random bytes")
    return _mac(install_secret, f"{namespace}/{name}/{epoch}")


def job_key(cell_key: str, purpose: str, input_hash: str) -> str:
    """A key good for one Job: `job.<purpose>.<input hash>.<hex HMAC of the cell's key>`."""
    for part in (purpose, input_hash):
        if not _JOB_PART.fullmatch(part):
            raise ValueError(f"{part!r} cannot be a part of a job key: letters, digits, - and _ only")
    return f"job.{purpose}.{input_hash}.{_mac(cell_key.encode(), f'{purpose}/{input_hash}')}"


def verify_job_key(cell_key: str, presented: str) -> JobClaim | None:
    """What the presented key opens in the cell that has `cell_key`; None if it is no job key of that cell."""
    parts = presented.split(".")
    if len(parts) != 4 or parts[0] != "job":
        return None
    _, purpose, input_hash, _ = parts
    if not (_JOB_PART.fullmatch(purpose) and _JOB_PART.fullmatch(input_hash)):
        return None
    if not same_key(job_key(cell_key, purpose, input_hash), presented):
        return None
    return JobClaim(purpose=purpose, input_hash=input_hash)


def same_key(expected: str, presented: str) -> bool:
    """Whether two keys are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(expected.encode(), presented.encode())


def presented_key(authorization: str) -> str:
    """The key in an `Authorization` header, given bare (as the documented clients do) or as a bearer
    token."""
    scheme, _, rest = authorization.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" and rest else authorization.strip()


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

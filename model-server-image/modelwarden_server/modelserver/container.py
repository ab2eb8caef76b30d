"""What the container has, from its cgroup: so much of it the children may use. Reads files, nothing else."""

import math
import os
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
OWN_BYTES: Final = 384 << 20
"""Kept for this process: numpy and Arrow come to 130 MiB, engines at work to twice that."""
_LEAST_SHARE: Final = 0.5
_WITHOUT_LIMIT: Final = 4 << 30


def memory_for_children(cgroup: Path = CGROUP) -> int:
    """Bytes that all children together may have."""
    limit = _memory_limit(cgroup)
    if limit is None:
        return _WITHOUT_LIMIT
    return max(limit - OWN_BYTES, int(limit * _LEAST_SHARE))


def cpus(cgroup: Path = CGROUP) -> int:
    """Processors, rounded up: 1 at least."""
    here = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()[:2]
        allowed = math.inf if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        allowed = math.inf
    return int(max(1, min(here, allowed)))


def _memory_limit(cgroup: Path) -> int | None:
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = int((cgroup / name).read_text())
        except (OSError, ValueError):
            continue
        return limit if limit < 1 << 50 else None
    return None

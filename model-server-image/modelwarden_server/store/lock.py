"""One process a volume: a lock for the process's life, and who holds it.

The kernel drops it with the process, so it cannot go stale. Must not be relied on where flock is not
shared between nodes; there the claim's access mode keeps the second pod away.
"""

import fcntl
import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from modelwarden_server.durable import make_folder


class VolumeHeldError(Exception):
    """Another process holds the volume. The message says which."""


@dataclass(frozen=True)
class VolumeLock:
    """A lock that is held until `release`."""

    fd: int

    def release(self) -> None:
        """Let another process have the volume."""
        os.close(self.fd)


def take_lock(folder: Path) -> VolumeLock:
    """Lock the volume in `folder` for this process. Raises VolumeHeldError."""
    make_folder(folder)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(fd)
        os.close(fd)
        raise VolumeHeldError(f"the volume is held by {holder}") from None
    about = {"host": socket.gethostname(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat()}
    with suppress(OSError):  # a full disk must not keep the cell from saying so
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(about).encode(), 0)
    return VolumeLock(fd)


def _holder(fd: int) -> str:
    try:
        about = json.loads(os.pread(fd, 4096, 0))
        return f"process {about['pid']} on {about['host']} since {about['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has not said who it is"

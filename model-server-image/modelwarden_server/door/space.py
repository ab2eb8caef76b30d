"""Room on the cell's volume: what people send is refused before the volume is full.

What the cell writes itself (log, tables) needs the rest. Must not know what is sent.
"""

import errno
import os
from pathlib import Path
from typing import Final

RESERVE: Final = 256 << 20
RESERVE_SHARE: Final = 0.05
"""What must stay free: so many bytes or that share of the volume, whichever is less."""


def check_space(folder: Path, coming: int, reserve: int = RESERVE, share: float = RESERVE_SHARE) -> None:
    """Whether so many bytes more fit on the folder's volume. Raises OSError (ENOSPC)."""
    space = os.statvfs(folder)
    kept = min(reserve, share * space.f_blocks * space.f_frsize)
    if space.f_bavail * space.f_frsize < kept + coming:
        raise OSError(errno.ENOSPC, "the volume is nearly full")

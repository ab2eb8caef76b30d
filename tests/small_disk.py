"""A small ext4 of a test's own, loop-mounted: it can be filled, made read-only and mended. Needs root."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IMAGE = "disk.img"
MIB = 1 << 20


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """Where it is mounted in `folder`; its image lies beside it. Unmounted in the end."""
    image, mounted = folder / IMAGE, folder / "disk"
    with image.open("wb") as file:
        file.truncate(mebibytes * MIB)
    mounted.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)

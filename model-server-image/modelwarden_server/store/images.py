"""Images of inferences, kept under the SHA-256 of their bytes: write once, read, remove.

<data>/images/<first two digits>/<sha256>

Must not know which rows name an image, nor trust what it is called: what an image is, its bytes say.
"""

import os
import re
import uuid
from collections.abc import Iterable
from pathlib import Path

from modelwarden_server.durable import make_folder, sync_folder

IMAGE_ID = re.compile(r"^[0-9a-f]{64}$")


class ImageStore:
    """The images of one cell."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, image: str) -> Path | None:
        """Where the image's bytes are; None if there are none of that id."""
        if not IMAGE_ID.match(image):
            return None
        path = self._place(image)
        return path if path.is_file() else None

    def has(self, image: str) -> bool:
        """Whether the image is there."""
        return self.path(image) is not None

    def put(self, image: str, content: bytes) -> bool:
        """Keep an image under its hash; False if it was there. The file is synced, its name is not: see
        `sync`. Raises OSError (a full disk), and then nothing of it is left."""
        path = self._place(image)
        if path.is_file():
            return False
        make_folder(path.parent)
        temporary = path.with_name(f".{uuid.uuid4().hex}")
        try:
            with temporary.open("xb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return True

    def sync(self, images: Iterable[str]) -> None:
        """Make the names of these images durable."""
        for folder in {self._place(image).parent for image in images}:
            sync_folder(folder)

    def remove(self, images: Iterable[str]) -> int:
        """Remove images, if they are there; how many were. Raises OSError."""
        removed = 0
        for image in images:
            path = self.path(image)
            if path is not None:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def sweep(self) -> None:
        """Remove what a killed process was writing. Whoever calls holds the volume."""
        for left in self._folder.glob("??/.*") if self._folder.is_dir() else ():
            left.unlink()

    def _place(self, image: str) -> Path:
        return self._folder / image[:2] / image

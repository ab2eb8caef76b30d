"""Which images were built, and which of them are still worth their disk space.

A folder of small files beside the blobs: GROUP/KEY.json holds a manifest's descriptor. Only the newest
of each group are kept; blobs that no kept image names are removed.
"""

import json
import time
from pathlib import Path

from testbed.cache import write_atomically
from testbed.oci import Blob, Image, Layout

KEPT = 4  # of each group: enough to go back and forth between branches
YOUNG_SECONDS = 3600.0  # another build may be about to name a blob this new


class Register:
    """The images in a layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def find(self, group: str, key: str, name: str) -> Image | None:
        """The image that was noted under this key, if all of it is there still."""
        try:
            image = Image(name, Blob.described(json.loads(self._file(group, key).read_text())))
        except FileNotFoundError:
            return None
        return image if self._layout.holds(image) else None

    def note(self, group: str, key: str, image: Image) -> None:
        """Writes it down, and forgets the oldest of its group."""
        file = self._file(group, key)
        file.parent.mkdir(parents=True, exist_ok=True)
        known = file.exists()
        write_atomically(file, json.dumps(image.manifest.descriptor()))
        if not known:
            for old in sorted(file.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
                old.unlink()
            self._collect()

    def keys(self, group: str) -> set[str]:
        """Of the images that are kept."""
        return {path.stem for path in self._file(group, "any").parent.glob("*.json")}

    def _file(self, group: str, key: str) -> Path:
        return self._layout.folder / "register" / group / f"{key}.json"

    def _collect(self) -> None:
        """Removes blobs that belong to no image any more."""
        named: set[Path] = set()
        for file in (self._layout.folder / "register").rglob("*.json"):
            image = Image("", Blob.described(json.loads(file.read_text())))
            if self._layout.holds(image):
                named.update(self._layout.path(blob) for blob in self._layout.contents(image))
        for blob in set(self._layout.blobs.iterdir()) - named:
            if time.time() - blob.stat().st_mtime > YOUNG_SECONDS:
                blob.unlink()

"""What Jobs made, kept under the SHA-256 of its bytes: written once, read, never changed.

Must not know what an artefact means: who puts it has judged it before.
"""

import hashlib
import re
from pathlib import Path

from modelwarden_server.durable import make_folder, replace_file, sync_folder

_NAME = re.compile(r"^[0-9a-f]{64}$")


class ArtefactStore:
    """Files `<folder>/<kind>/<sha256>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, kind: str, content: bytes) -> str:
        """Keep the content; returns its hash. Durable when this returns; a second time changes nothing, but
        mends what was damaged since.
        """
        name = hashlib.sha256(content).hexdigest()
        folder = self._folder / kind
        path = folder / name
        if path.is_file() and path.read_bytes() == content:
            sync_folder(folder)  # whoever put it first may have been killed before he did
        else:
            make_folder(folder)
            replace_file(path, content)
        return name

    def get(self, kind: str, name: str) -> bytes | None:
        """The content, or None if there is none of that hash. Raises OSError if it cannot
        be read, ValueError if it is no longer what its hash says.
        """
        if not _NAME.match(name):
            return None
        try:
            content = (self._folder / kind / name).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(content).hexdigest() != name:
            raise ValueError(f"artefact {kind}/{name} is damaged: its content has another hash")
        return content

    def keep_only(self, kind: str, name: str | None) -> None:
        """Remove all artefacts of the kind but this one (None: all of them). For kinds of which only the
        newest is asked for. Raises OSError.
        """
        folder = self._folder / kind
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name != name:
                path.unlink(missing_ok=True)

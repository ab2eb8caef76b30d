"""The Job that fetches one file of the user's from its declared source and brings it to the store.

What is to be an archive may be a folder, too: it is zipped, the same folder to the same bytes. The disk is
bounded by the file. Must not look into a file beyond its first bytes: the store does; nobody runs it here.
"""

import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from shutil import copyfileobj
from typing import Final
from urllib.parse import quote

from modelwarden.resources.server import AssetSlot
from modelwarden.resources.sources import Source
from modelwarden_server.innerwire import ASSETS
from modelwarden_server.jobs.sources import NamedFile, SourceError, Surroundings, named_files_of
from modelwarden_server.jobs.store_client import StoreClient, StoreRefusedError

ARCHIVES: Final[frozenset[AssetSlot]] = frozenset({"explain-project", "serve-files"})
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_PIECE: Final = 1 << 20
Tell = Callable[..., None]


@dataclass(frozen=True)
class AssetTask:
    """What to fetch from where. `source_hash` names the source as the operator does."""

    slot: AssetSlot
    source_hash: str
    source: Source
    around: Surroundings

    @property
    def path(self) -> str:
        """The store's doors for this file."""
        return f"{ASSETS}/{self.slot}/{quote(self.source_hash, safe='')}"


def run_assets(task: AssetTask, store: StoreClient, tell: Tell) -> None:
    """Do the Job. Raises SourceAwayError or StoreAwayError (try later), SourceError or StoreRefusedError (do
    not), OSError.
    """
    with tempfile.TemporaryDirectory(dir=task.around.workdir, prefix="asset-") as folder:
        around = replace(task.around, workdir=Path(folder))
        files = named_files_of(task.source, around, _is_hidden)
        file = _archive(files, around) if task.slot in ARCHIVES else _only(files)
        tell("fetched", slot=task.slot, bytes=file.stat().st_size)
        try:
            kept = store.put_file(task.path, file)
        except StoreRefusedError as error:
            if error.status in (400, 413):
                raise SourceError(error.sentence) from None
            raise
    tell("kept", slot=task.slot, sha256=kept["sha256"], bytes=kept["bytes"])


def tell_failure(task: AssetTask, store: StoreClient, message: str, *, again: bool) -> None:
    """Let the store know why there is no file, so that the status can say it."""
    store.tell_failure(task.path, {"message": message, "again": again})


def _is_hidden(name: str) -> bool:
    """Files of version control, of editors, and the folders behind a mounted ConfigMap."""
    return name.startswith(".") or name == "__pycache__"


def _only(files: Iterator[NamedFile]) -> Path:
    file = next(files).path
    if next(files, None) is not None:
        raise SourceError("the source holds several files: name the one that is meant")
    return file


def _archive(files: Iterator[NamedFile], around: Surroundings) -> Path:
    """The one zip of the source, or its files zipped."""
    first = next(files)
    if not _is_zip(first.path):
        return _zipped(chain([first], files), around)
    found = first.path
    if found.is_relative_to(around.workdir):
        found = found.rename(around.workdir / "first.zip")
    if next(files, None) is not None:
        raise SourceError(f"the source holds {first.name} and other files: name the zip itself, or unpack it")
    return found


def _is_zip(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(4) in _ZIP


def _zipped(files: Iterator[NamedFile], around: Surroundings) -> Path:
    target, left = around.workdir / "files.zip", around.most_bytes
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in files:
            left -= file.path.stat().st_size
            if left < 0:
                raise SourceError(f"the files come to more than {around.most_bytes} bytes")
            entry = zipfile.ZipInfo(file.name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.file_size = file.path.stat().st_size  # says whether it takes the format for large files
            with file.path.open("rb") as content, archive.open(entry, "w") as out:
                copyfileobj(content, out, _PIECE)
    return target

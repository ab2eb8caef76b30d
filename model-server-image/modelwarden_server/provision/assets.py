"""What is known of the user's files: which was taken in from which source, and why the last one was not.

<data>/server/assets/<slot>.json    one small file a slot, replaced in one step

A file stays in use until another one has been taken in, whatever the settings say meanwhile. Must not look
into the files (see `checks`).
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, get_args

import msgspec

from modelwarden.resources.report import AssetReport
from modelwarden.resources.server import UPLOAD, AssetSlot, ServerFile
from modelwarden_server.durable import make_folder, replace_file
from modelwarden_server.provision.shelf import FileShelf

SLOTS: Final[tuple[AssetSlot, ...]] = get_args(AssetSlot)
NAMES: Final[Mapping[AssetSlot, str]] = {
    "explain-project": "user_project.zip",
    "explain-requirements": "user_requirements_file.txt",
    "explain-explainer": "explainer.pkl",
    "serve-files": "files.zip",
    "serve-requirements": "requirements.txt",
}
"""What each file is called in the documented API, or would be."""


@dataclass(frozen=True)
class Asset:
    """A file that was taken in. `source_hash`: see AssetReport."""

    source_hash: str
    sha256: str
    bytes: int
    at: datetime


@dataclass(frozen=True)
class FailedAsset:
    """Why the file of this source was not taken in; `again`: another attempt may help."""

    source_hash: str
    message: str
    again: bool


@dataclass(frozen=True)
class AssetRecord:
    """What is known of one slot."""

    asset: Asset | None = None
    failure: FailedAsset | None = None


class AssetShelf:
    """The user's files of one cell. Thread-safe."""

    def __init__(self, folder: Path, files: FileShelf, clock: Callable[[], datetime]) -> None:
        self._folder, self._files, self._clock = folder, files, clock
        self._lock = threading.Lock()
        self._records = {slot: self._read(slot) for slot in SLOTS}

    def take(self, slot: AssetSlot, source_hash: str, content: BinaryIO) -> Asset:
        """Keep a file as that of the slot, in place of the one before. Durable when this returns; the same
        again changes nothing. Raises OSError.
        """
        with self._files.kept(content) as (sha256, size), self._lock:
            known = self._records[slot].asset
            if known is not None and (known.source_hash, known.sha256) == (source_hash, sha256):
                asset = known
            else:
                asset = Asset(source_hash, sha256, size, self._clock())
            self._write(slot, AssetRecord(asset))
        return asset

    def fail(self, slot: AssetSlot, failure: FailedAsset) -> None:
        """Note why a source gave no file. Raises OSError."""
        with self._lock:
            known = self._records[slot]
            if known.asset is None or known.asset.source_hash != failure.source_hash:
                self._write(slot, replace(known, failure=failure))

    def asset(self, slot: AssetSlot) -> Asset | None:
        """The file in use."""
        with self._lock:
            return self._records[slot].asset

    def file(self, slot: AssetSlot) -> ServerFile | None:
        """The file in use, as pods are told of it."""
        asset = self.asset(slot)
        return None if asset is None else ServerFile(sha256=asset.sha256, bytes=asset.bytes, name=NAMES[slot])

    def named(self) -> set[str]:
        """Hashes of the files that are to stay."""
        with self._lock:
            return {r.asset.sha256 for r in self._records.values() if r.asset is not None}

    def report(self, slot: AssetSlot, source_hash: str) -> AssetReport:
        """How far the file of that source is."""
        with self._lock:
            record = self._records[slot]
        asset, failure = record.asset, record.failure
        if asset is not None and asset.source_hash == source_hash:
            return AssetReport(
                slot=slot, source_hash=source_hash, state="Present", sha256=asset.sha256, bytes=asset.bytes
            )
        loaded = source_hash != UPLOAD
        if failure is not None and failure.source_hash == source_hash:
            return AssetReport(
                slot=slot,
                source_hash=source_hash,
                state="Failed",
                due=loaded and failure.again,
                message=failure.message,
            )
        return AssetReport(slot=slot, source_hash=source_hash, due=loaded)

    def _read(self, slot: AssetSlot) -> AssetRecord:
        try:
            record = msgspec.json.decode(self._path(slot).read_bytes(), type=AssetRecord)
        except FileNotFoundError:
            return AssetRecord()
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Sent or fetched again, it is whole again: no reason to keep a cell from starting.
            return AssetRecord()
        if record.asset is not None and self._files.path(record.asset.sha256) is None:
            return AssetRecord()
        return record

    def _write(self, slot: AssetSlot, record: AssetRecord) -> None:
        if record != self._records[slot]:
            make_folder(self._folder)
            replace_file(self._path(slot), msgspec.json.encode(record))
            self._records[slot] = record

    def _path(self, slot: AssetSlot) -> Path:
        return self._folder / f"{slot}.json"

"""What is installed for a cell, kept: one small file a kind, replaced in one step, beside the artefacts.

<data>/enrichments/<kind>.json          what is installed, and why the last training failed
<data>/artefacts/<kind>/<sha256>        the artefact

A record names an artefact only once that is durable. A record or an artefact that cannot be read is damage
told in a sentence, never an end of the cell. Must not know what an artefact means.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from modelwarden_server.analysis.artefact import Artefact, unpack
from modelwarden_server.durable import make_folder, replace_file, sync_folder
from modelwarden_server.enrichments.kind import InstalledTraining
from modelwarden_server.store.artefacts import ArtefactStore

_KIND: Final = re.compile(r"^[a-z][a-z0-9-]{0,31}$")


class DamagedError(Exception):
    """What was installed cannot be read. The message says what is wrong with it."""


@dataclass(frozen=True)
class FailedTraining:
    """Why the training of these inputs gave nothing; `again`: another attempt may help."""

    input_hash: str
    message: str
    again: bool
    at: datetime


@dataclass(frozen=True)
class Record:
    """What is known of one kind."""

    installed: InstalledTraining | None = None
    failure: FailedTraining | None = None

    def with_failure(self, failure: FailedTraining | None) -> "Record":
        """The same with another failure, or none."""
        return replace(self, failure=failure)


class Registry:
    """The records and artefacts of one cell. Not thread-safe: its user holds a lock."""

    def __init__(self, folder: Path, artefacts: ArtefactStore, kinds: Sequence[str]) -> None:
        for kind in kinds:
            if not _KIND.match(kind):
                raise ValueError(f"{kind!r} is no name of a kind")
        self._folder = folder
        self._artefacts = artefacts

    def read(self, kind: str) -> Record:
        """The record of that kind, an empty one if there is none. Raises DamagedError."""
        try:
            return msgspec.json.decode(self._path(kind).read_bytes(), type=Record)
        except FileNotFoundError:
            return Record()
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            raise DamagedError(f"its record {kind}.json cannot be read ({type(error).__name__})") from None

    def artefact(self, kind: str, artefact_hash: str) -> Artefact:
        """An artefact that was kept. Raises DamagedError if it is gone or not what it was."""
        try:
            content = self._artefacts.get(kind, artefact_hash)
            if content is None:
                raise DamagedError("its artefact is gone")
            return unpack(content)
        except OSError as error:
            raise DamagedError(f"its artefact cannot be read: {error.strerror}") from None
        except ValueError:
            raise DamagedError("its artefact is damaged: other bytes than its hash says") from None

    def keep(self, kind: str, content: bytes) -> str:
        """Make an artefact durable, as part of nothing yet; its hash. Raises OSError."""
        return self._artefacts.put(kind, content)

    def write(self, kind: str, record: Record) -> None:
        """Replace the record. Durable when this returns. Raises OSError: the old one stands."""
        make_folder(self._folder)
        replace_file(self._path(kind), msgspec.json.encode(record))

    def forget(self, kind: str) -> None:
        """Remove the record, durably, then the artefacts. Raises OSError."""
        path = self._path(kind)
        if path.exists():
            path.unlink()
            sync_folder(self._folder)
        self.prune(kind, None)

    def prune(self, kind: str, artefact_hash: str | None) -> None:
        """Remove all artefacts of the kind but this one. Raises OSError."""
        self._artefacts.keep_only(kind, artefact_hash)

    def _path(self, kind: str) -> Path:
        return self._folder / f"{kind}.json"

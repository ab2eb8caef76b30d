"""What searches for hotspots came to, kept: the newest results of windows and batches, and the reference's.

<data>/enrichments/hotspots/results/<hash of the subject>.artefact

A file that cannot be read is left out and told in the log: the next window makes a new one. Must not decide
what is searched.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from modelwarden_server.analysis.artefact import Artefact, pack, unpack
from modelwarden_server.analysis.hotspots.result import Result, read
from modelwarden_server.durable import make_folder, replace_file, sync_folder
from modelwarden_server.enrichments.hotspot_subjects import Subject, subject_of

log = logging.getLogger(__name__)
MOST: Final = 40
_KIND: Final = "hotspots"


@dataclass(frozen=True, eq=False)
class Searched:
    """One subject's result. `inputs` are the training's; `whole`: rows of the subject before a sample."""

    subject: Subject
    inputs: Mapping[str, Any]
    run: str
    """The hash of the training's inputs."""
    result: Result
    whole: int

    @property
    def until(self) -> str:
        """When the question was put: rows and labels that arrived later are not in it."""
        return str(self.inputs.get("until", ""))

    @property
    def order(self) -> tuple[datetime | None, str]:
        """What comes later is newer."""
        return self.subject.end, self.until


def searched_of(artefact: Artefact) -> Searched:
    """What an artefact says. Raises ValueError if it is none of a search."""
    manifest = artefact.manifest
    try:
        return Searched(
            subject=subject_of(manifest["inputs"]),
            inputs=manifest["inputs"],
            run=str(manifest["inputHash"]),
            result=read(manifest["result"], artefact.arrays),
            whole=int(manifest["wholeRows"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no result of hotspots: {type(error).__name__} {error}") from None


@dataclass
class Results:
    """All that are kept of one cell, the oldest first. Not thread-safe."""

    folder: Path
    _all: dict[str, Searched] = field(default_factory=dict)

    def load(self) -> None:
        """Take what is on the disk."""
        found = []
        for path in sorted(self.folder.glob("*.artefact")):
            try:
                found.append(searched_of(unpack(path.read_bytes())))
            except (OSError, ValueError) as error:
                log.warning("a result of hotspots is left out: %s", error)
        self._all = {one.subject.key: one for one in sorted(found, key=_age)}

    def keep(self, artefact: Artefact) -> Searched:
        """Keep one, durably, in the place of an earlier one of the same subject; the oldest go. Raises
        ValueError, OSError.
        """
        found = searched_of(artefact)
        make_folder(self.folder)
        replace_file(self._path(found.subject), pack(artefact))
        self._all.pop(found.subject.key, None)
        self._all[found.subject.key] = found
        self._all = {one.subject.key: one for one in sorted(self._all.values(), key=_age)}
        over = found.subject.over
        same = [one for one in self._all.values() if one.subject.over == over]
        self._remove(same[: -(1 if over == "reference" else MOST)])
        return found

    def forget(self) -> None:
        """Remove all. Raises OSError."""
        self._remove(tuple(self._all.values()))

    def get(self, key: str) -> Searched | None:
        """The result of a subject."""
        return self._all.get(key)

    def newest_first(self) -> list[Searched]:
        """Windows or batches, without the reference."""
        return [one for one in reversed(self._all.values()) if one.subject.over != "reference"]

    def reference(self) -> Searched | None:
        """The reference's."""
        found = [one for one in self._all.values() if one.subject.over == "reference"]
        return found[-1] if found else None

    def _remove(self, those: Iterable[Searched]) -> None:
        for one in those:
            self._path(one.subject).unlink(missing_ok=True)
            self._all.pop(one.subject.key, None)
        if self.folder.is_dir():
            sync_folder(self.folder)

    def _path(self, subject: Subject) -> Path:
        name = hashlib.sha256(subject.key.encode()).hexdigest()[:32]
        return self.folder / f"{name}.artefact"


def _age(one: Searched) -> tuple[str, str]:
    end = one.subject.end
    return "" if end is None else end.isoformat(), one.until

"""Between the room of enrichments and one kind of training: what it wants, what it takes in use.

A kind says what is to be trained (a pure function of facts), a Job trains it (see `jobs.training`), the room
keeps the artefact and has the kind take it in use. Must not know files, Jobs or doors.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol, runtime_checkable

import pyarrow as pa

from modelwarden.resources.cell import CellIdentity, CellSettings, canonical_json
from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.analysis.profile import ReferenceProfile
from modelwarden_server.store.datasets import Dataset

REFERENCE: Final = "reference"
"""The key of inputs that holds the content hash of the closed dataset which the Job may read. Without it the
training sees no reference."""
EnrichmentType = Literal["AnomalyDetection", "BiasMitigation", "Explainability", "Hotspots"]


@dataclass(frozen=True)
class Facts:
    """All that decides what is to be trained. What one kind alone needs beyond this it is built with."""

    identity: CellIdentity
    settings: CellSettings
    dataset: Dataset | None
    """The reference to compare with, once it is closed: the one that the settings name, else the one closed
    last. It has a `content_hash`; its `profile_hash` may still be missing.
    """
    profile: ReferenceProfile | None
    """That dataset's profile, once it has one."""
    now: datetime
    newest_inference: datetime | None = None
    """The latest event time among stored inferences."""


@dataclass(frozen=True)
class Disabled:
    """Nothing is to be trained, and what is installed is taken out of use and forgotten.

    `reason` is one CamelCase word of a condition ("TurnedOff", "NotForThisModel"), `message` a sentence.
    """

    reason: str
    message: str


@dataclass(frozen=True)
class Pending:
    """Something is missing; what is installed stays in use meanwhile. Each entry of `missing` is the object
    of "waits for …": "a closed reference dataset".
    """

    missing: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """What is to be trained. `inputs` is plain JSON and says all that the result depends on beside the code:
    hashes of data, names of columns, settings, a seed if one is set. No value of a row. The Job gets it as
    it is. `reference` (see REFERENCE) names the reference that the training reads.
    """

    inputs: Mapping[str, Any]


Wish = Disabled | Pending | Wanted


@dataclass(frozen=True)
class InstalledTraining:
    """Which training an artefact is of."""

    input_hash: str
    inputs: Mapping[str, Any]
    artefact_hash: str
    """SHA-256 of the artefact's bytes."""
    trained_at: datetime


class TrainedKind(Protocol):
    """One kind of training. All methods are called under the room's lock, from any thread: be quick."""

    name: str
    """anomaly, loss, bias or hotspots: letters, digits and - only."""
    type: EnrichmentType | None
    """The type of Enrichment that declares it; None: nobody does."""
    version: int
    """Of the method: another version trains again."""

    def wanted(self, facts: Facts) -> Wish:
        """What is to be trained now. Pure and cheap: it is asked at every `/status`."""
        ...

    def check(self, artefact: Artefact, training: InstalledTraining) -> None:
        """Look at all of it: manifest, names, types and shapes of arrays, ranges. Changes nothing. Raises
        ValueError with a sentence: the artefact is refused.
        """
        ...

    def install(self, artefact: Artefact, training: InstalledTraining) -> None:
        """Take it in use, in place of what was. It has passed `check` and is durable. Called again at each
        start of the process, after all rooms are attached and before the first commit.
        """
        ...

    def uninstall(self) -> None:
        """Take what is installed out of use (turned off). Nothing may be installed."""
        ...


@dataclass(frozen=True)
class RowSource:
    """Rows for a training: their columns, and the pieces, each of bounded size (at most 65 536 rows)."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


@runtime_checkable
class GivesRows(Protocol):
    """A kind whose trainings see other rows than the reference's: it answers `GET …/trainings/…/rows`."""

    def rows(self, inputs: Mapping[str, Any], columns: Sequence[str]) -> RowSource:
        """The rows that a training with these inputs is to see. No columns: all. The same inputs give the
        same rows in the same order. Called without the room's lock, the pieces taken on a worker's thread;
        the generator is closed if the Job goes away. Raises ValueError (400 to the Job) for a column that is
        not there or for rows that are gone.
        """
        ...


def input_hash(kind: str, version: int, inputs: Mapping[str, Any]) -> str:
    """The name of a training: hex SHA-256 of its kind, the method's version and the inputs. Raises
    ValueError if the inputs are no JSON.
    """
    told = canonical_json({"kind": kind, "version": version, "inputs": dict(inputs)})
    return hashlib.sha256(told).hexdigest()

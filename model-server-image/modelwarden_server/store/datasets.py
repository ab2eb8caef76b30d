"""What is known of each reference dataset beside its rows: a small file each, replaced in one step.

Must not touch tables. The rows are the tables' business; a dataset is closed when its file says so.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from modelwarden_server.durable import make_folder, replace_file

State = Literal["open", "closed", "profiled", "failed"]
DATASET_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
IMPLICIT = "default"


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """A file of a closed dataset: its name in the dataset's folder, bytes, rows, and the
    SHA-256 of its bytes.
    """

    name: str
    bytes: int
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """One reference dataset. `records` counts the rows of its table; `declared`: an object of the
    cluster names it.
    """

    name: str
    state: State
    created_at: datetime
    declared: bool = False
    partner_record_count: int | None = None
    closed_at: datetime | None = None
    content_hash: str | None = None
    files: tuple[DatasetFile, ...] = ()
    profile_hash: str | None = None
    message: str | None = None
    source_hash: str | None = None
    """Of the source that a Job loads the rows from; None if they are uploaded."""
    loaded: bool = False
    """Whether the rows are all those of that source."""
    records: int = 0

    @property
    def is_open(self) -> bool:
        """Whether rows may still be added."""
        return self.state == "open"

    @property
    def is_complete(self) -> bool:
        """Whether nothing is known to be missing."""
        return self.source_hash is None or self.loaded


class DatasetFiles:
    """The files `<folder>/<name>.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> Iterator[Dataset]:
        """All datasets. Raises ValueError naming a file that cannot be understood."""
        for path in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else ():
            try:
                yield msgspec.json.decode(path.read_bytes(), type=Dataset)
            except msgspec.DecodeError as error:
                raise ValueError(f"{path.name} in {self._folder.name} is damaged: {error}") from error

    def write(self, dataset: Dataset) -> None:
        """Keep the dataset as it is now. Durable when this returns."""
        make_folder(self._folder)
        plain: dict[str, Any] = {k: v for k, v in asdict(dataset).items() if k != "records"}
        replace_file(self._folder / f"{dataset.name}.json", msgspec.json.encode(plain))


def new_dataset(name: str, now: datetime, *, declared: bool) -> Dataset:
    """An open dataset without rows. Raises ValueError for a name that cannot be a folder's."""
    if not DATASET_NAME.match(name):
        raise ValueError(
            "dataset: a name holds only a-z, 0-9 and -, starts and ends with a letter or digit,"
            " and has at most 63 characters"
        )
    return Dataset(name, "open", now.astimezone(UTC), declared)


def closed(dataset: Dataset, count: int | None, content_hash: str, files: tuple[DatasetFile, ...]) -> Dataset:
    """The same dataset, its files fixed; the time is set by the caller through `closed_at`."""
    return replace(
        dataset,
        state="closed",
        partner_record_count=count,
        content_hash=content_hash,
        files=files,
        message=None,
    )

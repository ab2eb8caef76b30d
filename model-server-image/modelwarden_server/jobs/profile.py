"""The Job that profiles a closed reference dataset: fetch the files, profile one column at a time, bring the
profile.

Repeatable: the same dataset gives the same bytes, and a profile that is there already ends the Job at once.
Memory is bounded by one column (see `analysis.profile`), disk by the dataset.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.profile import ReferenceProfile, profile_column
from modelwarden_server.analysis.profile_format import to_json
from modelwarden_server.analysis.relations import relate
from modelwarden_server.innerwire import DATASETS, PROFILES
from modelwarden_server.jobs.store_client import StoreClient

Tell = Callable[..., None]
"""Takes the name of an event and its facts."""

_ROWS_AT_ONCE = 65_536
_ROWS_IN_A_PASS = 8_192
"""Of all columns at once."""
EVENT_TIME = "inference_timestamp"
"""A reference may say when its rows happened; then its seasons are known."""
_TELL_EVERY = 50


class UnprofilableError(Exception):
    """The dataset cannot be profiled, now or later. The message says why."""


@dataclass(frozen=True)
class ProfileTask:
    """Which dataset, and where to work."""

    dataset: str
    content_hash: str
    workdir: Path | None = None


class _File(msgspec.Struct):
    name: str
    bytes: int
    sha256: str


class _Listing(msgspec.Struct, rename="camel"):
    content_hash: str
    records: int
    files: list[_File]
    columns: list[Any]


def run_profile(task: ProfileTask, store: StoreClient, tell: Tell) -> None:
    """Do the Job. Raises StoreAwayError (try later), UnprofilableError or StoreRefusedError (do not)."""
    artefact = f"{PROFILES}/{task.content_hash}"
    if store.exists(artefact):
        tell("profile exists", dataset=task.dataset, contentHash=task.content_hash)
        return
    listing = msgspec.convert(store.get(f"{DATASETS}/{task.dataset}/files"), _Listing)
    if listing.content_hash != task.content_hash:
        raise UnprofilableError(f"dataset {task.dataset} has another content than this Job was made for")
    with tempfile.TemporaryDirectory(dir=task.workdir, prefix="profile-") as folder:
        files = list(_fetched(task, listing, store, Path(folder)))
        tell("fetched", dataset=task.dataset, files=len(files), bytes=sum(f.bytes for f in listing.files))
        profile = profile_files(files, _columns(listing), task.content_hash, tell)
    if profile.rows != listing.records:
        raise UnprofilableError(f"the files hold {profile.rows} rows, the store states {listing.records}")
    content = to_json(profile)
    kept = store.put(artefact, content)
    tell(
        "profiled",
        dataset=task.dataset,
        rows=profile.rows,
        columns=len(profile.columns),
        bytes=len(content),
        profileHash=kept["profileHash"],
    )


def profile_files(
    files: Sequence[Path], columns: Sequence[Column], content_hash: str, tell: Tell
) -> ReferenceProfile:
    """The profile of the rows in these parquet files."""
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    profiles = []
    for number, column in enumerate(columns, start=1):

        def source(name: str = column.name) -> Iterator[pa.Array]:
            return _column(files, name)

        profiles.append(profile_column(column, source))
        if number % _TELL_EVERY == 0:
            tell("progress", columns=number, of=len(columns))
    times = EVENT_TIME if files and all(map(_timed, files)) else None
    relations = relate(profiles, rows, lambda: _rows(files, [c.name for c in columns], times), times)
    return ReferenceProfile(content_hash, rows, tuple(profiles), relations)


def tell_failure(task: ProfileTask, store: StoreClient, message: str) -> None:
    """Let the store know why there will be no profile, so that the dataset's status can say it."""
    store.tell_failure(f"{PROFILES}/{task.content_hash}", {"message": message})


def _fetched(task: ProfileTask, listing: _Listing, store: StoreClient, folder: Path) -> Iterator[Path]:
    for number, file in enumerate(listing.files):
        path = folder / f"{number}.parquet"
        store.fetch(f"{DATASETS}/{task.dataset}/files/{file.name}", path, file.bytes, file.sha256)
        yield path


def _columns(listing: _Listing) -> list[Column]:
    return [msgspec.convert(column, Column) for column in listing.columns]


def _rows(files: Sequence[Path], names: Sequence[str], times: str | None) -> Iterator[pa.RecordBatch]:
    columns = [*names, *([] if times is None else [times])]
    for file in files:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet:
            yield from parquet.iter_batches(batch_size=_ROWS_IN_A_PASS, columns=columns)


def _timed(file: Path) -> bool:
    """Whether every row of the file says when it happened."""
    metadata = pq.read_metadata(file)
    # Not the place among the columns: of a column of lists of structs each field is a leaf of its own.
    leaves = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
    if EVENT_TIME not in leaves:
        return False
    place = leaves.index(EVENT_TIME)
    groups = (metadata.row_group(n).column(place) for n in range(metadata.num_row_groups))
    return all(g.statistics is not None and g.statistics.null_count == 0 for g in groups)


def _column(files: Sequence[Path], name: str) -> Iterator[pa.Array]:
    for file in files:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet:
            for batch in parquet.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[name]):
                yield batch.column(0)

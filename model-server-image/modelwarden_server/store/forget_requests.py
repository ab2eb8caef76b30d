"""Requests to forget, each a small durable file: with what is to be forgotten while it is pending, afterwards
an audit record without it.

Must not delete rows.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from modelwarden_server.durable import make_folder, replace_file

State = Literal["accepted", "deleting", "deleted", "done"]
Value = str | int | float | bool

OUT_OF_REACH = (
    "snapshots and backups of the volume, and blocks that the file system has freed but not overwritten",
    "copies that readers of the tables have made, answers that were given, and logs of proxies",
    "reference data, profiles and artefacts made from them: upload another reference dataset",
    "counts by slice, batch and day (partials), and series that Prometheus has scraped: they hold no rows",
    "messages on a Kafka topic, until its retention ends",
)


@dataclass(frozen=True, slots=True)
class Removed:
    """How much is gone: rows by table, and images."""

    inferences: int = 0
    ground_truth: int = 0
    images: int = 0


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """One request. `ids`, `attribute` and `value` are there while it is pending; `ids` of a request by value
    once they have been looked up. `before` is what had been removed when it began.
    """

    id: str
    number: int
    created_at: datetime
    state: State = "accepted"
    attribute: str | None = None
    value: Value | None = None
    ids: tuple[str, ...] | None = None
    before: Removed | None = None
    removed: Removed = Removed()
    known_ids: int = 0
    fingerprint: str | None = None
    deleted_at: datetime | None = None
    done_at: datetime | None = None
    out_of_reach: tuple[str, ...] = OUT_OF_REACH

    @property
    def audit(self) -> "ForgetRequest":
        """The same without what was to be forgotten."""
        return replace(self, ids=None, value=None)


def new_request(
    number: int,
    now: datetime,
    *,
    ids: Sequence[str] | None = None,
    attribute: str | None = None,
    value: Value | None = None,
) -> ForgetRequest:
    """A request that nothing has been done for."""
    given = None if ids is None else tuple(dict.fromkeys(ids))
    return ForgetRequest(
        uuid.uuid4().hex, number, now.astimezone(UTC), attribute=attribute, value=value, ids=given
    )


class ForgetRequests:
    """The files `<folder>/<id>.json`."""

    def __init__(self, folder: Path) -> None:
        """Read what there is. Raises ValueError naming a file that cannot be understood."""
        self._folder = folder
        self._all: dict[str, ForgetRequest] = {}
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            try:
                request = msgspec.json.decode(path.read_bytes(), type=ForgetRequest)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                raise ValueError(f"{path.name} in {folder} is damaged: {error}") from error
            self._all[request.id] = request

    def all(self) -> list[ForgetRequest]:
        """All requests, in the order in which they came."""
        return sorted(self._all.copy().values(), key=lambda r: r.number)

    def pending(self) -> list[ForgetRequest]:
        """Those whose rows may still be there."""
        return [r for r in self.all() if r.state in ("accepted", "deleting")]

    def get(self, request: str) -> ForgetRequest | None:
        """One request."""
        return self._all.get(request)

    def next_number(self) -> int:
        """A number higher than any before."""
        return max((r.number for r in self._all.values()), default=0) + 1

    def write(self, request: ForgetRequest) -> None:
        """Keep the request as it is now. Durable when this returns. Raises OSError."""
        make_folder(self._folder)
        replace_file(self._folder / f"{request.id}.json", msgspec.json.encode(request))
        self._all[request.id] = request

"""A log's folder after a crash: what is whole is kept, a torn end is cut off, damage is refused by place.

Torn is what was being written when the process or the power went: nobody was told that it is safe. Damaged
is what somebody was told is safe and what the tables do not have yet. Must not write records.
"""

import logging
import mmap
import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from modelwarden_server.durable import make_folder, replace_file, sync_folder
from modelwarden_server.log.frames import HEADER_SIZE
from modelwarden_server.log.protocol import LogDamagedError
from modelwarden_server.log.segment import START, frame_at, frames_after, read_header, salt_of, segments_in

log = logging.getLogger(__name__)
_IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as recovered: its records, and how many bytes of the file they reach to.

    From `run_first`, at byte `run_offset`, it can be read without a hole; what is before is in the tables.
    """

    first: int
    last: int
    size: int
    path: Path
    run_first: int
    run_offset: int


def log_identity(folder: Path) -> uuid.UUID:
    """The log's own name, made with the log. Raises LogDamagedError if it is gone but the log is not."""
    make_folder(folder)
    path = folder / _IDENTITY
    if path.exists():
        try:
            return uuid.UUID(path.read_text().strip())
        except ValueError as error:
            raise LogDamagedError(f"{path} does not hold the log's identity") from error
    if segments_in(folder):
        raise LogDamagedError(f"{path} is missing, but the log has segments")
    identity = uuid.uuid4()
    replace_file(path, str(identity).encode())
    return identity


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is known before looking: whose log, which schema, what the tables have, what was acknowledged."""

    log: bytes
    fingerprint: bytes
    committed: int
    acknowledged: int


def recover(folder: Path, expected: Expectation) -> list[Segment]:
    """Judge every segment, cut off a torn end, and return what is there, oldest first.

    Raises LogDamagedError when an acknowledged record above `committed` cannot be read.
    """
    files = segments_in(folder)
    found: list[Segment] = []
    for place, (first, path) in enumerate(files):
        following = files[place + 1][0] if place + 1 < len(files) else None
        if found and first != found[-1].last + 1:
            _excuse(expected, found[-1].last + 1, first - 1, f"before {path.name}")
        segment = _segment(path, first, following, expected)
        if segment is None or segment.last < segment.first:
            path.unlink()
            sync_folder(folder)
        else:
            found.append(segment)
    begin = found[0].first if found else expected.committed + 1
    if begin > expected.committed + 1:
        raise LogDamagedError(
            f"the log begins with record {begin}, but the tables end with {expected.committed}:"
            f" records {expected.committed + 1} to {begin - 1} are missing"
        )
    end = found[-1].last if found else expected.committed
    if expected.acknowledged > max(end, expected.committed):
        raise LogDamagedError(
            f"the log ends with record {end}, but {expected.acknowledged} were acknowledged:"
            f" the end of {found[-1].path.name if found else folder} is missing"
        )
    return found


def _segment(path: Path, first: int, following: int | None, expected: Expectation) -> Segment | None:
    """One segment as it can be used, or None if nothing of it was ever acknowledged."""
    with path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if size < START:
            _check_headless(path, first, following, expected)
            return None
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            header = read_header(mapped)
            if header is None:
                _check_headless(path, first, following, expected)
                return None
            if (header.log, header.first) != (expected.log, first):
                raise LogDamagedError(f"{path.name} belongs to another log or another place in it")
            segment = _walk(
                Segment(first, first - 1, START, path, first, START), mapped, data, following, expected
            )
        if header.fingerprint != expected.fingerprint and segment.last > expected.committed:
            raise LogDamagedError(f"{path.name} was written for another schema than the model's")
        if segment.size < size:
            log.warning(
                "%s: %d unacknowledged bytes cut off at %d", path.name, size - segment.size, segment.size
            )
            os.ftruncate(file.fileno(), segment.size)
            os.fsync(file.fileno())
    return segment


def _check_headless(path: Path, first: int, following: int | None, expected: Expectation) -> None:
    """A segment without a header holds nothing: it was being made when the process went."""
    last = max(expected.acknowledged, 0 if following is None else following - 1)
    if last >= first:
        _excuse(expected, first, last, f"{path.name} has no header")


def _walk(
    segment: Segment, mapped: mmap.mmap, data: memoryview, following: int | None, expected: Expectation
) -> Segment:
    """The segment up to its last usable record; `run_first` and `run_offset` say where the last hole ends."""
    salt = salt_of(expected.log)
    offset, last = START, segment.first - 1
    run = (segment.first, START)
    while offset < len(data):
        header = frame_at(data, offset, salt)
        if header is not None and header.sequence == last + 1:
            offset, last = offset + HEADER_SIZE + header.length, header.sequence
            continue
        later = [(at, h) for at, h in frames_after(data, mapped, offset, salt) if h.sequence > last]
        settled = max(
            *(h.settled for _, h in later),
            expected.acknowledged,
            0 if following is None else following - 1,
            0,
        )
        lost = min(settled, later[0][1].sequence - 1) if later else settled
        if lost > last:
            _excuse(expected, last + 1, lost, f"{segment.path.name} is damaged at byte {offset}")
        if not later or settled <= last:
            break
        offset, last = later[0][0], later[0][1].sequence - 1
        run = (last + 1, offset)
    return replace(segment, last=last, size=offset, run_first=run[0], run_offset=run[1])


def _excuse(expected: Expectation, first: int, last: int, where: str) -> None:
    """Records that cannot be read are no loss if the tables have them; otherwise this raises."""
    if last > expected.committed:
        raise LogDamagedError(
            f"records {max(first, expected.committed + 1)} to {last} were acknowledged and are not in the"
            f" tables, but cannot be read: {where}. Restore the volume from a backup"
        )
    log.warning("records %d to %d cannot be read (%s), but the tables have them", first, last, where)

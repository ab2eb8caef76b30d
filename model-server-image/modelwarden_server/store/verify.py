"""What a table's folder looks like after a crash, judged and mended before anything is read from it.

Must not write data. A commit is: data file, fsync, Delta entry, fsync; the next one begins only after
that. So after a power cut at most the last entry can be torn. It is removed here, with everything that
depends on it, and its rows come again from the log. An unreadable entry with a good one after it is not
a crash but damage, and is refused with its name.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from modelwarden_server.durable import replace_file, sync_folder
from modelwarden_server.store.parquet import footer_rows, version_of

_ENTRY = re.compile(r"^(\d{20})\.json$")
_CHECKPOINT = re.compile(r"^(\d{20})\.checkpoint\.parquet$")
MARK = "_synced"


class TableDamagedError(Exception):
    """A table's files contradict each other in a way no crash explains. The message says which and where."""


@dataclass(frozen=True)
class Verdict:
    """`version` is the last good one (-1: there is no table yet); `removed` the torn versions taken away."""

    version: int
    removed: tuple[int, ...] = ()
    orphans: int = 0


def read_mark(folder: Path) -> int:
    """The last version known to be synced, or -1. The mark itself is not synced: it may lag, never lead."""
    try:
        return int((folder / MARK).read_text())
    except (OSError, ValueError):
        return -1


def write_mark(folder: Path, version: int) -> None:
    """Note that everything up to `version` is on the disk."""
    replace_file(folder / MARK, str(version).encode(), durable=False)


def entry_path(folder: Path, version: int) -> Path:
    """The Delta entry of `version`."""
    return folder / "_delta_log" / f"{version:020d}.json"


def entry_actions(path: Path) -> list[dict[str, object]]:
    """The actions of a Delta entry. Raises ValueError when it is empty or torn, OSError when unreadable."""
    lines = path.read_text(encoding="utf-8").splitlines()
    actions = [json.loads(line) for line in lines if line.strip()]
    if not actions or not all(isinstance(action, dict) for action in actions):
        raise ValueError("no actions")
    return actions


def verify_table(folder: Path) -> Verdict:
    """Judge the table in `folder`, remove a torn last version, stale temporaries and orphaned data files.

    Every entry since the last checkpoint is read and its files' sizes and footers compared with it: that
    includes all entries after the mark, because a checkpoint is only made of synced versions. Raises
    TableDamagedError when something other than the last version is unreadable.
    """
    log = folder / "_delta_log"
    if not log.is_dir():
        return Verdict(-1)
    for path in log.iterdir():
        if path.name.startswith(("_commit_", ".")) or "#" in path.name:  # what deltalake was writing
            path.unlink()
    checkpoint = _last_good_checkpoint(log)
    versions = sorted(int(m[1]) for p in log.iterdir() if (m := _ENTRY.match(p.name)))
    versions = [v for v in versions if v > checkpoint]
    removed = _remove_torn(folder, versions)
    kept = [v for v in versions if v not in removed]
    expected = list(range(checkpoint + 1, checkpoint + 1 + len(kept)))
    if kept != expected:
        gap = next((want for want, have in zip(expected, kept, strict=False) if want != have), -1)
        raise TableDamagedError(f"table {folder.name}: Delta entry {gap} is missing but later ones are there")
    last = kept[-1] if kept else checkpoint
    if last < read_mark(folder):
        write_mark(folder, last)
    return Verdict(last, tuple(removed), _remove_orphans(folder, last))


def _last_good_checkpoint(log: Path) -> int:
    """The newest checkpoint that can be read; unreadable ones are removed, as is a pointer to one."""
    good = -1
    for path in sorted(log.iterdir()):
        if match := _CHECKPOINT.match(path.name):
            try:
                footer_rows(path)
                good = int(match[1])
            except (OSError, pa.ArrowInvalid):
                path.unlink()
    pointer = log / "_last_checkpoint"
    with suppress(FileNotFoundError):
        try:
            named = int(json.loads(pointer.read_text())["version"])
        except (ValueError, KeyError, TypeError):
            named = -2
        if named != good:
            pointer.unlink()
            sync_folder(log)
    return good


def _remove_torn(folder: Path, versions: list[int]) -> list[int]:
    """Remove the last entry if it is torn; raise TableDamagedError if another one is."""
    reasons: dict[int, str] = {}
    replaced: set[str] = set()
    for version in reversed(versions):  # a file that a later entry took out may be gone from the disk
        reason = _fault_of(folder, version, replaced)
        if reason is not None:
            reasons[version] = reason
    if not reasons:
        return []
    if set(reasons) != {versions[-1]}:
        worst = min(reasons)
        raise TableDamagedError(
            f"table {folder.name}: Delta entry {worst} is damaged ({reasons[worst]}) and later ones are there"
        )
    entry_path(folder, versions[-1]).unlink()
    sync_folder(folder / "_delta_log")
    return [versions[-1]]


def _fault_of(folder: Path, version: int, replaced: set[str]) -> str | None:
    """Why the entry of `version` cannot be trusted, or None; then what it takes out is in `replaced`."""
    try:
        actions = entry_actions(entry_path(folder, version))
        for path, size, rows in _added(actions):
            file = folder / path
            if path in replaced:
                continue
            if file.stat().st_size != size:
                return f"{path} has {file.stat().st_size} bytes instead of {size}"
            if footer_rows(file) != rows:
                return f"{path} does not hold the {rows} rows it should"
        replaced.update(_removed(actions))
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
        return f"unreadable: {type(error).__name__}"
    return None


def _added(actions: list[dict[str, object]]) -> Iterator[tuple[str, int, int]]:
    for action in actions:
        add = action.get("add")
        if isinstance(add, dict):
            yield str(add["path"]), int(add["size"]), int(json.loads(add["stats"])["numRecords"])


def _removed(actions: list[dict[str, object]]) -> Iterator[str]:
    for action in actions:
        remove = action.get("remove")
        if isinstance(remove, dict):
            yield str(remove["path"])


def _remove_orphans(folder: Path, last: int) -> int:
    """Remove data files written for versions that never came to be; returns how many."""
    orphans = [p for p in folder.iterdir() if (v := version_of(p.name)) is not None and v > last]
    for path in orphans:
        path.unlink()
    return len(orphans)

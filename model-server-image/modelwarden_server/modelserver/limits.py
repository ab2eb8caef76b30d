"""What a child with user code may use, and how much of it is used: sizes in bytes, times in seconds.

Plain values and reads of /proc and of one folder. Must not start or end anything: see supervisor.py.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_MOST_FILES: Final = 10_000
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """Bounds of one child. What each is good for stands where it is enforced: confine.py, `excess`."""

    memory_bytes: int = 1 << 30
    """Of resident memory, then the child is killed; at nine tenths of private memory Python raises
    MemoryError."""
    work_bytes: int = 512 << 20
    """Of the files that user code may write, all together; the child is killed beyond."""
    file_bytes: int = 256 << 20
    """Of one such file."""
    threads: int = 256
    """Most threads; the child is killed beyond. It cannot start processes at all."""
    open_files: int = 512
    cpus: int = 2
    """Threads that numeric libraries are told to use."""
    load_seconds: float = 180.0
    """For everything until the code is loaded."""
    call_seconds: float = 180.0
    """For one call that names no time of its own; then the child is killed and started anew."""
    answer_bytes: int = 512 << 20
    """Most bytes of one question or answer."""

    @property
    def message_bytes(self) -> int:
        """Most bytes of one message: as much of the model server's own memory may be taken for it."""
        return min(self.answer_bytes, self.memory_bytes // 2)


def memory_excess(pid: int, limits: ChildLimits) -> str | None:
    """Why the process must end for its memory or threads, in a sentence; None: it need not, or is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - twenty times a second
            fields = file.read().rpartition(b")")[2].split()
        threads, resident = int(fields[17]), int(fields[21]) * _PAGE
    except (OSError, IndexError, ValueError):
        return None
    if resident > limits.memory_bytes:
        return f"it used more than {limits.memory_bytes // MIB} MiB of memory: give the model server more"
    if threads > limits.threads:
        return f"it started more than {limits.threads} threads"
    return None


def disk_excess(pid: int, work: Path, limits: ChildLimits) -> str | None:
    """Why the process must end for what it wrote, in a sentence. Files that it holds open without a name
    count too: nobody else sees them."""
    try:
        used, files = _written(work)
        used += _nameless(pid)
    except OSError:
        return "it made files that cannot be counted"
    if used > limits.work_bytes:
        return f"it wrote more than {limits.work_bytes // MIB} MiB of files"
    if files > _MOST_FILES:
        return f"it wrote more than {_MOST_FILES} files"
    return None


def _written(work: Path) -> tuple[int, int]:
    """Bytes and number of what is in a folder, links not followed; stops counting past the most."""
    used = files = 0
    folders = [str(work)]
    while folders and files <= _MOST_FILES:
        try:
            entries = os.scandir(folders.pop())
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                files += 1
                try:
                    used += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                except FileNotFoundError:
                    continue
                if files > _MOST_FILES:
                    break
    return used, files


def _nameless(pid: int) -> int:
    used = 0
    folder = f"/proc/{pid}/fd"
    try:
        numbers = os.listdir(folder)  # noqa: PTH208
    except FileNotFoundError:
        return 0
    for number in numbers:
        try:
            found = os.stat(f"{folder}/{number}")  # noqa: PTH116
        except FileNotFoundError:
            continue
        if found.st_nlink == 0 and found.st_blocks:
            used += found.st_blocks * 512
    return used

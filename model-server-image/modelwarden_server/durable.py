"""Files that survive a power cut: fsync of files and folders, atomic replacement.

Must not know what the files mean. An fsync that failed is never repeated on the same file: the kernel
may have dropped the dirty pages and report success the second time (PostgreSQL's "fsyncgate", 2018), so
callers either write a new file or stop.
"""

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """fsync the content of `path`. Raises OSError; the caller must not retry on the same file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: Path) -> None:
    """fsync a folder, so that names created in or removed from it survive."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Create `path` and its missing parents; each new name is durable when this returns."""
    missing = []
    folder = path
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        sync_folder(new.parent)


def replace_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Give `path` a new content in one step: after a crash it has the old one or the new one.

    With `durable=False` nothing is synced: after a power cut the file may be old, new or empty, so the
    reader must treat an unreadable one as absent.
    """
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    temporary.replace(path)
    if durable:
        sync_folder(path.parent)
